"""Embeddings turn with the structure, and say the same of the same."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import InputError

from equicalc import Embedder, o3
from equicalc.models import Mo3ENet, Mo3ENetConfig

LEVELS = ("atom", "molecule")


def turned(atoms, matrix):
    copy = atoms.copy()
    copy.positions = atoms.positions @ matrix.numpy().T + (3.0, -2.0, 1.0)
    return copy


def close(found, expected, tolerance=1e-9):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("inversion", [1, -1], ids=["rotation", "with inversion"])
def test_every_irrep_turns_in_its_own_way(embedder, ethanol, level, inversion):
    matrix = inversion * o3.rand_matrix(dtype=torch.float64)
    before = embedder.embed(ethanol, level=level)
    after = embedder.embed(turned(ethanol, matrix), level=level)
    for name, block in before.items():
        D = o3.Irrep(name).D_from_matrix(matrix).numpy()
        np.testing.assert_allclose(after[name], block @ D.T, atol=1e-9, err_msg=name)
        assert np.abs(block).max() > 1e-4


def test_the_flat_layout_is_that_of_e3nn(embedder, ethanol):
    matrix = o3.rand_matrix(dtype=torch.float64)
    before = embedder.embed(ethanol, per_irrep=False)
    after = embedder.embed(turned(ethanol, matrix), per_irrep=False)
    D = embedder.irreps.D_from_matrix(matrix).numpy()
    np.testing.assert_allclose(after, before @ D.T, atol=1e-9)
    assert before.shape[1] == embedder.irreps.dim == len(embedder.feature_names())


@pytest.mark.parametrize("level", LEVELS)
def test_invariants_do_not_turn(embedder, ethanol, level):
    matrix = -o3.rand_matrix(dtype=torch.float64)
    before = embedder.invariants(ethanol, level=level)
    close(embedder.invariants(turned(ethanol, matrix), level=level), before)
    shapes = {str(ir): mul for mul, ir in embedder.irreps}
    assert {name: array.shape[1] for name, array in before.items()} == shapes


def test_invariants_are_scalars_and_lengths(embedder, ethanol):
    features = embedder.embed(ethanol)
    found = embedder.invariants(ethanol, level="atom")
    np.testing.assert_allclose(found["0e"], features["0e"][..., 0])
    np.testing.assert_allclose(found["1o"], np.linalg.norm(features["1o"], axis=2))


def test_vectors_of_a_symmetric_molecule_cancel_and_their_lengths_do_not(embedder):
    from ase.build import molecule

    benzene = molecule("C6H6")
    pooled = embedder.embed(benzene, level="molecule")["1o"]
    lengths = embedder.invariants(benzene)["1o"]
    assert np.abs(pooled).max() < 1e-6 * lengths.max()


@pytest.mark.parametrize("level", LEVELS)
def test_a_batch_is_its_structures(embedder, molecules, level):
    alone = [embedder.embed(atoms, level=level) for atoms in molecules]
    joined = {name: np.concatenate([a[name] for a in alone]) for name in alone[0]}
    close(embedder.embed(iter(molecules), level=level), joined)
    rows = len(molecules) if level == "molecule" else sum(map(len, molecules))
    assert {len(block) for block in joined.values()} == {rows}


def test_order_of_atoms_does_not_matter_to_molecules(embedder, ethanol):
    order = np.random.default_rng(0).permutation(len(ethanol))
    shuffled = ethanol[order]
    close(
        embedder.embed(shuffled, level="molecule"),
        embedder.embed(ethanol, level="molecule"),
    )
    before, after = embedder.embed(ethanol), embedder.embed(shuffled)
    close(after, {name: block[order] for name, block in before.items()})


def test_an_atom_alone_has_scalars_only(embedder):
    found = embedder.embed(Atoms("C"))
    assert np.abs(found["0e"]).max() > 0
    assert not found["1o"].any()


def test_a_sum_is_the_mean_times_the_number_of_atoms(ethanol):
    mean, total = (
        Embedder.from_pretrained("potential", device="cpu", pooling=pooling)
        for pooling in ("mean", "sum")
    )
    np.testing.assert_allclose(
        total.embed(ethanol, "molecule")["0e"],
        len(ethanol) * mean.embed(ethanol, "molecule")["0e"],
        rtol=1e-5,
    )


def test_the_last_layer_can_be_had_alone(ethanol):
    last = Embedder.from_pretrained("potential", device="cpu", layers=[-1])
    assert str(last.irreps) == "64x0e+64x1o"
    everything = Embedder.from_pretrained("potential", device="cpu").embed(ethanol)
    np.testing.assert_array_equal(last.embed(ethanol)["0e"], everything["0e"][:, 64:])


def test_hydrogens_have_no_features_in_the_generator(ethanol):
    found = Embedder.from_pretrained("symphony", device="cpu").embed(ethanol)
    heavy = ethanol.numbers > 1
    assert not found["0e"][~heavy].any()
    assert found["0e"][heavy].any()


def test_unknown_elements_are_named(embedder, molecules):
    with pytest.raises(InputError, match=r"structure 6: element Xe .*knows H, C"):
        embedder.embed([*molecules, Atoms("Xe")])


def test_impossible_requests_are_refused(embedder, ethanol):
    with pytest.raises(ValueError, match="give 'atom' or 'molecule'"):
        embedder.embed(ethanol, level="crystal")
    with pytest.raises(InputError, match="no structure to embed"):
        embedder.embed([])
    with pytest.raises(ValueError, match="this network has 0 to 1"):
        Embedder(embedder.model, layers=[2])
    with pytest.raises(ValueError, match="'mean' or 'sum'"):
        Embedder(embedder.model, pooling="max")  # pyright: ignore[reportArgumentType]
    with pytest.raises(FileNotFoundError, match="no shipped model"):
        Embedder.from_pretrained("nothing")


def test_the_generator_refuses_crystals_and_hydrogen():
    embedder = Embedder.from_pretrained("symphony", device="cpu")
    with pytest.raises(InputError, match="molecules only"):
        embedder.embed(Atoms("C", cell=[4, 4, 4], pbc=True))
    with pytest.raises(ValueError, match="has none"):
        embedder.embed([Atoms("C"), Atoms("H2", [[0, 0, 0], [0, 0, 0.7]])])


def test_a_network_of_whole_molecules_embeds_them(ethanol):
    config = Mo3ENetConfig(elements=(6, 8), bottleneck=8)  # leaves hydrogens out
    embedder = Embedder(Mo3ENet(config, "torch").double())
    found = embedder.embed([ethanol, ethanol], level="molecule")
    assert found["1o"].shape == (2, 8, 3)
    np.testing.assert_allclose(found["1o"][0], found["1o"][1])
    lengths = embedder.invariants(ethanol)["1o"]
    np.testing.assert_allclose(lengths, np.linalg.norm(found["1o"][:1], axis=2))
    np.testing.assert_allclose(embedder.embed(ethanol)["1o"], found["1o"][:1])
    assert repr(embedder) == "Embedder(Mo3ENet: 8x1o of molecule)"
    with pytest.raises(ValueError, match="whole molecules, not atoms"):
        embedder.embed(ethanol, "atom")
    with pytest.raises(ValueError, match="has no atoms to sum over"):
        Embedder(embedder.model, pooling="sum")
    crystal = ethanol.copy()
    crystal.set_cell([9, 9, 9])
    crystal.pbc = True
    with pytest.raises(InputError, match=r"structure 1: .* knows molecules only"):
        embedder.embed([ethanol, crystal])


def test_ions_are_refused_as_by_the_calculator(embedder, ethanol):
    ion = ethanol.copy()
    ion.info["charge"] = -1
    with pytest.raises(InputError, match=r"structure 1: .* charge -1 .* leave the str"):
        embedder.embed([ethanol, ion])
    ion.info = {"spin": 3}
    with pytest.raises(InputError, match=r"structure 0: .* 2 unpaired electrons"):
        embedder.invariants(ion)
