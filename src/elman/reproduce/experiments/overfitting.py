"""Training and held-out perplexity against the epoch, and three remedies against overfitting.

It is the homework of Smola and Li 2019 (STAT 157, UC Berkeley, lecture "Recurrent Neural Networks in Python").

learnt 10,000 characters, held out 5,000 that decide when to stop, tested on the 15,000 after those
GRU of 128 units, AdamW, rate 0.003 throughout, 80 epochs
"""

import statistics
from typing import Any

import elman
from elman.reproduce.curves import Curve, held_out_series, training_series
from elman.reproduce.experiment import Chart, Experiment, Measurement, Result, Runner

REMEDIES: dict[str, dict[str, float]] = {
    "nothing": {},
    "weight decay 1": {"weight_decay": 1.0},
    "dropout 0.5": {"dropout": 0.5},
    "dropout 0.5 and weight-drop 0.4": {"dropout": 0.5, "recurrent_dropout": 0.4},
}
UNIFORM = 28
Runs = dict[str, list[Curve]]


def parts() -> elman.Corpus:
    """The training, held-out and test parts."""
    return elman.read_corpus(["time-machine"], normalize="letters", limit=30_000, held_out=5_000, test=15_000)


def train(
    epochs: int,
    seed: int,
    weight_decay: float = 0.0,
    dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    hidden: int = 128,
) -> Curve:
    """Train once; the test text is scored with the last weights and with those that were best on held-out text.

    Args:
        epochs: of the training.
        seed: of weights and batches.
        weight_decay: of AdamW.
        dropout: probability after each layer.
        recurrent_dropout: probability for each recurrent weight (weight-drop).
        hidden: units.
    """
    corpus = parts()
    model = elman.Recurrent(
        elman.TextTask.of(corpus),
        cell="gru",
        hidden=hidden,
        dropout=dropout,
        recurrent_dropout=recurrent_dropout,
        seed=seed,
    )
    found: Curve = {name: [] for name in ("epochs", "train", "held_out_epochs", "held_out")}
    best = {}
    for progress in elman.train(
        model, corpus.train, corpus.held_out, lr=0.003, schedule="constant", weight_decay=weight_decay,
        epochs=epochs, num_reports=min(epochs, 40), seed=seed,
    ):  # fmt: skip
        if progress.epoch_ended:
            found["epochs"].append(round(progress.epoch))
            found["train"].append(progress.perplexity)
        if progress.held_out:
            found["held_out_epochs"].append(progress.epoch)
            found["held_out"].append(progress.held_out.perplexity)
        if progress.improved:
            best = {name: weights.clone() for name, weights in model.state_dict().items()}
    test = corpus.parts[-1]
    found["last"] = elman.evaluate(model, test).perplexity
    model.load_state_dict(best)
    found["best"] = elman.evaluate(model, test).perplexity
    return found


def score_ngram() -> dict[str, Any]:
    """Score the n-gram whose order predicts the end of the training text best, on the same test text."""
    corpus = parts()
    ngram = elman.NGram.fit(elman.TextTask.of(corpus), corpus.train.ids)
    return {"name": ngram.name, "test": elman.evaluate(ngram, corpus.parts[-1]).perplexity}


def run(runner: Runner) -> Result:
    """Three seeds of each remedy."""
    size: dict[str, int] = {"epochs": runner.choose(80, 2)} | runner.choose({}, {"hidden": 16})
    cases = [(name, s) for name in REMEDIES for s in range(runner.choose(3, 1))]
    found = runner.trials(train, [{"seed": s} | REMEDIES[name] | size for name, s in cases])
    runs: Runs = {name: [f for (of, _), f in zip(cases, found, strict=True) if of == name] for name in REMEDIES}
    ngram = runner.trial(score_ngram)
    return Result(
        measurements=(
            *(row for name in REMEDIES for row in _rows(name, runs[name])),
            Measurement(
                what=f"{ngram['name']}: test perplexity", measured=(ngram["test"],), number_format=".2f", headline=True
            ),
        ),
        charts=(
            Chart(
                name="held-out",
                title="Perplexity while training (lines) and of held-out text (dashes), one seed of each remedy",
                x="epoch",
                y="perplexity",
                log="y",
                series=[
                    line
                    for name, of in runs.items()
                    for line in (training_series(f"{name}, train", of[0]), held_out_series(f"{name}, held-out", of[0]))
                ],
                bounds={"uniform guess": UNIFORM},
            ),
        ),
        lessons=_lessons(runs, ngram),
    )


def _rows(name: str, of: list[Curve]) -> list[Measurement]:
    turns = [r["held_out_epochs"][r["held_out"].index(min(r["held_out"]))] for r in of]
    return [
        Measurement(
            what=f"{name}: training perplexity in the end",
            measured=tuple(r["train"][-1] for r in of),
            number_format=".2f",
        ),
        Measurement(
            what=f"{name}: test perplexity in the end",
            measured=tuple(r["last"] for r in of),
            number_format=".2f",
            headline=not REMEDIES[name],
            note=f"a uniform guess has {UNIFORM}",
        ),
        Measurement(
            what=f"{name}: test perplexity, stopped where held-out text was best",
            measured=tuple(r["best"] for r in of),
            number_format=".2f",
            headline=True,
            note=f"at epoch {', '.join(f'{turn:.0f}' for turn in turns)}",
        ),
    ]


def _lessons(runs: Runs, ngram: dict[str, Any]) -> tuple[str, ...]:
    def middle(name: str, key: str) -> float:
        return float(statistics.median(r[key] for r in runs[name]))

    best = min(runs, key=lambda name: middle(name, "best"))
    last = statistics.median(r["train"][-1] for r in runs["nothing"])
    return (
        f"Without a remedy training perplexity ends at {last:.2f}, test perplexity at {middle('nothing', 'last'):.1f}; "
        f"stopped where held-out text was best, at {middle('nothing', 'best'):.2f}. Early stopping needs only a "
        "held-out text, and that text decides, not the training figure.",
        f"Of these, {best} with stopping does best on the test text: {middle(best, 'best'):.2f}. Weight-drop sets "
        "recurrent weights to zero for a window, so that the network cannot rely on single weights.",
        f"An {ngram['name']} has {ngram['test']:.2f} on the same text.",
    )


EXPERIMENT = Experiment(
    name="overfitting",
    title="training and held-out perplexity against the epoch: dropout, weight decay, stopping early",
    source=(
        'Smola and Li 2019 (STAT 157, UC Berkeley, lecture "Recurrent Neural Networks in Python"): its '
        "homework (no figures are published)"
    ),
    order=70,
    minutes=2,
    run=run,
)
