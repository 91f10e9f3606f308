"""What the figures mean, in words: the sentences under the table."""

from collections.abc import Mapping, Sequence

MEMORISING = 1.5  # held-out over training perplexity from which on it is said

DIVERGED = 2.0  # last over lowest training perplexity from which on a late rise is called that


def verdict(
    *,
    train: float,
    held_out: float | None,
    bounds: Mapping[str, float],
    curve: Sequence[float],
    training_curve: Sequence[float],
    rates: Sequence[float] = (),
    xz: float | None = None,
) -> list[str]:
    """Sentences about a finished run, the most serious first.

    Args:
        train: perplexity on the training text, one state carried.
        held_out: the same on the held-out text, if there is one.
        bounds: the perplexities to compare with (uniform, unigram, ...), on the held-out text if there is one.
        curve: held-out perplexity of each report.
        training_curve: training perplexity of each report.
        rates: learning rate at each report.
        xz: the perplexity of the compressor on the held-out text, after the training text.
    """
    found = [
        *_diverged(training_curve),
        *_against_bounds(held_out if held_out is not None else train, bounds, held_out is not None),
        *_against_xz(held_out, xz),
        *_memorising(train, held_out),
        *_course(curve),
        *_bounce(training_curve, rates),
    ]
    if held_out is None:
        found.append("No held-out text: these figures cannot tell learning from memorising.")
    return found


def _against_bounds(figure: float, bounds: Mapping[str, float], is_held_out: bool) -> list[str]:
    where = "held-out text" if is_held_out else "training text"
    lost = [name for name, bound in bounds.items() if figure >= bound]
    if set(lost) & {"uniform", "unigram"}:
        named = " and ".join(f"{name} ({bounds[name]:.2f})" for name in lost)
        return [f"Worse than {named} on {where}: do not use this model."]
    if lost:
        return [
            f"The {lost[0]} wins on {where}: perplexity {bounds[lost[0]]:.2f} against {figure:.2f}. "
            "It is saved in the run as ngram. --experts 8 trains a network that weighs the n-gram and corrects it, as "
            "elman train does where no network is asked for."
        ]
    best = min(bounds, key=lambda name: bounds[name])
    return [f"Better than {best} on {where}: perplexity {figure:.2f} against {bounds[best]:.2f}."]


def _against_xz(held_out: float | None, xz: float | None) -> list[str]:
    if held_out is None or xz is None or held_out < xz:
        return []
    return [
        f"xz -9e wins on held-out text: perplexity {xz:.2f} against {held_out:.2f}. Long passages return in it, which "
        "a compressor copies; it learns as it reads, as elman evaluate --protocol dynamic lets this model do."
    ]


def _memorising(train: float, held_out: float | None) -> list[str]:
    if held_out is None or held_out < MEMORISING * train:
        return []
    return [
        f"Memorising: {train:.2f} on the training text, {held_out:.2f} on text it has not seen; "
        "more text, dropout, a smaller network or a shorter run would help."
    ]


def _course(curve: Sequence[float]) -> list[str]:
    """What the held-out curve did: still falling at the end, or lowest in the middle."""
    if len(curve) < 4:
        return []
    best = min(range(len(curve)), key=curve.__getitem__)
    if curve[-1] > 1.03 * curve[best]:
        return [
            f"Held-out perplexity was lowest ({curve[best]:.2f}) after {(best + 1) / len(curve):.0%} of the run "
            f"and rose to {curve[-1]:.2f}."
        ]
    if best == len(curve) - 1 and curve[-1] < 0.98 * curve[-1 - len(curve) // 4]:
        return ["Still falling when the run ended: a longer one would do better."]
    return []


def _diverged(curve: Sequence[float]) -> list[str]:
    if len(curve) < 2 or curve[-1] < DIVERGED * min(curve):
        return []
    return [f"Diverged: training perplexity rose from {min(curve):.2f} to {curve[-1]:.2f}; lower the learning rate."]


def _bounce(curve: Sequence[float], rates: Sequence[float]) -> list[str]:
    """Training perplexity that rises late, while the steps are still large, is no over-fitting (S69)."""
    large = not rates or rates[-1] > max(rates) / 2
    if len(curve) < 4 or not large or not 1.02 * min(curve) < curve[-1] < DIVERGED * min(curve):
        return []
    return [
        f"Training perplexity itself rose from {min(curve):.2f} to {curve[-1]:.2f}: "
        "the learning rate is too high for the end of the run; use a schedule or a smaller rate."
    ]
