"""The structure builder."""

from functools import partial

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.constraints import FixAtoms

from equicalc.data.fragments import FragmentSequences
from equicalc.data.smiles import atoms_from_smiles
from equicalc.generators import Builder, Rules, Temperature, load_builder, steps
from equicalc.generators.storage import (
    append_structures,
    read_molecules,
    written_molecules,
)
from equicalc.generators.structures import ARRAYS
from equicalc.training.growth import growth_of
from equicalc.training.growth_loss import growth_log_prob, log_partition


def same(a, b):
    return (
        len(a) == len(b)
        and (a.numbers == b.numbers).all()
        and np.allclose(a.positions, b.positions, atol=1e-3)
    )


def test_a_molecule_depends_on_its_number_and_seed_only(builder):
    whole = builder.generate(5, seed=3)
    for batch_size in (1, 2):
        again = builder.generate(5, seed=3, batch_size=batch_size)
        assert all(same(a, b) for a, b in zip(whole, again))
    (later,) = builder.generate(1, seed=3, first=4)
    assert same(whole[4], later)
    other = builder.generate(5, seed=4)
    assert not all(same(a, b) for a, b in zip(whole, other))


def test_numbers_of_molecules_are_integers(builder):
    for wrong in ({"n": 2.0}, {"n": 2, "batch_size": 2.5}, {"n": 2, "first": "1"}):
        for ask in (builder.generate, partial(builder.complete, Atoms("C"))):
            with pytest.raises(ValueError, match="give integers"):
                ask(**wrong, valid_only=True)


@pytest.mark.parametrize("seed", [None, -1, 1.5, True, 2**63])
def test_seeds_are_integers(builder, seed):
    with pytest.raises(ValueError, match="give an integer from 0"):
        builder.generate(1, seed=seed)


def test_one_molecule_is_needed(builder):
    for ask in (builder.log_prob, builder.complete, builder.propose):
        with pytest.raises(ValueError, match=r"a list was given: give one .*Atoms"):
            ask([molecule("CH4")])


def test_molecules_do_not_depend_on_the_batch():
    shipped = load_builder("symphony")
    whole = shipped.generate(12, seed=3)
    for size in (1, 5):
        for a, b in zip(whole, shipped.generate(12, seed=3, batch_size=size)):
            assert (a.numbers == b.numbers).all()
            assert np.abs(a.positions - b.positions).max() < 1e-9


def test_a_large_fragment_leaves_no_more_room_to_others(builder):
    line = Atoms("C" * 12, [[1.5 * k, 0, 0] for k in range(12)])
    small = molecule("CH4")[:1]
    room = builder.model.config.max_atoms
    assert len(line) > room
    together = builder.complete_each([line, small] * 4, seed=2)
    alone = builder.complete_each([line, small] * 4, seed=2, batch_size=1)
    assert all(same(a, b) for a, b in zip(together, alone))
    assert max(map(len, together[1::2])) <= room


@pytest.mark.parametrize("rules", [Rules(), Rules(formula="C2H6O", clash=1.25)])
def test_what_is_known_of_a_skeleton_changes_nothing(monkeypatch, rules):
    shipped = load_builder("symphony")
    asks = [
        lambda: shipped.generate(8, seed=5, rules=rules),
        lambda: shipped.complete(molecule("CH3OH"), 8, bare=True, grow_from=[0, 1]),
        lambda: shipped.complete_each([molecule("C6H6")[:4], molecule("CH4")[:2]]),
    ]
    remembered = [ask() for ask in asks]
    embedded = steps._embedded
    monkeypatch.setattr(
        steps,
        "_embedded",
        lambda model, growing, batch, known: embedded(model, growing, batch, None),
    )
    for ask, before in zip(asks, remembered):
        for a, b in zip(ask(), before):
            assert (a.numbers == b.numbers).all()
            assert np.abs(a.positions - b.positions).max() < 1e-9


