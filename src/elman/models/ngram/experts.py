"""Counted experts: what followed a context in a text, for contexts of several kinds, as evidence for a network.

Every expert gives a probability to every token, discounted and completed by a more general expert:

    P(w | c) = share(c w) + rest(c) * P_general(w)          P(w | c) = P_general(w) where c was never continued

    2 to n tokens           levels of an interpolated Kneser-Ney n-gram, each more general than the next
    the word so far         its letters, in lower case, and what stood before it; the n-gram is more general
    that, the word before   also with the word before that, and with that one alone; the n-gram is more general
    the place in the line   tokens since the last line break; single tokens are more general

`rest` is what an expert leaves to the more general one: 1 where it knows nothing. Contexts of words are hashed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from elman.data.batches import START, Ids
from elman.data.vocab import Vocab
from elman.models.ngram.counts import BYTES, Counts, Int64Array, memory
from elman.models.ngram.smoothing import Level, discounted, interpolate_, kneser_ney

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
KINDS: Final = 5
"""Contexts that are no n-grams: four of words, one of lines."""
MEMORY: Final = 5
"""Numbers that are remembered of a text for them: the word so far, two words before it, the last token, the column."""
FOLDS: Final = 8
"""Stretches of a training text, each read by what was counted on the others."""
LARGEST: Final = 4096
"""Tokens of a vocabulary of which each is given a probability at every step."""
SHARE: Final = 3
"""What all counts of a training may take: one part of memory in so many."""
HIGHEST: Final = 16
"""Tokens of the longest n-grams that are counted."""
LONGEST_LINE = 255
FLOOR = 2.0**-40  # of a probability, so that its logarithm is finite
ROW, WARM = 512, 256  # a text is read in rows of so many tokens, each after so many before it
_MIX = np.int64(0x2545F4914F6CDD1D)  # odd, so that multiplying modulo 2^64 loses nothing


class ContextFeatures:
    """What stands around a token: the word that it belongs to, the words before, its place in the line.

    A word is a stretch of letters and digits (Unicode's), and apostrophes; of bytes those of ASCII and all above. At
    level word tokens of several characters stand between words as punctuation does.

    Example:
        >>> around = Surroundings(Vocab.chars("a cab"))
        >>> keys, memory = around.walk(np.array([[3, 1, 2]]), around.initial(1))  # b, a, blank
        >>> keys.shape, int(memory[0, 4])  # the column
        ((1, 3, 5), 3)
    """

    def __init__(self, vocab: Vocab) -> None:
        symbols = [_symbol(vocab, i) for i in range(len(vocab))]
        in_word = {symbol.lower() for symbol in symbols if len(symbol) == 1 and (symbol.isalnum() or symbol == "'")}
        number = {letter: i for i, letter in enumerate(sorted(in_word), 1)}
        self.letter = np.array([number.get(symbol.lower(), 0) for symbol in symbols])  # 0: no letter
        self.newline = symbols.index("\n") if "\n" in symbols else -1

    @staticmethod
    def initial(rows: int) -> Int64Array:
        """Nothing read, (rows, MEMORY)."""
        return np.zeros((rows, MEMORY), np.int64)

    def extract(self, inputs: npt.NDArray[np.integer], memory: Int64Array) -> tuple[Int64Array, Int64Array]:
        """The contexts (B, T, KINDS) after each of inputs (B, T), and what is remembered then; a token -1 is none."""
        memory = memory.copy()
        word, before, earlier, last, column = (memory[:, i] for i in range(MEMORY))
        keys = np.empty((*inputs.shape, KINDS), np.int64)
        for t in range(inputs.shape[1]):
            token = inputs[:, t].astype(np.int64)
            real = token >= 0
            letter = np.where(real, self.letter[np.maximum(token, 0)], 0)
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
        return keys, memory

    def of(self, ids: Ids) -> Int64Array:
        """The contexts (N, KINDS) before each token of a text; a row forgets words older than its WARM tokens."""
        n = len(ids)
        row, warm = (ROW, WARM) if n > ROW else (n, 0)
        rows = -(-n // row)
        read = np.concatenate((np.full(warm, -1), [START], ids[:-1].astype(np.int64), np.full(rows * row - n, -1)))
        windows = np.lib.stride_tricks.sliding_window_view(read, warm + row)[::row]
        keys, _ = self.extract(windows, self.initial(rows))
        return keys[:, warm:].reshape(-1, KINDS)[:n]


def _symbol(vocab: Vocab, i: int) -> str:
    """What a token stands for; a byte above ASCII counts as a letter, of no case, and is some ideograph here."""
    if vocab.level == "byte":
        return chr(i) if i < 128 else chr(0x4E00 + i)
    return vocab.to_tokens(i)


def _hash(a: Int64Array, b: Int64Array) -> Int64Array:
    """Of two numbers in order; never 0 for a letter and any word, but for one in 2^64."""
    mixed = (a ^ (b + 0x632BE59BD9B4E019)) * _MIX
    return mixed ^ (mixed >> 29)


@dataclass(frozen=True, eq=False)
class _Kind:
    """How often each token followed each context of one kind, discounted."""

    contexts: Int64Array
    """Sorted hashes."""
    edges: Int64Array
    """Where the continuations of each begin, and the end."""
    tokens: Int64Array
    """Of all continuations."""
    level: Level

    @classmethod
    def of(cls, contexts: Int64Array, tokens: Ids, size: int) -> "_Kind":
        known, rank = np.unique(contexts, return_inverse=True)
        keys, times = np.unique(rank * size + tokens, return_counts=True)
        edges = np.searchsorted(keys, np.arange(len(known) + 1) * size)
        return cls(known, edges, keys % size, discounted(times, edges))

    def find(self, contexts: Int64Array) -> Int64Array:
        """Their ranks, -1 where one never occurred."""
        at = np.minimum(np.searchsorted(self.contexts, contexts), len(self.contexts) - 1)
        return np.where(self.contexts[at] == contexts, at, -1)


class Experts:
    """All experts of a text.

    Args:
        vocab: its tokens.
        parts: the text, or what remains of it: pieces that do not touch. All empty: experts that know nothing.
        order: n, the tokens of the longest n-grams, at least 2.

    Example:
        >>> vocab = Vocab.chars("abracadabra")
        >>> experts = Experts(vocab, [vocab.encode("abracadabra")], order=3)
        >>> around = Surroundings(vocab)
        >>> keys, _ = around.walk(np.array([[2]]), around.initial(1))
        >>> log_p, rest = experts.after(np.array([[-1, -1, 2]]), keys)
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
            contexts = np.concatenate([features.of(part) for part in parts if len(part)])
            self.kinds = [_Kind.of(contexts[:, k], ids, self.size) for k in range(KINDS)]

    @staticmethod
    def number(order: int) -> int:
        """K: how many experts there are, n-grams first."""
        return order - 1 + KINDS

    def after(self, read: Int64Array, keys: Int64Array) -> tuple[Float32Array, Float32Array]:
        """What the experts say, log-probabilities (B, T, K, V), and what each leaves to a more general one, (B, T, K).

        `read` is n-1 tokens before, and the T inputs, (B, n-1+T), -1 where nothing was read; `keys` (B, T, KINDS).
        """
        rows, steps = keys.shape[:2]
        number = self.number(self.order)
        p = np.full((rows * steps, number, self.size), 1 / self.size, np.float32)
        rest = np.ones((rows * steps, number), np.float32)
        if self.counts is not None:
            contexts = [c[:, self.order - 1 :].ravel() for c in self.counts.contexts(read)]
            unigram = (self.levels[0].share + self.levels[0].rest[0] / self.size).astype(np.float32)
            running = np.broadcast_to(unigram, (rows * steps, self.size)).copy()
            for n in range(1, self.order):
                if n < self.counts.order:
                    edges = self.counts.first_children[n]
                    rest[:, n - 1] = interpolate_(running, contexts[n], edges, self.counts.tokens[n], self.levels[n])
                p[:, n - 1] = running
            for k, kind in enumerate(self.kinds):
                own = p[:, self.order - 1 + k]
                own[:] = unigram if k == KINDS - 1 else running
                at = kind.find(keys[..., k].ravel())
                rest[:, self.order - 1 + k] = interpolate_(own, at, kind.edges, kind.tokens, kind.level)
        np.log(np.maximum(p, FLOOR, out=p), out=p)
        return p.reshape(rows, steps, number, self.size), rest.reshape(rows, steps, number)


def fold_count(tokens: int, order: int) -> int:
    """Into how many a text of so many tokens is cut for training: eight, fewer where memory is short; 1: none fit."""
    each = 2 * BYTES * Experts.number(order) * max(1, tokens)
    return min(FOLDS, memory() // SHARE // each + 1)


class Folds:
    """Experts for the text that they were counted on: each stretch is read by those that have not seen it.

    Without, a network would learn to trust what they know by heart (stacking; Wolpert 1992).

    Args:
        vocab: its tokens.
        ids: the text.
        order: n.
        number: stretches of equal length.
    """

    def __init__(self, vocab: Vocab, ids: Ids, order: int, number: int) -> None:
        self.edges = np.arange(number + 1) * len(ids) // number
        pairs = zip(self.edges[:-1], self.edges[1:], strict=True)
        self.experts = [Experts(vocab, [ids[:a], ids[b:]], order) for a, b in pairs]

    def after(self, read: Int64Array, keys: Int64Array, places: Int64Array) -> tuple[Float32Array, Float32Array]:
        """As `Experts.after`, for targets that stand at `places` (B, T) of the text."""
        fold = np.clip(np.searchsorted(self.edges, places, "right") - 1, 0, len(self.experts) - 1)
        first = self.experts[0]
        number = first.number(first.order)
        log_p = np.empty((*places.shape, number, first.size), np.float32)
        rest = np.empty((*places.shape, number), np.float32)
        for f in np.unique(fold):
            rows = np.flatnonzero((fold == f).any(1))
            found, left = self.experts[f].after(read[rows], keys[rows])
            here = fold[rows] == f
            at = (rows[:, None] + np.zeros_like(here, np.int64))[here], np.nonzero(here)[1]
            log_p[at], rest[at] = found[here], left[here]
        return log_p, rest
