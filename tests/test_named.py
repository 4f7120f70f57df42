"""Calculators by name."""

import sys

import pytest
from ase.build import molecule
from ase.calculators.emt import EMT

from equicalc.calculators import named_calculator


@pytest.mark.parametrize("spec", ["emt", "lj", "ase.calculators.emt:EMT"])
def test_names_give_working_calculators(spec):
    atoms = molecule("H2O")
    atoms.calc = named_calculator(spec)
    assert atoms.get_forces().shape == (3, 3)


def test_each_call_gives_a_new_calculator():
    assert isinstance(named_calculator("emt"), EMT)
    assert named_calculator("emt") is not named_calculator("emt")


def test_gfn2_energy_of_water():
    pytest.importorskip("tblite")
    atoms = molecule("H2O")
    atoms.calc = named_calculator("gfn2")
    assert atoms.get_potential_energy() == pytest.approx(-137.97, abs=0.02)


def test_missing_tblite_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tblite", None)
    monkeypatch.setitem(sys.modules, "tblite.ase", None)
    with pytest.raises(ImportError, match=r'pip install "equicalc\[label\]"'):
        named_calculator("gfn2")


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("gfn3", ValueError, "give one of emt, gfn2, lj"),
        ("no.such.module:Calculator", ImportError, "no.such.module:Calculator"),
        ("ase.calculators.emt:XMT", ValueError, "has no XMT"),
        ("collections:OrderedDict", ValueError, "no calculator"),
    ],
)
def test_unknown_names_are_explained(spec, error, message):
    with pytest.raises(error, match=message):
        named_calculator(spec)
