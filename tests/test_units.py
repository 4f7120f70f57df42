"""Units against ASE's independent table."""

import pytest
from ase.units import create_units

from equicalc import units

ASE = create_units("2018")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HARTREE", ASE["Hartree"]),
        ("BOHR", ASE["Bohr"]),
        ("KJ_PER_MOL", ASE["kJ"] / ASE["mol"]),
        ("KCAL_PER_MOL", ASE["kcal"] / ASE["mol"]),
        ("DEBYE", ASE["Debye"]),
        ("GPA", ASE["GPa"]),
        ("KB", ASE["kB"]),
    ],
)
def test_constants_agree_with_ase(name, value):
    assert getattr(units, name) == pytest.approx(value, rel=1e-9)


def test_first_unit_of_each_quantity_is_the_one_used_inside():
    assert all(next(iter(table.values())) == 1.0 for table in units.QUANTITIES.values())


def test_forces_combine_energy_and_length():
    atomic = units.factor("Hartree/Bohr", "forces")
    assert atomic == pytest.approx(51.42206747, rel=1e-8)


@pytest.mark.parametrize(
    ("unit", "quantity", "message"),
    [
        ("kcal", "energy", "unknown unit 'kcal' for energy; known: eV, meV"),
        ("eV", "colour", "unknown quantity 'colour'"),
    ],
)
def test_unknown_names_list_the_known_ones(unit, quantity, message):
    with pytest.raises(ValueError, match=message):
        units.factor(unit, quantity)
