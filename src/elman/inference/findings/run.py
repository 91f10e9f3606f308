"""What the figures of a finished training mean."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from elman.inference.findings.base import Finding, listed
from elman.inference.metrics import METRICS
from elman.inference.significance import LEVEL

MEMORISING = 1.5
"""Held-out over training perplexity."""
DIVERGED = 2.0
"""Last over lowest training perplexity."""
ROSE = 1.03
"""Last over lowest held-out perplexity."""
FELL = 0.98
"""Last held-out perplexity over that of a quarter of the run before."""
RISING = 1.02
"""Last over lowest training perplexity, under `DIVERGED`."""
CURVE = 4
"""Reports below which the course of a curve is not judged."""


def of_run(
    *,
    train: float,
    held_out: float | None,
    bounds: Mapping[str, float],
    curve: Sequence[float],
    training_curve: Sequence[float],
    rates: Sequence[float] = (),
    p_values: Mapping[str, float | None] | None = None,
    bits: float | None = None,
    xz: float | None = None,
    xz_p_value: float | None = None,
    symbols: int | None = None,
) -> list[Finding]:
    """Findings about a finished run, the most serious first.

    Args:
        train: perplexity on the training text, one state carried.
        held_out: the same on the held-out text, if there is one.
        bounds: the perplexities to compare with (uniform, unigram, ...), on the held-out text if there is one.
        curve: held-out perplexity of each report.
        training_curve: training perplexity of each report.
        rates: learning rate at each report.
        p_values: of the difference to each bound, as for `against_bounds`.
        bits: bits per character of the held-out text.
        xz: those of the compressor, after the training text.
        xz_p_value: of the difference between them, as for `against_xz`.
        symbols: as for `nothing_to_predict`.
    """
    if certain := nothing_to_predict(symbols):
        return [*diverged(training_curve), *certain, *no_held_out(held_out)]
    return [
        *diverged(training_curve),
        *against_bounds(
            held_out if held_out is not None else train, bounds, p_values, is_held_out=held_out is not None
        ),
        *against_xz(bits, xz, xz_p_value),
        *memorising(train, held_out),
        *course(curve),
        *late_rise(training_curve, rates),
        *no_held_out(held_out),
    ]


def diverged(curve: Sequence[float]) -> list[Finding]:
    """Training perplexity ends at twice its lowest value, or more."""
    if len(curve) < 2 or curve[-1] < DIVERGED * min(curve):
        return []
    sentence = f"Diverged: training perplexity rose from {min(curve):.2f} to {curve[-1]:.2f}; lower the learning rate."
    return [Finding("diverged", "problem", sentence, {"lowest": min(curve), "last": curve[-1]})]


def against_bounds(
    figure: float,
    bounds: Mapping[str, float],
    p_values: Mapping[str, float | None] | None = None,
    *,
    is_held_out: bool,
) -> list[Finding]:
    """Perplexity at or over a bound: not under uniform or unigram, a problem; not under the n-gram, a warning.

    Whoever has the lower perplexity is called better, and the other worse, where the difference is more than chance.

    Args:
        figure: the perplexity of the model.
        bounds: those to compare with, by name.
        p_values: of the difference to each, None where the text is too short for a test; without them, as for the
            training text, figures are taken as they are.
        is_held_out: whether all are of the held-out text rather than of the training text.
    """
    where = "held-out text" if is_held_out else "training text"
    lost = _lost_to(figure, bounds, p_values, "bounds", where=where, model="network", use="do not use this model")
    if lost is not None and lost.severity == "warning":
        more = (
            " It is saved in the folder ngram of the run. --ngram-experts 8 trains a network that uses the predictions "
            "of an n-gram and corrects them; elman train does this when no setting of the network is given."
        )
        return [replace(lost, sentence=lost.sentence + more)]
    if lost is not None:
        return [lost]
    figures = {"model": figure, **bounds}
    equal = [name for name, bound in bounds.items() if not above(bound, figure, "perplexity")]
    if equal:
        sentence = f"As good as {equal[0]} on {where}: perplexity {figure:.2f}."
        return [Finding("bounds", "note", sentence, figures)]
    best = min(bounds, key=lambda name: bounds[name])
    if doubt := _doubt(p_values, best):
        sentence = f"Lower perplexity than {best} on {where}, {figure:.2f} against {bounds[best]:.2f}; {doubt}."
    else:
        sentence = f"Better than {best} on {where}: perplexity {figure:.2f} against {bounds[best]:.2f}."
    return [Finding("bounds", "note", sentence, figures)]


def _lost_to(
    figure: float,
    bounds: Mapping[str, float],
    p_values: Mapping[str, float | None] | None,
    rule: str,
    *,
    where: str,
    model: str,
    use: str,
    of_training: str = "",
) -> Finding | None:
    """A perplexity that is not under uniform or unigram, or is over that of an n-gram; None where it is under all.

    Args:
        figure: the perplexity.
        bounds: those of the bounds, by name.
        p_values: as for `against_bounds`.
        rule: the name of the rule.
        where: the text.
        model: what the sentence calls what is judged.
        use: what to do where it is no better than uniform or unigram.
        of_training: added to the name of an n-gram.
    """
    lost = [name for name, bound in bounds.items() if not above(bound, figure, "perplexity")]
    over = [name for name in lost if above(figure, bounds[name], "perplexity")]
    figures = {"model": figure, **bounds}
    if set(lost) & {"uniform", "unigram"}:
        worse = [name for name in over if not _doubt(p_values, name)]
        return Finding(rule, "problem", f"{_no_better(figure, bounds, lost, worse, where)}; {use}.", figures)
    if not over:
        return None
    name, values = f"The {over[0]}{of_training}", f"{bounds[over[0]]:.2f} against {figure:.2f} of the {model}"
    if doubt := _doubt(p_values, over[0]):
        return Finding(rule, "note", f"{name} has the lower perplexity on {where}, {values}; {doubt}.", figures)
    return Finding(rule, "warning", f"{name} is better on {where}: perplexity {values}.", figures)


def _doubt(p_values: Mapping[str, float | None] | None, name: str) -> str:
    """Why a difference may be chance, as a clause; empty where it is more than that."""
    if p_values is None:
        return ""
    p_value = p_values.get(name)
    if p_value is None:
        return "the text is too short to tell that from chance"
    return f"that may be chance (p = {p_value:.2f})" if p_value >= LEVEL else ""


def against_xz(bits: float | None, xz: float | None, p_value: float | None) -> list[Finding]:
    """Bits per character of held-out text over those of xz -9e after the training text, as far as both are printed.

    xz is called better where the difference is more than chance.

    Args:
        bits: of the model on held-out text, if there is any.
        xz: of the compressor, where it was measured.
        p_value: of the difference (`elman.inference.significance.against_total`); None: the text is too short.
    """
    if bits is None or xz is None or not above(bits, xz, "bits_per_character"):
        return []
    figures, values = {"model": bits, "xz": xz}, f"{xz:.3f} bits per character against {bits:.3f} of the network"
    if doubt := _doubt({"xz": p_value}, "xz"):
        return [Finding("xz", "note", f"xz -9e needs fewer bits for the held-out text, {values}; {doubt}.", figures)]
    sentence = (
        f"xz -9e is better on held-out text: {values}. A compressor also learns while it reads; elman evaluate "
        "--protocol dynamic lets this model do the same."
    )
    return [Finding("xz", "warning", sentence, figures)]


def above(figure: float, other: float, metric: str) -> bool:
    """Whether a figure is above another, and is printed as another number.

    Args:
        figure: the value of a metric.
        other: another value of it.
        metric: its name, whose format decides.
    """
    form = METRICS[metric].form
    return figure > other and format(figure, form) != format(other, form)


def memorising(train: float, held_out: float | None) -> list[Finding]:
    """Held-out perplexity of 1.5 times that of the training text, or more.

    Args:
        train: perplexity on the training text.
        held_out: perplexity on held-out text, if there is any.
    """
    if held_out is None or held_out < MEMORISING * train:
        return []
    sentence = (
        f"Over-fitting: perplexity {train:.2f} on the training text and {held_out:.2f} on held-out text; "
        "more text, more dropout, a smaller network or a shorter run would help."
    )
    return [Finding("memorising", "warning", sentence, {"train": train, "held_out": held_out})]


def course(curve: Sequence[float]) -> list[Finding]:
    """The held-out curve ends over 3 % above its lowest value, or at it and still falling.

    Still falling: over 2 % under the value of a quarter of the run before. Of fewer than four reports nothing is said.
    """
    if len(curve) < CURVE:
        return []
    best = min(range(len(curve)), key=curve.__getitem__)
    figures = {"lowest": curve[best], "last": curve[-1]}
    if curve[-1] > ROSE * curve[best]:
        sentence = (
            f"Held-out perplexity was lowest ({curve[best]:.2f}) after {(best + 1) / len(curve):.0%} of the run "
            f"and rose to {curve[-1]:.2f}."
        )
        return [Finding("held-out-rose", "warning", sentence, figures)]
    if best == len(curve) - 1 and curve[-1] < FELL * curve[-1 - len(curve) // 4]:
        sentence = "Held-out perplexity was still falling when the run ended: train longer."
        return [Finding("still-falling", "note", sentence, figures)]
    return []


def late_rise(curve: Sequence[float], rates: Sequence[float]) -> list[Finding]:
    """Training perplexity ends between 1.02 and 2 times its lowest value while the learning rate is still large.

    Large: over half of its highest. That is not over-fitting. Of fewer than four reports nothing is said.

    Args:
        curve: training perplexity of each report.
        rates: learning rate at each report; empty: constant.
    """
    large = not rates or rates[-1] > max(rates) / 2
    if len(curve) < CURVE or not large or not RISING * min(curve) < curve[-1] < DIVERGED * min(curve):
        return []
    sentence = (
        f"Training perplexity itself rose from {min(curve):.2f} to {curve[-1]:.2f}: "
        "the learning rate is too high for the end of the run; use a schedule or a smaller rate."
    )
    return [Finding("training-rose", "warning", sentence, {"lowest": min(curve), "last": curve[-1]})]


def nothing_to_predict(symbols: int | None) -> list[Finding]:
    """The text is one symbol repeated: no model can be better than another.

    Args:
        symbols: how many different ones the training text and the scored text hold; None: not known.
    """
    if symbols != 1:
        return []
    sentence = "The text is one symbol repeated, which leaves nothing to predict: no model is compared with another."
    return [Finding("nothing-to-predict", "note", sentence)]


def against_baselines(
    perplexity: float,
    baselines: Mapping[str, float],
    p_values: Mapping[str, float | None] | None = None,
    symbols: int | None = None,
) -> list[Finding]:
    """Perplexity of a text at or over uniform or unigram, a problem; or else over the n-gram of the training text.

    Args:
        perplexity: of the model on a text that may be of another kind than its training text.
        baselines: the perplexities of the same text by name.
        p_values: as for `against_bounds`.
        symbols: as for `nothing_to_predict`.
    """
    if certain := nothing_to_predict(symbols):
        return certain
    use = "do not use this model for this kind of text"
    lost = _lost_to(
        perplexity,
        baselines,
        p_values,
        "baselines",
        where="this text",
        model="model",
        use=use,
        of_training=" of the training text",
    )
    return [] if lost is None else [lost]


def _no_better(
    figure: float, bounds: Mapping[str, float], lost: Sequence[str], worse: Sequence[str], where: str
) -> str:
    """Which bounds a perplexity is over by more than chance, or else not under."""
    named = worse or lost
    values = listed(f"{bounds[name]:.2f}" for name in named)
    verdict = "Worse than" if worse else "No better than"
    return f"{verdict} {listed(named)} on {where}: perplexity {figure:.2f} against {values}"


def no_held_out(held_out: float | None) -> list[Finding]:
    """Nothing was held out."""
    if held_out is not None:
        return []
    sentence = "No held-out text: training figures alone cannot show over-fitting."
    return [Finding("no-held-out", "warning", sentence)]
