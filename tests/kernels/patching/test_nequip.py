"""Patched NequIP models say what they said before, and can be restored."""

import copy
from typing import Any

import pytest
import torch

from equicalc import o3
from equicalc.kernels import patch, unpatch

REPLACED = ["spharm_edges.sh", "layer0_convnet.conv", "layer1_convnet.conv"]


#: Features and harmonics: of one parity each, of both, and without parity.
KINDS = {
    "natural parity": ("8x0e + 8x1o + 8x2e", "0e + 1o + 2e"),
    "both parities": ("8x0e + 8x0o + 8x1o + 8x1e", "0e + 1o"),
    "no parity": ("8x0e + 8x1e", "0e + 1e"),
}


@pytest.fixture
def nequip_data(crystal):
    return {
        "pos": crystal.pos,
        "edge_index": crystal.edge_index.flip(0),
        "edge_cell_shift": crystal.edge_shift,
        "cell": crystal.cell[0],
        "batch": crystal.batch,
        "ptr": crystal.ptr,
        "atom_types": (crystal.z == 8).long(),
    }


def answers(model, data):
    out = model(dict(data))
    return {name: out[name] for name in ("total_energy", "forces")}


def overridden(model):
    """Modules whose forward is not that of their class, as TorchScript has them."""
    return {name for name, m in model.named_modules() if "forward" in vars(m)}


def training_gradients(model, data):
    values = answers(model.train(), data).values()
    loss = torch.stack([(value**2).sum() for value in values]).sum()
    parameters = list(model.parameters())
    return torch.autograd.grad(loss, parameters, materialize_grads=True)


@pytest.mark.parametrize("kind", KINDS)
def test_same_energy_and_forces(nequip_model, nequip_data, kind):
    model = nequip_model(*KINDS[kind]).eval()
    overridden_before = overridden(model)
    before = answers(model, nequip_data)
    assert [name.removeprefix("model.func.") for name in patch(model)] == REPLACED
    after = answers(model, nequip_data)
    assert before["forces"].abs().max() > 1e-3
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=1e-10, atol=1e-10)
    unpatch(model)
    assert overridden(model) == overridden_before
    again = answers(model, nequip_data)
    for name in before:  # TorchScript may fuse differently from run to run
        torch.testing.assert_close(again[name], before[name], rtol=1e-12, atol=1e-12)


def test_same_in_single_precision(nequip_model, nequip_data):
    model = nequip_model(*KINDS["both parities"], dtype="float32").eval()
    real = {k: t.float() for k, t in nequip_data.items() if t.is_floating_point()}
    data = {**nequip_data, **real}
    before = answers(model, data)
    patch(model)
    after = answers(model, data)
    energy, forces = before["total_energy"], before["forces"]
    torch.testing.assert_close(after["total_energy"], energy, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(after["forces"], forces, rtol=0.0, atol=1e-5)


def test_same_training_gradients(nequip_model, nequip_data):
    model = nequip_model(*KINDS["both parities"])
    before = training_gradients(model, nequip_data)
    patch(model)
    after = training_gradients(model, nequip_data)
    for a, b in zip(after, before, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_copies_are_independent(nequip_model, nequip_data):
    model = nequip_model().eval()
    patch(model)
    expected = answers(model, nequip_data)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    found = answers(twin, nequip_data)
    torch.testing.assert_close(found["forces"], expected["forces"])


def test_state_dict_is_unchanged(nequip_model):
    model = nequip_model()
    before = list(model.state_dict())
    patch(model)
    assert list(model.state_dict()) == before


def test_what_cannot_be_fused_is_left_to_e3nn_and_named(nequip_model, caplog):
    model = nequip_model("8x0e + 4x1o")
    assert len(patch(model)) == len(REPLACED) - 1
    assert "conv: its nodes have features" in caplog.text


def product_of_both_parities():
    """Tensor product of features and harmonics, its outputs sorted as NequIP does."""
    ins, edge = o3.Irreps("4x0e + 4x0o + 4x1o + 4x1e"), o3.Irreps("0e + 1o")
    paths = [
        (i, j, (mul, ir))
        for i, (mul, ir_in) in enumerate(ins)
        for j, (_, ir_edge) in enumerate(edge)
        for ir in ir_in * ir_edge
        if ir in ins
    ]
    ends: Any = o3.Irreps([end for _, _, end in paths])
    outs, order, _ = ends.sort()
    instructions = [(i, j, order[k], "uvu", True) for k, (i, j, _) in enumerate(paths)]
    return o3.TensorProduct(ins, edge, outs, instructions, shared_weights=False)


class Sum(torch.nn.Module):
    """Tensor product and sum, as NequIP has them from version 0.8 on."""

    def __init__(self):
        super().__init__()
        self.tp = product_of_both_parities()

    def forward(self, x, edge_attr, edge_weight, edge_dst, edge_src):
        messages = self.tp(x[edge_src], edge_attr, edge_weight)
        return torch.zeros(len(x), messages.shape[1]).index_add(0, edge_dst, messages)


class NewBlock(torch.nn.Module):
    """The interaction block from version 0.8 on."""

    def __init__(self):
        super().__init__()
        self.tp_scatter = Sum()
        tp: Any = self.tp_scatter.tp
        self.linear_1 = o3.Linear(tp.irreps_in1, tp.irreps_in1)
        self.edge_mlp = torch.nn.Linear(3, tp.weight_numel)
        self.linear_2 = o3.Linear(tp.irreps_out.simplify(), tp.irreps_in1)

    def forward(self, data):
        dst, src = data["edge_index"]
        weights = self.edge_mlp(data["edge_embedding"])
        x = self.linear_1(data["node_features"]) / 4
        x = self.convolve(x, data["edge_attrs"], weights, dst, src)
        return {"node_features": self.linear_2(x)}

    def convolve(self, x, y, w, dst, src):
        return self.tp_scatter(x, y, w, dst, src)


class OldBlock(NewBlock):
    """The interaction block of version 0.7, which sums by itself."""

    avg_num_neighbors, sc = 16.0, None

    def __init__(self):
        super().__init__()
        self.tp = self.tp_scatter.tp
        del self.tp_scatter

    def convolve(self, x, y, w, dst, src):
        messages = self.tp(x[src], y, w)
        return torch.zeros(len(x), messages.shape[1]).index_add(0, dst, messages)


@pytest.mark.parametrize("kind", [OldBlock, NewBlock])
def test_blocks_of_later_versions_are_patched_and_restored(kind):
    torch.manual_seed(0)
    block = kind()
    edges = torch.randint(0, 5, (2, 30))
    arrays = [torch.randn(n, m, requires_grad=True) for n, m in ((5, 32), (30, 4))]

    def results():
        data = {"edge_index": edges, "edge_embedding": torch.ones(30, 3)}
        data |= dict(zip(("node_features", "edge_attrs"), arrays, strict=True))
        out = block(data)["node_features"]
        return [out, *torch.autograd.grad(out.square().sum(), arrays)]

    before = results()
    assert patch(block) == [""]
    for a, b in zip(results(), before, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    unpatch(block)
    assert all(torch.equal(a, b) for a, b in zip(results(), before, strict=True))


def test_a_sum_that_other_kernels_compute_is_left_to_them():
    block = NewBlock()
    block.tp_scatter.tp_conv = torch.nn.Identity()
    with pytest.raises(ValueError, match="neither spherical harmonics nor"):
        patch(block)
