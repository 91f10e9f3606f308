"""Learning from an n-gram as well as from the text (distillation; Hinton, Vinyals and Dean 2015)."""

import numpy as np
import torch
from torch import Generator, Tensor

from elman.cells import State
from elman.data.batches import IGNORE, START, Ids, Rows
from elman.environment import memory
from elman.errors import ConfigError
from elman.models.base import Network
from elman.models.ngram.counts import BYTES, Counts
from elman.models.ngram.experts import FOLDS, LARGEST, SHARE
from elman.models.ngram.model import NGram, best_order
from elman.models.task import TextTask


class DistillationTargets:
    """A Kneser-Ney n-gram that says of every training token what it would have expected.

        cost = sum_t -(1 - s) log P(x_t) - s sum_w Q_t(w) log P(w)        s the weight of the teacher, distill_weight

    Q is the n-gram, of the order that predicts the end of the text best. Of each of eight stretches of the text it is
    counted on the other seven: of tokens that it had seen, it would teach what it knows by heart.

    Args:
        task: the symbols.
        ids: the training text.
        share: s, over 0 and below 1.

    Raises:
        ConfigError: a vocabulary of more than 4,096 tokens, a text of fewer than 8, or one whose counts need too much
            memory.
    """

    def __init__(self, task: TextTask, ids: Ids, share: float) -> None:
        if task.size > LARGEST:
            raise ConfigError(
                f"distill_weight needs a vocabulary of at most {LARGEST:,} tokens, and this one has {task.size:,}: "
                "leave distill_weight out, or use --tokens byte"
            )
        if len(ids) < FOLDS:
            raise ConfigError(
                f"distill_weight needs at least {FOLDS} training tokens, and there are {len(ids)}: "
                "give more text, or leave distill_weight out"
            )
        self.ids, self.share, self.order = ids, share, best_order(task, ids)
        if FOLDS * BYTES * self.order * len(ids) > memory() // SHARE:
            raise ConfigError(
                f"counting the n-grams of {len(ids):,} tokens for distill_weight may take more than 1/{SHARE} of this "
                "machine's memory: --limit the text, or leave distill_weight out"
            )
        self.edges = np.arange(FOLDS + 1) * len(ids) // FOLDS
        rests = [np.concatenate((ids[:a], ids[b:])) for a, b in zip(self.edges[:-1], self.edges[1:], strict=True)]
        self.models = [NGram(task, Counts.of(rest, task.size, self.order)) for rest in rests]

    def soft_targets(self, rows: Rows, steps: int) -> Tensor:
        """Q (B, T, V) of the targets of rows; zeros where there is none."""
        places = rows.starts[:, None] + np.arange(steps)
        real = places < rows.stops[:, None]
        before = places[real][:, None] - np.arange(self.order - 1, 0, -1)
        read = np.where(
            before >= 0, self.ids[np.maximum(before, 0)].astype(np.int64), np.where(before == -1, START, -1)
        )
        fold = np.searchsorted(self.edges, places[real], "right") - 1
        found = np.empty((len(read), self.models[0].task.size))
        for f in np.unique(fold):
            found[fold == f] = self.models[f].next_probabilities(read[fold == f])
        expected = np.zeros((*places.shape, found.shape[1]), np.float32)
        expected[real] = found
        return torch.from_numpy(expected)

    def loss(
        self, model: Network, inputs: Tensor, targets: Tensor, state: State, rng: Generator | None, rows: Rows
    ) -> tuple[Tensor, Tensor, State]:
        """What is to be lowered, what the targets alone cost, and the state after the last."""
        logits, after = model.training_logits(inputs, state, rng, rows)
        log_p = model.task.log_probabilities(logits)
        real = targets != IGNORE
        nats = -(log_p.gather(-1, targets.clamp(min=0)[..., None])[..., 0] * real).sum()
        expected = self.soft_targets(rows, inputs.shape[1]).to(log_p)
        return (1 - self.share) * nats - self.share * (expected * log_p).sum(), nats, after
