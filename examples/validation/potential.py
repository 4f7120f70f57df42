"""How good is a potential? Four answers, each a table and a picture.

    python examples/validation/potential.py held-out runs/labels-gfn2-all
    python examples/validation/potential.py files solvent_test.xyz solvent_train.xyz
    python examples/validation/potential.py dissociation
    python examples/validation/potential.py dynamics

`held-out` measures errors on the molecules that training never saw (the split of the
training configuration), for every kind of structure; `files` on labelled structures of
any ASE format; `dissociation` pulls bonds apart beside GFN2-xTB (needs tblite);
`dynamics` runs ten molecules at once for 100 ps at 500 K. Results go to
`examples/validation/results`.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import typer
from ase import Atoms, units
from ase.calculators.calculator import BaseCalculator, CalculationFailed
from ase.io import iread
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from tables import RESULTS, write_table

from equicalc import EquiCalculator
from equicalc.data.bonds import bond_matrix
from equicalc.data.smiles import atoms_from_smiles

app = typer.Typer(help=__doc__, add_completion=False)


@app.command("held-out")
def held_out(
    data: Path,
    config: Path = Path("configs/potential-gfn2.yaml"),
    model: str | None = None,
    limit: int = 6000,
) -> None:
    """Errors on the test part of the training set's split, by kind of structure."""
    from equicalc.checkpoint import load_checkpoint
    from equicalc.data.packed import PackedDataset
    from equicalc.pretrained import weights_path
    from equicalc.training import load_config
    from equicalc.training.evaluation import evaluate_model

    settings = load_config(config)
    network, _ = load_checkpoint(weights_path(model))
    parts = PackedDataset(data).split(settings.data.fractions, settings.seed)
    test = parts["test"]
    kinds = test.column("kind")
    rows = []
    for number, kind in enumerate([*test.meta["kinds"], "all"]):
        chosen = np.flatnonzero((kinds == number) | (kind == "all"))[:limit]
        if len(chosen):
            table, _ = evaluate_model(network, test.subset(chosen))
            rows.append({"kind": kind, "structures": len(chosen), **errors(table)})
    write_table("held_out", rows)


def errors(table: dict) -> dict[str, float]:
    """Mean absolute and root mean square error of every quantity."""
    units = table["units"]
    return {
        f"{name} {kind.upper()} ({units[name]})": round(table[name][kind], 2)
        for name in ("energy_per_atom", "forces", "dipole", "charges")
        for kind in ("mae", "rmse")
    }


@app.command("files")
def files(data: list[Path], model: str | None = None, stride: int = 1) -> None:
    """Errors on labelled files, with and without the mean energy error per atom."""
    calculator = EquiCalculator(model)
    rows = []
    for path in data:
        frames = [a for a in iread(path, index=f"::{stride}") if len(a) > 1]
        energies = np.array([a.get_potential_energy() for a in frames])
        forces = [a.get_forces() for a in frames]
        predicted = calculator.compute(frames, ("energy", "forces"))
        n_atoms = np.array([len(a) for a in frames])
        difference = (np.array([p["energy"] for p in predicted]) - energies) / n_atoms
        force_error = np.concatenate(
            [p["forces"] - f for p, f in zip(predicted, forces, strict=True)]
        )
        rows.append(
            {
                "file": path.name,
                "structures": len(frames),
                "atoms": round(float(n_atoms.mean()), 1),
                "energy MAE (meV/atom)": round(1e3 * np.abs(difference).mean(), 2),
                "energy MAE, mean removed (meV/atom)": round(
                    1e3 * np.abs(difference - difference.mean()).mean(), 2
                ),
                "force MAE (meV/A)": round(1e3 * np.abs(force_error).mean(), 2),
                "force RMSE (meV/A)": round(1e3 * np.sqrt((force_error**2).mean()), 2),
                "label force RMS (meV/A)": round(
                    1e3 * np.sqrt((np.concatenate(forces) ** 2).mean()), 1
                ),
            }
        )
    write_table("files", rows)


BONDS = {  # name: SMILES with the two atoms of the bond first and second
    "H-OH": ("[H]O", 0, 1),
    "H-CH3": ("[H]C", 0, 1),
    "H3C-CH3": ("CC", 0, 1),
    "H3C-OH": ("CO", 0, 1),
    "H3C-NH2": ("CN", 0, 1),
    "H2C=O": ("C=O", 0, 1),
    "H3C-F": ("CF", 0, 1),
    "H3C-Cl": ("CCl", 0, 1),
    "H3C-SH": ("CS", 0, 1),
}


def pulled_apart(smiles: str, i: int, j: int, factors: np.ndarray) -> list[Atoms]:
    """Move everything on the side of atom j along the bond."""
    start = atoms_from_smiles(smiles, seed=0)
    bond = start.positions[j] - start.positions[i]
    to_i, to_j = start.get_all_distances()[[i, j]]
    frames = []
    for factor in factors:
        frame = start.copy()
        frame.positions[to_j < to_i] += (factor - 1) * bond
        frames.append(frame)
    return frames


