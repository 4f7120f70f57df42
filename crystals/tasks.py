"""Training of lattice-energy predictors on labelled crystals.

Importing this module adds the tasks ``lattice`` and ``lattice-paper`` to those of
`equicalc.training.train`.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from equicalc.data.damage import naming
from equicalc.data.fragment_batch import OnDevice
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

from .agreement import expected_errors, rank_correlation
from .crystal import MolecularCrystal
from .inputs import NetworkConfig, network_inputs, require_known

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LabelledSet", "LatticePaperTask", "LatticeTask", "read_labelled"]

logger = logging.getLogger(__name__)

KNEE = 2.0  # kJ/mol, where the loss of a `LatticeNetwork` gets linear


@dataclass(frozen=True)
class LabelledSet:
    """Crystals and their interaction energies.

    Attributes
    ----------
    crystals
        Of one or many molecules.
    energies : (n,)
        kJ/mol per molecule.
    formulas : (n,)
        Of the molecules.
    methods : (n,)
        What made the labels: method and version.
    """

    crystals: Sequence[MolecularCrystal]
    energies: NDArray[np.float64]
    formulas: NDArray[np.str_]
    methods: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.crystals)

    def subset(self, rows: NDArray[np.int64]) -> LabelledSet:
        """Return some of the crystals."""
        chosen = [self.crystals[row] for row in rows]
        return LabelledSet(
            chosen, self.energies[rows], self.formulas[rows], self.methods[rows]
        )


def read_labelled(database: str | Path) -> LabelledSet:
    """Read what `label_crystals` wrote; crystals without an energy are left out.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no database of labels, holds none that went well, or labels of several
        methods.
    """
    from ase.db import connect

    path = Path(database)
    if not path.is_file():
        raise FileNotFoundError(f"no database {path}: make one, crystals label -o")
    with naming(path, "is no database of labelled crystals"):
        rows = list(connect(path, use_lock_file=False).select())
    good = [row for row in rows if row.get("status") == "ok" and "interaction" in row]
    if not good:
        raise ValueError(f"{path}: none of {len(rows)} crystals has an energy")
    methods = np.array([f"{row.method} {row.version}".strip() for row in good])
    if len(several := np.unique(methods)) > 1:
        raise ValueError(
            f"{path} holds labels of several methods, which do not mix: "
            f"{'; '.join(several)}. Keep one in a database"
        )
    if left_out := len(rows) - len(good):
        logger.warning("%s: %d of %d have no energy", path, left_out, len(rows))
    crystals = [MolecularCrystal.from_atoms(row.toatoms()) for row in good]
    return LabelledSet(
        crystals,
        np.array([row.interaction for row in good]),
        np.array([one.molecules[0].get_chemical_formula() for one in crystals]),
        methods,
    )


@dataclass(frozen=True)
class LatticeBatch(OnDevice):
    """What a network is given of some crystals, and what it should answer.

    Attributes
    ----------
    inputs
        See `network_inputs`.
    energies : (n,)
        kJ/mol per molecule.
    formulas : (n,)
        Equal for crystals of the same formula.
    """

    inputs: Any
    energies: Tensor
    formulas: Tensor

    def __len__(self) -> int:
        return len(self.energies)


class LatticeTask(Task):
    """The `Task` of `equicalc.models.LatticeNetwork`.

    `data` names databases of `label_crystals`. Shares of one are drawn by formulas, so
    that no isomer of a molecule that is tested is learned, or, of few formulas, by
    crystals.
    """

    unit = "crystals"

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.spread = 1.0, 0.0  # of the last validation

    @cached_property
    def _given(self) -> dict[str, Any]:
        """What is known of the model's shape before the data."""
        return initial_shape(self.config) | self.config.model

    def load_parts(self) -> dict[str, LabelledSet]:
        """Return crystals for ``train``, ``valid`` and, if any, ``test``."""
        data, seed = self.config.data, self.config.seed
        paths = {"train": data.train, "valid": data.valid, "test": data.test}
        parts = {
            name: read_labelled(expand_path(path))
            for name, path in paths.items()
            if path is not None
        }
        self.methods = sorted({str(one.methods[0]) for one in parts.values()})
        if shares := shares_to_draw(data, parts):
            whole = parts["train"]
            rows = _split(whole.formulas, shares, seed)
            parts |= {name: whole.subset(rows[name]) for name in shares}
        for name, part in parts.items():
            order = np.random.default_rng(seed).permutation(len(part))
            kept = np.sort(order[: getattr(data, f"n_{name}")])
            if not len(kept):
                raise ValueError(
                    f"data.{name}: no crystal is left of {len(part)}; check the "
                    "fractions, or give a file"
                )
            parts[name] = part.subset(kept)
        return parts

    def model_settings(self, dataset: LabelledSet) -> dict[str, Any]:
        """Return the model's configuration, elements from the data unless given."""
        fields: dict[str, Any] = {"elements": _elements(dataset)} | self._given
        return self._checked(LatticeConfig(**fields), dataset)

    def _checked(self, config: NetworkConfig, dataset: LabelledSet) -> dict[str, Any]:
        """Refuse crystals that the network is not for."""
        for crystal in dataset.crystals:
            require_known(crystal, config)
        return dataclasses.asdict(config)

    def card(self, model: nn.Module) -> dict[str, Any]:
        """Return what made the labels, and how errors follow from the members."""
        return {"labels": self.methods, "spread": self.spread}

    def batch(
        self, model: nn.Module, dataset: LabelledSet, indices: np.ndarray
    ) -> LatticeBatch:
        """Describe some crystals."""
        config = cast("NetworkConfig", model.config)
        some = dataset.subset(indices)
        _, formulas = np.unique(dataset.formulas, return_inverse=True)
        return LatticeBatch(
            network_inputs(some.crystals, config),
            torch.as_tensor(some.energies, dtype=torch.float32),
            torch.as_tensor(formulas[indices]),
        )

    def loss(
        self, model: nn.Module, batch: LatticeBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the Huber loss of all members, in units of its knee."""
        members = model(batch.inputs)["members"] / KJ_PER_MOL
        knee = self._knee(model)
        given = batch.energies.expand_as(members)
        loss = huber_loss(members, given, delta=knee) / knee
        return loss, {"error": (members - given).abs().mean().detach()}

    def _knee(self, model: nn.Module) -> float:
        """Error at which the loss gets linear, kJ/mol."""
        return KNEE

    def validation(self) -> LatticeValidation:
        """Begin to gather energies."""
        return LatticeValidation(self)

    def write_report(self, folder: Path, parts: dict[str, LabelledSet]) -> None:
        """Write the errors of the best model and the learning curve."""
        write_metrics(self, folder, parts)
        plot_terms(folder, ("loss",))


class LatticePaperTask(LatticeTask):
    """The `Task` of `equicalc.models.LatticePaper`.

    Crystals are of the space group that `model.spacegroup` says, or that is the most
    frequent, and have one independent molecule; others are left out.
    """

    def load_parts(self) -> dict[str, LabelledSet]:
        """Return crystals for ``train``, ``valid`` and, if any, ``test``."""
        parts = super().load_parts()
        groups = [one.spacegroup for one in parts["train"].crystals]
        self.spacegroup = self._given.get("spacegroup", max(groups, key=groups.count))
        return {name: self._suited(name, part) for name, part in parts.items()}

    def _suited(self, name: str, part: LabelledSet) -> LabelledSet:
        rows = [
            row
            for row, one in enumerate(part.crystals)
            if one.spacegroup == self.spacegroup and len(one.molecules) == 1
        ]
        if not rows:
            raise ValueError(
                f"data.{name}: none of {len(part)} crystals has one independent "
                f"molecule and space group {self.spacegroup}"
            )
        if left_out := len(part) - len(rows):
            logger.warning(
                "%s: %d of %d crystals have another space group than %d, or several "
                "independent molecules: left out",
                *(name, left_out, len(part), self.spacegroup),
            )
        return part.subset(np.array(rows))

    def model_settings(self, dataset: LabelledSet) -> dict[str, Any]:
        """Return the model's configuration with means and scales of the data."""
        found = {"elements": _elements(dataset), "spacegroup": self.spacegroup}
        fields: dict[str, Any] = found | self._given
        config = LatticePaperConfig(**fields)
        self._checked(config, dataset)
        if config.means == LatticePaperConfig.means:
            inputs = cast(
                "Tensor", network_inputs(dataset.crystals, config, torch.float64)
            )
            energies = dataset.energies * KJ_PER_MOL
            config = dataclasses.replace(
                config,
                means=tuple(inputs.mean(0).tolist()),
                scales=tuple(inputs.std(0).clamp(min=1e-6).tolist()),
                mean=float(energies.mean()),
                scale=float(energies.std()) or 1.0,
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
        self.formulas: list[Tensor] = []

    @torch.no_grad()
    def add(self, model: nn.Module, batch: LatticeBatch) -> None:
        """Evaluate a batch."""
        was_training = model.training
        members = model.eval()(batch.inputs)["members"] / KJ_PER_MOL
        model.train(was_training)
        self.members.append(members.double().cpu())
        self.given.append(batch.energies.double().cpu())
        self.formulas.append(batch.formulas.cpu())

    def table(self) -> dict[str, Any]:
        """Return the mean absolute error as loss, kJ/mol, R, and ranks if any."""
        members, given = torch.cat(self.members, 1).numpy(), torch.cat(self.given)
        given, made = given.numpy(), members.mean(0)
        self.task.spread = expected_errors(given, members)
        table = {"loss": float(np.abs(made - given).mean())}
        table["of_a_constant"] = float(np.abs(given - np.median(given)).mean())
        ranks = rank_correlation(torch.cat(self.formulas).numpy(), made, given)
        return table if ranks is None else table | {"Spearman": ranks}


def _elements(dataset: LabelledSet) -> tuple[int, ...]:
    """Atomic numbers of all molecules, ascending."""
    numbers = [one.molecules[0].numbers for one in dataset.crystals]
    return tuple(np.unique(np.concatenate(numbers)).tolist())


def _split(
    formulas: NDArray[np.str_], shares: dict[str, float], seed: int
) -> dict[str, NDArray[np.int64]]:
    """Split rows by shares, those of a formula together if there are enough."""
    kinds, kind = np.unique(formulas, return_inverse=True)
    if len(kinds) <= len(shares):
        return split_rows(len(formulas), shares, seed)
    drawn = split_rows(len(kinds), shares, seed)
    return {
        name: np.flatnonzero(np.isin(kind, chosen)) for name, chosen in drawn.items()
    }


TASKS["lattice"] = LatticeTask
TASKS["lattice-paper"] = LatticePaperTask
