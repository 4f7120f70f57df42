"""What can be wrong with a crystal: one exception for each, with a short code.

All are `ValueError` s, so that the command line shows them in one line. The codes stand
in the column ``status`` of tables.
"""

from __future__ import annotations

__all__ = [
    "AtomsOverlapError",
    "CrystalError",
    "EmptyStructureError",
    "ExtendedNetworkError",
    "MissingHydrogensError",
    "NotPeriodicError",
    "ParametersError",
    "PartialOccupancyError",
    "RadicalError",
    "SaltError",
    "SeveralSpeciesError",
    "UnknownElementError",
    "UnreadableFileError",
]


class CrystalError(ValueError):
    """A structure that cannot be treated as a molecular crystal."""

    code = "crystal"


class UnreadableFileError(CrystalError):
    """A file that holds no structure that can be read."""

    code = "unreadable"


class EmptyStructureError(CrystalError):
    """No atoms."""

    code = "empty"


class NotPeriodicError(CrystalError):
    """Not periodic in three directions."""

    code = "not-periodic"


class PartialOccupancyError(CrystalError):
    """Disorder: sites that are occupied in part or by several elements."""

    code = "occupancy"


class UnknownElementError(CrystalError):
    """A dummy atom, or an element without the parameters that are needed."""

    code = "element"


class AtomsOverlapError(CrystalError):
    """Atoms nearer to each other than any bond is long."""

    code = "overlap"


class ExtendedNetworkError(CrystalError):
    """Covalent bonds that run through the whole crystal: no molecules."""

    code = "network"


class SaltError(CrystalError):
    """Ions instead of neutral molecules."""

    code = "salt"


class SeveralSpeciesError(CrystalError):
    """Molecules of more than one kind: solvates and co-crystals."""

    code = "species"


class MissingHydrogensError(CrystalError):
    """Atoms with open valences, as in files without hydrogen positions."""

    code = "hydrogens"


class RadicalError(CrystalError):
    """Unpaired electrons in a molecule that is to be packed."""

    code = "radical"


class ParametersError(CrystalError):
    """A crystal that 12 parameters do not describe, or not for the model at hand."""

    code = "parameters"
