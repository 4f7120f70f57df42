"""The use of an irrep is measured right where the answer is known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from torch import nn

from equicalc.analysis.irreps import analyze_irreps
from equicalc.analysis.measures import (
    gradient_times_activation,
    knn_r2,
    participation,
)
from equicalc.analysis.removal import Removals
from equicalc.analysis.sample import unpacked
from equicalc.data import PackedDataset, write_packed
from equicalc.embedding import Embedder
from equicalc.models import (
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

NAMES = ("H2O", "CH4", "CH3OH", "C2H6", "H2CO", "CO2", "CH3CHO")


@pytest.fixture
def network():
    config = PotentialConfig(elements=(1, 6, 8), channels=4, layers=2)
    return Potential(config, "torch").double()


@pytest.fixture
def molecules():
    found = [molecule(name) for name in NAMES]
    for seed, atoms in enumerate(found):
        atoms.rattle(0.05, seed=seed)
    return found


def test_participation_counts_channels():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(4000, 1, 3)) * np.ones((1, 6, 1))
    assert participation(one) == pytest.approx(1)
    assert participation(rng.normal(size=(4000, 6, 3))) == pytest.approx(6, rel=0.02)
    assert participation(np.ones((10, 4, 1))) == 0  # constants say nothing


def test_neighbours_of_the_same_molecule_do_not_count():
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(30, 2))
    points = np.repeat(centre, 4, axis=0) + 1e-3 * rng.normal(size=(120, 2))
    values = np.repeat(rng.normal(size=30), 4)  # nothing to do with the place
    identities = np.repeat(np.arange(30), 4).astype(str).tolist()
    assert knn_r2(points, values, k=3) > 0.9
    assert knn_r2(points, values, identities, k=3) < 0.2


def test_r2_needs_values_that_differ():
    points = np.arange(20.0)[:, None]
    assert np.isnan(knn_r2(points, np.ones(20)))
    assert np.isnan(knn_r2(points[:6], points[:6, 0]))
    unknown = np.where(points[:, 0] % 2, np.nan, points[:, 0])
    assert knn_r2(points, unknown, k=2) > 0.8


def test_attribution_of_a_linear_readout_is_its_energy(network, molecules):
    """The last layer's scalars times the slope, where the energy is linear in them."""
    network.energy_head = torch.nn.Linear(4, 1, bias=False).double()
    network.repulsion = None
    embedder = Embedder(network)
    [graph] = embedder.graphs(molecules[:1])
    found = gradient_times_activation(embedder.taps, graph)
    scalars = embedder.taps.read(graph, [1])["0e"][..., 0]
    [first, last] = (embedder.taps.features[k] for k in (0, 1))
    alone = gradient_times_activation(
        type(embedder.taps)((last,), embedder.taps.run), graph
    )
    expected = 1000 * network.energy_head(scalars)[:, 0].detach().numpy()
    np.testing.assert_allclose(alone["energy"]["0e"], expected, atol=1e-9)
    assert not np.allclose(
        found["energy"]["0e"], expected
    )  # the first layer counts too
    assert first.irreps.dim > last.irreps.dim


def test_removal_is_what_pruning_does(network, molecules):
    embedder = Embedder(network)
    removals = Removals.measured(embedder, molecules)
    [graph] = embedder.graphs(molecules)
    whole, smaller = (evaluate(m, graph) for m in (network, pruned(network, {2})))
    expected = 1000 * (whole["forces"] - smaller["forces"]).abs().mean().item()
    assert removals.change("2e")["force"] == pytest.approx(expected)
    assert removals.change() == {"energy": 0.0, "force": 0.0}


def test_labels_turn_changes_into_errors(network, molecules):
    plain = analyze_irreps(Embedder(network), molecules)
    assert plain.error == {}
    assert "force_error_meV/A" not in plain.rows()[0]
    embedder = Embedder(network)
    for atoms in molecules:
        [graph] = embedder.graphs([atoms])
        out = evaluate(network, graph)
        atoms.calc = SinglePointCalculator(
            atoms, energy=out["energy"].item(), forces=out["forces"].numpy()
        )
    labelled = analyze_irreps(embedder, molecules)
    assert labelled.error["force"] == pytest.approx(0, abs=1e-9)
    for use in labelled.uses:  # the labels are its own answers
        assert use.error == pytest.approx(use.change)


def test_an_irrep_that_does_nothing_is_to_be_dropped(network, molecules, tmp_path):
    for layer in network.layers:
        layer.after.weights[-1].data *= 0 if len(layer.after.ls) == 3 else 1
        couplings = layer.convolution.paths.couplings
        dead = torch.tensor([2 in coupling for coupling in couplings])
        matrix = layer.filters.matrix.data.unflatten(1, (len(couplings), -1))
        matrix[:, dead] = 0
    found = analyze_irreps(Embedder(network), molecules)
    advice = {use.irrep: use.advice for use in found.uses}
    assert advice == {"0e": "keep: scalars", "1o": "keep", "2e": "drop"}
    assert found.uses[-1].change["force"] == pytest.approx(0, abs=1e-9)
    assert 0 < found.uses[-1].parameters < 1
    assert found.rows()[0]["parameters"] == ""  # scalars cannot be dropped
    assert found.plot(tmp_path / "use.png").stat().st_size > 0


