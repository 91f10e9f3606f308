"""Roll-outs: free-running continuations of a text at many places, and two lengths of each.

At every place a model has read the text up to there, one state carried; from there on it reads its own tokens alone:

    right     tokens before the first that differs from the text
    passing   tokens before the first that completes an n-gram which the training text does not contain

The second is easy for a model that repeats itself, so loops are counted beside it; and the text itself, which has
n-grams of its own, shows how long a good continuation is by this measure.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from elman.arguments import checked
from elman.cells import State
from elman.data.batches import START, Ids, IdsLike, as_ids
from elman.data.vocab import Vocab
from elman.engines.sampling import Sampling
from elman.errors import ConfigError, DataError
from elman.inference.evaluation import WARM
from elman.inference.generation import prefill, sample_after
from elman.models.base import SequenceModel
from elman.models.ngram.counts import Counts
from elman.rng import numpy_generator

LENGTHS: Final = (1, 2, 5, 10, 20, 50, 100, 200)
QUANTILES: Final = (0.1, 0.25, 0.5, 0.75, 0.9)
CONTEXT = 16  # tokens before a place that are kept, for the n-grams and the examples
REPEATS = 3  # repetitions at the end that make a loop
COUNTED = 20_000_000  # training tokens, the last ones, whose n-grams are counted
EXAMPLES = 3
Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rollouts:
    """The continuations that a model generated at S places of a text, N tokens each, and those of the text."""

    context: Tokens
    """The 16 tokens of the text before each place, (S, 16)."""
    reference: Tokens
    """The text's own continuations, (S, N)."""
    generated: Tokens
    """The model's continuations, (S, N)."""

    @property
    def length(self) -> int:
        """N, tokens of each continuation."""
        return int(self.reference.shape[1])

    @property
    def correct(self) -> Tokens:
        """Tokens before the first that differs from the text, (S,); N where none does."""
        return first_true(self.generated != self.reference)

    def exact_match(self, length: int) -> float:
        """The share of places, 0 to 1, where the first `length` tokens equal the text's."""
        return float((self.correct >= length).mean())

    def error_kinds(self, counts: Counts, *, unknown: bool) -> dict[str, int]:
        """Count the roll-outs with an error by the kind of the first error; the first of these that holds.

            unknown    the text has a token there that is not in the vocabulary
            loop       the roll-out ends in a loop, and the text does not
            new        the wrong token completes an n-gram that the training text does not contain
            familiar   the n-gram occurs in the training text: wrong here, and right elsewhere

        Args:
            counts: of the n-grams of the training text, up to n.
            unknown: token 0 is `<unk>`.
        """
        wrong = np.flatnonzero(self.correct < self.length)
        at = self.correct[wrong]
        new = ~is_known(counts, self.context, self.generated)[wrong, at]
        looped = ends_in_loop(self.generated) & ~ends_in_loop(self.reference)
        tests = ((self.reference[wrong, at] == 0) & unknown, looped[wrong], new)
        names = np.select(tests, ("unknown", "loop", "new"), "familiar")
        found = Counter(names.tolist())
        return {kind: found[kind] for kind in ("unknown", "loop", "new", "familiar")}


@checked
def rollouts(
    model: SequenceModel,
    ids: IdsLike,
    *,
    length: int = 200,
    places: int = 200,
    temperature: float = 0.0,
    prompt: int | None = None,
    seed: int = 0,
) -> Rollouts:
    """Continue a text at random places.

    Args:
        model: the language model; it is not changed.
        ids: the text, (N,) token ids in the order in which the model reads.
        length: tokens of every roll-out, 1 or more.
        places: how many roll-outs; fewer where the text has fewer places.
        temperature: 0 takes the most probable token each time.
        prompt: tokens read before each place from the initial state, 1 to 128; None reads all that stands before it,
            one state carried.
        seed: of the places, which are the same for every model and temperature, and of the sampling.

    Returns:
        The roll-outs and the text's own continuations.

    Raises:
        ConfigError: no length, no places, or no such prompt.
        DataError: a text shorter than 16 tokens and a roll-out.
    """
    ids = as_ids(ids, model.task.size)
    if length < 1 or places < 1:
        raise ConfigError(f"{places} continuations of {length} tokens: both numbers must be at least 1")
    if prompt is not None and not 1 <= prompt <= WARM:
        raise ConfigError(f"prompt is {prompt} tokens: it must be 1 to {WARM}")
    least = max(CONTEXT, prompt or 0)
    if len(ids) < least + length:
        raise DataError(
            f"the text has {len(ids):,} tokens, too few for continuations of {length} tokens after {least}: "
            "use a lower length, or give more text"
        )
    text, last = ids.astype(np.int64), len(ids) - length
    candidates = np.arange(max(least, min(WARM, last)), last + 1)
    starts = numpy_generator(seed, "places").choice(candidates, min(places, len(candidates)), replace=False)
    starts.sort()
    if prompt is None:
        logits, state = _read_up_to(model, text, starts)
    else:
        logits, state = prefill(model, _windows(text, starts - prompt, prompt), model.initial(len(starts)))
    sampled = sample_after(model, logits, state, count=length, sampling=Sampling(temperature), seed=seed)
    generated = np.stack(list(sampled), 1)
    return Rollouts(_windows(text, starts - CONTEXT, CONTEXT), _windows(text, starts, length), generated)


