"""Many models on the same held-out tokens: one table, who wins, and by how much.

    figure of a model = median over its seeds (lowest..highest)

Perplexities are compared where all models have one vocabulary, else bits per character of the text.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from elman.errors import printable
from elman.inference.metrics import METRICS, Metric, values
from elman.inference.spreads import SeedRange, number
from elman.inference.tables import escaped, markdown_table

SCHEMA = 1
Kind = Literal["network", "counts", "bound", "compressor"]
Figure = Literal["perplexity", "bits_per_character"]


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
    totals: Mapping[str, float] = field(default_factory=dict)
    """Sums over the held-out tokens of the metrics that do not follow from the nats, by name (`Score.totals`)."""
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

    def to_json(self) -> dict[str, Any]:
        """As JSON values; infinite figures are still in it."""
        return self.metrics | {k: v for k, v in vars(self).items() if k != "totals"}


TRAINING = ("train", "seconds", "tokens_per_second")
"""Figures of the training, which stand beside the metrics."""


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """A row of the table: a model with all of its seeds, a bound, or a compressor."""

    name: str
    kind: Kind
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
        """Whether it can win: a bound is no rival, and a compressor is spoken of apart."""
        return self.kind in {"network", "counts"}

    def spread(self, figure: str) -> SeedRange | None:
        """A metric, or one of `TRAINING`, over the seeds; None where it was not measured."""
        found = [m.figures[figure] for m in self.measured]
        measured = [value for value in found if value is not None]
        return SeedRange.of(measured) if measured and len(measured) == len(found) else None

    def to_json(self) -> dict[str, Any]:
        """As JSON values; infinite figures are still in it."""
        spreads = {figure: self.spread(figure) for figure in (*METRICS, *TRAINING)}
        return {
            "name": self.name,
            "model": self.model or self.name,
            "kind": self.kind,
            "parameters": self.parameters,
            "operations": self.operations,
            **{figure: None if spread is None else spread.to_json() for figure, spread in spreads.items()},
            "seeds": [measured.to_json() for measured in self.measured],
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that was measured, the best first."""

    source: str
    level: str | None
    """What a token is, None where the models do not agree."""
    clean: str
    vocabulary: int | None
    """Symbols, None where the models do not agree."""
    parts: Mapping[str, Mapping[str, int]]
    """Tokens, characters and bytes of each part; tokens only where the models agree on them."""
    entries: tuple[ComparisonRow, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader must know of how it was measured."""
    complete: bool = True
    """Whether every model that was asked for was measured."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the networks were trained with."""

    @property
    def figure(self) -> Figure:
        """What is compared."""
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
        """The entries that can win."""
        return [entry for entry in self.entries if entry.is_model]

    @property
    def verdict(self) -> list[str]:
        """Who wins, by how much, and what else the table says."""
        return _verdict(self)

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

    def document(self) -> dict[str, Any]:
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
            "entries": [entry.to_json() for entry in self.entries],
            "verdict": self.verdict,
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


def _verdict(comparison: Comparison) -> list[str]:
    figure = comparison.figure
    models = [e for e in comparison.models if math.isfinite(_bits(e))]
    if not models:
        return ["No model was measured."]
    return [
        *_winner(models, figure),
        *_of_unknown(models),
        *_of_networks(models, figure),
        *_of_bounds(models, comparison.entries, figure),
        *_of_compressors(models, comparison.entries),
    ]


def _value(entry: ComparisonRow, figure: Figure) -> float:
    spread = entry.spread(figure)
    assert spread is not None  # noqa: S101 - every model has either figure
    return spread.median


def _shown(entry: ComparisonRow, figure: Figure) -> str:
    return number(_value(entry, figure), METRICS[figure].form)


def _named(figure: Figure) -> str:
    return figure.replace("_", " ")


def _winner(models: list[ComparisonRow], figure: Figure) -> list[str]:
    best, *others = models
    if not others:
        return [f"{best.label} is the only model: {_named(figure)} {_shown(best, figure)}."]
    second = others[0]
    level = [e for e in models if math.isclose(_value(e, figure), _value(best, figure), rel_tol=1e-12)]
    if len(level) > 1:
        return [f"{_listed(e.label for e in level)} share the first place: {_named(figure)} {_shown(best, figure)}."]
    less = 1 - _value(best, figure) / _value(second, figure)
    won = (
        f"{best.label} wins: {_named(figure)} {_shown(best, figure)} against {_shown(second, figure)} of "
        f"{second.label}, {less:.1%} less."
    )
    return [won, *_chance(best, second, figure)]


def _of_unknown(models: list[ComparisonRow]) -> list[str]:
    """A token that is scored as `<unk>` is not spelt out: that is no fairer than it is equal for all."""
    shares = {e.label: max(m.unknown / m.tokens for m in e.measured if m.tokens) for e in models}
    if min(shares.values()) == max(shares.values()):
        return []
    worst = max(shares, key=lambda label: shares[label])
    return [
        f"Not fair to all: {worst} scored {shares[worst]:.1%} of its tokens as <unk>, "
        "which costs less than to spell them; a model at level byte or char knows all or most."
    ]


def _chance(best: ComparisonRow, second: ComparisonRow, figure: Figure) -> list[str]:
    """Whether the difference of two entries could be one of seeds."""
    alone = [e.label for e in (best, second) if e.kind == "network" and len(e.measured) == 1]
    if alone:
        return [f"One seed of {_listed(alone)}: more seeds would tell how much of the difference is chance."]
    if best.kind == second.kind == "counts":
        return []
    a, b = best.spread(figure), second.spread(figure)
    assert a is not None  # noqa: S101 - every model has either figure
    assert b is not None  # noqa: S101 - as above
    if b.minimum <= a.maximum:
        return [f"That is within the spread over seeds: {best.label} and {second.label} may be equally good."]
    return ["That is more than the spread over seeds."]


def _of_networks(models: list[ComparisonRow], figure: Figure) -> list[str]:
    """Networks against the best n-gram, where it is not already said by who wins."""
    networks = [e for e in models if e.kind == "network"]
    ngram = next((e for e in models if e.kind == "counts"), None)
    if ngram is None or not networks:
        return []
    losers = [e.label for e in networks if _value(e, figure) >= _value(ngram, figure)]
    if not losers:
        return [f"Every network beats the best n-gram, {ngram.label}." if len(networks) > 1 else
                f"The network beats the best n-gram, {ngram.label}."]  # fmt: skip
    if len(losers) == len(networks) > 1:
        return [f"No network beats the best n-gram, {ngram.label}."]
    return [f"{_listed(losers)} {_verb(losers, 'loses', 'lose')} to the best n-gram, {ngram.label}."]


def _of_bounds(models: list[ComparisonRow], entries: Iterable[ComparisonRow], figure: Figure) -> list[str]:
    bounds = [e for e in entries if e.kind == "bound"]
    found = []
    for bound in bounds:
        worse = [e.label for e in models if _value(e, figure) >= _value(bound, figure)]
        if worse:
            found.append(f"{_listed(worse)} {_verb(worse, 'is', 'are')} no better than {bound.label}: do not use that.")
    return found[:1]


def _of_compressors(models: list[ComparisonRow], entries: Iterable[ComparisonRow]) -> list[str]:
    best = next((e for e in entries if e.kind == "compressor"), None)
    if best is None:
        return []
    figure = f"{best.label} with {_bits(best):.3f} bits per character"
    losers = [e.label for e in models if _bits(e) >= _bits(best)]
    if len(losers) == len(models):
        return [f"No model beats the best compressor, {figure}; the best model has {_bits(models[0]):.3f}."]
    if losers:
        return [f"{_listed(losers)} {_verb(losers, 'does', 'do')} not beat the best compressor, {figure}."]
    return [f"The best compressor, {figure}, is beaten by every model; the best has {_bits(models[0]):.3f}."]


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _verb(names: list[str], one: str, several: str) -> str:
    return one if len(names) == 1 else several
