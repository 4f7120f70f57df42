"""A calculator whose small steps are replayed moves atoms as one without replays."""

import numpy as np
import pytest
from ase.md.verlet import VelocityVerlet
from ase.units import fs, kB

from equicalc import EquiCalculator
from equicalc.models import Potential, ReplayedPotential


class Rerun:
    """In place of a CUDA graph: the step itself."""

    def __init__(self, step, device):
        self.replay = step

    def wait(self):
        pass


def moved(calc, atoms):
    """Results after 20 steps of dynamics at 300 K."""
    atoms = atoms.copy()
    atoms.calc = calc
    spread = np.sqrt(300 * kB * atoms.get_masses())[:, None]
    atoms.set_momenta(np.random.default_rng(0).normal(0, spread, (len(atoms), 3)))
    VelocityVerlet(atoms, 0.5 * fs).run(20)
    return {**calc.results, "positions": atoms.positions}


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("kind", ["ethanol", "crystal"])
def test_dynamics_are_the_models(checkpoint, kind, device, request, reference, caplog):
    atoms = request.getfixturevalue(kind)
    calc = EquiCalculator(checkpoint, device=device, dtype="float64")
    member = calc.committee.members[0]
    assert isinstance(member.model, Potential)
    engine = member.engine
    if device == "cpu":
        engine = member.engine = ReplayedPotential(member.model, Rerun)
    assert isinstance(engine, ReplayedPotential)
    found = moved(calc, atoms)
    assert engine.replays == 21
    assert engine.recordings < 3
    member.engine = member.model
    reference(found, moved(calc, atoms), 1e-9)
    assert engine.replays == 21
    assert not caplog.records
