"""A sine with noise, forecast k steps ahead: how errors grow, and when a rollout leaves the range of the data.

The series, the network and the claims are those of Zhang et al. 2021 (Dive into Deep Learning, edition 0.17,
section 8.1).

x_t = sin(0.01 t) + e_t        e_t from N(0, 0.2^2), t = 1 .. 1000, 604 for training; no error is below 0.04
x^_{t+2} = f(.., x_t, x^_{t+1})        so e_{t,2} = e_{t+1,1} + c e_{t,1}, and E_2 = (1 + c^2) E_1: errors feed errors
"""

from decimal import Decimal
from typing import Any

import numpy as np

import elman
from elman.reproduce.experiment import PRINTED, Chart, ChartSeries, Experiment, Measurement, Result, Runner

FLOOR, CUT = 0.04, 604
STEPS = (1, 4, 16, 64)
REFERENCE = {
    4: ("0.054", "0.064", "0.147", "0.70"),
    16: ("0.052", "0.056", "0.097", "1.8"),
    64: ("0.057", "0.059", "0.089", "2.5"),
}
"""The mean over ten series of an earlier run of the source's program, by window and steps ahead; the source prints
none of these, but draws curves."""
FREE = {4: "6.2", 16: "1.6", 64: "1.2e8"}
"""The same for rollouts over all held-out values; one that diverges decides the mean."""
SERIES = 10
FIRST = 5
"""Series on which the other models are measured as well."""
BETTER = ("ridge-128", "gru-64", "auto")
DRAWN = ("last", "mlp-reference-4", "mlp-reference-64", "ridge-128", "gru-64")
Forecasts = dict[str, dict[str, Any]]


def forecast(seed: int, models: list[str], steps: int = STEPS[-1]) -> Forecasts:
    """Errors of each model's forecasts of one series by steps ahead, and its rollout.

    Args:
        seed: of the series and the networks.
        models: their names.
        steps: K, steps ahead.
    """
    study = elman.forecast(elman.sine(seed=seed), models, horizon=steps, seed=seed)
    found = {}
    for entry in study.models:
        trial = entry.by_seed[0]
        errors, k = trial.test.errors, [k - 1 for k in STEPS if k <= steps]
        found[entry.name] = {
            "mse": [float(e) for e in entry.mse],
            "free": trial.rollout.tolist(),
            "free_mse": trial.rollout_mse,
            "diverged": trial.diverged_at,
            "c": error_feedback(errors),
            "ahead": [trial.test.predicted[: len(errors) - j, j].tolist() for j in k],
        }
    return found | {"auto": found[study.chosen]} if "auto" in models else found


def error_feedback(errors: Any) -> float:
    """The c of e_{t,2} = e_{t+1,1} + c e_{t,1} by least squares; errors (N, K), K at least 2."""
    first, added = errors[:-2, 0], errors[:-2, 1] - errors[1:-1, 0]
    return float(first @ added / (first @ first))


def run(runner: Runner) -> Result:
    """Ten series for the network of the source, as many as its reference has; the pictures show the first."""
    seeds = range(runner.choose(FIRST, 1))
    more = range(len(seeds), runner.choose(SERIES, 1))
    theirs = [f"mlp-reference-{tau}" for tau in runner.choose(tuple(REFERENCE), (4,))]
    models = runner.choose([*theirs, *BETTER], [*theirs, "ridge-16"])
    steps = runner.choose(STEPS[-1], 4)
    cases = [{"seed": s, "models": models, "steps": steps} for s in seeds]
    cases += [{"seed": s, "models": theirs, "steps": steps} for s in more]
    found = runner.trials(forecast, cases)
    each = found[: len(seeds)]
    names = [m for m in models if m in each[0]]
    return Result(
        measurements=(
            *(row for tau in REFERENCE if f"mlp-reference-{tau}" in names for row in _by_steps(tau, found)),
            *_claims(found, each, "mlp-reference-4", names[-1]),
            *(row for name in names if name not in theirs for row in _ours(name, each)),
        ),
        charts=(_data(each[0]), *_overlay(each[0]), _errors(names, each)),
        lessons=_lessons(each, names[-1]),
    )


