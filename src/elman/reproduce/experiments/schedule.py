"""Why the lecture's curve rises late, what a schedule does about it, and an initial state that is learnt.

constant   lr_e = 100
cosine     lr_e = 100 (0.02 + 0.98 (1 + cos(pi e / 500)) / 2)
learnt     h_0 is a parameter: it matters where every window begins from it
"""

import statistics
from typing import Any

import elman
from elman.reproduce.curves import Curve, curve, training
from elman.reproduce.experiment import Chart, Experiment, Figure, Result, Runner
from elman.reproduce.experiments import lecture
from elman.reproduce.experiments.notes import letters

PRINTED, LOWEST = 1.167, 1.139
"""The lecture's notebook: epoch 500, and epoch 450 before it."""
WINDOW = 35


def start(learnt: bool, epochs: int, seed: int, hidden: int = 256) -> dict[str, Any]:
    """Random windows, each from a zero or from a learnt state."""
    corpus = letters()
    model = elman.Recurrent(elman.TextTask.of(corpus), cell="elman", hidden=hidden, learn_initial=learnt, seed=seed)
    found = curve(model, corpus.train, None, batching="random", window=WINDOW, lr=0.01, epochs=epochs, seed=seed)
    scores = {p.name: elman.evaluate(model, p, protocol="reset", window=WINDOW).perplexity for p in corpus.parts}
    return found | {"scores": scores}


def run(lab: Runner) -> Result:
    """The lecture's sequential network with both schedules, two seeds; three of either initial state."""
    size: dict[str, Any] = {"epochs": lab.choose(500, 4)} | lab.choose({}, {"hidden": 16})
    seeds = range(lab.choose(2, 1))
    # The constant rate is the lecture's own run, and shared with it.
    cases = [{"batching": "sequential", "seed": s} | size for s in seeds]
    cases += [case | {"schedule": "cosine"} for case in cases]
    found = lab.trials(lecture.train, cases)
    runs = {"constant": found[: len(seeds)], "cosine": found[len(seeds) :]}
    start_size: dict[str, Any] = {"epochs": lab.choose(40, 2)} | lab.choose({}, {"hidden": 16})
    starts = {
        learnt: lab.trials(start, [{"learnt": learnt, "seed": s} | start_size for s in range(lab.choose(3, 1))])
        for learnt in (False, True)
    }
    return Result(
        figures=(*(row for name in runs for row in _rows(name, runs[name])), *_starts(starts)),
        charts=(
            Chart(
                name="schedules",
                title="Training perplexity of the lecture's network at a constant rate and at one that falls",
                x="epoch",
                y="training perplexity",
                log="y",
                lines=[training(f"{name} rate", of[0], points=500) for name, of in runs.items()],
            ),
        ),
        lessons=_lessons(runs, starts),
    )


def rise(found: Curve) -> float:
    """How far perplexity in the last epoch lies above the lowest before it."""
    return float(found["train"][-1] - min(found["train"]))


def _rows(name: str, of: list[Curve]) -> list[Figure]:
    return [
        Figure(
            what=f"{name} rate: training perplexity of the last epoch",
            published=PRINTED,
            measured=tuple(f["train"][-1] for f in of),
            tolerance=0.1 if name == "constant" else 0,
            better="lower",
            headline=True,
        ),
        Figure(
            what=f"{name} rate: rise from the lowest epoch to the last",
            published=PRINTED - LOWEST,
            measured=tuple(rise(f) for f in of),
            tolerance=0.01,
            better="lower",
            note="published: from epoch 450, the lowest printed, to 500",
            headline=True,
        ),
        Figure(
            what=f"{name} rate: held-out perplexity in the end",
            measured=tuple(f["scores"]["held-out"] for f in of),
            form=".1f",
            note=f"a uniform guess has {lecture.UNIFORM}",
        ),
    ]


def _starts(starts: dict[bool, list[dict[str, Any]]]) -> list[Figure]:
    """Both initial states, on what they learnt and on what they did not."""
    return [
        Figure(
            what=f"{'learnt' if learnt else 'zero'} initial state: {what}",
            measured=tuple(_score(f, key) for f in starts[learnt]),
            headline=learnt and key == "held-out",
            note=f"windows of {WINDOW} that begin from it" if key != "last" else "random windows, 40 epochs",
        )
        for key, what in (
            ("last", "training perplexity of the last epoch"),
            ("train", "perplexity of the learnt text, state reset"),
            ("held-out", "held-out perplexity, state reset"),
        )
        for learnt in starts
    ]


def _score(found: dict[str, Any], key: str) -> float:
    return float(found["train"][-1] if key == "last" else found["scores"][key])


def _lessons(runs: dict[str, list[Curve]], starts: dict[bool, list[dict[str, Any]]]) -> tuple[str, ...]:
    def middle(of: list[dict[str, Any]], key: str) -> float:
        return statistics.median(_score(f, key) for f in of)

    last = {name: statistics.median(f["train"][-1] for f in of) for name, of in runs.items()}
    rises = {name: statistics.median(rise(f) for f in of) for name, of in runs.items()}
    saved = {key: middle(starts[False], key) - middle(starts[True], key) for key in ("train", "held-out")}
    return (
        f"At a constant rate the last epoch lies {rises['constant']:.3f} above the lowest, with one that falls "
        f"{rises['cosine']:.3f}, and it ends at {last['constant']:.3f} and {last['cosine']:.3f}. It is a training "
        "curve, so the rise is no over-fitting: the steps are too long for where the network is.",
        "A better training figure is no better model: look at the held-out rows.",
        f"Where every window begins from it, a learnt initial state saves {saved['train']:.3f} of perplexity on the "
        f"learnt text and {saved['held-out']:.2f} on held-out text. It is a handful of parameters: it can know which "
        "characters are frequent, not where the window stands.",
    )


EXPERIMENT = Experiment(
    name="schedule",
    title="the late rise of the lecture's curve, a rate that falls, and a learnt initial state",
    source="the lecture's notebook and remarks",
    minutes=10,
    run=run,
)
