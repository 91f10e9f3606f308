"""What an experiment is: published figures beside measured ones, and a verdict that follows from both.

    verdict   agrees        low - tolerance <= published <= high + tolerance, or the claim holds for every seed
              better        every seed is better than published by more than the tolerance
              falls short   every seed is worse than published by more than the tolerance
              differs       the figure has no better side, or the claim does not hold for a seed
              diverged      a seed has no finite figure where one is published

`low` and `high` are the lowest and the highest of the seeds: a published figure is one run of an unknown seed.
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
class Measurement:
    """A row of the report: what a source published, and what was measured.

    Example:
        >>> Measurement(what="final perplexity", published=1.17, measured=(1.12, 1.13), tolerance=0.1).verdict
        'agrees'
        >>> Measurement(what="accuracy", published=0.50, measured=(0.97,), tolerance=0.02, better="higher").verdict
        'better'
        >>> Measurement(what="sequential / random", published=1.0, claim="at most", measured=(1.4, 1.5)).verdict
        'differs'
    """

    what: str
    """What is measured, with its unit where it has one."""
    measured: tuple[float, ...]
    """One number a seed; infinite where the training diverged."""
    published: float | None = None
    """The figure of the source; None if it gives none, infinite if it says that the training diverges."""
    claim: Claim = "equals"
    """The relation between the figure and the published one that the source claims."""
    tolerance: float = 0.0
    """In the unit of the figure; if the reason for it is not plain, `note` gives it."""
    better: Literal["lower", "higher"] | None = None
    """Which side of the published figure is better, if one is."""
    number_format: str = ".3f"
    """A format specification of Python for its numbers."""
    infinite: Literal["diverges", "never"] = "diverges"
    """What an infinite figure means: a training that diverged, or something that did not happen."""
    headline: bool = False
    """Whether it is in the summary of all experiments."""
    note: str = ""
    """Why it differs, or what else a reader of this row must know."""

    @property
    def median(self) -> float:
        """The median over the seeds."""
        return statistics.median(self.measured)

    @property
    def verdict(self) -> Verdict:
        """Whether the measured figures agree with the published one, see the top of this module."""
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
class ChartSeries:
    """The points, bars or line of one label in a chart."""

    label: str
    x: Sequence[float | str]
    """Positions; texts are the names of bars."""
    y: Sequence[float]
    """Values, as many as positions; those that are not finite are not drawn."""
    style: Literal["line", "dashed", "points", "bars"] = "line"


@dataclass(frozen=True, kw_only=True)
class Chart:
    """The numbers of a picture, which is drawn with the report if matplotlib is installed."""

    name: str
    """Part of the name of its file, unique within the experiment: letters, digits and hyphens."""
    title: str
    """What it shows, in one sentence; also its text alternative."""
    x: str
    """The label of the x axis."""
    y: str
    """The label of the y axis."""
    series: Sequence[ChartSeries]
    bounds: Mapping[str, float] = field(default_factory=dict)
    """Horizontal lines by label: lower bounds, uniform guesses."""
    log: Literal["", "x", "y", "xy"] = ""
    """The axes with a logarithmic scale."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What an experiment found."""

    measurements: tuple[Measurement, ...]
    """The rows of the report."""
    lessons: tuple[str, ...]
    """What to learn from it, with the measured numbers: one or two sentences each."""
    charts: tuple[Chart, ...] = ()
    """Its pictures."""
    texts: tuple[tuple[str, str], ...] = ()
    """Texts that models generated: a heading and a text each."""


class Runner(Protocol):
    """What an experiment measures with; it keeps finished trials (`elman.reproduce.trials.TrialCache`)."""

    @property
    def quick(self) -> bool:
        """Whether this run only shows that everything works, in seconds; its figures mean nothing."""

    def choose(self, full: _T, quick: _T) -> _T:
        """The value for this run: `epochs = runner.choose(500, 2)`.

        Args:
            full: the value for a full run.
            quick: the value for a quick run.
        """

    def trial(self, measure: Callable[..., _T], /, **arguments: Any) -> _T:
        """Call a function, or give the result of an earlier call with the same arguments in this folder.

        Everything that takes long is a trial, one for each seed: then an interruption loses one trial, and a change of
        a lesson or a tolerance loses none.

        Args:
            measure: a function of an experiment's module; it returns JSON values, whose numbers may be infinite.
            **arguments: its arguments, JSON values.
        """

    def trials(self, measure: Callable[..., _T], cases: Iterable[Mapping[str, Any]]) -> list[_T]:
        """Several trials, in parallel if there are cores.

        Args:
            measure: as for `trial`.
            cases: the arguments of each call.

        Returns:
            The results, in the order of the cases.
        """


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A published result that can be measured again."""

    name: str
    """The name that a user types, and that of its module."""
    title: str
    """One line, under 80 characters."""
    source: str
    """Who published the figures, when and where; the keys are those of docs/references.md."""
    order: int
    """Its place among the experiments: a reader would take those with lower numbers first."""
    minutes: float
    """CPU minutes on one core of the machine whose results are in benchmarks/results/reproduce.json."""
    run: Callable[[Runner], Result]
    """The measurement; a training that diverges is a figure, not an error."""
