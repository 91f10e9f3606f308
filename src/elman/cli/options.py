"""Flags that several verbs have, each defined once, and what holds for all."""

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter, Token, convert

from elman.reading import real

Switch = Annotated[bool, Parameter(negative="", show_default=False)]
"""A flag without a value: off, or on where it is given."""
Json = Annotated[Switch, Parameter(help="Print one JSON document.")]
Quiet = Annotated[Switch, Parameter(name=["--quiet", "-q"], help="No progress.")]


def _not_empty(kind: Any, tokens: Sequence[Token]) -> Any:
    for token in tokens:
        if not token.value:
            raise ValueError("it is empty: give a name or a value, or leave it out")
    return convert(kind, tokens, _converted)


def _converted(kind: Any, value: str) -> Any:
    """One value; a number is written with the digits 0 to 9, as in files."""
    return real(value) if kind is float else convert(kind, [value])


EVERY = Parameter(converter=_not_empty)
"""What holds for every argument: it is not empty, since an empty path would be the working directory."""
MayBeEmpty = Parameter(converter=convert)
"""For a text of which nothing may be given: a prompt."""
