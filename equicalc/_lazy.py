"""Public names of a package that load on first use."""

from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return a ``__getattr__`` for a package (PEP 562).

    Parameters
    ----------
    package
        Its name, for the error.
    homes
        Public name to the module that defines it.

    Examples
    --------
    >>> lazy_names("shapes", {"pi": "math"})("pi")
    3.141592653589793
    """

    def get(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return get
