"""What the papers report, to be printed beside what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["MODELS", "PUBLISHED", "TITLES"]

#: Columns, in the order of every row of `PUBLISHED`.
MODELS: tuple[str, ...] = (
    "QM9",
    "Symphony",
    "EDM",
    "G-SchNet",
    "G-SphereNet",
    "Quetzal",
)

_BONDS = {
    "C-H: 1.0": (0.0739, 0.0653, 0.3817, 0.1334),
    "C-C: 1.0": (0.3254, 0.0956, 0.2530, 1.0503),
    "C-O: 1.0": (0.2571, 0.0757, 0.5315, 0.6082),
    "C-N: 1.0": (0.3086, 0.1755, 0.2999, 0.4279),
    "N-H: 1.0": (0.1032, 0.1137, 0.5968, 0.1660),
    "C-O: 2.0": (0.3033, 0.0668, 0.2628, 2.0812),
    "C-N: 1.5": (0.3707, 0.1736, 0.5828, 0.4949),
    "O-H: 1.0": (0.2872, 0.1545, 0.7899, 0.1307),
    "C-C: 1.5": (0.4142, 0.1749, 0.2051, 0.8574),
    "C-N: 2.0": (0.5938, 0.3237, 0.4194, 2.1197),
}
_BISPECTRA = {
    "C: C2,H2": (0.2165, 0.1003, 0.4333, 0.6210),
    "C: C1,H3": (0.2668, 0.0025, 0.0640, 1.2004),
    "C: C3,H1": (0.1111, 0.2254, 0.2045, 1.1209),
    "C: C2,H1,O1": (0.1500, 0.2059, 0.1732, 0.8361),
    "C: C1,H2,O1": (0.3300, 0.1082, 0.0954, 1.6772),
    "O: C1,H1": (0.0282, 0.0056, 0.0487, 0.0030),
    "C: C2,H1,N1": (0.1481, 0.1521, 0.1967, 1.3461),
    "C: C2,H1": (0.2525, 0.0468, 0.1788, 0.2403),
    "C: C1,H2,N1": (0.3631, 0.2728, 0.1610, 0.9171),
    "N: C2,H1": (0.0953, 0.2339, 0.2105, 0.6141),
}
_GENERATED = {
    "tools/xyz2mol/uniqueness": (99.84, 97.98, 99.16, 96.73, 21.69, 94.8),
    "tools/openbabel/validity": (94.60, 74.69, 77.75, 61.83, 9.86),
    "tools/openbabel/uniqueness": (99.97, 99.61, 99.95, 98.71, 7.51),
    "tools/lookup/validity": (97.60, 68.11, 90.77, 80.13, 16.36),
    "tools/lookup/uniqueness": (99.89, 97.68, 98.64, 93.20, 23.29),
    "molecule_stability": (None, None, 82.0, None, None, 87.6),
    "completion_train": (None, 98.53, None, 97.91),
    "completion_test": (None, 98.66, None, 98.15),
    "posebusters/connected": (None, 99.92, 99.88, 99.87, 100.00),
    "posebusters/angles": (None, 99.56, 99.98, 99.88, 97.59),
    "posebusters/lengths": (None, 98.72, 100.00, 99.93, 72.99),
    "posebusters/ring_flatness": (None, 100.00, 100.00, 99.95, 99.85),
    "posebusters/double_bond_flatness": (None, 99.07, 98.58, 97.96, 95.99),
    "posebusters/energy": (None, 95.65, 94.88, 95.04, 36.07),
    "posebusters/clash": (None, 98.16, 99.79, 99.57, 98.07),
    "seconds_per_molecule": (None, 0.293, 0.930, 0.011, 0.006, 0.003),
    "jsd/atoms": (None, 0.0003, 0.0002, 0.0011, 0.0026),
    "jsd/environments": (None, 0.0039, 0.0057, 0.0150, 0.1016),
}

#: By place in the table of `evaluate_molecules`; in percent: validity, uniqueness,
#: stability, completions, PoseBusters. Daigavane et al., "Symphony", ICLR 2024, tables
#: 1 to 5; stability: Hoogeboom et al., ICML 2022; Quetzal as its authors report.
PUBLISHED: Mapping[str, tuple[float | None, ...]] = MappingProxyType(
    {
        "tools/xyz2mol/validity": (99.99, 83.50, 86.74, 74.97, 26.92, 99.1),
        **_GENERATED,
        **{f"bond_mmd/{kind}": (None, *row) for kind, row in _BONDS.items()},
        **{f"bispectrum_mmd/{kind}": (None, *row) for kind, row in _BISPECTRA.items()},
    }
)

#: Headings of the parts of a report, by how the places begin.
TITLES: Mapping[str, str] = MappingProxyType(
    {
        "": "Validity, uniqueness, stability, valid completions (%)",
        "seconds_per_molecule": "Seconds per molecule (papers: on a GPU)",
        "posebusters": "Valid molecules that pass the tests of PoseBusters (%)",
        "jsd": "Jensen-Shannon divergence from the training set (nats)",
        "bond_mmd": "Maximum mean discrepancy of bond lengths",
        "bispectrum_mmd": "Maximum mean discrepancy of bispectra (the papers' are on "
        "another scale: halves of QM9 are 0.01 to 0.16 apart here)",
    }
)
