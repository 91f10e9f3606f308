"""What a table of models on the same held-out text means.

A winner is named where it is better than every other model by more than chance (`elman.inference.significance`), where
all networks have two seeds or more, and where all models pay for the same text.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elman.inference.findings.base import Finding, listed, verb
from elman.inference.findings.run import nothing_to_predict
from elman.inference.metrics import METRICS
from elman.inference.significance import BlockCosts, Difference, against_total, differences
from elman.inference.spreads import SeedRange, number


class Competitor(NamedTuple):
    """A row of the table.

    Args:
        label: what the table calls it.
        is_network: whether it was trained rather than counted.
        seeds: the figure that is compared, over seeds.
        seed_count: how many seeds.
        bits: bits per character, the median over seeds.
        characters: of the text that it was scored on.
        blocks: what it cost on each block of that text, (S, Q), a row a seed; None where that is not known.
        bit_blocks: what each block added to the bits per character, (S, Q); None where that is not known.
    """

    label: str
    is_network: bool
    seeds: SeedRange
    seed_count: int
    bits: float
    characters: int = 0
    blocks: npt.NDArray[np.float64] | None = None
    bit_blocks: npt.NDArray[np.float64] | None = None


def of_comparison(
    models: Sequence[Competitor],
    bounds: Sequence[Competitor],
    compressors: Sequence[tuple[str, float]],
    figure: str,
    symbols: int | None = None,
) -> list[Finding]:
    """Findings about a comparison: who has the lowest figure, by how much, and what else the table shows.

    Args:
        models: the best first.
        bounds: uniform and unigram, the best first.
        compressors: names and bits per character, the best first.
        figure: the metric that is compared, of which lower values are better.
        symbols: as for `elman.inference.findings.run.nothing_to_predict`.
    """
    if not models:
        return [Finding("no-model", "problem", "No model was measured.")]
    if certain := nothing_to_predict(symbols):
        return certain
    reason = not_comparable(models)
    if reason:
        return [Finding("winner", "warning", f"No winner is named: {reason}.")]
    return [
        *winner(models, figure),
        *networks_and_ngram(models),
        *no_better_than_bound(models, bounds),
        *against_compressor(models, compressors),
    ]


def not_comparable(models: Sequence[Competitor]) -> str | None:
    """Why the figures of the models are not of the same thing, as a clause; None where they are.

    Args:
        models: at least one.
    """
    shortest, longest = (choose(models, key=lambda m: m.characters) for choose in (min, max))
    if shortest.characters != longest.characters:
        return (
            f"{shortest.label} was scored on {shortest.characters:,} characters of the text and {longest.label} on "
            f"{longest.characters:,}, so they do not pay for the same text"
        )
    return None


def tested_against(reference: Competitor, models: Sequence[Competitor]) -> list[Difference] | None:
    """Each other model against one of them, in their order; None where the costs of blocks are not known.

    Args:
        reference: one of the models.
        models: all that are compared.
    """
    costs = [
        BlockCosts(each.label, each.blocks, each.is_network)
        for each in (reference, *(m for m in models if m is not reference))
        if each.blocks is not None and each.blocks.shape[1]
    ]
    return differences(costs[0], costs[1:]) if len(costs) == len(models) else None


def winner(models: Sequence[Competitor], figure: str) -> list[Finding]:
    """The model with the lowest median, how much lower than the next, and whether that is more than chance.

    Models whose figures are printed alike share the first place.

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
    equal = [m for m in models if number(m.seeds.median, metric.form) == shown]
    if len(equal) > 1:
        sentence = f"{listed(m.label for m in equal)} share the first place: {metric.words} {shown}."
        return [Finding("winner", "note", sentence, figures)]
    less = 1 - best.seeds.median / second.seeds.median
    against = f"{shown} against {number(second.seeds.median, metric.form)} of {second.label}, {less:.1%} less"
    wins, more = more_than_chance(best, models)
    sentence = (
        f"{best.label} wins: {metric.words} {against}."
        if wins
        else f"{best.label} has the lowest {metric.words}: {against}."
    )
    return [Finding("winner", "note", sentence, figures), *more]


def more_than_chance(best: Competitor, models: Sequence[Competitor]) -> tuple[bool, list[Finding]]:
    """Whether the best model is better than every other one by more than chance, and what that is said by.

    Args:
        best: the one with the lowest median.
        models: all that are compared, at least two.
    """
    found = tested_against(best, models)
    if found is None:
        sentence = "The held-out text is too short to test whether that is chance: hold out 512 tokens or more."
        return False, [Finding("chance", "warning", sentence)]
    figures = {each.label: each.p_value for each in found}
    unclear = [each.label for each in found if not (each.is_significant and each.difference > 0)]
    alone = [m.label for m in models if m.is_network and m.seed_count == 1]
    most = max(figures.values())
    several = len(found) > 1
    p = written(most, "<=") + " against each other model" if several else written(most)
    if unclear:
        apart = "" if several else f" ({p})"
        sentence = f"That may be chance: {listed([best.label, *unclear])} may be equally good{apart}."
        return False, [Finding("chance", "warning", sentence, figures), *one_seed(alone)]
    if alone:
        sentence = f"On text like this the difference between these trained models is significant ({p})."
        return False, [Finding("chance", "note", sentence, figures), *one_seed(alone)]
    return True, [Finding("chance", "note", f"That is more than chance ({p}).", figures)]


