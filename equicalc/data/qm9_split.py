"""The split of QM9 that generators of molecules are compared on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equicalc.data.packing import write_packed

__all__ = ["edm_split", "pack_edm_split"]

SIZES = {"train": 100_000, "valid": 17_748, "test": 13_083}


def edm_split() -> dict[str, NDArray[np.int64]]:
    """Return the places, in order of their index, of the 130,831 characterised ones.

    References
    ----------
    .. [1] Hoogeboom et al., "Equivariant diffusion for molecule generation in 3D",
       ICML 2022; the split is that of Anderson et al., "Cormorant", NeurIPS 2019.

    Examples
    --------
    >>> {name: len(places) for name, places in edm_split().items()}
    {'train': 100000, 'valid': 17748, 'test': 13083}
    """
    # the published split is a permutation by numpy's legacy generator
    shuffled = np.random.RandomState(0).permutation(sum(SIZES.values()))
    ends = np.cumsum(list(SIZES.values()))
    return dict(zip(SIZES, np.split(shuffled, ends[:-1])))


def pack_edm_split(
    records: Iterable[Mapping[str, Any]], folder: str | Path, source: str
) -> None:
    """Write the three parts as packed data sets ``train``, ``valid`` and ``test``.

    Parameters
    ----------
    records
        The 130,831 molecules in order of their index, see
        `equicalc.data.qm9_arrays.read_qm9_arrays`.
    folder
        New folder.
    source
        Where they are from.

    Raises
    ------
    ValueError
        If there are more or fewer molecules.
    """
    molecules = list(records)
    if len(molecules) != sum(SIZES.values()):
        raise ValueError(
            f"{len(molecules)} molecules were given; the split is of "
            f"{sum(SIZES.values())}: all of QM9 but the uncharacterised ones"
        )
    for name, places in edm_split().items():
        part = (molecules[place] for place in np.sort(places))
        write_packed(Path(folder) / name, part, {"source": source, "part": name})
