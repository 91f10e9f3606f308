"""The boundary of the Python interface: arguments of the wrong kind are one sentence, whoever wrote the call.

`@checked` compares what a public function is given with its annotations before its body runs. Numbers of NumPy count
as those of Python, a boolean is no number, and NaN is none either; ranges are for the body to check. Token ids have
their own check, `elman.data.batches.as_ids`, since that needs the vocabulary.
"""

import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from elman.errors import ConfigError, did_you_mean

P = ParamSpec("P")
R = TypeVar("R")
_SHOWN = 60  # characters of a value in a message
_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a finite number",
    bool: "True or False",
    str: "a string",
    bytes: "bytes",
    Path: "a path",
    type(None): "None",
}
_WRONG = object()
_LARGEST = 2**63  # what no array can count


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of a public function by its annotations.

    Checked are numbers, strings, booleans, bytes, paths, literals, callables, sequences of these, and classes of this
    package; a single string is a sequence of one. Annotations of other kinds are left to the function. An argument
    named `seed` must be 0 or more.

    Args:
        function: a function or a method.

    Returns:
        The same, raising `ConfigError` for an argument that it does not have, lacks, or cannot use.

    Example:
        >>> @checked
        ... def repeat(text: str, times: int = 2) -> str:
        ...     return text * times
        >>> repeat("ab", times=3.5)
        Traceback (most recent call last):
        elman.errors.ConfigError: repeat: times is 3.5, and must be a whole number
    """
    signature = inspect.signature(function)
    hints = cache(lambda: get_type_hints(function))  # at the first call: classes of the module exist then
    name = function.__qualname__.removesuffix(".__init__")

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ConfigError(f"{name}: {_of_signature(str(error), kwargs, signature)}") from None
        for key, value in bound.arguments.items():
            kind = signature.parameters[key].kind
            if key in hints() and kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
                bound.arguments[key] = _converted(f"{name}: {key}", value, hints()[key])
            if key == "seed" and isinstance(seed := bound.arguments[key], int) and seed < 0:
                raise ConfigError(f"{name}: seed is {seed}, and must be 0 or more")
        return function(*bound.args, **bound.kwargs)

    return call


def plain(value: Any) -> Any:
    """A number of NumPy or a tensor without dimensions as a number of Python; anything else as it is."""
    if getattr(value, "shape", None) != () or not hasattr(value, "item"):
        return value
    try:
        return value.item()
    except RuntimeError:  # a tensor without a value, on the device meta
        return value


def shown(value: object) -> str:
    """A value as messages show it: on one line, and not all of a long one."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _of_signature(message: str, given: Mapping[str, Any], signature: inspect.Signature) -> str:
    """What is wrong with the names of the arguments."""
    known = list(signature.parameters)
    odd = [key for key in given if key not in known]
    if odd and "unexpected keyword" in message:
        return f"there is no argument {odd[0]!r}{did_you_mean(odd[0], known)}: leave it out"
    return f"{message}: give {', '.join(key for key in known if key not in ('self', 'cls'))}"


def _converted(name: str, value: Any, hint: Any) -> Any:
    """The value as the annotation has it."""
    kinds = _kinds(hint)
    if kinds is None:
        return value
    for kind in kinds:
        if (found := _as_kind(value, kind)) is not _WRONG:
            return found
    if int in kinds and isinstance(number := plain(value), int) and abs(number) >= _LARGEST:
        raise ConfigError(f"{name} is {shown(number)}, and must be below {_LARGEST}")
    raise ConfigError(f"{name} is {shown(value)}, and must be {' or '.join(map(_words, kinds))}")


def _kinds(hint: Any) -> tuple[Any, ...] | None:
    """The members of a union, or the hint alone; None where one of them is not checked here."""
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return members if all(map(_is_known, members)) else None


def _is_known(kind: Any) -> bool:
    origin = get_origin(kind)
    if origin is Sequence:
        return _kinds(get_args(kind)[0]) is not None
    if origin in (Literal, Callable, Mapping):
        return True
    return isinstance(kind, type) and origin is None and not getattr(kind, "_is_protocol", False)


def _as_kind(value: Any, kind: Any) -> Any:
    """The value as that kind, or `_WRONG`."""
    origin = get_origin(kind)
    if origin is Literal:
        return value if isinstance(value, str) else _WRONG  # which names there are, the body says best
    if origin is Callable:
        return value if callable(value) else _WRONG
    if origin is Mapping:
        return value if isinstance(value, Mapping) and all(isinstance(key, str) for key in value) else _WRONG
    if origin is Sequence:
        return _as_sequence(value, get_args(kind)[0])
    value = plain(value) if kind in (int, float, bool) else value
    if kind is float:
        return _as_float(value)
    if kind is int and (isinstance(value, bool) or (isinstance(value, int) and abs(value) >= _LARGEST)):
        return _WRONG
    if kind is bytes and isinstance(value, bytearray | memoryview):
        return bytes(value)
    return value if isinstance(value, kind) else _WRONG


def _as_float(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _WRONG
    try:
        return float(value) if math.isfinite(value) else _WRONG
    except OverflowError:  # an integer that no float holds
        return _WRONG


def _as_sequence(value: Any, hint: Any) -> Any:
    if isinstance(value, str):
        return [value] if str in (_kinds(hint) or ()) else _WRONG
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) != 1:
        return _WRONG
    kinds, found = _kinds(hint) or (), []
    for each in value:
        fitting = next((made for kind in kinds if (made := _as_kind(each, kind)) is not _WRONG), _WRONG)
        if fitting is _WRONG:
            return _WRONG
        found.append(fitting)
    return found


def _words(kind: Any) -> str:
    """A kind in words."""
    origin = get_origin(kind)
    if origin is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if origin is Callable:
        return "a function"
    if origin is Mapping:
        return "a dictionary by name"
    if origin is Sequence:
        return "a list, each of it " + " or ".join(map(_words, _kinds(get_args(kind)[0]) or ()))
    if kind in _WORDS:
        return _WORDS[kind]
    return f"{'an' if kind.__name__[0] in 'AEIO' else 'a'} {kind.__name__}"
