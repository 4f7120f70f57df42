"""Measures of distributions: invariances, known values, files."""

import numpy as np
import pytest
from ase.build import molecule

from equicalc.generators.metrics import (
    Statistics,
    compare,
    evaluate_molecules,
    has_openbabel,
    has_posebusters,
    lookup_molecule,
    openbabel_smiles,
    pose_checks,
    qm9_statistics,
    valid_molecule,
)
from equicalc.generators.metrics.bispectrum import bispectra
from equicalc.generators.metrics.divergence import (
    jensen_shannon,
    maximum_mean_discrepancy,
)
from equicalc.o3 import rand_matrix

NAMES = ("CH3CH2OH", "C6H6", "CH3CHO", "CH3CH2NH2", "C2H4", "HCOOH", "C4H4NH")


@pytest.fixture(scope="module")
def whole():
    return [valid_molecule(molecule(name)) for name in NAMES]


@pytest.mark.parametrize("inversion", [1, -1])
def test_bispectra_do_not_depend_on_the_frame(inversion):
    x = np.random.default_rng(0).normal(size=(4, 3, 3))
    turned = inversion * x @ rand_matrix(1)[0].double().numpy()
    scaled = 3.0 * turned[:, [2, 0, 1]]
    np.testing.assert_allclose(bispectra(scaled), bispectra(x), atol=1e-5)
    assert bispectra(x).std(0).min() >= 0
    assert np.abs(bispectra(x)[0] - bispectra(x)[1]).max() > 1e-3


def test_discrepancy_of_known_samples():
    """Two points: k(0) = 30, so the square is 2 (30 - k(d)) exactly."""
    x, y = np.zeros((1, 1)), np.full((1, 1), 0.5)
    kernel = np.exp(-(10.0 ** (np.arange(30) / 5 - 3)) * 0.25).sum()
    expected = np.sqrt(2 * (30 - kernel))
    assert maximum_mean_discrepancy(x, y) == pytest.approx(expected, rel=1e-3)
    assert maximum_mean_discrepancy(x, x) == 0


def test_divergence_of_known_counts():
    p, q = {"a": 1, "b": 1}, {"a": 1}
    expected = 0.5 * np.log(4 / 3) + 0.25 * np.log(2 / 3) + 0.25 * np.log(2)
    assert jensen_shannon(p, q) == pytest.approx(expected)
    assert jensen_shannon(q, p) == pytest.approx(expected)
    with pytest.raises(ValueError, match="without counts"):
        jensen_shannon({}, p)


def test_statistics_count_what_is_there(whole):
    found = Statistics.of(whole)
    assert found.n_molecules == len(NAMES)
    assert found.counts["rings"] == {"6": 1, "5": 1}
    assert found.counts["atoms"]["N"] == 2
    assert len(found.bonds["C-C: 1.5"]) == 6 + 3  # benzene and pyrrole
    assert found.bispectra["C: C2,H1"].shape[1] == 14
    assert sum(found.counts["environments"].values()) == sum(
        len(values) for values in found.bispectra.values()
    )


def test_statistics_survive_a_file(whole, tmp_path):
    found = Statistics.of(whole)
    path = tmp_path / "statistics.npz"
    found.save(path)
    back = Statistics.load(path)
    assert back.counts == found.counts
    assert back.commonest() == found.commonest()
    for kind in found.commonest()[0]:
        np.testing.assert_allclose(
            np.sort(back.bonds[kind]), np.sort(found.bonds[kind]), rtol=1e-6
        )
    np.savez(tmp_path / "other.npz", x=np.zeros(2))
    with pytest.raises(ValueError, match=r"that Statistics\.save wrote"):
        Statistics.load(tmp_path / "other.npz")


def test_a_set_is_near_itself_and_far_from_others(whole):
    one = Statistics.of(whole)
    same = compare(one, one)
    assert all(value == 0 for value in same["jsd"].values())
    other = compare(Statistics.of(whole[:2]), one)
    assert other["jsd"]["atoms"] > 0
    assert other["bond_mmd"]["C-N: 1.0"] is None  # too few


def test_the_shipped_reference_is_qm9():
    reference = qm9_statistics()
    assert reference.n_molecules > 10_000
    bonds, environments = reference.commonest()
    assert bonds[:2] == ["C-H: 1.0", "C-C: 1.0"]
    assert environments[:2] == ["C: C2,H2", "C: C1,H3"]
    assert 1.08 < np.median(reference.bonds["C-H: 1.0"]) < 1.11
    shares = reference.counts["atoms"]
    assert shares["H"] / sum(shares.values()) == pytest.approx(0.51, abs=0.02)


def test_implicit_hydrogens_make_the_lookup_mild():
    assert lookup_molecule(molecule("CH3")) is not None
    crowded = molecule("CH4") + molecule("CH4")[1:]
    crowded.positions[5:] *= -1
    assert lookup_molecule(crowded) is None


@pytest.mark.skipif(not has_openbabel(), reason="OpenBabel is not installed")
def test_openbabel_agrees_on_clear_cases():
    assert openbabel_smiles(molecule("CH3CH2OH")) == "CCO"
    assert openbabel_smiles(molecule("C6H6")) == "c1ccccc1"
    assert openbabel_smiles(molecule("CH3")) is None
    with pytest.raises(ValueError, match="14"):
        openbabel_smiles(molecule("SiH4"))


@pytest.mark.slow
@pytest.mark.skipif(not has_posebusters(), reason="PoseBusters is not installed")
def test_posebusters_passes_good_molecules(whole):
    table = pose_checks(whole[:2])
    assert table == dict.fromkeys(table, 100.0)
    squeezed = molecule("CH3CH2OH")
    squeezed.positions *= 0.7
    bad = valid_molecule(squeezed)
    if bad is not None:
        assert pose_checks([bad])["lengths"] == 0


def test_the_table_names_tools_and_versions():
    molecules = [molecule(name) for name in NAMES]
    reference = Statistics.of(map(valid_molecule, molecules))
    table = evaluate_molecules(molecules, reference=reference)
    assert table["tools"]["xyz2mol"]["validity"] == table["validity"] == 100
    assert table["jsd"]["environments"] == 0
    assert "rdkit" in table["versions"]
