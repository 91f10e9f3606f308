"""elman learns what comes next in a sequence.

    >>> import elman
    >>> vocab = elman.Vocab.chars("hello hello hello ")
    >>> model = elman.Recurrent(elman.Text(vocab), cell="gru", hidden=16)

Importing this package does no work: every public name is fetched when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elman.bench import race
    from elman.coding import Compressed, compress, compressed, decompress
    from elman.comparison import Comparison
    from elman.config import Config, TrainSettings
    from elman.data.corpus import Corpus, Part, read_corpus, split
    from elman.data.series import Series, series, sine
    from elman.data.table import read_series
    from elman.data.vocab import Vocab
    from elman.dynamic import evaluate_dynamic
    from elman.evaluation import Score, evaluate, surprisals
    from elman.forecasting import Study, forecast
    from elman.generation import generate, generate_samples
    from elman.markov import ahead
    from elman.mixture import Mixture
    from elman.models.copying import Copying
    from elman.models.hybrid import Hybrid
    from elman.models.mlp import MLP
    from elman.models.ngram import NGram
    from elman.models.recurrent import Recurrent
    from elman.rivals import compare
    from elman.saving import load, save
    from elman.speed import Race
    from elman.task import Text
    from elman.training import Progress, Training, fit, train
    from elman.zipf import frequencies

_HOMES = {
    "Comparison": "comparison",
    "Compressed": "coding",
    "Config": "config",
    "Copying": "models.copying",
    "Corpus": "data.corpus",
    "Hybrid": "models.hybrid",
    "MLP": "models.mlp",
    "Mixture": "mixture",
    "NGram": "models.ngram",
    "Part": "data.corpus",
    "Progress": "training",
    "Race": "speed",
    "Recurrent": "models.recurrent",
    "Score": "evaluation",
    "Series": "data.series",
    "Study": "forecasting",
    "Text": "task",
    "TrainSettings": "config",
    "Training": "training",
    "Vocab": "data.vocab",
    "ahead": "markov",
    "compare": "rivals",
    "compress": "coding",
    "compressed": "coding",
    "decompress": "coding",
    "evaluate": "evaluation",
    "evaluate_dynamic": "dynamic",
    "fit": "training",
    "forecast": "forecasting",
    "frequencies": "zipf",
    "generate": "generation",
    "generate_samples": "generation",
    "load": "saving",
    "race": "bench",
    "read_corpus": "data.corpus",
    "read_series": "data.table",
    "save": "saving",
    "series": "data.series",
    "sine": "data.series",
    "split": "data.corpus",
    "surprisals": "evaluation",
    "train": "training",
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
