"""The state of a training as files, and back: what a run needs beside the model to go on bit by bit.

    training.json          settings, counters, the digest of the text, how long the records were
    training.safetensors   the optimizer's moments, and the carried hidden state

A checkpoint may come from anybody: every name, type and shape is checked before it is used.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elman.config import REMOVED, TrainSettings
from elman.data.batches import find_batching
from elman.data.segmentation import Segmentation
from elman.data.vocab import Vocab
from elman.errors import ConfigError, ModelError
from elman.models.base import Network, check_finite
from elman.models.saving import Files, to_json
from elman.reading import PARSER_ERRORS
from elman.storage.folder import Saved
from elman.training.config import Config, as_not_given
from elman.training.loop import LossSum, TrainState

RECORDS = ("metrics.jsonl", "samples.jsonl")
WHOLE = ("step", "epoch", "batch", "epoch_tokens", "total_tokens", "reports", "reports_since_best", "norm_count")
REAL = ("seconds", "step_seconds", "norm_sum")
PERHAPS = ("best_perplexity", "last_epoch_perplexity")  # null where there is none yet
OLD_COUNTERS = {
    "epoch_tokens": "seen",
    "total_tokens": "learnt",
    "reports_since_best": "stale",
    "norm_count": "normed",
    "step_seconds": "busy",
    "norm_sum": "norms",
    "best_perplexity": "best",
    "last_epoch_perplexity": "last",
    "running_loss": "tally",
}
"""Counters by their names in checkpoints of 0.1."""
_NAME = re.compile(r"carried\.\d{1,4}|optimizer\.\d{1,4}\.(step|exp_avg|exp_avg_sq)")


@dataclass(frozen=True)
class CheckpointMetadata:
    """The contents of training.json, checked."""

    config: Config
    corpus: str
    """Digest of the text that the run learns from."""
    counters: Mapping[str, Any]
    records: Mapping[str, int]
    """Length in bytes of each file of records when the checkpoint was saved."""
    removed: tuple[str, ...] = ()
    """Settings that the run was trained with and that no longer exist."""
    segmentation: Segmentation = "uax29"
    """The rules by which its text was split and normalized, which are those of its vocabulary."""


def training_files(training: TrainState, config: Mapping[str, Any], corpus: str, records: Mapping[str, int]) -> Files:
    """The two files of a training at this moment."""
    tensors = {
        f"optimizer.{i}.{key}": value
        for i, p in enumerate(training.parameters)
        for key, value in training.optimizer.state[p].items()
        if value is not None
    }
    tensors |= {f"carried.{i}": s for i, s in enumerate(training.carried)}
    counters = {name: getattr(training, name) for name in WHOLE + REAL + PERHAPS}
    counters["best_perplexity"] = None if math.isinf(training.best_perplexity) else training.best_perplexity
    counters["running_loss"] = [training.running_loss.nats, training.running_loss.tokens]
    facts = {"config": config, "corpus": corpus, "counters": counters, "records": records}
    return {"training.json": to_json(facts), "training.safetensors": tensors}


def read_facts(saved: Saved) -> CheckpointMetadata:
    """What training.json says.

    Raises:
        ModelError: it is damaged, or not of this elman.
    """
    value = saved.json("training.json")
    try:
        settings = value["config"]
        removed = tuple(f"{name} {settings[name]}" for name in REMOVED if settings.get(name))
        kept = {name: setting for name, setting in settings.items() if name not in REMOVED}
        if "layers" not in as_not_given(kept):
            kept.pop("layers", None)
        config = Config.resolve((str(saved.path), kept))
        counters, records = value["counters"], value["records"]
        old = {new: counters[name] for new, name in OLD_COUNTERS.items() if name in counters}
        counters = counters | old
        whole = {name: _whole(counters[name]) for name in WHOLE}
        real = {name: _real(counters[name]) for name in REAL}
        perhaps = {name: None if counters[name] is None else _real(counters[name]) for name in PERHAPS}
        running_loss = (_real(counters["running_loss"][0]), _whole(counters["running_loss"][1]))
        return CheckpointMetadata(
            config,
            str(value["corpus"]),
            {**whole, **real, **perhaps, "running_loss": running_loss},
            {name: _whole(records[name]) for name in RECORDS},
            removed,
            Vocab.from_json(saved.text("vocab.json")).segmentation,
        )
    except (ConfigError, *PARSER_ERRORS) as error:
        raise _foreign(saved.path, f"training.json has no usable value for {error}") from error


def restored(saved: Saved, model: Network, settings: TrainSettings, facts: CheckpointMetadata) -> TrainState:
    """The training state of a checkpoint, for a model that was loaded from it.

    Raises:
        ModelError: tensors that do not belong to this model, or hold NaN or infinity.
    """
    training = TrainState.begin(model, settings)
    tensors = saved.tensors("training.safetensors", None)
    check_finite(tensors, saved.path)
    if wrong := [name for name in tensors if not _NAME.fullmatch(name)]:
        raise _foreign(saved.path, f"the tensor {wrong[0]!r:.60} is unknown")
    parameters = training.parameters
    for name, t in tensors.items():
        kind, number, *rest = name.split(".")
        if kind == "optimizer":
            _restore_moment(training, parameters, int(number), rest[0], t, saved.path)
    training.carried = _carried(tensors, model, settings, saved.path)
    for name, value in facts.counters.items():
        if name != "running_loss":
            setattr(training, name, value)
    training.best_perplexity = math.inf if facts.counters["best_perplexity"] is None else training.best_perplexity
    training.running_loss = LossSum(*facts.counters["running_loss"])
    return training


def _restore_moment(
    training: TrainState, parameters: list[Tensor], number: int, key: str, value: Tensor, where: Path
) -> None:
    """One tensor of the optimiser, in the memory layout of its parameter."""
    if number >= len(parameters):
        raise _foreign(where, f"the optimiser has no parameter {number}")
    p = parameters[number]
    if value.shape != (torch.Size() if key == "step" else p.shape):
        raise _foreign(where, f"the optimiser's {key} of parameter {number} has the shape {list(value.shape)}")
    # A fused optimiser counts its steps where the parameter is.
    training.optimizer.state[p][key] = value.to(p.device) if key == "step" else torch.empty_like(p).copy_(value)


def _carried(tensors: Mapping[str, Tensor], model: Network, settings: TrainSettings, where: Path) -> tuple[Tensor, ...]:
    numbers = sorted(int(name.split(".")[1]) for name in tensors if name.startswith("carried."))
    carried = tuple(tensors[f"carried.{i}"].to(model.device) for i in numbers)
    fresh = find_batching(settings.batching).fresh_state  # then the state that the last batch left is never read
    rows = len(carried[0]) if carried and carried[0].dim() and fresh else settings.batch
    if carried and [s.shape for s in carried] != [s.shape for s in model.initial(rows)]:
        raise _foreign(where, "the carried state does not fit the model")
    if carried and (
        [s.dtype for s in carried] != [s.dtype for s in model.initial(1)] or not model.is_valid_state(carried)
    ):
        raise _foreign(where, "the carried state is not one that the model has")
    return carried


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"{value!r:.40}, which is not a whole number")
    return value


def _real(value: object) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"{value!r:.40}, which is not a number")
    return float(value)  # type: ignore[arg-type]  # one of the two


def _foreign(where: Path, why: str) -> ModelError:
    return ModelError(f"{where} cannot be resumed: {why}; use another checkpoint, or the elman that wrote it")
