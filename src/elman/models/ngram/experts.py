"""Count-based experts: next-token distributions for contexts of several kinds, as features of a network.

Every expert gives each token a discounted probability, interpolated with a more general expert:

    P(w | c) = discounted_prob(c w) + backoff_weight(c) P_general(w)       P(w | c) = P_general(w) where c is unseen

    context c                                                                   more general expert
    2 to n tokens, one expert per length (interpolated Kneser-Ney)              the next shorter n-gram
    the letters of the word so far, in lower case, and the separator before     the n-gram
    the word so far, with the word before; also with two, or the second alone   the n-gram
    the position in the line, tokens since the last line break                  single tokens

A backoff weight is 1 where the context was never seen. Contexts of words are hashed (as in Mahoney 2005).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from elman.data.batches import START, Ids
from elman.data.segmentation import extends
from elman.data.vocab import Vocab
from elman.models.ngram.counts import Counts, Int64Array
from elman.models.ngram.smoothing import BackoffLevel, absolute_discounting, interpolate_, kneser_ney

Float32Array = npt.NDArray[np.float32]
KINDS: Final = 5
"""The number of contexts that are no n-grams: four of words, one of lines."""
LINE: Final = KINDS - 1
"""The one of lines."""
MEMORY: Final = 5
"""The numbers of their state: the word so far, the two words before it, the last token, the column."""
FOLDS: Final = 8
"""The most folds of a training text; each is predicted by the counts of the others."""
FOLDED_TOKENS: Final = 8_000_000
"""Tokens that all folds together count, about: a longer text has fewer folds."""
LARGEST: Final = 4096
"""The largest vocabulary without a compiler: each token gets a probability under every expert at every step."""
SHARE: Final = 2
"""All counts of a training may take 1/SHARE of the memory."""
COUNTING: Final = 120
"""Bytes a token that counting takes beside the counts themselves; measured: 80 to 110."""
HIGHEST: Final = 16
"""The highest order of n-grams."""
LONGEST_LINE = 255
APOSTROPHES: Final = dict.fromkeys("\N{RIGHT SINGLE QUOTATION MARK}\N{MODIFIER LETTER APOSTROPHE}", "'")
"""Written as the one of ASCII, which they stand for within a word."""
FLOOR = 2.0**-40  # of a probability, and compiled of a backoff weight, so that its logarithm is finite
ROW, WARM = 512, 256  # a text is read in rows of ROW tokens, each after the WARM tokens before it
_MIX = np.int64(0x2545F4914F6CDD1D)  # odd, so that multiplying modulo 2^64 loses nothing


class ContextFeatures:
    """Hashed features of the context of a token: its word so far, the words before, its position in the line.

    A word is a sequence of letters, digits (Unicode's) and apostrophes, straight or typographic, with the marks,
    joiners and soft hyphens that extend them (rule WB4 of UAX 29); of bytes, of ASCII's and of all bytes above. In a
    vocabulary of words the tokens are the words, and n-grams their contexts: there are no others but lines. A
    vocabulary of segmentation "0.1" has the contexts of that version, in which what extends a letter ends the word, and
    tokens of several characters separate words as punctuation does.

    Args:
        vocab: the vocabulary of the tokens.

    Example:
        >>> features = ContextFeatures(Vocab.chars("a cab"))
        >>> keys, state = features.extract(np.array([[3, 1, 2]]), features.initial(1))  # b, a, blank
        >>> keys.shape, int(state[0, 4])  # the column
        ((1, 3, 5), 3)
    """

    def __init__(self, vocab: Vocab) -> None:
        symbols = [_symbol(vocab, i) for i in range(len(vocab))]
        old = vocab.segmentation == "0.1"
        extending = [not old and len(symbol) == 1 and extends(symbol) for symbol in symbols]
        letters = [symbol.lower() if old else APOSTROPHES.get(symbol, symbol.lower()) for symbol in symbols]
        in_word = {
            letter
            for symbol, letter, mark in zip(symbols, letters, extending, strict=True)
            if len(symbol) == 1 and (mark or symbol.isalnum() or letter == "'")
        }
        self.has_words = old or vocab.level != "word"
        """Whether there are contexts of words."""
        number = {letter: i for i, letter in enumerate(sorted(in_word) if self.has_words else (), 1)}
        self.letter = np.array([number.get(letter, 0) for letter in letters])  # 0: no letter
        self.extending = np.array(extending, np.bool_)
        self.newline = symbols.index("\n") if "\n" in symbols else -1

    @staticmethod
    def initial(rows: int) -> Int64Array:
        """The state before anything was read, (rows, MEMORY)."""
        return np.zeros((rows, MEMORY), np.int64)

    def extract(self, inputs: npt.NDArray[np.integer], state: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Compute the features after each token.

        Args:
            inputs: token ids, (B, T); -1 is no token and changes nothing.
            state: the state before them, (B, MEMORY); it is not changed.

        Returns:
            The features, (B, T, KINDS), and the state after the last token.
        """
        state = state.copy()
        word, before, earlier, last, column = (state[:, i] for i in range(MEMORY))
        keys = np.empty((*inputs.shape, KINDS), np.int64)
        for t in range(inputs.shape[1]):
            token = inputs[:, t].astype(np.int64)
            real = token >= 0
            known = np.maximum(token, 0)
            letter = np.where(real & ((word != 0) | ~self.extending[known]), self.letter[known], 0)
            ended = real & (letter == 0) & (word != 0)
            earlier[ended], before[ended] = before[ended], word[ended]
            word[:] = np.where(letter > 0, _hash(word, letter), np.where(real, 0, word))
            last[real] = token[real]
            column[:] = np.where(real, np.where(token == self.newline, 0, np.minimum(column + 1, LONGEST_LINE)), column)
            separator = np.where(word == 0, last + 1, 0)
            with_word = _hash(word, before)
            keys[:, t, 0] = _hash(word, separator)
            keys[:, t, 1] = with_word
            keys[:, t, 2] = _hash(with_word, earlier)
            keys[:, t, 3] = _hash(word, earlier) + 1
            keys[:, t, 4] = 2 * column + (word != 0)
        return keys, state

    def of(self, ids: Ids) -> Int64Array:
        """The features (N, KINDS) before each token of a text, read in rows that see WARM tokens before them."""
        n = len(ids)
        row, warm = (ROW, WARM) if n > ROW else (n, 0)
        rows = -(-n // row)
        read = np.concatenate((np.full(warm, -1), [START], ids[:-1].astype(np.int64), np.full(rows * row - n, -1)))
        windows = np.lib.stride_tricks.sliding_window_view(read, warm + row)[::row]
        keys, _ = self.extract(windows, self.initial(rows))
        return keys[:, warm:].reshape(-1, KINDS)[:n]


def _symbol(vocab: Vocab, i: int) -> str:
    """The symbol of a token; a byte above ASCII counts as a letter without case, and is some ideograph here."""
    if vocab.level == "byte":
        return chr(i) if i < 128 else chr(0x4E00 + i)
    return vocab.to_tokens(i)


def _hash(a: Int64Array, b: Int64Array) -> Int64Array:
    """A hash of two numbers in order; 0 for a letter and a word in one of 2^64 cases only."""
    mixed = (a ^ (b + 0x632BE59BD9B4E019)) * _MIX
    return mixed ^ (mixed >> 29)


@dataclass(frozen=True, eq=False)
class _ContextCounts:
    """The discounted counts of what followed each context of one kind."""

    contexts: Int64Array
    """Sorted hashes."""
    edges: Int64Array
    """Where the continuations of each context begin, and the end of the last."""
    tokens: Int64Array
    """The tokens of all continuations."""
    level: BackoffLevel

    @classmethod
    def of(cls, contexts: Int64Array, tokens: Ids, size: int) -> "_ContextCounts":
        distinct, rank = np.unique(contexts, return_inverse=True)
        keys, times = np.unique(rank * size + tokens, return_counts=True)
        edges = np.searchsorted(keys, np.arange(len(distinct) + 1) * size)
        return cls(distinct, edges, keys % size, absolute_discounting(times, edges))

    def find(self, contexts: Int64Array) -> Int64Array:
        """The ranks of contexts; -1 where one never occurred."""
        at = np.minimum(np.searchsorted(self.contexts, contexts), len(self.contexts) - 1)
        return np.where(self.contexts[at] == contexts, at, -1)


class Experts:
    """All experts counted on a text.

    Args:
        vocab: the vocabulary of the text.
        parts: the text as token ids, in pieces that are not neighbours; all empty gives uniform distributions.
        order: n, the length of the longest n-grams, 2 or more.

    Example:
        >>> vocab = Vocab.chars("abracadabra")
        >>> experts = Experts(vocab, [vocab.encode("abracadabra")], order=3)
        >>> features = ContextFeatures(vocab)
        >>> keys, _ = features.extract(np.array([[2]]), features.initial(1))
        >>> log_p, backoff_weight = experts.after(np.array([[-1, -1, 2]]), keys)
        >>> log_p.shape, vocab.to_tokens(int(log_p[0, 0, 0].argmax()))  # after b
        ((1, 1, 7, 6), 'r')
    """

    def __init__(self, vocab: Vocab, parts: Sequence[Ids], order: int) -> None:
        self.size, self.order = len(vocab), order
        features = ContextFeatures(vocab)
        ids = np.concatenate([part for part in parts if len(part)] or [np.zeros(0, np.int64)])
        self.counts = Counts.of(ids, self.size, min(order, len(ids))) if len(ids) else None
        if self.counts is not None:
            self.levels = kneser_ney(self.counts)
            first = self.levels[0]
            self.unigram = first.discounted_prob + first.backoff_weight[0] / self.size
            contexts = np.concatenate([features.of(part) for part in parts if len(part)])
            self.context_counts = [
                _ContextCounts.of(contexts[:, k], ids, self.size) if k == LINE or features.has_words else None
                for k in range(KINDS)
            ]

    @staticmethod
    def number(order: int) -> int:
        """K, the number of experts; those of n-grams come first."""
        return order - 1 + KINDS

    @property
    def nbytes(self) -> int:
        """The memory of all counts in bytes."""
        if self.counts is None:
            return 0
        counts = self.counts
        arrays: list[npt.NDArray[Any]] = [
            *counts.keys,
            *counts.times,
            *counts.suffixes,
            *counts.first_children,
            *counts.tokens,
        ]
        kinds = [kind for kind in self.context_counts if kind is not None]
        for kind in kinds:
            arrays += [kind.contexts, kind.edges, kind.tokens]
        for level in (*self.levels, *(kind.level for kind in kinds)):
            arrays += [level.discounted_prob, level.backoff_weight]
        return sum(array.nbytes for array in arrays)

    def after(self, read: Int64Array, keys: Int64Array) -> tuple[Float32Array, Float32Array]:
        """Compute the distributions of all experts after each token.

        Args:
            read: the n-1 tokens before the inputs, and the T inputs, (B, n-1+T); -1 where nothing was read.
            keys: the features after each input, (B, T, KINDS) (`ContextFeatures.extract`).

        Returns:
            Log-probabilities, (B, T, K, V), and the backoff weight of each expert's context, (B, T, K), 0 to 1.
        """
        rows, steps = keys.shape[:2]
        number = self.number(self.order)
        p = np.full((rows * steps, number, self.size), 1 / self.size, np.float32)
        backoff_weight = np.ones((rows * steps, number), np.float32)
        if self.counts is not None:
            contexts = [c[:, self.order - 1 :].ravel() for c in self.counts.contexts(read)]
            unigram = self.unigram.astype(np.float32)
            running = np.broadcast_to(unigram, (rows * steps, self.size)).copy()
            for n in range(1, self.order):
                if n < self.counts.order:
                    edges = self.counts.first_children[n]
                    backoff_weight[:, n - 1] = interpolate_(
                        running, contexts[n], edges, self.counts.tokens[n], self.levels[n]
                    )
                p[:, n - 1] = running
            for k, kind in enumerate(self.context_counts):
                own = p[:, self.order - 1 + k]
                own[:] = unigram if k == LINE else running
                if kind is None:
                    continue
                at = kind.find(keys[..., k].ravel())
                backoff_weight[:, self.order - 1 + k] = interpolate_(own, at, kind.edges, kind.tokens, kind.level)
        np.log(np.maximum(p, FLOOR, out=p), out=p)
        return p.reshape(rows, steps, number, self.size), backoff_weight.reshape(rows, steps, number)


def fold_count(tokens: int) -> int:
    """The number of folds into which a training text is cut: the same on every machine.

    Args:
        tokens: N, the length of the text.

    Returns:
        8 up to a million tokens; fewer for a longer text, which takes long to count, and at least 2.
    """
    return max(2, min(FOLDS, FOLDED_TOKENS // max(1, tokens)))


def mixed_experts(
    experts: Sequence[Experts], chosen: Int64Array, read: Int64Array, keys: Int64Array
) -> tuple[Float32Array, Float32Array]:
    """Compute the distributions of several experts of one order, one of them for each token.

    Args:
        experts: counted on different texts.
        chosen: which of them predicts, (B, T).
        read: as of `Experts.after`.
        keys: as of `Experts.after`.

    Returns:
        As `Experts.after`.
    """
    first = experts[0]
    number = first.number(first.order)
    log_p = np.empty((*chosen.shape, number, first.size), np.float32)
    backoff_weight = np.empty((*chosen.shape, number), np.float32)
    for f in np.unique(chosen):
        rows = np.flatnonzero((chosen == f).any(1))
        fold_log_p, fold_weight = experts[f].after(read[rows], keys[rows])
        here = chosen[rows] == f
        at = (rows[:, None] + np.zeros_like(here, np.int64))[here], np.nonzero(here)[1]
        log_p[at], backoff_weight[at] = fold_log_p[here], fold_weight[here]
    return log_p, backoff_weight
