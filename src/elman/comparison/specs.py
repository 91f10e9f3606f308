"""The models that a comparison can train, by name.

N-gram, ngram, laplace-N, witten-bell-N     counted; ngram chooses its order on the training part
mlp, bag                                    networks that see a window of tokens
elman, elman-relu, gru, lstm                recurrent networks
NAME-reversed                               any of them, reading the same text from its end
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from elman.cells import CELLS
from elman.config import TrainSettings, names_of
from elman.data.batches import check_length
from elman.data.corpus import Corpus
from elman.environment import device_for
from elman.errors import ConfigError, no_such
from elman.models.assemble import networks
from elman.models.base import Network
from elman.models.build import build_network
from elman.models.ngram.counts import check_order
from elman.models.ngram.model import NGRAM_TOKENS, NGram, highest_order
from elman.models.task import TextTask
from elman.training.config import Config
from elman.training.loop import Progress, train

DEFAULT = ("ngram", "mlp", "elman", "gru", "lstm")
WINDOWED = {"mlp": {"bag": False}, "bag": {"bag": True}}
COUNTED = re.compile(r"(?:(?P<kneser>\d+)-gram|(?P<smoothing>laplace|witten-bell)-(?P<order>\d+))\Z")
REVERSED = "-reversed"
EXAMPLES = ("ngram", "3-gram", "laplace-3", "witten-bell-3", *WINDOWED, *sorted(CELLS), "gru-reversed")


@dataclass(frozen=True)
class NGramSpec:
    """An n-gram model of a comparison, counted once.

    Args:
        name: as the user named it.
        order: the length of its n-grams in tokens, from 1 on; None: chosen on the training part.
        smoothing: as for `elman.NGram`.
        reverse: whether it reads the text from its end.
    """

    name: str
    order: int | None = None
    smoothing: str = "kneser-ney"
    reverse: bool = False

    def check(self, corpus: Corpus) -> None:
        """Raise ConfigError where this order cannot be counted."""
        tokens = min(len(corpus.train.ids), NGRAM_TOKENS)
        order = min(tokens, highest_order(tokens)) if self.order is None else self.order
        check_order(tokens, len(corpus.vocab), order)

    def count(self, corpus: Corpus) -> NGram:
        """The model of the training part, or of the end of a very long one."""
        return NGram.fit(
            TextTask.of(corpus), corpus.train.ids[-NGRAM_TOKENS:], order=self.order, smoothing=self.smoothing
        )


@dataclass(frozen=True)
class NetworkSpec:
    """A network of a comparison, trained once a seed.

    Args:
        name: as the user named it.
        model: its architecture.
        config: how it is trained, and on which device.
        reverse: whether it reads the text from its end.
    """

    name: str
    network: Mapping[str, Any]
    """Its settings, for `elman.models.build.build_network`."""
    config: Config
    reverse: bool = False

    def check(self, corpus: Corpus) -> None:
        """Raise ConfigError or DataError where this network cannot be trained."""
        self.begin(corpus, self.config.seed)
        check_length(self.config.batching, len(corpus.train.ids), self.config.batch, self.config.window)

    def begin(self, corpus: Corpus, seed: int) -> Network:
        """The network at its initial weights.

        Args:
            corpus: its vocabulary.
            seed: of the initial weights.
        """
        model = build_network(TextTask.of(corpus), self.network, engine=self.config.engine, seed=seed)
        model.to(device_for(self.config.device))
        model.engine_name  # noqa: B018 - an engine that cannot run this is refused now
        return model

    def train(self, model: Network, corpus: Corpus, seed: int) -> Iterator[Progress]:
        """Train, without any held-out text.

        Args:
            model: changed in place.
            corpus: its training part.
            seed: of the order of batches and of dropout.
        """
        return train(model, corpus.train, settings=replace(self.config.part(TrainSettings), seed=seed))


def model_spec(name: str, config: Config) -> NGramSpec | NetworkSpec:
    """The model of a name.

    Args:
        name: as above; `EXAMPLES` has one of each kind.
        config: all settings but those that the name decides.

    Raises:
        ConfigError: there is none of this name.

    Example:
        >>> model_spec("witten-bell-3", Config())
        NGramSpec(name='witten-bell-3', order=3, smoothing='witten-bell', reverse=False)
    """
    if name.endswith(REVERSED):
        return replace(model_spec(name.removesuffix(REVERSED), config), name=name, reverse=True)
    if name == "ngram":
        return NGramSpec(name)
    if found := COUNTED.match(name):
        return NGramSpec(name, int(found["kneser"] or found["order"]), found["smoothing"] or "kneser-ney")
    if name in WINDOWED:
        kept = names_of(networks()["mlp"].Settings)
        values = {field: value for field, value in config.network.items() if field in kept}
        return NetworkSpec(name, values | {"model": "mlp"} | WINDOWED[name], config)
    if name in CELLS:
        return NetworkSpec(name, config.network | {"model": "recurrent", "cell": name}, config)
    if name in networks():
        kept = names_of(networks()[name].Settings)
        values = {field: value for field, value in config.network.items() if field in kept}
        return NetworkSpec(name, values | {"model": name}, config)
    raise ConfigError(no_such("model", name, EXAMPLES))
