"""A model as files: what it is (JSON), its vocabulary, its weights (safetensors), and the counts behind its bounds.

    model.json           kind and settings
    vocab.json           the vocabulary
    model.safetensors    the weights, or the counts
    counts.safetensors   how often each token occurs in the training text: the unigram to compare with

The folder is written whole or not at all, with a SHA-256 for every file (`elman.storage.folder`), and loading it never
runs code from it: sizes are checked against the settings before anything is allocated.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ConfigDict, Field, PositiveInt, ValidationError
from pydantic.dataclasses import dataclass
from torch import Tensor

from elman.data.cleaning import cleaning
from elman.data.vocab import Vocab
from elman.errors import ConfigError, ModelError
from elman.models.base import Network, SequenceModel
from elman.models.copying import LARGEST, Copying
from elman.models.hybrid import Hybrid
from elman.models.mlp import MLP
from elman.models.ngram.counts import validated_counts
from elman.models.ngram.experts import HIGHEST
from elman.models.ngram.model import NGram
from elman.models.recurrent import Recurrent
from elman.models.task import TextTask
from elman.storage.checkpoints import Checkpoints
from elman.storage.folder import MANIFEST, Saved, read_folder, write_folder

Files = dict[str, bytes | Mapping[str, npt.NDArray[Any] | Tensor]]
MODEL_FILES = ("model.json", "vocab.json", "model.safetensors", "counts.safetensors")
FORMAT = 1


_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class RecurrentFacts:
    """What model.json says of a recurrent network, validated before a single weight is made."""

    cell: str
    hidden: list[PositiveInt] = Field(min_length=1, max_length=64)
    embedding: int = Field(ge=0)
    dropout: float = Field(ge=0, lt=1)
    input_dropout: float = Field(default=0.0, ge=0, lt=1)
    recurrent_dropout: float = Field(default=0.0, ge=0, lt=1)
    token_noise: float = Field(default=0.0, ge=0, lt=1)
    tied: bool
    learn_initial: bool
    layer_norm: bool = False
    residual: bool = False
    mogrifier: int = Field(default=0, ge=0)
    init: str

    def restored(self, saved: Saved, task: TextTask, engine: str) -> SequenceModel:
        """The network with its weights."""
        return _with_weights(lambda: Recurrent(task, **dataclasses.asdict(self), engine=engine, seed=None), saved)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class HybridFacts(RecurrentFacts):
    """What it says of one that weighs experts."""

    experts: int = Field(ge=2, le=HIGHEST)
    text: int = Field(ge=0, le=2**40)

    def restored(self, saved: Saved, task: TextTask, engine: str) -> SequenceModel:
        """The network with its weights, and the text that its experts are counted on."""
        model = _with_weights(lambda: Hybrid(task, **dataclasses.asdict(self), engine=engine, seed=None), saved)
        text = model.state_dict()["text"]
        if len(text) and not 0 <= int(text.min()) <= int(text.max()) < task.size:
            raise ModelError(f"{saved.path}: the text of its experts holds tokens that the vocabulary does not")
        return model


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class CopyingFacts(RecurrentFacts):
    """What it says of one with a copy head."""

    copy: int = Field(ge=1, le=LARGEST)

    def restored(self, saved: Saved, task: TextTask, engine: str) -> SequenceModel:
        """The network with its weights."""
        return _with_weights(lambda: Copying(task, **dataclasses.asdict(self), engine=engine, seed=None), saved)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class MLPFacts:
    """What it says of a windowed network."""

    hidden: PositiveInt
    context: PositiveInt
    embedding: int = Field(ge=0)
    bag: bool
    dropout: float = Field(ge=0, lt=1)

    def restored(self, saved: Saved, task: TextTask, engine: str) -> SequenceModel:  # noqa: ARG002 - it has one engine
        """The network with its weights."""
        return _with_weights(lambda: MLP(task, **dataclasses.asdict(self), seed=None), saved)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class NGramFacts:
    """What it says of an n-gram model."""

    order: PositiveInt = Field(le=1000)
    smoothing: str
    eps: float = Field(ge=0)

    def restored(self, saved: Saved, task: TextTask, engine: str) -> SequenceModel:  # noqa: ARG002 - it has none
        """The counts, checked, and smoothed anew."""
        tensors = saved.tensors("model.safetensors", None)
        names = [f"{what}.{n}" for n in range(1, self.order + 1) for what in ("keys", "times")]
        if sorted(names) != sorted(tensors) or any(t.dtype != torch.int64 or t.dim() != 1 for t in tensors.values()):
            raise ModelError(f"{saved.path}: model.safetensors does not hold the counts of a {self.order}-gram")
        arrays = [tensors[name].numpy() for name in names]
        try:
            counts = validated_counts(task.size, arrays[::2], arrays[1::2])
        except ValueError as error:
            raise ModelError(f"{saved.path}: model.safetensors holds no counts of n-grams: {error}") from error
        return NGram(task, counts, smoothing=self.smoothing, eps=self.eps)


KINDS: dict[str, type[RecurrentFacts | MLPFacts | NGramFacts]] = {
    Recurrent.kind: RecurrentFacts,
    Hybrid.kind: HybridFacts,
    Copying.kind: CopyingFacts,
    MLP.kind: MLPFacts,
    NGram.kind: NGramFacts,
}


def model_files(model: SequenceModel, counts: npt.NDArray[np.int64]) -> Files:
    """The files of a model and of the token counts of its training text.

    Raises:
        ConfigError: a model that is not saved as one.
    """
    if model.kind not in KINDS:
        raise ConfigError(f"a {model.kind} is not saved as one: save each of its models, and its settings beside them")
    task = {"clean": model.task.clean, "reverse": model.task.reverse}
    description = {"format": FORMAT, "model": model.kind} | task | model.settings()
    return {
        "model.json": to_json(description),
        "vocab.json": model.task.vocab.to_json().encode(),
        "model.safetensors": model.tensors(),
        "counts.safetensors": {"unigram": counts},
    }


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values at any depth, with null for numbers that are not finite, which JSON does not have."""
    return {k: _finite(v) for k, v in values.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return finite(value)
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_json(value: Any) -> bytes:
    """Readable JSON in UTF-8; numbers survive the round trip exactly, NaN and infinity are refused."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def save(model: SequenceModel, path: str | Path, counts: npt.NDArray[np.int64] | None = None) -> None:
    """Write `model` as the new folder `path`; `counts` are those of the training tokens, (V,).

    Raises:
        ConfigError: `path` exists, or the model is a mixture.
        StorageError: the disk refuses; then nothing is left behind.
    """
    if counts is None:
        counts = np.zeros(model.task.size, np.int64)
    write_folder(Path(path), model_files(model, counts))


def load(path: str | Path, *, engine: str = "auto", device: str = "cpu") -> SequenceModel:
    """The model in a saved folder, in a checkpoint, or in a run (its best weights, or its newest).

    Raises:
        ModelError: no model there, or a damaged or foreign one.
        ConfigError: an engine that cannot run it.
    """
    return build(open_saved(path), engine=engine, device=device)


def open_saved(path: str | Path) -> Saved:
    """Open a saved folder, a checkpoint, or a run (its best checkpoint, or its newest); the model's files are read.

    Args:
        path: the folder.

    Returns:
        The saved folder or checkpoint. The files of the model were checked; others are when they are first used.

    Raises:
        ModelError: there is no model, or a damaged one.
    """
    path = Path(path)
    if (path / "checkpoints").is_dir():
        checkpoints = Checkpoints(path / "checkpoints")
        found = checkpoints.best(MODEL_FILES) or checkpoints.latest(MODEL_FILES)
        if found is None:
            raise ModelError(f"the run {str(path)!r} has no checkpoint yet: let it train longer, or --resume it")
        return found
    if (path / MANIFEST).exists() or (path / MODEL_FILES[0]).exists():
        return read_folder(path, names=MODEL_FILES)
    runs = sorted(p.parent.name for p in path.glob("*/checkpoints")) if path.is_dir() else []
    if runs:
        raise ModelError(f"{str(path)!r} is no run, but holds some: give one of {', '.join(runs[:10])}")
    raise ModelError(f"there is no run or model at {str(path)!r}: give the folder that elman train made")


def build(saved: Saved, *, engine: str, device: str) -> SequenceModel:
    """The model of a saved folder that was already verified.

    Raises:
        ModelError: it does not describe a model of this elman, or its numbers do not fit the description.
        ConfigError: an engine that cannot run it there.
    """
    vocab = Vocab.from_json(saved.text("vocab.json"))
    try:
        values = saved.json("model.json")
        if not isinstance(values, dict):
            raise ConfigError("it is no object")
        version, kind, clean = (values.pop(name) for name in ("format", "model", "clean"))
        if type(version) is not int or version != FORMAT or kind not in KINDS:
            raise ConfigError(
                f"format {version!r:.20}, model {kind!r:.40}; this elman reads {FORMAT}, {', '.join(KINDS)}"
            )
        reverse = values.pop("reverse", False)
        if type(reverse) is not bool:
            raise ConfigError(f"reverse is {reverse!r:.20}, neither true nor false")
        facts = KINDS[kind](**values)
        task = TextTask(vocab, cleaning(clean).name, reverse=reverse)
        model = facts.restored(saved, task, engine)
    except (ValidationError, ConfigError, TypeError, KeyError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ModelError(f"{saved.path}: model.json does not describe a model of this elman: {reason}") from error
    if isinstance(model, Network):
        model.to(device)
        model.engine_name  # noqa: B018 - an engine that cannot run this is refused now, not at the first step
    return model


def build_network(saved: Saved, *, engine: str, device: str) -> Network:
    """The same, where only a network will do: to go on training it.

    Raises:
        ModelError: it is something else.
    """
    model = build(saved, engine=engine, device=device)
    if not isinstance(model, Network):
        raise ModelError(f"{saved.path} holds a {model.kind} model, which is counted and not trained: count it again")
    return model


def _with_weights(make: Callable[[], Network], saved: Saved) -> Network:
    """A network with the weights that were saved; their sizes are checked before anything is allocated."""
    with torch.device("meta"):
        shapes = make().state_dict()
    expected = {name: (tuple(t.shape), t.dtype) for name, t in shapes.items()}
    weights = saved.tensors("model.safetensors", expected)
    check_finite(weights, saved.path)
    model = make()
    model.load_state_dict(weights)
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
