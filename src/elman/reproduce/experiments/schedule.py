"""Why the curve of Smola and Li 2019 rises late, how a schedule changes that, and an initial state that is learnt.

Smola and Li 2019: STAT 157, Introduction to Deep Learning, UC Berkeley, lecture "Recurrent Neural Networks in Python".

constant   lr_e = 100
cosine     lr_e = 100 (0.02 + 0.98 (1 + cos(pi e / 500)) / 2)
learnt     h_0 is a parameter: it matters where every window begins from it
"""

import statistics
from typing import Any

import elman
from elman.reproduce.curves import Curve, train_curve, training_series
from elman.reproduce.experiment import PRINTED as PRINTED_DIGITS
from elman.reproduce.experiment import Chart, Experiment, Measurement, Result, Runner
from elman.reproduce.experiments import lecture
from elman.reproduce.experiments.notes import letters

PRINTED, LOWEST = 1.167, 1.139
"""Training perplexity in the notebook of Smola and Li 2019: epoch 500, and epoch 450, the lowest of those printed."""
EVERY = 50
"""Epochs between two that the notebook prints."""
OTHER = "the rate falls here and is constant in the source: this row shows what that changes"
WINDOW = 35


def train_with_initial_state(learnt: bool, epochs: int, seed: int, hidden: int = 256) -> dict[str, Any]:
    """Train a network once on random windows, each from a zero or from a learnt state.

    Args:
        learnt: whether the initial state is a parameter.
        epochs: of the training.
        seed: of weights and batches.
        hidden: units.

    Returns:
        The curve, and perplexity by part ("scores").
    """
    corpus = letters()
    model = elman.Recurrent(
        elman.TextTask.of(corpus), cell="elman", hidden=hidden, learn_initial_state=learnt, seed=seed
    )
    found = train_curve(model, corpus.train, None, batching="random", window=WINDOW, lr=0.01, epochs=epochs, seed=seed)
    scores = {p.name: elman.evaluate(model, p, protocol="reset", window=WINDOW).perplexity for p in corpus.parts}
    return found | {"scores": scores}


def run(runner: Runner) -> Result:
    """The network of Smola and Li 2019 with both schedules, two seeds; three seeds of each initial state."""
    size: dict[str, Any] = {"epochs": runner.choose(500, 4)} | runner.choose({}, {"hidden": 16})
    seeds = range(runner.choose(2, 1))
    # The constant rate is the trial of the experiment lecture, which is shared.
    cases = [{"batching": "sequential", "seed": s} | size for s in seeds]
    cases += [case | {"schedule": "cosine"} for case in cases]
    found = runner.trials(lecture.train, cases)
    runs = {"constant": found[: len(seeds)], "cosine": found[len(seeds) :]}
    start_size: dict[str, Any] = {"epochs": runner.choose(40, 2)} | runner.choose({}, {"hidden": 16})
    starts = {
        learnt: runner.trials(
            train_with_initial_state, [{"learnt": learnt, "seed": s} | start_size for s in range(runner.choose(3, 1))]
        )
        for learnt in (False, True)
    }
    return Result(
        measurements=(*(row for name in runs for row in _rows(name, runs[name])), *_starts(starts)),
        charts=(
            Chart(
                name="schedules",
                title="Training perplexity of the network of Smola and Li 2019 at a constant and at a falling rate",
                x="epoch",
                y="training perplexity",
                log="y",
                series=[training_series(f"{name} rate", of[0], points=500) for name, of in runs.items()],
            ),
        ),
        lessons=_lessons(runs, starts),
    )


def rise(found: Curve, every: int = 1) -> float:
    """How far perplexity in the last epoch lies above the lowest.

    Args:
        found: a curve.
        every: compare with each so many epochs alone, as a source prints them.
    """
    last = found["train"][-1]
    return float(last - min([*found["train"][every - 1 :: every], last]))


def _rows(name: str, of: list[Curve]) -> list[Measurement]:
    return [
        Measurement(
            what=f"{name} rate: training perplexity of the last epoch",
            published=PRINTED,
            measured=tuple(f["train"][-1] for f in of),
            tolerance=lecture.TOLERANCE,
            tolerance_from=lecture.SPREAD,
            better="lower",
            headline=True,
            explained=lecture.LATE if name == "constant" else OTHER,
        ),
        Measurement(
            what=f"{name} rate: rise from the lowest of every {EVERY}th epoch to the last",
            published=PRINTED - LOWEST,
            measured=tuple(rise(f, EVERY) for f in of),
            tolerance=0.001,
            tolerance_from=f"{PRINTED_DIGITS}, of two figures",
            better="lower",
            note="published: from epoch 450, the lowest printed, to 500",
            headline=True,
            explained=lecture.LATE if name == "constant" else OTHER,
        ),
        Measurement(
            what=f"{name} rate: rise from the lowest of all epochs to the last",
            measured=tuple(rise(f) for f in of),
        ),
        Measurement(
            what=f"{name} rate: held-out perplexity in the end",
            measured=tuple(f["scores"]["held-out"] for f in of),
            number_format=".1f",
            note=f"a uniform guess has {lecture.UNIFORM}",
        ),
    ]


def _starts(starts: dict[bool, list[dict[str, Any]]]) -> list[Measurement]:
    """Both initial states, on training text and on held-out text."""
    return [
        Measurement(
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
        "curve, so the rise is not overfitting: the steps are too long near the minimum.",
        "A better training figure does not make a better model: see the held-out rows.",
        f"If every window begins from it, a learnt initial state lowers perplexity by {saved['train']:.3f} on the "
        f"training text and {saved['held-out']:.2f} on held-out text. It has few parameters: they hold which "
        "characters are frequent, but not where a window begins.",
    )


EXPERIMENT = Experiment(
    name="schedule",
    title="the late rise of the curve of Smola and Li 2019, a falling rate, a learnt start state",
    source=(
        'Smola and Li 2019 (STAT 157, UC Berkeley, lecture "Recurrent Neural Networks in Python"): its '
        "notebook and remarks"
    ),
    order=60,
    minutes=10,
    run=run,
)
