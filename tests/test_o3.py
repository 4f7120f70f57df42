"""The door to e3nn: loads everywhere, leaves no trace, keeps e3nn's conventions."""

import subprocess
import sys

import torch

from equicalc import o3


def test_loading_leaves_no_trace_in_torch():
    code = (
        "import torch, warnings\n"
        "dtype, filters = torch.get_default_dtype(), list(warnings.filters)\n"
        "import equicalc.o3\n"
        "assert slice not in torch.serialization.get_safe_globals()\n"
        "assert torch.get_default_dtype() == dtype\n"
        "import e3nn.nn\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_spherical_harmonics_turn_with_wigner_matrices():
    torch.manual_seed(0)
    x, rotation = torch.randn(5, 3).double(), o3.rand_matrix().double()
    for l in range(4):
        D = o3.Irrep(l, (-1) ** l).D_from_matrix(rotation)
        turned = o3.spherical_harmonics(l, x @ rotation.T, normalize=True)
        expected = o3.spherical_harmonics(l, x, normalize=True) @ D.T
        torch.testing.assert_close(turned, expected, atol=1e-6, rtol=0)


def test_clebsch_gordan_coefficients_are_invariant():
    rotation = o3.rand_matrix().double()
    C = o3.wigner_3j(1, 2, 3, dtype=torch.float64)
    D1, D2, D3 = (o3.Irrep(l, 1).D_from_matrix(rotation) for l in (1, 2, 3))
    turned = torch.einsum("ijk,ai,bj,ck->abc", C, D1, D2, D3)
    torch.testing.assert_close(turned, C, atol=1e-6, rtol=0)
