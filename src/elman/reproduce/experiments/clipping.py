"""Gradient clipping off, at 0.01 and at 1, at two learning rates: what explodes, and what clipping does.

Rate 100 and limit 0.01 are those of Smola and Li 2019 (STAT 157, UC Berkeley, lecture "Recurrent Neural Networks in
Python"), rate 1 and limit 1 those of Zhang et al. 2021 (Dive into Deep Learning, edition 0.17, section 8.5).

g <- min(1, theta / |g|) g        |g| over all parameters together, so a step is at most lr * theta long
reach(k) = |d loss_t / d h_(t-k)|, divided by that for k = 1: a product of k Jacobians, which clipping does not change
"""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import elman
from elman.data.batches import Ids, Rows, gather
from elman.reproduce.curves import Curve, freeze_second_bias, train_curve, training_series
from elman.reproduce.experiment import ROUNDING, Chart, ChartSeries, Experiment, Measurement, Result, Runner
from elman.reproduce.experiments.lecture import book

SETTINGS: tuple[tuple[float, float], ...] = ((100, 0), (100, 1), (100, 0.01), (1, 0), (1, 1), (1, 0.01))
"""Learning rates and limits; 0 does not clip. The third is from Smola and Li 2019, the fifth from Zhang et al. 2021."""
BACK = (1, 2, 4, 8, 16, 32, 64)
ROWS, WINDOW = 64, 128
Runs = dict[tuple[float, float], list[Curve]]


def train(lr: float, clip: float, epochs: int, seed: int, hidden: int = 256) -> Curve:
    """Train the network of Smola and Li 2019 once, and measure how far its gradients reach.

    Args:
        lr: the learning rate.
        clip: the largest norm of a gradient; 0 does not clip.
        epochs: of the training.
        seed: of weights and batches.
        hidden: units.
    """
    corpus = book()
    model = freeze_second_bias(
        elman.Recurrent(elman.TextTask.of(corpus), cell="elman", hidden=hidden, init="reference", seed=seed)
    )
    settings = elman.TrainSettings(
        batching="reference-sequential", batch=32, window=35, optimizer="sgd", lr=lr, clip=clip,
        schedule="constant", epochs=epochs, seed=seed,
    )  # fmt: skip
    found = train_curve(model, corpus.train, None, settings)
    return found | {"reach": [] if found["diverged"] else reach(model, corpus.train.ids)}


def longest_step(lr: float, clip: float, steps: int, seed: int, hidden: int = 256) -> float:
    """The length |w' - w| of the longest step of a training.

    Args:
        lr: the learning rate.
        clip: the largest norm of a gradient.
        steps: of the training.
        seed: of weights and batches.
        hidden: units.
    """
    corpus = book()
    model = freeze_second_bias(
        elman.Recurrent(elman.TextTask.of(corpus), cell="elman", hidden=hidden, init="reference", seed=seed)
    )
    progress = elman.train(
        model, corpus.train, batching="reference-sequential", window=35, optimizer="sgd", lr=lr, clip=clip,
        schedule="constant", steps=steps, seed=seed,
    )  # fmt: skip
    weights = [vector(model), *(vector(model) for _ in progress)]
    return max(float(np.linalg.norm(after - before)) for before, after in pairwise(weights))


def vector(model: elman.Recurrent) -> npt.NDArray[np.float64]:
    """A copy of all weights as one vector."""
    return np.concatenate([p.detach().double().numpy().ravel() for p in model.parameters()])


def reach(model: elman.Recurrent, ids: Ids) -> list[float]:
    """How much the loss of a character depends on the state k steps before it, the mean over windows of the text.

    Args:
        model: the network.
        ids: the tokens, (n,).

    Returns:
        Gradient norms for each k of `BACK`, divided by that for k = 1.
    """
    starts = np.linspace(1, len(ids) - WINDOW, ROWS).astype(np.int64)
    inputs, targets = map(torch.from_numpy, gather(ids, Rows(starts, starts + WINDOW, fresh=True)))
    found = []
    for k in BACK:
        state = tuple(s.detach() for s in model(inputs[:, :-k], model.initial(ROWS))[1])
        state[0].requires_grad_()
        logits, _ = model(inputs[:, -k:], state)
        (gradient,) = torch.autograd.grad(model.task.nats(logits[:, -1:], targets[:, -1:]), state[0])
        found.append(float(gradient.norm(dim=1).mean()))
    return [value / (found[0] or 1.0) for value in found]  # a saturated network has no gradient


