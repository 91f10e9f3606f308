"""elman learns what comes next in a sequence.

    >>> import elman
    >>> vocab = elman.Vocab.chars("hello hello hello ")
    >>> model = elman.Recurrent(elman.Text(vocab), cell="gru", hidden=16)

Importing this package does no work: every public name is fetched when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elman.comparison.benchmark import Race
    from elman.comparison.result import Comparison
    from elman.comparison.trained import compare
    from elman.comparison.training_steps import race
    from elman.config import Config, TrainSettings
    from elman.data.corpus import Corpus, Part, read_corpus, split
    from elman.data.vocab import Vocab
    from elman.forecasting.series import Series, series, sine
    from elman.forecasting.study import Study, forecast
    from elman.forecasting.table import read_series
    from elman.inference.compression import Compressed, compress, compressed, decompress
    from elman.inference.dynamic import evaluate_dynamic
    from elman.inference.evaluation import Score, evaluate, surprisals
    from elman.inference.generation import generate, generate_samples
    from elman.inference.mixture import Mixture
    from elman.models.copying import Copying
    from elman.models.hybrid import Hybrid
    from elman.models.mlp import MLP
    from elman.models.ngram.frequencies import frequencies
    from elman.models.ngram.markov import ahead
    from elman.models.ngram.model import NGram
    from elman.models.recurrent import Recurrent
    from elman.models.saving import load, save
    from elman.models.task import Text
    from elman.training.loop import Progress, Training, fit, train

_HOMES = {
    "Comparison": "comparison.result",
    "Compressed": "inference.compression",
    "Config": "config",
    "Copying": "models.copying",
    "Corpus": "data.corpus",
    "Hybrid": "models.hybrid",
    "MLP": "models.mlp",
    "Mixture": "inference.mixture",
    "NGram": "models.ngram.model",
    "Part": "data.corpus",
    "Progress": "training.loop",
    "Race": "comparison.benchmark",
    "Recurrent": "models.recurrent",
    "Score": "inference.evaluation",
    "Series": "forecasting.series",
    "Study": "forecasting.study",
    "Text": "models.task",
    "TrainSettings": "config",
    "Training": "training.loop",
    "Vocab": "data.vocab",
    "ahead": "models.ngram.markov",
    "compare": "comparison.trained",
    "compress": "inference.compression",
    "compressed": "inference.compression",
    "decompress": "inference.compression",
    "evaluate": "inference.evaluation",
    "evaluate_dynamic": "inference.dynamic",
    "fit": "training.loop",
    "forecast": "forecasting.study",
    "frequencies": "models.ngram.frequencies",
    "generate": "inference.generation",
    "generate_samples": "inference.generation",
    "load": "models.saving",
    "race": "comparison.training_steps",
    "read_corpus": "data.corpus",
    "read_series": "forecasting.table",
    "save": "models.saving",
    "series": "forecasting.series",
    "sine": "forecasting.series",
    "split": "data.corpus",
    "surprisals": "inference.evaluation",
    "train": "training.loop",
}

__all__ = [
    "MLP",
    "Comparison",
    "Compressed",
    "Config",
    "Copying",
    "Corpus",
    "Hybrid",
    "Mixture",
    "NGram",
    "Part",
    "Progress",
    "Race",
    "Recurrent",
    "Score",
    "Series",
    "Study",
    "Text",
    "TrainSettings",
    "Training",
    "Vocab",
    "ahead",
    "compare",
    "compress",
    "compressed",
    "decompress",
    "evaluate",
    "evaluate_dynamic",
    "fit",
    "forecast",
    "frequencies",
    "generate",
    "generate_samples",
    "load",
    "race",
    "read_corpus",
    "read_series",
    "save",
    "series",
    "sine",
    "split",
    "surprisals",
    "train",
]


def __getattr__(name: str) -> Any:
    """Fetch a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'elman' has no attribute {name!r}")
    value = getattr(import_module(f"elman.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return list(__all__)