def _at(each: list[Forecasts], name: str, k: int) -> tuple[float, ...]:
    return tuple(found[name]["mse"][min(k, len(found[name]["mse"])) - 1] for found in each)


def _free(each: list[Forecasts], name: str) -> tuple[float, ...]:
    return tuple(found[name]["free_mse"] for found in each)


def _half(figure: str) -> float:
    """Half a unit of the last digit of a number."""
    return float(Decimal(5).scaleb(int(Decimal(figure).as_tuple().exponent) - 1))


def _by_steps(tau: int, each: list[Forecasts]) -> list[Measurement]:
    """The errors of one window by steps ahead, and of its rollout, beside those of an earlier run: means both."""
    name = f"mlp-reference-{tau}"
    rows = [
        Measurement(
            what=f"window {tau}, squared error {k} {'step' if k == 1 else 'steps'} ahead",
            earlier_run=float(figure),
            measured=_at(each, name, k),
            statistic="mean",
            tolerance=_half(figure),
            tolerance_from=PRINTED,
            better="lower",
            headline=tau == 4 and k in (1, 64),
            explained=OTHER_SERIES if k < STEPS[-1] else FEW_DECIDE,
        )
        for k, figure in zip(STEPS, REFERENCE[tau], strict=True)
    ]
    left = sum(found[name]["diverged"] is not None for found in each)
    return [
        *rows,
        Measurement(
            what=f"window {tau}, squared error of the free run from 604 to 1,000",
            earlier_run=float(FREE[tau]),
            measured=_free(each, name),
            statistic="mean",
            tolerance=_half(FREE[tau]),
            tolerance_from=PRINTED,
            better="lower",
            explained=FEW_DECIDE,
            number_format=".3g",
            note=f"{left} of {len(each)} leave the range of the data by more than that range",
        ),
    ]


OTHER_SERIES = (
    "the noise of the ten series differs from that of the ten of the earlier run, and the series differ among "
    "themselves by far more than the last digit"
)
FEW_DECIDE = (
    "one or two of ten series, whose predictions leave the range of the data, decide the mean: the median says more"
)


def _claims(all_of_them: list[Forecasts], each: list[Forecasts], theirs: str, ours: str) -> list[Measurement]:
    """The claims of Zhang et al. 2021 about their figures, and one of them about another model."""

    def ratio(of: list[Forecasts], name: str, k: int, other: str, j: int) -> tuple[float, ...]:
        return tuple(a / b for a, b in zip(_at(of, name, k), _at(of, other, j), strict=True))

    grown = tuple((1 + one[theirs]["c"] ** 2) * one[theirs]["mse"][0] / one[theirs]["mse"][1] for one in all_of_them)
    useless = "Zhang et al. 2021: nearly useless beyond 4 steps, so no better than the last value"
    return [
        Measurement(
            what="window 4, error 64 steps ahead / 1 step ahead", published=1.0, claim="at least",
            measured=ratio(all_of_them, theirs, 64, theirs, 1), number_format=".1f", note="errors accumulate",
        ),
        Measurement(
            what="window 4, E_2 that (1 + c^2) E_1 predicts / E_2", measured=grown,
            number_format=".3f", note="it would be 1 if f were linear, and errors independent",
        ),
        Measurement(
            what="window 4, error 16 steps ahead / that of the last value", published=1.0, claim="at least",
            measured=ratio(all_of_them, theirs, 16, "last", 16), number_format=".2f", note=useless, headline=True,
            explained="on some series the network is still better than the last value at 16 steps",
        ),
        Measurement(
            what=f"{ours}, error 64 steps ahead / that of the last value", published=1.0, claim="at least",
            measured=ratio(each, ours, 64, "last", 64), number_format=".2f", note=useless, headline=True,
            explained="the claim is about the network and not about the task: a model that reads more values, and was "
            "chosen by its errors many steps ahead, stays near the noise",
        ),
    ]  # fmt: skip


