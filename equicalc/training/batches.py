"""Batches of a packed data set in an order that a resumed run can continue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from equicalc.training.interruption import ignore_signals


class EndlessBatches(Sampler[np.ndarray]):
    """Random batches without end; the n-th is a function of seed and n alone.

    Every epoch is a permutation drawn from (seed, epoch), cut into whole batches;
    what is left over waits for another epoch.

    Parameters
    ----------
    n
        Number of structures.
    batch_size
        Structures in a batch; all of them if there are fewer.
    seed
        Of the order.
    start
        Number of the first batch.
    share
        (k, n): only the k-th of n parts of every batch, for the k-th of n processes.

    Raises
    ------
    ValueError
        If a batch has fewer structures than parts.

    Examples
    --------
    >>> from itertools import islice
    >>> whole = list(islice(EndlessBatches(7, 2, seed=0), 9))
    >>> rest = list(islice(EndlessBatches(7, 2, seed=0, start=5), 4))
    >>> all((a == b).all() for a, b in zip(whole[5:], rest))
    True
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int,
        start: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.n = n
        self.batch_size = min(batch_size, n)
        self.seed = seed
        self.start = start
        self.share = share
        if self.batch_size < share[1]:
            raise ValueError(
                f"batches of {self.batch_size} structures cannot be shared by "
                f"{share[1]} devices: give a larger optimizer.batch_size, or fewer "
                "trainer.devices"
            )

    @property
    def per_epoch(self) -> int:
        """Batches in one pass over the structures."""
        return self.n // self.batch_size

    def __iter__(self) -> Iterator[np.ndarray]:
        epoch, first = divmod(self.start, self.per_epoch)
        part, parts = self.share
        while True:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.n)
            for number in range(first, self.per_epoch):
                begin = number * self.batch_size
                yield np.sort(order[begin : begin + self.batch_size])[part::parts]
            epoch, first = epoch + 1, 0


class _Prepared(Dataset[Any]):
    """Batches, indexed by arrays of structures."""

    def __init__(self, prepare: Callable[[np.ndarray], Any]) -> None:
        self.prepare = prepare

    def __getitem__(self, indices: np.ndarray) -> Any:
        return self.prepare(indices)


def loader(
    prepare: Callable[[np.ndarray], Any],
    batches: Sampler[np.ndarray] | list[np.ndarray],
    num_workers: int = 0,
) -> DataLoader:
    """Return an iterable of batches.

    Parameters
    ----------
    prepare
        Makes a batch of the structures of given indices.
    batches
        Indices of the structures of every batch.
    num_workers
        Processes that prepare batches.
    """
    return DataLoader(
        _Prepared(prepare),
        sampler=batches,
        batch_size=None,
        collate_fn=_unchanged,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        worker_init_fn=ignore_signals,
    )


def in_order(n: int, batch_size: int) -> list[np.ndarray]:
    """Cut the first n indices into batches, the last one shorter.

    Examples
    --------
    >>> [batch.tolist() for batch in in_order(5, 2)]
    [[0, 1], [2, 3], [4]]
    """
    return [np.arange(i, min(i + batch_size, n)) for i in range(0, n, batch_size)]


def _unchanged(batch: Any) -> Any:
    return batch
