"""The result of a comparison: many models on the same held-out tokens, as a table, JSON and findings.

    figure of a model = median over its seeds (lowest..highest)
    more than chance  = p < 0.05 by `elman.inference.significance`

Perplexities are compared where all models have one vocabulary, else bits per character of the text.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from elman.errors import printable
from elman.inference.findings.base import Finding, sentences
from elman.inference.findings.comparison import Competitor, not_comparable, of_comparison, tested_against
from elman.inference.metrics import METRICS, Metric, values
from elman.inference.significance import LEVEL
from elman.inference.spreads import SeedRange, number
from elman.inference.tables import escaped, markdown_table

SCHEMA = 1
RowKind = Literal["network", "counts", "bound", "compressor"]
ComparedMetric = Literal["perplexity", "bits_per_character"]
CHANCE = (
    "More than chance: p < 0.05 in a t-test of the paired differences over blocks of the text and of the means over "
    "seeds, adjusted for the number of models."
)
"""The note below a table."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one training of a model, or its only counting, scored on the held-out text."""

    nats: float
    """Of all held-out tokens; infinite where training diverged."""
    tokens: int | None
    """Held-out tokens; None for a compressor of a text whose tokens are not characters."""
    characters: int
    """Held-out characters."""
    bytes: int | None = None
    """Held-out bytes in UTF-8."""
    unknown: int = 0
    """Held-out tokens that were scored as `<unk>`."""
    other_bits: float | None = 0.0
    """Bits of what is not in the held-out tokens (`elman.inference.lossless`)."""
    totals: Mapping[str, float] = field(default_factory=dict)
    """Sums over the held-out tokens of the metrics that do not follow from the nats, by name (`Score.totals`)."""
    blocks: tuple[float, ...] = ()
    """Nats of each block of the held-out text (`elman.inference.blocks`); empty where they are not known."""
    other_blocks: tuple[float, ...] = ()
    """Bits of each block that are not in the tokens, as far as they can be told apart; empty where there are none."""
    train: float | None = None
    """Perplexity of the training text, state carried."""
    seconds: float | None = None
    """Wall time of training or counting."""
    tokens_per_second: float | None = None
    """Of training or counting."""
    seed: int | None = None
    run: str | None = None
    """The folder, where it was trained before."""

    @property
    def metrics(self) -> dict[str, float | None]:
        """Every registered metric of the held-out text by name; None where it was not measured."""
        return values(self.nats, self.totals, self)

    @property
    def figures(self) -> dict[str, float | None]:
        """The metrics, and what is known of the training, by name."""
        return self.metrics | {name: getattr(self, name) for name in TRAINING}

    def document(self) -> dict[str, Any]:
        """The name of `to_dict` in 0.1, until 0.3."""
        warnings.warn("Comparison.document is now Comparison.to_dict", DeprecationWarning, stacklevel=2)
        return self.to_dict()

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; infinite figures are still in it."""
        return self.metrics | {k: v for k, v in vars(self).items() if k not in {"totals", "blocks", "other_blocks"}}


TRAINING = ("train", "seconds", "tokens_per_second")
"""Figures of the training, which stand beside the metrics."""


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """A row of the table: a model with all of its seeds, a bound, or a compressor."""

    name: str
    kind: RowKind
    measured: tuple[Measured, ...]
    model: str = ""
    """What it is, where the name does not say: 7-gram."""
    parameters: int | None = None
    """Numbers learnt from the training text."""
    operations: int | None = None
    """Multiplications, each with its addition, of one token's prediction."""

    @property
    def label(self) -> str:
        """What the table calls it."""
        return f"{self.name} ({self.model})" if self.model not in {"", self.name} else self.name

    @property
    def is_model(self) -> bool:
        """Whether it is ranked: bounds and compressors are stated apart."""
        return self.kind in {"network", "counts"}

    def spread(self, figure: str) -> SeedRange | None:
        """A metric, or one of `TRAINING`, over the seeds; None where it was not measured."""
        found = [m.figures[figure] for m in self.measured]
        measured = [value for value in found if value is not None]
        return SeedRange.of(measured) if measured and len(measured) == len(found) else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; infinite figures are still in it."""
        spreads = {figure: self.spread(figure) for figure in (*METRICS, *TRAINING)}
        return {
            "name": self.name,
            "model": self.model or self.name,
            "kind": self.kind,
            "parameters": self.parameters,
            "operations": self.operations,
            **{figure: None if spread is None else spread.to_dict() for figure, spread in spreads.items()},
            "seeds": [measured.to_dict() for measured in self.measured],
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that was measured, the row with the fewest nats first."""

    source: str
    level: str | None
    """What a token is, None where the models do not agree."""
    clean: str
    vocabulary: int | None
    """Symbols, None where the models do not agree."""
    parts: Mapping[str, Mapping[str, int]]
    """Tokens, characters and bytes of each part; tokens only where the models agree on them."""
    symbols: int | None = None
    """Different symbols of the text, None where that is not known."""
    entries: tuple[ComparisonRow, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader must know of how it was measured."""
    complete: bool = True
    """Whether every model that was asked for was measured."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the networks were trained with."""

    @property
    def figure(self) -> ComparedMetric:
        """The metric that is compared."""
        return "bits_per_character" if self.vocabulary is None else "perplexity"

    def with_entry(self, entry: ComparisonRow) -> "Comparison":
        """The same with another entry, in the place of one of the same name and kind: a run may be called xz."""
        entries = [e for e in self.entries if (e.name, e.kind) != (entry.name, entry.kind)] + [entry]
        # Within one table the cost of the text in nats orders perplexities and bits per character alike.
        return replace(self, entries=tuple(sorted(entries, key=_bits)))

    def with_note(self, *notes: str) -> "Comparison":
        """The same with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    @property
    def models(self) -> list[ComparisonRow]:
        """The rows that are ranked."""
        return [entry for entry in self.entries if entry.is_model]

    @property
    def verdict(self) -> list[str]:
        """The findings in words."""
        return sentences(self.findings)

    @property
    def findings(self) -> list[Finding]:
        """Which model has the lowest figure, by how much, and what else the table shows."""
        models = self._competitors
        bounds = [_competitor(e, self.figure) for e in self.entries if e.kind == "bound"]
        compressors = [(e.label, _bits(e)) for e in self.entries if e.kind == "compressor"]
        return of_comparison(models, bounds, compressors, self.figure, self.symbols)

    @property
    def _competitors(self) -> list[Competitor]:
        """The models that did not diverge, the best first."""
        return [_competitor(e, self.figure) for e in self.models if math.isfinite(_bits(e))]

    @property
    def significance(self) -> dict[str, Any] | None:
        """What the test found of each model against the best; None where nothing was tested."""
        models = self._competitors
        if len(models) < 2 or not_comparable(models):
            return None
        found = tested_against(models[0], models)
        if found is None:
            return None
        return {
            "level": LEVEL,
            "reference": models[0].label,
            "unit": "nats per token" if self.figure == "perplexity" else "bits per character",
            "differences": [
                {**each._asdict(), "more_than_chance": each.is_significant and each.seeds_measured} for each in found
            ],
        }

    def table(self) -> list[list[str]]:
        """The table as text: the headings, then the cells of each entry."""
        shared = self.vocabulary is not None
        # Perplexities of different vocabularies cannot be compared.
        metrics = [m for m in METRICS.values() if m.in_tables and (shared or not m.one_vocabulary)]
        head = ["model", *(metric.heading for metric in metrics), *(["train"] if shared else [])]
        return [
            [*head, "parameters", "operations", "seconds", "tokens/s"],
            *(_cells(entry, metrics, self.figure, trained=shared) for entry in self.entries),
        ]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values; infinite figures are still in it."""
        return {
            "schema_version": SCHEMA,
            "source": self.source,
            "level": self.level,
            "clean": self.clean,
            "vocabulary": self.vocabulary,
            "parts": self.parts,
            "figure": self.figure,
            "complete": self.complete,
            "entries": [entry.to_dict() for entry in self.entries],
            "verdict": self.verdict,
            "significance": self.significance,
            "findings": [finding.to_dict() for finding in self.findings],
            "notes": list(self.notes),
            "settings": self.settings,
        }

    def markdown(self) -> str:
        """The table, the verdict and the notes for a page."""
        verdict = "".join(f"- {escaped(line)}\n" for line in self.verdict)
        notes = "\n".join(escaped(line) for line in self.notes)
        return f"# {escaped(self.title)}\n\n{markdown_table(self.table())}\n{verdict}\n{notes}\n"

    @property
    def title(self) -> str:
        """What was compared on what."""
        return f"{printable(self.source)}: models on the same held-out text"

    def __str__(self) -> str:
        return self.markdown()


def _bits(entry: ComparisonRow) -> float:
    bits = entry.spread("bits_per_character")
    return math.inf if bits is None else bits.median


def _cells(entry: ComparisonRow, metrics: Sequence[Metric], figure: str, *, trained: bool) -> list[str]:
    """A row of the table; the range over seeds stands beside the figure that is compared alone."""

    def cell(name: str, form: str) -> str:
        spread = entry.spread(name)
        if spread is None:
            return ""
        return spread.written(form) if name == figure else number(spread.median, form)

    return [
        entry.label,
        *(cell(metric.name, metric.form) for metric in metrics),
        *([cell("train", ".2f")] if trained else []),
        "" if entry.parameters is None else f"{entry.parameters:,}",
        "" if entry.operations is None else f"{entry.operations:,}",
        cell("seconds", ".2f"),
        cell("tokens_per_second", ",.0f"),
    ]


def _competitor(entry: ComparisonRow, figure: ComparedMetric) -> Competitor:
    seeds = entry.spread(figure)
    assert seeds is not None  # noqa: S101 - models and bounds have either figure
    # The same seed twice shows nothing of what another seed changes.
    measured = list({m.seed: m for m in entry.measured}.values())
    return Competitor(
        entry.label,
        entry.kind == "network",
        seeds,
        len(measured),
        _bits(entry),
        entry.measured[0].characters,
        _block_costs(measured, figure),
        _block_costs(measured, "bits_per_character"),
    )


def _block_costs(measured: Sequence[Measured], figure: ComparedMetric) -> npt.NDArray[np.float64] | None:
    """What each block adds to nats per token or to bits per character, (S, Q); None where it is not known."""
    count = max(len(m.blocks) for m in measured)
    if not count or any(len(m.blocks) != count for m in measured if math.isfinite(m.nats)):
        return None
    rows = []
    for m in measured:
        value = m.metrics[figure]
        assert value is not None  # noqa: S101 - models have either figure
        total = math.log(value) if figure == "perplexity" else value
        blocks = np.array(m.blocks if math.isfinite(total) else [math.inf] * count)
        if figure == "bits_per_character" and m.other_blocks:
            blocks = blocks + math.log(2) * np.array(m.other_blocks)
        rows.append(blocks * (total / blocks.sum()) if math.isfinite(total) and blocks.sum() else blocks)
    return np.array(rows)
