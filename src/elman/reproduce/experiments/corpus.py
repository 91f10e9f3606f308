"""The words of a book: which are the most frequent, and how their frequencies fall (Zipf 1949).

log n_i = c - alpha log i        n_i times, rank i by falling times; fitted to ranks 10 to 1000
"""

from typing import Any

import numpy as np

import elman
from elman.reproduce.experiment import Chart, Experiment, Figure, Line, Result, Runner

PRINTED = {
    1: "the 2261, i 1267, and 1245, of 1155, a 816, to 695, was 552, in 541, that 443, my 440",
    2: "of the 309, in the 169, i had 130",
    3: "the time traveller 59, the time machine 30, the medical man 24",
}
"""The most frequent, as the textbook prints them."""
NAMES = ("words", "pairs", "triples")
MOST = 10
POINTS = 200
Counted = list[dict[str, Any]]


def read(level: str, limit: int | None, clean: str = "letters") -> elman.Corpus:
    """The whole book as letters and blanks."""
    return elman.read_corpus(
        ["time-machine"], level=level, clean=clean, limit=limit, held_out=0, min_count=1, unknown=False
    )


def count(level: str, limit: int | None = None) -> Counted:
    """Single tokens, pairs and triples: how many, how rare, by which law."""
    corpus = read(level, limit)
    return [_told(found) for found in elman.ngram_frequencies(corpus.train.ids, corpus.vocab, order=3, top=MOST)]


def _told(found: Any) -> dict[str, Any]:
    ranks, rare = np.unique(np.geomspace(1, found.types, POINTS).round().astype(int)), found.singleton_stats
    return {
        "top": [[" ".join(tokens), times] for tokens, times in found.top],
        "types": found.types,
        "once": found.singletons / found.types,
        "share": found.types / found.possible,
        "alpha": found.power_law.alpha if found.power_law else 0.0,
        "laplace": rare.laplace / rare.observed if rare and rare.observed else 0.0,
        "ranks": ranks.tolist(),
        "times": found.times[ranks - 1].tolist(),
    }


def run(lab: Runner) -> Result:
    """The book as words, and as characters."""
    limit = lab.choose(None, 2000)
    words, characters = (lab.trial(count, level=level, limit=limit) for level in ("word", "char"))
    return Result(
        figures=(*_tokens(limit), *(row for n in PRINTED for row in _rows(n, words)), *_tails(words, characters)),
        charts=(_chart(words),),
        lessons=_lessons(words, characters),
    )


def _tokens(limit: int | None) -> list[Figure]:
    """How long the book is, as the textbook reads it and as it is."""
    theirs, ours = (len(read("char", limit, clean).train.ids) for clean in ("reference-letters", "letters"))
    return [
        Figure(what="characters, as the textbook cleans them", published=170_580, measured=(theirs,), form=",.0f"),
        Figure(
            what="characters, with the blank between two lines kept",
            measured=(ours,),
            form=",.0f",
            note="the textbook glues the last word of a line to the first of the next",
        ),
    ]


def _rows(n: int, found: Counted) -> list[Figure]:
    """What a length of n-grams has that the source speaks of."""
    printed = [row.rsplit(" ", 1) for row in PRINTED[n].split(", ")]
    top, one = dict(found[n - 1]["top"]), found[n - 1]
    what = NAMES[n - 1]
    first = n == 1
    return [
        Figure(
            what=f"of {len(printed)} printed {what}, how many occur as often here",
            published=len(printed),
            measured=(sum(top.get(tokens) == int(times) for tokens, times in printed),),
            form=".0f",
        ),
        Figure(
            what=f"{what}, exponent of Zipf's law",
            published=1.0 if first else found[0]["alpha"],
            claim="equals" if first else "at most",
            tolerance=0.1 if first else 0.0,
            measured=(one["alpha"],),
            headline=first,
            note="the law's own" if first else "claimed to be smaller than that of words",
        ),
        Figure(what=f"{what}, share of the different ones that occur once", measured=(one["once"],), form=".2f"),
    ]


def _tails(words: Counted, characters: Counted) -> list[Figure]:
    """The claim that additive smoothing over-estimates what is rare."""
    return [
        Figure(
            what=f"{name} seen once in the first half: times that Laplace expects / times in the second half",
            published=1.0,
            claim="at least",
            measured=(found["laplace"],),
            form=".2f",
        )
        for name, found in zip((*NAMES, "pairs of characters"), (*words, characters[1]), strict=True)
    ]


def _chart(found: Counted) -> Chart:
    return Chart(
        name="zipf",
        title="How often words, pairs and triples occur, by rank: nearly straight lines on logarithmic axes",
        x="rank",
        y="times",
        log="xy",
        lines=[
            Line(label=f"{name}, alpha {one['alpha']:.2f}", x=one["ranks"], y=one["times"])
            for name, one in zip(NAMES, found, strict=True)
        ],
    )


def _lessons(words: Counted, characters: Counted) -> tuple[str, ...]:
    return (
        f"Language has structure: of all pairs that {words[0]['types']:,} words could make, {words[1]['share']:.2%} "
        f"occur, of all triples {words[2]['share']:.1e}.",
        f"Most of what occurs is rare: {words[0]['once']:.0%} of the words, {words[1]['once']:.0%} of the pairs and "
        f"{words[2]['once']:.0%} of the triples occur once. Who only counts knows nearly nothing of them.",
        f"Additive smoothing expects words that occurred once {words[0]['laplace']:.1f} times as often as they return, "
        f"pairs {words[1]['laplace']:.1f} and triples {words[2]['laplace']:.1f} times. Of pairs of characters the "
        f"claim does not hold ({characters[1]['laplace']:.2f}): an alphabet has no long tail.",
    )


EXPERIMENT = Experiment(
    name="corpus",
    title="the words of a book, and Zipf's law",
    source="d2l.ai 8.2 and 8.3 (edition 0.17): counts as printed, claims as written",
    minutes=0.1,
    run=run,
)
