"""QM9 as it is published: raw records, archive, list of excluded molecules."""

import io
import tarfile

import numpy as np
import pytest

from equicalc.data import open_dataset
from equicalc.data.qm9 import (
    TARGETS,
    parse_qm9,
    read_qm9,
    read_uncharacterized,
)
from equicalc.data.qm9_arrays import read_qm9_arrays
from equicalc.units import HARTREE

# the layout of the published files, with the exponents that some of them have
WATER = """3
gdb 3\t799.58812\t437.90386\t282.94545\t1.8511\t6.31\t-0.2928\t0.0687\t0.3615\t\
19.0002\t0.021375\t-76.404702\t-76.401867\t-76.400922\t-76.422349\t6.002
O\t-0.0343604951\t 0.9775395708\t 7.6015923*^-3\t-0.589706
H\t 0.0647664923\t 2.0572189*^-2\t 1.5346341*^-3\t 0.294853
H\t 0.8717903737\t 1.3007924048\t 6.9316*^-6\t 0.294853
1671.4222\t3803.6305\t3907.698
O\tO
InChI=1S/H2O/h1H2\tInChI=1S/H2O/h1H2
"""
CORRUPT = {
    "cut short": "\n".join(WATER.splitlines()[:4]),
    "cut within a line": "\n".join(WATER.splitlines()[:3]) + "\nH\t0.06\nH\n\nO\n",
    "property missing": WATER.replace("\t6.002", ""),
    "not finite": WATER.replace("1.8511", "nan"),
    "other element": WATER.replace("O\t-0.03", "Si\t-0.03"),
    "empty": "",
    "another format": "3\nwater\nO 0 0 0\nH 0 0 1\nH 0 1 0\n",
}


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "dsgdb9nsd.xyz.tar.bz2"
    with tarfile.open(path, "w:bz2") as tar:
        for index in (3, 21725, 4):
            text = WATER.replace("gdb 3", f"gdb {index}").encode()
            member = tarfile.TarInfo(f"dsgdb9nsd_{index:06d}.xyz")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    return path


def test_exponents_of_the_published_files_are_read():
    water = parse_qm9(WATER)
    assert water.index == 3
    assert water.z.tolist() == [8, 1, 1]
    assert water.pos[:, 2].tolist() == [7.6015923e-3, 1.5346341e-3, 6.9316e-6]
    assert water.charges.sum() == pytest.approx(0.0, abs=1e-6)
    assert water.smiles == "O"


def test_energies_are_converted_and_other_properties_kept():
    properties = parse_qm9(WATER).properties
    assert properties["U0"] == pytest.approx(-76.404702 * 27.211386, rel=1e-7)
    assert properties["gap"] == pytest.approx(9.837, abs=1e-3)
    assert (properties["mu"], properties["Cv"]) == (1.8511, 6.002)
    assert properties["gap"] == pytest.approx(properties["lumo"] - properties["homo"])


def test_atomisation_energy_of_water_is_that_of_chemistry():
    water = parse_qm9(WATER)
    bound = water.properties["U0"] - TARGETS["U0"].reference(water.z)
    assert bound == pytest.approx(-9.25, abs=0.05)  # 9.51 eV is measured, less 0.3 eV
    assert TARGETS["mu"].reference(water.z) == 0.0
    assert TARGETS["Cv"].reference(water.z) == pytest.approx(3 * 2.981)


@pytest.mark.parametrize("text", CORRUPT.values(), ids=CORRUPT)
def test_corrupt_records_are_named(text):
    with pytest.raises(ValueError, match=r"^here is not a whole QM9 record .* Needed:"):
        parse_qm9(text, "here")


def test_archive_is_streamed_without_the_excluded(archive):
    assert [molecule.index for molecule in read_qm9(archive)] == [3, 21725, 4]
    assert [molecule.index for molecule in read_qm9(archive, {21725})] == [3, 4]


def test_folder_and_single_file(tmp_path):
    for index in (2, 1):
        text = WATER.replace("gdb 3", f"gdb {index}")
        (tmp_path / f"dsgdb9nsd_{index:06d}.xyz").write_text(text)
    assert [molecule.index for molecule in read_qm9(tmp_path)] == [1, 2]
    single = tmp_path / "dsgdb9nsd_000002.xyz"
    assert [molecule.index for molecule in read_qm9(single)] == [2]


def test_damaged_archives_are_named(archive):
    archive.write_bytes(archive.read_bytes()[:150])
    with pytest.raises(ValueError, match="cut short"):
        list(read_qm9(archive))
    archive.write_bytes(b"not an archive")
    with pytest.raises(ValueError, match="no archive of QM9"):
        list(read_qm9(archive))
    with pytest.raises(ValueError, match="does not exist"):
        list(read_qm9(archive.parent / "other"))


def test_raw_set_opens_as_packed(archive, tmp_path):
    dataset = open_dataset(archive, cache=tmp_path / "cache")
    assert dataset.column("group").tolist() == [3, 21725, 4]
    assert dataset[0].energy.item() == parse_qm9(WATER).properties["U0"]


@pytest.mark.parametrize(
    "text",
    [
        "* list *\nIndex  SMILES\n   58  C1\n   61\tC2\n3054 compounds\n",
        "58\n61\n",
    ],
)
def test_excluded_molecules(tmp_path, text):
    (tmp_path / "list").write_text(text)
    assert read_uncharacterized(tmp_path / "list") == {58, 61}


def test_list_without_indices_is_refused(tmp_path):
    (tmp_path / "list").write_text("nothing\n")
    with pytest.raises(ValueError, match="lists no index"):
        read_uncharacterized(tmp_path / "list")


@pytest.fixture
def arrays():
    return {
        "index": np.array([5, 9], np.int32),
        "n_atoms": np.array([3, 200], np.uint8),
        "z": np.ones(203, np.uint8),
        "pos": np.arange(609.0).reshape(203, 3),
        "U0": np.array([-1.0, -2.0]),
    }


def test_arrays_end_to_end(tmp_path, arrays):
    np.savez(tmp_path / "qm9.npz", **arrays)
    first, second = read_qm9_arrays(tmp_path / "qm9.npz")
    assert (first["group"], second["group"]) == (5, 9)
    assert second["energy"] == -2.0 * HARTREE
    np.testing.assert_array_equal(second["pos"], arrays["pos"][3:])
    dataset = open_dataset(tmp_path / "qm9.npz", cache=tmp_path)
    assert dataset.column("n_atoms").tolist() == [3, 200]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z": np.ones(202, np.uint8)}, "'z': 202"),
        ({"U0": np.array([0.0, np.inf])}, r"U0\[1\] is inf"),
        ({"pos": None}, "lacks the arrays pos; it has"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, arrays, change, message):
    kept = {k: v for k, v in (arrays | change).items() if v is not None}
    np.savez(tmp_path / "qm9.npz", **kept)
    with pytest.raises(ValueError, match=message):
        list(read_qm9_arrays(tmp_path / "qm9.npz"))
