"""What an experiment is: published figures beside what was measured, and a verdict that follows from both.

    verdict   agrees        low - tolerance <= published <= high + tolerance, or every seed keeps the claim
              better        every seed is on the better side by more than the tolerance
              falls short   every seed is on the worse side by more than that
              differs       neither better nor worse is meant, or a seed breaks the claim
              diverged      a seed has no finite figure where one is published

`low` and `high` are the extremes of the seeds: a published figure is one run of an unknown seed.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

Verdict = Literal["agrees", "better", "falls short", "differs", "diverged", "not published"]
Claim = Literal["equals", "at most", "at least"]
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One row: what a source published, and what was measured.

    Example:
        >>> Figure(what="final perplexity", published=1.17, measured=(1.12, 1.13), tolerance=0.1).verdict
        'agrees'
        >>> Figure(what="held-out accuracy", published=0.50, measured=(0.97,), tolerance=0.02, better="higher").verdict
        'better'
        >>> Figure(what="sequential / random", published=1.0, claim="at most", measured=(1.4, 1.5)).verdict
        'differs'
    """

    what: str
    """What is measured, with its unit where it has one."""
    measured: tuple[float, ...]
    """One number a seed; infinite where the training diverged."""
    published: float | None = None
    """None: the source gives none; infinite: it says that this diverges."""
    claim: Claim = "equals"
    """What the source says that the figure is to the published one."""
    tolerance: float = 0.0
    """In the unit of the figure; a reason for it belongs into `note` where it is not plain."""
    better: Literal["lower", "higher"] | None = None
    """Which side of the published figure is better, if either is."""
    form: str = ".3f"
    """How a number is written."""
    infinite: Literal["diverges", "never"] = "diverges"
    """What an infinite figure means: a training that diverged, or something that did not happen."""
    headline: bool = False
    """Whether it stands in the summary of all experiments."""
    note: str = ""
    """Why it differs, or what else a reader of this row must know."""

    @property
    def median(self) -> float:
        """The median over the seeds."""
        return statistics.median(self.measured)

    @property
    def verdict(self) -> Verdict:
        """What the measured figures say of the published one."""
        if self.published is None:
            return "not published"
        if any(math.isnan(m) for m in self.measured):
            return "diverged"
        low, high = min(self.measured) - self.tolerance, max(self.measured) + self.tolerance
        if math.isinf(self.published):
            return "agrees" if min(self.measured) == math.inf else "differs"
        if math.isinf(high):
            return "diverged" if self.infinite == "diverges" else "falls short" if self.better else "differs"
        if self.claim == "at most":
            return "agrees" if max(self.measured) <= self.published + self.tolerance else "differs"
        if self.claim == "at least":
            return "agrees" if min(self.measured) >= self.published - self.tolerance else "differs"
        if low <= self.published <= high:
            return "agrees"
        if self.better is None:
            return "differs"
        return "better" if (high < self.published) == (self.better == "lower") else "falls short"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One series of a chart."""

    label: str
    x: Sequence[float | str]
    """Positions; words make a chart of bars with a name each."""
    y: Sequence[float]
    style: Literal["line", "dashed", "points", "bars"] = "line"


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture as numbers, drawn when the report is written if matplotlib is there."""

    name: str
    """Of its file, unique within the experiment: letters, digits and hyphens."""
    title: str
    """What it shows, one sentence: also what stands for it where it cannot be seen."""
    x: str
    y: str
    lines: Sequence[Line]
    bounds: Mapping[str, float] = field(default_factory=dict)
    """Labelled lines across: floors, uniform guesses."""
    log: Literal["", "x", "y", "xy"] = ""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What an experiment found."""

    figures: tuple[Figure, ...]
    lessons: tuple[str, ...]
    """What to learn from it, with the measured numbers: one sentence or two each."""
    charts: tuple[Chart, ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    """What models wrote: a heading and a text each."""


class Runner(Protocol):
    """Where an experiment measures."""

    @property
    def quick(self) -> bool:
        """Whether figures are of no interest, but only that everything runs, in seconds."""

    def choose(self, whole: _T, quick: _T) -> _T:
        """The first; or the second, in a quick run: `epochs = lab.choose(500, 2)`."""

    def trial(self, measure: Callable[..., _T], /, **arguments: Any) -> _T:
        """`measure(**arguments)`, or what it gave when it was last called so in this folder.

        `measure` is a function of an experiment's module; its arguments and what it returns are JSON values (numbers
        may be infinite). Everything that takes long is a trial, one for each seed: then an interruption loses one
        trial, and changing a lesson or a tolerance none.
        """

    def trials(self, measure: Callable[..., _T], cases: Iterable[Mapping[str, Any]]) -> list[_T]:
        """The same for each of several arguments, side by side where there are cores."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A published result that can be measured again."""

    name: str
    """As it is typed, and the name of its module."""
    title: str
    """One line, under 80 characters."""
    source: str
    """Who published what is compared with, and where."""
    minutes: float
    """CPU minutes on one core of the machine whose results are in benchmarks/results/reproduce.json."""
    run: Callable[[Runner], Result]
    """The measurement; a training that diverges is a figure, not an error."""