def _ours(name: str, each: list[Forecasts]) -> list[Measurement]:
    """Other models of the same series."""
    return [
        *(Measurement(what=f"{name}, squared error at k = {k}", measured=_at(each, name, k)) for k in STEPS),
        Measurement(what=f"{name}, squared error of the free run", measured=_free(each, name), number_format=".3g"),
    ]


def _data(found: Forecasts) -> Chart:
    """The data, one-step predictions, and the rollout."""
    series, one = elman.sine(seed=0).values, found["mlp-reference-4"]
    after = range(CUT + 1, len(series) + 1)
    return Chart(
        name="data",
        title="One step ahead a window of 4 follows the sine; on its own predictions it does not",
        x="t",
        y="x",
        series=[
            ChartSeries(
                label="observed, every third", x=range(1, len(series) + 1, 3), y=series[::3].tolist(), style="points"
            ),
            ChartSeries(label="one step ahead", x=after, y=one["ahead"][0]),
            ChartSeries(label="on its own predictions", x=after, y=one["free"]),
        ],
    )


def _overlay(found: Forecasts) -> tuple[Chart, ...]:
    """k-step predictions of a window of 4 and of a linear model, for several k in one chart."""
    return tuple(
        Chart(
            name=f"ahead-{name}",
            title=f"{name}: the prediction of each value, so many steps before it",
            x="t",
            y="x",
            series=[
                ChartSeries(label=f"{k} steps before", x=range(CUT + k, CUT + k + len(path)), y=path)
                for k, path in zip(STEPS, found[name]["ahead"], strict=False)
            ],
        )
        for name in ("mlp-reference-4", "ridge-128")
        if name in found
    )


def _errors(names: list[str], each: list[Forecasts]) -> Chart:
    steps = len(each[0]["last"]["mse"])
    return Chart(
        name="errors",
        title="Squared error by steps ahead, medians over the series",
        x="k, steps ahead",
        y="squared error",
        log="xy",
        series=[
            ChartSeries(
                label=name, x=range(1, steps + 1), y=np.median([found[name]["mse"] for found in each], 0).tolist()
            )
            for name in ("last", *names)
            if name in DRAWN
        ],
        bounds={"noise": FLOOR},
    )


def _lessons(each: list[Forecasts], ours: str) -> tuple[str, ...]:
    theirs, last = (np.median([found[name]["mse"] for found in each], 0) for name in ("mlp-reference-4", "last"))
    far = min(STEPS[2], len(theirs)) - 1
    good = np.median([found[ours]["mse"] for found in each], 0)
    c = [found["mlp-reference-4"]["c"] for found in each]
    free = [one["diverged"] for found in each for name, one in found.items() if name.startswith("mlp-reference")]
    left, runs = sum(step is not None for step in free), len(free)
    return (
        f"Trained to predict one step ahead, a window of 4 has {theirs[0]:.3f} there (the noise alone is {FLOOR}) and "
        f"{theirs[far]:.3f} at {far + 1} steps, where the last value again has {last[far]:.3f}. Each prediction passes "
        f"{min(c):.2f} to {max(c):.2f} of its error on to the next: always compare a model with a naive forecast.",
        f"The model is useless, not the task: {ours} has {good[0]:.3f} at 1 step and {good[-1]:.3f} at "
        f"{len(good)}. It reads a longer window, and was chosen by its errors many steps ahead, not one.",
        f"A rollout may leave the range of the data, as here {left} of {runs} of the published network do: check for "
        "it. elman reports the step at which it happens.",
    )


EXPERIMENT = Experiment(
    name="sine",
    title="the sine with noise, 1 to 64 steps ahead",
    source=(
        "Zhang et al. 2021 (Dive into Deep Learning, edition 0.17), section 8.1: claims as written; "
        "its program in an earlier run on ten series"
    ),
    order=120,
    minutes=1,
    run=run,
)
