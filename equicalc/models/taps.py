"""Where irreps pass through a network: to read them there, to scale or remove them.

A network takes part in embedding and analysis by one registration::

    @taps_of.register
    def _(model: MyNetwork) -> Taps:
        irreps = as_irreps(model.irreps_features)
        return Taps(features=(Tap(model.last_layer, irreps),), run=model)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial, singledispatch
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from equicalc.o3 import Irreps

if TYPE_CHECKING:
    from torch_geometric.data import Data

Layout = Literal["e3nn", "channels last", "blocks", "channels first"]


@dataclass(frozen=True)
class Tap:
    """A module whose output holds features of known irreps.

    Attributes
    ----------
    module : nn.Module
        Called once in a pass through the network.
    irreps : Irreps
        Of its output, in order.
    layout : str
        ``"e3nn"``: (n, dim), the components of every channel together;
        ``"channels last"``: (n, sum 2l+1, channels); ``"blocks"``: a list of
        (n, 2l+1, channels), one for every irrep; ``"channels first"``: a list of
        (n, channels, 2l+1), of scalars (n, channels).
    """

    module: nn.Module
    irreps: Irreps
    layout: Layout = "e3nn"

    def split(self, output: Any) -> dict[str, Tensor]:
        """Return the features by irrep, (n, mul, 2l+1) each.

        Examples
        --------
        >>> tap = Tap(nn.Identity(), as_irreps("2x0e+1x1o"))
        >>> {name: tuple(x.shape) for name, x in tap.split(torch.zeros(7, 5)).items()}
        {'0e': (7, 2, 1), '1o': (7, 1, 3)}
        """
        if self.layout == "e3nn":
            parts = output.split([mul * ir.dim for mul, ir in self.irreps], 1)
            blocks = [x.unflatten(1, mi) for x, mi in zip(parts, self._shapes)]
        elif self.layout == "channels first":
            blocks = [x if x.ndim == 3 else x.unsqueeze(2) for x in output]
        else:
            rows = output
            if self.layout == "channels last":
                rows = output.split([ir.dim for _, ir in self.irreps], 1)
            blocks = [x.transpose(1, 2) for x in rows]
        return _joined((str(ir), x) for (_, ir), x in zip(self.irreps, blocks))

    def scale(self, output: Any, factors: Mapping[str, float]) -> Any:
        """Multiply irreps by factors, those that are not named by 1; same layout."""
        by_irrep = [factors.get(str(ir), 1.0) for _, ir in self.irreps]
        if self.layout in ("blocks", "channels first"):
            return [x * factor for x, factor in zip(output, by_irrep)]
        per_channel = self.layout == "e3nn"
        widths = [(mul if per_channel else 1) * ir.dim for mul, ir in self.irreps]
        rows = output.new_tensor(by_irrep).repeat_interleave(
            torch.tensor(widths, device=output.device)
        )
        return output * (rows if per_channel else rows.unsqueeze(1))

    @property
    def _shapes(self) -> list[tuple[int, int]]:
        return [(mul, ir.dim) for mul, ir in self.irreps]


def every_atom(graph: Data) -> Tensor:
    """Return the indices of all atoms: what most networks have features of."""
    return torch.arange(len(graph["z"]), device=graph["z"].device)


@dataclass(frozen=True)
class Taps:
    """All places of a network where irreps pass.

    Attributes
    ----------
    features : tuple of Tap
        Outputs of the layers, first to last: what an embedding is made of. Rows after
        those of the atoms (or graphs) that they describe are left out.
    run : callable
        Passes a graph through the network.
    inlets : tuple of Tap
        Where irreps come from besides: harmonics of the edges, messages. Removed from
        features and inlets, an irrep has no influence.
    rows : callable
        From a graph to the atoms that the rows of the features belong to.
    per_atom : bool
        Whether rows are atoms; else they are whole graphs.
    ignored : tuple of int
        Atomic numbers of atoms that the network leaves out of all structures.
    molecules_only : bool
        Whether the network does not know periodic structures.
    """

    features: tuple[Tap, ...]
    run: Callable[[Data], Any]
    inlets: tuple[Tap, ...] = ()
    rows: Callable[[Data], Tensor] = every_atom
    per_atom: bool = True
    ignored: tuple[int, ...] = ()
    molecules_only: bool = False

    @property
    def irreps(self) -> Irreps:
        """Irreps of the features of all layers together, sorted by degree.

        Examples
        --------
        >>> layer = Tap(nn.Identity(), as_irreps("8x0e+8x1o"))
        >>> Taps((layer, layer), run=nn.Identity()).irreps
        16x0e+16x1o
        """
        return irreps_of(self.features)

    @contextmanager
    def recorded(self) -> Iterator[list[Any]]:
        """Within the context, every pass leaves the layers' outputs in the list."""
        outputs: list[Any] = [None] * len(self.features)

        def keep(place: int, module: nn.Module, inputs: Any, output: Any) -> None:
            outputs[place] = output

        with ExitStack() as hooks:
            for place, tap in enumerate(self.features):
                handle = tap.module.register_forward_hook(partial(keep, place))
                hooks.callback(handle.remove)
            yield outputs

    @contextmanager
    def scaled(self, factors: Mapping[str, float]) -> Iterator[None]:
        """Within the context, irreps are multiplied by factors wherever they pass.

        Parameters
        ----------
        factors
            Irrep, ``"1o"`` say, to factor; 0 removes it.

        Raises
        ------
        ValueError
            If the network has no such irrep.
        """
        known = [str(ir) for _, ir in self.irreps]
        if unknown := [name for name in factors if name not in known]:
            raise ValueError(
                f"this network has no irrep {unknown[0]}, but {', '.join(known)}"
            )

        def change(tap: Tap, module: nn.Module, inputs: Any, output: Any) -> Any:
            return tap.scale(output, factors)

        with ExitStack() as hooks:
            for tap in (*self.features, *self.inlets):
                handle = tap.module.register_forward_hook(partial(change, tap))
                hooks.callback(handle.remove)
            yield

    def n_rows(self, graph: Data) -> int:
        """Return how many rows of the features belong to atoms (or graphs)."""
        return len(self.rows(graph)) if self.per_atom else len(graph["ptr"]) - 1

    def read(
        self, graph: Data, layers: Sequence[int] | None = None
    ) -> dict[str, Tensor]:
        """Pass a graph through the network and return the features of its layers.

        Parameters
        ----------
        graph
            See `equicalc.graph`.
        layers
            Which layers, counted from 0; all by default.

        Returns
        -------
        dict
            Irrep to (n_rows, mul, 2l+1), channels of the first layer first.
        """
        with self.recorded() as outputs:
            self.run(graph)
        n = self.n_rows(graph)
        chosen = range(len(outputs)) if layers is None else layers
        taps = tuple(self.features[k] for k in chosen)
        by_irrep = _joined(
            (name, block[:n])
            for tap, k in zip(taps, chosen)
            for name, block in tap.split(outputs[k]).items()
        )
        return {str(ir): by_irrep[str(ir)] for _, ir in irreps_of(taps)}


@singledispatch
def taps_of(model: nn.Module) -> Taps:
    """Return where irreps pass through a network.

    Raises
    ------
    ValueError
        If nobody has registered it.
    """
    raise ValueError(
        f"{type(model).__name__} has no features of atoms or molecules to read; a "
        "network of your own is registered with equicalc.models.taps.taps_of"
    )


def as_irreps(irreps: str | Sequence[tuple[int, tuple[int, int]]]) -> Irreps:
    """Build irreps; e3nn's own constructor is not typed.

    Examples
    --------
    >>> as_irreps("8x0e + 8x1o").dim
    32
    """
    return cast(Irreps, Irreps(irreps))


def irreps_of(features: tuple[Tap, ...]) -> Irreps:
    """Irreps of several taps together, sorted by degree."""
    together = [(mul, (ir.l, ir.p)) for tap in features for mul, ir in tap.irreps]
    return as_irreps(together).sort().irreps.simplify()


def _joined(parts: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Join the channels of blocks of the same name."""
    found: dict[str, list[Tensor]] = {}
    for name, block in parts:
        found.setdefault(name, []).append(block)
    return {name: torch.cat(blocks, 1) for name, blocks in found.items()}
