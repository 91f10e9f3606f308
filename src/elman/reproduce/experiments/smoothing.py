"""Counts made into probabilities: the lecture's smoothing, its limits, and where it fails.

P(x)       = (n(x) + eps/m) / (n + eps)                       m symbols, n tokens
P(w | c)   = (n(c w) + eps P(w)) / (n(c) + eps)               c one token, two, ...
"""

from collections import Counter

import numpy as np
import numpy.typing as npt

import elman
from elman.reproduce.experiment import Chart, Experiment, Figure, Line, Result, Runner

LEARNT, SCORED = 10_000, 5_000
ORDERS = (1, 2, 3, 4, 5, 6)
WAYS = {
    "additive, eps 1": ("laplace", 1.0),
    "additive, each context backs off to the next": ("laplace-recursive", 1.0),
    "Witten-Bell": ("witten-bell", 0.0),
    "modified Kneser-Ney": ("kneser-ney", 0.0),
}
BEFORE = {("laplace", 2): 9.64, ("laplace", 3): 6.76, ("witten-bell", 3): 6.49, ("witten-bell", 4): 5.37}
"""What another program of these formulas measured on the same split."""
LONGEST = 12


def split(limit: int | None) -> elman.Corpus:
    """The textbook's split: 10,000 letters and blanks to count, 5,000 to predict."""
    learnt, scored = (LEARNT, SCORED) if limit is None else (limit, limit // 2)
    return elman.read_corpus(["time-machine"], clean="letters", limit=learnt + scored, held_out=scored)


def perplexities(smoothing: str, eps: float, limit: int | None = None) -> list[float]:
    """Of the held-out text, by n-grams of each order."""
    corpus = split(limit)
    task, scored = elman.TextTask.of(corpus), corpus.parts[-1]
    return [
        elman.evaluate(
            elman.NGram.fit(task, corpus.train.ids, order=n, smoothing=smoothing, eps=eps), scored, streams=1
        ).perplexity
        for n in ORDERS
    ]


def limits(limit: int | None = None) -> dict[str, float]:
    """How far bigrams without smoothing are from n(c w) / n(c), and bigrams with nothing else from 1/m."""
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
    """What a bigram expects after a token, (V,)."""
    expected: npt.NDArray[np.float64] = elman.predict_ahead(model, np.array([token]), 1)[0]
    return expected


def unseen(level: str, limit: int | None = None) -> list[float]:
    """The share of n-grams of the end of the book that the nine tenths before do not hold, n = 1, 2, ..."""
    corpus = elman.read_corpus(["time-machine"], level=level, clean="letters", limit=limit, held_out=0.1, min_count=1)
    learnt, scored = (part.ids.tolist() for part in corpus.parts)
    return [_missing(learnt, scored, n) for n in range(1, LONGEST + 1)]


def _missing(learnt: list[int], scored: list[int], n: int) -> float:
    known = set(zip(*(learnt[i:] for i in range(n)), strict=False))
    asked = list(zip(*(scored[i:] for i in range(n)), strict=False))
    return sum(gram not in known for gram in asked) / len(asked)


def run(lab: Runner) -> Result:
    """No seed changes a count."""
    limit = lab.choose(None, 1000)
    found = {name: lab.trial(perplexities, smoothing=s, eps=e, limit=limit) for name, (s, e) in WAYS.items()}
    apart = lab.trial(limits, limit=limit)
    new = {level: lab.trial(unseen, level=level, limit=limit) for level in ("char", "word")}
    return Result(
        figures=(*_limits(apart), *_perplexities(found), *_unseen(new)),
        charts=(_by_order(found), _by_length(new)),
        lessons=_lessons(found, new),
    )


def _limits(apart: dict[str, float]) -> list[Figure]:
    told = {"none": "eps 0, largest distance from n(c w) / n(c)", "much": "eps 1e12, largest distance from 1/m"}
    return [
        Figure(what=told[name], published=0.0, measured=(far,), tolerance=1e-6, form=".1e")
        for name, far in apart.items()
    ]


def _perplexities(found: dict[str, list[float]]) -> list[Figure]:
    """Held-out perplexity, and the claim that additive smoothing fails."""
    rows = [
        Figure(
            what=f"{name}: {n}-gram, held-out perplexity",
            published=BEFORE[WAYS[name][0], n],
            tolerance=0.1,
            measured=(found[name][n - 1],),
            better="lower",
            form=".2f",
            note="published: another program of the same formulas",
        )
        for name in found
        for n in ORDERS
        if (WAYS[name][0], n) in BEFORE
    ]
    additive, best = found["additive, eps 1"], min(found["modified Kneser-Ney"])
    return [
        *rows,
        Figure(
            what="the best additive n-gram / the best Kneser-Ney n-gram, held-out perplexity",
            published=1.0,
            claim="at least",
            measured=(min(additive) / best,),
            form=".2f",
            headline=True,
        ),
        Figure(
            what="additive: 6-gram / trigram, held-out perplexity",
            published=1.0,
            claim="at least",
            measured=(additive[5] / additive[2],),
            form=".2f",
            note="a longer context should help; counts that are too thin do not",
        ),
    ]


def _unseen(new: dict[str, list[float]]) -> list[Figure]:
    """The claim that long sequences are nearly always new."""
    return [
        Figure(
            what=f"share of held-out {n}-grams of {what} that were never seen",
            published=0.5,
            claim="at least",
            measured=(new[level][n - 1],),
            form=".2f",
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
        lines=[Line(label=name, x=ORDERS, y=values) for name, values in found.items()],
    )


def _by_length(new: dict[str, list[float]]) -> Chart:
    lengths = range(1, LONGEST + 1)
    return Chart(
        name="unseen",
        title="The share of held-out n-grams that the training text does not hold, by their length",
        x="n",
        y="never seen",
        lines=[Line(label=f"{level}s", x=lengths, y=values) for level, values in new.items()],
    )


def _lessons(found: dict[str, list[float]], new: dict[str, list[float]]) -> tuple[str, ...]:
    additive, recursive, _, kneser_ney = found.values()
    best = int(np.argmin(additive)) + 1
    return (
        f"Additive smoothing is best with {best}-grams ({min(additive):.2f}) and worse with longer ones, whether a "
        f"context hands what it takes to the unigram or to the next shorter one ({additive[-1]:.2f} and "
        f"{recursive[-1]:.2f} with {ORDERS[-1]}-grams): one number for every context takes too much from some and too "
        f"little from others. Kneser-Ney has {min(kneser_ney):.2f}.",
        f"Of the held-out triples of words {new['word'][2]:.0%} were never seen in nine tenths of the book, of five "
        f"words in a row {new['word'][4]:.0%}: what long sequences are worth cannot be counted, it has to be composed. "
        "That is what a network with a state is for.",
    )


EXPERIMENT = Experiment(
    name="smoothing",
    title="counts made into probabilities, and where additive smoothing fails",
    source="d2l.ai 8.3.1 (edition 0.17): formulas and claims; it prints no figures",
    minutes=0.1,
    run=run,
)
