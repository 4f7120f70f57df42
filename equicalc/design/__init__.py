"""Designs: generate molecules, work through steps, learn from scores, report."""

from equicalc.workers import Workers

from .choices import Diverse, Top, Unique
from .design import Best, Design, load_design
from .filters import Composition, Novel, Plausible, Synthesizable, Valid, Window
from .loop import Progress, open_database, run, write_best
from .packing import LatticeEnergy, Pack
from .properties import Embed, Predict, Properties
from .regrowth import regrow
from .relaxing import Conformers, Relax, relax_together
from .scoring import Goal, Score
from .search import Evolution, MonteCarlo, Search
from .sources import Files, Fragment, Generator, Source
from .step import Choice, MissingError, Rejected, Step
from .storage import Record, RunDatabase

__all__ = [
    "Best",
    "Choice",
    "Composition",
    "Conformers",
    "Design",
    "Diverse",
    "Embed",
    "Evolution",
    "Files",
    "Fragment",
    "Generator",
    "Goal",
    "LatticeEnergy",
    "MissingError",
    "MonteCarlo",
    "Novel",
    "Pack",
    "Plausible",
    "Predict",
    "Progress",
    "Properties",
    "Record",
    "Rejected",
    "Relax",
    "RunDatabase",
    "Score",
    "Search",
    "Source",
    "Step",
    "Synthesizable",
    "Top",
    "Unique",
    "Valid",
    "Window",
    "Workers",
    "load_design",
    "open_database",
    "regrow",
    "relax_together",
    "run",
    "write_best",
]
