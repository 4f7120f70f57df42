"""How much of a molecule does its embedding hold?

    python examples/validation/mo3enet.py reconstruction QM9/test
    python examples/validation/mo3enet.py dipoles qm9.npz rimp2.npz dipoles.npz
    DIPOLES=dipoles.npz equicalc train configs/head-dipole.yaml     # and the others
    python examples/validation/mo3enet.py heads runs

`reconstruction` encodes and decodes molecules that training never saw (a packed set);
`dipoles` joins properties with the geometries that they belong to; `heads` collects
finished runs of the configurations `head-*.yaml`. Results go to
`examples/validation/results`, beside those of Kilgour, Rogal and Tuckerman (2024).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import numpy as np
import torch
import typer
from scipy.optimize import linear_sum_assignment
from tables import write_table

from equicalc.checkpoint import load_checkpoint
from equicalc.data.packed import PackedDataset
from equicalc.models import Mo3ENet
from equicalc.models.reconstruction import REACH, cluster_points, lift_symmetry
from equicalc.pretrained import weights_path
from equicalc.training.batches import in_order
from equicalc.training.reconstruction import ReconstructionValidation

app = typer.Typer(help=__doc__, add_completion=False)


@app.command()
def reconstruction(
    data: Path,
    model: str = "mo3enet",
    limit: int = 10_000,
    clustered: int = 500,
    name: str = "mo3enet",
) -> None:
    """Deviations and matched fractions, with and without knowing where atoms are."""
    network = cast(Mo3ENet, load_checkpoint(weights_path(model))[0])
    dataset = PackedDataset(data)
    order = np.random.default_rng(0).permutation(len(dataset))[:limit]
    table = errors(network, dataset.subset(np.sort(order)))
    table["clustered_molecules"] = read_back(
        network, dataset.subset(np.sort(order[:clustered]))
    )
    rows = [
        {"quantity": key, "value": round(value, 4), "paper": PAPER.get(key, "")}
        for key, value in table.items()
    ]
    write_table(name, rows)


#: What the paper prints, with hydrogens.
PAPER = {"molecule_deviation_touched": "< 0.1", "deviation_touched": "< 0.1"}


@torch.no_grad()
def errors(network: Mo3ENet, dataset: PackedDataset) -> dict[str, float]:
    """Compare atoms with the points around them."""
    validation = ReconstructionValidation()
    for rows in in_order(len(dataset), 128):
        cloud = network.cloud(dataset.batch(rows))
        swarm = network.decode(network.encode(lift_symmetry(cloud)))
        validation.compare(swarm, cloud)
    return {"n_molecules": float(len(dataset))} | validation.table()


@torch.no_grad()
def read_back(network: Mo3ENet, dataset: PackedDataset) -> float:
    """Fraction of molecules read from points alone, every atom within `REACH`."""
    right = 0
    for row in range(len(dataset)):
        cloud = network.cloud(dataset.batch([row]))
        swarm = network.decode(network.encode(lift_symmetry(cloud)))
        z, pos = cluster_points(swarm, len(cloud.species), network.elements)
        right += same(z, pos, np.array(network.elements)[cloud.species], cloud.pos)
    return right / len(dataset)


def same(z: np.ndarray, pos: np.ndarray, true_z: np.ndarray, true_pos) -> bool:
    """Whether two molecules have the same atoms in the same places."""
    if len(z) != len(true_z):
        return False
    distance = np.linalg.norm(pos[:, None] - true_pos.numpy()[None], axis=2)
    wrong = z[:, None] != true_z[None]
    a, b = linear_sum_assignment(distance + 100.0 * wrong)
    return bool((distance[a, b] < REACH).all() and not wrong[a, b].any())


@app.command()
def dipoles(geometries: Path, properties: Path, output: Path) -> None:
    """Join dipole vectors with the molecules they belong to, by their index."""
    with np.load(geometries) as qm9, np.load(properties) as found:
        index, sizes = qm9["index"], qm9["n_atoms"].astype(int)
        rows = np.searchsorted(index, found["index"])
        if not (index[rows] == found["index"]).all():
            raise typer.BadParameter(f"{geometries} lacks molecules of {properties}")
        first = np.cumsum(sizes) - sizes
        atoms = np.concatenate([np.arange(first[i], first[i] + sizes[i]) for i in rows])
        np.savez(
            output,
            z=qm9["z"][atoms],
            pos=qm9["pos"][atoms],
            n_atoms=sizes[rows],
            dip_mp2=found["dip_mp2"],
        )


#: Run -> unit of the errors.
UNITS = {
    "head-u0": "eV",
    "head-isomers": "of the file",
    "head-dipole": "e Bohr, a component",
    "head-gfn2-dipole": "e Angstrom, a component",
    "head-gfn2-quadrupole": "e Angstrom^2, a component",
    "head-gfn2-polarizability": "Angstrom^3, a component",
    "head-gfn2-hyperpolarizability": "atomic units, a component",
}

#: Target -> what the paper reports for it, on other data.
PAPER_HEADS = dict.fromkeys(("homo", "lumo", "gap"), "0.0055 Hartree, mean, on QM9") | {
    "dip_mp2": "0.173 Debye on QM9s (DetaNet 0.009)"
}


@app.command()
def heads(runs: Path) -> None:
    """Collect the errors of finished runs on their test molecules."""
    rows = []
    for name, unit in UNITS.items():
        if not (runs / name / "metrics.json").is_file():
            typer.echo(f"{name}: not trained in {runs}, left out")
            continue
        table = json.loads((runs / name / "metrics.json").read_text())["test"]
        relative = table.pop("loss")
        rows += [
            {
                "run": name,
                "target": target,
                "mae": float(f"{error:.4g}"),
                "unit": unit,
                "run_mae_over_rms": round(relative, 3),
                "paper": PAPER_HEADS.get(target, ""),
            }
            for target, error in table.items()
        ]
    if not rows:
        raise typer.BadParameter(f"{runs} holds none of {', '.join(UNITS)}")
    write_table("mo3enet_heads", rows)


if __name__ == "__main__":
    app()
