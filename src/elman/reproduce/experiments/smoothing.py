"""Additive smoothing of counts, its limits, and where it fails (Zhang et al. 2021, section 8.3.1).

Zhang et al. 2021: Dive into Deep Learning, edition 0.17.

P(x)       = (n(x) + eps/m) / (n + eps)                       m symbols, n tokens
P(w | c)   = (n(c w) + eps P(w)) / (n(c) + eps)               c one token, two, ...
"""

from collections import Counter

import numpy as np
import numpy.typing as npt

import elman
from elman.reproduce.experiment import PRINTED, ROUNDING, Chart, ChartSeries, Experiment, Measurement, Result, Runner

LEARNT, SCORED = 10_000, 5_000
ORDERS = (1, 2, 3, 4, 5, 6)
WAYS = {
    "additive, eps 1": ("laplace", 1.0),
    "additive, each context backs off to the next": ("laplace-recursive", 1.0),
    "Witten-Bell": ("witten-bell", 0.0),
    "modified Kneser-Ney": ("kneser-ney", 0.0),
}
BEFORE = {
    ("laplace", 2): 9.64,
    ("laplace", 3): 6.76,
    ("witten-bell", 3): 6.49,
    ("witten-bell", 4): 5.37,
    ("witten-bell", 5): 5.45,
}
"""Perplexities of an earlier run of another program with these formulas on the same split; nobody published them."""
LONGEST = 12


