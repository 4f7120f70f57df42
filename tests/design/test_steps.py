"""Steps keep what they should and say why they keep nothing else."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from pydantic import ValidationError

from equicalc.calculators import EquiCalculator
from equicalc.data.smiles import atoms_from_smiles
from equicalc.design import (
    Composition,
    Conformers,
    Diverse,
    Embed,
    LatticeEnergy,
    MissingError,
    Novel,
    Pack,
    Plausible,
    Predict,
    Properties,
    Rejected,
    Relax,
    Score,
    Step,
    Synthesizable,
    Top,
    Valid,
    Window,
    regrow,
    relax_together,
)
from equicalc.design.regrowth import kept_fragment
from equicalc.models import LatticeConfig, LatticeNetwork, Potential, PotentialConfig
from equicalc.simulation import relax


@pytest.fixture(scope="module")
def network():
    config = PotentialConfig(elements=(1, 6, 8), channels=4, layers=2, ls=(0, 1))
    return Potential(config)


@pytest.fixture
def ethanol():
    return atoms_from_smiles("CCO")


def known(**info):
    atoms = Atoms("C")
    atoms.info.update(info)
    return atoms


def test_the_structures_given_stay_as_they_are(ethanol):
    before = ethanol.copy()
    for step in (Valid(), Properties(names=("rings",)), Relax(calculator="emt")):
        list(step([ethanol]))
    assert ethanol == before
    assert ethanol.info == before.info


def test_what_is_not_finished_is_not_valid(ethanol):
    ethanol.info["complete"] = False
    [outcome] = Valid().many([ethanol])
    assert isinstance(outcome, Rejected)
    assert "end" in str(outcome)


def test_an_error_concerns_one_structure_only(ethanol):
    argon, fine = Valid().many([Atoms("Ar"), ethanol])
    assert isinstance(argon, Rejected)
    assert "radius" in str(argon)
    assert isinstance(fine, list)


def test_implausible_molecules_name_the_tests_that_fail(ethanol, monkeypatch):
    from equicalc.generators import metrics

    monkeypatch.setattr(metrics, "pose_checks", lambda _: {"flat": 0.0, "near": 100.0})
    [outcome] = Plausible().many([ethanol])
    assert str(outcome) == "flat"


def test_easy_molecules_are_synthesizable():
    easy, hard = atoms_from_smiles("CCO"), atoms_from_smiles("C1C2CC3C1N3O2")
    scores = [a.info["sa_score"] for a in Synthesizable(at_most=10)([easy, hard])]
    assert scores[0] < 3 < scores[1]
    assert len(list(Synthesizable(at_most=3)([easy, hard]))) == 1


@pytest.mark.parametrize(
    ("options", "n_kept"),
    [
        ({"elements": ["C", "H"]}, 1),
        ({"heavy_atoms": [2, 3]}, 1),
        ({"counts": {"C": [0, 0]}}, 1),
        ({}, 3),
    ],
)
def test_composition(options, n_kept):
    three = [molecule("CH4"), molecule("H2O"), molecule("CH3OH")]
    assert len(list(Composition(**options)(three))) == n_kept


def test_novel_molecules_know_the_nearest_one(tmp_path, ethanol):
    (tmp_path / "known.smi").write_text("OCC\nc1ccccc1\n")
    propanol = atoms_from_smiles("CCCO")
    step = Novel(known=tmp_path / "known.smi")
    [kept] = step([ethanol, propanol])
    assert kept.info["nearest_known"] == "CCO"
    assert 0 < kept.info["known_similarity"] < 1
    assert not list(step.model_copy(update={"below": 0.1})([propanol]))


def test_window_has_open_ends():
    step = Window(bounds={"gap": (1.0, None)})
    assert len(list(step([known(gap=0.5), known(gap=99.0)]))) == 1


@pytest.mark.parametrize(
    ("step", "options", "message"),
    [
        (Composition, {"heavy_atoms": [9, 4]}, r"heavy_atoms: \[9, 4\] has nothing"),
        (
            Composition,
            {"counts": {"O": [2, 1]}},
            r"O: \[2, 1\] .* smaller number first",
        ),
        (Window, {"bounds": {"U0": [5, -5]}}, r"U0: \[5, -5\] has nothing between"),
    ],
)
def test_ranges_are_given_from_below(step, options, message):
    with pytest.raises(ValidationError, match=message):
        step(**options)


@pytest.mark.parametrize(
    "step", [Window(bounds={"gap": (0, 1)}), Top(n=1), Synthesizable(), Conformers()]
)
def test_what_is_missing_is_an_error_and_no_reason(step):
    with pytest.raises(MissingError, match="step"):
        list(step([Atoms("C")]))


def test_top_keeps_the_order():
    kept = Top(n=2)([known(score=1.0), known(score=3.0), known(score=2.0)])
    assert [a.info["score"] for a in kept] == [3, 2]


def test_diverse_leaves_out_the_neighbour():
    points = [([0.0, 0.0], 2.0), ([0.1, 0.0], 1.0), ([5.0, 0.0], 0.0)]
    structures = [known(embedding=np.array(x), score=s) for x, s in points]
    assert [a.info["score"] for a in Diverse(n=2)(structures)] == [2, 0]


def test_relaxing_together_is_relaxing_alone(network):
    calculator = EquiCalculator(network, dtype="float64")
    start = [molecule(name) for name in ("H2O", "CH3OH", "CH4")]
    for atoms, end in zip(start, relax_together(start, calculator, 0.02, 25)):
        alone = relax(atoms, calculator, fmax=0.02, steps=25)
        assert end.converged == alone.converged
        assert end.energy == pytest.approx(alone.energy, abs=1e-8)
        assert np.allclose(end.atoms.positions, alone.atoms.positions, atol=1e-6)


def test_atoms_that_are_held_do_not_count_for_convergence(network):
    water = molecule("H2O")
    water.set_constraint(FixAtoms([0, 1]))
    calculator = EquiCalculator(network, dtype="float64")
    alone = relax(water, calculator, fmax=0.01, steps=100)
    (end,) = relax_together([water], calculator, 0.01, 100)
    assert alone.converged
    assert end.converged


def test_relaxed_structures_have_lower_energy():
    [end] = Relax(calculator="emt", keep_bonds=False)([molecule("H2O")])
    before = molecule("H2O")
    before.calc = EMT()
    assert end.info["potential_energy"] < before.get_potential_energy()
    assert end.info["converged"]


def test_molecules_that_fall_apart_are_rejected():
    [outcome] = Relax(calculator="lj", steps=20).many([molecule("H2")])
    assert isinstance(outcome, Rejected)


def test_gap_and_dipole_are_those_of_the_calculator(ethanol):
    from equicalc.calculators.named import named_calculator
    from equicalc.units import DEBYE

    [known] = Properties(names=("gap", "dipole_moment"))([ethanol])
    ethanol.calc = named_calculator("gfn2")
    dipole = np.linalg.norm(ethanol.get_dipole_moment()) / DEBYE
    assert known.info["dipole_moment"] == pytest.approx(dipole, rel=1e-4)
    assert known.info["gap"] > 5


def test_unknown_properties_are_refused():
    with pytest.raises(ValidationError, match="known are dipole_moment"):
        Properties(names=("colour",))


def test_embeddings_do_not_depend_on_orientation(ethanol):
    turned = ethanol.copy()
    turned.rotate(70, (1, 2, 3))
    one, other = (a.info["embedding"] for a in Embed()([ethanol, turned]))
    assert np.allclose(one, other, atol=1e-4)


def test_a_structure_with_an_unknown_element_goes_alone(ethanol):
    for step in (Embed(), Predict()):
        first, second = step.many([ethanol, Atoms("Xe")])
        assert isinstance(first, list)
        assert "Xe" in str(second)


def test_conformers_have_branches(ethanol):
    ethanol.info |= {"rings": 0, "potential_energy": -1.0, "generator": "x"}
    found = list(Conformers(n=2)([ethanol]))
    assert [a.info["branch"] for a in found] == ["c0", "c1"]
    assert not np.allclose(found[0].positions, found[1].positions)
    assert found[0].info["rings"] == 0
    assert found[0].info["generator"] == "x"
    assert "potential_energy" not in found[0].info


def test_crystals_are_packed_and_bound():
    urea = atoms_from_smiles("NC(=O)N")
    urea.info["dipole_moment"] = 4.5
    crystals = list(LatticeEnergy()(Pack(spacegroups=(4,), n=1)([urea])))
    assert crystals
    for atoms in crystals:
        assert atoms.pbc.all()
        assert atoms.info["lattice_energy"] < 0
        assert atoms.info["spacegroup"] == 4
        assert atoms.info["dipole_moment"] == 4.5  # of the molecule


def test_a_network_takes_crystals_together(tmp_path):
    from equicalc.checkpoint import save_checkpoint
    from equicalc.crystals import LatticeEnergyPredictor

    path = tmp_path / "lattice.safetensors"
    network = LatticeNetwork(LatticeConfig(elements=(1, 8), members=2))
    save_checkpoint(path, network, {"level_of_theory": "none", "licence": "MIT"})
    crystals = list(Pack(spacegroups=(1,), n=2)([molecule("H2O")]))
    step = LatticeEnergy(method=f"network:{path}")
    found, [_, failed] = list(step(crystals)), step.many([crystals[0], molecule("H2O")])
    assert [a.info["lattice_energy"] for a in found] == pytest.approx(
        LatticeEnergyPredictor.from_pretrained(path).predict(crystals)
    )
    assert isinstance(failed, Rejected)
    with pytest.raises(MissingError, match="an earlier step must pack"):
        step.many([molecule("H2O")])


def test_goals_add_up():
    step = Score.model_validate(
        {"goals": {"gap": -2, "density": {"weight": 3, "target": 1.5}}}
    )
    [one] = step([known(gap=1.0, density=1.0)])
    assert one.info["score"] == pytest.approx(-2 - 1.5)


def test_a_score_must_fit():
    with pytest.raises(ValueError, match=r"shape \(1,\)"):
        list(Score(function=lambda structures: [1.0])([known(), known()]))


def careless(structures):
    return [a.info["gap"] for a in structures]


def test_an_error_in_a_function_of_the_user_names_it():
    step = Score(function=careless)
    with pytest.raises(ValueError, match=r":careless of the score raised KeyError: 'g"):
        list(step([Atoms("C")]))


def test_unscorable_structures_are_rejected():
    step = Score(function=lambda structures: [np.nan, 1.0])
    assert len(list(step([known(), known()]))) == 1


def test_steps_of_a_user_need_one_method():
    class Heavy(Step):
        def each(self, atoms):
            if atoms.get_masses().sum() < 17:
                raise Rejected("light")
            return [atoms]

    assert len(list(Heavy()([molecule("CH4"), molecule("H2O")]))) == 1


def test_a_step_by_itself_follows_from_the_step_together():
    class Light(Step):
        def many(self, structures) -> list[list[Atoms] | Rejected]:
            return [Rejected("heavy") if len(a) > 3 else [a] for a in structures]

    water = molecule("H2O")
    assert Light().each(water) == [water]
    with pytest.raises(Rejected, match="heavy"):
        Light().each(molecule("CH4"))


def test_a_step_that_does_nothing_is_refused():
    with pytest.raises(TypeError, match="Idle defines neither each nor many"):
        type("Idle", (Step,), {})


def test_fragments_are_connected_and_without_hydrogens():
    toluene = atoms_from_smiles("Cc1ccccc1")
    sizes = set()
    for seed in range(20):
        fragment = kept_fragment(toluene, seed)
        assert (fragment.numbers == 6).all()
        distance = fragment.get_all_distances() + 9 * np.eye(len(fragment))
        assert len(fragment) == 1 or (distance.min(axis=0) < 1.7).all()
        sizes.add(len(fragment))
    assert len(sizes) > 2


def test_regrown_molecules_keep_a_part_and_depend_on_the_seed(ethanol, tiny_symphony):
    from equicalc.generators import Builder

    builder = Builder(tiny_symphony, "tiny")
    one, again = (regrow(ethanol, builder, seed=4) for _ in range(2))
    assert np.array_equal(one.positions, again.positions)
    kept = kept_fragment(ethanol, 4)
    assert np.array_equal(one.positions[: len(kept)], kept.positions)
