"""Settings: frozen dataclasses whose field docstrings are the help, and how they are read and written.

`DataSettings`, `TrainSettings` and `RunSettings` stand here; each model family declares its own (`Settings` of a class
in `elman.models`). `elman.training.config.Config` is all of them together: the Python API, the command-line flags and
the saved file of a run are that one object.
"""

import dataclasses
import json
import tomllib
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from elman.arguments import shown
from elman.errors import ConfigError, did_you_mean, quoted
from elman.reading import parsing, read_limited

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
"""How every dataclass of settings is declared: `@dataclass(frozen=True, kw_only=True, config=STRICT)`."""
SHOWN = 100
"""Characters of a value that a message shows at most."""
CONFIG_LIMIT = 2**20
"""Bytes of a configuration file at most."""
_S = TypeVar("_S")


class Checked:
    """Settings in which true is no number, 1 is not true, and the digits of a number are 0 to 9.

    pydantic alone takes each for the other. Every dataclass of settings has this base.
    """

    @field_validator("*", mode="before")
    @classmethod
    def _check_kind(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.__pydantic_fields__[info.field_name].annotation  # type: ignore[attr-defined]  # made by pydantic
        _check_kind(value, set(plain_types(annotation)))
        # A validator before pydantic's own hands over a list as one, even where it was an array of JSON.
        return tuple(value) if isinstance(value, list) and _takes_tuples(annotation) else value


def plain_types(annotation: Any) -> Iterator[type]:
    """The plain types in an annotation, in its order.

    Example:
        >>> list(plain_types(tuple[int, ...] | None))
        [<class 'int'>, <class 'ellipsis'>, <class 'NoneType'>]
    """
    if not get_args(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from plain_types(part) if get_args(part) or isinstance(part, type) else [type(part)]


def _takes_tuples(annotation: Any) -> bool:
    return get_origin(annotation) is tuple or any(map(_takes_tuples, get_args(annotation)))


def _check_kind(value: object, kinds: set[type]) -> None:
    """Refuse a truth value for a number, a number for a truth value, and digits of another script."""
    if isinstance(value, list | tuple):
        for item in value:
            _check_kind(item, kinds)
    elif kinds & {int, float} and bool not in kinds:
        if isinstance(value, bool):
            raise ValueError("Input should be a number, not true or false")
        if isinstance(value, str) and str not in kinds and not value.isascii():
            raise ValueError("Input should be a number in the digits 0 to 9")
    elif bool in kinds and not kinds & {int, float, str}:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number or (isinstance(value, str) and value.strip().isdecimal()):
            raise ValueError("Input should be true or false")


class _Renamed(Checked):
    """Settings that take keywords under their names of 0.1 too, with a DeprecationWarning; one sentence refuses."""

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_sentence(cls, data: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(data)
        except ValidationError as error:  # a ConfigError goes through pydantic as it is
            raise _of_pydantic(error, names_of(cls), {}) from error

    @model_validator(mode="before")
    @classmethod
    def _rename(cls, data: Any) -> Any:
        if isinstance(data, ArgsKwargs) and data.kwargs and not {*RENAMED, *REMOVED}.isdisjoint(data.kwargs):
            return ArgsKwargs(data.args, current_names(data.kwargs, warn=True))
        return data


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataSettings(_Renamed):
    """From a source to tokens."""

    tokens: Literal["char", "word", "byte"] | None = None
    """What a token is: char, word or byte; not given: what suits the source."""
    normalize: str = "none"
    """Normalization of the text: none, lower, lower-spaces, letters, letters-lines, reference-letters."""
    errors: Literal["strict", "replace"] = "strict"
    """Bytes that are not UTF-8: strict stops with an error, replace reads each as U+FFFD."""
    limit: PositiveInt | None = None
    """Use only the first N tokens."""
    held_out: NonNegativeFloat | None = None
    """Held-out part at the end of the text: a share below 1, or a number of tokens; 0 holds nothing out; not given:
    the split of the source, or 0.1."""
    test: NonNegativeFloat = 0.0
    """Test part after the held-out part, not used while training: a share below 1, or a number of tokens."""
    min_count: PositiveInt | None = None
    """Rarer training tokens become <unk>; not given: 2 where tokens that occur once are over 0.1 % of the text."""
    reverse: bool = False
    """Read the text from its end to its beginning, and predict the token before."""
    unknown: bool = True
    """Whether the vocabulary has <unk> for tokens that the training part does not contain."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainSettings(_Renamed):
    """How a network is trained."""

    batching: str = "sequential"
    """Batches: sequential (the state is carried from window to window), random (each window starts from a new one)."""
    batch: Annotated[PositiveInt, Field(le=1_000_000)] = 32
    """Batch size: sequences side by side."""
    window: Annotated[PositiveInt, Field(le=1_000_000)] = 32
    """Steps of truncated back-propagation through time."""
    initial_window: Annotated[NonNegativeInt, Field(le=1_000_000)] = 0
    """Window of the first epoch; it doubles every epoch until it is --window. 0: --window from the start."""
    distill_weight: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Distillation: weight of an n-gram's probabilities in the target, counted on the rest of the text; 0: none."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """Optimizer: adamw or sgd."""
    lr: NonNegativeFloat = 6e-3
    """Peak learning rate."""
    weight_decay: NonNegativeFloat = 0.01
    """Decoupled weight decay of the matrices of weights (adamw)."""
    schedule: Literal["one-cycle", "cosine", "step", "constant"] = "one-cycle"
    """Learning rate over the run: one-cycle, cosine, step (x 0.1 after 1/2, x 0.01 after 3/4), constant."""
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    """one-cycle: share of the run in which the learning rate rises."""
    final_lr: Annotated[float, Field(ge=0, le=1)] = 0.02
    """one-cycle and cosine: last learning rate as a share of the peak."""
    clip: NonNegativeFloat = 1.0
    """Largest global L2 norm of the gradient; 0 does not clip."""
    epochs: PositiveInt | None = None
    """Budget: epochs; of several budgets the first that is used up ends the run."""
    steps: PositiveInt | None = None
    """Budget: training steps."""
    minutes: Annotated[float | None, Field(gt=0)] = None
    """Budget: minutes of wall time, a tenth of them for measuring; the schedule follows the clock. No budget given: 10
    epochs, at most 3 minutes (recipe auto: at most 5)."""
    patience: PositiveInt | None = None
    """Early stopping: end after this many reports without a better held-out perplexity."""
    final_weights: Literal["best", "last"] = "best"
    """Weights that a run ends with: the best on held-out text, or the last."""
    num_reports: PositiveInt = 10
    """Reports of a run, evenly spaced: held-out perplexity and a sample."""
    seed: Annotated[NonNegativeInt, Field(lt=2**63)] = 0
    """Seed of all random numbers."""

    def window_in(self, epoch: int) -> int:
        """Steps of a window in that epoch, the first being 0.

        Raises:
            ConfigError: windows would shrink.
        """
        if self.initial_window > self.window:
            raise ConfigError(f"initial_window {self.initial_window} is longer than window {self.window}: it must grow")
        return min(self.window, self.initial_window << min(epoch, 20)) if self.initial_window else self.window


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RunSettings(_Renamed):
    """What a run trains on, where it computes, and what it writes."""

    sources: Annotated[tuple[str, ...], Field(min_length=1)] = ("python-docs",)
    """What to train on: names of sources, files, folders, globs, or - for standard input; not given: python-docs."""
    recipe: str = "elman"
    """Settings to start from: auto (chosen from the text; the default), elman (the default if a setting of the network
    or of its training is given), alone (the best without n-grams), lecture, notes, notes-concise."""
    device: str = "auto"
    """Where to compute: auto (a CUDA GPU if there is one), cpu, cuda, mps."""
    engine: str = "auto"
    """How to compute the recurrence: auto, native (compiled), native-bfloat16, aten (PyTorch's layers), bptt, loop."""
    prompts: tuple[str, ...] = ()
    """Prompts of a report's samples; not given: the first 20 tokens of the training text."""
    sample_length: NonNegativeInt = 50
    """Tokens of a report's sample."""
    sample_temperature: NonNegativeFloat = 0.7
    """Temperature of a report's samples; 0 takes the most probable token each time."""
    ngram: bool = True
    """Count an n-gram of the training text when training ends, as a baseline."""


BUDGETS = ("epochs", "steps", "minutes")
"""The settings that end a run."""
DEFAULT_BUDGET: dict[str, Any] = {"epochs": 10, "minutes": 3.0}
"""Where no budget is given. More epochs over-fit texts from 20 kB to a book; more text is bounded by the clock."""
RENAMED = {
    "level": "tokens",
    "clean": "normalize",
    "experts": "ngram_experts",
    "copy": "copy_window",
    "teacher": "distill_weight",
    "first_window": "initial_window",
    "learn_initial": "learn_initial_state",
    "keep": "final_weights",
    "reports": "num_reports",
}
"""Settings of 0.1 by their names of today; the old ones are read until 0.3, and in saved files for ever."""
REMOVED = ("average", "token_noise")
"""Settings of 0.1 that did not improve held-out perplexity (docs/log.md); saved files may hold them."""

ABSENT = {
    "bidirectional": ": a bidirectional network reads the token that it is to predict (elman reproduce bidirectional); "
    "set reverse for one that reads the text from its end"
}
"""Settings of other programs that have no place here, and why."""


def current_names(values: Mapping[str, Any], *, warn: bool = False) -> dict[str, Any]:
    """Settings under the names of today.

    Args:
        values: settings by name, of today or of 0.1. A removed setting may stand there if it was off.
        warn: whether an old name gives a DeprecationWarning.

    Returns:
        The same settings by the names of today, without the removed ones.

    Raises:
        ConfigError: a removed setting is on, or one setting is given under both of its names.
    """
    if given := [name for name in REMOVED if not _is_off(values.get(name))]:
        raise ConfigError(f"the setting {given[0]} was removed: it did not improve held-out perplexity; leave it out")
    if twice := [old for old, new in RENAMED.items() if old in values and new in values]:
        raise ConfigError(f"{twice[0]} is the old name of {RENAMED[twice[0]]}: give one of them")
    if warn and (old := [name for name in values if name in RENAMED]):
        message = f"the setting {old[0]} is now {RENAMED[old[0]]}; the old name goes in 0.3"
        warnings.warn(message, DeprecationWarning, stacklevel=4)
    found = {RENAMED.get(name, name): value for name, value in values.items() if name not in REMOVED}
    if isinstance(cell := found.get("cell"), str) and cell == "mlp":  # the name of the windowed network in 0.1
        found = {name: value for name, value in found.items() if name != "cell"} | {"model": "mlp"}
    return found


def _is_off(value: object) -> bool:
    """Whether a removed setting, perhaps out of a variable, has no effect."""
    return value in (None, "", 0) or (isinstance(value, str) and value.strip("0") in {"", "."})


def validated(
    kind: type[_S], values: Mapping[str, Any], origin: Mapping[str, str] | None = None, *, strict: bool = False
) -> _S:
    """Settings out of plain values.

    Args:
        kind: the dataclass.
        values: its fields by name; what is left out has its default.
        origin: where each value comes from, for messages: "command line", the path of a file.
        strict: take no "5" or 5.0 for 5, as where a program wrote the values.

    Returns:
        An instance of `kind`.

    Raises:
        ConfigError: an unknown setting, or a value out of range; names the setting, its origin and what it must be.
    """
    origin = origin or {}
    names = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]  # a dataclass
    for key in values:
        if key not in names:
            why = ABSENT.get(key) or did_you_mean(key[:SHOWN], names)
            raise ConfigError(f"{origin.get(key, 'settings')}: there is no setting {key!r:.{SHOWN}}{why}")
    with parsing("the settings", ConfigError):
        try:
            adapter = TypeAdapter(kind)
            if strict:  # as JSON, in which an array may be a tuple
                return adapter.validate_json(json.dumps(values), strict=True)
            return adapter.validate_python(dict(values))
        except ValidationError as error:
            raise _of_pydantic(error, names, origin) from error
        except ConfigError as error:
            if isinstance(error.__cause__, ValidationError):  # from `_Renamed`, which knows no origin
                raise _of_pydantic(error.__cause__, names, origin) from error.__cause__
            raise


def _of_pydantic(error: ValidationError, names: Collection[str], origin: Mapping[str, str]) -> ConfigError:
    """The first of pydantic's findings in one sentence."""
    first = error.errors(include_url=False)[0]
    key = str(first["loc"][0]) if first["loc"] else "settings"
    if first["type"] in ("unexpected_keyword_argument", "unexpected_positional_argument"):
        return ConfigError(f"settings: there is no setting {key!r:.{SHOWN}}{did_you_mean(key[:SHOWN], names)}")
    return ConfigError(_refusal(origin.get(key, ""), key, first["input"], first["msg"]))


def _refusal(origin: str, key: str, value: object, why: str) -> str:
    """The setting as its user wrote it, and what it must be."""
    try:
        text = str(value) if origin == "command line" else shown(value)
    except ValueError:  # more digits than Python writes
        text = "a number of very many digits"
    text = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    flag = f"--{key.replace('_', '-')} {text}"
    written = flag if origin == "command line" else f"{origin}: {key} = {text}" if origin else f"{key} = {text}"
    why = why.removeprefix("Value error, ").replace("Input should be", "it must be")
    return f"{written}: {why}"


def help_of(field: str, kinds: Iterable[type] = (DataSettings, TrainSettings, RunSettings)) -> str:
    """The docstring of a setting, on one line.

    Args:
        field: its name.
        kinds: the dataclasses that may have it.

    Raises:
        KeyError: none of them has it.
    """
    for kind in kinds:
        info = kind.__pydantic_fields__.get(field)  # type: ignore[attr-defined]  # made by pydantic
        if info is not None and info.description:
            return " ".join(info.description.split())
    raise KeyError(f"the setting {field} has no docstring")


def names_of(*kinds: type) -> set[str]:
    """The fields of dataclasses of settings."""
    return {f.name for kind in kinds for f in dataclasses.fields(kind)}


def changed(values: Mapping[str, Any], kind: type, names: Collection[str]) -> list[str]:
    """Which of `names`, fields of the dataclass `kind`, do not have their default in `values`, sorted."""
    default = {f.name: f.default for f in dataclasses.fields(kind)}
    return sorted(name for name in names if name in values and values[name] != default[name])


def to_toml(values: Mapping[str, Any]) -> str:
    """Flat settings as TOML; JSON's strings, numbers and lists are TOML's, but for one control character."""
    lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
    return "".join(line.replace("\x7f", "\\u007f") + "\n" for line in lines)


def from_toml(path: Path) -> dict[str, Any]:
    """The settings of a configuration file; a byte order mark is left out.

    Raises:
        ConfigError: it cannot be read, is no regular file, has more than 1 MiB, or is not TOML; names the line.
    """
    data = read_limited(path, ConfigError, "the configuration", CONFIG_LIMIT)
    with parsing(f"the configuration {quoted(path)} is not TOML", ConfigError):
        return tomllib.loads(data.decode("utf-8-sig"))
