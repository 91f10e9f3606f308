"""Flags out of the configuration: a field's type and docstring become a flag and its help."""

import dataclasses
import os
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from cyclopts import Parameter, Token
from cyclopts.validators import Number

from elman.config import Config, DataSettings, ModelSettings, TrainSettings, from_toml

PREFIX = "ELMAN_"
OTHERS = {"ELMAN_DATA_HOME", "ELMAN_OFFLINE", "ELMAN_DEBUG", "ELMAN_INSTRUCTIONS"}  # variables that are no settings


def number(text: str, *, least: int | None = None) -> Parameter:
    """A whole number of at least `least`, written as one: the parser alone would round 8.5 without a word."""
    return Parameter(help=text, converter=_whole, validator=() if least is None else Number(gte=least))


def numbers(text: str, *, least: int) -> Parameter:
    """Several whole numbers after one flag, each at least `least`."""
    return Parameter(help=text, converter=_wholes, consume_multiple=1, negative="", validator=Number(gte=least))


def _whole(_kind: type, tokens: Sequence[Token]) -> int:
    return int(tokens[0].value)


def _wholes(_kind: type, tokens: Sequence[Token]) -> list[int]:
    return [int(token.value) for token in tokens]


def flags(name: str, fields: Sequence[str]) -> type:
    """A dataclass with those fields of `Config`, all None until they are given."""
    made = dataclasses.make_dataclass(
        name, [(field, Annotated[_plain(field) | None, _parameter(field)], None) for field in fields]
    )
    made.__module__ = __name__  # otherwise "types", whose classes cyclopts takes for built in
    return made


def given(flags: Any) -> dict[str, Any]:
    """The flags that were given."""
    return {k: v for k, v in dataclasses.asdict(flags).items() if v is not None}


def from_environment() -> dict[str, Any]:
    """Settings out of variables such as ELMAN_HIDDEN; where a setting is a list, one item a line."""
    lists = {f.name for f in dataclasses.fields(Config) if get_origin(_strip(f.type)) is tuple}
    values = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in os.environ.items()
        if name.startswith(PREFIX) and name not in OTHERS and value
    }
    return {field: value.split("\n") if field in lists else value for field, value in values.items()}


def resolve(given: Mapping[str, Any], config: Path | None) -> Config:
    """The configuration: flags, then ELMAN_* variables, then the file, then ./elman.toml, then the recipe."""
    layers: list[tuple[str, Mapping[str, Any]]] = [
        ("command line", given),
        ("environment", from_environment()),
    ]
    if config is not None:
        layers.append((str(config), from_toml(config)))
    here = Path("elman.toml")
    if here.exists():
        layers.append((str(here), from_toml(here)))
    return Config.resolve(*layers)


def _parameter(field: str) -> Parameter:
    default = {f.name: f.default for f in dataclasses.fields(Config)}[field]
    said = default in (None, (), False) or field == "recipe"  # its help tells when which one is the default
    shown = "" if said else f" [default: {default}]"
    text = f"{help_of(field)}{shown}"
    made = number(text) if _plain(field) is int else Parameter(help=text, negative="")
    return Parameter.combine(made, Parameter(show_default=False))


def _plain(field: str) -> Any:
    """The type of a field without its constraints, which pydantic checks, and without None."""
    return _strip({f.name: f.type for f in dataclasses.fields(Config)}[field])


def _strip(kind: Any) -> Any:
    if get_origin(kind) is Annotated:
        return _strip(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return _strip(next(k for k in get_args(kind) if k is not type(None)))
    return kind


def help_of(field: str) -> str:
    """The docstring of a setting."""
    for kind in (DataSettings, ModelSettings, TrainSettings, Config):
        info = kind.__pydantic_fields__.get(field)  # type: ignore[union-attr]  # made by pydantic
        if info is not None and info.description:
            return str(info.description)
    raise AssertionError(f"the setting {field} has no docstring")
