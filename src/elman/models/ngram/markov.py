"""Predictions of a Markov chain k steps ahead, by exact marginalization over the tokens between.

An n-gram is a Markov chain of order tau = n - 1. With c the last tau tokens, and a their oldest:

    P(x_{t+1} = w)   = sum_c P(c) P(w | c)
    P(c without a, w) = sum_a P(c) P(w | c)          the contexts one step later

that is V^(tau+1) multiplications a step, where summing over all paths would take V^k.
"""

import numpy as np

from elman.arguments import checked
from elman.data.batches import START, IdsLike, as_ids
from elman.environment import memory
from elman.errors import ConfigError
from elman.models.ngram.counts import Int64Array
from elman.models.ngram.model import NGram
from elman.models.ngram.smoothing import Float64Array

TABLES = 4  # arrays of the size of the transitions that are in memory together


@checked
def predict_ahead(model: NGram, tokens: IdsLike, steps: int) -> Float64Array:
    """Predict the tokens 1 to `steps` steps after a text with an n-gram model (Chapman-Kolmogorov equation).

    Args:
        model: the n-gram model; it uses the last n-1 tokens, or the beginning of a text where there are fewer.
        tokens: the text so far, (N,) token ids in the order in which the model reads; may be empty.
        steps: how many steps to predict, 1 or more.

    Returns:
        The distributions, (steps, V): row k-1 is P(x_{t+k} | x_1 .. x_t).

    Raises:
        ConfigError: no steps, or a chain with too many contexts for the memory of this machine.
        DataError: ids that the vocabulary does not have.

    Example:
        >>> import elman
        >>> vocab = elman.Vocab.chars("abracadabra")
        >>> model = NGram.fit(elman.TextTask(vocab), vocab.encode("abracadabra"), order=2, smoothing="laplace", eps=0.0)
        >>> for p in predict_ahead(model, vocab.encode("b"), 3):
        ...     print({letter: round(float(p[vocab[letter]]), 3) for letter in "abcdr"})
        {'a': 0.0, 'b': 0.0, 'c': 0.0, 'd': 0.0, 'r': 1.0}
        {'a': 1.0, 'b': 0.0, 'c': 0.0, 'd': 0.0, 'r': 0.0}
        {'a': 0.0, 'b': 0.5, 'c': 0.25, 'd': 0.25, 'r': 0.0}
    """
    size, order = model.task.size, model.order - 1
    tokens = as_ids(tokens, size, "tokens")
    _check(model, steps)
    read = np.concatenate((np.full(order, -1), [START], tokens.astype(np.int64)))
    context = read[len(read) - order :]
    found, weights, full = np.empty((steps, size)), np.ones(1), np.empty(0)
    for k in range(steps):
        if k <= order:  # k tokens of the context vary, the others were read; later all of them vary
            full = model.next_probabilities(_contexts(context[k:], size, k))
        joint = weights[:, None] * full
        found[k] = joint.sum(0)
        weights = joint.ravel() if k < order else joint.reshape(size, -1).sum(0)
    return found


def _contexts(prefix: Int64Array, size: int, free: int) -> Int64Array:
    """All contexts that begin with `prefix` and end with any `free` tokens, (V^free, tau), in order."""
    varied = np.arange(size**free)[:, None] // size ** np.arange(free - 1, -1, -1) % size
    return np.concatenate((np.broadcast_to(prefix, (len(varied), len(prefix))), varied), 1)


def _check(model: NGram, steps: int) -> None:
    size, order = model.task.size, model.order - 1
    if steps < 1:
        raise ConfigError(f"steps is {steps}: it must be at least 1")
    needed, there = 8 * (TABLES * size ** min(order + 1, steps) + steps * size), memory()
    if needed > there:
        raise ConfigError(
            f"{steps} steps of a chain of order {order} over {size:,} symbols may take {needed / 2**30:,.1f} GiB, and "
            f"this machine has {there / 2**30:,.1f}: lower the order of the n-gram, the vocabulary or the steps"
        )
