"""Make molecules and complete fragments: a trained model as a structure builder."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from equicalc.calculators.members import resolve_device
from equicalc.checkpoint import checksum, load_checkpoint
from equicalc.models import Generator
from equicalc.pretrained import weights_path
from equicalc.training.growth import growth_of
from equicalc.training.growth_loss import growth_log_prob

from .filtering import ValidFilter
from .fragments import check_fragment, start_from
from .rules import Rules
from .sampler import PRECISION, Sampler, batches, check_numbers
from .steps import Temperature, step

__all__ = ["Builder", "Proposal", "load_builder"]


def load_builder(name: str | Path = "symphony", device: str = "cpu") -> Builder:
    """Load a generator.

    Parameters
    ----------
    name
        A shipped model or the file of a checkpoint.
    device
        Where it runs, as for `equicalc.EquiCalculator`.

    Raises
    ------
    FileNotFoundError
        If there is neither such a model nor such a file.
    ValueError
        If the file is damaged, its model is not a generator, or there is no such
        device.
    """
    path, where = weights_path(name), resolve_device(device)
    model, _ = load_checkpoint(path)
    if not isinstance(model, Generator):
        raise ValueError(
            f"{name} is a {type(model).__name__}, not a generator: give 'symphony', or "
            "the file of a run with task: symphony"
        )
    digest = checksum(model.state_dict())
    return Builder(model.to(where), str(name), f"sha256 {digest[:12]}")


class Proposal(NamedTuple):
    """An atom that may come next.

    Attributes
    ----------
    focus : int
        Index of the atom that it is attached to.
    symbol : str
        Its element.
    position : (3,), Angstrom
    log_prob : float
        Of focus, element and position (per cubic Angstrom), at temperature 1.
    """

    focus: int
    symbol: str
    position: NDArray[np.float64]
    log_prob: float


class Builder:
    """A generator of molecules.

    Structures say where they come from: ``info`` has ``generator``, ``seed``,
    ``molecule`` (its number), ``complete`` (whether the model said stop), ``log_prob``,
    ``rules``, the temperatures and, of loaded models, a hash of the ``weights``; the
    arrays ``gen_step``, ``gen_focus`` and ``gen_logp`` tell when each atom was placed
    (-1: it was given), at which atom, and how likely that was.

    Parameters
    ----------
    model : Generator
        A trained network; the builder works with a copy in double precision.
    name, weights : str
        What to call it in the provenance.
    """

    def __init__(
        self, model: Generator, name: str = "symphony", weights: str = ""
    ) -> None:
        copied: Any = copy.deepcopy(model)
        self.model: Generator = copied.to(PRECISION)
        self.sampler = Sampler(self.model, name, weights)

    def provenance(
        self,
        temperature: Temperature | None = None,
        rules: Rules | None = None,
        grow_from: Sequence[int] | None = None,
        bare: bool = False,
    ) -> dict[str, Any]:
        """Return the part of ``info`` that is the same for all molecules of a request.

        Parameters
        ----------
        temperature, rules
            See `generate`.
        grow_from, bare
            See `complete`; the indices count from the first atom that is kept.
        """
        return self.sampler.provenance(
            temperature or Temperature(), rules or Rules(), grow_from, bare
        )

    def generate(
        self,
        n: int,
        seed: int = 0,
        *,
        batch_size: int = 256,
        temperature: Temperature | None = None,
        first: int = 0,
        rules: Rules | None = None,
        valid_only: bool = False,
    ) -> list[Atoms]:
        """Make molecules from nothing.

        Molecule k of a seed is the same one whatever `n`, `batch_size` and `first`.
        ``info["log_prob"]`` is that of the order in which the atoms were placed, which
        `log_prob` does not know.

        Parameters
        ----------
        n
            How many.
        seed
            Of the random numbers.
        batch_size
            Molecules that grow in step.
        temperature
            Below 1: safer and less varied.
        first
            Number of the first molecule.
        rules
            What the molecules must keep to.
        valid_only
            Leave out what is not valid, and go on until `n` are there.

        Raises
        ------
        ValueError
            If no molecule can keep to the rules.
        TooFewValidError
            If hardly any molecule is valid.
        """
        check_numbers(n, first, batch_size)
        molecules = self.stream(
            None if valid_only else n,
            seed,
            batch_size=min(batch_size, max(n, 1)),
            temperature=temperature,
            first=first,
            rules=rules,
        )
        return list(islice(ValidFilter()(molecules), n) if valid_only else molecules)

    def stream(
        self,
        n: int | None = None,
        seed: int = 0,
        *,
        batch_size: int = 256,
        temperature: Temperature | None = None,
        first: int = 0,
        rules: Rules | None = None,
    ) -> Iterator[Atoms]:
        """Yield the molecules of `generate` in their order, batch by batch.

        Without `n` it never ends.
        """
        rules = (rules or Rules()).settled(self.model.config)
        rules.check(self.model.config)
        for numbers in batches(n, first, batch_size):
            u = self.sampler.uniforms(seed, numbers, rules)
            growing = self.sampler.first_atoms(numbers, u[:, 0, 0, 0], rules)
            yield from self.sampler.grown(growing, u[:, 1:], seed, temperature, rules)

    def complete(
        self,
        fragment: Atoms,
        n: int = 1,
        seed: int = 0,
        *,
        grow_from: Sequence[int] | None = None,
        bare: bool = False,
        batch_size: int = 256,
        temperature: Temperature | None = None,
        first: int = 0,
        rules: Rules | None = None,
        valid_only: bool = False,
    ) -> list[Atoms]:
        """Add atoms to a fragment until it is whole.

        The given atoms keep index, position, constraints and arrays, but for results
        of calculators such as forces; new atoms follow. The fragment's
        ``info`` (charge, spin, energy, SMILES) is not the molecule's and stays behind;
        without it a molecule counts as neutral, with a closed shell.

        The shipped generator places hydrogens last: to a fragment that has some it adds
        only more of them, unless `bare` takes them off first.

        Parameters
        ----------
        fragment
            Some atoms, not periodic, with at least one that is no hydrogen.
        n
            How many completions.
        seed
            Of the random numbers.
        grow_from
            Indices of the given atoms, negative ones from the end, that something may
            be attached to; all by default. Atoms that are added are always allowed.
        bare
            Take the hydrogens off the fragment and place them anew, so that other
            atoms can be added. `grow_from` still counts them, and is where atoms other
            than hydrogens may be attached.
        batch_size, temperature, first, rules, valid_only
            See `generate`.

        Raises
        ------
        ValueError
            If the fragment cannot be grown, `grow_from` is out of range, or nothing
            can keep to the rules.
        TooFewValidError
            If hardly any completion is valid.
        """
        rules = (rules or Rules()).settled(self.model.config)
        check_numbers(n, first, batch_size)
        check_fragment(fragment, self.model, grow_from)
        start, foci = start_from(fragment, grow_from, bare)
        rules.check(self.model.config, start)

        def completions() -> Iterator[Atoms]:
            end = None if valid_only else n
            for numbers in batches(end, first, min(batch_size, max(n, 1))):
                given = [start] * len(numbers)
                growing = self.sampler.given(given, numbers, rules)
                u = self.sampler.uniforms(seed, numbers, rules)
                yield from self.sampler.grown(
                    growing, u, seed, temperature, rules, given, foci, bare
                )

        made = completions()
        return list(islice(ValidFilter()(made), n) if valid_only else made)

    def complete_each(
        self,
        fragments: Sequence[Atoms],
        seed: int = 0,
        *,
        batch_size: int = 256,
        temperature: Temperature | None = None,
        rules: Rules | None = None,
    ) -> list[Atoms]:
        """Complete many fragments, once each; see `complete`."""
        rules = (rules or Rules()).settled(self.model.config)
        for fragment in fragments:
            check_fragment(fragment, self.model, None)
            rules.check(self.model.config, fragment)
        whole: list[Atoms] = []
        for numbers in batches(len(fragments), 0, batch_size):
            given = [fragments[k] for k in numbers]
            growing = self.sampler.given(given, numbers, rules)
            u = self.sampler.uniforms(seed, numbers, rules)
            whole += self.sampler.grown(growing, u, seed, temperature, rules, given)
        return whole

    @torch.no_grad()
    def propose(
        self,
        fragment: Atoms,
        k: int = 10,
        seed: int = 0,
        *,
        temperature: Temperature | None = None,
        rules: Rules | None = None,
    ) -> list[Proposal]:
        """Draw atoms that may come next, likely ones first.

        Parameters
        ----------
        fragment
            As for `complete`.
        k
            How many are drawn, the likely ones more often than once; fewer, where the
            rules refuse an atom in all attempts.
        seed
            Of the random numbers.
        temperature
            Below 1: safer and less varied.
        rules
            What the new atom must keep to.

        Raises
        ------
        ValueError
            If `k` is below 1, or as for `complete`.
        """
        if k < 1:
            raise ValueError(f"k is {k}; give at least 1")
        rules = (rules or Rules()).settled(self.model.config)
        check_fragment(fragment, self.model, None)
        rules.check(self.model.config, fragment)
        last = len(fragment)
        growing = self.sampler.given([fragment] * k, range(k), rules)
        grown = step(
            self.model,
            growing,
            self.sampler.uniforms(seed, range(k), rules)[:, 0],
            temperature or Temperature(),
            self.sampler.constraints(rules),
            may_stop=False,
        ).growing
        proposals = [
            Proposal(
                int(grown.focus[i, last]),
                chemical_symbols[self.model.elements[int(grown.species[i, last])]],
                grown.positions(i)[last],
                float(grown.log_prob[i, last]),
            )
            for i in range(len(grown))
        ]
        return sorted(proposals, key=lambda proposal: -proposal.log_prob)

    @torch.no_grad()
    def log_prob(self, atoms: Atoms, seed: int = 0) -> float:
        """Return the log probability density of building a molecule in a drawn order.

        Positions count per cubic Angstrom. Different seeds draw different orders; the
        molecule itself has the sum over all of them.

        Parameters
        ----------
        atoms
            A whole molecule.
        seed
            Of the order.
        """
        model = self.model
        check_fragment(atoms, model, None)
        rng = np.random.default_rng(seed)
        z = atoms.numbers[None].astype(np.int64)
        pos = atoms.positions - atoms.positions.mean(axis=0)
        batch = growth_of(z, pos[None], model.config, 0.0, rng, model.hydrogens_apart)
        batch = batch.to(self.sampler.device).double()
        weights = torch.tensor(self.sampler.start_weights())
        first = int(batch.fragments.molecules.heavy[0, 0])
        begun = float((weights[first] / weights.sum()).log())
        return float(growth_log_prob(model, batch)) + begun
