"""A budget of minutes covers the whole run: what training may use of it, and what is kept for measuring afterwards."""

from dataclasses import replace

from elman.config import TrainSettings
from elman.training.config import Config

SHARE, LEAST, MOST = 0.1, 15.0, 0.25
"""Kept for all but the training: a tenth of the budget, but at least 15 seconds, and never more than a quarter."""
AROUND = 3.0
"""Seconds that a program takes to start, and to draw and write at the end."""


def measuring_seconds(minutes: float) -> float:
    """What is kept of a budget for reading the text before training, and for scoring, counting and compressing after.

    Args:
        minutes: the budget of the run.

    Returns:
        Seconds.

    Example:
        >>> [measuring_seconds(minutes) for minutes in (0.2, 1, 5)]
        [3.0, 15.0, 30.0]
    """
    return min(MOST * 60 * minutes, max(SHARE * 60 * minutes, LEAST))


def training_settings(config: Config) -> TrainSettings:
    """The training settings of a run, whose minutes are those that training may use."""
    settings = config.part(TrainSettings)
    if settings.minutes is None:
        return settings
    return replace(settings, minutes=settings.minutes - measuring_seconds(settings.minutes) / 60)
