"""The configuration of a run: all settings in one object, and the recipes to start from.

Values come from, in order of precedence: what is passed (flags), environment variables `ELMAN_*`, a configuration file,
the recipe, the defaults of the dataclasses.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic.dataclasses import dataclass

from elman.arguments import checked
from elman.config import (
    BUDGETS,
    DEFAULT_BUDGET,
    STRICT,
    DataSettings,
    RunSettings,
    TrainSettings,
    current_names,
    names_of,
    validated,
)
from elman.data.corpus import HELD_OUT
from elman.errors import ConfigError, no_such
from elman.models.build import network_values, settings_classes

_S = TypeVar("_S")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config(DataSettings, *settings_classes(), TrainSettings, RunSettings):  # type: ignore[misc]  # families join by themselves
    """Everything that `elman train` needs; `Config.resolve` builds it from its layers."""

    model: str = "recurrent"
    """Model family: recurrent, or mlp, a network that sees a window of tokens and has no state."""

    @classmethod
    @checked
    def resolve(cls, *layers: tuple[str, Mapping[str, Any]]) -> "Config":
        """The configuration from named layers of settings.

        Args:
            *layers: name and settings of each, the strongest first; a setting may have its name of 0.1.

        Returns:
            The configuration. Where no layer sets the network or its training, the recipe is `auto`.

        Raises:
            ConfigError: an unknown setting, a value out of range, or settings of one recipe below the name of another;
                it names the layer.
        """
        layers = tuple((name, current_names(_without_defaults_of_0_1(values))) for name, values in layers)
        own = next(((name, key) for name, values in layers for key in values if key in CHOSEN), None)
        recipe = next((values["recipe"] for _, values in layers if "recipe" in values), "elman" if own else AUTO)
        if not isinstance(recipe, str) or recipe not in RECIPES:
            raise ConfigError(no_such("recipe", recipe, RECIPES))
        _refuse_other_recipe(recipe, layers)
        if recipe == AUTO and own:
            raise ConfigError(
                f"{own[0]}: recipe auto chooses {own[1]} from the text: leave out the recipe, or {own[1]}"
            )
        merged: dict[str, Any] = {}
        origin: dict[str, str] = {}
        for name, values in reversed([*layers, (f"recipe {recipe}", RECIPES[recipe])]):
            if any(values.get(k) is not None for k in BUDGETS):  # a budget replaces all of the weaker layers
                merged = {k: v for k, v in merged.items() if k not in BUDGETS}
            if ("cell" in values) != ("model" in values):  # a cell means a recurrent network, a family no weaker cell
                merged = {k: v for k, v in merged.items() if k not in {"cell", "model"}}
            merged |= {"recipe": recipe} | values
            origin |= dict.fromkeys(values, name)
        if recipe != AUTO and all(merged.get(k) is None for k in BUDGETS):
            merged |= DEFAULT_BUDGET
        return validated(cls, merged, origin)

    def part(self, kind: type[_S]) -> _S:
        """The settings of one kind alone: `config.part(TrainSettings)`."""
        return kind(**{f.name: getattr(self, f.name) for f in dataclasses.fields(kind)})  # type: ignore[arg-type]  # a dataclass

    @property
    def network(self) -> dict[str, Any]:
        """The settings of the network, for `elman.models.build.build_network`."""
        return network_values(self)

    @property
    def network_name(self) -> str:
        """What a folder of a run is called after: the cell, or the model family."""
        return str(self.cell) if self.model == "recurrent" else self.model

    def values(self) -> dict[str, Any]:
        """All settings that are not None, as plain values for TOML or JSON; without those that are yet to be chosen."""
        values = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        left_out = CHOSEN if self.recipe == AUTO else set()
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if k not in left_out}


def _refuse_other_recipe(recipe: str, layers: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Refuse what would be called `recipe` and be another: a layer, such as a saved file, with settings of its own."""
    default = {f.name: f.default for f in dataclasses.fields(Config)}
    for name, values in layers:
        own = values.get("recipe", recipe)
        if own == recipe or own not in RECIPES:
            continue
        of_both = {**RECIPES[own], **RECIPES[recipe]}
        odd = [k for k in values if k in of_both and _plain(values[k]) != _plain((default | RECIPES[recipe])[k])]
        if odd:
            raise ConfigError(
                f"{name} is for the recipe {own} and sets {', '.join(odd)} otherwise than the recipe {recipe}: "
                f"take these settings out of it, or leave out the recipe {recipe}"
            )


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _without_defaults_of_0_1(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings as they are, or those of a file that 0.1 wrote: it wrote defaults that are now "not given"."""
    return as_not_given(values) if {"clean", "keep", "reports"} <= set(values) else values


def as_not_given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run whose writer could not tell a default from the same number given.

    Args:
        values: all settings of the run by name.

    Returns:
        The same without `layers`, where `hidden` has one number a layer, and without a `held_out` of 0.1, which stood
        for the split of the source too.
    """
    odd = {"layers"} if isinstance(values.get("hidden"), list | tuple) else set()
    odd |= {"held_out"} if values.get("held_out") == HELD_OUT and not values.get("test") else set()
    return {name: value for name, value in values.items() if name not in odd}


AUTO = "auto"
"""The recipe whose network and training the text decides (`elman.training.auto`)."""
_KEPT = {*BUDGETS, "seed", "num_reports", "patience", "final_weights"}
CHOSEN = (names_of(*settings_classes(), TrainSettings) | {"model"}) - _KEPT
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
    "final_weights": "last",
    "prompts": ("time traveller", "traveller"),
    "sample_temperature": 0.0,
}
_NOTES: dict[str, Any] = {
    **_BOOK,
    "normalize": "reference-letters",
    "window": 35,
    "lr": 1.0,
    "clip": 1.0,
    "num_reports": 50,
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
        "distill_weight": 0.5,
        "window": 64,
        "lr": 5e-3,
        "weight_decay": 0.05,
        "epochs": 32,
    },
    "lecture": {
        **_BOOK,
        "normalize": "lower-spaces",
        "unknown": False,
        "window": 64,
        "lr": 100.0,
        "clip": 0.01,
        "num_reports": 10,
    },
    "notes": _NOTES,
    "notes-concise": {**_NOTES, "hidden": 256, "init": "torch"},
}
"""Named settings to start from: auto, by the text; elman, the defaults; alone, the best network without experts for a
book in about five minutes (benchmarks/small_text.py); lecture, that of Smola and Li 2019; notes and notes-concise, the
networks from scratch and of PyTorch layers in study notes on Zhang et al. 2021, sections 8.5 and 8.6 (author not
recorded). The last three train on the first 10,000 characters of the book and hold out the next 20,000."""
