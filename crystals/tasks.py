"""Training of lattice-energy predictors on labelled crystals.

Importing this module adds the tasks ``lattice`` and ``lattice-paper`` to those of
`equicalc.training.train`.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from equicalc.data.fragment_batch import OnDevice
from equicalc.header import read_header
from equicalc.models import LatticeConfig, LatticePaperConfig
from equicalc.training.config import TrainConfig
from equicalc.training.plots import plot_terms
from equicalc.training.report import write_metrics
from equicalc.training.sources import (
    expand_path,
    initial_shape,
    shares_to_draw,
    split_rows,
)
from equicalc.training.task import Task
from equicalc.training.tasks import TASKS
from equicalc.units import KJ_PER_MOL

from .agreement import LEAST, expected_errors, rank_correlation
from .errors import CrystalError
from .inputs import NetworkConfig, network_inputs, require_known
from .labelled import LabelledSet, read_labelled

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LatticePaperTask", "LatticeTask"]

logger = logging.getLogger(__name__)

ERROR = "MAE kJ/mol"
KNEE = 2.0  # kJ/mol, where the loss of a `LatticeNetwork` gets linear
SAME = 1e-4  # numbers that vary less are taken to be the same in all crystals
FORMULAS = 10  # fewer say little of the errors of others


@dataclass(frozen=True)
class LatticeBatch(OnDevice):
    """What a network is given of some crystals, and what it should answer.

    Attributes
    ----------
    inputs
        See `network_inputs`.
    energies : (n,)
        kJ/mol per molecule.
    kinds : (n,)
        Equal for crystals of the same formula.
    """

    inputs: Any
    energies: Tensor
    kinds: Tensor

    def __len__(self) -> int:
        return len(self.energies)


class LatticeTask(Task):
    """The `Task` of `equicalc.models.LatticeNetwork`.

    `data` names databases of `label_crystals`. Shares of one are drawn by formulas, so
    that no isomer of a molecule that is tested is learned, or, of few formulas, by
    crystals. Crystals that the network is not for, of elements for instance that those
    to learn from have not, are left out.
    """

    unit = "crystals"

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.method = ""
        self.spread = 1.0, 0.0  # of the last validation

    @cached_property
    def _given(self) -> dict[str, Any]:
        """What is known of the model's shape before the data."""
        return initial_shape(self.config) | self.config.model

    def load_parts(self) -> dict[str, LabelledSet]:
        """Return crystals for ``train``, ``valid`` and, if any, ``test``."""
        data, seed = self.config.data, self.config.seed
        paths = {"train": data.train, "valid": data.valid, "test": data.test}
        read = {
            name: read_labelled(expand_path(path))
            for name, path in paths.items()
            if path is not None
        }
        methods = sorted({method for _, method in read.values()})
        if len(methods) > 1:
            raise ValueError(
                f"data: labels of several methods do not mix: {'; '.join(methods)}"
            )
        self.method = methods[0]
        parts = {name: part for name, (part, _) in read.items()}
        if shares := shares_to_draw(data, parts):
            whole = parts["train"]
            rows = _split(whole, shares, seed)
            parts |= {name: whole.subset(rows[name]) for name in shares}
        for name, part in parts.items():
            order = np.random.default_rng(seed).permutation(len(part))
            parts[name] = part.subset(np.sort(order[: getattr(data, f"n_{name}")]))
        if "test" in parts and not len(parts["test"]):
            del parts["test"]  # a small share of few crystals
        for name, part in parts.items():
            if not len(part):
                raise ValueError(
                    f"data.{name}: no crystal is left; check the fractions, or give a "
                    "file"
                )
        config = self._shape(parts["train"])
        return {name: self._suited(name, part, config) for name, part in parts.items()}

    def _shape(self, learned: LabelledSet) -> NetworkConfig:
        """Return the model's configuration but for what takes long to find."""
        fields: dict[str, Any] = {"elements": _elements(learned)} | self._given
        return LatticeConfig(**fields)

    def _suited(
        self, name: str, part: LabelledSet, config: NetworkConfig
    ) -> LabelledSet:
        """Leave out crystals that the network is not for."""
        rows, reason = [], ""
        for row, crystal in enumerate(part.crystals):
            try:
                require_known(crystal, config)
                rows.append(row)
            except CrystalError as error:
                reason = str(error)
        if not rows:
            raise ValueError(f"data.{name}: no crystal to use of {len(part)}: {reason}")
        if left_out := len(part) - len(rows):
            logger.warning(
                "data.%s: %d of %d crystals left out: %s",
                *(name, left_out, len(part), reason),
            )
        return part.subset(np.array(rows))

    def model_settings(self, dataset: LabelledSet) -> dict[str, Any]:
        """Return the model's configuration, elements from the data unless given."""
        return dataclasses.asdict(self._shape(dataset))

    def card(self, model: nn.Module) -> dict[str, Any]:
        """Return what made the labels, and how errors follow from the members.

        What was fitted to few formulas, of molecules that were learned, says little of
        others: errors are then taken to be no smaller than those of the predictor that
        the run started from.
        """
        given = self.config.card.get("level_of_theory", self.method)
        return {"level_of_theory": given, "spread": self.spread}

    @cached_property
    def started_with(self) -> tuple[float, float]:
        """Return the ``spread`` of the predictor that the run starts from."""
        if self.config.init is None:
            return 0.0, 0.0
        card = read_header(expand_path(self.config.init))["card"]
        return tuple(card.get("spread", (0.0, 0.0)))

    def batch(
        self, model: nn.Module, dataset: LabelledSet, indices: np.ndarray
    ) -> LatticeBatch:
        """Describe some crystals."""
        config = cast("NetworkConfig", model.config)
        some = dataset.subset(indices)
        inputs = some.inputs
        return LatticeBatch(
            network_inputs(some.crystals, config) if inputs is None else inputs,
            torch.as_tensor(some.energies, dtype=torch.float32),
            torch.as_tensor(dataset.kinds[indices]),
        )

    def loss(
        self, model: nn.Module, batch: LatticeBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the Huber loss of all members, in units of its knee."""
        members = model(batch.inputs)["members"] / KJ_PER_MOL
        knee = self._knee(model)
        given = batch.energies.expand_as(members)
        loss = huber_loss(members, given, delta=knee) / knee
        return loss, {ERROR: (members - given).abs().mean().detach()}

    def _knee(self, model: nn.Module) -> float:
        """Error at which the loss gets linear, kJ/mol."""
        return KNEE

    def validation(self) -> LatticeValidation:
        """Begin to gather energies."""
        return LatticeValidation(self)

    def write_report(self, folder: Path, parts: dict[str, LabelledSet]) -> None:
        """Write the errors of the best model and the learning curve."""
        write_metrics(self, folder, parts)
        plot_terms(folder, (ERROR,))


class LatticePaperTask(LatticeTask):
    """The `Task` of `equicalc.models.LatticePaper`.

    Crystals are of the space group that `model.spacegroup` says, or that is the most
    frequent among those to learn from, and have one independent molecule.
    """

    def _shape(self, learned: LabelledSet) -> LatticePaperConfig:
        groups = Counter(one.spacegroup for one in learned.crystals)
        found = {
            "elements": _elements(learned),
            "spacegroup": groups.most_common(1)[0][0],
        }
        return LatticePaperConfig(**(found | self._given))

    def _suited(
        self, name: str, part: LabelledSet, config: NetworkConfig
    ) -> LabelledSet:
        """Describe the crystals that are left, once for all steps."""
        some = super()._suited(name, part, config)
        inputs = cast("Tensor", network_inputs(some.crystals, config))
        return dataclasses.replace(some, inputs=inputs)

    def model_settings(self, dataset: LabelledSet) -> dict[str, Any]:
        """Return the model's configuration with means and scales of the data."""
        config = self._shape(dataset)
        inputs = cast("Tensor", dataset.inputs).double()
        if "means" not in self._given:
            scales = inputs.std(0, correction=0)
            energies = dataset.energies * KJ_PER_MOL
            config = dataclasses.replace(
                config,
                means=tuple(inputs.mean(0).tolist()),
                # what is the same in all, right angles for instance, is not blown up
                scales=tuple(torch.where(scales > SAME, scales, 1.0).tolist()),
                mean=float(energies.mean()),
                scale=float(energies.std()) or 1.0,
            )
        if len(config.means) != inputs.shape[1]:
            raise ValueError(
                f"model.embedding: {config.embedding} and 12 parameters are "
                f"{inputs.shape[1]} numbers, but there are means of "
                f"{len(config.means)}: leave out model.means, or init"
            )
        return dataclasses.asdict(config)

    def _knee(self, model: nn.Module) -> float:
        return cast("LatticePaperConfig", model.config).scale / KJ_PER_MOL


class LatticeValidation:
    """Errors of a predictor on some crystals, gathered batch by batch."""

    def __init__(self, task: LatticeTask) -> None:
        self.task = task
        self.members: list[Tensor] = []
        self.given: list[Tensor] = []
        self.kinds: list[Tensor] = []

    @torch.no_grad()
    def add(self, model: nn.Module, batch: LatticeBatch) -> None:
        """Evaluate a batch."""
        members = model(batch.inputs)["members"] / KJ_PER_MOL
        self.members.append(members.double().cpu())
        self.given.append(batch.energies.double().cpu())
        self.kinds.append(batch.kinds.cpu())

    def table(self) -> dict[str, Any]:
        """Return the mean absolute error, kJ/mol, and that of the best constant.

        And, if a formula has crystals enough, the rank correlation within formulas. The
        task takes note of how errors follow from the members.
        """
        members, given = torch.cat(self.members, 1).numpy(), torch.cat(self.given)
        given, kinds, made = given.numpy(), torch.cat(self.kinds), members.mean(0)
        error = float(np.abs(made - given).mean())
        table = {"loss": error, ERROR: error}
        if not np.isfinite(error):
            return table
        table[f"{ERROR} of a constant"] = float(np.abs(given - np.median(given)).mean())
        factor, floor = expected_errors(given, members)
        if len(kinds.unique()) < FORMULAS:
            least = self.task.started_with
            factor, floor = max(factor, least[0]), max(floor, least[1])
        self.task.spread = factor, floor
        if int(kinds.bincount().max()) >= LEAST:
            table["Spearman"] = rank_correlation(kinds.numpy(), made, given) or 0.0
        return table


def _elements(dataset: LabelledSet) -> tuple[int, ...]:
    """Atomic numbers of all molecules, ascending."""
    numbers = [one.molecules[0].numbers for one in dataset.crystals]
    return tuple(np.unique(np.concatenate(numbers)).tolist())


def _split(
    whole: LabelledSet, shares: dict[str, float], seed: int
) -> dict[str, NDArray[np.int64]]:
    """Split rows by shares, those of a formula together if each share gets one."""
    drawn = split_rows(int(whole.kinds.max()) + 1, shares, seed)
    if not all(map(len, drawn.values())):
        return split_rows(len(whole), shares, seed)
    return {
        name: np.flatnonzero(np.isin(whole.kinds, chosen))
        for name, chosen in drawn.items()
    }


TASKS["lattice"] = LatticeTask
TASKS["lattice-paper"] = LatticePaperTask
