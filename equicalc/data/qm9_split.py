"""Splits of QM9 that published work compares on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equicalc.data.packing import write_packed

__all__ = ["SPLITS", "edm_split", "pack_split", "paper_split", "thesis_split"]

Places = dict[str, NDArray[np.int64]]

EDM_SIZES = {"train": 100_000, "valid": 17_748, "test": 13_083}


def edm_split(n: int = 130_831) -> Places:
    """Return the places, in order of their index, of the 130,831 characterised ones.

    Parameters
    ----------
    n
        Number of molecules.

    Raises
    ------
    ValueError
        If it is another number.

    References
    ----------
    .. [1] Hoogeboom et al., "Equivariant diffusion for molecule generation in 3D",
       ICML 2022; the split is that of Anderson et al., "Cormorant", NeurIPS 2019.

    Examples
    --------
    >>> {name: len(places) for name, places in edm_split().items()}
    {'train': 100000, 'valid': 17748, 'test': 13083}
    """
    if n != sum(EDM_SIZES.values()):
        raise ValueError(
            f"{n} molecules were given; the edm split is of "
            f"{sum(EDM_SIZES.values())}: all of QM9 but those of the list of "
            "uncharacterised ones. Exclude these, or choose another split"
        )
    # the published split is a permutation by numpy's legacy generator
    return _cut(np.random.RandomState(0).permutation(n), EDM_SIZES)


def paper_split(n: int) -> Places:
    """Split 0.8 / 0.1 / 0.1 with the seed 21616.

    Shares and seed are those of the EquiTriton study; the generator it drew from is
    not told.

    References
    ----------
    .. [1] Lee, Galkin, Miret, arXiv:2410.08131, Table 2.
    """
    part = n // 10
    sizes = {"train": n - 2 * part, "valid": part, "test": part}
    return _cut(np.random.default_rng(21616).permutation(n), sizes)


def thesis_split(n: int) -> Places:
    """Split into 109,000 to train, 1,000 to validate, and the rest to test.

    As SchNet and the L0 to L2 networks were trained.

    Raises
    ------
    ValueError
        If that leaves none for the test.

    References
    ----------
    .. [1] Schütt et al., "SchNet", J. Chem. Phys. 148, 241722 (2018).
    """
    if n <= 110_000:
        raise ValueError(
            f"{n} molecules were given; the thesis split needs more than 110,000: "
            "choose `paper`, which takes shares"
        )
    sizes = {"train": 109_000, "valid": 1_000, "test": n - 110_000}
    return _cut(np.random.default_rng(0).permutation(n), sizes)


def whole(n: int) -> Places:
    """Return all places as one part, for a split by the training run."""
    return {"all": np.arange(n)}


#: Name -> function of the number of molecules.
SPLITS: Mapping[str, Callable[[int], Places]] = MappingProxyType(
    {"edm": edm_split, "paper": paper_split, "thesis": thesis_split, "none": whole}
)


def pack_split(
    records: Iterable[Mapping[str, Any]], folder: str | Path, split: str, source: str
) -> list[Path]:
    """Write the parts of a split as packed data sets.

    Parameters
    ----------
    records
        The molecules in order of their index, see `equicalc.data.readers`.
    folder
        Where the parts go, each a folder of its name. A part that is there is kept.
    split
        One of `SPLITS`.
    source
        Where the molecules are from.

    Returns
    -------
    list of Path
        The parts.

    Raises
    ------
    ValueError
        If the split is not of so many molecules.
    """
    molecules = list(records)
    parts = []
    for name, places in SPLITS[split](len(molecules)).items():
        parts.append(Path(folder) / name)
        if not parts[-1].exists():
            chosen = (molecules[place] for place in np.sort(places))
            meta = {"source": source, "part": name, "split": split}
            write_packed(parts[-1], chosen, meta)
    return parts


def _cut(shuffled: NDArray[np.int64], sizes: Mapping[str, int]) -> Places:
    ends = np.cumsum(list(sizes.values()))
    return dict(zip(sizes, np.split(shuffled, ends[:-1])))
