"""The networks of the fast.ai course's counting notebook, and its way of scoring them."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

import elman
from elman.cells import State
from elman.data.batches import IGNORE, Ids, Rows, gather
from elman.models.base import Network


class Normed(elman.Recurrent):
    """The course's network: batch norm between states and output (Ioffe and Szegedy 2015).

    `last`: only the last token of every window is learnt.
    """

    def __init__(self, task: elman.TextTask, *, last: bool = False, **settings: Any) -> None:
        super().__init__(task, **settings)
        self.last, self.norm = last, nn.BatchNorm1d(self.widths[-1])

    def forward(self, inputs: Tensor, state: State, rng: Generator | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, V), and the state after the last."""
        x, after = self._outputs(self.engine, inputs, state, rng)
        return self._said(x).transpose(0, 1), after

    def _said(self, x: Tensor) -> Tensor:
        """Logits of outputs (T, B, H); statistics are those of the batch while it learns."""
        n, rows = self.norm, x.flatten(0, 1)
        learning = torch.is_grad_enabled()
        normed = F.batch_norm(rows, n.running_mean, n.running_var, n.weight, n.bias, learning, n.momentum or 0.1, n.eps)
        logits: Tensor = F.linear(normed, self.output_weight, self.b_q).unflatten(0, x.shape[:2])
        return logits

    def loss(
        self,
        inputs: Tensor,
        targets: Tensor,
        state: State,
        rng: Generator | None = None,
        rows: Rows | None = None,  # noqa: ARG002 - for what counts
    ) -> tuple[Tensor, State]:
        """Nats of the targets that are learnt, and the state after the last."""
        x, after = self._outputs(self.engine, inputs, state, rng)
        learnt = slice(-1, None) if self.last else slice(None)
        return self.task.nats(self._said(x[learnt]).transpose(0, 1), targets[:, learnt]), after

    stepper = Network.stepper  # no engine normalizes a batch
    sampler = Network.sampler


def scored(model: Network, ids: Ids, protocol: str, steps: int) -> tuple[float, float]:
    """Nats a token, and the share that is most probable.

    carried    so many streams side by side, each from a zero state: what goes wrong until it knows where it is, counts
    reset      from a zero state every so many tokens
    last       the same, of each window the last token alone
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
