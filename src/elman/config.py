"""Every setting, once: the Python API, the command-line flags and the saved file are this object.

A field's docstring is its help. Values come from, in order of precedence: what is passed (flags), environment
variables `ELMAN_*`, a configuration file, the recipe, the defaults below.
"""

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass

from elman.errors import ConfigError, no_such

DEFAULT_BUDGET: dict[str, Any] = {"epochs": 10, "minutes": 3.0}
"""Where no budget is given. More epochs over-fit texts from 20 kB to a book; more text is bounded by the clock."""
_S = TypeVar("_S")
_STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class DataSettings:
    """From a source to tokens."""

    level: Literal["char", "word", "byte"] | None = None
    """Tokens: characters, words or bytes; the source's own choice if not given."""
    clean: str = "none"
    """Named cleaning: none, lower, lower-spaces, letters, letters-lines, reference-letters."""
    errors: Literal["strict", "replace"] = "strict"
    """What a byte that is not UTF-8 does: stop with an error, or become U+FFFD."""
    limit: PositiveInt | None = None
    """Use only the first N tokens."""
    held_out: NonNegativeFloat = 0.1
    """Held-out part at the end: a share below 1, or a number of tokens; 0 holds nothing out."""
    test: NonNegativeFloat = 0.0
    """Test part after the held-out part, never looked at while training; as held_out."""
    min_count: PositiveInt | None = None
    """Rarer training tokens become <unk>; not given: 2 where tokens seen once are over 0.1 % of the text."""
    reverse: bool = False
    """Read every part of the text from its end to its beginning, and predict what came before."""
    unknown: bool = True
    """Whether the vocabulary has <unk> for symbols that the training part does not hold."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ModelSettings:
    """The network."""

    cell: str = "gru"
    """Recurrent cell: elman, elman-relu, gru, lstm; or mlp, a network that sees a window of tokens and has no state."""
    hidden: Annotated[PositiveInt, Field(le=65536)] = 256
    """Hidden units of a layer."""
    layers: Annotated[PositiveInt, Field(le=64)] = 1
    """Recurrent layers."""
    embedding: Annotated[NonNegativeInt, Field(le=65536)] = 0
    """Width of a learnt input vector a token; 0 is one-hot, a row look-up."""
    context: Annotated[PositiveInt, Field(le=65536)] = 5
    """mlp: how many tokens it sees."""
    bag: bool = False
    """mlp: add the tokens' vectors up, whatever their order, instead of laying them side by side."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each layer's outputs that training silences."""
    input_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of a token's embedding that training silences, alike in all steps of a window."""
    recurrent_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the recurrent weights W_h that training silences for a window (weight-drop)."""
    token_noise: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the tokens that the network reads, when training, in place of which it reads another of the batch."""
    layer_norm: bool = False
    """Normalise the outputs of every layer."""
    residual: bool = False
    """Add what a layer reads to its output, where both are as wide."""
    mogrifier: Annotated[NonNegativeInt, Field(le=16)] = 0
    """Rounds in which an embedding and the state gate each other before every step (engine loop); 0: none."""
    experts: Annotated[int, Field(ge=0, le=16)] = 0
    """Counted experts that the network weighs and corrects: n-grams of up to so many tokens, words, lines; 0: none."""
    copy: Annotated[int, Field(ge=0, le=4096)] = 0
    """Copy head: it may say again what followed one of the last N states; 0: none."""
    tied: bool = False
    """Use the embedding as the output map; embedding and hidden must be equal."""
    learn_initial: bool = False
    """Train the initial state instead of starting from zeros."""
    init: str = "elman"
    """Initial weights: elman, reference (normal, 0.01) or torch (uniform)."""
    engine: str = "auto"
    """What runs the recurrence: auto, native (compiled), native-bfloat16, aten (PyTorch's layers), bptt, loop."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TrainSettings:
    """How the network learns."""

    batching: str = "sequential"
    """Batches: sequential (state carried), random (fresh state); reference-sequential, -random, -reset (textbooks')."""
    batch: Annotated[PositiveInt, Field(le=1_000_000)] = 32
    """Rows of a batch."""
    teacher: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that is what an n-gram expects, counted on the rest of the text (distillation)."""
    window: Annotated[PositiveInt, Field(le=1_000_000)] = 32
    """Steps of a window: how far gradients reach back."""
    first_window: Annotated[NonNegativeInt, Field(le=1_000_000)] = 0
    """Steps of a window in the first epoch, twice as many in every next one, up to window; 0: window in all."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """Optimizer: adamw or sgd."""
    lr: NonNegativeFloat = 6e-3
    """Learning rate at its peak."""
    weight_decay: NonNegativeFloat = 0.01
    """Decoupled weight decay of the matrices (adamw)."""
    schedule: Literal["one-cycle", "cosine", "step", "constant"] = "one-cycle"
    """Learning rate over the run: one-cycle, cosine, step (a tenth after 1/2, a hundredth after 3/4), constant."""
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    """One-cycle: share of the run in which the rate rises."""
    final_lr: Annotated[float, Field(ge=0, le=1)] = 0.02
    """One-cycle and cosine: the last rate as a share of the peak."""
    clip: NonNegativeFloat = 1.0
    """Largest global L2 norm of the gradient; 0 does not clip."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of itself that a moving average of the weights keeps at a step, say 0.999; the average is scored, sampled
    and kept, while figures of training are of the weights themselves. 0: no average."""
    epochs: PositiveInt | None = None
    """Budget: passes over the training text; of several budgets the first to be spent ends the run."""
    steps: PositiveInt | None = None
    """Budget: training steps."""
    minutes: Annotated[float | None, Field(gt=0)] = None
    """Budget: minutes of wall time; the schedule follows the clock. None given: 10 epochs, at most 3 minutes
    (recipe auto: at most 5)."""
    patience: PositiveInt | None = None
    """Stop after that many reports without a better held-out figure."""
    keep: Literal["best", "last"] = "best"
    """Which weights a run ends with: the best on held-out text, or the last."""
    reports: PositiveInt = 10
    """Reports of a run, evenly spaced: a held-out figure and a sample each."""
    seed: NonNegativeInt = 0
    """Seed of everything random."""

    def window_in(self, epoch: int) -> int:
        """Steps of a window in that epoch, the first being 0.

        Raises:
            ConfigError: windows would shrink.
        """
        if self.first_window > self.window:
            raise ConfigError(
                f"first_window {self.first_window} is longer than window {self.window}, to which it grows"
            )
        return min(self.window, self.first_window << min(epoch, 20)) if self.first_window else self.window


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Config(DataSettings, ModelSettings, TrainSettings):
    """Everything that `elman train` needs; `Config.resolve` builds it from its layers."""

    sources: Annotated[tuple[str, ...], Field(min_length=1)] = ("python-docs",)
    """What to learn from: names of sources, files, folders, globs, or - for standard input."""
    recipe: str = "elman"
    """Settings to start from: auto (by the text; the default where none of a network or its training is given), elman
    (the default else), alone, lecture, notes, notes-concise."""
    device: str = "auto"
    """Where to compute: auto (a CUDA GPU if there is one), cpu, cuda, mps."""
    prompts: tuple[str, ...] = ()
    """What the samples of a report continue; not given: the first 20 tokens of the training text."""
    sample_length: NonNegativeInt = 50
    """Tokens of a report's sample."""
    sample_temperature: NonNegativeFloat = 0.7
    """Temperature that samples are drawn at; 0 takes the most probable token each time (arg-max)."""
    ngram: bool = True
    """Count an n-gram of the training text when training ends: the bound that a network should beat."""

    @classmethod
    def resolve(cls, *layers: tuple[str, Mapping[str, Any]]) -> "Config":
        """The configuration from named layers of settings, the strongest first.

        Raises:
            ConfigError: an unknown setting, or a value out of range; it names the layer.
        """
        own = next(((name, key) for name, values in layers for key in values if key in CHOSEN), None)
        recipe = next((values["recipe"] for _, values in layers if "recipe" in values), "elman" if own else AUTO)
        if recipe not in RECIPES:
            raise ConfigError(no_such("recipe", recipe, RECIPES))
        if recipe == AUTO and own:
            raise ConfigError(f"{own[0]}: recipe auto chooses {own[1]} by the text: leave one of the two out")
        merged: dict[str, Any] = {}
        origin: dict[str, str] = {}
        for name, values in reversed([*layers, (f"recipe {recipe}", RECIPES[recipe])]):
            if any(values.get(k) is not None for k in BUDGETS):  # a budget replaces all of the weaker layers
                merged = {k: v for k, v in merged.items() if k not in BUDGETS}
            merged |= {"recipe": recipe} | values
            origin |= dict.fromkeys(values, name)
        if recipe != AUTO and all(merged.get(k) is None for k in BUDGETS):
            merged |= DEFAULT_BUDGET
        return _validated(cls, merged, origin)

    def part(self, kind: type[_S]) -> _S:
        """The settings of one kind alone: `config.part(TrainSettings)`."""
        return kind(**{f.name: getattr(self, f.name) for f in dataclasses.fields(kind)})  # type: ignore[arg-type]  # a dataclass

    def values(self) -> dict[str, Any]:
        """All settings that are not None, as plain values for TOML or JSON; without those that are yet to be chosen."""
        values = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        left_out = CHOSEN if self.recipe == AUTO else set()
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if k not in left_out}


