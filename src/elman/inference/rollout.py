"""Roll-outs: how long a model goes on as the text does, and how long it passes for such a text (S53, S54).

At places of a text that it read truly up to there, one state carried, a model continues by its own tokens alone:

    right     tokens up to the first that is not the text's
    passing   tokens up to the first that ends an n-gram which the training text does not hold

A model passes as long as it only says what was said before. That asks little of a model that repeats itself, which is
counted beside it, and much of one that does not: what stands there itself passes only so long.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from elman.cells import State
from elman.data.batches import START, Ids
from elman.data.vocab import Vocab
from elman.engines.sampling import Sampling
from elman.errors import ConfigError, DataError
from elman.inference.evaluation import WARM
from elman.inference.generation import continued, read
from elman.models.base import SequenceModel
from elman.models.ngram.counts import Counts
from elman.rng import numpy_generator

LENGTHS: Final = (1, 2, 5, 10, 20, 50, 100, 200)
QUANTILES: Final = (0.1, 0.25, 0.5, 0.75, 0.9)
CONTEXT = 16  # tokens before a place that are kept, for n-grams and to show
REPEATS = 3  # times that the same tokens stand at the end of a loop
COUNTED = 20_000_000  # training tokens, the last ones, whose n-grams are counted
EXAMPLES = 3
Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rollouts:
    """What a model wrote at S places of a text, and what stands there."""

    before: Tokens
    """The 16 tokens before each place, (S, 16)."""
    truth: Tokens
    """What stands there, (S, N)."""
    written: Tokens
    """What the model wrote, (S, N)."""

    @property
    def length(self) -> int:
        """N, tokens of each."""
        return int(self.truth.shape[1])

    @property
    def right(self) -> Tokens:
        """Tokens before the first wrong one, (S,); N where none is wrong."""
        return first(self.written != self.truth)

    def exact(self, length: int) -> float:
        """The share of places where the first `length` tokens are all right."""
        return float((self.right >= length).mean())

    def kinds(self, counts: Counts, *, unknown: bool) -> dict[str, int]:
        """How many roll-outs go wrong in which way, the first that holds.

            unknown    the first wrong token stands where the text has one that the vocabulary does not
            loop       the roll-out ends in a loop, and the text does not
            new        the first wrong token ends an n-gram that the training text does not hold
            familiar   it does not: it is wrong here, and right elsewhere

        `counts` are those of the training text up to that n; `unknown`, whether the vocabulary has `<unk>`.
        """
        wrong = np.flatnonzero(self.right < self.length)
        at = self.right[wrong]
        new = ~held(counts, self.before, self.written)[wrong, at]
        tests = ((self.truth[wrong, at] == 0) & unknown, (loops(self.written) & ~loops(self.truth))[wrong], new)
        names = np.select(tests, ("unknown", "loop", "new"), "familiar")
        found = Counter(names.tolist())
        return {kind: found[kind] for kind in ("unknown", "loop", "new", "familiar")}


def rollouts(
    model: SequenceModel,
    ids: Ids,
    *,
    length: int = 200,
    places: int = 200,
    temperature: float = 0.0,
    prompt: int | None = None,
    seed: int = 0,
) -> Rollouts:
    """Continue a text at random places.

    Args:
        model: what continues; it is not changed.
        ids: the text, in the order in which the model reads.
        length: N, tokens of every roll-out.
        places: S, how many; fewer where the text has fewer.
        temperature: 0 takes the most probable token each time.
        prompt: read so many tokens before each place, 128 at most, from a fresh state (S54); None reads all that stands
            before it, one state carried.
        seed: of the places, which are the same for every model and temperature, and of the draws.

    Raises:
        ConfigError: no length, no places, or no such prompt.
        DataError: a text shorter than 16 tokens and a roll-out.
    """
    if length < 1 or places < 1:
        raise ConfigError(f"{places} roll-outs of {length} tokens: give at least one of each")
    if prompt is not None and not 1 <= prompt <= WARM:
        raise ConfigError(f"a prompt of {prompt} tokens: read 1 to {WARM}, or all that stands before")
    least = max(CONTEXT, prompt or 0)
    if len(ids) < least + length:
        raise DataError(
            f"the text has {len(ids):,} tokens, too few for roll-outs of {length} after {least}: "
            "lower the length, or give more text"
        )
    text, last = ids.astype(np.int64), len(ids) - length
    candidates = np.arange(max(least, min(WARM, last)), last + 1)
    starts = numpy_generator(seed, "places").choice(candidates, min(places, len(candidates)), replace=False)
    starts.sort()
    if prompt is None:
        logits, state = _read_up_to(model, text, starts)
    else:
        logits, state = read(model, _windows(text, starts - prompt, prompt), model.initial(len(starts)))
    drawn = continued(model, logits, state, count=length, draw=Sampling(temperature), seed=seed)
    written = np.stack(list(drawn), 1)
    return Rollouts(_windows(text, starts - CONTEXT, CONTEXT), _windows(text, starts, length), written)


def _read_up_to(model: SequenceModel, text: Tokens, starts: Tokens) -> tuple[torch.Tensor, State]:
    """Logits for the tokens at `starts`, (S, V), and the states there, (S, ...)."""
    inputs, edges = np.concatenate(([START], text)), np.concatenate(([0], starts + 1))
    state, found = model.initial(1), []
    for a, b in pairwise(edges):
        logits, state = read(model, inputs[None, a:b], state)
        found.append((logits, state))
    return torch.cat([each for each, _ in found]), tuple(torch.cat(s) for s in zip(*(s for _, s in found), strict=True))


def _windows(text: Tokens, starts: Tokens, length: int) -> Tokens:
    return np.asarray(text[starts[:, None] + np.arange(length)])


def first(marks: npt.NDArray[np.bool_]) -> Tokens:
    """How many stand before the first mark of each row, (S,); all of them where there is none.

    Example:
        >>> first(np.array([[False, True, True], [False, False, False]])).tolist()
        [1, 3]
    """
    return np.asarray(np.where(marks.any(1), marks.argmax(1), marks.shape[1]))


def held(counts: Counts, before: Tokens, tokens: Tokens) -> npt.NDArray[np.bool_]:
    """Whether the n-gram that each token ends occurs in what was counted up to n, (S, N); `before` are n or more."""
    whole, n = np.concatenate((before, tokens), 1), counts.order
    contexts = counts.contexts(whole)[n - 1][:, :-1]
    return np.asarray(counts.find(n, contexts, whole[:, 1:])[:, before.shape[1] - 1 :] >= 0)


def loops(tokens: Tokens) -> npt.NDArray[np.bool_]:
    """Whether each row ends with the same tokens three times over, (S,).

    Example:
        >>> loops(np.array([[5, 1, 2, 1, 2, 1, 2], [5, 1, 2, 1, 2, 1, 3]])).tolist()
        [True, False]
    """
    n = tokens.shape[1]
    found = np.zeros(len(tokens), np.bool_)
    for period in range(1, n // REPEATS + 1):
        end = tokens[:, n - REPEATS * period :]
        found |= (end[:, period:] == end[:, :-period]).all(1)
    return found


def report(
    model: SequenceModel,
    ids: Ids,
    training: Ids,
    *,
    length: int = 200,
    places: int = 200,
    temperature: float = 0.7,
    seed: int = 0,
) -> dict[str, Any]:
    """Roll-outs by the most probable token and by drawing, beside the text itself, as JSON values.

    `training` is what the model learnt from; n is 3 for words and 5 for characters and bytes.

    Raises:
        ConfigError: no length, no places, or a temperature that cannot be.
        DataError: a text that is too short.
    """
    vocab = model.task.vocab
    order = 3 if vocab.level == "word" else 5
    how = {"greedy": 0.0, "sampled": temperature}
    made = {
        name: rollouts(model, ids, length=length, places=places, temperature=t, seed=seed) for name, t in how.items()
    }
    counts = Counts.of(training[-COUNTED:], len(vocab), order, bos=False)
    greedy = made["greedy"]
    return {
        "tokens": len(ids),
        "places": len(greedy.truth),
        "length": length,
        "order": order,
        "temperature": temperature,
        "seed": seed,
        **{name: _described(each, counts, model) for name, each in made.items()},
        "truth": _passing(counts, greedy.before, greedy.truth),
    }


def _described(made: Rollouts, counts: Counts, model: SequenceModel) -> dict[str, Any]:
    """One kind of continuation."""
    vocab = model.task.vocab
    return {
        "exact": {str(n): made.exact(n) for n in LENGTHS if n <= made.length},
        "right": spread(made.right, made.length),
        "errors": made.kinds(counts, unknown=vocab.unknown),
        **_passing(counts, made.before, made.written),
        "examples": [] if model.task.reverse else _examples(made, vocab),
    }


def _passing(counts: Counts, before: Tokens, tokens: Tokens) -> dict[str, Any]:
    """How long tokens pass for the training text, and the share of rows that loop, which would pass for ever."""
    lengths = first(~held(counts, before, tokens))
    return {"passing": spread(lengths, tokens.shape[1]), "loops": float(loops(tokens).mean())}


def spread(each: Tokens, most: int) -> dict[str, Any]:
    """Lengths in tokens, of which those that reach `most` may be longer.

    A quantile is the least length that so large a share does not exceed.

    Example:
        >>> found = spread(np.array([3, 0, 9, 9]), 9)
        >>> found["mean"], found["whole"], found["quantiles"]
        (5.25, 2, {'0.1': 0, '0.25': 0, '0.5': 3, '0.75': 9, '0.9': 9})
    """
    ends = np.quantile(each, QUANTILES, method="inverted_cdf").tolist()
    return {
        "quantiles": {str(q): int(end) for q, end in zip(QUANTILES, ends, strict=True)},
        "mean": float(each.mean()),
        "whole": int((each == most).sum()),
        "each": each.tolist(),
    }


def _examples(made: Rollouts, vocab: Vocab) -> list[dict[str, str]]:
    """The first roll-outs that go wrong: what stands before the error, and up to eight tokens from there on."""
    found = []
    for i in np.flatnonzero(made.right < made.length)[:EXAMPLES]:
        at = int(made.right[i])
        stands = {
            "after": np.concatenate((made.before[i], made.truth[i, :at]))[-CONTEXT:],
            "wrote": made.written[i, at : at + CONTEXT // 2],
            "truth": made.truth[i, at : at + CONTEXT // 2],
        }
        found.append({name: vocab.decode(tokens) for name, tokens in stands.items()})
    return found
