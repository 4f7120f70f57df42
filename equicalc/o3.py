"""The one door to e3nn: irreps, Clebsch-Gordan coefficients and rotations.

e3nn 0.4.4 (the version that mace-torch pins) reads its Wigner constants with a
plain ``torch.load`` while it is imported. Since torch 2.6 that call refuses the one
``slice`` in the file. Allowing it for the length of the import is enough, and leaves
no trace in torch's global state. Newer versions of e3nn load the same way.

Import e3nn's names from here, or import this module before any other part of e3nn.

Examples
--------
>>> from equicalc import o3
>>> o3.Irreps("8x0e + 4x1o").dim
20
>>> o3.wigner_3j(1, 1, 2).shape
torch.Size([3, 3, 5])
"""

import warnings

import torch

with torch.serialization.safe_globals([slice]), warnings.catch_warnings():
    # torch announces the end of TorchScript whenever e3nn compiles a function
    warnings.simplefilter("ignore", DeprecationWarning)
    from e3nn.o3 import (
        Irrep,
        Irreps,
        Linear,
        SphericalHarmonics,
        TensorProduct,
        angles_to_matrix,
        axis_angle_to_matrix,
        matrix_to_angles,
        rand_angles,
        rand_matrix,
        spherical_harmonics,
        wigner_3j,
        wigner_D,
    )

__all__ = [
    "Irrep",
    "Irreps",
    "Linear",
    "SphericalHarmonics",
    "TensorProduct",
    "angles_to_matrix",
    "axis_angle_to_matrix",
    "matrix_to_angles",
    "rand_angles",
    "rand_matrix",
    "spherical_harmonics",
    "wigner_3j",
    "wigner_D",
]
