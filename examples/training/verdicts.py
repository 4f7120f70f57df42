"""A generator learns from verdicts on the molecules that it grows.

    python examples/training/verdicts.py symphony qm9/train runs/verdicts --rounds 8

Likelihood asks that QM9 be likely; it says little about the rare steps that spoil a
molecule. Here every molecule that the generator grows is judged as a whole. One that
found no end, is not stable, not valid, or larger than QM9's is worth nothing. Others
are worth the odds that such environments, rings and sizes are QM9's rather than the
generator's, over the square of how often the same molecule came so far, or the
generator would go for fewer and fewer. Steps of molecules that are worth more than the
mean become likelier, those of others less likely: roughly the gradient of the
divergence from QM9, as far as verdicts can tell. Where an atom has neighbours that no
atom of QM9 has, nitrogen and oxygen on one saturated carbon for instance, the step that
brought them together is to blame, and no other one. No step is moved farther than a
limit [1]_, since the molecules are those of the weights that a round begins with; QM9
is learned from beside. A stopped run goes on with the round it was in. Rounds go up and
down: the mean of several states (mean_weights.py) was better than each.

.. [1] J. Schulman et al., "Proximal policy optimization algorithms", arXiv:1707.06347
   (2017).
"""

import argparse
import copy
import csv
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.io import iread, write
from numpy.typing import NDArray
from own_molecules import Habits, good, habits, n_heavy, odds
from torch import Tensor

from equicalc.checkpoint import load_checkpoint, save_checkpoint
from equicalc.data.fragments import FragmentSequences, pad_molecules
from equicalc.data.packed import PackedDataset
from equicalc.generators import Builder, Temperature
from equicalc.generators.metrics import (
    qm9_statistics,
    structures_of_dataset,
    valid_molecule,
)
from equicalc.generators.metrics.bonding import environment
from equicalc.generators.metrics.validity import plain_smiles
from equicalc.models import Generator
from equicalc.pretrained import weights_path
from equicalc.training.growth import GrowthBatch, growth_batch, growth_of
from equicalc.training.growth_loss import focus_divergence, growth_loss
from equicalc.training.memory import keep_freed_memory
from equicalc.training.muon import Muon

BATCH, LESSONS = 12, 8  # molecules of a step: its own, and QM9's
HYDROGENS = 0.25, 0.15  # share of their fragments with hydrogens
NOISE = 0.005  # Angstrom, of QM9's positions
RATE, WARM_UP = 2e-4, 20
DECAY = 0.99  # of the running average of the weights
REACH = 0.2, 0.7  # how far log probabilities move in a round: of choices, positions
BLAME, FALL = 6.0, 2.0  # weight of a step that is to blame, and how far it may fall
LARGEST = 4.0  # odds count up to this
HEAVY = 9  # heavy atoms of the largest molecules of QM9

LogProbs = Callable[[Generator, GrowthBatch], tuple[Tensor, Tensor]]


def main() -> None:
    """Go through the rounds that are left."""
    given = arguments().parse_args()
    keep_freed_memory()
    given.output.mkdir(parents=True, exist_ok=True)
    network, card = load_checkpoint(weights_path(given.model))
    qm9 = PackedDataset(given.qm9)
    known = list(map(habits, structures_of_dataset(qm9, given.references)))
    usual = qm9_statistics().counts["environments"].keys()
    learner = Learner(network, qm9, given.seed)
    often: Counter[str] = Counter()
    for number in range(given.rounds):
        start = time.monotonic()
        own = grown(learner.average, given, number)
        names = named_once(own, given.output / f"round-{number:02d}.smi")
        often.update(names)
        file = given.output / f"round-{number:02d}.safetensors"
        if file.exists():
            learner.set_out_from(load_checkpoint(file)[0])
            continue
        worth = verdicts(own, names, often, known)
        blamed = np.array([to_blame(atoms, usual) for atoms in own])
        learner.learn(own, advantages(worth, blamed < 0), blamed, number)
        note = {"verdicts": f"round {number + 1} on {given.model}, {len(own)} grown"}
        save_checkpoint(file, learner.average, card | note)
        row = {"round": number, **told(own, names)}
        row["seconds"] = round(time.monotonic() - start)
        log(given.output / "rounds.csv", row)
        print(row, flush=True)


def grown(network: Any, given: argparse.Namespace, number: int) -> list[Atoms]:
    """Molecules of a round; those that were grown before are read."""
    file = given.output / f"round-{number:02d}.extxyz"
    if not file.exists():
        molecules = Builder(network).generate(
            given.molecules,
            given.seed,
            first=number * given.molecules,
            temperature=Temperature(focus=given.focus_temperature),
        )
        write(file.with_suffix(".partial"), molecules, format="extxyz")
        file.with_suffix(".partial").rename(file)
    return list(iread(file))


