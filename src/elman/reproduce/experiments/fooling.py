"""How long a model fools you: roll-outs of networks that learnt a book, know a little by heart, or count.

right      characters, or words, up to the first that the text does not have
passing    up to the first that ends five characters which the training text never has in a row
"""

from typing import Any

import elman
from elman.inference.rollout import report
from elman.reproduce.experiment import Chart, Experiment, Figure, Line, Result, Runner
from elman.reproduce.experiments import counting, lecture

BOOK = {"cell": "gru", "hidden": 256, "dropout": 0.2}
HEART = {"cell": "elman", "hidden": 256}
TEMPERATURES = (0.7, 1.0)
KINDS = ("greedy", *(f"temperature {t:g}" for t in TEMPERATURES))
CLAIM = 10
"""Characters for which the lecturer says that a continuation passes, having looked at one by the most probable one."""
Found = dict[str, Any]


def train(
    model: dict[str, Any], epochs: int, lr: float, seed: int, whole: bool, places: int = 200, length: int = 200
) -> Found:
    """A network of the book, or of its first 10,000 characters, rolled out on what it learnt and on what it did not."""
    corpus = elman.read_corpus(["time-machine"], clean="letters") if whole else lecture.book()
    network = elman.Recurrent(elman.TextTask.of(corpus), seed=seed, **model)
    elman.fit(network, corpus.train, epochs=epochs, lr=lr, seed=seed)
    found: Found = {}
    for part in corpus.parts:
        ids = part.ids[:20_000]
        for temperature in TEMPERATURES:
            made = report(
                network, ids, corpus.train.ids, length=length, places=places, temperature=temperature, seed=seed
            )
            kinds = {
                "greedy": made["greedy"],
                f"temperature {temperature:g}": made["sampled"],
                "the text": made["truth"],
            }
            found.setdefault(part.name, {}).update(kinds)
    prompt = "time traveller"
    found["texts"] = {
        kind: prompt + "".join(elman.generate(network, prompt, 200, temperature=temperature, seed=seed))
        for kind, temperature in zip(KINDS, (0.0, *TEMPERATURES), strict=True)
    }
    return found


def run(lab: Runner) -> Result:
    """Two seeds of each network, and the model that counts as the experiment `counting` has it."""
    seeds, choose = (
        range(lab.choose(2, 1)),
        lab.choose({}, {"places": 3, "length": 20, "epochs": 1, "whole": False}),
    )
    small = lab.choose({}, {"hidden": 8})
    cases = [
        {"model": model | small, "epochs": epochs, "lr": lr, "seed": seed, "whole": whole} | choose
        for model, epochs, lr, whole in ((BOOK, 8, 6e-3, True), (HEART, 100, 1e-2, False))
        for seed in seeds
    ]
    found = lab.trials(train, cases)
    book, heart = found[: len(seeds)], found[len(seeds) :]
    stage = counting.STAGES[counting.COPYING]
    counter = lab.trial(counting.train, **stage | {"seed": 0} | lab.choose({}, counting.tiny(stage)))
    return Result(
        figures=(*_passing(book), *_right(book, heart, counter)),
        lessons=_lessons(book, heart, counter),
        charts=(_survival(book), _exact(book, heart, counter)),
        texts=tuple((f"the book, {kind}", text) for kind, text in book[0]["texts"].items()),
    )


def _passing(book: list[Found]) -> list[Figure]:
    """Characters of roll-outs on held-out text that pass for the book's."""
    return [
        Figure(
            what=f"the book, {kind}: characters that pass, median",
            published=CLAIM if kind == "greedy" else None,
            claim="at least",
            measured=tuple(f["held-out"][kind]["passing"]["quantiles"]["0.5"] for f in book),
            form=".0f",
            headline=True,
            note="what the author wrote himself" if kind == "the text" else f"ends in a loop: {_loops(book, kind):.0%}",
        )
        for kind in (*KINDS, "the text")
    ]


def _loops(found: list[Found], kind: str) -> float:
    return max(float(f["held-out"][kind]["loops"]) for f in found)


