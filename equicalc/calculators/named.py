"""ASE calculators by name, for the command line and for configuration files."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator


def named_calculator(spec: str) -> BaseCalculator:
    """Build the calculator that `spec` names.

    Parameters
    ----------
    spec
        ``"gfn2"`` (GFN2-xTB of tblite), ``"emt"``, ``"lj"``, ``"equicalc"`` for the
        default potential, ``"equicalc:MODEL"`` for another model or a checkpoint
        file, or ``"package.module:Class"``, called without arguments.

    Returns
    -------
    ase calculator

    Raises
    ------
    ValueError
        If `spec` names nothing.
    ImportError
        If the package that provides the calculator is not installed.

    Examples
    --------
    >>> type(named_calculator("emt")).__name__
    'EMT'
    """
    name, _, rest = spec.partition(":")
    if name == "equicalc":
        from equicalc.calculators import EquiCalculator

        return EquiCalculator(rest or None)
    if not rest:
        if name not in _BUILDERS:
            raise ValueError(
                f"calculator {spec!r} is not known; give one of "
                f"{', '.join(sorted(_BUILDERS))}, equicalc[:model] or "
                "package.module:Class"
            )
        return _BUILDERS[name]()
    return _imported(name, rest, spec)


def _imported(module: str, attribute: str, spec: str) -> BaseCalculator:
    try:
        factory = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"calculator {spec!r}: {error}; install the package that provides it"
        ) from error
    except AttributeError as error:
        raise ValueError(
            f"calculator {spec!r}: module {module} has no {attribute}"
        ) from error
    if not callable(factory):
        raise ValueError(f"{spec!r} is a {type(factory).__name__}, no calculator")
    try:
        calculator: Any = factory()
    except TypeError as error:
        raise ValueError(
            f"calculator {spec!r} cannot be built without arguments ({error}); write a "
            "function that gives them, and name that"
        ) from error
    if not hasattr(calculator, "get_property"):
        raise ValueError(f"{spec!r} gives a {type(calculator).__name__}, no calculator")
    return calculator


def _gfn2() -> BaseCalculator:
    try:
        from tblite.ase import TBLite
    except ModuleNotFoundError as error:
        raise ImportError(
            'GFN2-xTB needs tblite: pip install "equicalc[label]"'
        ) from error
    return TBLite(method="GFN2-xTB", verbosity=0)


def _emt() -> BaseCalculator:
    from ase.calculators.emt import EMT

    return EMT()


def _lj() -> BaseCalculator:
    from ase.calculators.lj import LennardJones

    return LennardJones()


_BUILDERS: dict[str, Callable[[], BaseCalculator]] = {
    "gfn2": _gfn2,
    "emt": _emt,
    "lj": _lj,
}
