"""Real spherical harmonics and their derivatives as expressions.

Conventions are e3nn's: the polar axis is y, and component m of degree l stands at
position l + m. With the regular solid harmonics in the plane,

    c_m + i s_m = (z + i x)^m,

the harmonics are Y_(l,m) = q_lm c_m and Y_(l,-m) = q_lm s_m, where q_lm is a
homogeneous polynomial in y and rho^2 = x^2 + z^2,

    q_lm = n_lm sum_k (-1)^k (l + m)! / (2^(m + 2k) k! (m + k)! (l - m - 2k)!)
           y^(l - m - 2k) rho^(2k),
    n_lm = sqrt((2 l + 1) (2 - delta_m0) (l - m)! / (l + m)!),

which makes the mean square of every component 1 on the unit sphere (``component``).
The polynomials do not depend on other degrees, and nothing in them cancels near the
poles, where the usual recurrence in y and r^2 loses digits at m = 0. For m > 0 the
recurrence does little harm; it is used where the two degrees below are wanted too,
because it is shorter:

    q_lm = a y q_(l-1)m - a b r^2 q_(l-2)m,
    a = sqrt((4 l^2 - 1) / (l^2 - m^2)),
    b = sqrt(((l - 1)^2 - m^2) / (4 (l - 1)^2 - 1)).

Derivatives of solid harmonics are solid harmonics of one degree less, and those of q
and of c_m, s_m come from that rather than from the way in which they are computed,
which is a quarter shorter:

    d q_lm / dy = (l + m) n_lm / n_(l-1)m q_(l-1)m,
    d q_lm / d(rho^2) = -1/2 n_lm / n_(l-1)(m+1) q_(l-1)(m+1),
    d (c_m + i s_m) = m (c_(m-1) + i s_(m-1)) (dz + i dx).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from equicalc.kernels.expr import Expr, Graph

__all__ = ["L_MAX", "Formula", "Harmonics", "Normalization", "Passes"]

L_MAX = 10
Normalization = Literal["integral", "component", "norm"]
Vector = list[Expr]


class Formula(NamedTuple):
    """One pass: names of the columns of its input arrays, its output arrays."""

    inputs: Sequence[Sequence[str]]
    outputs: Sequence[Vector]


@dataclass(frozen=True)
class Harmonics:
    """Which spherical harmonics to compute: the key of every generated kernel.

    Parameters
    ----------
    ls
        Degrees, 0 to 10, in the order of the output.
    normalize
        Whether to evaluate at x / max(|x|, 1e-12) instead of x.
    normalization
        ``"component"``: sum_m Y_lm^2 = 2 l + 1 on the unit sphere; ``"norm"``: 1;
        ``"integral"``: (2 l + 1) / (4 pi), orthonormal under integration.
    """

    ls: tuple[int, ...]
    normalize: bool
    normalization: Normalization

    def __post_init__(self) -> None:
        if not self.ls or not all(l in range(L_MAX + 1) for l in self.ls):
            raise ValueError(
                f"degrees l = {list(self.ls)} were given; give at least one, each an "
                f"integer from 0 to {L_MAX} (backend='e3nn' goes one further)"
            )
        if self.normalization not in get_args(Normalization):
            raise ValueError(
                f"normalization {self.normalization!r} was given; choose one of "
                f"{', '.join(get_args(Normalization))}"
            )

    @property
    def dim(self) -> int:
        """Number of components, sum of 2 l + 1."""
        return sum(2 * l + 1 for l in self.ls)

    def scale(self, l: int) -> float:
        """Factor of degree l relative to the ``component`` normalisation."""
        match self.normalization:
            case "norm":
                return 1.0 / math.sqrt(2 * l + 1)
            case "integral":
                return 1.0 / math.sqrt(4.0 * math.pi)
        return 1.0

    @functools.cached_property
    def passes(self) -> Passes:
        """Forward, backward and double backward pass of all degrees together."""
        return Passes.build(self, (self.ls,))

    @functools.cached_property
    def formulas(self) -> dict[str, Formula]:
        """The passes of all degrees by name."""
        passes = self.passes
        inputs = list("xyz"), [f"g{k}" for k in range(self.dim)], list("uvw")
        double = passes.double_xyz + passes.double_grad
        return {
            "forward": Formula(inputs[:1], passes.forward),
            "backward": Formula(inputs[:2], passes.backward),
            "double_backward": Formula(inputs, double),
        }


@dataclass(frozen=True)
class Passes:
    """The expressions of the three passes, in one graph.

    The degrees are split into groups: the gradient is the sum of one vector-Jacobian
    product for each group, and a kernel that finishes a group before it starts the next
    needs fewer registers. The inputs are x, y, z; g0, g1, ... (gradient of the output)
    and u, v, w (gradient of the backward pass's result).

    Attributes
    ----------
    graph
        Owns all expressions.
    forward
        For each group its components of Y.
    backward
        For each group the three components of its share of g dY/dx.
    double_xyz
        For each group the three components of its share of the gradient of
        (u, v, w) . g dY/dx with respect to x.
    double_grad
        For each group the gradient of that product with respect to its g.
    """

    graph: Graph
    forward: list[Vector]
    backward: list[Vector]
    double_xyz: list[Vector]
    double_grad: list[Vector]

    @classmethod
    def build(cls, harmonics: Harmonics, groups: Sequence[Sequence[int]]) -> Passes:
        """Derive all passes for groups of degrees that make up `harmonics.ls`."""
        graph = Graph()
        xyz, v = graph.inputs("xyz"), graph.inputs("uvw")
        passes = cls(graph, [], [], [], [])
        direction, inverse = xyz, graph.const(1.0)
        if harmonics.normalize:
            inverse = graph.rsqrt(_dot(xyz, xyz))
            direction = [inverse * a for a in xyz]
        solid = _SolidHarmonics(direction, harmonics)

        def pull_back(outputs: Vector, cotangents: Vector) -> Vector:
            """Gradient with respect to x, through n = x / |x| and 1 / |x|.

            n and 1/|x| are held as independent variables, and dn = (1 - n n^T) dx / |x|
            and d(1/|x|) = -n dx / |x|^2 put in by hand: no high powers of 1 / |x|
            appear that would overflow where the gradient itself does not.
            """
            if not harmonics.normalize:
                return graph.vjp(outputs, cotangents, xyz)
            *to_n, to_inverse = graph.vjp(outputs, cotangents, [*direction, inverse])
            radial = _dot(direction, to_n) + inverse * to_inverse
            return [
                inverse * (a - n * radial) for a, n in zip(to_n, direction, strict=True)
            ]

        first = 0
        for group in groups:
            forward = [y for l in group for y in solid.degree(l)]
            g = graph.inputs([f"g{first + k}" for k in range(len(forward))])
            first += len(forward)
            backward = pull_back(forward, g)
            product = _dot(v, backward)
            passes.forward.append(forward)
            passes.backward.append(backward)
            passes.double_xyz.append(pull_back([product], [graph.const(1.0)]))
            passes.double_grad.append(graph.vjp([product], [graph.const(1.0)], g))
        return passes


class _SolidHarmonics:
    """Homogeneous polynomials of a vector; what degrees share is built once."""

    def __init__(self, vector: Vector, harmonics: Harmonics) -> None:
        x, y, z = vector
        self.y, self.y2, self.rho2 = y, y * y, x * x + z * z
        self.r2 = self.rho2 + self.y2
        self.scale, self.ls = harmonics.scale, set(harmonics.ls)
        graph = y.graph
        self.c, self.s = [graph.const(1.0)], [graph.const(0.0)]
        for m in range(max(harmonics.ls, default=0)):
            c, s, up = self.c[m], self.s[m], m + 1.0
            self.c.append(z * c - x * s)
            self.s.append(z * s + x * c)
            if up > 2:  # below it is no shorter
                graph.define_partials(self.c[-1], {z: up * c, x: -up * s})
                graph.define_partials(self.s[-1], {z: up * s, x: up * c})
        self.q = functools.cache(self._q)

    def rho(self, k: int) -> Expr:
        """Return rho^(2 k)."""
        return self.rho2 * self.rho(k - 1) if k else self.y.graph.const(1.0)

    def degree(self, l: int) -> Vector:
        """Return Y_(l,-l), ..., Y_(l,l)."""
        sines = [self.q(l, m) * self.s[m] for m in range(l, 0, -1)]
        return sines + [self.q(l, m) * self.c[m] for m in range(l + 1)]

    def _q(self, l: int, m: int) -> Expr:
        recur = 0 < m < l - 1 and {l - 1, l - 2} <= self.ls
        q = self._recurrence(l, m) if recur else self._polynomial(l, m)
        if m < l - 1:  # otherwise it is y or a number, times a number
            self.y.graph.define_partials(q, self._partials(l, m))
        return q

    def _partials(self, l: int, m: int) -> dict[Expr, Expr]:
        norm = self._norm(l, m)
        to_y = (l + m) * norm / self._norm(l - 1, m)
        to_rho2 = -0.5 * norm / self._norm(l - 1, m + 1)
        return {
            self.y: to_y * self.q(l - 1, m),
            self.rho2: to_rho2 * self.q(l - 1, m + 1),
        }

    def _norm(self, l: int, m: int) -> float:
        f = math.factorial
        norm = math.sqrt((2 * l + 1) * (2 if m else 1) * f(l - m) / f(l + m))
        return self.scale(l) * norm

    def _recurrence(self, l: int, m: int) -> Expr:
        a = math.sqrt((4 * l**2 - 1) / (l**2 - m**2))
        b = math.sqrt(((l - 1) ** 2 - m**2) / (4 * (l - 1) ** 2 - 1))
        up = a * self.scale(l) / self.scale(l - 1)
        down = a * b * self.scale(l) / self.scale(l - 2)
        one, two = self.y * self.q(l - 1, m), self.r2 * self.q(l - 2, m)
        return up * one - down * two

    def _polynomial(self, l: int, m: int) -> Expr:
        """Apply Horner's rule in y^2 and rho^2, times y if l - m is odd."""
        graph, f = self.y.graph, math.factorial
        q = graph.const(0.0)
        for k in range((l - m) // 2 + 1):
            count = f(l + m) / (2 ** (m + 2 * k) * f(k) * f(m + k) * f(l - m - 2 * k))
            coefficient = (-1) ** k * self._norm(l, m) * count
            q = q * self.y2 + coefficient * self.rho(k)
        return q * self.y if (l - m) % 2 else q


def _dot(a: Vector, b: Vector) -> Expr:
    return a[0].graph.sum([p * q for p, q in zip(a, b, strict=True)])
