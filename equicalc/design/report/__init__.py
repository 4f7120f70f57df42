"""Reports: what a run made, as a page that needs nothing but a browser."""

from .page import write_report
from .structures import model_of, viewer_script

__all__ = ["model_of", "viewer_script", "write_report"]
