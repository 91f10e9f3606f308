"""The networks of the notebooks on human numbers of Howard and Thomas 2019, and how they are trained and scored.

Howard and Thomas 2019: fast.ai, A Code-First Introduction to Natural Language Processing. Its notebooks 6 and 6b run in
fastai 1 with PyTorch 1.1, whose defaults decide their figures:

text         a start token, then the numbers; 39 symbols in the vocabulary (40 in notebook 6b), of which 31 occur
batches      64 streams begin at equal distances, in order; each reads on into the next, and the last to the beginning
state        carried from batch to batch, from training into validation, and from validation into the next epoch
batch norm   its scale is drawn from U(0, 1); PyTorch begins with 1 since version 1.2
optimizer    Adam, betas 0.95 to 0.85 to 0.95 and 0.99; weight decay 0.01 of all parameters (Loshchilov and Hutter 2019)
schedule     one-cycle (Smith 2018): half cosines from lr / 25 to lr, then to lr / 250,000; no gradient clipping
figures      training loss: a moving average over batches, weight 0.98; validation: means over batches of 64 windows
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor, nn

import elman
from elman.cells import State
from elman.config import STRICT
from elman.data.batches import START, Ids
from elman.models.base import ModelSettings, Network
from elman.rng import torch_generator

UNUSED = ("xxpad", "xxeos", "xxfld", "xxmaj", "xxup", "xxrep", "xxwrep", "xxunk")
"""Symbols of fastai's vocabulary that the text never holds; its start token is token 0 here."""
SMOOTHING = 0.98
BETA = 0.99


def task_of(corpus: elman.Corpus, unused: tuple[str, ...] = UNUSED) -> elman.TextTask:
    """The task of a corpus with symbols in its vocabulary that never occur; the other tokens keep their ids.

    Args:
        corpus: of words, more than one of each.
        unused: the symbols.
    """
    words = corpus.vocab.idx_to_token[1:]
    ranks = {word: len(words) + 1 - i for i, word in enumerate(words)}
    return elman.TextTask(elman.Vocab(ranks | dict.fromkeys(unused, 1), level="word"))


def with_start(ids: Ids) -> Ids:
    """A text, (N,) token ids, with the start token before it, (N + 1,)."""
    return np.concatenate((np.array([START], ids.dtype), ids))


