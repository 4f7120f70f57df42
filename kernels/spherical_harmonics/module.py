"""The drop-in for ``e3nn.o3.SphericalHarmonics``."""

from collections.abc import Sequence
from typing import cast, get_args

import torch
from torch import Tensor, nn

from equicalc import o3

from .harmonics import Harmonics, Normalization
from .ops import Backend, spherical_harmonics_op

__all__ = ["BACKENDS", "SphericalHarmonics", "spherical_harmonics"]

BACKENDS = (*get_args(Backend), "e3nn")


class SphericalHarmonics(nn.Module):
    """Real spherical harmonics of vectors, in e3nn's convention.

    A drop-in for `e3nn.o3.SphericalHarmonics` whose cost is that of the degrees asked
    for: ``[0, 10]`` never computes l = 1 to 9. It can be differentiated any number of
    times (twice in generated kernels), pickled, scripted and compiled, and has no
    parameters.

    Parameters
    ----------
    irreps_out
        Degrees ``[0, 3, 4]``, one degree, or irreps ``"0e + 3o + 4e"``, whose parities
        must be those of the harmonics. 0 <= l <= 10; the order is kept.
    normalize
        Whether to divide the vectors by their length first. Otherwise the harmonics are
        homogeneous polynomials of degree l. The zero vector has Y_l = 0 for l > 0.
    normalization
        ``"integral"``, ``"component"`` or ``"norm"``: the sum of Y_lm^2 over m on the
        unit sphere is (2 l + 1) / (4 pi), 2 l + 1 or 1.
    irreps_in
        ``"1o"`` (vectors) or ``"1e"`` (pseudovectors); by default whichever suits
        `irreps_out`.
    backend
        ``"auto"``: Triton on CUDA, compiled C++ on a CPU, torch where these are
        missing. ``"torch"``, ``"cpp"``, ``"triton"`` and ``"e3nn"`` insist.

    Raises
    ------
    ValueError
        For degrees, parities or names other than these.

    Examples
    --------
    >>> harmonics = SphericalHarmonics([0, 3, 4], True, normalization="component")
    >>> harmonics(torch.randn(5, 2, 3)).shape
    torch.Size([5, 2, 17])
    >>> harmonics.irreps_out
    1x0e+1x3o+1x4e
    """

    def __init__(
        self,
        irreps_out: int | Sequence[int] | str | o3.Irreps,
        normalize: bool,
        normalization: str = "integral",
        irreps_in: str | o3.Irreps | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        ls, parity = _degrees(irreps_out, irreps_in)
        if backend not in BACKENDS:
            raise ValueError(
                f"backend {backend!r} was given; choose one of {', '.join(BACKENDS)}"
            )
        if backend != "e3nn":  # which checks what it is given itself
            Harmonics(tuple(ls), normalize, cast(Normalization, normalization))
        self.irreps_in = o3.Irreps([(1, (1, parity))])
        irreps = o3.Irreps([(1, (l, parity**l)) for l in ls])
        self.irreps_out = cast(o3.Irreps, irreps).simplify()
        self.normalize = normalize
        self.normalization = normalization
        self.backend = backend
        self._ls_list = ls
        self._lmax = max(ls)
        self._is_range_lmax = ls == list(range(max(ls) + 1))

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate the harmonics.

        Parameters
        ----------
        x
            ``(..., 3)``, of any floating-point dtype and layout.

        Returns
        -------
        Tensor
            ``(..., irreps_out.dim)``, of the same dtype.
        """
        if self.backend == "e3nn":
            return self._e3nn(x)
        return torch.ops.equicalc.spherical_harmonics(
            x, self._ls_list, self.normalize, self.normalization, self.backend
        )

    @torch.jit.unused
    def _e3nn(self, x: Tensor) -> Tensor:
        return o3.spherical_harmonics(
            self._ls_list, x, self.normalize, self.normalization
        )

    def extra_repr(self) -> str:
        """Return the settings, for `repr`."""
        return (
            f"{self._ls_list}, normalize={self.normalize}, "
            f"normalization={self.normalization!r}, backend={self.backend!r}"
        )


def spherical_harmonics(
    ls: int | Sequence[int] | str | o3.Irreps,
    xyz: Tensor,
    normalize: bool,
    normalization: str = "integral",
    backend: str = "auto",
) -> Tensor:
    """Evaluate real spherical harmonics: the function of `SphericalHarmonics`.

    Parameters
    ----------
    ls
        Degrees or irreps.
    xyz
        Vectors, ``(..., 3)``.
    normalize, normalization, backend
        See `SphericalHarmonics`.

    Returns
    -------
    Tensor
        ``(..., sum of 2 l + 1)``.

    Examples
    --------
    >>> spherical_harmonics([0, 1], torch.tensor([0.0, 2.0, 0.0]), True, "norm")
    tensor([1., 0., 1., 0.])
    """
    if backend in get_args(Backend) and isinstance(ls, list):  # for the small systems
        return spherical_harmonics_op(xyz, ls, normalize, normalization, backend)
    return SphericalHarmonics(ls, normalize, normalization, backend=backend)(xyz)


def _degrees(
    irreps_out: int | Sequence[int] | str | o3.Irreps,
    irreps_in: str | o3.Irreps | None,
) -> tuple[list[int], int]:
    """Degrees, and the parity of the vectors (1 or -1)."""
    if isinstance(irreps_out, int):
        irreps_out = [irreps_out]
    irreps = o3.Irreps(irreps_out) if isinstance(irreps_out, str) else irreps_out
    if irreps_in is None:
        pseudo = isinstance(irreps, o3.Irreps) and any(
            ir.l % 2 == 1 and ir.p == 1 for _, ir in irreps
        )
        irreps_in = "1e" if pseudo else "1o"
    vectors = {o3.Irreps("1o"): -1, o3.Irreps("1e"): 1}
    parity = vectors.get(o3.Irreps(irreps_in))
    if parity is None:
        raise ValueError(
            f"irreps_in {irreps_in} was given; spherical harmonics are functions of a "
            "vector '1o' or a pseudovector '1e'"
        )
    if not isinstance(irreps, o3.Irreps):
        return list(irreps), parity
    wrong = [ir for _, ir in irreps if ir.p != parity**ir.l]
    if wrong:
        raise ValueError(
            f"irreps_out {irreps} was given, but the harmonics of {irreps_in} have no "
            f"{', '.join(map(str, wrong))}; the parity must be {parity}^l"
        )
    return [ir.l for mul, ir in irreps for _ in range(mul)], parity