def _right(book: list[Found], heart: list[Found], counter: Found) -> list[Figure]:
    """How long continuations are those of the text."""
    rows = [
        Figure(
            what=f"{name}, greedy, {what}: right characters, median",
            measured=tuple(f[part]["greedy"]["right"]["quantiles"]["0.5"] for f in found),
            form=".0f",
            headline=name == "by heart",
        )
        for name, found in (("the book", book), ("by heart", heart))
        for part, what in (("train", "text it learnt"), ("held-out", "held-out text"))
    ]
    counts = {n: counter["held-out"]["exact"][str(n)] for n in (20, 200)}
    rows += [
        Figure(what=f"counting, copy head: {n} words exact, held out", measured=(share,), form=".1%", headline=n == 200)
        for n, share in counts.items()
    ]
    return rows


def _middle(found: list[Found], part: str, kind: str, what: str) -> float:
    return sum(float(f[part][kind][what]["quantiles"]["0.5"]) for f in found) / len(found)


def _lessons(book: list[Found], heart: list[Found], counter: Found) -> tuple[str, ...]:
    known, unknown = (_middle(heart, part, "greedy", "right") for part in ("train", "held-out"))
    passing = {kind: _middle(book, "held-out", kind, "passing") for kind in (*KINDS, "the text")}
    return (
        "The lecturer looked at one continuation and saw ten good characters. Measured at 200 places, half of what the "
        f"network of the book writes has nothing new for {passing['greedy']:.0f} characters by the most probable one, "
        f"{passing[KINDS[1]]:.0f} at temperature 0.7 and {passing[KINDS[2]]:.0f} at 1; of what the author himself "
        f"goes on with, {passing['the text']:.0f}. A measure that the truth does not pass for long says who repeats "
        "what it read, not who writes well.",
        f"Who repeats himself says nothing new: {_loops(book, 'greedy'):.0%} of the roll-outs by the most probable "
        f"character end in a loop, {_loops(book, KINDS[2]):.0%} at temperature 1. So both figures stand together.",
        f"A network that knows 10,000 characters by heart is right for {known:.0f} characters there, at half of the "
        f"places, of 200 that were asked for; and for {unknown:.0f} in the text that follows.",
        "Where a text has one right continuation the question has an answer without a human: the model that counts is "
        f"right for 200 words at {counter['held-out']['exact']['200']:.0%} of the places that it never learnt.",
    )


def _survival(book: list[Found]) -> Chart:
    """How many still pass."""
    return Chart(
        name="passing",
        title="The share of continuations of held-out text in which nothing is new, by length",
        x="characters",
        y="still passing",
        lines=[
            Line(label=kind, x=list(range(1, 101)), y=_reaching(book[0]["held-out"][kind]["passing"]["each"]),
                 style="dashed" if kind == "the text" else "line")
            for kind in (*KINDS, "the text")
        ],
    )  # fmt: skip


def _reaching(lengths: list[int]) -> list[float]:
    return [sum(each >= n for each in lengths) / len(lengths) for n in range(1, 101)]


def _exact(book: list[Found], heart: list[Found], counter: Found) -> Chart:
    """How many are still right."""
    curves = {
        "the book, held out": book[0]["held-out"]["greedy"]["exact"],
        "by heart, what it learnt": heart[0]["train"]["greedy"]["exact"],
        "by heart, held out": heart[0]["held-out"]["greedy"]["exact"],
        "counting, held out": counter["held-out"]["exact"],
    }
    return Chart(
        name="right",
        title="The share of roll-outs that are right up to a length: characters of texts, words of numbers",
        x="tokens",
        y="all right",
        log="x",
        lines=[Line(label=name, x=[int(n) for n in of], y=list(of.values())) for name, of in curves.items()],
    )


EXPERIMENT = Experiment(
    name="fooling",
    title="how long a continuation is right, and how long nothing gives it away",
    source="the lecture: passes for the first ten characters; the article's roll-outs",
    minutes=2.5,
    run=run,
)