def run(runner: Runner) -> Result:
    """Two seeds of each rate and limit."""
    size: dict[str, Any] = runner.choose({}, {"hidden": 16})
    cases = [{"lr": lr, "clip": clip, "seed": s} | size for lr, clip in SETTINGS for s in range(runner.choose(2, 1))]
    found = runner.trials(train, [case | {"epochs": runner.choose(100, 2)} for case in cases])
    runs = {
        setting: [f for case, f in zip(cases, found, strict=True) if (case["lr"], case["clip"]) == setting]
        for setting in SETTINGS
    }
    lecture = [{"lr": 100, "clip": 0.01, "seed": s} | size for s in range(runner.choose(2, 1))]
    steps = runner.trials(longest_step, [case | {"steps": runner.choose(100, 4)} for case in lecture])
    return Result(
        measurements=(*_rows(runs), _step(steps), *_norms(runs), *_reach(runs)),
        charts=_charts(runs),
        texts=tuple((_label(s), of[0]["diverged"]) for s, of in runs.items() if of[0]["diverged"]),
        lessons=_lessons(runs),
    )


def _label(setting: tuple[float, float]) -> str:
    lr, clip = setting
    return f"lr {lr:g}, {f'clipped at {clip:g}' if clip else 'not clipped'}"


def _rows(runs: Runs) -> list[Measurement]:
    return [
        Measurement(
            what=f"{_label(setting)}: training perplexity in the end",
            published=math.inf if setting == (100, 0) else None,
            measured=tuple(f["train"][-1] for f in of),
            number_format=".4g",
            note="Zhang et al. 2021: without clipping gradients explode" if setting == (100, 0) else _note(of),
            headline=setting[0] == 100,
        )
        for setting, of in runs.items()
    ]


def _note(of: list[Curve]) -> str:
    return of[0]["diverged"] or f"after {len(of[0]['epochs'])} epochs"


def _step(steps: list[float]) -> Measurement:
    return Measurement(
        what="lr 100, clipped at 0.01: the longest step, |w' - w|",
        definition=1.0,
        measured=tuple(steps),
        tolerance=0.001,
        tolerance_from=ROUNDING,
        note="100 x 0.01, about 1, which Smola and Li 2019 call aggressive",
        headline=True,
    )


def _norms(runs: Runs) -> list[Measurement]:
    return [
        Measurement(
            what=f"{_label(setting)}: largest gradient norm before clipping",
            measured=tuple(max(f["norms"]) for f in of),
            number_format=".3g",
        )
        for setting, of in runs.items()
    ]


def _reach(runs: Runs) -> list[Measurement]:
    """The rows of the settings whose network has a gradient."""
    return [
        Measurement(
            what=f"{_label(setting)}: gradient {BACK[i]} steps back, 1 step back being 1",
            measured=tuple(f["reach"][i] for f in of),
            number_format=".2g",
        )
        for setting, of in runs.items()
        if all(f["reach"] for f in of)
        for i in (3, 5)
    ]


def _charts(runs: Runs) -> tuple[Chart, ...]:
    lasting = {_label(setting): of[0] for setting, of in runs.items() if of[0]["reach"]}
    return (
        Chart(
            name="perplexity",
            title="Training perplexity at two rates, clipped and not, where it did not diverge",
            x="epoch",
            y="training perplexity",
            log="y",
            series=[training_series(label, f) for label, f in lasting.items()],
        ),
        Chart(
            name="norms",
            title="The largest gradient norm of each epoch, before clipping",
            x="epoch",
            y="gradient norm",
            log="y",
            series=[ChartSeries(label=label, x=f["epochs"], y=f["norms"]) for label, f in lasting.items()],
        ),
        Chart(
            name="reach",
            title="How much the loss of a character depends on the state k steps back",
            x="steps back",
            y="gradient, 1 step back being 1",
            log="xy",
            series=[ChartSeries(label=label, x=BACK, y=f["reach"]) for label, f in lasting.items()],
        ),
    )


def _lessons(runs: Runs) -> tuple[str, ...]:
    guess = len(book().vocab)
    lost = {setting: [f for f in of if not f["train"][-1] < guess] for setting, of in runs.items()}
    useless = [f"{_label(s)} ({len(bad)} of {len(runs[s])} seeds)" for s, bad in lost.items() if bad]
    far = [f["reach"][-1] for of in runs.values() for f in of if f["train"][-1] < guess]
    return (
        f"No better in the end than a uniform guess: {'; '.join(useless) or 'none'}. What matters is rate times limit, "
        "the longest possible step: 100 x 0.01 is 1 x 1.",
        "Clipping keeps the direction of a step and limits its length: with a limit below every gradient norm all "
        "steps have one length, so the curve cannot converge (see the experiment schedule).",
        f"Clipping limits gradients that explode and does not change those that vanish: {BACK[-1]} steps back, a "
        f"gradient that is 1 one step back is {min(far):.1g} to {max(far):.1g}."
        if far
        else "None is better than a uniform guess.",
    )


EXPERIMENT = Experiment(
    name="clipping",
    title="gradient clipping off, at 0.01 and at 1: what explodes, and what clipping does not cure",
    source=(
        'Smola and Li 2019 (STAT 157, UC Berkeley, lecture "Recurrent Neural Networks in Python"); study '
        "notes on Zhang et al. 2021, sections 8.5 and 8.6 (author not recorded); Zhang et al. 2021 (Dive "
        "into Deep Learning, edition 0.17), sections 8.5 and 9.5"
    ),
    order=50,
    minutes=1.5,
    run=run,
)