def test_a_builder_leaves_its_model_as_it_is(tiny_symphony):
    before = next(tiny_symphony.parameters()).dtype
    made = Builder(tiny_symphony)
    assert next(tiny_symphony.parameters()).dtype == before == torch.float32
    assert next(made.model.parameters()).dtype == torch.float64


def test_a_bare_fragment_gets_other_atoms_and_its_hydrogens_anew():
    shipped = load_builder("symphony")
    benzene = molecule("C6H6")
    for atoms in shipped.complete(benzene, 3, bare=True, grow_from=[-7, 3]):
        assert (atoms.positions[:6] == benzene.positions[:6]).all()
        focus = atoms.arrays["gen_focus"][6:]
        attached, hydrogen = focus < 6, atoms.numbers[6:] == 1
        assert set(focus[attached & ~hydrogen]) <= {5, 3}
        assert set(focus[attached & hydrogen]) >= {0, 1, 2, 4}
        assert "grow from 3 5, hydrogens anew" in atoms.info["rules"]
    few = shipped.complete(benzene, 1, bare=True, rules=Rules(max_atoms=7))
    assert len(few[0]) == 7
    with pytest.raises(ValueError, match=r"the hydrogen 8.*heavy atoms are 0, 1, 2"):
        shipped.complete(benzene, bare=True, grow_from=[0, 8])


def test_molecules_say_where_they_come_from(builder):
    for k, atoms in enumerate(builder.stream(3, seed=1, batch_size=2)):
        assert atoms.info["molecule"] == k
        assert atoms.info["generator"] == "tiny"
        assert atoms.info["seed"] == 1
        assert 1 <= len(atoms) <= 7
        assert atoms.numbers[0] != 1
        steps, focus = atoms.arrays["gen_step"], atoms.arrays["gen_focus"]
        assert steps.tolist() == list(range(len(atoms)))
        assert (focus < np.arange(len(atoms))).all()
        assert atoms.info["log_prob"] == pytest.approx(atoms.arrays["gen_logp"].sum())


@pytest.mark.parametrize("suffix", [".extxyz", ".db"])
def test_files_keep_the_provenance_and_can_be_continued(builder, tmp_path, suffix):
    path = tmp_path / f"molecules{suffix}"
    assert written_molecules(path, seed=1) == (0, 0)
    made = builder.generate(3, seed=1)
    append_structures(path, made[:2])
    append_structures(path, made[2:])
    assert written_molecules(path, seed=1) == (3, 3)
    with pytest.raises(ValueError, match="seed 1, not 2"):
        written_molecules(path, seed=2)
    assert written_molecules(path, seed=1, focus_temperature=1.1) == (3, 3)
    with pytest.raises(ValueError, match=r"focus_temperature 1.1, not 0.5"):
        written_molecules(path, seed=1, focus_temperature=0.5)
    back = read_molecules(path)
    assert len(back) == 3
    for a, b in zip(made, back):
        assert same(a, b)
        for name in ("generator", "seed", "molecule", "complete", "focus_temperature"):
            assert b.info[name] == a.info[name]
        for name in ARRAYS:
            np.testing.assert_allclose(b.arrays[name], a.arrays[name], rtol=1e-6)


def test_completion_leaves_the_fragment_alone(builder, methanol):
    fragment = methanol[[0, 1, 2]]
    fragment.set_constraint(FixAtoms([0]))
    fragment.set_array("mark", np.array([7, 8, 9]))
    n = len(fragment)
    for atoms in builder.complete(fragment, 4, seed=0):
        assert same(atoms[:n], fragment)
        assert atoms.arrays["mark"][:n].tolist() == [7, 8, 9]
        assert atoms.constraints[0].index.tolist() == [0]
        assert (atoms.arrays["gen_step"][:n] == -1).all()
        assert atoms.arrays["gen_step"][n:].tolist() == list(range(len(atoms) - n))


