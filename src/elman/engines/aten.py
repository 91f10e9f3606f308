"""PyTorch's own recurrences: cuDNN on a GPU, oneDNN or ATen on a CPU."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from elman.cells import Cell, State
from elman.engines.base import Engine, Weights


def one_hot(ids: Tensor, width: int, like: Tensor) -> Tensor:
    """One-hot vectors of token ids.

    Args:
        ids: (...).
        width: V, the length of a vector.
        like: a tensor of the precision and on the device that the result has.

    Returns:
        (..., V).
    """
    return like.new_zeros(*ids.shape, width).scatter_(-1, ids[..., None], 1.0)


class Aten(Engine):
    """The layers of `torch.nn`, called with elman's weights."""

    name = "aten"
    operators: ClassVar[dict[str, Callable[..., Any]]] = {
        "elman": torch.rnn_tanh,
        "elman-relu": torch.rnn_relu,
        "gru": torch.gru,
        "lstm": torch.lstm,
    }

    @staticmethod
    def supports(cell: type[Cell], device: torch.device, dtype: torch.dtype) -> bool:
        """Four cells in single and double precision; not Apple's GPU, whose LSTM has been silently wrong."""
        return cell.name in Aten.operators and device.type != "mps" and dtype in (torch.float32, torch.float64)

    @staticmethod
    def priority(cell: type[Cell], *, one_hot: int, hidden: int) -> int:
        """After `bptt`; before it for an LSTM, unless the one-hot product, which cannot be skipped here, outweighs."""
        return 25 if cell.name == "lstm" and one_hot <= hidden else 10

    @staticmethod
    def run(cell: type[Cell], inputs: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
        """One call of PyTorch's operator for the whole window."""
        steps = inputs.transpose(0, 1)
        x = steps if inputs.is_floating_point() else one_hot(steps, weights.W_x.shape[1], weights.W_x)
        h0 = tuple(s[None].contiguous() for s in state)  # cuDNN requires it
        start = h0 if len(h0) > 1 else h0[0]
        parameters = _packed(weights) if x.is_cuda else list(weights)
        outputs, *last = Aten.operators[cell.name](
            x, start, parameters, True, 1, 0.0, torch.is_grad_enabled(), False, False
        )
        return outputs.transpose(0, 1), tuple(s[0] for s in last)


def _packed(weights: Weights) -> list[Tensor]:
    """The same parameters as views of one piece of memory, which cuDNN wants."""
    flat = torch.cat([each.reshape(-1) for each in weights])
    pieces = flat.split([each.numel() for each in weights])
    return [piece.view(each.shape) for piece, each in zip(pieces, weights, strict=True)]
