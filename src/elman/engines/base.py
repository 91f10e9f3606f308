"""What an engine is: a way to run one layer of a cell over a sequence.

All engines compute the same function; `loop` is its definition and every other is tested equal to it, in
values and in all gradients.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from elman.cells import Cell, State
from elman.data.batches import IGNORE
from elman.engines.sampling import Sampling

Sampler = Callable[
    [npt.NDArray[np.int64], State, int, npt.NDArray[np.float64] | None], tuple[npt.NDArray[np.int64], State]
]
"""Reads a token a stream, (B,), draws the next from what follows, reads that, and so on.

Given N numbers in [0, 1) a stream, (N, B), which choose (`Sampling`; None: the most probable), it returns N tokens,
(N, B), and the state after all but the last of them were read.
"""

ENGINES: dict[str, type["Engine"]] = {}
"""Every engine by the name that a user types."""


class Weights(NamedTuple):
    """The parameters of one layer, in PyTorch's shapes and gate order."""

    W_x: Tensor
    """(G*H, I); column-major in memory where the input is a token, so that a token's column is contiguous."""
    W_h: Tensor
    """(G*H, H)"""
    b_x: Tensor
    """(G*H,)"""
    b_h: Tensor
    """(G*H,)"""


class Stack(NamedTuple):
    """The parameters of a whole language model."""

    embed: Tensor | None
    """E, (V, I) of the first layer; None for one-hot inputs."""
    layers: list[Weights]
    W_q: Tensor
    """(V, H)"""
    b_q: Tensor
    """(V,)"""


class Engine(ABC):
    """Runs one layer over a window."""

    name: ClassVar[str]
    needs: ClassVar[str] = ""
    """What it takes to run it, for whoever asked for it in vain."""

    def __init_subclass__(cls) -> None:
        ENGINES[cls.name] = cls

    @staticmethod
    @abstractmethod
    def supports(cell: type[Cell], device: torch.device, dtype: torch.dtype) -> bool:
        """Whether this engine can run that cell there."""

    @staticmethod
    @abstractmethod
    def run(cell: type[Cell], inputs: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
        """Outputs (B, T, H) and the state after the last step.

        `inputs` are features (B, T, I), or token ids (B, T), which mean their one-hot vectors.
        The outputs are a view of time-major memory: `outputs.transpose(0, 1)` is contiguous.
        """

    @staticmethod
    def linear(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
        """W x + b of rows (N, I): the map from outputs to logits."""
        return F.linear(x, W, b)

    @staticmethod
    def linear_cross_entropy(x: Tensor, W: Tensor, b: Tensor, targets: Tensor) -> Tensor:
        """Nats, a scalar, of the targets (N,) where W x + b are logits; a target of `IGNORE` costs nothing.

        nats = -sum log softmax(W x + b)[target]
        """
        return F.cross_entropy(F.linear(x, W, b), targets, ignore_index=IGNORE, reduction="sum")

    @staticmethod
    def sampler(cell: type[Cell], stack: Stack, draw: Sampling, *, streams: int, unknown: bool) -> Sampler | None:  # noqa: ARG004 - for others
        """What draws many tokens in one call, not token 0 where it is unknown; None where there is no such."""
        return None


def input_projection(inputs: Tensor, weights: Weights) -> Tensor:
    """What the inputs ask of every gate, W_x x_t + b_x for all t at once: (T, B, G*H), contiguous.

    A one-hot input picks a column of W_x, so a token costs a row look-up and not a product.
    """
    if inputs.is_floating_point():
        return F.linear(inputs.transpose(0, 1), weights.W_x, weights.b_x)
    return F.embedding(inputs.t(), weights.W_x.t() + weights.b_x)
