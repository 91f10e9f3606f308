"""What a benchmark of engines means: which one is the fastest, whether "auto" takes it, what to set."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from elman.inference.findings.base import Finding
from elman.inference.spreads import Quartiles

PLAIN = "plain PyTorch"
ENOUGH = 5
"""Rounds below which nothing is stated about who is faster."""


class Variant(NamedTuple):
    """An engine or plain PyTorch, on a number of threads.

    Args:
        name: the engine.
        threads: how many, at least 1.
    """

    name: str
    threads: int

    def __str__(self) -> str:
        return f"{self.name} on {self.threads} thread{'s' if self.threads > 1 else ''}"


class Timings(Protocol):
    """What the rounds of a benchmark measured."""

    @property
    def auto(self) -> str:
        """The engine that "auto" takes."""

    @property
    def default(self) -> int:
        """The threads that PyTorch takes where nobody chooses."""

    @property
    def rates(self) -> Mapping[Variant, Sequence[float]]:
        """Tokens a second, round by round."""

    @property
    def products(self) -> Mapping[int, Sequence[float]]:
        """Flops a second of matrix products by number of threads, round by round."""

    @property
    def best(self) -> Mapping[str, Variant]:
        """Each name on the threads where its median is highest, the fastest first."""

    def rate(self, variant: Variant) -> Quartiles:
        """Tokens a second."""

    def ratio(self, variant: Variant, to: Variant) -> Quartiles:
        """How many times as fast as another variant, round by round.

        Args:
            variant: the numerator.
            to: the denominator.
        """

    def share(self, variant: Variant) -> Quartiles:
        """Model flops over those of matrix products on as many threads."""


def clearly_faster(timings: Timings, variant: Variant, other: Variant) -> bool:
    """Faster in three rounds of four, of at least five: the lower quartile of the ratio is over 1.

    Args:
        timings: the rounds.
        variant: the one that may be faster.
        other: the one that it is compared with.
    """
    return len(timings.rates[variant]) >= ENOUGH and timings.ratio(variant, other).lower > 1


def of_benchmark(timings: Timings) -> list[Finding]:
    """Findings about one benchmark; variants that are not clearly faster one way or the other are named as such."""
    engines = [variant for name, variant in timings.best.items() if name != PLAIN]
    rounds = len(timings.rates[engines[0]])
    if rounds < ENOUGH:
        sentence = f"Fewer than {ENOUGH} rounds cannot show which engine is faster: use --rounds {ENOUGH} or more."
        return [Finding("rounds", "warning", sentence, {"rounds": rounds})]
    first, others = engines[0], engines[1:]
    equal = [variant for variant in others if not clearly_faster(timings, first, variant)]
    auto = timings.best[timings.auto]
    taken, engine = auto_engine(timings, first, auto, equal)
    by_threads, count = threads(timings, auto if auto in equal else first)
    return [
        fastest(timings, first, others, equal),
        *against_plain(timings, first),
        taken,
        *rounding(first),
        *by_threads,
        *settings(timings, count, engine),
    ]


def fastest(timings: Timings, first: Variant, others: Sequence[Variant], equal: Sequence[Variant]) -> Finding:
    """The engine with the highest median, unless another is not clearly slower.

    Args:
        timings: the rounds.
        first: the engine with the highest median.
        others: all other engines, the fastest first.
        equal: those of them that are not clearly slower.
    """
    figures = {str(variant): timings.rate(variant).median for variant in (first, *others)}
    if equal:
        ratios = ", ".join(f"{first} {timings.ratio(first, variant).written()} times {variant}" for variant in equal)
        return Finding("fastest", "note", f"No clear winner: {ratios}.", figures)
    share = f"{100 * timings.share(first).median:.0f} % of the rate of a large matrix product"
    if not others:
        sentence = f"{first} is the only engine of this cell: {timings.rate(first).median:,.0f} tokens/s, {share}."
        return Finding("fastest", "note", sentence, figures)
    ratio = timings.ratio(first, others[0]).written()
    sentence = f"The fastest engine is {first}: {ratio} times {others[0]}, the next; {share}."
    return Finding("fastest", "note", sentence, figures)


def against_plain(timings: Timings, first: Variant) -> list[Finding]:
    """Whether the fastest engine is clearly faster than plain PyTorch, or the other way round.

    Args:
        timings: the rounds.
        first: the engine with the highest median.
    """
    plain = timings.best.get(PLAIN)
    if plain is None:
        return []
    ratio = timings.ratio(first, plain)
    figures = {"ratio": ratio.median}
    if clearly_faster(timings, first, plain):
        return [Finding("plain", "note", f"It is {ratio.written()} times {plain}.", figures)]
    if clearly_faster(timings, plain, first):
        sentence = f"But {plain} is faster: {timings.ratio(plain, first).written()} times."
        return [Finding("plain", "warning", sentence, figures)]
    return [Finding("plain", "note", f"Against {plain} there is no clear winner: {ratio.written()} times.", figures)]


def auto_engine(
    timings: Timings, first: Variant, auto: Variant, equal: Sequence[Variant]
) -> tuple[Finding, str | None]:
    """Whether an engine is clearly faster than the one that "auto" takes, and the engine to set instead.

    Args:
        timings: the rounds.
        first: the engine with the highest median.
        auto: what "auto" takes, on its best number of threads.
        equal: engines that are not clearly slower than the first.
    """
    if auto == first and not equal:
        return Finding("auto", "note", f"auto takes {auto.name}."), None
    if auto == first or auto in equal:
        return Finding("auto", "note", f"auto takes {auto.name}, which no engine clearly beats."), None
    ratio = timings.ratio(first, auto)
    sentence = f"auto takes {auto.name}, but {first} is {ratio.written()} times {auto}."
    return Finding("auto", "warning", sentence, {"ratio": ratio.median}), first.name


def rounding(first: Variant) -> list[Finding]:
    """The fastest engine rounds to bfloat16."""
    if not first.name.endswith("-bfloat16"):
        return []
    sentence = f"{first.name} rounds what enters a product to bfloat16, as autocast does; all others keep float32."
    return [Finding("rounding", "warning", sentence)]


def threads(timings: Timings, variant: Variant) -> tuple[list[Finding], int | None]:
    """Whether an engine is clearly faster on one number of threads, and that number where it is not PyTorch's own.

    Args:
        timings: the rounds.
        variant: the engine on its best number of threads.
    """
    others = [other for other in timings.rates if other.name == variant.name and other != variant]
    if not others:
        return [], None
    other = max(others, key=lambda other: timings.rate(other).median)
    ratio = timings.ratio(variant, other)
    figures = {"ratio": ratio.median}
    if not clearly_faster(timings, variant, other):
        sentence = f"Between {variant} and {other.threads} there is no clear winner."
        return [Finding("threads", "note", sentence, figures)], None
    sentence = f"{variant} is {ratio.written()} times {other.threads}."
    return [Finding("threads", "note", sentence, figures)], (
        variant.threads if variant.threads != timings.default else None
    )


def settings(timings: Timings, count: int | None, engine: str | None) -> list[Finding]:
    """What to set: a number of threads, an engine, both, or nothing where PyTorch's own number was measured.

    Args:
        timings: the rounds.
        count: the number of threads to set, if any.
        engine: the engine to set, if any.
    """
    found = [*([f"OMP_NUM_THREADS={count}"] if count else []), *([f"--engine {engine}"] if engine else [])]
    if found:
        return [Finding("settings", "note", f"Set {' and '.join(found)}.")]
    if timings.default in timings.products:
        return [Finding("settings", "note", "There is nothing to set.")]
    return []
