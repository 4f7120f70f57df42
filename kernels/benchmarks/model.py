"""Time of whole networks: ours and plain e3nn, MACE and NequIP as they are and patched.

Energy and forces, and a training step on both, of the shipped potential's shape with
random weights. Equal results are checked before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector
from torch_geometric.data import Data

from equicalc.kernels import patch, unpatch
from equicalc.models import (
    CompiledForces,
    Potential,
    PotentialConfig,
    ReplayedPotential,
    compile_forces,
    evaluate,
)

from .peers import mace_data, mace_model, nequip_data, nequip_model
from .plain_e3nn import PlainPotential, check_twin, plain_twin
from .report import device_name, print_table, write_results
from .structures import batch_of_boxes, box
from .timing import check_close, medians

CONFIG = PotentialConfig(
    elements=(1, 6, 7, 8, 9, 16, 17),
    channels=64,
    layers=2,
    n_radial=10,
    radial_hidden=(64,),
)
ATOMS = {"cpu": (20, 1000), "cuda": (20, 1000, 8000)}
PEER_ATOMS = {"cpu": (20, 216), "cuda": (20, 216, 1000)}
BATCH, BATCH_ATOMS = 16, 20
PEER_TOLERANCE = 1e-5  # eV/Angstrom, and relative for energies
WEIGHTS_TOLERANCE = 5e-5  # of the largest: second derivatives, summed in another order
REPLAYS = 3  # before the clock; the engine compares the first two itself

Row = dict[str, object]
Runs = dict[tuple[str, str], Callable[[], object]]


def training_step(
    model: Potential | CompiledForces, graph: Data, weights: list[nn.Parameter]
) -> tuple[Tensor, ...]:
    """Gradients of a loss on energy and forces."""
    out = evaluate(model, graph, create_graph=True)
    loss = out["energy"].square().mean() + out["forces"].square().mean()
    return torch.autograd.grad(loss, weights, materialize_grads=True)


def potentials(device: str, rounds: int) -> list[Row]:
    """Our network with our kernels and in plain e3nn."""
    torch.manual_seed(0)
    ours = Potential(CONFIG).to(device)
    twin = plain_twin(ours)
    models = {"equicalc": ours, "plain e3nn": twin}
    rows = []
    for n_atoms in ATOMS[device]:
        graph = box(n_atoms, CONFIG.elements, CONFIG.cutoff).to(device)
        check_twin(ours, twin, graph)
        runs: Runs = {
            (name, "energy + forces"): lambda m=model, g=graph: evaluate(m, g)
            for name, model in {**models, **replayed(ours, graph)}.items()
        }
        rows += timed(runs, graph, device, rounds)
    return rows + training_steps(ours, twin, device, rounds)


def training_steps(
    ours: Potential, twin: PlainPotential, device: str, rounds: int
) -> list[Row]:
    """Training steps; on a CPU ours as one compiled program, too."""
    graph = batch_of_boxes(BATCH, BATCH_ATOMS, CONFIG.elements).to(device)
    check_twin(ours, twin, graph)
    models = {"equicalc": ours, "plain e3nn": twin}
    weights = {name: list(model.parameters()) for name, model in models.items()}
    if device == "cpu":  # compiling takes minutes, and GPUs are lent for few
        name, compiled = "equicalc, compiled", compile_forces(ours)
        models[name], weights[name] = compiled, weights["equicalc"]
        wanted, found = (
            parameters_to_vector(training_step(model, graph, weights[name]))
            for model in (ours, compiled)
        )
        check_close("compiled training step", found, wanted, WEIGHTS_TOLERANCE)
    runs: Runs = {
        (name, "training step"): lambda m=model, w=weights[name]: training_step(
            m, graph, w
        )
        for name, model in models.items()
    }
    return timed(runs, graph, device, rounds)


def replayed(ours: Potential, graph: Data) -> dict[str, ReplayedPotential]:
    """Our network as a CUDA graph, where that is possible."""
    engine = ReplayedPotential.build(ours)
    if engine is None:
        return {}
    wanted = evaluate(ours, graph)
    for _ in range(REPLAYS):
        for key, found in evaluate(engine, graph).items():
            check_close(f"replayed {key}", found, wanted[key], PEER_TOLERANCE)
    # fewer replays: the structure is too large for it, or graphs do not work here
    return {"equicalc, CUDA graph": engine} if engine.replays == REPLAYS else {}


def mace(device: str, rounds: int) -> list[Row]:
    """MACE as it comes and patched; no rows without mace-torch."""
    outputs = "energy", "forces"
    return peer("MACE", mace_model, mace_data, outputs, device, rounds)


def nequip(device: str, rounds: int) -> list[Row]:
    """NequIP as it comes and patched; no rows without nequip 0.6."""
    outputs = "total_energy", "forces"
    return peer("NequIP", nequip_model, nequip_data, outputs, device, rounds)


def peer(
    name: str,
    build: Callable[[tuple[int, ...], float], nn.Module],
    data_of: Callable[[Data, tuple[int, ...]], dict[str, Tensor]],
    outputs: tuple[str, str],
    device: str,
    rounds: int,
) -> list[Row]:
    """Another package's model as it comes and patched; no rows without the package."""
    torch.manual_seed(0)
    try:
        plain, patched = (build(CONFIG.elements, CONFIG.cutoff) for _ in range(2))
    except ImportError:
        return []
    patched.load_state_dict(plain.state_dict())
    plain, patched = plain.to(device), patched.to(device)
    patch(patched)
    rows = []
    for n_atoms in PEER_ATOMS[device]:
        graph = box(n_atoms, CONFIG.elements, CONFIG.cutoff).to(device)
        data = data_of(graph, CONFIG.elements)
        wanted, found = plain(dict(data)), patched(dict(data))
        for key in outputs:
            a, b = found[key].detach(), wanted[key].detach()
            check_close(f"patched {name}: {key}", a, b, PEER_TOLERANCE)
        runs: Runs = {
            (name, "energy + forces"): lambda d=data: plain(dict(d)),
            (f"{name} patched", "energy + forces"): lambda d=data: patched(dict(d)),
        }
        rows += timed(runs, graph, device, rounds)
    unpatch(patched)
    return rows


def timed(runs: Runs, graph: Data, device: str, rounds: int) -> list[Row]:
    """Rows of median milliseconds."""
    return [
        {
            "n_graphs": len(graph["ptr"]) - 1,
            "n_atoms": len(graph["z"]),
            "n_edges": graph["edge_index"].shape[1],
            "dtype": "float32",
            "contender": name,
            "step": step,
            "ms": round(time_s * 1e3, 3),
        }
        for (name, step), time_s in medians(runs, device, rounds).items()
    ]


def run(device: str, out: Path, rounds: int) -> None:
    """Measure, print a table and save it."""
    rows = potentials(device, rounds) + mace(device, rounds) + nequip(device, rounds)
    print_table(
        f"Milliseconds, {device_name(device)}",
        list(rows[0]),
        [list(row.values()) for row in rows],
    )
    write_results(out, rows, device)
