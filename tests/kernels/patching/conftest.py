"""A small crystal and tiny random models of other packages."""

import contextlib
import functools
import warnings

import numpy as np
import pytest
import torch

from equicalc.graph import make_graph
from equicalc.kernels import unpatch

CUTOFF = 3.0


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.fixture
def crystal():
    """Twelve atoms of two elements, every one with neighbours through the walls."""
    generator = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(range(3), range(2), range(2)), -1).reshape(-1, 3)
    positions = 1.6 * grid + 0.2 * generator.standard_normal((12, 3))
    cell = np.diag([4.8, 3.2, 3.2])
    return make_graph([1, 8] * 6, positions, cell, [True] * 3, cutoff=CUTOFF)


@pytest.fixture(scope="session")
def built_mace():
    """Build a ScaleShiftMACE with random weights, each kind once: it takes seconds."""
    pytest.importorskip("mace", reason="mace-torch is not installed")
    from mace import modules

    from equicalc import o3

    @functools.cache
    def build(block="RealAgnosticResidual", dtype=torch.float64, edge_irreps=None):
        interaction = modules.interaction_classes[f"{block}InteractionBlock"]
        with default_dtype(dtype), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript's end is near
            return modules.ScaleShiftMACE(
                r_max=CUTOFF,
                num_bessel=4,
                num_polynomial_cutoff=5,
                max_ell=2,
                interaction_cls=interaction,
                interaction_cls_first=interaction,
                num_interactions=2,
                num_elements=2,
                hidden_irreps=o3.Irreps("8x0e + 8x1o"),
                MLP_irreps=o3.Irreps("4x0e"),
                gate=torch.nn.functional.silu,
                atomic_energies=np.array([-1.0, 2.0]),
                avg_num_neighbors=15.0,
                atomic_numbers=[1, 8],
                correlation=2,
                edge_irreps=edge_irreps and o3.Irreps(edge_irreps),
                atomic_inter_scale=1.0,
                atomic_inter_shift=0.0,
            )

    return build


@pytest.fixture
def mace_model(built_mace):
    """Give models that are not patched, and leave them so."""
    used = []

    def give(**settings):
        used.append(built_mace(**settings))
        return used[-1]

    yield give
    for model in used:
        unpatch(model)


@pytest.fixture
def mace_data(crystal):
    """Put the crystal into the form that MACE reads; edges sorted by sender."""

    def make(dtype=torch.float64):
        order = torch.sort(crystal.edge_index[0], stable=True).indices
        shift = crystal.edge_shift[order].to(dtype)
        return {
            "positions": crystal.pos.to(dtype),
            "node_attrs": torch.nn.functional.one_hot((crystal.z == 8).long()).to(
                dtype
            ),
            "edge_index": crystal.edge_index[:, order],
            "unit_shifts": shift,
            "shifts": shift @ crystal.cell[0].to(dtype),
            "cell": crystal.cell[0].to(dtype),
            "batch": crystal.batch,
            "ptr": crystal.ptr,
        }

    return make


@pytest.fixture
def nequip_model(monkeypatch):
    """Build a NequIP network for energies and forces with random weights."""
    # torch-geometric puts a function of its own here, which TorchScript cannot read
    functions = torch._C._VariableFunctions  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(torch, "index_select", functions.index_select)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it doubts every torch 2
        pytest.importorskip("nequip", reason="nequip is not installed")
        from nequip.model import model_from_config
        from nequip.utils import Config

    def build(hidden="8x0e + 8x1o + 8x2e", edge="0e + 1o + 2e", dtype="float64"):
        config = {
            "model_builders": ["EnergyModel", "ForceOutput"],
            "default_dtype": dtype,
            "model_dtype": dtype,
            "r_max": CUTOFF,
            "num_basis": 4,
            "PolynomialCutoff_p": 6,
            "num_types": 2,
            "num_layers": 2,
            "avg_num_neighbors": 15.0,
            "chemical_embedding_irreps_out": "8x0e",
            "feature_irreps_hidden": hidden,
            "irreps_edge_sh": edge,
            "conv_to_output_hidden_irreps_out": "4x0e",
        }
        default = default_dtype(getattr(torch, dtype))
        with default, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model_from_config(Config(config), initialize=False)

    return build
