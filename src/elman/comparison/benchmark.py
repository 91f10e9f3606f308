"""A benchmark of engines: what was measured of one shape, and who is the fastest, in words.

Model flops (a multiply-add is 2; a one-hot input costs nothing), as a share of what large matrix products reach in the
same rounds:

    share = tokens/s * (6 G H^2 + 6 H V) / (flop/s of A B, A and B square)
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from elman.cells import CELLS
from elman.comparison.timing import Spread, spread
from elman.data.batches import Ids
from elman.errors import ConfigError, no_such

PLAIN = "plain PyTorch"
SQUARE = 1024
"""Rows and columns of the matrices whose product is the measure of the machine."""
ENOUGH = 5
"""Rounds below which nothing is said of who is faster."""
LARGEST = 2**31
"""Numbers in one tensor of a step."""
_BATCHES = 40
"""Of the text, which is read again and again."""


@dataclass(frozen=True)
class Shape:
    """A training step: a cell of H units, V symbols, B rows of T tokens.

    Raises:
        ConfigError: an unknown cell, or sizes that no step has.
    """

    cell: str = "gru"
    hidden: int = 256
    vocab: int = 28
    batch: int = 32
    window: int = 35

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ConfigError(no_such("cell", self.cell, sorted(CELLS)))
        for name, least in (("hidden", 1), ("vocab", 2), ("batch", 1), ("window", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} {getattr(self, name)}: it must be at least {least}")
        numbers = max(self.tokens * max(self.vocab, self.gates * self.hidden), self.vocab * self.hidden)
        if numbers > LARGEST:
            raise ConfigError(
                f"a step of {self.tokens:,} tokens, {self.vocab:,} symbols and {self.hidden:,} units is more than is "
                "measured (2^31 numbers in one tensor): lower batch, window, vocab or hidden"
            )

    @property
    def gates(self) -> int:
        """Of the cell."""
        return len(CELLS[self.cell].gates)

    @property
    def tokens(self) -> int:
        """Of a step."""
        return self.batch * self.window

    @property
    def flops(self) -> int:
        """A token's: of W_h and of the output, forward and for both factors' gradients."""
        return 6 * self.gates * self.hidden**2 + 6 * self.hidden * self.vocab

    def ids(self) -> Ids:
        """A text of random symbols, the same each time."""
        rng = np.random.default_rng(0)
        return rng.integers(1, self.vocab, _BATCHES * self.tokens).astype(np.min_scalar_type(self.vocab - 1))


class Variant(NamedTuple):
    """A way to train, on a number of threads."""

    name: str
    threads: int

    def __str__(self) -> str:
        return f"{self.name} on {self.threads} thread{'s' if self.threads > 1 else ''}"


@dataclass(frozen=True)
class Benchmark:
    """What the rounds so far measured of one shape."""

    shape: Shape
    auto: str
    """The engine that "auto" takes."""
    default: int
    """The threads that PyTorch takes where nobody chooses."""
    rounds: int
    """How many were asked for."""
    rates: Mapping[Variant, Sequence[float]]
    """Tokens a second, round by round."""
    products: Mapping[int, Sequence[float]]
    """Flops a second of matrix products by threads, round by round."""

    @property
    def done(self) -> bool:
        """Whether every round is over."""
        return len(next(iter(self.rates.values()))) >= self.rounds

    def rate(self, way: Variant) -> Spread:
        """Tokens a second."""
        return Spread.of(self.rates[way])

    def ratio(self, way: Variant, to: Variant) -> Spread:
        """How many times as fast as another way, round by round."""
        return Spread.ratio(self.rates[way], self.rates[to])

    def share(self, way: Variant) -> Spread:
        """Model flops of what matrix products reach on as many threads: 1 is all of it."""
        return Spread.ratio([rate * self.shape.flops for rate in self.rates[way]], self.products[way.threads])

    def clearly_faster(self, way: Variant, other: Variant) -> bool:
        """Whether it is clearly faster: in three rounds of four, of enough of them."""
        return len(self.rates[way]) >= ENOUGH and self.ratio(way, other).low > 1

    @cached_property
    def best(self) -> dict[str, Variant]:
        """Each name on the threads where its median is highest, the fastest first."""
        ranked = sorted(self.rates, key=lambda way: -self.rate(way).median)
        found: dict[str, Variant] = {}
        for way in ranked:
            found.setdefault(way.name, way)
        return found

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **asdict(self.shape),
            "flops_per_token": self.shape.flops,
            "auto": self.auto,
            "rounds": self.rounds,
            "default_threads": self.default,
            "ways": [self._row(way) for way in self.rates],
            "matrix_products": [
                {"threads": n, "size": SQUARE, "flops_per_second": spread(rates)} for n, rates in self.products.items()
            ],
            "verdict": verdict(self),
        }

    def _row(self, way: Variant) -> dict[str, Any]:
        plain = Variant(PLAIN, way.threads)
        return {
            "way": way.name,
            "threads": way.threads,
            "tokens_per_second": spread(self.rates[way]),
            "times_plain": self.ratio(way, plain)._asdict() if plain in self.rates else None,
            "share_of_matrix_product": self.share(way)._asdict(),
            "rounds": list(self.rates[way]),
        }


def verdict(benchmark: Benchmark) -> list[str]:
    """Sentences: who wins, whether "auto" takes it, what to set. What the spread leaves open has no clear winner."""
    engines = [way for name, way in benchmark.best.items() if name != PLAIN]
    if len(benchmark.rates[engines[0]]) < ENOUGH:
        return [f"Fewer than {ENOUGH} rounds say nothing of who is faster."]
    first, others = engines[0], engines[1:]
    equal = [way for way in others if not benchmark.clearly_faster(first, way)]
    auto = benchmark.best[benchmark.auto]
    threads, count = _threads(benchmark, auto if auto in equal else first)
    engine, flag = _auto(benchmark, first, auto, equal)
    settings = [*([f"OMP_NUM_THREADS={count}"] if count else []), *([f"--engine {flag}"] if flag else [])]
    last = [f"Set {' and '.join(settings)}."] if settings else []
    if not settings and benchmark.default in benchmark.products:
        last = ["There is nothing to set."]
    return [
        _winner(benchmark, first, others, equal),
        *_plain(benchmark, first),
        engine,
        *_rounding(first),
        *threads,
        *last,
    ]


def _winner(benchmark: Benchmark, first: Variant, others: Sequence[Variant], equal: Sequence[Variant]) -> str:
    if equal:
        ratios = ", ".join(f"{first} {benchmark.ratio(first, way).written()} times {way}" for way in equal)
        return f"No clear winner: {ratios}."
    reaches = f"{100 * benchmark.share(first).median:.0f} % of the rate of a large matrix product"
    if not others:
        return f"{first} is the only engine of this cell: {benchmark.rate(first).median:,.0f} tokens/s, {reaches}."
    ratio = benchmark.ratio(first, others[0]).written()
    return f"The fastest engine is {first}: {ratio} times {others[0]}, the next; {reaches}."


def _plain(benchmark: Benchmark, first: Variant) -> list[str]:
    plain = benchmark.best.get(PLAIN)
    if plain is None:
        return []
    if benchmark.clearly_faster(first, plain):
        return [f"It is {benchmark.ratio(first, plain).written()} times {plain}."]
    if benchmark.clearly_faster(plain, first):
        return [f"But {plain} is faster: {benchmark.ratio(plain, first).written()} times."]
    return [f"Against {plain} there is no clear winner: {benchmark.ratio(first, plain).written()} times."]


def _auto(benchmark: Benchmark, first: Variant, auto: Variant, equal: Sequence[Variant]) -> tuple[str, str | None]:
    """What to say of "auto", and the engine to ask for instead."""
    if auto == first and not equal:
        return f"auto takes {auto.name}.", None
    if auto == first or auto in equal:
        return f"auto takes {auto.name}, which no engine clearly beats.", None
    return f"auto takes {auto.name}, but {first} is {benchmark.ratio(first, auto).written()} times {auto}.", first.name


def _rounding(first: Variant) -> list[str]:
    """What the reader must know of a winner that is not as exact as the others."""
    if not first.name.endswith("-bfloat16"):
        return []
    return [f"{first.name} rounds what enters a product to bfloat16, as autocast does; all others keep float32."]


def _threads(benchmark: Benchmark, way: Variant) -> tuple[list[str], int | None]:
    """What to say of the number of threads, and the number to set, if not PyTorch's own."""
    others = sorted(
        (w for w in benchmark.rates if w.name == way.name and w != way), key=lambda w: -benchmark.rate(w).median
    )
    if not others:
        return [], None
    if not benchmark.clearly_faster(way, others[0]):
        return [f"Between {way} and {others[0].threads} there is no clear winner."], None
    said = f"{way} is {benchmark.ratio(way, others[0]).written()} times {others[0].threads}."
    return [said], way.threads if way.threads != benchmark.default else None
