"""Calculators by name."""

import pytest

from equicalc.calculators.named import named_calculator


def test_a_class_is_found_by_its_module():
    calculator = named_calculator("ase.calculators.emt:EMT")
    assert type(calculator).__name__ == "EMT"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("emtt", "is not known; give one of emt"),
        ("os:nothing", "module os has no nothing"),
        ("os:path", "is a module, no calculator"),
        ("ase.neighborlist:NeighborList", "cannot be built without arguments"),
        ("builtins:dict", "gives a dict, no calculator"),
    ],
)
def test_what_is_no_calculator_is_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        named_calculator(spec)


def test_a_package_that_is_missing_is_named():
    with pytest.raises(ImportError, match="install the package"):
        named_calculator("no_such_package:Calculator")
