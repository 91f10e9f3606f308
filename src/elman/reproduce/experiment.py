"""What an experiment is: figures of a source beside measured ones, and a verdict that follows from both.

The middle is the median of the runs (seeds), or their mean where the source gives a mean. What counts as equal is the
interval from reference - tolerance to reference + tolerance, both ends included.

    verdict        of a figure                                       of a claim (at most, at least), or of "diverges"
    agrees         the middle is in the interval                     it holds in every run
    inconclusive   the middle is outside, but the runs reach the     it holds in some of the runs
                   interval: a run is in it, or runs lie on both sides of it
    better         every run is outside, on the better side
    falls short    every run is outside, on the worse side
    differs        every run is outside, and no side is better       it holds in no run
    diverged       a run has no finite figure, and one is expected   a run has none

The middle and the runs decide, the tolerance comes from the source: half a unit of the last digit that it prints or
that can be read off its chart, or the spread of its own runs of the same network. It is never widened by what was
measured here.
"""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from elman.errors import ConfigError

Verdict = Literal["agrees", "better", "falls short", "differs", "inconclusive", "diverged", "not published"]
Kind = Literal["published", "claim", "earlier run", "definition", ""]
Claim = Literal["equals", "at most", "at least"]
PRINTED = "half a unit of the last printed digit"
READ_OFF = "half a unit of the last digit that can be read off the curve"
ROUNDING = "rounding of the arithmetic"
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A row of the report: a reference figure, and what was measured.

    Example:
        >>> Measurement(what="perplexity", published=1.2, tolerance=0.05, measured=(1.12, 1.23, 1.24)).verdict
        'agrees'
        >>> Measurement(what="accuracy", published=0.5, tolerance=0.02, measured=(0.97,), better="higher").verdict
        'better'
        >>> Measurement(what="squared error", published=2.5, tolerance=0.05, measured=(0.3, 0.6, 14)).verdict
        'inconclusive'
        >>> Measurement(what="sequential / random", published=1.0, claim="at most", measured=(1.4, 1.5)).verdict
        'differs'
    """

    what: str
    """What is measured, with its unit where it has one."""
    measured: tuple[float, ...]
    """One number a run (seed), at least one; infinite where the training diverged."""
    published: float | None = None
    """The figure of the source; None if it gives none, infinite if it says that the training diverges."""
    earlier_run: float | None = None
    """In place of a published figure, that of an earlier run of this program or the source's: nobody published it."""
    definition: float | None = None
    """In place of a published figure, one that follows from the definition of what is measured."""
    claim: Claim = "equals"
    """The relation between the figure and the published one that the source claims."""
    tolerance: float = 0.0
    """In the unit of the figure."""
    tolerance_from: str = ""
    """Where the tolerance comes from: `PRINTED`, `READ_OFF`, `ROUNDING`, or the runs of the source that differ so."""
    statistic: Literal["median", "mean"] = "median"
    """What stands for the runs: the one that the source gives of its own."""
    better: Literal["lower", "higher"] | None = None
    """Which side of the reference is better, if one is."""
    number_format: str = ".3f"
    """A format specification of Python for its numbers."""
    infinite: Literal["diverges", "never"] = "diverges"
    """What an infinite figure means: a training that diverged, or something that did not happen."""
    headline: bool = False
    """Whether it is in the summary of all experiments."""
    note: str = ""
    """What a reader of this row must know, whatever the verdict."""
    explained: str = ""
    """Why it does not agree, shown only where it does not: the cause, measured or argued."""

    def __post_init__(self) -> None:
        """Refuse what no verdict follows from.

        Raises:
            ConfigError: there is no run, several references, or the tolerance is negative or not finite.
        """
        if not self.measured:
            raise ConfigError(f"{self.what}: no run was measured: give at least one number")
        if not 0 <= self.tolerance < math.inf:
            raise ConfigError(f"{self.what}: tolerance {self.tolerance} must be a finite number of at least 0")
        if sum(each is not None for each in (self.published, self.earlier_run, self.definition)) > 1:
            raise ConfigError(f"{self.what}: give one of published, earlier_run and definition")

    @property
    def reference(self) -> float | None:
        """What stands beside the measured figures, if anything does; `kind` says what it is."""
        return next((r for r in (self.published, self.earlier_run, self.definition) if r is not None), None)

    @property
    def kind(self) -> Kind:
        """What the reference is: published, a claim in words, of an earlier run, by definition; empty for none."""
        if self.reference is None:
            return ""
        if self.published is None:
            return "definition" if self.earlier_run is None else "earlier run"
        return "published" if self.claim == "equals" and math.isfinite(self.published) else "claim"

    @property
    def median(self) -> float:
        """The median over the runs."""
        return statistics.median(self.measured)

    @property
    def middle(self) -> float:
        """What stands for the runs: their median, or their mean."""
        return self.median if self.statistic == "median" else statistics.fmean(self.measured)

    @property
    def verdict(self) -> Verdict:
        """Whether the measured figures agree with the reference, see the top of this module."""
        reference = self.reference
        if reference is None:
            return "not published"
        if math.isinf(reference):
            return _shared([not math.isfinite(m) for m in self.measured])
        if any(math.isnan(m) for m in self.measured):
            return "diverged"
        if self.infinite == "diverges" and any(map(math.isinf, self.measured)):
            return "diverged"
        low, high = reference - self.tolerance, reference + self.tolerance
        slack = 4 * math.ulp(max(abs(low), abs(high)))  # 1.3 + 0.05 is not 1.35 in binary digits
        low, high = low - slack, high + slack
        if self.claim != "equals":
            return _shared([m <= high if self.claim == "at most" else m >= low for m in self.measured])
        if low <= self.middle <= high:
            return "agrees"
        if min(self.measured) <= high and max(self.measured) >= low:
            return "inconclusive"
        if self.better is None:
            return "differs"
        return "better" if (self.middle < reference) == (self.better == "lower") else "falls short"


def _shared(holds: Sequence[bool]) -> Verdict:
    """The verdict on what is said of every run."""
    return "agrees" if all(holds) else "inconclusive" if any(holds) else "differs"


def count_verdicts(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """How many figures have each verdict, by the kind of their reference.

    Args:
        rows: the figures of a report (`elman.reproduce.page.document`).

    Returns:
        Counts by kind and verdict; figures without a reference are not counted.
    """
    found: dict[str, Counter[str]] = {}
    for row in rows:
        if row["kind"]:
            found.setdefault(row["kind"], Counter())[row["verdict"]] += 1
    return {kind: dict(found[kind]) for kind in KINDS if kind in found}


KINDS: tuple[Kind, ...] = ("published", "claim", "earlier run", "definition")


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
        """Call a function, or give the result of an earlier call of the same code with the same arguments.

        Everything that takes long is a trial, one for each seed: then an interruption loses one trial.

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
