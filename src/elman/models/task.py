"""What a model is asked to do: the symbols it reads and predicts, and what a prediction costs."""

import warnings
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from elman.arguments import checked
from elman.data.batches import IGNORE
from elman.data.cleaning import cleaning
from elman.data.corpus import Corpus
from elman.data.vocab import Vocab
from elman.engines.base import widened

Number = TypeVar("Number", bound=np.generic)


class TextTask:
    """Predict the next token of a text: V classes, cost in nats.

        nats = -log softmax(logits)[target]

    A prediction is a vector of logits, log-probabilities up to a constant, so that a model that counts may
    return log-probabilities as they are.
    """

    @checked
    def __init__(
        self, vocab: Vocab, normalize: str = "none", *, reverse: bool = False, clean: str | None = None
    ) -> None:
        self.vocab = vocab
        if clean is not None:
            warnings.warn("clean is now normalize; the old name goes in 0.3", DeprecationWarning, stacklevel=2)
            normalize = clean
        cleaning(normalize)  # refuses a name that there is not
        self.normalize = normalize
        """The normalization of every text before it is split into tokens (`elman.data.cleaning`)."""
        self.reverse = reverse
        """Whether a text is read from its end to its beginning: the next token is the one before."""

    @property
    def clean(self) -> str:
        """The name of `normalize` in 0.1, until 0.3."""
        warnings.warn("clean is now normalize; the old name goes in 0.3", DeprecationWarning, stacklevel=2)
        return self.normalize

    @classmethod
    def of(cls, corpus: Corpus) -> "TextTask":
        """The task that a corpus was made for."""
        return cls(corpus.vocab, corpus.normalize, reverse=corpus.reverse)

    @property
    def size(self) -> int:
        """V, the number of symbols read and predicted."""
        return len(self.vocab)

    def reading_order(self, tokens: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """Token ids, or a number for each, from the order of the text to the order in which the model reads, or back.

        Args:
            tokens: one number a token, (N,).

        Returns:
            A view, (N,): reversed where the task is.
        """
        return tokens[::-1] if self.reverse else tokens

    @staticmethod
    def nats(logits: Tensor, targets: Tensor) -> Tensor:
        """Total cost, a scalar, of logits (B, T, V) at targets (B, T); `IGNORE` costs nothing."""
        # Time-major rows: engines lay their outputs out so, and a sum does not mind the order.
        rows = widened(logits).transpose(0, 1).reshape(-1, logits.shape[-1])
        return F.cross_entropy(rows, targets.t().reshape(-1), ignore_index=IGNORE, reduction="sum")

    @staticmethod
    def surprisals(logits: Tensor, targets: Tensor) -> Tensor:
        """The cost of each target, (B, T) nats, to be added up in float64; 0 where the target is `IGNORE`."""
        rows = widened(logits).flatten(0, 1)
        each = F.cross_entropy(rows, targets.flatten(), ignore_index=IGNORE, reduction="none")
        each = each.cpu() if each.device.type == "mps" else each  # which has no float64
        return each.double().view(targets.shape)

    @staticmethod
    def log_probabilities(logits: Tensor) -> Tensor:
        """Normalised log-probabilities, (..., V)."""
        return torch.log_softmax(widened(logits), -1)