def split(limit: int | None) -> elman.Corpus:
    """The split of Zhang et al. 2023: 10,000 letters and blanks for training, 5,000 held out."""
    learnt, scored = (LEARNT, SCORED) if limit is None else (limit, limit // 2)
    return elman.read_corpus(["time-machine"], normalize="letters", limit=learnt + scored, held_out=scored)


def perplexities(smoothing: str, eps: float, limit: int | None = None) -> list[float]:
    """The perplexity of the held-out text under n-grams of each order, read on from the training text.

    Args:
        smoothing: its name, see `elman.NGram.fit`.
        eps: the strength of additive smoothing.
        limit: of training characters; None for all.
    """
    corpus = split(limit)
    task, learnt = elman.TextTask.of(corpus), corpus.train.ids
    whole = np.concatenate([learnt, corpus.parts[-1].ids])
    models = (elman.NGram.fit(task, learnt, order=n, smoothing=smoothing, eps=eps) for n in ORDERS)
    return [float(np.exp(model.surprisals(whole)[len(learnt) :].mean())) for model in models]


def limits(limit: int | None = None) -> dict[str, float]:
    """How far bigrams without smoothing are from n(c w) / n(c), and bigrams with very much of it from 1/m."""
    corpus = split(limit)
    task, ids, m = elman.TextTask.of(corpus), corpus.train.ids, len(corpus.vocab)
    pairs, contexts = Counter(zip(ids[:-1].tolist(), ids[1:].tolist(), strict=True)), Counter(ids[:-1].tolist())
    none, much = (elman.NGram.fit(task, ids, order=2, smoothing="laplace", eps=e) for e in (0.0, 1e12))
    apart = {"none": 0.0, "much": 0.0}
    for c, times in contexts.items():
        counted = np.array([pairs[c, w] / times for w in range(m)])
        apart["none"] = max(apart["none"], float(abs(_next(none, c) - counted).max()))
        apart["much"] = max(apart["much"], float(abs(_next(much, c) - 1 / m).max()))
    return apart


def _next(model: elman.NGram, token: int) -> npt.NDArray[np.float64]:
    """The probabilities after a token under a bigram, (V,)."""
    expected: npt.NDArray[np.float64] = elman.predict_ahead(model, np.array([token]), 1)[0]
    return expected


def unseen(level: str, limit: int | None = None) -> list[float]:
    """The share of the n-grams of the last tenth of the book that do not occur before it, n = 1, 2, ...

    Args:
        level: of the tokens, "char" or "word".
        limit: of the tokens; None for all.
    """
    corpus = elman.read_corpus(
        ["time-machine"], tokens=level, normalize="letters", limit=limit, held_out=0.1, min_count=1
    )
    learnt, scored = (part.ids.tolist() for part in corpus.parts)
    return [_missing(learnt, scored, n) for n in range(1, LONGEST + 1)]


def _missing(learnt: list[int], scored: list[int], n: int) -> float:
    seen = set(zip(*(learnt[i:] for i in range(n)), strict=False))
    grams = list(zip(*(scored[i:] for i in range(n)), strict=False))
    return sum(gram not in seen for gram in grams) / len(grams)


def run(runner: Runner) -> Result:
    """No seed changes a count."""
    limit = runner.choose(None, 1000)
    found = {name: runner.trial(perplexities, smoothing=s, eps=e, limit=limit) for name, (s, e) in WAYS.items()}
    apart = runner.trial(limits, limit=limit)
    new = {level: runner.trial(unseen, level=level, limit=limit) for level in ("char", "word")}
    return Result(
        measurements=(*_limits(apart), *_perplexities(found), *_unseen(new)),
        charts=(_by_order(found), _by_length(new)),
        lessons=_lessons(found, new),
    )


def _limits(apart: dict[str, float]) -> list[Measurement]:
    what = {"none": "eps 0, largest distance from n(c w) / n(c)", "much": "eps 1e12, largest distance from 1/m"}
    return [
        Measurement(
            what=what[name],
            definition=0.0,
            measured=(far,),
            tolerance=1e-6,
            tolerance_from=ROUNDING,
            number_format=".1e",
        )
        for name, far in apart.items()
    ]


def _perplexities(found: dict[str, list[float]]) -> list[Measurement]:
    """Held-out perplexity, and the claim that additive smoothing fails."""
    rows = [
        Measurement(
            what=f"{name}: {n}-gram, held-out perplexity",
            earlier_run=BEFORE[WAYS[name][0], n],
            tolerance=0.005,
            tolerance_from=PRINTED,
            measured=(found[name][n - 1],),
            better="lower",
            number_format=".2f",
        )
        for name in found
        for n in ORDERS
        if (WAYS[name][0], n) in BEFORE
    ]
    additive, best = found["additive, eps 1"], min(found["modified Kneser-Ney"])
    return [
        *rows,
        Measurement(
            what="the best additive n-gram / the best Kneser-Ney n-gram, held-out perplexity",
            published=1.0,
            claim="at least",
            measured=(min(additive) / best,),
            number_format=".2f",
            headline=True,
            note="claimed in words, additive smoothing is unsuitable: read as worse than Kneser-Ney",
        ),
        Measurement(
            what="additive: 6-gram / trigram, held-out perplexity",
            published=1.0,
            claim="at least",
            measured=(additive[5] / additive[2],),
            number_format=".2f",
            note="claimed in words, most n-grams are too rare: read as worse with longer contexts",
        ),
    ]


def _unseen(new: dict[str, list[float]]) -> list[Measurement]:
    """The claim that long sequences are nearly always new."""
    return [
        Measurement(
            what=f"share of held-out {n}-grams of {what} that were never seen",
            published=0.5,
            claim="at least",
            measured=(new[level][n - 1],),
            number_format=".2f",
            note="claimed in words, long sequences are almost always new: read as at least half",
        )
        for level, what, n in (("word", "words", 3), ("char", "characters", 12))
    ]


def _by_order(found: dict[str, list[float]]) -> Chart:
    return Chart(
        name="orders",
        title="Held-out perplexity by the length of n-grams: of these, Kneser-Ney alone keeps falling",
        x="n",
        y="held-out perplexity",
        log="y",
        series=[ChartSeries(label=name, x=ORDERS, y=values) for name, values in found.items()],
    )


def _by_length(new: dict[str, list[float]]) -> Chart:
    lengths = range(1, LONGEST + 1)
    return Chart(
        name="unseen",
        title="The share of held-out n-grams that the training text does not hold, by their length",
        x="n",
        y="never seen",
        series=[ChartSeries(label=f"{level}s", x=lengths, y=values) for level, values in new.items()],
    )


def _lessons(found: dict[str, list[float]], new: dict[str, list[float]]) -> tuple[str, ...]:
    additive, recursive, _, kneser_ney = found.values()
    best = int(np.argmin(additive)) + 1
    return (
        f"Additive smoothing is best with {best}-grams ({min(additive):.2f}) and worse with longer ones, whether a "
        f"context backs off to the unigram or to the next shorter context ({additive[-1]:.2f} and "
        f"{recursive[-1]:.2f} with {ORDERS[-1]}-grams): one number for every context discounts some counts too much "
        f"and others too little. Kneser-Ney has {min(kneser_ney):.2f}.",
        f"Of the held-out triples of words {new['word'][2]:.0%} were never seen in nine tenths of the book, of five "
        f"words in a row {new['word'][4]:.0%}: the probabilities of long sequences cannot be counted. "
        "A network with a state computes them from shorter parts.",
    )


EXPERIMENT = Experiment(
    name="smoothing",
    title="counts made into probabilities, and where additive smoothing fails",
    source=(
        "Zhang et al. 2021 (Dive into Deep Learning, edition 0.17), section 8.3.1: formulas and claims; it "
        "prints no figures"
    ),
    order=90,
    minutes=0.1,
    run=run,
)
