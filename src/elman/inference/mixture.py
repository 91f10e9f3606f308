"""A mixture of models: their probabilities, averaged with weights that are fitted to a text."""

import math
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from elman.arguments import checked
from elman.cells import State
from elman.data.batches import IdsLike
from elman.errors import ConfigError, ModelError
from elman.inference.evaluation import surprisals
from elman.models.base import SequenceModel, Step
from elman.models.task import TextTask

ROUNDS = 500  # of expectation maximisation, at most
ENOUGH = 1e-9  # nats a token, under which a round has nothing more to gain


class Mixture(SequenceModel):
    """Several models of one task, averaged (Jelinek and Mercer 1980).

        P(token) = sum_i w_i P_i(token)        w_i >= 0, adding up to 1

    Its state is an empty tensor on the CPU, from which it reads tokens, and the states of all, one model's after the
    other's, each where that model computes. Prediction is a vector of log-probabilities, on the CPU.

    Args:
        models: at least one, all of the same vocabulary, cleaning and direction.
        weights: one a model, 0 or more, adding up to 1; None: all equal.

    Raises:
        ConfigError: no model, models of different tasks, or weights that are none.

    Example:
        >>> import elman
        >>> task = elman.TextTask(elman.Vocab.chars("abracadabra"))
        >>> ids = task.vocab.encode("abracadabra" * 9)
        >>> long, short = (elman.NGram.fit(task, ids, order=n) for n in (5, 1))
        >>> mixed = elman.Mixture.fit([long, short], ids)
        >>> mixed.name, bool(mixed.weights[0] > 0.9)
        ('5-gram + 1-gram', True)
    """

    kind: ClassVar[str] = "mixture"

    @checked
    def __init__(self, models: Sequence[SequenceModel], weights: Sequence[float] | None = None) -> None:
        if not models:
            raise ConfigError("a mixture needs at least one model")
        first = models[0].task
        for model in models[1:]:
            if not _same(first, model.task):
                raise ConfigError(
                    f"{model.name} has another vocabulary, normalization or direction than {models[0].name}"
                )
        w = np.full(len(models), 1 / len(models)) if weights is None else np.asarray(weights, np.float64)
        if w.shape != (len(models),) or not (w >= 0).all() or abs(float(w.sum()) - 1) > 1e-6:
            raise ConfigError(f"weights {weights}: give {len(models)} numbers, each 0 or more, that add up to 1")
        self.task, self.models, self.weights = first, tuple(models), w / w.sum()

    @classmethod
    @checked
    def fit(cls, models: Sequence[SequenceModel], ids: IdsLike) -> "Mixture":
        """A mixture with the weights that predict a text best, by expectation maximisation.

            w_i <- mean over tokens of w_i P_i(token) / sum_j w_j P_j(token)

        Args:
            models: at least one, all of the same vocabulary, cleaning and direction.
            ids: token ids of a text that no model was trained on, (N,).

        Raises:
            ConfigError: no model, or models of different tasks.
            DataError: the text is empty.
        """
        mixed = cls(models)
        each = np.stack([surprisals(model, ids) for model in models])
        mixed.weights = best_weights(each)
        return mixed

    @classmethod
    def learnt(cls, models: Sequence[SequenceModel], ids: IdsLike) -> "Mixture":
        """The old name of `fit`."""
        warnings.warn("Mixture.learnt is now Mixture.fit; the old name goes in 0.3", DeprecationWarning, stacklevel=2)
        return cls.fit(models, ids)

    @property
    def is_trained(self) -> bool:
        """Whether gradients trained one of its members."""
        return any(model.is_trained for model in self.models)

    @property
    def members(self) -> tuple[tuple[SequenceModel, float], ...]:
        """The models and their weights."""
        return tuple(zip(self.models, self.weights.tolist(), strict=True))

    def initial(self, batch: int) -> State:
        """An empty tensor, (B, 0), and the concatenated states of all members, tensors of (B, ...)."""
        return (torch.empty(batch, 0), *(s for model in self.models for s in model.initial(batch)))

    def __call__(self, inputs: Tensor, state: State, rng: Generator | None = None) -> tuple[Tensor, State]:
        """Log-probabilities (B, T, V) of the token after each of inputs (B, T), and all states after the last."""
        found = [
            model(inputs.to(own[0].device), own, rng)
            for model, own in zip(self.models, self._split(state), strict=True)
        ]
        return self._averaged([logits for logits, _ in found]), (state[0], *(s for _, ended in found for s in ended))

    def _averaged(self, logits: Sequence[Tensor]) -> Tensor:
        """The log-probabilities of the mixture, (..., V) float64 on the CPU, which every device can be read from."""
        parts = [
            self.task.log_probabilities(each.cpu().double()) + math.log(weight)
            for each, weight in zip(logits, self.weights.tolist(), strict=True)
            if weight > 0  # another adds nothing, whatever it predicts
        ]
        return torch.logsumexp(torch.stack(parts), 0)

    def _split(self, state: State) -> list[State]:
        """The state of each."""
        edges = np.cumsum([1, *(len(model.initial(1)) for model in self.models)]).tolist()
        return [state[a:b] for a, b in pairwise(edges)]

    def stepper(self) -> Step:
        """The same one token at a time, each by its own stepper."""
        steps = [model.stepper() for model in self.models]

        def one_step(tokens: Tensor, state: State) -> tuple[Tensor, State]:
            found = [step(tokens.to(own[0].device), own) for step, own in zip(steps, self._split(state), strict=True)]
            after = (s for _, ended in found for s in ended)
            return self._averaged([logits for logits, _ in found]), (state[0], *after)

        return one_step

    def settings(self) -> dict[str, Any]:
        """The weights."""
        return {"weights": self.weights.tolist()}

    @property
    def name(self) -> str:
        """The names of all members."""
        return " + ".join(model.name for model in self.models)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of all members, by the place of each."""
        return {f"{i}.{name}": t for i, model in enumerate(self.models) for name, t in model.tensors().items()}

    def parameter_count(self) -> int:
        """The parameters of all members together."""
        return sum(model.parameter_count() for model in self.models)

    def operations(self) -> int:
        """The operations of all members together."""
        return sum(model.operations() for model in self.models)


def best_weights(each: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The weights of a mixture that minimise its nats, by expectation maximisation.

    Args:
        each: nats of N tokens under M models, (M, N); infinite where a model gives a token no probability.

    Returns:
        (M,), 0 or more, adding up to 1; all equal where no model can predict any token.

    Raises:
        ModelError: a cost is NaN.
    """
    if np.isnan(each).any():
        raise ModelError("a model of the mixture predicts NaN: leave it out, or use an earlier checkpoint")
    each = each[:, np.isfinite(each.min(0))]  # a token that no model can predict has no best weights
    p = np.exp(each.min(0) - each)  # relative to the best model of each token
    w = np.full(len(p), 1 / len(p))
    if not p.size:
        return w
    before = -np.inf
    for _ in range(ROUNDS):
        total = w @ p
        gained = float(np.log(total).mean())
        if gained - before < ENOUGH:
            break
        before = gained
        w *= (p / total).mean(1)
    best: npt.NDArray[np.float64] = w / w.sum()
    return best


def _same(a: TextTask, b: TextTask) -> bool:
    """Whether two tasks read and predict the same symbols in the same way."""
    return a.vocab == b.vocab and (a.normalize, a.reverse) == (b.normalize, b.reverse)
