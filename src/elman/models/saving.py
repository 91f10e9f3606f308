"""A model as files: what it is (JSON), its vocabulary, its weights (safetensors), and the counts behind its bounds.

    model.json           kind and settings
    vocab.json           the vocabulary
    model.safetensors    the weights, or the counts
    counts.safetensors   how often each token occurs in the training text: the unigram to compare with

The folder is written whole or not at all, with a SHA-256 for every file (`elman.storage.folder`), and loading it never
runs code from it: sizes are checked against the settings before anything is allocated.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elman.arguments import checked
from elman.config import REMOVED, RENAMED, current_names, names_of, validated
from elman.data.cleaning import cleaning
from elman.data.vocab import Vocab
from elman.errors import ConfigError, ModelError, printable
from elman.models import build as _families  # noqa: F401 - all families join the registry
from elman.models.assemble import assemble, network_family, wrappers
from elman.models.base import BASE, FAMILIES, Network, SequenceModel, check_finite, saved_name
from elman.models.task import TextTask
from elman.reading import PARSER_ERRORS
from elman.storage.checkpoints import Checkpoints
from elman.storage.folder import MANIFEST, Saved, read_folder, write_folder

Files = dict[str, bytes | Mapping[str, npt.NDArray[Any] | Tensor]]
MODEL_FILES = ("model.json", "vocab.json", "model.safetensors", "counts.safetensors")
FORMAT = 1
PRECISIONS = {str(t).removeprefix("torch."): t for t in (torch.float32, torch.float64, torch.float16, torch.bfloat16)}
"""What weights may be saved in; the first is not written down."""


def model_files(model: SequenceModel, counts: npt.NDArray[np.int64]) -> Files:
    """The files of a model and of the token counts of its training text.

    Raises:
        ConfigError: a model that is not saved as one, or whose weights are of several precisions.
    """
    if model.members:
        raise ConfigError(f"a {model.kind} is not saved as one: save each of its models, and its settings beside them")
    task = {"normalize": model.task.normalize, "reverse": model.task.reverse}
    description = {"format": FORMAT, "model": model.kind} | task | _precision(model) | model.settings()
    return {
        "model.json": to_json(description),
        "vocab.json": model.task.vocab.to_json().encode(),
        "model.safetensors": model.tensors(),
        "counts.safetensors": {"unigram": counts},
    }


def _precision(model: SequenceModel) -> dict[str, str]:
    """The dtype of a network's weights where it is not float32."""
    weights = model.parameters() if isinstance(model, Network) else ()
    dtypes = sorted({str(each.dtype).removeprefix("torch.") for each in weights})
    if len(dtypes) > 1:
        raise ConfigError(f"the weights are {' and '.join(dtypes)}: make them one with model.float(), then save it")
    return {"dtype": dtypes[0]} if dtypes and dtypes[0] != "float32" else {}


