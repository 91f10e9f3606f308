"""Flags out of the configuration: a field's type and docstring become a flag and its help."""

import dataclasses
import os
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from cyclopts import Parameter, Token
from cyclopts.validators import Number

from elman.config import RENAMED, DataSettings, RunSettings, TrainSettings, current_names, from_toml
from elman.config import help_of as _help_of
from elman.reading import whole

if TYPE_CHECKING:
    from elman.training.config import Config

PREFIX = "ELMAN_"
OTHERS = {"ELMAN_DATA_HOME", "ELMAN_OFFLINE", "ELMAN_DEBUG", "ELMAN_INSTRUCTIONS"}  # variables that are no settings


def number(text: str, *, least: int | None = None) -> Parameter:
    """A whole number of at least `least`, written as one: the parser alone would round 8.5 without a word."""
    return Parameter(help=text, converter=_whole, validator=() if least is None else Number(gte=least))


def numbers(text: str, *, least: int) -> Parameter:
    """Several whole numbers after one flag, each at least `least`."""
    return Parameter(help=text, converter=_wholes, consume_multiple=1, negative="", validator=Number(gte=least))


def _whole(_kind: type, tokens: Sequence[Token]) -> int:
    return whole(tokens[0].value)


def _wholes(_kind: type, tokens: Sequence[Token]) -> list[int]:
    return [whole(token.value) for token in tokens]


def flags(name: str, fields: Sequence[str]) -> type:
    """A dataclass with those fields of `Config`, all None until they are given.

    Args:
        name: of the dataclass.
        fields: the settings; the name that one had in 0.1 is a flag too, which the help does not show.

    Returns:
        The type of an argument of a command; PyTorch is imported to make it.
    """
    old = {new: name for name, new in RENAMED.items()}
    made = dataclasses.make_dataclass(
        name,
        [(field, Annotated[_plain(field) | None, _parameter(field)], None) for field in fields]
        + [(old[f], Annotated[_plain(f) | None, _parameter(f, show=False)], None) for f in fields if f in old],
    )
    made.__module__ = __name__  # otherwise "types", whose classes cyclopts takes for built in
    return made


def given(flags: Any) -> dict[str, Any]:
    """The flags that were given."""
    return {k: v for k, v in dataclasses.asdict(flags).items() if v is not None}


def from_environment() -> dict[str, Any]:
    """Settings out of variables such as ELMAN_HIDDEN; where a setting is a list, one item a line."""
    lists = {f.name for f in dataclasses.fields(RunSettings) if get_origin(_strip(f.type)) is tuple}
    values = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in os.environ.items()
        if name.startswith(PREFIX) and name not in OTHERS and value
    }
    return {field: value.split("\n") if field in lists else value for field, value in values.items()}


def resolve(given: Mapping[str, Any], config: Path | None) -> "Config":
    """The configuration of all layers.

    Args:
        given: the flags, the strongest layer; then ELMAN_* variables, the file, ./elman.toml, and the recipe.
        config: the file, if one is given.

    Raises:
        ConfigError: an unknown setting, or a value out of range; it names the layer.
    """
    from elman.training.config import Config

    file = [] if config is None else [(str(config), from_toml(config))]
    environment, *here = _standing()
    return Config.resolve(("command line", given), environment, *file, *here)


def _standing() -> list[tuple[str, Mapping[str, Any]]]:
    """The layers that hold for every new run: ELMAN_* variables, and ./elman.toml where it exists."""
    here = Path("elman.toml")
    return [("environment", from_environment()), *([(str(here), from_toml(here))] if here.exists() else [])]


def unused(config: "Config") -> list[str]:
    """What variables and ./elman.toml say otherwise than a run that goes on, one line each: it keeps its own settings.

    Args:
        config: of the run.

    Raises:
        ConfigError: they hold an unknown setting, or a value out of range.
    """
    from elman.training.config import Config

    lines: dict[str, str] = {}
    for name, values in _standing():
        asked = {k: v for k, v in current_names(values).items() if k not in {"recipe", "sources", *lines}}
        meant = Config.resolve((name, asked), ("run", config.values()))
        for key, value in asked.items():
            own = getattr(config, key)
            same, goes_on = getattr(meant, key) == own, "without" if own is None else f"with {own}"
            lines[key] = "" if same else f"{name}: {key} = {value} is not used: the run goes on {goes_on}"
    return [line for line in lines.values() if line]


def _config() -> "type[Config]":
    from elman.training.config import Config

    return Config


def _parameter(field: str, *, show: bool = True) -> Parameter:
    default = {f.name: f.default for f in dataclasses.fields(_config())}[field]
    in_the_help = default in (None, (), False, 0) or field == "recipe"  # which tells when which one is the default
    shown = "" if in_the_help else f" [default: {default}]"
    text = f"{help_of(field)}{shown}"
    made = number(text) if _plain(field) is int else Parameter(help=text, negative="")
    return Parameter.combine(made, Parameter(show_default=False, show=show))


def _plain(field: str) -> Any:
    """The type of a field without its constraints, which pydantic checks, and without None."""
    return _strip({f.name: f.type for f in dataclasses.fields(_config())}[field])


def _strip(kind: Any) -> Any:
    if get_origin(kind) is Annotated:
        return _strip(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return _strip(next(k for k in get_args(kind) if k is not type(None)))
    return kind


def help_of(field: str) -> str:
    """The docstring of a setting, on one line; PyTorch is imported for one of a model family."""
    try:
        return _help_of(field, (DataSettings, TrainSettings, RunSettings))
    except KeyError:
        from elman.models.build import settings_classes

        return _help_of(field, (*settings_classes(), _config()))
