"""Dynamic evaluation: a model that goes on learning from the text that it was scored on.

Every token is scored before anything is learnt from it. The figures follow another protocol than those of a model at
rest, and are comparable with compressors, which learn in the same way (Mikolov et al. 2010; Krause et al. 2018).

    of 32 tokens at a time     theta <- theta - lr g / (sqrt(v) + eps)     v a running mean of g^2 (RMSprop)
    of 128 or 0.05 % more     a network with counts adds them to its counts; its weights stay (docs/log.md)
    of every token             the weights of a `Mixture` are the mean share of each model in what came before
"""

import copy
import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elman.data.batches import START, Ids
from elman.errors import ConfigError, DataError, DivergedError, ModelError
from elman.models.base import Network, SequenceModel

CHUNK: Final = 32
DECAY, EPS = 0.99, 1e-4
LIMIT: Final = 1.0
"""Largest norm of a chunk's gradient."""
TRUST: Final = 1000
"""Tokens that the weights of a mixture are worth before the first."""

Nats = npt.NDArray[np.float64]


def dynamic(model: SequenceModel, ids: Ids, *, before: Ids | None = None, lr: float | None = None) -> Nats:
    """Nats of each token of a text, (N,), under a copy of a model that learns from it as it reads.

    Args:
        model: a network, or a `Mixture` of networks; it is not changed.
        ids: token ids of the text, (N,).
        before: tokens that are read first, neither scored nor learnt from: the end of the training text.
        lr: the learning rate, 0 or more; None: `Network.dynamic_lr` of each network.

    Raises:
        ConfigError: a model that is counted once and not trained, or a negative lr.
        DataError: there is no token.
        DivergedError: a gradient is not finite; names the tokens.

    Example:
        >>> import elman
        >>> task = elman.TextTask(elman.Vocab.chars("abracadabra"))
        >>> model = elman.Recurrent(task, hidden=8)
        >>> ids = task.vocab.encode("abracadabra" * 30)
        >>> bool(dynamic(model, ids, lr=0.01).sum() < elman.surprisals(model, ids).sum())
        True
    """
    return np.concatenate([nats[0].numpy(force=True) for _, nats in dynamic_chunks(model, ids, before=before, lr=lr)])


