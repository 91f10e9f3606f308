"""Baselines of a perplexity: the uniform distribution, the unigram, and the lower bound of a training protocol."""

import math

import numpy as np
import numpy.typing as npt

from elman.data.batches import Ids, token_counts

FLOOR_LIMIT = 2_000_000  # tokens up to which the lower bound takes about a second


def unigram_nats(train: npt.NDArray[np.int64], ids: Ids) -> float:
    """Nats of a text under the unigram, with one added to every count.

        P(x) = (n(x) + 1) / (n + V)

    Args:
        train: n(x), the count of each symbol in the training text, (V,).
        ids: token ids of the text, (N,).
    """
    return float((token_counts(ids, len(train)) * _unigram(train)).sum())


def unigram_surprisals(train: npt.NDArray[np.int64], ids: Ids) -> npt.NDArray[np.float64]:
    """The nats of each token under the same unigram, (N,).

    Args:
        train: as for `unigram_nats`.
        ids: as for `unigram_nats`.
    """
    return np.asarray(_unigram(train)[ids])


def _unigram(train: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The nats of each symbol, (V,)."""
    return np.asarray(-np.log((train + 1) / (train.sum() + len(train))))


def perplexity_lower_bound(ids: Ids, length: int, places: npt.NDArray[np.int64] | None = None) -> float:
    """The least training perplexity where every window starts from a zero state.

    It is that of a predictor that has stored the text, but is not given the place of a window in it. It reads x_0, then
    predicts x_1 .. x_L; with c(w) the number of windows of L + 1 tokens that begin with w, averaged over all windows:

        nats per token = mean(log c(x_0) - log c(x_0 .. x_L)) / L

    Windows are counted by a 64-bit hash.

    Args:
        ids: token ids of the training text, (N,).
        length: L, the tokens that a window predicts.
        places: where windows begin (the index of x_0), as for the streams of sequential batches; None: anywhere.

    Returns:
        A perplexity of 1 or more.
    """
    length = min(length, len(ids) - 1)
    if length < 1:
        return 1.0
    begins = np.arange(len(ids) - length) if places is None else places[places < len(ids) - length]
    if not len(begins):
        return 1.0
    first = token_counts(ids[begins], int(ids.max()) + 1)[ids[begins]]
    _, place, times = np.unique(_hashes(ids, length + 1)[begins], return_inverse=True, return_counts=True)
    return math.exp(float(np.mean(np.log(first) - np.log(times[place]))) / length)


def _hashes(ids: Ids, width: int) -> npt.NDArray[np.uint64]:
    """A hash of every window of `width` tokens, by doubling: h_ab = h_a * m^|b| + h_b modulo 2^64."""
    rng = np.random.default_rng(0)
    values = rng.integers(1, 2**63, int(ids.max()) + 1, dtype=np.uint64)[ids]
    done, power, result, have = values, 0x9E3779B97F4A7C15, None, 0
    while True:
        if width & 1:
            result = done if result is None else _join(result, have, done, power)
            have += _span(values, done)
        width >>= 1
        if not width:
            assert result is not None  # noqa: S101 - the highest bit of a positive width is 1
            return result
        done, power = _join(done, _span(values, done), done, power), power * power % 2**64


def _span(values: npt.NDArray[np.uint64], hashed: npt.NDArray[np.uint64]) -> int:
    return len(values) - len(hashed) + 1


def _join(a: npt.NDArray[np.uint64], span: int, b: npt.NDArray[np.uint64], power: int) -> npt.NDArray[np.uint64]:
    """Hashes of windows of a followed by b, `span` tokens later."""
    n = len(b) - span
    return a[:n] * np.uint64(power) + b[span:]
