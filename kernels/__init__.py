"""Generated kernels: spherical harmonics and equivariant convolutions."""

if __name__ == "kernels":
    raise ImportError(
        "this folder is the package equicalc.kernels: import that, not kernels"
    )

from .patching import patch, unpatch
from .spherical_harmonics import SphericalHarmonics, spherical_harmonics

__all__ = ["SphericalHarmonics", "patch", "spherical_harmonics", "unpatch"]
