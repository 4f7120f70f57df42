"""Search, pipelines and files."""

import csv
import json
from typing import cast

import numpy as np
import pytest
import torch

from equicalc import o3
from equicalc.embedding import Embedder, EmbeddingTransformer, write_embedding
from equicalc.models import Mo3ENet, Mo3ENetConfig


def test_a_structure_is_nearest_to_itself(embedder, molecules):
    index = embedder.index(molecules)
    turned = [atoms.copy() for atoms in molecules]
    for atoms in turned:
        matrix = o3.rand_matrix(dtype=torch.float64).numpy()
        atoms.positions = atoms.positions @ matrix.T
    found = index.nearest(turned, k=2)
    assert found.indices[:, 0].tolist() == list(range(len(molecules)))
    assert found.distances[:, 0].max() < 1e-6
    assert (found.distances[:, 1] > 1e-3).all()


def test_the_search_is_that_of_scikit_learn(embedder, molecules):
    from sklearn.neighbors import NearestNeighbors

    index = embedder.index(molecules, irreps=["0e"])
    points = embedder.invariants(molecules)["0e"]
    other = NearestNeighbors(n_neighbors=3, algorithm="brute").fit(points)
    distances, indices = other.kneighbors(points[:1])
    found = index.nearest(molecules[0], k=3)
    assert found.indices.tolist() == indices[0].tolist()
    ratio = found.distances[1:] / distances[0, 1:]  # one scale for the irrep
    np.testing.assert_allclose(ratio, ratio[0])


def test_impossible_searches_are_refused(embedder, molecules):
    with pytest.raises(ValueError, match="give 1 to 6"):
        embedder.index(molecules).nearest(molecules[0], k=7)
    with pytest.raises(ValueError, match=r"irrep 7o .* has 0e, 1o"):
        embedder.index(molecules, irreps=["7o"])
    with pytest.raises(ValueError, match=r"irreps is empty; give some of 0e, 1o"):
        embedder.index(molecules, irreps=[])


def test_the_transformer_follows_scikit_learn(molecules):
    from sklearn.base import clone
    from sklearn.exceptions import NotFittedError

    given = EmbeddingTransformer("potential", irreps=["0e"], device="cpu")
    transformer = cast(EmbeddingTransformer, clone(given))
    features = transformer.fit_transform(molecules)
    names = transformer.get_feature_names_out()
    assert features.shape == (len(molecules), len(names)) == (len(molecules), 128)
    assert names[0] == "0e_0"
    expected = Embedder.from_pretrained("potential", device="cpu").invariants(molecules)
    np.testing.assert_array_equal(features, expected["0e"])
    with pytest.raises(ValueError, match="irrep 3o"):
        EmbeddingTransformer("potential", irreps=["3o"]).fit()
    with pytest.raises(ValueError, match="irreps is empty"):
        EmbeddingTransformer("potential", irreps=[]).fit()
    with pytest.raises(NotFittedError, match="Call 'fit'"):
        EmbeddingTransformer("potential").transform(molecules)


def test_columns_and_their_names_are_in_the_order_asked_for(molecules):
    transformer = EmbeddingTransformer("potential", ["1o", "0e"], device="cpu").fit()
    names = transformer.get_feature_names_out()
    embedder = Embedder.from_pretrained("potential", device="cpu")
    by_name = dict(
        zip(
            embedder.feature_names(invariant=True),
            embedder.invariants(molecules, per_irrep=False).T,
        )
    )
    assert names[0] == "1o_0"
    expected = np.transpose([by_name[name] for name in names])
    np.testing.assert_array_equal(transformer.transform(molecules), expected)


def test_arrays_on_disk_are_those_in_memory(embedder, molecules, tmp_path):
    path = write_embedding(tmp_path / "e.npz", embedder, molecules)
    with np.load(path) as file:
        for name, block in embedder.embed(molecules).items():
            np.testing.assert_array_equal(file[name], block)
        assert str(file["irreps"]) == str(embedder.irreps)
        assert json.loads(str(file["settings"]))["level"] == "atom"
        first = file["structure"] == 0
        assert file["number"][first].tolist() == molecules[0].numbers.tolist()


@pytest.mark.parametrize("invariant", [False, True])
def test_a_table_has_one_named_column_for_each_feature(
    embedder, molecules, tmp_path, invariant
):
    names = [f"m{k}" for k in range(len(molecules))]
    path = write_embedding(
        tmp_path / "e.csv",
        embedder,
        molecules,
        level="molecule",
        invariant=invariant,
        names=names,
    )
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == names
    describe = embedder.invariants if invariant else embedder.embed
    expected = describe(molecules, "molecule", per_irrep=False)
    found = [[float(row[n]) for n in embedder.feature_names(invariant)] for row in rows]
    np.testing.assert_array_equal(found, expected)


def test_a_structure_alone_is_written_too(embedder, ethanol, tmp_path):
    names = np.array(["ethanol"])
    path = write_embedding(tmp_path / "e.npz", embedder, ethanol, names=names)
    with np.load(path) as file:
        assert file["name"].tolist() == ["ethanol"]
        assert set(file["structure"]) == {0}
    one = [ethanol, ethanol]
    with pytest.raises(ValueError, match="1 names for 2 structures"):
        write_embedding(tmp_path / "f.npz", embedder, one, names=names)


def test_the_level_is_one_that_the_network_has(ethanol, tmp_path):
    config = Mo3ENetConfig(elements=(6, 8), bottleneck=8)
    embedder = Embedder(Mo3ENet(config, "torch"))
    path = write_embedding(tmp_path / "e.npz", embedder, iter([ethanol, ethanol]))
    with np.load(path) as file:
        assert file["1o"].shape == (2, 8, 3)
        assert json.loads(str(file["settings"]))["level"] == "molecule"


def test_other_formats_are_refused(embedder, molecules, tmp_path):
    with pytest.raises(ValueError, match=r"\.npz or \.csv"):
        write_embedding(tmp_path / "e.txt", embedder, molecules)