def test_what_a_fragment_was_is_not_said_of_the_molecule(builder):
    fragment = atoms_from_smiles("[CH2]C[O-]")
    assert fragment.info == {"smiles": "[CH2]C[O-]", "charge": -1, "spin": 2}
    fragment.info |= {"energy": -1.5, "formula": "C2H4O"}
    fragment.set_array("forces", np.ones((len(fragment), 3)))
    fragment.set_initial_magnetic_moments([1.0] + [0.0] * (len(fragment) - 1))
    fragment.set_array("mark", np.arange(len(fragment)))
    (whole,) = builder.complete(fragment)
    (made,) = builder.generate(1)
    assert whole.info.keys() == made.info.keys()
    kept = {"mark", "initial_magmoms", "initial_charges"} & fragment.arrays.keys()
    assert whole.arrays.keys() == made.arrays.keys() | kept
    assert whole.get_initial_magnetic_moments().sum() == 1
    assert fragment.info["charge"] == -1
    assert fragment.has("forces")


def test_growth_starts_where_it_may(builder, methanol):
    fragment = methanol[[0, 1]]
    for last in (1, -1):
        for atoms in builder.complete(fragment, 6, seed=0, grow_from=[last]):
            assert 0 not in atoms.arrays["gen_focus"][2:]


def test_proposals_are_the_next_atoms(builder, methanol):
    fragment = methanol[[0, 1, 2]]
    proposals = builder.propose(fragment, 6, seed=0, rules=Rules(valence=False))
    assert len(proposals) == 6
    chances = [proposal.log_prob for proposal in proposals]
    assert chances == sorted(chances, reverse=True)
    for proposal in proposals:
        assert proposal.focus in (0, 1)
        assert proposal.symbol in ("H", "C", "O")
        distance = np.linalg.norm(
            proposal.position - fragment.positions[proposal.focus]
        )
        assert 0.7 < distance < 2.4


def test_probability_of_a_molecule_is_that_of_its_steps(builder):
    """A heavy atom and its hydrogen are built in one order only."""
    drawn = builder.generate(64, seed=2, rules=Rules(valence=False))
    pairs = [a for a in drawn if len(a) == 2 and a.info["complete"]]
    pairs = [a for a in pairs if a.numbers[1] == 1]
    assert pairs
    for atoms in pairs:
        stop = builder.log_prob(atoms) - atoms.info["log_prob"]
        assert stop < 0
        alone = builder.log_prob(atoms[:1])
        assert np.isfinite(alone)


def test_fragments_of_a_grown_molecule_are_as_likely_as_they_were(builder):
    """Learned from in the order in which it grew."""
    (atoms,) = builder.generate(1, seed=3)
    n = len(atoms)
    focus = atoms.arrays["gen_focus"][None]
    admissible = np.zeros((1, n, n, n), dtype=bool)
    admissible[0, np.arange(n - 1), focus[0, 1:], np.arange(1, n)] = True
    batch = growth_of(
        atoms.numbers[None],
        atoms.positions[None],
        builder.model.config,
        0.0,
        np.random.default_rng(0),
        builder.model.hydrogens_apart,
        sequences=FragmentSequences(np.arange(n)[None], focus, admissible),
    ).double()
    h = builder.model.embed(batch.fragments)
    logits = builder.model.focus_logits(h, batch.fragments)
    stop = -log_partition(logits, batch.fragments.pair_fragment, len(batch))[-1]
    steps = atoms.arrays["gen_logp"][1:].sum()
    found = growth_log_prob(builder.model, batch)
    assert (found - stop).item() == pytest.approx(steps, abs=1e-3)


def test_probability_does_not_depend_on_the_frame(builder, methanol):
    turned = methanol.copy()
    turned.rotate(50, (1, 2, 3))
    turned.positions += [3, -1, 2]
    assert builder.log_prob(turned, seed=1) == pytest.approx(
        builder.log_prob(methanol, seed=1), abs=0.02
    )


