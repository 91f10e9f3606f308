"""Gradient clipping off, at 0.01 and at 1, with the lecture's rate and the notes': what explodes, and what clipping is.

g <- min(1, theta / |g|) g        |g| over all parameters together, so a step is at most lr * theta long
reach(k) = |d cost_t / d h_(t-k)|, over what it is for k = 1: a product of k Jacobians, which clipping does not touch
"""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import elman
from elman.data.batches import Ids, Rows, gather
from elman.reproduce.curves import Curve, curve, one_bias, training
from elman.reproduce.experiment import Chart, Experiment, Figure, Line, Result, Runner
from elman.reproduce.experiments.lecture import book

SETTINGS: tuple[tuple[float, float], ...] = ((100, 0), (100, 1), (100, 0.01), (1, 0), (1, 1), (1, 0.01))
"""Learning rates and limits; 0 does not clip. The lecture's is the third, the notes' the fifth."""
BACK = (1, 2, 4, 8, 16, 32, 64)
ROWS, WINDOW = 64, 128
Runs = dict[tuple[float, float], list[Curve]]


def train(lr: float, clip: float, epochs: int, seed: int, hidden: int = 256) -> Curve:
    """One training on the lecture's text, and how far the gradients of its network reach."""
    corpus = book()
    model = one_bias(
        elman.Recurrent(elman.TextTask.of(corpus), cell="elman", hidden=hidden, init="reference", seed=seed)
    )
    settings = elman.TrainSettings(
        batching="reference-sequential", batch=32, window=35, optimizer="sgd", lr=lr, clip=clip,
        schedule="constant", epochs=epochs, seed=seed,
    )  # fmt: skip
    found = curve(model, corpus.train, None, settings)
    return found | {"reach": [] if found["diverged"] else reach(model, corpus.train.ids)}


def longest_step(lr: float, clip: float, steps: int, seed: int, hidden: int = 256) -> float:
    """How far the weights move in the longest of some steps, |w' - w|."""
    corpus = book()
    model = one_bias(
        elman.Recurrent(elman.TextTask.of(corpus), cell="elman", hidden=hidden, init="reference", seed=seed)
    )
    progress = elman.train(
        model, corpus.train, batching="reference-sequential", window=35, optimizer="sgd", lr=lr, clip=clip,
        schedule="constant", steps=steps, seed=seed,
    )  # fmt: skip
    weights = [vector(model), *(vector(model) for _ in progress)]
    return max(float(np.linalg.norm(after - before)) for before, after in pairwise(weights))


def vector(model: elman.Recurrent) -> npt.NDArray[np.float64]:
    """All weights as they are now, in one row."""
    return np.concatenate([p.detach().double().numpy().ravel() for p in model.parameters()])


def reach(model: elman.Recurrent, ids: Ids) -> list[float]:
    """How much the cost of a character still depends on the state k steps back, for each k; the mean over the text."""
    starts = np.linspace(1, len(ids) - WINDOW, ROWS).astype(np.int64)
    inputs, targets = map(torch.from_numpy, gather(ids, Rows(starts, starts + WINDOW, fresh=True)))
    found = []
    for k in BACK:
        state = tuple(s.detach() for s in model(inputs[:, :-k], model.initial(ROWS))[1])
        state[0].requires_grad_()
        logits, _ = model(inputs[:, -k:], state)
        (gradient,) = torch.autograd.grad(model.task.nats(logits[:, -1:], targets[:, -1:]), state[0])
        found.append(float(gradient.norm(dim=1).mean()))
    return [value / (found[0] or 1.0) for value in found]  # a network that is saturated has none at all