def named_once(own: Sequence[Atoms], file: Path) -> list[str]:
    """SMILES of molecules that may teach, nothing of others; kept in a file."""
    if not file.exists():
        part = file.with_suffix(".partial")
        part.write_text("".join(f"{name(atoms)}\n" for atoms in own))
        part.rename(file)
    return file.read_text().split("\n")[:-1]


def verdicts(
    own: Sequence[Atoms], names: Sequence[str], often: Counter[str], known: Habits
) -> NDArray[np.float64]:
    """What each molecule is worth, (n,)."""
    its = list(map(habits, own))
    likeness = np.minimum(odds(known, its)(its), LARGEST)
    worth = [k / often[one] ** 2 if one else 0.0 for one, k in zip(names, likeness)]
    return np.array(worth)


def to_blame(atoms: Atoms, usual: Collection[str]) -> int:
    """Find the first step after which an atom has no usual neighbours; -1: none has."""
    molecule = valid_molecule(atoms) if atoms.info["complete"] else None
    if molecule is None:
        return -1
    steps = [
        max(
            other.GetIdx()
            for other in (atom, *atom.GetNeighbors())
            if other.GetAtomicNum() > 1
        )
        for atom in molecule.GetAtoms()
        if atom.GetDegree() > 1 and environment(atom) not in usual
    ]
    return min(steps, default=-1)


