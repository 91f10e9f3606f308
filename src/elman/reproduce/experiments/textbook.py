"""Every model of the textbook's edition 1.0 on its own split, beside n-grams that are counted in a second.

learnt    the 10,000 windows of 32 characters that begin the book, one at every character, 1,024 a batch
printed   the mean of exp(cost of a batch) over the 5,000 windows that follow, each from a zero state
alike     exp(nats / tokens) over the 5,000 characters after the first 10,000, one state carried: `elman.evaluate`
"""

import math
from typing import Any

import numpy as np
import torch

import elman
from elman.data.batches import Ids, Integers, Rows, gather
from elman.models.build import build
from elman.reproduce.curves import one_bias
from elman.reproduce.experiment import Chart, Experiment, Figure, Line, Result, Runner
from elman.training.auto import auto_configure
from elman.training.optim import clip_gradients

STEPS, BATCH, LEARNT, SCORED = 32, 1024, 10_000, 5_000
Network = dict[str, Any]
NETWORKS: dict[str, tuple[Network, float, float, int]] = {
    "RNN from scratch": ({"cell": "elman", "init": "reference", "epochs": 100, "lr": 1}, 6.16, 7.24, 2),
    "RNN concise": ({"cell": "elman", "init": "torch", "epochs": 100, "lr": 1}, 5.87, 7.19, 2),
    "GRU from scratch": ({"cell": "gru", "init": "reference", "epochs": 50, "lr": 4}, 5.73, 6.74, 2),
    "GRU concise": ({"cell": "gru", "init": "torch", "epochs": 50, "lr": 4}, 4.94, 6.55, 2),
    "LSTM from scratch": ({"cell": "lstm", "init": "reference", "epochs": 50, "lr": 4}, 6.94, 7.41, 2),
    "LSTM concise": ({"cell": "lstm", "init": "torch", "epochs": 50, "lr": 4}, 5.76, 6.69, 2),
    "RNN of two layers": ({"cell": "elman", "init": "reference", "layers": 2, "epochs": 100, "lr": 2}, 5.24, 6.95, 1),
    "GRU of two layers": ({"cell": "gru", "init": "torch", "layers": 2, "epochs": 100, "lr": 2}, 4.09, 6.11, 1),
}
"""Settings, what the textbook's curves end at on training and validation text, and how many seeds are trained here."""
TOLERANCE = 0.3
"""Read off curves; of one run."""
UNIFORM = 28


def split(held_out: int, learnt: int = LEARNT) -> elman.Corpus:
    """The first 10,000 letters and blanks, and so many after them."""
    return elman.read_corpus(["time-machine"], clean="letters", limit=learnt + held_out, held_out=held_out)


def train(cell: str, init: str, epochs: int, lr: float, seed: int, layers: int = 1, hidden: int = 32) -> dict[str, Any]:
    """The textbook's loop and its two figures; then the one evaluator's."""
    corpus = split(SCORED)
    ids = np.concatenate([part.ids for part in split(SCORED + STEPS).parts])  # the last windows reach beyond the 5,000
    model = elman.Recurrent(elman.TextTask.of(corpus), cell=cell, hidden=hidden, layers=layers, init=init, seed=seed)
    if init == "reference":
        one_bias(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr)
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        costs = []
        for places in np.array_split(rng.permutation(LEARNT), list(range(BATCH, LEARNT, BATCH))):
            cost = batch_cost(model, ids, places)
            optimizer.zero_grad()
            cost.backward()
            clip_gradients(model.named_parameters(), 1.0)
            optimizer.step()
            costs.append(cost.item())
    with torch.no_grad():
        after = np.array_split(np.arange(LEARNT, LEARNT + SCORED), list(range(BATCH, SCORED, BATCH)))
        validation = [batch_cost(model, ids, places).item() for places in after]
    return {
        "train": mean_exp(costs),
        "validation": mean_exp(validation),
        "held-out": elman.evaluate(model, corpus.parts[-1], streams=1).perplexity,
    }


def batch_cost(model: elman.Recurrent, ids: Ids, places: Integers) -> torch.Tensor:
    """Nats a token of the windows at those places, each from a zero state."""
    inputs, targets = map(torch.from_numpy, gather(ids, Rows(places + 1, places + 1 + STEPS, fresh=True)))
    nats, _ = model.loss(inputs, targets, model.initial(len(places)))
    return nats / targets.numel()


def mean_exp(costs: list[float]) -> float:
    """What the textbook plots: the mean of perplexities of batches, not the perplexity of the whole."""
    return sum(map(math.exp, costs)) / len(costs)


def count(order: int | None) -> dict[str, Any]:
    """An n-gram of the same 10,000 characters; no order: the one that predicts the end of them best."""
    corpus = split(SCORED)
    ngram = elman.NGram.fit(elman.TextTask.of(corpus), corpus.train.ids, order=order)
    return {"name": ngram.name, "held-out": elman.evaluate(ngram, corpus.parts[-1], streams=1).perplexity}


