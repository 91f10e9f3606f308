"""What can go wrong, in one sentence each: the cause and the remedy. The class decides the exit code.

2  usage or configuration        5   training diverged
3  input data unusable           6   a requested gate failed
4  model or checkpoint refused   74  input or output failed (disk full, permission)
"""

from typing import ClassVar


class ElmanError(Exception):
    """An error that the user can act on; shown as one line, without a traceback."""

    exit_code: ClassVar[int] = 1


class ConfigError(ElmanError):
    """A setting, a name or a combination of settings that cannot work."""

    exit_code = 2


class DataError(ElmanError):
    """The input text cannot be used: missing, empty, binary, wrongly encoded, too short."""

    exit_code = 3


class ModelError(ElmanError):
    """A model or checkpoint is damaged, foreign, or does not fit what is asked of it."""

    exit_code = 4


class DivergedError(ElmanError):
    """Training met a loss or a gradient that is not a finite number."""

    exit_code = 5


class StorageError(ElmanError):
    """The disk refused: full, read-only, or no permission."""

    exit_code = 74
