"""The reference engine: a Python loop over `cell.step`, which defines what all engines compute."""

import torch
import torch.nn.functional as F
from torch import Tensor

from elman.cells import Cell, State
from elman.engines.base import Engine, Weights, input_projection


class Loop(Engine):
    """The reference: any cell, device and precision; the slowest."""

    name = "loop"

    @staticmethod
    def supports(cell: type[Cell], device: torch.device, dtype: torch.dtype) -> bool:  # noqa: ARG004 - all of them
        """Everything."""
        return True

    @staticmethod
    def priority(cell: type[Cell], *, one_hot: int, hidden: int) -> int:  # noqa: ARG004 - of any
        """The last: every other engine is faster."""
        return 0

    @staticmethod
    def run(cell: type[Cell], inputs: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
        """One `cell.step` per time step; the input projection of all steps comes first."""
        outputs = []
        for x_t in input_projection(inputs, weights).unbind(0):
            state = cell.step(x_t, F.linear(state[0], weights.W_h, weights.b_h), *state)
            outputs.append(state[0])
        return torch.stack(outputs).transpose(0, 1), state
