"""The one protocol of every model, from an n-gram to a stack of LSTMs."""

from collections.abc import Callable
from typing import Any, Protocol

from torch import Generator, Tensor

from elman.cells import State
from elman.task import Text

Step = Callable[[Tensor, State], tuple[Tensor, State]]


class SequenceModel(Protocol):
    """`(inputs, state) -> (prediction, state)`; the state is passed in and returned, never kept."""

    task: Text

    def initial(self, batch: int) -> State:
        """The state before anything was read: tensors whose first dimension is `batch`."""

    def __call__(self, inputs: Tensor, state: State, noise: Generator | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, V) for the token after each of inputs (B, T), and the state after the last.

        `noise` is the source of dropout; without it nothing is dropped.
        """

    def stepper(self) -> Step:
        """The same one token at a time, (B,) to logits (B, V): what generating does, as lean as can be."""

    def settings(self) -> dict[str, Any]:
        """The arguments that build this model again, as JSON values."""