def advantages(
    worth: NDArray[np.float64], counts: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Worth less its mean, in standard deviations, (n,); of some molecules, 0 else."""
    if not worth[counts].any():
        return np.zeros_like(worth)
    advantage = worth / worth[counts].mean() - 1
    return np.where(counts, advantage / max(advantage[counts].std(), 1e-3), 0.0)


def told(own: Sequence[Atoms], names: Sequence[str]) -> dict[str, Any]:
    """What there is to say of the molecules of a round."""
    right = [one for one in names if one]
    large = sum(n_heavy(atoms) > HEAVY for atoms in own)
    whole = sum(atoms.info["complete"] for atoms in own)
    return {
        "grown": len(own),
        "complete": round(100 * whole / len(own), 1),
        "good": round(100 * len(right) / len(own), 1),
        "different": round(100 * len(set(right)) / len(right), 1),
        "too large": round(100 * large / len(own), 1),
    }


def name(atoms: Atoms) -> str:
    """SMILES of a molecule that may teach, nothing of others."""
    if not atoms.info["complete"] or n_heavy(atoms) > HEAVY or not good(atoms):
        return ""
    molecule = valid_molecule(atoms)
    return "" if molecule is None else plain_smiles(molecule)


class Learner:
    """A network in three states: as it was, as it is, and its running average."""

    def __init__(self, network: Any, qm9: PackedDataset, seed: int) -> None:
        self.before = copy.deepcopy(network).requires_grad_(False)
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.qm9, self.seed = qm9, seed
        self.loss = torch.compile(growth_loss, dynamic=True)
        self.log_probs: LogProbs = torch.compile(log_probs, dynamic=True)

    def set_out_from(self, network: Any) -> None:
        """Take over weights."""
        for one in (self.before, self.network, self.average):
            one.load_state_dict(network.state_dict())

    def learn(
        self,
        own: Sequence[Atoms],
        advantage: NDArray[np.float64],
        blamed: NDArray[np.int64],
        number: int,
    ) -> None:
        """Go through the molecules of a round once."""
        self.set_out_from(self.average)
        optimizer = Muon(self.network.parameters(), lr=RATE)
        rng = np.random.default_rng([self.seed, number])
        order = rng.permutation(len(own))
        batches = [order[k : k + BATCH] for k in range(0, len(own), BATCH)]
        for step, rows in enumerate(batches):
            fall = 0.5 * (1 + math.cos(math.pi * step / len(batches)))
            rate = RATE * min((step + 1) / WARM_UP, fall)
            for group in optimizer.param_groups:
                group["lr"] = max(rate, 0.05 * RATE)
            some = [own[k] for k in rows]
            loss = self._told(some, advantage[rows], blamed[rows], rng)
            taught = growth_batch(
                self.qm9,
                rng.integers(len(self.qm9), size=LESSONS),
                self.network.config,
                NOISE,
                step,
                hydrogen_share=HYDROGENS[1],
            )
            loss = loss + self.loss(self.network, taught)[0]
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            optimizer.step()
            decay = min(DECAY, (step + 1) / (step + 10))
            with torch.no_grad():
                for mean, new in zip(
                    self.average.parameters(), self.network.parameters()
                ):
                    mean.lerp_(new, 1 - decay)

    def _told(
        self,
        molecules: Sequence[Atoms],
        advantage: NDArray[np.float64],
        blamed: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> Tensor:
        """Mean over fragments of how far steps went in the wrong direction."""
        batch = as_grown(molecules, self.network.config, rng)
        owner = batch.fragments.molecule
        of_fragment = torch.as_tensor(advantage, dtype=torch.float32)[owner]
        at_fault = torch.as_tensor(blamed)[owner] == batch.fragments.n_heavy
        at_fault &= batch.fragments.n_hydrogen == 0
        of_fragment = torch.where(at_fault, -BLAME, of_fragment)
        with torch.no_grad():
            before = self.log_probs(self.before, batch)
        now = self.log_probs(self.network, batch)
        followed = _followed(batch)
        # what found no end did not choose to stop; to go on would mend no spoilt one
        whole = torch.tensor([bool(atoms.info["complete"]) for atoms in molecules])
        stop = of_fragment.clamp(min=0) * whole[owner]
        total = of_fragment.new_zeros(())
        # where a hydrogen goes decides little, and the rules see to it
        place = of_fragment[followed] * (batch.queries.species > 0)
        weights = torch.where(followed, of_fragment, stop), place
        faults = at_fault, at_fault[followed]
        for weight, fault, old, new, far in zip(weights, faults, before, now, REACH):
            moved, least = new - old, torch.where(fault, -FALL, -far)
            near = torch.where(weight > 0, moved.clamp(max=far), moved.clamp(min=least))
            total = total - (weight * near).sum()
        return total / len(batch)


def as_grown(
    molecules: Sequence[Atoms], config: Any, rng: np.random.Generator
) -> GrowthBatch:
    """Fragments of molecules in the order in which they grew."""
    sizes = np.array([len(atoms) for atoms in molecules])
    z, pos = pad_molecules(
        np.concatenate([atoms.numbers for atoms in molecules]),
        np.concatenate([atoms.positions for atoms in molecules]),
        sizes,
    )
    turn, _ = np.linalg.qr(rng.standard_normal((len(z), 3, 3)))
    pos = (pos - pos[:, :1]) @ turn
    step = np.arange(z.shape[1])
    order = np.where(step < sizes[:, None], step, -1)
    focus = np.full_like(order, -1)
    for row, atoms in enumerate(molecules):
        focus[row, : len(atoms)] = atoms.arrays["gen_focus"]
    n, n_max = order.shape
    admissible = np.zeros((n, n_max, n_max, n_max), dtype=bool)
    row, last = np.nonzero(order[:, 1:] >= 0)
    admissible[row, last, focus[row, last + 1], last + 1] = True
    sequences = FragmentSequences(order, focus, admissible)
    return growth_of(
        z, pos, config, 0.0, rng, hydrogen_share=HYDROGENS[0], sequences=sequences
    )


def log_probs(model: Generator, batch: GrowthBatch) -> tuple[Tensor, Tensor]:
    """Log probabilities of choices (n_fragments,) and positions (n_queries,)."""
    h = model.embed(batch.fragments)
    choice = -focus_divergence(
        model.focus_logits(h, batch.fragments),
        batch.counts,  # of one focus and species: what was chosen
        batch.fragments.pair_fragment,
        len(batch),
    )
    radial, angular = model.place(h, batch.queries).log_prob(batch.vectors)
    return choice, radial + angular


def _followed(batch: GrowthBatch) -> Tensor:
    """Whether a fragment was followed by an atom, (n_fragments,)."""
    grows = torch.zeros(len(batch))
    grows.index_add_(0, batch.fragments.pair_fragment, batch.counts.sum(1))
    return grows > 0


def log(file: Path, row: dict[str, Any]) -> None:
    """Append a row to a table."""
    is_new = not file.exists()
    with file.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def arguments() -> argparse.ArgumentParser:
    """Say what is asked for."""
    parser = argparse.ArgumentParser(description="Rounds of growing and judging.")
    parser.add_argument("model")
    parser.add_argument("qm9", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("-n", "--molecules", type=int, default=4800, help="of a round")
    usual = Temperature()  # those that the generator is used with
    parser.add_argument("--focus-temperature", type=float, default=usual.focus)
    parser.add_argument("--references", type=int, default=30_000, help="of QM9")
    parser.add_argument("--seed", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
