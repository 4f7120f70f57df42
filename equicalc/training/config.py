"""What a training run is made of: plain dataclasses, mirrored by the YAML files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from equicalc.training.limits import (
    RangeError,
    require_at_least,
    require_positive,
    require_share,
)

LossKind = Literal["mse", "l1", "huber", "norm"]
LOSS_TERMS = ("energy", "forces", "stress", "dipole", "charges")
PARTS = ("train", "valid", "test")


@dataclass
class DataConfig:
    """Where the structures come from.

    Parameters
    ----------
    train
        A packed data set (folder) or any file that `equicalc.data` can read.
        `~` and `${VARIABLE}` are expanded in every path.
    valid, test
        The same; without them they are split from `train` by `fractions`.
    fractions
        Shares of `train`; whole molecules are kept together where the data set
        says which molecule a structure belongs to.
    n_train, n_valid, n_test
        Use at most so many structures (drawn with the seed).
    isolated_atoms
        A file with one-atom structures and their energies. Without it, one-atom
        structures of the training set are used, else a least-squares fit.
    max_force
        Leave out structures with a force above this (eV/Angstrom).
    """

    train: str
    valid: str | None = None
    test: str | None = None
    fractions: dict[str, float] = field(
        default_factory=lambda: {"train": 0.9, "valid": 0.05, "test": 0.05}
    )
    n_train: int | None = None
    n_valid: int | None = None
    n_test: int | None = None
    isolated_atoms: str | None = None
    max_force: float | None = None

    def __post_init__(self) -> None:
        require_at_least(self, 1, "n_train", "n_valid", "n_test")
        require_positive(self, "max_force")
        shares = self.fractions
        if shares.keys() - set(PARTS) or not all(
            0 <= share < float("inf") for share in shares.values()
        ):
            raise RangeError(
                "fractions", shares, f"shares of {', '.join(PARTS)}, none below 0"
            )
        needed = [part for part in ("train", "valid") if not shares.get(part)]
        if self.valid is None and needed:
            raise RangeError(
                "fractions", shares, f"a share of {needed[0]}, or a file as data.valid"
            )


@dataclass
class LossConfig:
    """Weights and kinds of the loss terms.

    Residuals are eV per atom (energy), eV/Angstrom (forces), eV/Angstrom^3 (stress),
    e Angstrom (dipole), e (charges), each averaged over the batch.

    Parameters
    ----------
    energy, forces, stress, dipole, charges
        Weights; a term of weight 0 is not computed.
    kind
        One kind for all terms, or a kind for each: `mse`, `l1`, `huber`, or `norm`
        (length of the error vector, so that the loss is rotation invariant).
    huber_delta
        Where `huber` turns from quadratic to linear, in the units of the residual.
    """

    energy: float = 1.0
    forces: float = 10.0
    stress: float = 0.0
    dipole: float = 0.0
    charges: float = 0.0
    kind: LossKind | dict[str, LossKind] = "huber"
    huber_delta: float = 0.01

    def __post_init__(self) -> None:
        require_at_least(self, 0, *LOSS_TERMS)
        require_positive(self, "huber_delta")

    def weights(self) -> dict[str, float]:
        """Return the terms that count and their weights."""
        weights = {term: getattr(self, term) for term in LOSS_TERMS}
        return {term: weight for term, weight in weights.items() if weight > 0}

    @property
    def electric(self) -> bool:
        """Whether dipole moments or charges are trained."""
        return self.dipole > 0 or self.charges > 0

    def kind_of(self, term: str) -> str:
        """Return the kind of one term."""
        if isinstance(self.kind, str):
            return self.kind
        return self.kind.get(term, "huber")


@dataclass
class PropertyConfig:
    """What networks of molecular properties are trained on.

    Their loss is the mean over the targets of `loss.kind`, applied to residuals in
    units of the target's standard deviation.

    Parameters
    ----------
    targets
        Names out of `equicalc.data.qm9.TARGETS`, such as `U0` (which packed data
        sets have as their energy), `mu` or `gap`. For pre-training one vector
        instead, from features of degree 1: `noise`, by which the positions of any
        structures were displaced, or `dipole`, a label. `init` of a run with
        properties takes these weights but for the readout.
    references
        What is subtracted for every atom: `atoms`, the free atom's value, where there
        is one; `fit`, least squares on the composition; `none`.
    sigma
        Standard deviation of the noise for the target `noise`, Angstrom.
    """

    targets: list[str] = field(default_factory=list)
    references: Literal["atoms", "fit", "none"] = "atoms"
    sigma: float = 0.05

    def __post_init__(self) -> None:
        require_positive(self, "sigma")


@dataclass
class OptimizerConfig:
    """Optimiser, its learning-rate schedule and the running average of the weights.

    Parameters
    ----------
    kind
        `adamw`, or `muon`: Muon for weight matrices, AdamW for all other weights. The
        same learning rates suit both.
    lr, weight_decay
        Of both.
    betas
        Of AdamW.
    batch_size
        Structures per step.
    ema_decay
        Of the exponential moving average that is validated and exported; 0: none.
    clip
        Largest norm of the gradient; longer ones are scaled down. None: no clipping.
    schedule
        `constant`; `cosine` (over the steps or epochs, or the time if nothing else is
        limited); `time-cosine` (over the steps, epochs or the time allowed, whichever
        is further along); `plateau`.
    warmup_steps
        Steps of linear rise.
    lr_final
        Where the schedules end, as a fraction of `lr`.
    plateau_factor, plateau_patience
        Multiply by the factor after so many validations without improvement.
    """

    kind: Literal["adamw", "muon"] = "adamw"
    lr: float = 5e-3
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    batch_size: int = 16
    ema_decay: float = 0.99
    clip: float | None = 10.0
    schedule: Literal["constant", "cosine", "time-cosine", "plateau"] = "cosine"
    warmup_steps: int = 100
    lr_final: float = 0.01
    plateau_factor: float = 0.5
    plateau_patience: int = 10

    def __post_init__(self) -> None:
        require_positive(self, "lr", "clip", "plateau_factor")
        require_at_least(self, 1, "batch_size")
        require_at_least(
            self, 0, "weight_decay", "warmup_steps", "lr_final", "plateau_patience"
        )
        require_share(self, "ema_decay")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise RangeError("betas", self.betas, "two numbers from 0 to below 1")


@dataclass
class StopConfig:
    """When to stop: at the first limit that is reached.

    Parameters
    ----------
    max_epochs, max_steps
        Limits of the whole run, interruptions not counted.
    max_time
        "HH:MM:SS" or seconds, summed over resumed parts.
    patience
        Validations without improvement.
    """

    max_epochs: int | None = None
    max_steps: int | None = None
    max_time: str | float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        require_at_least(self, 1, "max_epochs", "max_steps", "patience")
        if self.max_time is not None:
            try:
                seconds(self.max_time)
            except ValueError:
                raise RangeError(
                    "max_time", self.max_time, "HH:MM:SS or seconds"
                ) from None

    @property
    def counted(self) -> bool:
        """Whether steps or epochs are limited."""
        return self.max_epochs is not None or self.max_steps is not None


@dataclass
class TrainerConfig:
    """How the run is carried out: a resumed run may change it.

    `val_every_steps` has a say in the result: the best model is the best of those that
    were validated, and the learning rate of `plateau` and `stop.patience` go by
    validations. Of the rest, device, number of devices, threads, backend and `compile`
    change the result by rounding, which training amplifies.

    Parameters
    ----------
    threads
        Threads of torch; None: as torch chooses.
    num_workers
        Processes that prepare batches; 0: in the training process.
    device
        "auto", "cpu", "cuda".
    devices
        How many, a process for each, by Lightning's DDP: every process takes a share of
        each batch, and the gradients of the shares are averaged. The script or command
        that trains is run again in each process.
    backend
        Kernel backend of the model.
    compile
        Run energy and forces of a potential as one compiled program, see
        `equicalc.models.compile_forces`, or the loss of a generator: worth it in runs
        of hours.
    val_every_steps
        Steps between validations; None: once an epoch.
    log_every
        Steps between rows of the log.
    checkpoint_minutes
        Time between checkpoints (also written at every validation).
    progress
        Show a progress bar when on a terminal.
    """

    threads: int | None = None
    num_workers: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    backend: str = "auto"
    compile: bool = False
    val_every_steps: int | None = None
    log_every: int = 50
    checkpoint_minutes: float = 5.0
    progress: bool = True

    def __post_init__(self) -> None:
        require_at_least(self, 1, "threads", "devices", "val_every_steps", "log_every")
        require_at_least(self, 0, "num_workers", "checkpoint_minutes")
        if self.compile and self.devices > 1:
            raise RangeError("compile", True, "false on several devices")


@dataclass
class RegulariseConfig:
    """Remedies against irreps that a network has and does not use.

    Parameters
    ----------
    irrep_dropout
        Probability that an irrep with l > 0 has no influence in a step.
    irrep_sparsity
        Weight, in the loss, of the mean size of the channels with l > 0.
    """

    irrep_dropout: float = 0.0
    irrep_sparsity: float = 0.0

    def __post_init__(self) -> None:
        require_share(self, "irrep_dropout")
        require_at_least(self, 0, "irrep_sparsity")


@dataclass
class TrainConfig:
    """A training run.

    Parameters
    ----------
    output
        Folder of checkpoints, logs, plots and the best model.
    data, loss, properties, optimizer, stop, trainer
        See the classes of these names.
    model
        Fields of the model's own configuration (for a potential: `cutoff`, `ls`,
        `channels`, `layers`, ...). Elements, reference energies, energy scale and
        average neighbours come from the data unless given, `dipole` from the losses.
    init
        A checkpoint to start from instead of random weights: fine-tuning. Its shape
        is the default of `model`; reference energies are fitted anew, to what the new
        energies are above those of its network. The command line also takes the name
        of a shipped model.
    regularise
        See its class; for potentials and networks of properties.
    task
        Name of the model in `equicalc.models.MODELS`.
    seed
        Of the initial weights, the split and the order of the structures.
    card
        Copied into the header of the weights: level_of_theory, licence, limits, ...
    """

    output: str
    data: DataConfig
    model: dict[str, Any] = field(default_factory=dict)
    loss: LossConfig = field(default_factory=LossConfig)
    properties: PropertyConfig = field(default_factory=PropertyConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    stop: StopConfig = field(default_factory=StopConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    init: str | None = None
    regularise: RegulariseConfig | None = None
    task: str = "potential"
    seed: int = 0
    card: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_at_least(self, 0, "seed")
        if self.trainer.compile and self.regularise is not None:
            raise ValueError(
                "trainer.compile is for whole potentials, regularise reaches inside: "
                "leave out one of the two"
            )


def seconds(duration: str | float) -> float:
    """Return a duration in seconds.

    Parameters
    ----------
    duration
        "HH:MM:SS", "MM:SS" or a number of seconds.

    Raises
    ------
    ValueError
        If it is none of these.

    Examples
    --------
    >>> seconds("01:30:00")
    5400.0
    """
    try:
        parts = [float(part) for part in str(duration).split(":")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 3 or not all(0 <= part < float("inf") for part in parts):
        raise ValueError(f"duration {duration!r}: give HH:MM:SS or seconds")
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))
