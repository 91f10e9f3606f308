"""The words of a book: which are the most frequent, and how their frequencies fall (Zipf 1949).

The counts and claims are those of Zhang et al. 2021 (Dive into Deep Learning, edition 0.17, sections 8.2 and 8.3).

log n_i = c - alpha log i        n_i times, rank i by falling times; fitted to ranks 10 to 1000
"""

from typing import Any

import numpy as np

import elman
from elman.reproduce.experiment import PRINTED as PRINTED_DIGITS
from elman.reproduce.experiment import Chart, ChartSeries, Experiment, Measurement, Result, Runner

PRINTED = {
    1: "the 2261, i 1267, and 1245, of 1155, a 816, to 695, was 552, in 541, that 443, my 440",
    2: "of the 309, in the 169, i had 130",
    3: "the time traveller 59, the time machine 30, the medical man 24",
}
"""The most frequent, as Zhang et al. 2021 print them."""
NAMES = ("words", "pairs", "triples")
EARLIER = {"words": (1.04, 0.52), "pairs": (0.69, 0.82), "triples": (0.47, 0.95)}
"""The exponent, and the share that occurs once, of an earlier run of another program: the source prints neither."""
MOST = 10
POINTS = 200
Counted = list[dict[str, Any]]


def read(level: str, limit: int | None, clean: str = "letters") -> elman.Corpus:
    """Read the whole book as letters and blanks.

    Args:
        level: of the tokens, "char" or "word".
        limit: of the tokens; None for all.
        clean: the cleaning of the text.
    """
    return elman.read_corpus(
        ["time-machine"], tokens=level, normalize=clean, limit=limit, held_out=0, min_count=1, unknown=False
    )


def count(level: str, limit: int | None = None) -> Counted:
    """Count single tokens, pairs and triples, and fit Zipf's law to each.

    Args:
        level: of the tokens, "char" or "word".
        limit: of the tokens; None for all.
    """
    corpus = read(level, limit)
    return [_facts(found) for found in elman.ngram_frequencies(corpus.train.ids, corpus.vocab, order=3, top=MOST)]


def _facts(found: Any) -> dict[str, Any]:
    ranks = np.unique(np.geomspace(1, found.types, POINTS).round().astype(int))
    rare = found.singleton_stats
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


def run(runner: Runner) -> Result:
    """The book as words, and as characters."""
    limit = runner.choose(None, 2000)
    words, characters = (runner.trial(count, level=level, limit=limit) for level in ("word", "char"))
    return Result(
        measurements=(*_tokens(limit), *(row for n in PRINTED for row in _rows(n, words)), *_tails(words, characters)),
        charts=(_chart(words),),
        lessons=_lessons(words, characters),
    )


def _tokens(limit: int | None) -> list[Measurement]:
    """The length of the book, as Zhang et al. 2021 read it and with every word boundary."""
    theirs, ours = (len(read("char", limit, clean).train.ids) for clean in ("reference-letters", "letters"))
    return [
        Measurement(
            what="characters, as the textbook cleans them", published=170_580, measured=(theirs,), number_format=",.0f"
        ),
        Measurement(
            what="characters, with the blank between two lines kept",
            measured=(ours,),
            number_format=",.0f",
            note="Zhang et al. 2021 join the last word of a line and the first of the next",
        ),
    ]


def _rows(n: int, found: Counted) -> list[Measurement]:
    """The published counts and claims of one length of n-grams."""
    printed = [row.rsplit(" ", 1) for row in PRINTED[n].split(", ")]
    top, one = dict(found[n - 1]["top"]), found[n - 1]
    what = NAMES[n - 1]
    alpha, once = EARLIER[what]
    smaller = Measurement(
        what=f"{what}, exponent of Zipf's law / that of words",
        published=1.0,
        claim="at most",
        measured=(one["alpha"] / found[0]["alpha"] if found[0]["alpha"] else 0.0,),
        number_format=".2f",
        headline=True,
        note="claimed to be smaller than that of words",
    )
    return [
        Measurement(
            what=f"of {len(printed)} printed {what}, how many occur as often here",
            published=len(printed),
            measured=(sum(top.get(tokens) == int(times) for tokens, times in printed),),
            number_format=".0f",
        ),
        Measurement(
            what=f"{what}, exponent of Zipf's law",
            earlier_run=alpha,
            tolerance=0.005,
            tolerance_from=PRINTED_DIGITS,
            measured=(one["alpha"],),
            number_format=".2f",
            note="fitted to ranks 10 to 1000",
        ),
        Measurement(
            what=f"{what}, share of the different ones that occur once",
            earlier_run=once,
            tolerance=0.005,
            tolerance_from=PRINTED_DIGITS,
            measured=(one["once"],),
            number_format=".2f",
        ),
        *([] if n == 1 else [smaller]),
    ]


def _tails(words: Counted, characters: Counted) -> list[Measurement]:
    """The claim that additive smoothing overestimates rare tokens."""
    return [
        Measurement(
            what=f"{name} seen once in the first half: times that Laplace expects / times in the second half",
            published=1.0,
            claim="at least",
            measured=(found["laplace"],),
            number_format=".2f",
            explained="an alphabet has no long tail: the few pairs of letters that are rare in one half of the book "
            "are not so in the language, and return more often than additive smoothing expects",
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
        series=[
            ChartSeries(label=f"{name}, alpha {one['alpha']:.2f}", x=one["ranks"], y=one["times"])
            for name, one in zip(NAMES, found, strict=True)
        ],
    )


def _lessons(words: Counted, characters: Counted) -> tuple[str, ...]:
    return (
        f"Language has structure: of all pairs that {words[0]['types']:,} words could make, {words[1]['share']:.2%} "
        f"occur, of all triples {words[2]['share']:.1e}.",
        f"Most of what occurs is rare: {words[0]['once']:.0%} of the words, {words[1]['once']:.0%} of the pairs and "
        f"{words[2]['once']:.0%} of the triples occur once. Counts alone say very little about them.",
        f"Additive smoothing expects words that occurred once {words[0]['laplace']:.1f} times as often as they return, "
        f"pairs {words[1]['laplace']:.1f} and triples {words[2]['laplace']:.1f} times. Of pairs of characters the "
        f"claim does not hold ({characters[1]['laplace']:.2f}): an alphabet has no long tail.",
    )


EXPERIMENT = Experiment(
    name="corpus",
    title="the words of a book, and Zipf's law",
    source=(
        "Zhang et al. 2021 (Dive into Deep Learning, edition 0.17), sections 8.2 and 8.3: counts as "
        "printed, claims as written"
    ),
    order=80,
    minutes=0.1,
    run=run,
)
