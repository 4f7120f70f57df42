"""Acceleration of other packages' models, in place."""

from .patch import patch, unpatch

__all__ = ["patch", "unpatch"]
