"""Spherical harmonics of any set of degrees from 0 to 10, in generated kernels."""

from .module import SphericalHarmonics, spherical_harmonics

__all__ = ["SphericalHarmonics", "spherical_harmonics"]
