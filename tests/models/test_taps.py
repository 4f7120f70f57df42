"""What passes through a network: read, removed, and pruned away."""

from typing import cast

import pytest
import torch
from torch import nn

from equicalc.graph import collate, make_graph
from equicalc.models import (
    EquiTriton,
    EquiTritonConfig,
    LatticeConfig,
    LatticeNetwork,
    Mo3ENet,
    Mo3ENetConfig,
    Potential,
    PotentialConfig,
    QM9Net,
    QM9NetConfig,
    Symphony,
    SymphonyConfig,
    Tap,
    Taps,
    evaluate,
    pruned,
    taps_of,
)
from equicalc.models.taps import as_irreps
from equicalc.o3 import Irrep, rand_matrix

OUTPUTS = ("energy", "energies", "forces")


def potential(**changes):
    settings = {"elements": (1, 6, 8), "channels": 4, "layers": 2, **changes}
    return Potential(PotentialConfig(**settings), "torch").double()


def graph(n_atoms=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.tensor([1, 6, 8])[torch.randint(0, 3, (n_atoms,), generator=generator)]
    sites = torch.cartesian_prod(*[torch.arange(3.0, dtype=torch.float64)] * 3)
    pos = 1.2 * sites[torch.randperm(27, generator=generator)[:n_atoms]]
    return make_graph(z, pos.numpy(), cutoff=5.0)


@pytest.mark.parametrize(
    "layout", ["e3nn", "channels last", "blocks", "channels first"]
)
def test_layouts_hold_the_same_features(layout):
    scalars, vectors = torch.randn(5, 2, 1), torch.randn(5, 2, 3)
    output = {
        "e3nn": torch.cat([scalars.flatten(1), vectors.flatten(1)], 1),
        "channels last": torch.cat([scalars, vectors], 2).transpose(1, 2),
        "blocks": [scalars.transpose(1, 2), vectors.transpose(1, 2)],
        "channels first": [scalars.squeeze(2), vectors],
    }[layout]
    tap = Tap(nn.Identity(), as_irreps("2x0e+2x1o"), layout)
    found = tap.split(output)
    assert torch.equal(found["0e"], scalars)
    assert torch.equal(found["1o"], vectors)
    halved = tap.split(tap.scale(output, {"1o": 0.5}))
    assert torch.equal(halved["0e"], scalars)
    assert torch.equal(halved["1o"], 0.5 * vectors)


def mace():
    from equicalc.models.mace import Mace, MaceConfig

    return Mace(MaceConfig(elements=(1, 6, 8), channels=4, max_l=1), "torch")


NETWORKS = {
    "potential": potential,
    "symphony": lambda: Symphony(SymphonyConfig(channels=4, layers=2), "torch"),
    "equitriton": lambda: EquiTriton(
        EquiTritonConfig(elements=(1, 6, 8), ls=(0, 3, 4), channels=4), "torch"
    ),
    "qm9net": lambda: QM9Net(
        QM9NetConfig(elements=(1, 6, 8), multiplicities=(8, 3), embedding=8), "torch"
    ),
    "mo3enet": lambda: Mo3ENet(Mo3ENetConfig(elements=(6, 8), bottleneck=8), "torch"),
    "lattice": lambda: LatticeNetwork(
        LatticeConfig(elements=(1, 6, 8), channels=4, vectors=2, members=2)
    ),
    "mace": mace,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_features_have_the_irreps_that_are_said_and_turn(name):
    model = NETWORKS[name]().double()
    taps, batch = taps_of(model), collate([graph(4), graph(7, 1)])
    found = taps.read(batch)
    shapes = {str(ir): (taps.n_rows(batch), mul, ir.dim) for mul, ir in taps.irreps}
    assert {irrep: tuple(block.shape) for irrep, block in found.items()} == shapes
    turn = rand_matrix(dtype=torch.float64)
    if name != "qm9net":  # which tells mirror images apart
        turn = -turn
    turned = collate([graph(4), graph(7, 1)])
    after = taps.read(turned.update({"pos": batch["pos"] @ turn.T}))
    for irrep, block in found.items():
        D = Irrep(irrep).D_from_matrix(turn)
        torch.testing.assert_close(after[irrep], block @ D.T, rtol=1e-6, atol=1e-8)
        assert block.abs().max() > 1e-5


@pytest.mark.parametrize("name", ["equitriton", "qm9net", "mace"])
def test_removed_irreps_change_predictions(name):
    model = NETWORKS[name]().double()
    taps = taps_of(model)
    [last] = [str(ir) for _, ir in taps.irreps][-1:]
    key = "energies" if name == "mace" else "values"
    before = taps.run(graph())[key]
    with taps.scaled({last: 0.0}):
        assert (taps.run(graph())[key] - before).abs().max() > 1e-9


def test_layers_lie_side_by_side():
    taps = taps_of(potential())
    both = taps.read(graph())["0e"]
    first, last = (taps.read(graph(), [k])["0e"] for k in (0, 1))
    assert torch.equal(both, torch.cat([first, last], 1))


def test_scaling_ends_with_its_context():
    model = potential()
    before = evaluate(model, graph())["energy"]
    with taps_of(model).scaled({"1o": 0.0}):
        assert not torch.equal(evaluate(model, graph())["energy"], before)
    assert torch.equal(evaluate(model, graph())["energy"], before)


@pytest.mark.parametrize(
    ("ls", "layers", "drop"),
    [
        ((0, 1, 2), 2, {2}),
        ((0, 1, 2, 3), 3, {2}),
        ((0, 1, 2), 3, {1}),
        ((0, 1, 2), 2, {1, 2}),
    ],
)
def test_a_pruned_network_is_the_whole_one_without_degrees(ls, layers, drop):
    model = potential(ls=ls, layers=layers, radial_hidden=(5,))
    taps = taps_of(model)
    names = [str(ir) for _, ir in taps.irreps if ir.l in drop]
    with taps.scaled(dict.fromkeys(names, 0.0)):
        expected = evaluate(model, graph(), OUTPUTS)
    smaller = pruned(model, drop)
    found = evaluate(smaller, graph(), OUTPUTS)
    for name in OUTPUTS:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-12, atol=1e-12)
    whole = evaluate(model, graph(), OUTPUTS)
    assert (whole["forces"] - found["forces"]).abs().max() > 1e-6
    size, full = (sum(p.numel() for p in m.parameters()) for m in (smaller, model))
    assert size < full


FULL = {"multiplicities": (6, 4, 3), "embedding": 6, "n_radial": 5, "cutoff": 4.0}
OWN = {"output_multiplicities": (5, 2, 2), "output_layers": 2, "output_hidden": (4,)}
FUSED = {
    "convolution": "fused",
    "chiral": False,
    "multiplicities": (6, 6, 6),
    "embedding": 6,
    "basis": "bessel",
    "n_radial": 5,
    "cutoff": 4.0,
    "output_hidden": (4,),
}


def qm9net(**changes):
    settings = {"elements": (1, 6, 8), "layers": 2, "radial_hidden": (5,), **changes}
    return QM9Net(QM9NetConfig(**settings), "torch").double()


def equitriton(backend="torch", **changes):
    settings = {"elements": (1, 6, 8), "channels": 4, "layers": 2, **changes}
    config = EquiTritonConfig(targets=("U0", "mu"), **settings)
    return EquiTriton(config, backend).double()


@pytest.mark.parametrize("drop", [{1}, {2}, {1, 2}])
@pytest.mark.parametrize(
    "make",
    [
        lambda: qm9net(**FULL),
        lambda: qm9net(**FULL, **OWN, targets=("mu", "gap")),
        lambda: qm9net(**FUSED, targets=("mu", "gap")),
        equitriton,
        lambda: equitriton("e3nn", ls=(2, 0, 4, 1)),
    ],
    ids=["qm9net", "own layers", "fused", "equitriton", "e3nn, any order"],
)
def test_a_pruned_property_network_is_the_whole_one_without_degrees(make, drop):
    torch.manual_seed(0)
    model = make()
    taps = taps_of(model)
    names = [str(ir) for _, ir in taps.irreps if ir.l in drop]
    with taps.scaled(dict.fromkeys(names, 0.0)):
        expected = taps.run(graph())["values"]
    whole = taps.run(graph())["values"]
    smaller = pruned(model, drop)
    assert {ir.l for _, ir in taps_of(smaller).irreps}.isdisjoint(drop)
    found = smaller(graph())["values"]
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    assert ((whole - found).abs() > 1e-7).all()
    size, full = (sum(p.numel() for p in m.parameters()) for m in (smaller, model))
    assert size < full
    if len(drop) == 1 and 2 not in drop:  # once more, as if both had been given
        torch.testing.assert_close(
            pruned(smaller, {2})(graph())["values"],
            pruned(model, {1, 2})(graph())["values"],
        )


def test_pruning_keeps_dipoles_where_vectors_stay():
    without = {l: cast(Potential, pruned(potential(), {l})).config for l in (1, 2)}
    assert without[2].dipole
    assert not without[1].dipole


def test_pruning_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="read from the scalars"):
        pruned(potential(), {0})
    with pytest.raises(ValueError, match=r"\[5\].*\[0, 1, 2\]"):
        pruned(potential(), {5})
    with pytest.raises(ValueError, match="read from the scalars"):
        pruned(equitriton(), {0, 1})
    with pytest.raises(ValueError, match=r"\[2\].*\[0, 1\]"):
        pruned(qm9net(multiplicities=(4, 2), embedding=4), {2})
    with pytest.raises(ValueError, match="not for Symphony"):
        pruned(Symphony(SymphonyConfig(channels=4), "torch"), {2})


def test_a_network_plugs_in_by_one_registration():
    class Toy(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(3, 3)

        def forward(self, data):
            return self.last(data["pos"].float())

    model = Toy()
    with pytest.raises(ValueError, match="is registered with"):
        taps_of(model)

    @taps_of.register
    def _(model: Toy) -> Taps:
        return Taps((Tap(model.last, as_irreps("1x1o")),), run=model)

    assert taps_of(model).read(graph())["1o"].shape == (6, 1, 3)


def test_gate_widths_must_fit():
    with pytest.raises(ValueError, match="1 gate widths for 2 layers"):
        potential(gate_widths=(3,))