def _read_up_to(model: SequenceModel, text: Tokens, starts: Tokens) -> tuple[torch.Tensor, State]:
    """The logits for the tokens at `starts`, (S, V), and the states there, (S, ...)."""
    inputs, edges = np.concatenate(([START], text)), np.concatenate(([0], starts + 1))
    state, found = model.initial(1), []
    for a, b in pairwise(edges):
        logits, state = prefill(model, inputs[None, a:b], state)
        found.append((logits, state))
    return torch.cat([each for each, _ in found]), tuple(torch.cat(s) for s in zip(*(s for _, s in found), strict=True))


def _windows(text: Tokens, starts: Tokens, length: int) -> Tokens:
    return np.asarray(text[starts[:, None] + np.arange(length)])


def first_true(marks: npt.NDArray[np.bool_]) -> Tokens:
    """The index of the first true value of each row of (S, N), (S,); N where there is none.

    Example:
        >>> first_true(np.array([[False, True, True], [False, False, False]])).tolist()
        [1, 3]
    """
    return np.asarray(np.where(marks.any(1), marks.argmax(1), marks.shape[1]))


def is_known(counts: Counts, context: Tokens, tokens: Tokens) -> npt.NDArray[np.bool_]:
    """Whether each token completes an n-gram that was counted.

    Args:
        counts: n-grams of a text up to n tokens.
        context: the tokens before, (S, C), at least n of them.
        tokens: (S, N).

    Returns:
        A truth value per token, (S, N).
    """
    whole, n = np.concatenate((context, tokens), 1), counts.order
    contexts = counts.contexts(whole)[n - 1][:, :-1]
    return np.asarray(counts.find(n, contexts, whole[:, 1:])[:, context.shape[1] - 1 :] >= 0)


def ends_in_loop(tokens: Tokens) -> npt.NDArray[np.bool_]:
    """Whether each row of (S, N) ends with the same tokens three times in a row, (S,).

    Example:
        >>> ends_in_loop(np.array([[5, 1, 2, 1, 2, 1, 2], [5, 1, 2, 1, 2, 1, 3]])).tolist()
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
    """Measure greedy and sampled roll-outs, and the text itself, as JSON values.

    The n-grams have 3 tokens for words and 5 for characters and bytes.

    Args:
        model: the language model; it is not changed.
        ids: the text to continue, (N,) token ids in the order in which the model reads.
        training: the training text of the model, likewise; its last 20 million tokens are counted.
        length: tokens of every roll-out, 1 or more.
        places: how many roll-outs.
        temperature: of the sampled roll-outs, above 0.
        seed: of the places and of the sampling.

    Returns:
        The figures under "greedy", "sampled" and "truth", beside the arguments.

    Raises:
        ConfigError: no length, no places, or a temperature that cannot be.
        DataError: a text that is too short.
    """
    vocab = model.task.vocab
    order = 3 if vocab.level == "word" else 5
    temperatures = {"greedy": 0.0, "sampled": temperature}
    made = {
        name: rollouts(model, ids, length=length, places=places, temperature=t, seed=seed)
        for name, t in temperatures.items()
    }
    counts = Counts.of(training[-COUNTED:], len(vocab), order, bos=False)
    greedy = made["greedy"]
    return {
        "tokens": len(ids),
        "places": len(greedy.reference),
        "length": length,
        "order": order,
        "temperature": temperature,
        "seed": seed,
        **{name: _described(each, counts, model) for name, each in made.items()},
        "truth": _passing(counts, greedy.context, greedy.reference),
    }


def _described(made: Rollouts, counts: Counts, model: SequenceModel) -> dict[str, Any]:
    """The figures of one temperature."""
    vocab = model.task.vocab
    return {
        "exact": {str(n): made.exact_match(n) for n in LENGTHS if n <= made.length},
        "right": length_statistics(made.correct, made.length),
        "errors": made.error_kinds(counts, unknown=vocab.unknown),
        **_passing(counts, made.context, made.generated),
        "examples": [] if model.task.reverse else _examples(made, vocab),
    }


def _passing(counts: Counts, context: Tokens, tokens: Tokens) -> dict[str, Any]:
    """Tokens before the first unknown n-gram, and the share of rows that end in a loop, which have none."""
    lengths = first_true(~is_known(counts, context, tokens))
    return {"passing": length_statistics(lengths, tokens.shape[1]), "loops": float(ends_in_loop(tokens).mean())}


def length_statistics(each: Tokens, most: int) -> dict[str, Any]:
    """Quantiles and mean of lengths in tokens, some of them censored.

    A quantile is the least length that so large a share does not exceed.

    Args:
        each: the lengths, (S,).
        most: the length at which measuring ended; those that reach it may be longer.

    Returns:
        The quantiles by name, the mean, how many reached `most`, and each length.

    Example:
        >>> found = length_statistics(np.array([3, 0, 9, 9]), 9)
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
    """The first roll-outs with an error: the tokens before it, and up to eight from there on."""
    examples = []
    for i in np.flatnonzero(made.correct < made.length)[:EXAMPLES]:
        at = int(made.correct[i])
        pieces = {
            "after": np.concatenate((made.context[i], made.reference[i, :at]))[-CONTEXT:],
            "wrote": made.generated[i, at : at + CONTEXT // 2],
            "truth": made.reference[i, at : at + CONTEXT // 2],
        }
        examples.append({name: vocab.decode(tokens) for name, tokens in pieces.items()})
    return examples
