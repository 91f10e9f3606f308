"""What a table of models on the same held-out text means."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from elman.inference.findings.base import Finding, listed, verb
from elman.inference.findings.run import nothing_to_predict
from elman.inference.metrics import METRICS
from elman.inference.spreads import SeedRange, number

EQUAL = 1e-12
"""The relative difference of two medians under which they share a place."""


class Competitor(NamedTuple):
    """A row of the table.

    Args:
        label: what the table calls it.
        is_network: whether it was trained rather than counted.
        seeds: the figure that is compared, over seeds.
        seed_count: how many seeds.
        bits: bits per character, the median over seeds.
        unknown: the share of its tokens that were scored as `<unk>`.
    """

    label: str
    is_network: bool
    seeds: SeedRange
    seed_count: int
    bits: float
    unknown: float = 0.0


def of_comparison(
    models: Sequence[Competitor], bounds: Sequence[Competitor], compressors: Sequence[tuple[str, float]], figure: str
) -> list[Finding]:
    """Findings about a comparison: who has the lowest figure, by how much, and what else the table shows.

    Args:
        models: the best first.
        bounds: uniform and unigram, the best first.
        compressors: names and bits per character, the best first.
        figure: the metric that is compared, of which lower values are better.
    """
    if not models:
        return [Finding("no-model", "problem", "No model was measured.")]
    if certain := nothing_to_predict({bound.label: 2**bound.bits for bound in bounds}):
        return certain
    return [
        *winner(models, figure),
        *unknown_tokens(models),
        *networks_and_ngram(models),
        *no_better_than_bound(models, bounds),
        *against_compressor(models, compressors),
    ]


def winner(models: Sequence[Competitor], figure: str) -> list[Finding]:
    """The model with the lowest median, and how much lower than the next; models within 1e-12 share the first place.

    Args:
        models: at least one, the best first.
        figure: the metric that is compared.
    """
    best, *others = models
    metric = METRICS[figure]
    shown = number(best.seeds.median, metric.form)
    figures = {model.label: model.seeds.median for model in models[:2]}
    if not others:
        return [Finding("winner", "note", f"{best.label} is the only model: {metric.words} {shown}.", figures)]
    second = others[0]
    equal = [m for m in models if math.isclose(m.seeds.median, best.seeds.median, rel_tol=EQUAL)]
    if len(equal) > 1:
        sentence = f"{listed(m.label for m in equal)} share the first place: {metric.words} {shown}."
        return [Finding("winner", "note", sentence, figures)]
    less = 1 - best.seeds.median / second.seeds.median
    sentence = (
        f"{best.label} wins: {metric.words} {shown} against {number(second.seeds.median, metric.form)} of "
        f"{second.label}, {less:.1%} less."
    )
    return [Finding("winner", "note", sentence, figures), *spread_over_seeds(best, second)]


def spread_over_seeds(best: Competitor, second: Competitor) -> list[Finding]:
    """Whether the ranges over seeds of the first two overlap, touching included; counts have no seeds.

    Args:
        best: the one with the lower median.
        second: the next.
    """
    alone = [m.label for m in (best, second) if m.is_network and m.seed_count == 1]
    if alone:
        sentence = (
            f"{listed(alone)} {verb(alone, 'was', 'were')} trained with one seed: "
            "more seeds would show how much of the difference is chance."
        )
        return [Finding("seeds", "warning", sentence, {"seeds": 1})]
    if not best.is_network and not second.is_network:
        return []
    figures = {"best_highest": best.seeds.maximum, "second_lowest": second.seeds.minimum}
    if second.seeds.minimum <= best.seeds.maximum:
        sentence = f"That is within the spread over seeds: {best.label} and {second.label} may be equally good."
        return [Finding("seeds", "warning", sentence, figures)]
    return [Finding("seeds", "note", "That is more than the spread over seeds.", figures)]


def unknown_tokens(models: Sequence[Competitor]) -> list[Finding]:
    """The shares of tokens that were scored as `<unk>` are not equal."""
    shares = {model.label: model.unknown for model in models}
    if min(shares.values()) == max(shares.values()):
        return []
    worst = max(shares, key=lambda label: shares[label])
    sentence = (
        f"The comparison is not fair: {worst} scored {shares[worst]:.1%} of its tokens as <unk>, which costs "
        "fewer bits than to spell them; models of bytes have no unknown tokens, and models of characters have few."
    )
    return [Finding("unknown-tokens", "warning", sentence, shares)]


def networks_and_ngram(models: Sequence[Competitor]) -> list[Finding]:
    """Networks whose median is not under that of the best counted model."""
    networks = [m for m in models if m.is_network]
    ngram = next((m for m in models if not m.is_network), None)
    if ngram is None or not networks:
        return []
    losers = [m.label for m in networks if m.seeds.median >= ngram.seeds.median]
    figures = {m.label: m.seeds.median for m in (*networks, ngram)}
    if not losers:
        subject = "Every network beats" if len(networks) > 1 else "The network beats"
        return [Finding("ngram", "note", f"{subject} the best n-gram, {ngram.label}.", figures)]
    if len(losers) == len(networks) > 1:
        return [Finding("ngram", "warning", f"No network beats the best n-gram, {ngram.label}.", figures)]
    sentence = f"{listed(losers)} {verb(losers, 'is', 'are')} worse than the best n-gram, {ngram.label}."
    return [Finding("ngram", "warning", sentence, figures)]


def no_better_than_bound(models: Sequence[Competitor], bounds: Sequence[Competitor]) -> list[Finding]:
    """Models whose median is not under that of a bound; of several bounds, the best is named.

    Args:
        models: the best first.
        bounds: the best first.
    """
    for bound in bounds:
        worse = [m.label for m in models if m.seeds.median >= bound.seeds.median]
        if worse:
            sentence = (
                f"{listed(worse)} {verb(worse, 'is', 'are')} no better than {bound.label}: "
                f"do not use {verb(worse, 'it', 'them')}."
            )
            return [Finding("bounds", "problem", sentence, {bound.label: bound.seeds.median})]
    return []


def against_compressor(models: Sequence[Competitor], compressors: Sequence[tuple[str, float]]) -> list[Finding]:
    """Models whose bits per character are not under those of the best compressor.

    Args:
        models: the best first.
        compressors: names and bits per character, the best first.
    """
    if not compressors:
        return []
    name, bits = compressors[0]
    given = name.replace(" after training", ", given the training text first,")
    rival = f"the best compressor: {given} needs {bits:.3f} bits per character"
    losers = [m.label for m in models if m.bits >= bits]
    figures = {name: bits, models[0].label: models[0].bits}
    if len(losers) == len(models):
        sentence = f"No model beats {rival}, the best model {models[0].bits:.3f}."
        return [Finding("compressor", "warning", sentence, figures)]
    if losers:
        sentence = f"{listed(losers)} {verb(losers, 'does', 'do')} not beat {rival}."
        return [Finding("compressor", "warning", sentence, figures)]
    sentence = f"Every model beats {rival}, the best model {models[0].bits:.3f}."
    return [Finding("compressor", "note", sentence, figures)]