def one_seed(alone: Sequence[str]) -> list[Finding]:
    """Networks that were trained once, so that the chance of the seed is not known.

    Args:
        alone: their labels.
    """
    if not alone:
        return []
    sentence = (
        f"{listed(alone)} {verb(alone, 'was', 'were')} trained with one seed, so what another seed changes is not "
        "measured: train with 3 seeds or more to know whether the difference is chance."
    )
    return [Finding("seeds", "warning", sentence, {"seeds": 1})]


def written(p_value: float, sign: str = "=") -> str:
    """A p-value as text: two digits, down to 0.001.

    Args:
        p_value: from 0 to 1.
        sign: what stands before it: "=" for one, "<=" for the largest of several.

    Example:
        >>> written(0.0312), written(0.2, "<="), written(1e-7)
        ('p = 0.031', 'p <= 0.2', 'p < 0.001')
    """
    return "p < 0.001" if p_value < 0.001 else f"p {sign} {p_value:.2g}"


def networks_and_ngram(models: Sequence[Competitor]) -> list[Finding]:
    """Networks that are better than the best counted model, worse, or not told from it, each by the test."""
    networks = [m for m in models if m.is_network]
    ngram = next((m for m in models if not m.is_network), None)
    if ngram is None or not networks:
        return []
    found = tested_against(ngram, models)
    if found is None:
        return []
    others = [m for m in models if m is not ngram]
    tested = [each for m, each in zip(others, found, strict=True) if m.is_network]
    better = [each.label for each in tested if each.is_significant and each.difference < 0]
    worse = [each.label for each in tested if each.is_significant and each.difference > 0]
    unclear = [each.label for each in tested if not each.is_significant]
    figures = {m.label: m.seeds.median for m in (*networks, ngram)}
    rival = f"the best n-gram, {ngram.label}"
    end = "." if all(each.seeds_measured for each in tested) else " (by the text alone: one seed)."
    findings = []
    if len(better) == len(networks):
        subject = "Every network beats" if len(networks) > 1 else "The network beats"
        findings.append(Finding("ngram", "note", f"{subject} {rival}{end}", figures))
    elif better:
        findings.append(
            Finding("ngram", "note", f"{listed(better)} {verb(better, 'beats', 'beat')} {rival}{end}", figures)
        )
    if len(worse) == len(networks) > 1:
        findings.append(Finding("ngram", "warning", f"Every network is worse than {rival}{end}", figures))
    elif worse:
        sentence = f"{listed(worse)} {verb(worse, 'is', 'are')} worse than {rival}{end}"
        findings.append(Finding("ngram", "warning", sentence, figures))
    if unclear:
        sentence = f"{listed([*unclear, ngram.label])}, the best n-gram, may be equally good{end}"
        findings.append(Finding("ngram", "warning", sentence, figures))
    return findings


def no_better_than_bound(models: Sequence[Competitor], bounds: Sequence[Competitor]) -> list[Finding]:
    """Models whose median is not under that of a bound, a problem, or is so by chance; of several bounds, the best.

    Args:
        models: the best first.
        bounds: the best first.
    """
    for bound in bounds:
        tested = tested_against(bound, [bound, *models]) or []
        better = [each.label for each in tested if each.is_significant and each.difference < 0]
        lost = [m.label for m in models if m.seeds.median >= bound.seeds.median]
        unclear = [m.label for m in models if m.label not in (*lost, *better)]
        figures = {bound.label: bound.seeds.median}
        findings = []
        if lost:
            sentence = (
                f"{listed(lost)} {verb(lost, 'is', 'are')} no better than {bound.label}: "
                f"do not use {verb(lost, 'it', 'them')}."
            )
            findings.append(Finding("bounds", "problem", sentence, figures))
        if unclear:
            sentence = f"{listed(unclear)} may be no better than {bound.label}: the difference may be chance."
            findings.append(Finding("bounds", "warning", sentence, figures))
        if findings:
            return findings
    return []


def against_compressor(models: Sequence[Competitor], compressors: Sequence[tuple[str, float]]) -> list[Finding]:
    """Models whose bits per character are under those of the best compressor, by more than chance or not, or are not.

    What the compressor needs for each block is not known: `elman.inference.significance.against_total`.

    Args:
        models: the best first.
        compressors: names and bits per character, the best first.
    """
    if not compressors:
        return []
    name, bits = compressors[0]
    given = name.replace(" after training", ", given the training text first,")
    rival = f"the best compressor: {given} needs {bits:.3f} bits per character"
    costs = [
        BlockCosts(m.label, m.bit_blocks, m.is_network)
        for m in models
        if m.bit_blocks is not None and m.bit_blocks.shape[1]
    ]
    tested = against_total(bits, costs) if len(costs) == len(models) else []
    lost = [m.label for m in models if m.bits >= bits]
    won = [each.label for each in tested if each.is_significant and each.difference < 0 and each.label not in lost]
    unclear = [m.label for m in models if m.label not in (*lost, *won)]
    figures = {name: bits, models[0].label: models[0].bits}
    best = f", the best model {models[0].bits:.3f}"
    if len(lost) == len(models):
        return [Finding("compressor", "warning", f"No model beats {rival}{best}.", figures)]
    if len(won) == len(models):
        return [Finding("compressor", "note", f"Every model beats {rival}{best}.", figures)]
    findings = []
    if unclear:
        sentence = f"{listed(unclear)} may be no better than {rival}; the difference may be chance."
        findings.append(Finding("compressor", "warning", sentence, figures))
    if lost:
        sentence = f"{listed(lost)} {verb(lost, 'does', 'do')} not beat {rival}."
        findings.append(Finding("compressor", "warning", sentence, figures))
    return findings