def identity(model: SequenceModel) -> str:
    """What a model is, beside its vocabulary and numbers; it never changes, since compressed files hold its digest.

    Args:
        model: any model.

    Returns:
        Kind, settings by their names in 0.1, normalization and direction.
    """
    old = {new: name for name, new in RENAMED.items()}
    settings = {old.get(name, name): value for name, value in model.settings().items()}
    if "recurrent_dropout" in settings:  # a recurrent network, which had one setting more in 0.1
        settings["token_noise"] = 0.0
    if isinstance(model, Network):
        settings |= {name: value for name, value in model.removed_settings.items() if name in settings}
    return repr((model.kind, sorted(settings.items()), model.task.normalize, model.task.reverse))


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
    """Readable JSON in UTF-8; numbers survive the round trip exactly, NaN and infinity are refused.

    A lone surrogate, by which Python stands for a byte of a file's name that is not UTF-8, is written as JSON's escape.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode(errors="backslashreplace") + b"\n"


@checked
def save(model: SequenceModel, path: str | Path, counts: npt.NDArray[np.int64] | None = None) -> None:
    """Write `model` as the new folder `path`; `counts` are those of the training tokens, (V,).

    Raises:
        ConfigError: `path` exists, or the model is a mixture.
        StorageError: the disk refuses; then nothing is left behind.
    """
    if counts is None:
        counts = np.zeros(model.task.size, np.int64)
    write_folder(Path(path), model_files(model, counts))


@checked
def load(path: str | Path, *, engine: str = "auto", device: str = "cpu") -> SequenceModel:
    """The model in a saved folder, in a checkpoint, or in a run (its best weights, or its newest).

    Raises:
        ModelError: no model there, or a damaged or foreign one.
        ConfigError: an engine that cannot run it.
    """
    return load_saved(open_saved(path), engine=engine, device=device)


def open_saved(path: str | Path) -> Saved:
    """Open a saved folder, a checkpoint, or a run (its best checkpoint, or its newest); the model's files are read.

    Args:
        path: the folder.

    Returns:
        The saved folder or checkpoint. The files of the model were checked; others are when they are first used.

    Raises:
        ModelError: there is no model, or a damaged one.
    """
    if not str(path):
        raise ModelError("the name of the model is empty: give the folder of a run or of a saved model")
    path = Path(path)
    if (path / "checkpoints").is_dir():
        checkpoints = Checkpoints(path / "checkpoints")
        found = checkpoints.best(MODEL_FILES) or checkpoints.latest(MODEL_FILES)
        if found is None:
            raise ModelError(
                f"the run {str(path)!r} has no checkpoint yet: wait for the first one, or begin the run again"
            )
        return found
    if (path / MANIFEST).exists() or (path / MODEL_FILES[0]).exists():
        return read_folder(path, names=MODEL_FILES)
    runs = sorted(p.parent.name for p in path.glob("*/checkpoints")) if path.is_dir() else []
    if runs:
        shown = ", ".join(printable(path / name) for name in runs[:10])
        raise ModelError(f"{str(path)!r} is a folder of runs, not a run: give one of them: {shown}")
    raise ModelError(f"there is no run or model at {str(path)!r}: give the folder that elman train made")


def load_saved(saved: Saved, *, engine: str, device: str) -> SequenceModel:
    """The model of a saved folder that was already verified.

    Raises:
        ModelError: it does not describe a model of this elman, or its numbers do not fit the description.
        ConfigError: an engine that cannot run it there.
    """
    vocab = Vocab.from_json(saved.text("vocab.json"))
    try:
        values = saved.json("model.json")
        if not isinstance(values, dict):
            raise ConfigError("it is not a JSON object")
        version, kind = values.pop("format"), values.pop("model")
        if type(version) is not int or version != FORMAT or kind not in FAMILIES:
            raise ConfigError(
                f"format {version!r:.20}, model {kind!r:.40}; this elman reads {FORMAT}, {', '.join(FAMILIES)}"
            )
        removed = {name: values.pop(name) for name in REMOVED if name in values}
        values = current_names(values)
        normalize, reverse = values.pop("normalize"), values.pop("reverse", False)
        if type(reverse) is not bool:
            raise ConfigError(f"reverse is {reverse!r:.20}, neither true nor false")
        task = TextTask(vocab, cleaning(normalize).name, reverse=reverse)
        family = FAMILIES[kind]
        if issubclass(family, Network):
            dtype = _dtype(values.pop("dtype", "float32"))
            model: SequenceModel = _network(family, saved, task, values, engine=engine, dtype=dtype)
        else:
            model = family.from_saved(saved, task, values, engine=engine)
    except (ConfigError, *PARSER_ERRORS) as error:
        raise ModelError(f"{saved.path}: model.json does not describe a model of this elman: {error}") from error
    if isinstance(model, Network):
        model.removed_settings = removed
        model.to(device)
        _ = model.engine_name  # an engine that cannot run this is refused now, not at the first step
    return model


def _dtype(name: object) -> torch.dtype:
    """The precision of that name in model.json."""
    if not isinstance(name, str) or name not in PRECISIONS:
        raise ConfigError(f"dtype is {name!r:.20}, none of {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def _network(
    family: type[Network],
    saved: Saved,
    task: TextTask,
    settings: Mapping[str, Any],
    *,
    engine: str,
    dtype: torch.dtype,
) -> Network:
    """The network of a saved folder with its weights; their sizes are checked before anything is allocated."""
    base = family if family.enabled_by is None else network_family(str(settings.get("base", BASE)))
    for each in (base, *wrappers()):
        if own := {name: settings[name] for name in names_of(each.Settings) if name in settings}:
            validated(each.Settings, own, strict=True)
    with torch.device("meta"):
        shapes = assemble(task, family, settings, engine=engine, seed=None).to(dtype).tensors()
    expected = {name: (tuple(t.shape), t.dtype) for name, t in shapes.items()}
    weights = saved.tensors("model.safetensors", expected)
    check_finite(weights, saved.path)
    model = assemble(task, family, settings, engine=engine, seed=None).to(dtype)
    if type(model) is not family:
        raise ConfigError(f"it says {family.kind!r}, and its settings are those of a {model.kind!r}")
    model.load_state_dict({name: weights[saved_name(name)] for name in model.state_dict()})
    model.check_buffers(saved.path)
    return model


def load_saved_network(saved: Saved, *, engine: str, device: str) -> Network:
    """The same, where only a network will do: to go on training it.

    Raises:
        ModelError: it is something else.
    """
    model = load_saved(saved, engine=engine, device=device)
    if not isinstance(model, Network):
        raise ModelError(f"{saved.path}: an n-gram model has no training to resume: use it as it is")
    return model


def load_counts(saved: Saved, size: int) -> npt.NDArray[np.int64]:
    """How often each of `size` tokens occurs in the training text."""
    expected = {"unigram": ((size,), torch.int64)}
    return saved.tensors("counts.safetensors", expected)["unigram"].numpy()
