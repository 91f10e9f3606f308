"""Infilling: the most probable tokens for a gap in a text, from what stands before it and what stands after it.

l is the text left of the gap, f a fill, r the text right of the gap:

    forward      log P>(f, r | l) = log P>(f | l) + log P>(r | l, f)
    backward     log P<(f, l | r) = log P<(f | r) + log P<(l | f, r)       of a model that reads from the end
    both         the mean of the two

By the chain rule each of the first two is log P(f | l, r) and a term without f, so that both rank fills as the
posterior of their model does: the Bayesian inference of Berglund et al. 2015, who fill gaps in text. The mean ranks as
the product of the two posteriors does, a product of experts (Hinton 2002): a fill must be probable for both.

The fills that are scored are found by beam search from both ends (compare Sun et al. 2017); the two parts of a fill may
meet anywhere in the gap.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from elman.data.batches import START, Ids, blocks
from elman.errors import ConfigError
from elman.inference.generation import decode_stream, encode_prompt, prefill
from elman.models.base import SequenceModel
from elman.models.task import TextTask

BEAM = 32
RESCORED = 32
"""Tokens beyond the gap whose probability a fill changes enough to be counted."""
LOGITS_AT_ONCE = 2**24
Tokens = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


class Fill(NamedTuple):
    """A text for a gap, and what models say of it."""

    text: str
    """What stands in the gap."""
    tokens: Tokens
    """Its token ids in the order of the text, (N,)."""
    log_probability: float
    """Nats, 0 or less: the mean of those of the models, which is what fills are ranked by."""
    forward: float | None
    """Nats log P(fill, right | left) of the forward model in nats; None without one."""
    backward: float | None
    """Nats log P(fill, left | right) of the backward model in nats; None without one."""


def infill(
    forward: SequenceModel | None,
    backward: SequenceModel | None,
    left: str,
    right: str,
    length: int,
    *,
    beam: int = BEAM,
) -> list[Fill]:
    """The most probable fills for a gap of known length, by a forward model, a backward model, or both.

    With both, fills are ranked by the mean of their log-probabilities (Berglund et al. 2015, Hinton 2002). Where there
    are at most `beam` fills all are scored; otherwise those that a beam search from both ends finds.

    Args:
        forward: a language model that reads from the beginning; None for none.
        backward: one that reads from the end (trained with `reverse`), of the same vocabulary; None for none.
        left: the text before the gap; all of it is read by `forward`, its last 32 tokens are scored by `backward`.
            Empty: as at the beginning of a text.
        right: the text after the gap; all of it is read by `backward`, its first 32 tokens are scored by `forward`.
            Empty: as at the end of a text; a forward model then knows nothing of what follows.
        length: tokens of the gap, 1 or more.
        beam: fills and parts of fills that are kept, 1 or more.

    Returns:
        At most `beam` different fills, the most probable first.

    Raises:
        ConfigError: no model, models that read in the wrong direction or differ in their vocabulary, numbers below 1.
        DataError: symbols around the gap that are not in the vocabulary.

    Example:
        >>> import elman
        >>> vocab, text = elman.Vocab.chars("abracadabra"), "abracadabra" * 3
        >>> forward = elman.NGram.fit(elman.TextTask(vocab), vocab.encode(text), order=3)
        >>> backward = elman.NGram.fit(elman.TextTask(vocab, reverse=True), vocab.encode(text[::-1]), order=3)
        >>> elman.infill(forward, backward, "abrac", "abra", 2)[0].text
        'ad'
    """
    task = _task(forward, backward)
    if length < 1 or beam < 1:
        raise ConfigError(f"a gap of {length} tokens, a beam of {beam}: both numbers must be at least 1")
    name = "the text around the gap"
    before, after = (encode_prompt(task, text, can_be_kept=False, name=name) for text in (left, right))
    with torch.inference_mode():
        readers = [Reader(model, before, after) for model in (forward, backward) if model]
        fills = np.unique(np.concatenate(list(_candidates(readers, length, beam))), axis=0)
        scores = [reader.log_probabilities(fills) for reader in readers]
    order = np.argsort(-np.mean(scores, 0), kind="stable")[:beam]
    forth, back = (scores[0] if forward else None), (scores[-1] if backward else None)
    return [
        Fill(
            text="".join(decode_stream(task.vocab, before[-RESCORED:], iter(fills[i].tolist()))),
            tokens=fills[i],
            log_probability=float(np.mean([each[i] for each in scores])),
            forward=None if forth is None else float(forth[i]),
            backward=None if back is None else float(back[i]),
        )
        for i in order
    ]


def _task(forward: SequenceModel | None, backward: SequenceModel | None) -> TextTask:
    """The vocabulary of the models, in the order of the text; refuses models that cannot fill a gap together."""
    tasks = [model.task for model in (forward, backward) if model]
    if not tasks:
        raise ConfigError("infill needs a model: give forward, backward or both")
    if (forward and forward.task.reverse) or (backward and not backward.task.reverse):
        raise ConfigError(
            "forward must be a model that reads from the beginning of a text, and backward one that was trained with "
            "reverse: exchange them, or give one of them as None"
        )
    if tasks[0].vocab != tasks[-1].vocab:
        raise ConfigError(
            f"the two models have different vocabularies ({tasks[0].size} and {tasks[-1].size} tokens): train both on "
            "the same text"
        )
    return TextTask(tasks[0].vocab, tasks[0].normalize)


class Reader:
    """A model at its side of a gap: its state there, and what it would read beyond.

    Args:
        model: a forward or a backward model.
        before: the tokens left of the gap in the order of the text, (L,).
        after: those right of it, (R,).
    """

    def __init__(self, model: SequenceModel, before: Ids, after: Ids) -> None:
        self.model, self.task = model, model.task
        read, beyond = (after[::-1], before[::-1]) if model.task.reverse else (before, after)
        logits, self.state = prefill(model, np.concatenate(([START], read))[None], model.initial(1))
        self.next = _log_probabilities(self.task, logits)
        """Of the first token that it reads of a fill, (1, V)."""
        self.beyond = beyond[:RESCORED].astype(np.int64)

    def beams(self, length: int, beam: int) -> list[tuple[Tokens, Scores]]:
        """The most probable beginnings of a fill by beam search, where it begins for this model.

        Args:
            length: tokens of the gap.
            beam: beginnings of each length that are kept.

        Returns:
            For each length from 0 to `length` the tokens in the order of the text, (K, n), and their nats, (K,).
        """
        read, scores = np.zeros((1, 0), np.int64), np.zeros(1)
        found, log_probs, state, step = [(read, scores)], self.next, self.state, self.model.stepper()
        for n in range(length):
            if n:
                logits, state = step(torch.from_numpy(read[:, -1]).to(state[0].device), state)
                log_probs = _log_probabilities(self.task, logits)
            parents, tokens, scores = _best_sums(scores, log_probs, beam, first=int(self.task.vocab.unknown))
            read = np.concatenate((read[parents], tokens[:, None]), 1)
            state = tuple(s[torch.from_numpy(parents).to(s.device)] for s in state)
            found.append((self._in_order(read), scores))
        return found

    def log_probabilities(self, fills: Tokens) -> Scores:
        """Nats log P(fill, beyond | what stands at this side), (M,).

        Args:
            fills: tokens in the order of the text, (M, N).
        """
        read = np.concatenate((self._in_order(fills), np.broadcast_to(self.beyond, (len(fills), len(self.beyond)))), 1)
        nats: Scores = -self.next[0, read[:, 0]]
        rows = max(1, LOGITS_AT_ONCE // (read.shape[1] * self.task.size))
        for at in blocks(len(read), rows) if read.shape[1] > 1 else ():
            tokens = torch.from_numpy(read[at]).to(self.state[0].device)
            logits, _ = self.model(tokens[:, :-1], tuple(s.repeat_interleave(len(tokens), 0) for s in self.state))
            nats[at] += self.task.surprisals(logits, tokens[:, 1:]).sum(1).numpy(force=True)
        return -nats

    def _in_order(self, tokens: Tokens) -> Tokens:
        """Rows of tokens from the order of the text to that in which the model reads, or back."""
        return tokens[:, ::-1] if self.task.reverse else tokens


def _candidates(readers: Sequence[Reader], length: int, beam: int) -> Iterator[Tokens]:
    """Fills that are worth to be scored, (K, N) each.

    With one model its beam; with two, for every place in the gap where they can meet, the best pairs of a beginning
    from the left and an end from the right.
    """
    left, *right = (reader.beams(length, beam) for reader in readers)
    if not right:
        yield left[length][0]
        return
    for n in range(length + 1):
        (begin, forth), (end, back) = left[n], right[0][length - n]
        parents, at, _ = _best_sums(forth, back[None], beam)
        yield np.concatenate((begin[parents], end[at]), 1)


def _best_sums(scores: Scores, more: Scores, beam: int, first: int = 0) -> tuple[Tokens, Tokens, Scores]:
    """The highest sums scores[i] + more[i, j], as i, j and the sum, at most `beam` of each.

    Args:
        scores: (K,).
        more: (K, V), or (1, V).
        beam: how many.
        first: the least j that counts.
    """
    sums = scores[:, None] + more[:, first:]
    best = np.argsort(-sums, axis=None, kind="stable")[:beam]
    rows, columns = np.divmod(best, sums.shape[1])
    return rows, columns + first, sums.ravel()[best]


def _log_probabilities(task: TextTask, logits: torch.Tensor) -> Scores:
    """Log-probabilities (B, V) in float64."""
    return np.asarray(task.log_probabilities(logits).double().numpy(force=True))
