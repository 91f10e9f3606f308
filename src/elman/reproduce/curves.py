"""Trainings as curves: what most experiments measure."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import elman
from elman.errors import DivergedError
from elman.reproduce.experiment import Line

if TYPE_CHECKING:
    from elman.models.base import Network

Curve = dict[str, Any]
"""epochs, train: perplexity of each epoch, while the weights change; held_out_epochs, held_out: at each report, of the
first 20,000 held-out tokens; norms: each epoch's largest gradient norm before clipping; cpu: CPU seconds so far;
diverged: why it ended."""


def curve(
    model: "Network",
    text: elman.Split,
    held_out: elman.Split | None,
    settings: elman.TrainSettings | None = None,
    **overrides: Any,
) -> Curve:
    """`elman.train`, followed; where training diverges, the curve ends with infinity."""
    found: Curve = {name: [] for name in ("epochs", "train", "held_out_epochs", "held_out", "norms", "cpu")}
    found["diverged"] = None
    steps = elman.train(model, text, held_out, settings, **overrides)
    began, norm = time.process_time(), 0.0  # what is loaded for the first training of a process is not its cost
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


def one_bias(model: elman.Recurrent) -> elman.Recurrent:
    """The same network with one bias a gate to learn, as textbooks have it from scratch.

    Two, as in PyTorch, add up to one but each take a step of it: where steps are clipped, that leaves less for the
    weights. The lecture's network is then at 7.5 in epoch 100, where it was published, and with one bias is, at 7.1.
    """
    for layer in model.stack:
        layer.b_h.requires_grad_(False)
    return model


def at(found: Mapping[str, Sequence[float]], epoch: int) -> float:
    """Training perplexity of an epoch, or of the last where there were fewer."""
    return found["train"][min(epoch, len(found["train"])) - 1]


def until(found: Mapping[str, Sequence[float]], level: float, what: str = "epochs") -> float:
    """Epochs, or CPU seconds ("cpu"), until training perplexity is at most `level`; infinite where it never is."""
    return next((spent for spent, p in zip(found[what], found["train"], strict=False) if p <= level), math.inf)


def steepness(curves: Sequence[Mapping[str, Sequence[float]]], epoch: int, shift: int = 5) -> float:
    """How much training perplexity changes within `shift` epochs of one, in the curve where it changes most."""
    return max(abs(at(c, max(1, epoch + by)) - at(c, epoch)) for c in curves for by in (-shift, shift))


def training(label: str, found: Mapping[str, Sequence[float]], points: int = 125) -> Line:
    """The training curve, thinned."""
    every = -(-len(found["epochs"]) // points)
    return Line(label=label, x=found["epochs"][::every], y=found["train"][::every])


def held_out(label: str, found: Mapping[str, Sequence[float]]) -> Line:
    """The held-out curve."""
    return Line(label=label, x=found["held_out_epochs"], y=found["held_out"], style="dashed")
