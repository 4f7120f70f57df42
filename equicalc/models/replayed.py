"""Energy and forces of small structures on a GPU as one CUDA graph, launched at once.

A GPU should be done with twenty atoms before the next kernel of a step is launched. A
CUDA graph launches all kernels together, always on the same memory and in the same
shapes. Therefore

1. a structure is copied into arrays with room for a few more atoms and edges, `Room`;
2. a step on these arrays, `take_step`, is recorded once and replayed after each copy;
3. the first replays are compared with steps on the structure as it was given. If they
   differ, or anything raises, all later steps are taken like that.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from equicalc.kernels import jit
from equicalc.models.padded import Inputs, Results, Room, take_step
from equicalc.models.potential import Potential

if TYPE_CHECKING:
    from torch_geometric.data import Data

__all__ = ["ReplayedPotential"]

_log = logging.getLogger(__name__)

#: Most atoms and edges, together, of a structure that is replayed: about a hundred
#: atoms. In larger ones kernels should take longer than their launches.
FEW = 4096
#: Replays after a recording that are compared.
CHECKS = 2
#: How far they may differ, relative to the largest value (to 1 eV, eV/Angstrom or e if
#: that is more): in arrays of another size, sums are rounded differently.
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-10}
#: Steps before a recording, in which kernels are compiled and loaded.
WARM_UP = 3

_one_at_a_time = threading.Lock()  # as CUDA records

Step = Callable[[], Results]


class Recording(Protocol):
    """A step that can be repeated."""

    def wait(self) -> None:
        """Let what is launched from now on run after the last results were copied."""
        ...

    def replay(self) -> Results:
        """Repeat the step; return copies of its results."""
        ...


class DeviceGraph:
    """A step recorded by CUDA, on a stream of its own, after a warm-up.

    Parameters
    ----------
    step : callable
        Launches kernels on `device` and never waits for them.
    device : torch.device
        A GPU.

    Raises
    ------
    RuntimeError
        If the step does what cannot be recorded.
    """

    def __init__(self, step: Step, device: torch.device) -> None:
        self._device = device
        with _one_at_a_time, torch.cuda.device(device):
            self._graph, self._copied = torch.cuda.CUDAGraph(), torch.cuda.Event()
            before, stream = torch.cuda.current_stream(), torch.cuda.Stream()
            stream.wait_stream(before)
            # torch.cuda.graph stays on the stream if the recording fails: leave it here
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    step()
                # "thread_local": other threads may go on to use the device
                with torch.cuda.graph(
                    self._graph, stream=stream, capture_error_mode="thread_local"
                ):
                    self._results = step()
            before.wait_stream(stream)

    def wait(self) -> None:
        """See `Recording`."""
        torch.cuda.current_stream(self._device).wait_event(self._copied)

    def replay(self) -> Results:
        """See `Recording`."""
        with torch.cuda.device(self._device):
            self._graph.replay()
            copies = {name: value.clone() for name, value in self._results.items()}
            self._copied.record()
        return copies


class ReplayedPotential:
    """A potential for inference on a GPU, whose steps on small structures are replayed.

    `equicalc.models.evaluate` takes it in place of the potential, whose weights must
    not change afterwards. Batches, and structures of more than `FEW` atoms and edges,
    are computed as by the potential itself.

    Parameters
    ----------
    model : Potential
        On its device and in its precision.
    record : callable
        Makes a `Recording` of a step on a device.

    Attributes
    ----------
    replays, recordings : int
        How often a step was replayed, and recorded.
    """

    trainable = False

    def __init__(
        self,
        model: Potential,
        record: Callable[[Step, torch.device], Recording] = DeviceGraph,
    ) -> None:
        self.model = model
        self.replays = self.recordings = 0
        self._record = record
        self._references = model.references()
        self._recorded: tuple[Room, Recording] | None = None
        self._to_check = 0  # of the next replays
        self._trusted = True
        self._lock = threading.Lock()

    @classmethod
    def build(cls, model: Potential) -> ReplayedPotential | None:
        """Replay a potential; None if it is not on a GPU, with fused kernels."""
        fused = model.harmonics.backend in ("auto", "triton") and jit.available()
        return cls(model) if model.embedding.is_cuda and fused else None

    def __reduce__(self) -> tuple[object, ...]:
        """Copy and pickle the potential, and record it where it arrives."""
        return _replayed_again, (self.model,)

    def __call__(self, graph: Data, vectors: Tensor) -> Mapping[str, Tensor]:
        """Evaluate the potential itself, which autograd can differentiate."""
        return self.model(graph, vectors)

    def with_gradient(self, graph: Data, vectors: Tensor) -> tuple[Results, Tensor]:
        """Evaluate a batch and differentiate its energy.

        Parameters
        ----------
        graph, vectors
            See `Potential.forward`.

        Returns
        -------
        out : dict
            What `Potential.forward` returns.
        gradient : Tensor
            (n_edges, 3), eV/Angstrom, of the summed energy with respect to `vectors`.
        """
        given = Inputs.of(self.model, graph, vectors)
        size = len(given.species) + len(given.vectors)
        small = len(given.vectors) > 0 and size <= FEW
        out = self._replayed(given) if small and len(given.ptr) == 2 else None
        if out is None:
            out = take_step(self.model, given)
        out["energies"] = self._references[given.species] + out["energies"]
        return out, out.pop("gradient").to(vectors.dtype)

    def _replayed(self, given: Inputs) -> Results | None:
        """Replay a step; None if that does not work, from then on."""
        with self._lock:  # a step is on the same arrays as the one before
            if not self._trusted:
                return None
            try:
                return self._checked(given)
            except Exception as error:  # a user loses time, nothing else
                self._trusted, self._recorded = False, None
                reason = str(error).partition("\n")[0] or type(error).__name__
                _log.warning("CUDA graphs are given up, steps go on: %s", reason)
                return None

    def _checked(self, given: Inputs) -> Results:
        """Replay a step; a new recording is compared with a step as it is given."""
        if self._recorded is None or not self._recorded[0].fits(given):
            before = None if self._recorded is None else self._recorded[0]
            room = Room.around(given, self.model, before)
            # of padding alone: what a replay does not read anew makes it differ
            step = partial(take_step, self.model, room.inputs)
            self._recorded = room, self._record(step, given.vectors.device)
            self.recordings += 1
            self._to_check = CHECKS
        room, recording = self._recorded
        recording.wait()
        room.fill(given)
        found = room.cut(recording.replay(), given)
        self.replays += 1
        if self._to_check == 0:
            return found
        wanted = take_step(self.model, given)
        if all(bool(value.isfinite().all()) for value in wanted.values()):
            check_same(found, wanted, TOLERANCES[self.model.embedding.dtype])
            self._to_check -= 1
        return wanted


def _replayed_again(model: Potential) -> ReplayedPotential | Potential:
    return ReplayedPotential.build(model) or model


def check_same(found: Results, wanted: Results, tolerance: float) -> None:
    """Refuse results that differ by more than `tolerance`, see `TOLERANCES`.

    Raises
    ------
    RuntimeError
        It says which and by how much.
    """
    for name, value in wanted.items():
        error = (found[name] - value).abs().max() / value.abs().max().clamp(min=1.0)
        if not float(error) <= tolerance:
            raise RuntimeError(
                f"{name} of a replay differ by {float(error):.1e} of the largest, "
                f"where {tolerance:.0e} is allowed"
            )
