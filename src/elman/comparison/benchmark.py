"""A benchmark of engines: what was measured of one shape, and the findings.

Model flops (a multiply-add is 2; a one-hot input costs nothing), as a share of what large matrix products reach in the
same rounds:

    share = tokens/s * (6 G H^2 + 6 H V) / (flop/s of A B, A and B square)
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from elman.cells import CELLS
from elman.data.batches import Ids
from elman.errors import ConfigError, no_such
from elman.inference.findings.base import Finding, sentences
from elman.inference.findings.benchmark import PLAIN, Variant, of_benchmark
from elman.inference.spreads import Quartiles

SQUARE = 1024
"""Rows and columns of the matrices whose product is the measure of the machine."""
LARGEST = 2**31
"""Numbers in one tensor of a step."""
_BATCHES = 40
"""Of the text, which is read again and again."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a training step.

    Args:
        cell: the name of a recurrent cell.
        hidden: H, its units.
        vocab: V, symbols, at least 2.
        batch: B, rows of a batch.
        window: T, tokens of a row.

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
        """G, gates of the cell."""
        return len(CELLS[self.cell].gates)

    @property
    def tokens(self) -> int:
        """Tokens of a step, B T."""
        return self.batch * self.window

    @property
    def flops(self) -> int:
        """Flops of a token: the products with W_h and W_q, forward and for the gradients of both factors."""
        return 6 * self.gates * self.hidden**2 + 6 * self.hidden * self.vocab

    def ids(self) -> Ids:
        """A text of random symbols, the same each time."""
        rng = np.random.default_rng(0)
        return rng.integers(1, self.vocab, _BATCHES * self.tokens).astype(np.min_scalar_type(self.vocab - 1))


@dataclass(frozen=True)
class SpeedBenchmark:
    """What the rounds so far measured of one shape.

    Args:
        shape: what is trained.
        auto: the engine that "auto" takes.
        default: the threads that PyTorch takes where nobody chooses.
        rounds: how many will be measured.
        rates: tokens a second of every variant, round by round.
        products: flops a second of matrix products by number of threads, round by round.
    """

    shape: Shape
    auto: str
    default: int
    rounds: int
    rates: Mapping[Variant, Sequence[float]]
    products: Mapping[int, Sequence[float]]

    @property
    def completed(self) -> int:
        """How many rounds are over."""
        return len(next(iter(self.rates.values())))

    @property
    def done(self) -> bool:
        """Whether every round is over."""
        return self.completed >= self.rounds

    def rate(self, variant: Variant) -> Quartiles:
        """Tokens a second."""
        return Quartiles.of(self.rates[variant])

    def ratio(self, variant: Variant, to: Variant) -> Quartiles:
        """How many times as fast as another variant, round by round.

        Args:
            variant: the numerator.
            to: the denominator.
        """
        return Quartiles.of_ratios(self.rates[variant], self.rates[to])

    def share(self, variant: Variant) -> Quartiles:
        """Model flops over those of matrix products on as many threads; 1 is the same rate."""
        return Quartiles.of_ratios(
            [rate * self.shape.flops for rate in self.rates[variant]], self.products[variant.threads]
        )

    @cached_property
    def best(self) -> dict[str, Variant]:
        """Each name on the threads where its median is highest, the fastest first."""
        ranked = sorted(self.rates, key=lambda variant: -self.rate(variant).median)
        found: dict[str, Variant] = {}
        for variant in ranked:
            found.setdefault(variant.name, variant)
        return found

    @property
    def findings(self) -> list[Finding]:
        """Which engine is the fastest, whether "auto" takes it, what to set."""
        return of_benchmark(self)

    @property
    def verdict(self) -> list[str]:
        """The findings in words."""
        return sentences(self.findings)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **asdict(self.shape),
            "flops_per_token": self.shape.flops,
            "auto": self.auto,
            "rounds": self.rounds,
            "default_threads": self.default,
            "variants": [self._row(variant) for variant in self.rates],
            "matrix_products": [
                {"threads": n, "size": SQUARE, "flops_per_second": Quartiles.of(rates).to_dict()}
                for n, rates in self.products.items()
            ],
            "verdict": self.verdict,
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def _row(self, variant: Variant) -> dict[str, Any]:
        plain = Variant(PLAIN, variant.threads)
        return {
            "name": variant.name,
            "threads": variant.threads,
            "tokens_per_second": Quartiles.of(self.rates[variant]).to_dict(),
            "times_plain": self.ratio(variant, plain).to_dict() if plain in self.rates else None,
            "share_of_matrix_product": self.share(variant).to_dict(),
            "rounds": list(self.rates[variant]),
        }
