"""Learning curves, which most experiments measure."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import elman
from elman.errors import DivergedError
from elman.reproduce.experiment import ChartSeries

if TYPE_CHECKING:
    from elman.models.base import Network

Curve = dict[str, Any]
"""epochs, train: the perplexity of each epoch's batches, while the weights change; held_out_epochs, held_out: that of
the first 20,000 held-out tokens at each report; norms: the largest gradient norm of each epoch before clipping; cpu:
CPU seconds since the start; diverged: the error if training diverged."""


def train_curve(
    model: "Network",
    text: elman.Split,
    held_out: elman.Split | None,
    settings: elman.TrainSettings | None = None,
    **overrides: Any,
) -> Curve:
    """Train a model and record its learning curve; if training diverges, the curve ends with infinity.

    Args:
        model: its weights change.
        text: the training tokens.
        held_out: scored at every report; None for none.
        settings: how to train.
        **overrides: replace single settings, as in `elman.train`.

    Returns:
        The curve; all of its lists have one element for each epoch, but those of held-out text one for each report.
    """
    found: Curve = {name: [] for name in ("epochs", "train", "held_out_epochs", "held_out", "norms", "cpu")}
    found["diverged"] = None
    steps = elman.train(model, text, held_out, settings, **overrides)
    began, norm = time.process_time(), 0.0  # loading modules for the first training of a process is not counted
    try:
        for progress in steps:
            norm = max(norm, progress.gradient_norm)
            if progress.epoch_ended:
                found["epochs"].append(round(progress.epoch))
                found["train"].append(progress.perplexity)
                found["norms"].append(norm)
                found["cpu"].append(time.process_time() - began)
                norm = 0.0
            if progress.held_out:
                found["held_out_epochs"].append(progress.epoch)
                found["held_out"].append(progress.held_out.perplexity)
    except DivergedError as error:
        found["diverged"] = str(error)
        found["epochs"].append(len(found["epochs"]) + 1)
        found["train"].append(math.inf)
        found["norms"].append(math.inf)
    return found


def freeze_second_bias(model: elman.Recurrent) -> elman.Recurrent:
    """Train only one of the two biases of each gate, as the networks from scratch of Zhang et al. 2021 have one.

    PyTorch has two. Their sum acts as one, but each takes a gradient step: if steps are clipped, the weights then move
    less. The network of Smola and Li 2019 has training perplexity 7.5 at epoch 100 with two biases and 7.1
    with one; 7.1 is published.
    """
    for layer in model.stack:
        layer.b_h.requires_grad_(False)
    return model


def perplexity_at(found: Mapping[str, Sequence[float]], epoch: int) -> float:
    """The training perplexity of an epoch.

    Args:
        found: a curve.
        epoch: counted from 1; where there are fewer, the last is taken.
    """
    return found["train"][min(epoch, len(found["train"])) - 1]


def lowest_plotted(found: Mapping[str, Sequence[float]], every: int) -> float:
    """The lowest training perplexity of a curve that is plotted with one point in so many epochs.

    Args:
        found: a curve.
        every: epochs from one point to the next, the first of them included; where there are fewer, the last counts.
    """
    return min(found["train"][every - 1 :: every] or found["train"][-1:])


def cost_to_reach(found: Mapping[str, Sequence[float]], level: float, what: str = "epochs") -> float:
    """Epochs or CPU seconds until the training perplexity is at most `level`; infinite if it never is.

    Args:
        found: a curve.
        level: a perplexity.
        what: "epochs", or "cpu" for CPU seconds.
    """
    return next((spent for spent, p in zip(found[what], found["train"], strict=False) if p <= level), math.inf)


def local_change(curves: Sequence[Mapping[str, Sequence[float]]], epoch: int, shift: int = 5) -> float:
    """How much the training perplexity changes near an epoch, in the curve where it changes most.

    Args:
        curves: one for each seed.
        epoch: counted from 1.
        shift: the distance in epochs, before and after.

    Returns:
        The largest absolute change of perplexity.
    """
    return max(
        abs(perplexity_at(c, max(1, epoch + by)) - perplexity_at(c, epoch)) for c in curves for by in (-shift, shift)
    )


def training_series(label: str, found: Mapping[str, Sequence[float]], points: int = 125) -> ChartSeries:
    """The training perplexity by epoch, for a chart.

    Args:
        label: in the legend.
        found: a curve.
        points: draw at most so many.
    """
    every = -(-len(found["epochs"]) // points)
    return ChartSeries(label=label, x=found["epochs"][::every], y=found["train"][::every])


def held_out_series(label: str, found: Mapping[str, Sequence[float]]) -> ChartSeries:
    """The held-out perplexity by epoch, for a chart.

    Args:
        label: in the legend.
        found: a curve.
    """
    return ChartSeries(label=label, x=found["held_out_epochs"], y=found["held_out"], style="dashed")
