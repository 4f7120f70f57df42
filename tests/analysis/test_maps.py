"""Complexity, projections and their figure."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from equicalc.analysis.complexity import nsps, nsps_of_all, smiles_of
from equicalc.analysis.maps import JOINT, embedding_maps, extremes, plot_maps
from equicalc.analysis.projection import project
from equicalc.embedding import Embedder
from equicalc.models import Potential, PotentialConfig

BY_HAND = {  # hybridisation x stereo x rings x neighbours squared, by heavy atom
    "ethane": ("CC", 3 * 1 * 1 * 1),
    "benzene": ("c1ccccc1", 2 * 1 * 1 * 4),
    "cyclohexane": ("C1CCCCC1", 3 * 1 * 2 * 4),
    "propane": ("CCC", (3 + 3 * 4 + 3) / 3),
    "acetylene": ("C#C", 1.0),
}


@pytest.mark.parametrize(("smiles", "score"), BY_HAND.values(), ids=BY_HAND)
def test_spacial_score_by_hand(smiles, score):
    assert nsps(Atoms(info={"smiles": smiles})) == pytest.approx(score)


def test_bonds_are_perceived():
    assert smiles_of(molecule("CH3CH2OH")) == "CCO"
    assert nsps(molecule("C6H6")) == pytest.approx(8)


def test_what_has_no_bonds_has_no_score():
    with pytest.raises(ValueError, match="no bonds are recognised in Cu"):
        nsps(bulk("Cu"))
    found = nsps_of_all([molecule("C2H6"), bulk("Cu"), molecule("H2")])
    assert np.isnan(found).tolist() == [False, True, True]


def test_pca_finds_the_plane():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(50, 2)) * [3.0, 1.0]
    axes, _ = np.linalg.qr(rng.normal(size=(7, 7)))
    found = project(plane @ axes[:2] + 5.0)
    between = np.linalg.norm(plane[:, None] - plane, axis=-1)
    np.testing.assert_allclose(
        np.linalg.norm(found[:, None] - found, axis=-1), between, atol=1e-9
    )


@pytest.mark.slow
@pytest.mark.parametrize("method", ["umap", "phate"])
def test_manifold_methods_keep_clusters_apart(method):
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(30, 5)), 20 + rng.normal(size=(30, 5))])
    found = project(points, method)
    first, second = found[:30], found[30:]
    within = np.linalg.norm(first - first.mean(0), axis=1).mean()
    assert np.linalg.norm(first.mean(0) - second.mean(0)) > 2 * within
    np.testing.assert_array_equal(project(points, method), found)


def test_impossible_projections_are_refused():
    with pytest.raises(ValueError, match="give pca, umap, phate"):
        project(np.zeros((9, 2)), "tsne")
    with pytest.raises(ValueError, match="at least 4"):
        project(np.zeros((3, 2)))


def test_a_map_for_all_irreps_and_for_each(tmp_path):
    embedder = Embedder(
        Potential(PotentialConfig(elements=(1, 6, 8), channels=4, layers=2), "torch")
    )
    names = ("H2O", "CH4", "CH3OH", "C2H6", "H2CO")
    structures = [molecule(name) for name in names]
    maps = embedding_maps(embedder, structures, "pca")
    assert list(maps) == [JOINT, "0e", "1o", "2e"]
    assert all(flat.shape == (len(names), 2) for flat in maps.values())
    values = np.array([1.0, 2.0, np.nan, 3.0, 4.0])
    path = plot_maps(maps, values, tmp_path / "maps.png", structures=structures)
    assert path.stat().st_size > 10_000
    raw = embedding_maps(embedder, structures, "pca", raw=True)
    assert not np.allclose(raw["1o"], maps["1o"])


def test_extremes_are_corners():
    corners = [(1, 1), (-1, 1), (-1, -1), (1, -1)]
    inner = np.random.default_rng(0).uniform(-0.4, 0.4, size=(40, 2))
    found = extremes(np.concatenate([inner, np.array(corners)]))
    assert found == dict(zip([40, 41, 42, 43], corners))
