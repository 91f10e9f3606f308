"""The definition of a recurrence: a Python loop over `cell.step`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from elman.cells import Cell, State
from elman.engines.base import Engine, Weights, input_projection


class Loop(Engine):
    """Every cell, device and precision; the slowest, and the one that is right by definition."""

    name = "loop"

    @staticmethod
    def supports(cell: type[Cell], device: torch.device, dtype: torch.dtype) -> bool:  # noqa: ARG004 - all
        """Everything."""
        return True

    @staticmethod
    def run(cell: type[Cell], inputs: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
        """Outputs (B, T, H) and the last state."""
        outputs = []
        for x_t in input_projection(inputs, weights).unbind(0):
            state = cell.step(x_t, F.linear(state[0], weights.W_h, weights.b_h), *state)
            outputs.append(state[0])
        return torch.stack(outputs).transpose(0, 1), state
