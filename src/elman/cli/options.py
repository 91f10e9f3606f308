"""Flags that several verbs have, each defined once."""

from typing import Annotated

from cyclopts import Parameter

Switch = Annotated[bool, Parameter(negative="", show_default=False)]
"""A flag without a value: off, or on where it is given."""
Json = Annotated[Switch, Parameter(help="Print one JSON document.")]
Quiet = Annotated[Switch, Parameter(name=["--quiet", "-q"], help="No progress.")]
