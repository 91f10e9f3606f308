"""Dynamic evaluation: a model that keeps learning from the text that it has just been scored on.

Every token is scored before anything is learnt from it, so the figures are honest; but they are another protocol than
those of a model at rest, and stand beside compressors, which learn in the same way (Mikolov et al. 2010; Krause et
al. 2018).

    of 32 tokens at a time     theta <- theta - lr g / (sqrt(v) + eps)     v a running mean of g^2 (RMSprop)
    of 128 or 0.05 % more     the experts of a `Hybrid` count them too; its weights stay (docs/log.md)
    of every token             the weights of a `Mixture` are the mean share of each model in what came before
"""

import copy
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from elman.data.batches import START, Ids
from elman.data.corpus import Split
from elman.errors import ConfigError, DataError
from elman.inference.evaluation import Score, part_of
from elman.inference.mixture import Mixture
from elman.models.base import Network, SequenceModel
from elman.models.hybrid import Hybrid

LR: Final = 3e-4
CHUNK: Final = 32
RECOUNT, GROWN = 128, 2000  # tokens, and one part in so many of what was counted before
DECAY, EPS = 0.99, 1e-4
LIMIT: Final = 1.0
"""Largest norm of a chunk's gradient."""
TRUST: Final = 1000
"""Tokens that the weights of a mixture are worth before the first."""

LEARNING: Final = "dynamic"
"""The protocol's name in a `Score`."""
Nats = npt.NDArray[np.float64]


def dynamic(model: SequenceModel, ids: Ids, *, before: Ids | None = None, lr: float | None = None) -> Nats:
    """What each token of a text costs a model that learns from it as it reads, (N,) nats; the model itself stays.

    Args:
        model: a network, a `Hybrid`, or a `Mixture` of them.
        ids: the text.
        before: what is read first, without being scored or learnt from: the end of the training text.
        lr: the size of the steps; None: 3e-4, and none for a `Hybrid`, whose experts count instead.

    Raises:
        ConfigError: a model that is counted once and not trained, or a negative lr.
        DataError: there is no token.

    Example:
        >>> import elman
        >>> task = elman.TextTask(elman.Vocab.chars("abracadabra"))
        >>> model = elman.Recurrent(task, hidden=8)
        >>> ids = task.vocab.encode("abracadabra" * 30)
        >>> bool(dynamic(model, ids, lr=0.01).sum() < elman.surprisals(model, ids).sum())
        True
    """
    if len(ids) == 0:
        raise DataError("there is nothing to score: the text has no tokens")
    if lr is not None and lr < 0:
        raise ConfigError(f"lr {lr}: give 0 or more")
    if isinstance(model, Mixture):
        return mixed([dynamic(one, ids, before=before, lr=lr) for one in model.models], model.weights)
    if not isinstance(model, Network):
        raise ConfigError(f"{model.name} was counted once and does not go on learning: evaluate it at rest")
    if lr is None:
        lr = 0.0 if isinstance(model, Hybrid) else LR
    return _of_network(copy.deepcopy(model), ids, before, lr)


def evaluate_dynamic(
    model: SequenceModel, text: str | Ids | Split, *, before: Ids | None = None, per_token: Nats | None = None
) -> Score:
    """The same added up, as `elman.evaluate` does; `per_token` (N,) is filled with the nats of each.

    Raises:
        ConfigError: a model that is counted once and not trained.
        DataError: there is no token.
    """
    part = part_of(model, text)
    costs = dynamic(model, part.ids, before=before)
    if per_token is not None:
        per_token[:] = costs
    counted = (len(costs), float(costs.sum()), part.characters, part.bytes, part.unknown)
    return Score(LEARNING, *counted, streams=1, window=None)


def _of_network(model: Network, ids: Ids, before: Ids | None, lr: float) -> Nats:
    start = np.zeros(0, ids.dtype) if before is None else before
    inputs = np.concatenate(([START], start, ids))[:-1].astype(np.int64)
    read, inputs = inputs[: len(start)], inputs[len(start) :]
    state = model.initial(1)
    trained = [p for p in model.parameters() if p.requires_grad]
    running = [torch.zeros_like(p) for p in trained]
    if len(read):
        with torch.no_grad():
            _, state = model(_row(read).to(model.device), state)
    costs, counted, steps = np.empty(len(ids)), 0, 0
    for at in range(0, len(ids), CHUNK):
        chunk = slice(at, at + CHUNK)
        with torch.set_grad_enabled(lr > 0):
            logits, ended = model(_row(inputs[chunk]).to(model.device), state)
            each = model.task.surprisals(logits, _row(ids[chunk].astype(np.int64)).to(model.device))
        costs[chunk] = each.detach()[0].cpu().numpy()
        state, steps = tuple(s.detach() for s in ended), steps + 1
        if lr:
            _learn(trained, running, torch.autograd.grad(each.mean(), trained, allow_unused=True), lr, steps)
        if isinstance(model, Hybrid) and at - counted >= max(RECOUNT, len(model.text) // GROWN):
            model.update_counts(ids[counted : at + CHUNK])
            counted = at + CHUNK
    return costs


def _row(tokens: npt.NDArray[np.int64]) -> torch.Tensor:
    return torch.from_numpy(tokens)[None]


@torch.no_grad()
def _learn(
    trained: list[torch.nn.Parameter],
    running: list[torch.Tensor],
    gradients: tuple[torch.Tensor | None, ...],
    lr: float,
    steps: int,
) -> None:
    """One step of RMSprop, without momentum."""
    known = [(p, v, g) for p, v, g in zip(trained, running, gradients, strict=True) if g is not None]
    norm = float(torch.linalg.vector_norm(torch.stack([g.norm() for _, _, g in known])))
    scale = min(1.0, LIMIT / max(norm, 1e-12))
    for p, v, g in known:
        v.mul_(DECAY).addcmul_(g, g, value=(1 - DECAY) * scale**2)
        p.addcdiv_(g, (v / (1 - DECAY**steps)).sqrt_().add_(EPS), value=-lr * scale)


def mixed(each: list[Nats], weights: npt.NDArray[np.float64]) -> Nats:
    """Costs of a mixture of models that cost `each` (N,), whose weights follow what came before; (N,) nats.

    w_t,i = (trust w_i + sum_s<t share_s,i) / (trust + t)      share_s,i = w_s,i P_i / sum_j w_s,j P_j
    """
    costs = np.stack(each, 1)
    lowest = costs.min(1)
    p = np.exp(lowest[:, None] - costs)
    total, found = TRUST * weights, np.empty(len(costs))
    for t, row in enumerate(p):
        shares = total * row
        mass = shares.sum()
        found[t] = lowest[t] - np.log(mass / (TRUST + t))
        total = total + shares / mass
    return found