def run(lab: Runner) -> Result:
    """Two seeds of each rate and limit."""
    size: dict[str, Any] = lab.choose({}, {"hidden": 16})
    cases = [{"lr": lr, "clip": clip, "seed": s} | size for lr, clip in SETTINGS for s in range(lab.choose(2, 1))]
    found = lab.trials(train, [case | {"epochs": lab.choose(100, 2)} for case in cases])
    runs = {
        setting: [f for case, f in zip(cases, found, strict=True) if (case["lr"], case["clip"]) == setting]
        for setting in SETTINGS
    }
    lecture = [{"lr": 100, "clip": 0.01, "seed": s} | size for s in range(lab.choose(2, 1))]
    steps = lab.trials(longest_step, [case | {"steps": lab.choose(100, 4)} for case in lecture])
    return Result(
        figures=(*_rows(runs), _step(steps), *_norms(runs), *_reach(runs)),
        charts=_charts(runs),
        texts=tuple((_label(s), of[0]["diverged"]) for s, of in runs.items() if of[0]["diverged"]),
        lessons=_lessons(runs),
    )


def _label(setting: tuple[float, float]) -> str:
    lr, clip = setting
    return f"lr {lr:g}, {f'clipped at {clip:g}' if clip else 'not clipped'}"


def _rows(runs: Runs) -> list[Figure]:
    return [
        Figure(
            what=f"{_label(setting)}: training perplexity in the end",
            published=math.inf if setting == (100, 0) else None,
            measured=tuple(f["train"][-1] for f in of),
            form=".4g",
            note="the lecture: without clipping gradients explode" if setting == (100, 0) else _note(of),
            headline=setting[0] == 100,
        )
        for setting, of in runs.items()
    ]


def _note(of: list[Curve]) -> str:
    return of[0]["diverged"] or f"after {len(of[0]['epochs'])} epochs"


def _step(steps: list[float]) -> Figure:
    return Figure(
        what="lr 100, clipped at 0.01: the longest step, |w' - w|",
        published=1.0,
        measured=tuple(steps),
        tolerance=0.001,
        note="100 x 0.01, which the lecture calls aggressive",
        headline=True,
    )


def _norms(runs: Runs) -> list[Figure]:
    return [
        Figure(
            what=f"{_label(setting)}: largest gradient norm before clipping",
            measured=tuple(max(f["norms"]) for f in of),
            form=".3g",
        )
        for setting, of in runs.items()
    ]


def _reach(runs: Runs) -> list[Figure]:
    """Of those that learnt anything."""
    return [
        Figure(
            what=f"{_label(setting)}: gradient {BACK[i]} steps back, 1 step back being 1",
            measured=tuple(f["reach"][i] for f in of),
            form=".2g",
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
            lines=[training(label, f) for label, f in lasting.items()],
        ),
        Chart(
            name="norms",
            title="The largest gradient norm of each epoch, before clipping",
            x="epoch",
            y="gradient norm",
            log="y",
            lines=[Line(label=label, x=f["epochs"], y=f["norms"]) for label, f in lasting.items()],
        ),
        Chart(
            name="reach",
            title="How much the cost of a character depends on the state k steps back",
            x="steps back",
            y="gradient, 1 step back being 1",
            log="xy",
            lines=[Line(label=label, x=BACK, y=f["reach"]) for label, f in lasting.items()],
        ),
    )


def _lessons(runs: Runs) -> tuple[str, ...]:
    guess = len(book().vocab)
    lost = {setting: [f for f in of if not f["train"][-1] < guess] for setting, of in runs.items()}
    told = [f"{_label(s)} ({len(bad)} of {len(runs[s])} seeds)" for s, bad in lost.items() if bad]
    far = [f["reach"][-1] for of in runs.values() for f in of if f["train"][-1] < guess]
    return (
        f"No better in the end than a uniform guess: {'; '.join(told) or 'none'}. What counts is rate times limit, the "
        "longest step there can be: 100 x 0.01 is 1 x 1.",
        "A clipped step keeps its direction and loses its length: with a limit below every norm that occurs, all steps "
        "are of one length, however near the end is, and the curve cannot settle (see schedule).",
        f"Clipping bounds what explodes and does nothing about what vanishes: {BACK[-1]} steps back, {min(far):.1g} to "
        f"{max(far):.1g} is left of a gradient that is 1 one step back."
        if far
        else "All of them are lost.",
    )


EXPERIMENT = Experiment(
    name="clipping",
    title="gradient clipping off, at 0.01 and at 1: what explodes, and what clipping does not cure",
    source="the lecture and the notes; d2l.ai 8.5, 9.5",
    minutes=1.5,
    run=run,
)
