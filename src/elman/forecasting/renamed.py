"""Attributes of 0.1 that have another name now; the old ones go in 0.3."""

import warnings
from typing import Any


def renamed(old: str, new: str) -> Any:
    """A property that gives the value of another one, with a warning.

    Args:
        old: the name until 0.1.
        new: the name of the attribute or method that is meant.
    """

    def get(self: Any) -> Any:
        message = f"{type(self).__name__}.{old} is now {type(self).__name__}.{new}; the old name goes in 0.3"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(self, new)

    return property(get)
