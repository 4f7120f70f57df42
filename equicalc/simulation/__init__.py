"""Relaxation and molecular dynamics with any ASE calculator.

Both stream to disk as they go, survive being killed, resume, and stop with a clear
error when the structure or the calculator blows up.
"""

from equicalc.simulation.checks import SimulationError
from equicalc.simulation.dynamics import Dynamics, molecular_dynamics
from equicalc.simulation.log import read_log
from equicalc.simulation.relaxation import Relaxation, relax

__all__ = [
    "Dynamics",
    "Relaxation",
    "SimulationError",
    "molecular_dynamics",
    "read_log",
    "relax",
]
