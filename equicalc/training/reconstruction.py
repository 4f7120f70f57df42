"""How much of held-out molecules comes back from their embeddings."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from equicalc.models.cloud import Cloud
from equicalc.models.mo3enet import Mo3ENet
from equicalc.models.reconstruction import match_points
from equicalc.models.swarm import Swarm
from equicalc.training.mixture import mixture_terms


class ReconstructionValidation:
    """Atoms found and their deviations, gathered batch by batch."""

    SIGMA = 0.5  # Angstrom: the same in all of a run, so that losses compare

    def __init__(self) -> None:
        self.columns: dict[str, list[Tensor]] = {}

    @torch.no_grad()
    def add(self, model: torch.nn.Module, batch: Cloud) -> None:
        """Encode and decode a batch."""
        model = cast(Mo3ENet, model)
        self.compare(model.decode(model.encode(batch)), batch)

    def compare(self, swarm: Swarm, cloud: Cloud) -> None:
        """Take note of points and the atoms that they should stand for."""
        terms = mixture_terms(swarm, cloud, self.SIGMA)
        self._note("loss", terms["missing"] + terms["orphan"] + terms["stray"])
        for name in ("overlap", "orphan", "stray", "missing"):
            self._note(name, terms[name])
        found = match_points(swarm, cloud)
        n_atoms = cloud.n_atoms
        for suffix, good in (("", found.matched), ("_touched", found.touched)):
            whole = found.whole(good)
            each = torch.where(good, found.deviation, 0.0)
            mean = torch.zeros(len(cloud)).to(each).index_add(0, cloud.batch, each)
            self._note(f"molecules{suffix}", whole)
            self._note(f"atoms{suffix}", good)
            self._note(f"deviation{suffix}", found.deviation[good])
            self._note(f"molecule_deviation{suffix}", (mean / n_atoms)[whole])

    def _note(self, name: str, values: Tensor) -> None:
        self.columns.setdefault(name, []).append(values.double().reshape(-1))

    def table(self) -> dict[str, Any]:
        """Return mean loss, fractions found, and deviations in Angstrom.

        ``molecules`` are those of which every atom is found, ``deviation`` is over
        the atoms found, ``molecule_deviation`` over these molecules. Names that end
        in ``_touched`` count every atom with a mass above a quarter, others only
        those with a mass of 1 within a quarter and the right element. The mean of
        none is NaN.
        """
        columns = {name: torch.cat(values) for name, values in self.columns.items()}
        return {name: float(x.mean()) for name, x in columns.items()}