AUTO = "auto"
"""The recipe whose network and training the text decides (`elman.training.auto`)."""
BUDGETS = ("epochs", "steps", "minutes")
_KEPT = {*BUDGETS, "engine", "seed", "reports", "patience", "keep"}
CHOSEN = {f.name for kind in (ModelSettings, TrainSettings) for f in dataclasses.fields(kind)} - _KEPT
"""Settings that it chooses."""
_BOOK: dict[str, Any] = {
    "sources": ("time-machine",),
    "limit": 30_000,
    "held_out": 20_000,
    "cell": "elman",
    "hidden": 512,
    "init": "reference",
    "batching": "reference-sequential",
    "batch": 32,
    "optimizer": "sgd",
    "weight_decay": 0.0,
    "schedule": "constant",
    "epochs": 500,
    "keep": "last",
    "prompts": ("time traveller", "traveller"),
    "sample_temperature": 0.0,
}
_NOTES: dict[str, Any] = {
    **_BOOK,
    "clean": "reference-letters",
    "window": 35,
    "lr": 1.0,
    "clip": 1.0,
    "reports": 50,
}
RECIPES: dict[str, dict[str, Any]] = {
    AUTO: {},
    "elman": {},
    "alone": {
        "hidden": 384,
        "embedding": 64,
        "dropout": 0.3,
        "input_dropout": 0.1,
        "recurrent_dropout": 0.15,
        "teacher": 0.5,
        "window": 64,
        "lr": 5e-3,
        "weight_decay": 0.05,
        "epochs": 32,
    },
    "lecture": {
        **_BOOK,
        "clean": "lower-spaces",
        "unknown": False,
        "window": 64,
        "lr": 100.0,
        "clip": 0.01,
        "reports": 10,
    },
    "notes": _NOTES,
    "notes-concise": {**_NOTES, "hidden": 256, "init": "torch"},
}
"""Named settings to start from: by the text; this project's own; the best network without experts for a book, in five
minutes or so (benchmarks/small_text.py); the lecture's (S61); the notes' networks from scratch and of
PyTorch layers (S62). The last three train on the first 10,000 characters of the book and hold out the next 20,000."""


def _validated(cls: type[Config], values: Mapping[str, Any], origin: Mapping[str, str]) -> Config:
    known = {f.name for f in dataclasses.fields(cls)}
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"{origin[key]}: there is no setting {key!r}{hint}")
    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "configuration"
        raise ConfigError(_refusal(origin.get(key, "configuration"), key, first["input"], first["msg"])) from error


def _refusal(origin: str, key: str, value: object, why: str) -> str:
    """The setting as its user wrote it, and what it must be."""
    written = f"--{key.replace('_', '-')} {value}" if origin == "command line" else f"{origin}: {key} = {value!r}"
    return f"{written}: {why.replace('Input should be', 'it must be')}"


def to_toml(values: Mapping[str, Any]) -> str:
    """Flat settings as TOML; JSON's strings, numbers and lists are TOML's, but for one control character."""
    lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
    return "".join(line.replace("\x7f", "\\u007f") + "\n" for line in lines)


def from_toml(path: Path) -> dict[str, Any]:
    """The settings of a configuration file.

    Raises:
        ConfigError: it cannot be read, or is not TOML; names the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the configuration {str(path)!r} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration {str(path)!r} is not TOML: {error}") from error
