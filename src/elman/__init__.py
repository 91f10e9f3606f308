"""elman learns what comes next in a sequence.

    >>> import elman
    >>> vocab = elman.Vocab.chars("hello hello hello ")
    >>> model = elman.Recurrent(elman.TextTask(vocab), cell="gru", hidden=16)

Importing this package does no work: `__init__.pyi` lists the public names, and each is fetched when it is first used.
"""

import warnings
from typing import Any

import lazy_loader

_fetch, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

RENAMED = {
    "Copying": "CopyHead",
    "Part": "Split",
    "Race": "SpeedBenchmark",
    "Study": "ForecastResult",
    "Text": "TextTask",
    "Training": "TrainState",
    "ahead": "predict_ahead",
    "frequencies": "ngram_frequencies",
    "race": "benchmark_speed",
}
"""Names of 0.1, until 0.3."""


def __getattr__(name: str) -> Any:
    """A public name, from the module where it lives; an old one with a warning."""
    if name in RENAMED:
        warnings.warn(
            f"elman.{name} is now elman.{RENAMED[name]}; the old name goes in 0.3", DeprecationWarning, stacklevel=2
        )
        return _fetch(RENAMED[name])
    return _fetch(name)