def test_sharp_densities_do_not_depend_on_the_frame():
    """Hydrogens of the shipped generator have peaks and circles of half a degree."""
    shipped = load_builder("symphony")
    ethanol = molecule("CH3CH2OH")
    turned = ethanol.copy()
    turned.rotate(50, (1, 2, 3))
    assert shipped.log_prob(turned) == pytest.approx(
        shipped.log_prob(ethanol), abs=0.02
    )


def test_fragments_far_from_the_origin_grow_as_well(builder, methanol):
    """Single precision has steps of 1/128 Angstrom there."""
    away = np.array([1e5, -1e5, 1e5])
    fragment = methanol[[0, 1, 2]]
    around = Atoms("Au2", fragment.positions[0] + np.array([[0, 0, 3], [0, 3, 0]]))
    far, far_around = fragment.copy(), around.copy()
    far.positions += away
    far_around.positions += away
    rules, far_rules = (
        Rules(environment=atoms, valence=False) for atoms in (around, far_around)
    )
    grown = builder.complete(fragment, 4, rules=rules)
    grown += builder.complete_each([methanol[[0, 1]], fragment])[1:]
    shifted = builder.complete(far, 4, rules=far_rules)
    shifted += builder.complete_each([methanol[[0, 1]], far])[1:]
    assert max(len(atoms) for atoms in grown) > 3
    for near, there in zip(grown, shifted, strict=True):
        assert (near.numbers == there.numbers).all()
        assert (there.positions[:3] == far.positions).all()  # every bit
        apart = there.positions - away - near.positions
        np.testing.assert_allclose(apart, 0, atol=1e-5)
    for near, there in zip(
        builder.propose(fragment, 4), builder.propose(far, 4), strict=True
    ):
        np.testing.assert_allclose(there.position - away, near.position, atol=1e-5)
        assert there.log_prob == pytest.approx(near.log_prob, abs=1e-4)
    moved = methanol.copy()
    moved.positions += away
    assert builder.log_prob(moved) == pytest.approx(
        builder.log_prob(methanol), abs=1e-4
    )


@pytest.mark.parametrize(
    ("fragment", "options", "match"),
    [
        (Atoms(), {}, "no atoms"),
        (Atoms("Si"), {}, "has Si, unknown to this generator, which knows H, C, O"),
        (Atoms("CC", [[0, 0, 0], [0, 0, 0.1]]), {}, "0.10 Angstrom apart"),
        (Atoms("C", cell=[5, 5, 5], pbc=True), {}, "periodic"),
        (Atoms("H"), {}, "hydrogens only"),
        (Atoms("C", [[np.nan, 0, 0]]), {}, "not finite"),
        (Atoms("C"), {"grow_from": [3]}, "grow_from 3: the fragment has atoms 0 to 0"),
        (Atoms("CH", [[0, 0, 0], [0, 0, 1]]), {"grow_from": [1]}, "no atom but"),
        (Atoms("C"), {"grow_from": []}, "grow_from is empty"),
        (Atoms("C"), {"grow_from": [True]}, "grow_from has True: give indices"),
        (Atoms("C"), {"grow_from": [0.5]}, "grow_from has 0.5: give indices"),
        (Atoms("C"), {"n": -1}, "n is -1"),
    ],
)
def test_bad_fragments_are_refused(builder, fragment, options, match):
    with pytest.raises(ValueError, match=match):
        builder.complete(fragment, **options)


def test_only_generators_are_loaded(tmp_path, tiny_symphony):
    from equicalc.checkpoint import save_checkpoint

    path = save_checkpoint(tmp_path / "tiny.safetensors", tiny_symphony, {})
    assert isinstance(load_builder(path), Builder)
    with pytest.raises(FileNotFoundError, match="no shipped model"):
        load_builder("symfony")
    with pytest.raises(ValueError, match="not a generator"):
        load_builder("potential-gfn2")


def test_temperatures_are_positive():
    with pytest.raises(ValueError, match="must be positive"):
        Temperature(focus=0.0)
