"""NumPy archives of other projects: loading with errors that say what is wrong."""

import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["array_names", "load_arrays"]


def array_names(path: str | Path) -> frozenset[str]:
    """Return the names of the arrays in an ``.npz`` file without reading them.

    Raises
    ------
    ValueError
        If the file is missing, damaged, or no ``.npz`` file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(name.removesuffix(".npy") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(
            f"{path} is missing, cut short, or no .npz file ({error})"
        ) from error


def load_arrays(path: str | Path, needed: Collection[str]) -> dict[str, NDArray[Any]]:
    """Load arrays by name. Pickled objects are refused.

    Parameters
    ----------
    path
        An ``.npz`` file.
    needed
        Names of the arrays.

    Returns
    -------
    dict
        The arrays, all of them finite.

    Raises
    ------
    ValueError
        If the file is damaged, an array is missing, or a number is not finite.
    """
    found = array_names(path)
    missing = sorted(set(needed) - found)
    if missing:
        raise ValueError(
            f"{path} lacks the arrays {', '.join(missing)}; it has "
            f"{', '.join(sorted(found)) or 'none'}"
        )
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in needed}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            bad = np.argwhere(~np.isfinite(array))[0].tolist()
            raise ValueError(f"{path}: {name}{bad} is {array[tuple(bad)]}, not finite")
    return arrays
