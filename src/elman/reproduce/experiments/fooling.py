"""How long a continuation passes for the text: rollouts of networks that learnt a book, memorised a part, or count.

The claim is that of Smola and Li 2019 (STAT 157, UC Berkeley, lecture "Recurrent Neural Networks in Python").

right      characters, or words, before the first that is not that of the text
passing    characters before the first five in a row that do not occur in the training text
"""

from typing import Any

import elman
from elman.inference.rollout import report
from elman.reproduce.experiment import Chart, ChartSeries, Experiment, Measurement, Result, Runner
from elman.reproduce.experiments import counting, lecture

BOOK = {"cell": "gru", "hidden": 256, "dropout": 0.2}
HEART = {"cell": "elman", "hidden": 256}
TEMPERATURES = (0.7, 1.0)
KINDS = ("greedy", *(f"temperature {t:g}" for t in TEMPERATURES))
CLAIM = 10
"""Characters for which a greedy continuation passes according to Smola and Li 2019, who looked at one."""
Found = dict[str, Any]


def train(
    model: dict[str, Any], epochs: int, lr: float, seed: int, whole: bool, places: int = 200, length: int = 200
) -> Found:
    """Train a network on the book or on its first 10,000 characters; roll it out on training and on held-out text.

    Args:
        model: settings of the network.
        epochs: of the training.
        lr: the learning rate.
        seed: of weights, batches and samples.
        whole: whether it is trained on the whole book.
        places: where rollouts begin, how many.
        length: of a rollout, in characters.
    """
    corpus = elman.read_corpus(["time-machine"], normalize="letters") if whole else lecture.book()
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


def run(runner: Runner) -> Result:
    """Two seeds of each network, and the model of the experiment `counting` that counts on."""
    seeds, choose = (
        range(runner.choose(2, 1)),
        runner.choose({}, {"places": 3, "length": 20, "epochs": 1, "whole": False}),
    )
    small = runner.choose({}, {"hidden": 8})
    cases = [
        {"model": model | small, "epochs": epochs, "lr": lr, "seed": seed, "whole": whole} | choose
        for model, epochs, lr, whole in ((BOOK, 8, 6e-3, True), (HEART, 100, 1e-2, False))
        for seed in seeds
    ]
    found = runner.trials(train, cases)
    book, heart = found[: len(seeds)], found[len(seeds) :]
    stage = counting.COUNTERS[counting.COPYING]
    counter = runner.trial(counting.train, **stage | {"seed": 0} | runner.choose({}, counting.quick_settings(stage)))
    return Result(
        measurements=(*_passing(book), *_right(book, heart, counter)),
        lessons=_lessons(book, heart, counter),
        charts=(_survival(book), _exact(book, heart, counter)),
        texts=tuple((f"the book, {kind}", text) for kind, text in book[0]["texts"].items()),
    )


def _passing(book: list[Found]) -> list[Measurement]:
    """Characters of rollouts on held-out text that pass for the book's."""
    return [
        Measurement(
            what=f"the book, {kind}: characters that pass, median",
            published=CLAIM if kind == "greedy" else None,
            claim="at least",
            measured=tuple(f["held-out"][kind]["passing"]["quantiles"]["0.5"] for f in book),
            number_format=".0f",
            headline=True,
            note="the text of the author" if kind == "the text" else f"ends in a loop: {_loops(book, kind):.0%}",
        )
        for kind in (*KINDS, "the text")
    ]


def _loops(found: list[Found], kind: str) -> float:
    return max(float(f["held-out"][kind]["loops"]) for f in found)