def default(seed: int, learnt: int = LEARNT, **budget: int) -> dict[str, Any]:
    """What `elman train` chooses for this text: a network that weighs an n-gram; its last weights, not its best."""
    corpus = split(SCORED, learnt)
    config, _ = auto_configure(elman.Config.resolve(("default", budget)), corpus)
    model = build(elman.TextTask.of(corpus), config.network, engine=config.engine, seed=seed)
    elman.fit(model, corpus.train, settings=config.part(elman.TrainSettings), seed=seed)
    return {"name": model.name, "held-out": elman.evaluate(model, corpus.parts[-1], streams=1).perplexity}


def run(lab: Runner) -> Result:
    """One or two seeds of each network."""
    names = lab.choose(list(NETWORKS), ["RNN concise"])
    cases = [(name, s) for name in names for s in range(lab.choose(NETWORKS[name][3], 1))]
    less: Network = lab.choose({}, {"epochs": 1, "hidden": 4})
    found = lab.trials(train, [NETWORKS[name][0] | {"seed": s} | less for name, s in cases])
    runs = {name: [f for (of, _), f in zip(cases, found, strict=True) if of == name] for name in names}
    counted = [lab.trial(count, order=order) for order in (4, None)]
    ours = lab.trials(
        default,
        [{"seed": s} | lab.choose({}, {"learnt": 600, "steps": 1}) for s in range(lab.choose(3, 1))],
    )
    return Result(
        figures=(
            *(row for name in names for row in _rows(name, runs[name])),
            *(_beside(c["name"], [c]) for c in counted),
            _beside("what elman train chooses", ours),
        ),
        charts=(_chart(runs, counted, ours),),
        lessons=_lessons(runs, counted[-1], ours),
    )


def _rows(name: str, runs: list[dict[str, Any]]) -> list[Figure]:
    _, train, validation, _ = NETWORKS[name]
    rows = [("training", train, "train"), ("validation", validation, "validation")]
    return [
        *(
            Figure(
                what=f"{name}, {what} perplexity as plotted",
                published=figure,
                measured=tuple(r[key] for r in runs),
                tolerance=TOLERANCE,
                better="lower",
                form=".2f",
                headline=key == "validation" and name in {"RNN concise", "GRU of two layers"},
            )
            for what, figure, key in rows
        ),
        Figure(what=f"{name}, held-out text scored alike", measured=tuple(r["held-out"] for r in runs), form=".2f"),
    ]


def _beside(name: str, found: list[dict[str, Any]]) -> Figure:
    best = min(NETWORKS, key=lambda n: NETWORKS[n][2])
    return Figure(
        what=f"{name}, held-out text scored alike",
        published=NETWORKS[best][2],
        measured=tuple(f["held-out"] for f in found),
        better="lower",
        form=".2f",
        headline=True,
        note=f"published: the best network of the textbook, {best}",
    )


def _chart(runs: dict[str, list[dict[str, Any]]], counted: list[dict[str, Any]], ours: list[dict[str, Any]]) -> Chart:
    bars = {name: of[0]["held-out"] for name, of in runs.items()}
    bars |= {c["name"]: c["held-out"] for c in counted} | {"elman train": ours[0]["held-out"]}
    return Chart(
        name="held-out",
        title="Held-out perplexity of the textbook's networks, of n-grams, and of what elman train chooses",
        x="",
        y="perplexity, scored alike",
        lines=[Line(label="", x=list(bars), y=list(bars.values()), style="bars")],
    )


def _lessons(
    runs: dict[str, list[dict[str, Any]]], ngram: dict[str, Any], ours: list[dict[str, Any]]
) -> tuple[str, ...]:
    best = {name: min(NETWORKS[name][2], *(r["held-out"] for r in of)) for name, of in runs.items()}
    lost = [name for name, figure in best.items() if figure > ngram["held-out"]]
    mean = [r["validation"] / r["held-out"] for of in runs.values() for r in of]
    return (
        f"An {ngram['name']} that is counted in a second has {ngram['held-out']:.2f} and beats {len(lost)} of "
        f"{len(best)} networks, by what is printed and by what is measured. An n-gram belongs beside every network.",
        f"What elman train chooses for this text, an n-gram that a network weighs and corrects, has "
        f"{min(o['held-out'] for o in ours):.2f} (its best seed).",
        "The plotted figure is the mean of exp(cost) over batches of windows that all begin from a zero state: "
        f"{min(mean):.2f} to {max(mean):.2f} times what the same network has with one state carried.",
    )


EXPERIMENT = Experiment(
    name="textbook",
    title="the textbook's split: every network of its edition 1.0, beside n-grams",
    source="d2l.ai 1.0.3, 9.5, 9.6, 10.1 to 10.3; read off its curves",
    minutes=7.5,
    run=run,
)
