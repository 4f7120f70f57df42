"""``equicalc predict`` writes what a network of properties says."""

import csv

from ase.build import molecule
from ase.io import write


def test_properties_are_a_table(cli, tmp_path):
    out = cli("predict", "C", "CO", "--device", "cpu", "-o", "u0.csv")
    assert "limits: relaxed geometries" in out
    assert "2 structures: u0.csv" in out
    with (tmp_path / "u0.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["formula"] for row in rows] == ["CH4", "CH4O"]
    assert -1103 < float(rows[0]["U0_eV"]) < -1101
    assert "--overwrite" in cli("predict", "C", "-o", "u0.csv", code=2)


def test_mistakes_are_named(cli):
    potential = cli("predict", "C", "-m", "potential-gfn2", code=2)
    assert "does not predict properties" in potential
    assert "Cl" in cli("predict", "Cl", code=2)
    again = ["predict", "C", "--overwrite"]
    assert "no shipped model" in cli(*again, "-m", "nothing", code=2)


def test_others_are_predicted_beside_one_that_cannot_be(cli, tmp_path):
    out = cli("predict", "C", "CCl", "O", "--device", "cpu", "-o", "u0.csv", code=2)
    assert "element Cl" in out
    assert "1 of 3 structures failed" in out
    with (tmp_path / "u0.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["U0_eV"]) for row in rows] == [True, False, True]
    assert [bool(row["message"]) for row in rows] == [False, True, False]


def test_help_teaches_by_example(cli):
    assert "equicalc predict CCO" in cli("predict", "--help")


def test_ions_and_crystals_have_a_message_instead(cli, tmp_path):
    boxed = molecule("CH4")
    boxed.set_cell([9, 9, 9])
    boxed.pbc = True
    write(tmp_path / "box.extxyz", [boxed, molecule("CH4")])
    given = ["predict", "C", "[NH4+]", "box.extxyz", "--device", "cpu", "-o", "u0.csv"]
    out = cli(*given, code=2)
    assert "NH4: the structure has charge +1" in out
    assert "box-0: the structure is periodic" in out
    with (tmp_path / "u0.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["U0_eV"]) for row in rows] == [True, False, False, True]


def test_the_table_is_called_one(cli, tmp_path):
    assert "ends in .csv" in cli("predict", "C", "-o", "results/u0.txt", code=2)
    assert not (tmp_path / "results").exists()