def dynamic_chunks(
    model: SequenceModel, ids: Ids, *, before: Ids | None = None, lr: float | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """The same chunk by chunk of up to 32 tokens: logits (1, T, V), and the nats of each token, (1, T) float64.

    Args:
        model: as for `dynamic`.
        ids: as for `dynamic`.
        before: as for `dynamic`.
        lr: as for `dynamic`.

    Raises:
        ConfigError: as `dynamic`.
        DataError: as `dynamic`.
    """
    if len(ids) == 0:
        raise DataError("there is nothing to score: the text has no tokens")
    if lr is not None and lr < 0:
        raise ConfigError(f"lr {lr}: give 0 or more")
    if model.members:
        members = [dynamic_chunks(member, ids, before=before, lr=lr) for member, _ in model.members]
        return _of_mixture(model, members)
    if not isinstance(model, Network):
        raise ConfigError(
            f"{model.name} is an n-gram model, which cannot learn while it is scored: use --protocol carried"
        )
    return _of_network(copy.deepcopy(model), ids, before, model.dynamic_lr if lr is None else lr)


def _of_network(model: Network, ids: Ids, before: Ids | None, lr: float) -> Iterator[tuple[Tensor, Tensor]]:
    start = np.zeros(0, ids.dtype) if before is None else before
    inputs = np.concatenate(([START], start, ids))[:-1].astype(np.int64)
    read, inputs = inputs[: len(start)], inputs[len(start) :]
    state = model.initial(1)
    trained = [p for p in model.parameters() if p.requires_grad]
    running = [torch.zeros_like(p) for p in trained]
    if len(read):
        with torch.no_grad():
            _, state = model(_row(read).to(model.device), state)
    counted, steps = 0, 0
    for at in range(0, len(ids), CHUNK):
        chunk = slice(at, at + CHUNK)
        with torch.set_grad_enabled(lr > 0):
            logits, ended = model(_row(inputs[chunk]).to(model.device), state)
            each = model.task.surprisals(logits, _row(ids[chunk].astype(np.int64)).to(model.device))
        yield logits.detach(), each.detach()
        state, steps = tuple(s.detach() for s in ended), steps + 1
        if lr:
            gradients = torch.autograd.grad(each.mean(), trained, allow_unused=True)
            if not _learn(trained, running, gradients, lr, steps):
                raise DivergedError(
                    f"{model.name}: the gradient of the tokens {at:,} to {at + len(each[0]):,} is not finite: "
                    "use a lower lr, or the protocol carried"
                )
        interval = model.recount_interval
        if interval is not None and at - counted >= interval:
            model.update_counts(ids[counted : at + CHUNK])
            counted = at + CHUNK


def _row(tokens: npt.NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(tokens)[None]


@torch.no_grad()
def _learn(
    trained: list[torch.nn.Parameter],
    running: list[torch.Tensor],
    gradients: tuple[torch.Tensor | None, ...],
    lr: float,
    steps: int,
) -> bool:
    """One step of RMSprop, without momentum; False and no step where a gradient is not finite."""
    known = [(p, v, g) for p, v, g in zip(trained, running, gradients, strict=True) if g is not None]
    norm = float(torch.linalg.vector_norm(torch.stack([g.norm() for _, _, g in known])))
    if not math.isfinite(norm):
        return False
    scale = min(1.0, LIMIT / max(norm, 1e-12))
    for p, v, g in known:
        v.mul_(DECAY).addcmul_(g, g, value=(1 - DECAY) * scale**2)
        p.addcdiv_(g, (v / (1 - DECAY**steps)).sqrt_().add_(EPS), value=-lr * scale)
    return True


def _of_mixture(
    model: SequenceModel, members: list[Iterator[tuple[Tensor, Tensor]]]
) -> Iterator[tuple[Tensor, Tensor]]:
    weights = AdaptiveWeights(np.array([weight for _, weight in model.members]))
    for chunks in zip(*members, strict=True):
        nats, shares = weights.mix(np.stack([each[0].numpy(force=True) for _, each in chunks], 1))
        with np.errstate(divide="ignore"):  # a weight of 0 adds nothing
            logs = torch.from_numpy(np.log(shares))[None]
        parts = [
            model.task.log_probabilities(logits.cpu().double()) + logs[..., [i]]
            for i, (logits, _) in enumerate(chunks)
            if weights.total[i] > 0
        ]
        yield torch.logsumexp(torch.stack(parts), 0), torch.from_numpy(nats)[None]


class AdaptiveWeights:
    """Weights of a mixture that follow how well each model predicted what came before.

        w_t,i = (trust w_i + sum_s<t share_s,i) / (trust + t)      share_s,i = w_s,i P_i / sum_j w_s,j P_j

    Args:
        weights: (M,), one a model, before the first token.
    """

    def __init__(self, weights: npt.NDArray[np.float64]) -> None:
        self.total = TRUST * np.array(weights, np.float64)
        self.tokens = 0

    def mix(self, costs: Nats) -> tuple[Nats, npt.NDArray[np.float64]]:
        """The nats of the mixture for the next tokens of the text.

        Args:
            costs: (T, M) nats of each token under each model.

        Returns:
            Nats under the mixture, (T,), and the weights that predicted each token, (T, M).

        Raises:
            ModelError: a cost is NaN.
        """
        if np.isnan(costs).any():
            raise ModelError("a model of the mixture predicts NaN: leave it out, or use an earlier checkpoint")
        nats, weights = np.empty(len(costs)), np.empty(costs.shape)
        for t, row in enumerate(costs):
            weights[t] = self.total / (TRUST + self.tokens)
            able = np.flatnonzero((self.total > 0) & (row < np.inf))
            if not len(able):  # no model can predict this token, which therefore says nothing about their weights
                nats[t] = np.inf
                continue
            joint = np.log(self.total[able]) - row[able]  # log w_i P_i, relative to the largest: none may underflow
            shares = np.exp(joint - joint.max())
            nats[t] = np.log(TRUST + self.tokens) - joint.max() - np.log(shares.sum())
            self.total[able] += shares / shares.sum()
            self.tokens += 1
        return nats, weights
