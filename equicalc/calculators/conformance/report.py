"""What the conformance suite found, as a table and as an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_SIGNS = {"pass": "ok", "fail": "FAIL", "skip": "-"}


class ConformanceError(RuntimeError):
    """A calculator fails the conformance suite."""


class Failure(Exception):  # noqa: N818
    """Raised by a check: the calculator does something wrong."""


class Skip(Exception):  # noqa: N818
    """Raised by a check: it does not apply to the calculator."""


@dataclass(frozen=True)
class Measure:
    """Result of a check: what was measured and what it may be.

    Attributes
    ----------
    value : float
        Deviation found.
    tolerance : float
        Deviation allowed.
    unit : str
        Of both.
    note : str
        Where or how the deviation was found.
    """

    value: float
    tolerance: float
    unit: str
    note: str = ""

    def __str__(self) -> str:
        text = f"{self.value:.1e} of {self.tolerance:.0e} {self.unit}"
        return f"{text}; {self.note}" if self.note else text


@dataclass(frozen=True)
class Check:
    """Outcome of one check.

    Attributes
    ----------
    name : str
        The property that the check is named after.
    status : {"pass", "fail", "skip"}
        How it went.
    detail : str
        Value and tolerance, or the reason.
    value : float or None
        Deviation, for checks that measure one.
    """

    name: str
    status: Literal["pass", "fail", "skip"]
    detail: str
    value: float | None = None


@dataclass(frozen=True)
class ValidationReport:
    """All outcomes for one calculator; ``print(report)`` shows a table.

    Attributes
    ----------
    calculator : str
        Its representation.
    checks : tuple of Check
        In the order they ran.

    Examples
    --------
    >>> report = ValidationReport(
    ...     "EMT()", (Check("inputs are not changed", "fail", "positions moved"),)
    ... )
    >>> print(report)
    EMT(): 0 of 1 checks passed, 1 failed, 0 skipped
      FAIL  inputs are not changed  positions moved
    >>> report.passed
    False
    """

    calculator: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return self._with("fail")

    def __getitem__(self, name: str) -> Check:
        """Return the check of a name.

        Raises
        ------
        KeyError
            If there is none.
        """
        return {check.name: check for check in self.checks}[name]

    def raise_if_failed(self) -> None:
        """Turn failures into an error.

        Raises
        ------
        ConformanceError
            With every failed check and its reason.
        """
        if not self.passed:
            reasons = "".join(f"\n  {c.name}: {c.detail}" for c in self.failures)
            raise ConformanceError(
                f"{self.calculator} fails {len(self.failures)} of {len(self.checks)} "
                f"checks:{reasons}"
            )

    def __str__(self) -> str:
        counts = (
            f"{len(self._with('pass'))} of {len(self.checks)} checks passed, "
            f"{len(self.failures)} failed, {len(self._with('skip'))} skipped"
        )
        width = max((len(check.name) for check in self.checks), default=0)
        rows = (
            f"  {_SIGNS[c.status]:<4}  {c.name:<{width}}  {c.detail}".rstrip()
            for c in self.checks
        )
        return "\n".join((f"{self.calculator}: {counts}", *rows))

    def _with(self, status: str) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.status == status)
