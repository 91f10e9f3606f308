"""A model as files: what it is (JSON), its vocabulary, its weights (safetensors), and the counts behind its bounds.

    model.json           kind and settings
    vocab.json           the vocabulary
    model.safetensors    the weights
    counts.safetensors   how often each token occurs in the training text: the unigram to compare with

The folder is written whole or not at all, with a SHA-256 for every file (`elman.store`), and loading it never runs
code from it: sizes are checked against the settings before anything is allocated.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ConfigDict, Field, PositiveInt, ValidationError
from pydantic.dataclasses import dataclass
from torch import Tensor

from elman.data.clean import cleaning
from elman.data.vocab import Vocab
from elman.errors import ConfigError, ModelError
from elman.models.recurrent import Recurrent
from elman.store import MANIFEST, Checkpoints, Saved, read_folder, write_folder
from elman.task import Text

Files = dict[str, bytes | Mapping[str, npt.NDArray[Any] | Tensor]]
MODEL_FILES = ("model.json", "vocab.json", "model.safetensors", "counts.safetensors")
FORMAT = 1


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Description:
    """The contents of model.json; what it says is validated before a single weight is made."""

    format: int
    model: str
    clean: str
    cell: str
    hidden: list[PositiveInt] = Field(min_length=1, max_length=64)
    embedding: int = Field(ge=0)
    dropout: float = Field(ge=0, lt=1)
    tied: bool
    learn_initial: bool
    init: str


def model_files(model: Recurrent, counts: npt.NDArray[np.int64]) -> Files:
    """The files of a model and of the token counts of its training text."""
    description = {"format": FORMAT, "model": "recurrent", "clean": model.task.clean, **model.settings()}
    return {
        "model.json": to_json(description),
        "vocab.json": model.task.vocab.to_json().encode(),
        "model.safetensors": dict(model.state_dict()),
        "counts.safetensors": {"unigram": counts},
    }


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values, with null for numbers that are not finite, which JSON does not have."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def to_json(value: Any) -> bytes:
    """Readable JSON in UTF-8; numbers survive the round trip exactly, NaN and infinity are refused."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def save(model: Recurrent, path: str | Path, counts: npt.NDArray[np.int64] | None = None) -> None:
    """Write `model` as the new folder `path`; `counts` are those of the training tokens, (V,).

    Raises:
        ConfigError: `path` exists.
        StorageError: the disk refuses; then nothing is left behind.
    """
    if counts is None:
        counts = np.zeros(model.task.size, np.int64)
    write_folder(Path(path), model_files(model, counts))


def load(path: str | Path, *, engine: str = "auto", device: str = "cpu") -> Recurrent:
    """The model in a saved folder, in a checkpoint, or in a run (its best weights, or its newest).

    Raises:
        ModelError: no model there, or a damaged or foreign one.
        ConfigError: an engine that cannot run it.
    """
    return build(read_folder(find(Path(path)), names=MODEL_FILES), engine=engine, device=device)


def find(path: Path) -> Path:
    """The saved folder that a path means: itself, or the checkpoint of a run that `keep` chose.

    Raises:
        ModelError: there is no model.
    """
    if (path / "checkpoints").is_dir():
        checkpoints = Checkpoints(path / "checkpoints")
        found = checkpoints.best() or checkpoints.latest()
        if found is None:
            raise ModelError(f"the run {str(path)!r} has no checkpoint yet: let it train longer, or --resume it")
        return found
    if (path / MANIFEST).exists() or (path / MODEL_FILES[0]).exists():
        return path
    runs = sorted(p.parent.name for p in path.glob("*/checkpoints")) if path.is_dir() else []
    if runs:
        raise ModelError(f"{str(path)!r} is no run, but holds some: give one of {', '.join(runs[:10])}")
    raise ModelError(f"there is no run or model at {str(path)!r}: give the folder that elman train made")


def build(saved: Saved, *, engine: str, device: str) -> Recurrent:
    """The model of a saved folder that was already verified."""
    vocab = Vocab.from_json(saved.text("vocab.json"))
    try:
        d = Description(**saved.json("model.json"))
        if (d.format, d.model) != (FORMAT, "recurrent"):
            raise ConfigError(f"format {d.format}, model {d.model!r}; this elman reads format {FORMAT}, 'recurrent'")
        arguments: dict[str, Any] = {
            "cell": d.cell,
            "hidden": d.hidden,
            "embedding": d.embedding,
            "dropout": d.dropout,
            "tied": d.tied,
            "learn_initial": d.learn_initial,
            "init": d.init,
            "engine": engine,
            "seed": None,
        }
        with torch.device("meta"):
            shapes = Recurrent(Text(vocab, cleaning(d.clean).name), **arguments).state_dict()
    except (ValidationError, ConfigError, TypeError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ModelError(f"{saved.path}: model.json does not describe a model of this elman: {reason}") from error
    expected = {name: (tuple(t.shape), t.dtype) for name, t in shapes.items()}
    weights = saved.tensors("model.safetensors", expected)
    check_finite(weights, saved.path)
    model = Recurrent(Text(vocab, d.clean), **arguments)
    model.load_state_dict(weights)
    model.to(device)
    model.engine  # noqa: B018 - an engine that cannot run this is refused now, not at the first step
    return model


def check_finite(tensors: Mapping[str, Tensor], where: Path) -> None:
    """Refuse NaN and infinity.

    Raises:
        ModelError: names the tensor.
    """
    for name, t in tensors.items():
        if t.is_floating_point() and not bool(torch.isfinite(t).all()):
            raise ModelError(f"{where}: {name} holds NaN or infinity; use an earlier checkpoint")


def load_counts(saved: Saved, size: int) -> npt.NDArray[np.int64]:
    """How often each of `size` tokens occurs in the training text."""
    expected = {"unigram": ((size,), torch.int64)}
    return saved.tensors("counts.safetensors", expected)["unigram"].numpy()
