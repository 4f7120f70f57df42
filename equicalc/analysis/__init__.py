"""Pictures and plots of structures and runs."""

from equicalc.analysis.drawing import render, save_picture
from equicalc.analysis.plots import plot_relaxation, plot_run
from equicalc.data.bonds import find_bonds

__all__ = ["find_bonds", "plot_relaxation", "plot_run", "render", "save_picture"]