def _right(book: list[Found], heart: list[Found], counter: Found) -> list[Measurement]:
    """How long continuations are equal to the text."""
    rows = [
        Measurement(
            what=f"{name}, greedy, {what}: right characters, median",
            measured=tuple(f[part]["greedy"]["right"]["quantiles"]["0.5"] for f in found),
            number_format=".0f",
            headline=name == "by heart",
        )
        for name, found in (("the book", book), ("by heart", heart))
        for part, what in (("train", "text it learnt"), ("held-out", "held-out text"))
    ]
    counts = {n: counter["held-out"]["carried"][str(n)] for n in (20, 200)}
    rows += [
        Measurement(
            what=f"counting, copy head: {n} words exact, held out",
            measured=(share,),
            number_format=".1%",
            headline=n == 200,
        )
        for n, share in counts.items()
    ]
    return rows


def _middle(found: list[Found], part: str, kind: str, what: str) -> float:
    return sum(float(f[part][kind][what]["quantiles"]["0.5"]) for f in found) / len(found)


def _lessons(book: list[Found], heart: list[Found], counter: Found) -> tuple[str, ...]:
    known, unknown = (_middle(heart, part, "greedy", "right") for part in ("train", "held-out"))
    passing = {kind: _middle(book, "held-out", kind, "passing") for kind in (*KINDS, "the text")}
    return (
        "Smola and Li 2019 looked at one continuation and saw ten good characters. Measured at 200 places, half of the "
        f"greedy continuations of the book contain nothing new for {passing['greedy']:.0f} characters, "
        f"{passing[KINDS[1]]:.0f} at temperature 0.7 and {passing[KINDS[2]]:.0f} at 1; the author's own text for "
        f"{passing['the text']:.0f}. The text itself does not pass for long, so the measure shows which model repeats "
        "what it read, not which writes well.",
        f"A text that repeats itself contains nothing new: {_loops(book, 'greedy'):.0%} of the greedy rollouts end in "
        f"a loop, {_loops(book, KINDS[2]):.0%} at temperature 1. So both figures are needed.",
        f"A network that memorised 10,000 characters is right for {known:.0f} of 200 characters there, at half of the "
        f"places, and for {unknown:.0f} in the text that follows.",
        "If a text has one right continuation, no human judge is needed: the model that counts is right for 200 words "
        f"at {counter['held-out']['carried']['200']:.0%} of the places of held-out text.",
    )


def _survival(book: list[Found]) -> Chart:
    """The share of rollouts that still pass, by length."""
    return Chart(
        name="passing",
        title="The share of continuations of held-out text in which nothing is new, by length",
        x="characters",
        y="still passing",
        series=[
            ChartSeries(label=kind, x=list(range(1, 101)), y=_reaching(book[0]["held-out"][kind]["passing"]["each"]),
                 style="dashed" if kind == "the text" else "line")
            for kind in (*KINDS, "the text")
        ],
    )  # fmt: skip


def _reaching(lengths: list[int]) -> list[float]:
    return [sum(each >= n for each in lengths) / len(lengths) for n in range(1, 101)]


def _exact(book: list[Found], heart: list[Found], counter: Found) -> Chart:
    """The share of rollouts that are still right, by length."""
    curves = {
        "the book, held out": book[0]["held-out"]["greedy"]["exact"],
        "by heart, what it learnt": heart[0]["train"]["greedy"]["exact"],
        "by heart, held out": heart[0]["held-out"]["greedy"]["exact"],
        "counting, held out": counter["held-out"]["carried"],
    }
    return Chart(
        name="right",
        title="The share of rollouts that are right up to a length: characters of texts, words of numbers",
        x="tokens",
        y="all right",
        log="x",
        series=[ChartSeries(label=name, x=[int(n) for n in of], y=list(of.values())) for name, of in curves.items()],
    )


EXPERIMENT = Experiment(
    name="fooling",
    title="how long a continuation is right, and how long it passes for the text",
    source=(
        'Smola and Li 2019 (STAT 157, UC Berkeley, lecture "Recurrent Neural Networks in Python"): passes '
        "for the first ten characters; an article on Howard and Thomas 2019 (author not recorded): its "
        "roll-outs"
    ),
    order=140,
    minutes=2.5,
    run=run,
)
