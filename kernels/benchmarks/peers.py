"""What other packages offer for the same job, where they are installed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast
from unittest import mock

import torch
from torch import Tensor, nn

from equicalc import o3

Function = Callable[[Tensor, Tensor, Tensor], Tensor]


def natural(ls: Iterable[int], channels: int) -> o3.Irreps:
    """Irreps with the parity of the spherical harmonics."""
    return cast(o3.Irreps, o3.Irreps([(channels, (l, (-1) ** l)) for l in ls]))


def uvu_product(
    ls_in: Sequence[int], ls_edge: Sequence[int], ls_out: Sequence[int], channels: int
) -> o3.TensorProduct:
    """All paths of even l1 + l2 + l3, blocks of the output by degree."""
    couplings = [
        (a, b, l3)
        for l3 in ls_out
        for a, l1 in enumerate(ls_in)
        for b, l2 in enumerate(ls_edge)
        if abs(l1 - l2) <= l3 <= l1 + l2 and (l1 + l2 + l3) % 2 == 0
    ]
    return o3.TensorProduct(
        natural(ls_in, channels),
        natural(ls_edge, 1),
        natural([l3 for *_, l3 in couplings], channels),
        [(a, b, k, "uvu", True) for k, (a, b, _) in enumerate(couplings)],
        shared_weights=False,
    )


def fused_peers(
    product: o3.TensorProduct, src: Tensor, dst: Tensor, device: str
) -> dict[str, Function]:
    """Convolutions of cuEquivariance and OpenEquivariance, in e3nn's layout.

    Both need a GPU.
    """
    if device != "cuda":
        return {}
    makers = {"cuequivariance": _cuequivariance, "openequivariance": _openequivariance}
    peers: dict[str, Function] = {}
    for name, make in makers.items():
        try:
            peers[name] = make(product, src, dst)
        except ImportError:
            continue
    return peers


def _cuequivariance(product: o3.TensorProduct, src: Tensor, dst: Tensor) -> Function:
    import cuequivariance as cue  # pyright: ignore[reportMissingImports]
    import cuequivariance_torch as cuet  # pyright: ignore[reportMissingImports]

    irreps_out = cast(o3.Irreps, product.irreps_out).simplify()
    module = cuet.ChannelWiseTensorProduct(
        cue.Irreps("O3", str(product.irreps_in1)),
        cue.Irreps("O3", str(product.irreps_in2)),
        cue.Irreps("O3", str(irreps_out)),
        layout=cue.mul_ir,
        shared_weights=False,
        internal_weights=False,
        device=src.device,
    )

    def function(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        messages = module(x[src], y, w)
        return x.new_zeros(len(x), messages.shape[1]).index_add(0, dst, messages)

    return function


def _openequivariance(product: o3.TensorProduct, src: Tensor, dst: Tensor) -> Function:
    import openequivariance as oeq  # pyright: ignore[reportMissingImports]

    paths = cast("list[Any]", product.instructions)
    problem = oeq.TPProblem(
        product.irreps_in1,
        product.irreps_in2,
        product.irreps_out,
        [(p.i_in1, p.i_in2, p.i_out, "uvu", True) for p in paths],
        shared_weights=False,
        internal_weights=False,
    )
    module = oeq.TensorProductConv(problem, deterministic=False)
    return lambda x, y, w: module(x, y, w, dst, src)


def mace_model(elements: tuple[int, ...], cutoff: float) -> nn.Module:
    """Build a MACE of the shape of MACE-OFF23(S), with random weights.

    Raises
    ------
    ImportError
        If mace-torch is not installed.
    """
    from mace import modules

    interaction = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript's end is near
        return modules.ScaleShiftMACE(
            r_max=cutoff,
            num_bessel=8,
            num_polynomial_cutoff=5,
            max_ell=3,
            interaction_cls=interaction,
            interaction_cls_first=interaction,
            num_interactions=2,
            num_elements=len(elements),
            hidden_irreps=o3.Irreps("96x0e"),
            MLP_irreps=o3.Irreps("16x0e"),
            gate=nn.functional.silu,
            atomic_energies=torch.zeros(len(elements)).numpy(),
            avg_num_neighbors=40.0,
            atomic_numbers=list(elements),
            correlation=3,
            atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
        )


def mace_data(graph: Any, elements: tuple[int, ...]) -> dict[str, Tensor]:
    """Put a graph of `equicalc.graph` into the form that MACE reads."""
    shifts = graph["edge_shift"]
    cells = graph["cell"][graph["batch"][graph["edge_index"][1]]]
    known = torch.tensor(elements, device=graph["z"].device)
    return {
        "positions": graph["pos"],
        "node_attrs": (graph["z"].unsqueeze(1) == known).to(graph["pos"]),
        "edge_index": graph["edge_index"],
        "unit_shifts": shifts,
        "shifts": (shifts.unsqueeze(-1) * cells).sum(1),
        "cell": graph["cell"].reshape(-1, 3),
        "batch": graph["batch"],
        "ptr": graph["ptr"],
    }


def nequip_model(elements: tuple[int, ...], cutoff: float) -> nn.Module:
    """Build a NequIP of its defaults with both parities, with random weights.

    Raises
    ------
    ImportError
        If nequip 0.6 is not installed.
    """
    config = {
        "model_builders": ["EnergyModel", "ForceOutput"],
        "default_dtype": "float32",
        "model_dtype": "float32",
        "r_max": cutoff,
        "num_basis": 8,
        "PolynomialCutoff_p": 6,
        "num_types": len(elements),
        "num_layers": 4,
        "avg_num_neighbors": 40.0,
        "chemical_embedding_irreps_out": "32x0e",
        "feature_irreps_hidden": "32x0e + 32x0o + 32x1e + 32x1o + 32x2e + 32x2o",
        "irreps_edge_sh": "0e + 1o + 2e",
        "conv_to_output_hidden_irreps_out": "16x0e",
        "invariant_layers": 2,
        "invariant_neurons": 64,
    }
    # torch-geometric puts a function of its own here, which TorchScript cannot read
    functions = torch._C._VariableFunctions  # pyright: ignore[reportAttributeAccessIssue]
    original = mock.patch.object(torch, "index_select", functions.index_select)
    with original, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it doubts every torch 2
        from nequip.model import model_from_config
        from nequip.utils import Config

        return cast(nn.Module, model_from_config(Config(config), False)).eval()


def nequip_data(graph: Any, elements: tuple[int, ...]) -> dict[str, Tensor]:
    """Put a graph of `equicalc.graph` into the form that NequIP reads."""
    known = torch.tensor(elements, device=graph["z"].device)
    return {
        "pos": graph["pos"],
        "edge_index": graph["edge_index"].flip(0),
        "edge_cell_shift": graph["edge_shift"],
        "cell": graph["cell"][0],
        "batch": graph["batch"],
        "ptr": graph["ptr"],
        "atom_types": torch.searchsorted(known, graph["z"]),
    }
