"""NumPy archives: reading with errors that say what is wrong.

All ``.npz`` files of users are read here. Pickled objects are refused, and so are
archives that expand without measure.
"""

import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equicalc.data.damage import naming

__all__ = ["array_names", "load_arrays", "read_names", "read_npz"]

# A bomb is larger than this, and so many times larger than its file.
_LARGE = 1 << 28  # bytes
_EXPANSION = 200


def array_names(path: str | Path) -> frozenset[str]:
    """Return the names of the arrays in an ``.npz`` file without reading them.

    Raises
    ------
    ValueError
        If the file is missing, damaged, no ``.npz`` file, or would expand to absurdly
        many bytes.
    """
    with naming(path, "is missing, cut short, or no .npz file"):
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        size = sum(member.file_size for member in members)
        if size > max(_LARGE, _EXPANSION * sum(m.compress_size for m in members)):
            raise ValueError(f"{size} bytes in a file of {Path(path).stat().st_size}")
    return frozenset(member.filename.removesuffix(".npy") for member in members)


def read_npz(
    path: str | Path, names: Collection[str] | None = None
) -> dict[str, NDArray[Any]]:
    """Read arrays of an ``.npz`` file. Pickled objects are refused.

    Parameters
    ----------
    path
        The file.
    names
        Which arrays; all by default.

    Raises
    ------
    ValueError
        If the file is damaged, or an array is missing or is none of numbers or text.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.npz"
    >>> np.savez(file, x=[1, 2])
    >>> read_npz(file)
    {'x': array([1, 2])}
    """
    found = array_names(path)
    missing = sorted(set(names or ()) - found)
    if missing:
        raise ValueError(
            f"{path} lacks the arrays {', '.join(missing)}; it has "
            f"{', '.join(sorted(found)) or 'none'}"
        )
    with (
        naming(path),
        Path(path).open("rb") as raw,
        np.load(raw, allow_pickle=False) as data,
    ):
        arrays = {name: data[name] for name in names or data.files}
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray) or not array.dtype.itemsize:
                raise ValueError(f"{name} is no array")
        return arrays


def read_names(path: str | Path, name: str) -> list[str]:
    """Read an array of text of an ``.npz`` file; see `read_npz`."""
    return read_npz(path, [name])[name].ravel().astype(str).tolist()


def load_arrays(path: str | Path, needed: Collection[str]) -> dict[str, NDArray[Any]]:
    """Load arrays of finite numbers by name. Pickled objects are refused.

    Parameters
    ----------
    path
        An ``.npz`` file.
    needed
        Names of the arrays.

    Returns
    -------
    dict
        The arrays.

    Raises
    ------
    ValueError
        If the file is damaged, or an array is missing or holds anything but finite
        numbers.
    """
    arrays = read_npz(path, needed)
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{path}: {name} holds {array.dtype}, numbers are needed")
        if not np.isfinite(array).all():
            bad = np.argwhere(~np.isfinite(array))[0].tolist()
            raise ValueError(f"{path}: {name}{bad} is {array[tuple(bad)]}, not finite")
    return arrays