def energies(frames: list[Atoms], calculator: BaseCalculator) -> np.ndarray:
    """Energies, NaN where the calculator does not converge (GFN2 far from bonding)."""
    values = []
    for frame in frames:
        frame.calc = calculator
        try:
            values.append(frame.get_potential_energy())
        except CalculationFailed:
            values.append(np.nan)
    return np.array(values)


@app.command()
def dissociation(model: str | None = None) -> None:
    """Energy against bond length, beside GFN2-xTB."""
    import matplotlib.pyplot as plt

    from equicalc.calculators import named_calculator

    reference, calculator = named_calculator("gfn2"), EquiCalculator(model)
    factors = np.linspace(0.75, 2.5, 15)
    figure, axes = plt.subplots(3, 3, figsize=(10, 9), layout="constrained")
    rows = []
    for axis, (name, (smiles, i, j)) in zip(axes.flat, BONDS.items(), strict=True):
        frames = pulled_apart(smiles, i, j, factors)
        lengths = np.array([frame.get_distance(i, j) for frame in frames])
        expected, predicted = energies(frames, reference), energies(frames, calculator)
        lowest = np.nanmin(expected)
        axis.plot(lengths, expected - lowest, label="GFN2-xTB")
        axis.plot(lengths, predicted - lowest, "--", label="equicalc")
        axis.set(title=name, xlabel="bond length (Å)", ylabel="energy (eV)")
        near = expected - lowest < 2.0
        error = np.abs(predicted - expected)
        minimum = float(lengths[np.nanargmin(expected)])
        rows.append(
            {
                "bond": name,
                "MAE below 2 eV (meV)": round(1e3 * error[near].mean(), 1),
                "MAE of the curve (meV)": round(1e3 * np.nanmean(error), 1),
                "largest error (meV)": round(1e3 * np.nanmax(error), 1),
                "minimum GFN2 (A)": round(minimum, 3),
                "minimum equicalc (A)": round(float(lengths[predicted.argmin()]), 3),
            }
        )
    axes.flat[0].legend()
    write_table("dissociation", rows)
    figure.savefig(RESULTS / "dissociation.png", dpi=110)


MOLECULES = {
    "water": "O",
    "ethanol": "CCO",
    "benzene": "c1ccccc1",
    "acetic acid": "CC(=O)O",
    "pyridine": "c1ccncc1",
    "DMSO": "CS(C)=O",
    "chloroform": "ClC(Cl)Cl",
    "fluorobenzene": "Fc1ccccc1",
    "glycine": "NCC(=O)O",
    "thiophene": "c1ccsc1",
}
SPACING = 60.0  # Angstrom between molecules that run together


@app.command()
def dynamics(
    model: str | None = None,
    picoseconds: float = 100.0,
    temperature: float = 500.0,
    timestep: float = 2.0,
) -> None:
    """Langevin dynamics of ten molecules; hydrogens weigh 4 amu for the long step."""
    system, owner = Atoms(), []
    for number, smiles in enumerate(MOLECULES.values()):
        molecule = atoms_from_smiles(smiles, seed=0)
        molecule.positions += [number * SPACING, 0, 0]
        system += molecule
        owner += [number] * len(molecule)
    owner = np.array(owner)
    start = system.positions.copy()
    system.arrays["masses"] = np.maximum(system.get_masses(), 4.0)
    system.calc = EquiCalculator(model, skin=1.0)
    thermalize_momenta(system, temperature_K=temperature, rng=np.random.default_rng(0))
    run = Langevin(
        system,
        timestep * units.fs,
        temperature_K=temperature,
        friction=0.01 / units.fs,
        fixcm=False,
        rng=np.random.default_rng(1),
    )
    steps = round(picoseconds * 1000 / timestep)
    began = time.perf_counter()
    temperatures = []
    for _ in range(0, steps, 100):
        run.run(100)
        momenta, masses = system.get_momenta(), system.get_masses()
        kinetic = (momenta**2).sum(1) / (2 * masses)
        count = np.bincount(owner)
        temperatures.append(np.bincount(owner, kinetic) / (1.5 * count * units.kB))
        if not np.isfinite(kinetic).all():
            break
    seconds = time.perf_counter() - began
    rows = []
    for number, name in enumerate(MOLECULES):
        atoms = np.flatnonzero(owner == number)
        rows.append(
            {
                "molecule": name,
                "ps": len(temperatures) * 100 * timestep / 1000,
                "mean temperature (K)": round(np.mean(temperatures, 0)[number], 1),
                "highest (K)": round(np.max(temperatures, 0)[number], 1),
                "bonds as at the start": bonds_kept(system[atoms], start[atoms]),
            }
        )
    write_table("dynamics", rows)
    print(f"{len(system)} atoms, {1e3 * seconds / steps:.1f} ms per step")


def bonds_kept(atoms: Atoms, start: np.ndarray) -> bool:
    """Whether the same pairs of atoms are bonded as at the start."""
    before, now = (
        bond_matrix(Atoms(atoms.numbers, positions), 1.3)
        for positions in (start, atoms.positions)
    )
    return bool((before == now).all())


if __name__ == "__main__":
    app()
