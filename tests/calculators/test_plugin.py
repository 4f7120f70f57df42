"""ASE finds the calculator among its plugins."""

from importlib.metadata import entry_points

import pytest

from equicalc import EquiCalculator
from equicalc.calculators import ase_plugin


def test_entry_point_is_installed():
    [point] = [p for p in entry_points(group="ase.plugins") if p.name == "equicalc"]
    assert point.load() is ase_plugin


def test_ase_lists_the_calculator():
    pytest.importorskip("ase._4.plugins", reason="ASE has plugins from 3.29 on")
    from ase._4.plugins import PluginCollection

    calculators = (
        PluginCollection.from_entry_points().by_package["equicalc"].calculators
    )
    [plugin] = calculators
    assert plugin.name == "equicalc"
    assert plugin() is EquiCalculator
    assert "equicalc" in calculators.display()