def test_a_generator_has_no_energies(molecules):
    generator = Symphony(SymphonyConfig(channels=4, layers=2), "torch").double()
    values = np.arange(float(len(molecules)))
    found = analyze_irreps(Embedder(generator), molecules, values)
    columns = found.rows()[0]
    assert "force_change_meV/A" not in columns
    assert "knn_r2" in columns


def test_the_only_irrep_of_a_network_is_kept(molecules):
    autoencoder = Mo3ENet(Mo3ENetConfig(elements=(1, 6, 8), bottleneck=8), "torch")
    nothing = np.random.default_rng(0).normal(size=len(molecules))
    [vectors] = analyze_irreps(Embedder(autoencoder.double()), molecules, nothing).uses
    assert vectors.advice == "keep: there is no other"


def test_molecules_are_pooled_as_the_embedder_does(network, molecules):
    values = np.arange(len(molecules), dtype=float)
    found = [
        [
            use.knn_r2
            for use in analyze_irreps(
                Embedder(network, pooling=p), molecules, values
            ).uses
        ]
        for p in ("mean", "sum")
    ]
    assert not np.allclose(found[0], found[1])


def test_the_given_network_is_left_alone(network, molecules):
    network.requires_grad_(False)
    analyze_irreps(Embedder(network), molecules)
    assert not any(p.requires_grad or p.grad is not None for p in network.parameters())


class PropertyNetwork(nn.Module):
    """A value of a molecule from scalars and lengths, as a list of blocks."""

    cutoff, elements = 5.0, (1, 6, 8)
    config = SimpleNamespace(targets=("electrons",))

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
        self.layer = Blocks()

    def forward(self, graph):
        scalars, vectors = self.layer(graph, self.scale)
        per_atom = scalars.sum((1, 2)) + vectors.square().sum((1, 2))
        values = per_atom.new_zeros(len(graph["ptr"]) - 1)
        return {"values": values.index_add(0, graph["batch"], per_atom)[:, None]}


class Blocks(nn.Module):
    def forward(self, graph, scale):
        z, pos = graph["z"].double(), graph["pos"]
        return [scale[0] * z[:, None, None], scale[1] * pos[:, :, None]]


@taps_of.register
def _(model: PropertyNetwork) -> Taps:
    tap = Tap(model.layer, as_irreps("1x0e+1x1o"), "blocks")
    return Taps((tap,), run=model)


def test_networks_of_other_properties_are_measured_too(molecules, tmp_path):
    for atoms in molecules:
        atoms.info["electrons"] = float(atoms.numbers.sum())
    found = analyze_irreps(Embedder(PropertyNetwork()), molecules)
    scalars, vectors = found.uses
    lengths = [4 * np.square(atoms.positions).sum() for atoms in molecules]
    electrons = [atoms.numbers.sum() for atoms in molecules]
    assert vectors.change == pytest.approx({"electrons": np.mean(lengths)})
    assert vectors.error == pytest.approx({"electrons": 0.0})
    assert scalars.change == pytest.approx({"electrons": np.mean(electrons)})
    atoms = sum(len(atoms) for atoms in molecules)
    assert scalars.attribution == pytest.approx({"electrons": sum(electrons) / atoms})
    assert vectors.attribution == pytest.approx({"electrons": 2 * sum(lengths) / atoms})
    assert {"electrons_change", "electrons_error"} <= found.rows()[0].keys()
    assert found.plot(tmp_path / "use.png").stat().st_size > 0


def test_targets_are_told_apart(molecules, tmp_path):
    config = QM9NetConfig(elements=(1, 6, 8), targets=("mu", "U0"), per_atom=False)
    network = QM9Net(config, "torch").double()
    for atoms in molecules:
        atoms.info |= {"mu": 1.0, "U0": 2.0 * len(atoms)}
    found = analyze_irreps(Embedder(network), molecules)
    assert found.error.keys() == {"mu", "energy"}
    for use in found.uses:
        assert use.change.keys() == {"mu", "energy", "force"}
        assert use.attribution.keys() == {"mu", "energy"}
    [graph] = Embedder(network).graphs(molecules)
    dipoles = network(graph)["values"][:, 0].detach().numpy()
    assert found.error["mu"] == pytest.approx(np.abs(dipoles - 1.0).mean())
    assert {"mu_change_Debye", "energy_error_meV/atom"} <= found.rows()[0].keys()
    assert found.plot(tmp_path / "use.png").stat().st_size > 0


def test_vectors_lean_on_irreps_by_their_length(molecules):
    config = QM9NetConfig(elements=(1, 6, 8), targets=("dipole",), kind="vector")
    network = QM9Net(config, "torch").double()
    plain = analyze_irreps(Embedder(network), molecules).uses
    for atoms in molecules:
        atoms.rotate(70, (1, 2, 3))
    turned = analyze_irreps(Embedder(network), molecules).uses
    for before, after in zip(plain, turned):
        assert after.attribution == pytest.approx(before.attribution)


def test_properties_of_a_packed_set_are_labels(tmp_path):
    record = {"z": [8, 1, 1], "pos": np.eye(3), "energy": -1.0, "mu": 1.85}
    write_packed(tmp_path / "set", [record, record | {"mu": 0.0}])
    found = list(unpacked(PackedDataset(tmp_path / "set", rows=[1, 0])))
    assert [atoms.info["mu"] for atoms in found] == [0.0, 1.85]
    assert [atoms.get_potential_energy() for atoms in found] == [-1.0, -1.0]
