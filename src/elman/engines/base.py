"""The base class of engines: ways to run one layer of a cell over a sequence.

All engines compute the same function; `loop` is its definition and every other is tested equal to it, in
values and in all gradients.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from elman.cells import Cell, State
from elman.data.batches import IGNORE
from elman.engines.sampling import Sampling

TokenSampler = Callable[
    [npt.NDArray[np.int64], State, int, npt.NDArray[np.float64] | None], tuple[npt.NDArray[np.int64], State]
]
"""Samples tokens autoregressively: reads a token per stream, samples the next, reads that, and so on.

Args:
    tokens: the tokens to read first, (B,).
    state: the state before they are read.
    steps: N, tokens to sample per stream.
    uniforms: numbers in [0, 1) that select the tokens (`Sampling`), (N, B); None takes the most probable ones.

Returns:
    The sampled tokens, (N, B), and the state after all but the last of them were read.
"""

ENGINES: dict[str, type["Engine"]] = {}
"""Every engine by name; a subclass of `Engine` adds itself."""


class Weights(NamedTuple):
    """The parameters of one layer, in PyTorch's shapes and gate order."""

    W_x: Tensor
    """(G*H, I); column-major in memory where the inputs are tokens, so that a token's column is contiguous."""
    W_h: Tensor
    """(G*H, H)"""
    b_x: Tensor
    """(G*H,)"""
    b_h: Tensor
    """(G*H,)"""


class ExpertWeights(NamedTuple):
    """The map to the weights of the experts, a = A h + C r + b_a.

    Args:
        A: (K, H).
        C: (K, K).
        b: (K,).
    """

    A: Tensor
    C: Tensor
    b: Tensor

    def __call__(self, features: Tensor, backoff: Tensor) -> Tensor:
        """a, (..., K), of features h (..., H) and backoff weights r (..., K)."""
        return features @ self.A.t() + backoff @ self.C.t() + self.b


class StreamExperts(NamedTuple):
    """Counted experts that correct the logits of streams while they are sampled.

    Args:
        weights: the map to their weights.
        table: compiled (`elman.engines.native_experts.NativeTable`).
        tokens: what tells words and lines apart (`elman.engines.native_experts.ContextTokens`).
    """

    weights: ExpertWeights
    table: Any
    tokens: Any


class Stack(NamedTuple):
    """The parameters of a whole language model."""

    embed: Tensor | None
    """E, (V, I) of the first layer; None for one-hot inputs."""
    layers: list[Weights]
    W_q: Tensor
    """(V, H)"""
    b_q: Tensor
    """(V,)"""
    experts: StreamExperts | None = None
    """Their state stands after that of the layers: the n-1 tokens read last, (B, n-1), and that of words, (B, 5)."""


class Engine(ABC):
    """Runs one layer of a cell over a window of time steps, and the output map after the last layer.

    An engine has no state: all methods are static or class methods. A subclass with a `name`, `supports` and `run` can
    be chosen by its name; with a `priority` the choice "auto" considers it as well.
    """

    name: ClassVar[str]
    """The name by which it is chosen."""
    needs: ClassVar[str] = ""
    """What it needs to run, for the error message where it cannot."""

    def __init_subclass__(cls) -> None:
        ENGINES[cls.name] = cls

    @staticmethod
    @abstractmethod
    def supports(cell: type[Cell], device: torch.device, dtype: torch.dtype) -> bool:
        """Whether this engine can run a cell.

        Args:
            cell: the cell.
            device: where the weights are.
            dtype: their precision.
        """

    @staticmethod
    def priority(cell: type[Cell], *, one_hot: int, hidden: int) -> int | None:
        """The rank of this engine for "auto", which takes the highest one that supports the cell; None: never.

        Args:
            cell: the cell to run.
            one_hot: V, where the first layer reads one-hot tokens; else 0.
            hidden: H of the first layer.
        """
        return None

    @staticmethod
    @abstractmethod
    def run(cell: type[Cell], inputs: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
        """Run one layer over a window.

        Args:
            cell: the cell.
            inputs: features (B, T, I), or token ids (B, T), which stand for their one-hot vectors.
            state: the state before the window, (B, H) per tensor.
            weights: the layer's parameters.

        Returns:
            The outputs h of all steps, (B, T, H), a view of time-major memory: `outputs.transpose(0, 1)` is
            contiguous; and the state after the last step.
        """

    @staticmethod
    def linear(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
        """The output map W x + b, from outputs to logits.

        Args:
            x: outputs of the last layer, (N, H).
            W: (V, H).
            b: (V,).

        Returns:
            Logits, (N, V).
        """
        return F.linear(x, W, b)

    @staticmethod
    def linear_cross_entropy(x: Tensor, W: Tensor, b: Tensor, targets: Tensor) -> Tensor:
        """The output map and the cross-entropy in one, so that an engine need not keep the logits.

            nats = -sum log softmax(W x + b)[target]

        Args:
            x: outputs of the last layer, (N, H).
            W: (V, H).
            b: (V,).
            targets: token ids, (N,); a target of `IGNORE` adds 0.

        Returns:
            The sum over all targets in nats, a scalar.
        """
        return F.cross_entropy(widened(F.linear(x, W, b)), targets, ignore_index=IGNORE, reduction="sum")

    @staticmethod
    def token_sampler(
        cell: type[Cell],
        stack: Stack,
        sampling: Sampling,
        *,
        streams: int,
        unknown: bool,
    ) -> TokenSampler | None:
        """A function that samples many tokens in one call, where the engine has one.

        Args:
            cell: the cell of all layers.
            stack: the parameters of the model, used as they are now.
            sampling: how a token is chosen from its logits.
            streams: B, texts that are continued side by side.
            unknown: token 0 is `<unk>` and is never sampled.

        Returns:
            The sampler; None where the engine has none, and the model's steps must be used.
        """
        return None


def input_projection(inputs: Tensor, weights: Weights) -> Tensor:
    """The input pre-activations of all gates, W_x x_t + b_x for all t at once.

    A one-hot input selects a column of W_x, so a token costs a row look-up and not a matrix product.

    Args:
        inputs: features (B, T, I) or token ids (B, T).
        weights: the layer's parameters.

    Returns:
        (T, B, G*H), contiguous.
    """
    if inputs.is_floating_point():
        return F.linear(inputs.transpose(0, 1), weights.W_x, weights.b_x)
    return F.embedding(inputs.t(), weights.W_x.t() + weights.b_x)


def widened(logits: Tensor) -> Tensor:
    """Logits of 16 bits in float32: costs of them would be rounded to two or three digits, and overflow in a sum."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
