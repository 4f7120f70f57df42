"""Entry point ``ase.plugins``: ASE finds `EquiCalculator` without importing torch."""

__ase_plugins__ = set()

try:
    from ase._4.plugins.plugin import CalculatorPlugin
except ImportError:  # ASE before 3.29 has no plugins
    pass
else:
    __ase_plugins__ |= {
        CalculatorPlugin(
            "equicalc",
            citation="equicalc: equivariant potentials for molecules and crystals",
            implementation="equicalc.calculators.calculator.EquiCalculator",
        )
    }
