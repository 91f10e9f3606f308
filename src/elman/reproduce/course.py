"""The networks of the notebook on human numbers of Howard and Thomas 2019, and its protocols of scoring.

Howard and Thomas 2019: fast.ai, A Code-First Introduction to Natural Language Processing.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

import elman
from elman.cells import State
from elman.data.batches import IGNORE, Ids, Rows, gather
from elman.models.base import Network


class BatchNormRecurrent(elman.Recurrent):
    """A recurrent network with batch norm between states and output (Ioffe and Szegedy 2015).

    Args:
        task: the text and its vocabulary.
        last: whether the loss is of the last token of every window alone.
        **settings: as for `elman.Recurrent`.
    """

    def __init__(self, task: elman.TextTask, *, last: bool = False, **settings: Any) -> None:
        super().__init__(task, **settings)
        self.last, self.norm = last, nn.BatchNorm1d(self.widths[-1])

    def forward(self, inputs: Tensor, state: State, rng: Generator | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, V), and the state after the last."""
        x, after = self._outputs(self.engine, inputs, state, rng)
        return self._logits(x).transpose(0, 1), after

    def _logits(self, x: Tensor) -> Tensor:
        """Logits of outputs (T, B, H); the statistics are those of the batch while gradients are computed."""
        n, rows = self.norm, x.flatten(0, 1)
        training = torch.is_grad_enabled()
        normed = F.batch_norm(rows, n.running_mean, n.running_var, n.weight, n.bias, training, n.momentum or 0.1, n.eps)
        logits: Tensor = F.linear(normed, self.output_weight, self.b_q).unflatten(0, x.shape[:2])
        return logits

    def loss(
        self,
        inputs: Tensor,
        targets: Tensor,
        state: State,
        rng: Generator | None = None,
        rows: Rows | None = None,  # noqa: ARG002 - other models need it
    ) -> tuple[Tensor, State]:
        """Nats of the targets of the loss, and the state after the last input."""
        x, after = self._outputs(self.engine, inputs, state, rng)
        counted = slice(-1, None) if self.last else slice(None)
        return self.task.nats(self._logits(x[counted]).transpose(0, 1), targets[:, counted]), after

    stepper = Network.stepper  # no engine normalizes a batch
    token_sampler = Network.token_sampler


def score(model: Network, ids: Ids, protocol: str, steps: int) -> tuple[float, float]:
    """Score a network by one of the protocols of Howard and Thomas 2019.

        carried    `steps` streams, each from a zero state; errors at the beginning of a stream count
        reset      from a zero state every `steps` tokens
        last       the same, but only the last token of each window counts

    Args:
        model: the network.
        ids: the tokens, (n,).
        protocol: one of those above.
        steps: see there.

    Returns:
        Nats per token, and accuracy: the share of tokens that are the most probable ones.
    """
    if protocol != "carried":
        nats, hits = np.zeros(len(ids)), np.zeros(len(ids), np.bool_)
        elman.evaluate(model, ids, protocol="reset", window=steps, per_token=nats, hits=hits)
        chosen = slice(steps - 1, None, steps) if protocol == "last" else slice(None)
        return float(nats[chosen].mean()), float(hits[chosen].mean())
    edges = np.arange(steps + 1) * len(ids) // steps
    inputs, targets = map(torch.from_numpy, gather(ids, Rows(edges[:-1], edges[1:], fresh=True)))
    with torch.inference_mode():
        logits, _ = model(inputs, model.initial(steps))
        right = (logits.argmax(-1) == targets)[targets != IGNORE]
        return float(model.task.nats(logits, targets)) / len(ids), float(right.double().mean())