def streams(ids: Ids, batch: int, window: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of an epoch: streams side by side, whole windows alone; the text is a circle.

    Args:
        ids: the text with its start token, (N,).
        batch: streams, B.
        window: steps of a window, T.

    Returns:
        Inputs (B, T) and the targets after each (B, T), ceil(N / (B T)) times.

    Example:
        >>> for inputs, targets in streams(np.arange(7, dtype=np.uint8), 2, 2):
        ...     print(inputs.tolist(), targets[:, -1].tolist())
        [[0, 1], [3, 4]] [2, 5]
        [[2, 3], [5, 6]] [4, 0]
    """
    n = len(ids)
    starts = np.arange(batch) * n // batch
    for k in range(math.ceil(n / (batch * window))):
        tokens = ids[(starts[:, None] + k * window + np.arange(window + 1)) % n].astype(np.int64)
        yield torch.from_numpy(tokens[:, :-1].copy()), torch.from_numpy(tokens[:, 1:].copy())


class BatchNorm(nn.BatchNorm1d):
    """Batch norm (Ioffe and Szegedy 2015): the statistics are those of the batch while gradients are computed.

    Args:
        width: of the rows.
    """

    def forward(self, rows: Tensor) -> Tensor:
        """Normalize rows, (N, H)."""
        learning, momentum = torch.is_grad_enabled(), self.momentum or 0.1
        return F.batch_norm(
            rows, self.running_mean, self.running_var, self.weight, self.bias, learning, momentum, self.eps
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SharedMatrixSettings(ModelSettings):
    """A loop whose matrix is that of the state and of the embedding."""

    hidden: PositiveInt = 64
    """Hidden units, H, and the width of the embedding."""
    normalized_state: bool = False
    """Batch norm of the state that goes on, too; otherwise only of what the output reads."""
    embedded_start: bool = False
    """The first state is the rectified embedding of the first token, without the matrix."""


class SharedMatrixNetwork(Network):
    """A recurrent network whose one matrix is that of the state and of the embedding (Howard and Thomas 2019).

        h_t      = max(0, W (h_t-1 + E[token_t]) + b)
        logits_t = W_q norm(h_t) + b_q

    Args:
        task: the symbols to read and predict.
        engine: not used: it runs without one.
        seed: of the initial weights, drawn as in PyTorch 1.1.
        **settings: fields of `SharedMatrixSettings`.
    """

    Settings = SharedMatrixSettings
    config: SharedMatrixSettings

    def __init__(self, task: elman.TextTask, *, engine: str = "auto", seed: int | None = 0, **settings: Any) -> None:
        super().__init__(task, engine=engine, seed=seed, **settings)
        hidden = self.config.hidden
        self.widths = [hidden]
        self.embed = nn.Embedding(task.size, hidden)
        self.linear, self.output, self.norm = nn.Linear(hidden, hidden), nn.Linear(hidden, task.size), BatchNorm(hidden)
        rng = torch_generator(seed or 0, "initial weights")
        with torch.no_grad():
            self.embed.weight.normal_(generator=rng)
            for p in (*self.linear.parameters(), *self.output.parameters()):
                p.uniform_(-(hidden**-0.5), hidden**-0.5, generator=rng)
            self.norm.weight.uniform_(generator=rng)

    @property
    def name(self) -> str:
        """That of the cell without the shared matrix."""
        return "elman-relu"

    @property
    def engine_name(self) -> str:
        """There is none."""
        return "none"

    def operations(self) -> int:
        """Of the two matrices."""
        return self.linear.weight.numel() + self.output.weight.numel()

    def initial(self, batch: int) -> State:
        """Zeros, (batch, H)."""
        return (self.output.weight.new_zeros(batch, self.config.hidden),)

    def forward(self, inputs: Tensor, state: State, rng: Generator | None = None) -> tuple[Tensor, State]:  # noqa: ARG002
        """Logits (B, T, V), and the state after the last."""
        c, (h,) = self.config, state
        read = []
        for t, x in enumerate(self.embed(inputs).unbind(1)):
            h = torch.relu(h + x if c.embedded_start and t == 0 else self.linear(h + x))
            normed = self.norm(h)
            h = normed if c.normalized_state else h
            read.append(normed)
        logits: Tensor = self.output(torch.stack(read, 1))
        return logits, (h,)


class BatchNormRecurrent(elman.Recurrent):
    """A recurrent network with batch norm between states and output (Ioffe and Szegedy 2015).

    Args:
        task: the text and its vocabulary.
        seed: of the initial weights.
        drawn_scale: whether the scale of batch norm is drawn from U(0, 1), as in PyTorch 1.1; otherwise it is 1.
        **settings: as for `elman.Recurrent`.
    """

    def __init__(self, task: elman.TextTask, *, seed: int = 0, drawn_scale: bool = True, **settings: Any) -> None:
        super().__init__(task, seed=seed, **settings)
        self.norm = BatchNorm(self.widths[-1])
        if drawn_scale:
            with torch.no_grad():
                self.norm.weight.uniform_(generator=torch_generator(seed, "scale of batch norm"))

    def forward(self, inputs: Tensor, state: State, rng: Generator | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, V), and the state after the last."""
        x, after = self._outputs(self.engine, inputs, state, rng)
        logits = F.linear(self.norm(x.flatten(0, 1)), self.output_weight, self.b_q)
        return logits.unflatten(0, x.shape[:2]).transpose(0, 1), after

    loss, stepper, token_sampler = Network.loss, Network.stepper, Network.token_sampler  # no engine normalizes a batch


class Scored(NamedTuple):
    """What a validation of Howard and Thomas 2019 says."""

    nats: float
    """A token that is scored."""
    accuracy: float
    """The share of tokens, 0 to 1, that are the most probable ones."""
    state: State
    """After the last batch."""


def validate(model: Network, ids: Ids, state: State, *, window: int, last: bool = False, fresh: bool = False) -> Scored:
    """Score a network by the protocol of Howard and Thomas 2019.

    Args:
        model: the network.
        ids: the text with its start token, (N,).
        state: before the first batch, one row a stream.
        window: steps of a window.
        last: whether only the last token of every window counts.
        fresh: whether every window begins from the initial state.
    """
    costs, hits, batch = [], [], len(state[0])
    with torch.inference_mode():
        for inputs, targets in streams(ids, batch, window):
            logits, state = model(inputs, model.initial(batch) if fresh else state)
            counted = slice(-1, None) if last else slice(None)
            costs.append(float(F.cross_entropy(logits[:, counted].flatten(0, 1), targets[:, counted].flatten())))
            hits.append(float((logits[:, counted].argmax(-1) == targets[:, counted]).double().mean()))
    return Scored(float(np.mean(costs)), float(np.mean(hits)), tuple(s.clone() for s in state))


def one_cycle(step: int, steps: int, lr: float, warmup: float) -> tuple[float, float]:
    """The learning rate and the first beta of Adam before a step (Smith 2018, as in fastai 1).

    Args:
        step: steps done, 0 to `steps` - 1.
        steps: of the whole training.
        lr: the largest learning rate.
        warmup: the share of the steps in which it rises.
    """
    rising = int(steps * warmup)
    if step < rising:
        return _half_cosine(lr / 25, lr, step / rising), _half_cosine(0.95, 0.85, step / rising)
    done = (step - rising) / (steps - rising)
    return _half_cosine(lr, lr / 25e4, done), _half_cosine(0.85, 0.95, done)


def _half_cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


class Fitted(NamedTuple):
    """A training of Howard and Thomas 2019 at its end."""

    learnt: float
    """Training loss in nats: the moving average over batches."""
    held_out: Scored
    """The validation after the last epoch."""
    accuracies: npt.NDArray[np.float64]
    """In each step, the share of the windows whose last target is the most probable token, (steps,)."""


def fit(
    model: Network,
    ids: Ids,
    held_out: Ids,
    *,
    epochs: int,
    lr: float,
    window: int,
    batch: int = 64,
    warmup: float | None = 0.3,
    last: bool = False,
    fresh: bool = False,
) -> Fitted:
    """Train a network in place as Howard and Thomas 2019 do, see the top of this module.

    Args:
        model: the network.
        ids: the training text with its start token, (N,).
        held_out: the validation text with its own.
        epochs: of the training.
        lr: the learning rate, at its highest.
        window: steps of a window.
        batch: streams.
        warmup: the share of the steps in which the learning rate rises; None: Adam as PyTorch has it, one learning rate
            and no decay.
        last: whether only the last token of every window is learnt and scored.
        fresh: whether every window begins from the initial state.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=lr, betas=(0.9, 0.999), weight_decay=0.0 if warmup is None else 0.01, fused=True
    )
    counted, state = slice(-1, None) if last else slice(None), model.initial(batch)
    steps, smoothed, right = epochs * math.ceil(len(ids) / (batch * window)), 0.0, list[float]()
    for _ in range(epochs):
        for inputs, targets in streams(ids, batch, window):
            if warmup is not None:
                rate, beta = one_cycle(len(right), steps, lr, warmup)
                optimizer.param_groups[0] |= {"lr": rate, "betas": (beta, BETA)}
            logits, state = model(inputs, model.initial(batch) if fresh else state)
            loss = F.cross_entropy(logits[:, counted].flatten(0, 1), targets[:, counted].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            state = tuple(s.detach() for s in state)
            smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * float(loss.detach())
            right.append(float((logits[:, -1].argmax(-1) == targets[:, -1]).double().mean()))
        scored = validate(model, held_out, state, window=window, last=last, fresh=fresh)
        state = scored.state
    return Fitted(smoothed / (1 - SMOOTHING ** len(right)), scored, np.array(right))
