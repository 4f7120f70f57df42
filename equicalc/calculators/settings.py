"""Settings of the calculator: their names, defaults and the values they may have."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

import numpy as np
from ase.calculators.calculator import InputError

from equicalc.kernels.spherical_harmonics.module import BACKENDS

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "model": None,
        "device": "auto",
        "dtype": "float32",
        "skin": 0.5,
        "backend": "auto",
        "other_states": "error",
    }
)


def check_names(names: Collection[str]) -> None:
    """Refuse a setting that does not exist.

    Raises
    ------
    InputError
        It names the closest setting and all of them.

    Examples
    --------
    >>> check_names(["skn"])
    Traceback (most recent call last):
        ...
    ase.calculators.calculator.InputError: unknown setting 'skn'; did you mean 'skin'? \
Settings: model, device, dtype, skin, backend, other_states
    """
    for name in names:
        if name not in DEFAULTS:
            close = get_close_matches(name, DEFAULTS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise InputError(
                f"unknown setting {name!r}{hint} Settings: {', '.join(DEFAULTS)}"
            )


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Write device and dtype as text, however torch or NumPy have them.

    Examples
    --------
    >>> plain({"dtype": np.float64, "skin": 0.5})
    {'dtype': 'float64', 'skin': 0.5}
    """
    values = dict(settings)
    if "device" in values:
        values["device"] = str(values["device"])
    if isinstance(values.get("dtype"), (type, np.dtype)):
        values["dtype"] = np.dtype(values["dtype"]).name
    elif "dtype" in values:
        values["dtype"] = str(values["dtype"]).removeprefix("torch.")
    return values


def check_values(settings: Mapping[str, Any]) -> None:
    """Refuse values of `other_states`, `skin` and `backend` that make no sense.

    Raises
    ------
    InputError
        It says what may be given.
    """
    if settings["other_states"] not in ("error", "warn", "ignore"):
        raise InputError(
            f"other_states is {settings['other_states']!r}; give 'error', 'warn' or "
            "'ignore'"
        )
    skin = settings["skin"]
    if not (isinstance(skin, (int, float)) and 0 <= skin < np.inf):
        raise InputError(f"skin is {skin!r}; give a number of Angstrom, 0 or more")
    if settings["backend"] not in BACKENDS:
        raise InputError(
            f"backend is {settings['backend']!r}; give one of {', '.join(BACKENDS)}"
        )
