"""A file as tokens and all that is not in the tokens, so that its bytes come back exactly.

    file = mark gap_0 token_1 gap_1 token_2 ... token_n gap_n        gaps are white space, at level word only

Nothing is dropped: line ends, NUL and bytes that are not UTF-8 are symbols like any other, which most vocabularies do
not have. A symbol that is not in the vocabulary is an escape: it is kept as bytes. A byte order mark at the beginning
is no symbol: it is kept apart, as it is when texts are read.

    bits of a text = nats of its tokens / log(2) + other bits        in `evaluate`, comparisons, reports and `compress`

The other bits are those of the mark, of escapes and of white space, coded byte by byte by how often each byte followed
the one before it. As the counts grow while they are used, the bits do not depend on their order (a Polya urn):

    P(bytes after one context) = prod_s prod_{j < n_s} (1 + c j) / prod_{j < n} (257 + c j)        c = COUNT_INCREMENT
"""

import codecs
import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from elman.data.cleaning import cleaning
from elman.data.corpus import Split
from elman.data.tokens import spans, utf8_length
from elman.data.vocab import Vocab
from elman.errors import DataError

SURROGATE: Final = "surrogateescape"
"""How a byte that is not UTF-8 becomes a symbol: U+DC80 to U+DCFF, which no vocabulary holds."""
END: Final = 256
"""The symbol after the last byte of an escape."""
COUNT_INCREMENT: Final = 32.0
"""What an occurrence adds to the weight of a symbol, where one that never occurred has 1."""
SPELLING: Final = "symbol"
"""The context of the first byte of an escape."""
BEGINNING: Final = "mark"
"""The context of the first byte of a byte order mark."""


def unknown_id(vocab: Vocab) -> int:
    """The id of symbols not in a vocabulary: that of `<unk>`; -1 without one; 256, which is no id, for bytes."""
    return 0 if vocab.unknown else 256 if vocab.level == "byte" else -1


@dataclass(eq=False)
class LosslessTokens:
    """The tokens of a file by a vocabulary, and what is not in them; `decode` gives the file back."""

    ids: npt.NDArray[np.int64]
    """(n,), `unknown_id` for an escape."""
    escapes: dict[int, bytes]
    """The tokens that are not in the vocabulary, by position."""
    whitespace: list[bytes]
    """White space before each token and after the last, (n + 1,) at level word; empty at the other levels."""
    marked: bool = False
    """Whether a byte order mark stands before it."""

    @classmethod
    def encode(cls, data: bytes, vocab: Vocab, clean: str = "none") -> "LosslessTokens":
        r"""Cut a file into tokens.

        Args:
            data: any bytes.
            vocab: gives the ids, and what a token is: a character, a word or a byte.
            clean: the cleaning of the model, which must not change the text.

        Returns:
            The tokens, escapes and white space.

        Raises:
            DataError: the cleaning would change the text, which could not be undone.

        Example:
            >>> text = LosslessTokens.encode(b"a  b,\xff", Vocab.words("a b c"))
            >>> text.ids.tolist(), text.escapes, text.whitespace
            ([1, 2, 0, 0], {2: b',', 3: b'\xff'}, [b'', b'  ', b'', b'', b''])
        """
        if clean != "none":
            _check_clean(data, clean, vocab)
        marked, data = data.startswith(codecs.BOM_UTF8), data.removeprefix(codecs.BOM_UTF8)
        if vocab.level == "byte":
            return cls(np.frombuffer(data, np.uint8).astype(np.int64), {}, [], marked)
        text = data.decode("utf-8", SURROGATE)
        tokens, whitespace = (text, []) if vocab.level == "char" else _words(text, vocab)
        unknown = unknown_id(vocab)
        ids = np.fromiter((vocab.token_to_idx.get(t, unknown) for t in tokens), np.int64, len(tokens))
        return cls(ids, {i: _to_bytes(tokens[i]) for i in np.flatnonzero(ids == unknown).tolist()}, whitespace, marked)

    @classmethod
    def empty(cls, n: int, vocab: Vocab) -> "LosslessTokens":
        """Zeros, to be filled in by a decoder.

        Args:
            n: tokens.
            vocab: decides whether there is white space beside them.

        Returns:
            Tokens without escapes.
        """
        return cls(np.zeros(n, np.int64), {}, [b""] * (n + 1 if vocab.level == "word" else 0))

    def token_at(self, place: int, names: list[bytes]) -> bytes:
        """The bytes of one token.

        Args:
            place: its position, 0 to n - 1.
            names: the bytes of every token of the vocabulary (`token_bytes`).

        Returns:
            The bytes that stand for it in the file.
        """
        return self.escapes[place] if place in self.escapes else names[self.ids[place]]

    def decode(self, names: list[bytes]) -> bytes:
        """The bytes of the file; `names` are the bytes of every token of the vocabulary (`token_bytes`)."""
        before = codecs.BOM_UTF8 if self.marked else b""
        tokens = [self.token_at(i, names) for i in range(len(self.ids))]
        if not self.whitespace:
            return before + b"".join(tokens)
        return before + b"".join(gap + token for gap, token in zip(self.whitespace, [*tokens, b""], strict=True))


def token_bytes(vocab: Vocab) -> list[bytes]:
    """The bytes of every token of a vocabulary, by id."""
    if vocab.level == "byte":
        return [bytes([value]) for value in range(256)]
    return [token.encode() for token in vocab.idx_to_token]


def _to_bytes(text: str) -> bytes:
    """The bytes that were decoded as this text."""
    return text.encode("utf-8", SURROGATE)


def _words(text: str, vocab: Vocab) -> tuple[list[str], list[bytes]]:
    """The words of a text, and the white space before each and after the last."""
    tokens, whitespace, end = [], [], 0
    for start, stop in spans(text, vocab.segmentation):
        tokens.append(text[start:stop])
        whitespace.append(_to_bytes(text[end:start]))
        end = stop
    return tokens, [*whitespace, _to_bytes(text[end:])]


def _check_clean(data: bytes, clean: str, vocab: Vocab) -> None:
    text = data.decode("utf-8", SURROGATE)
    cleaned = cleaning(clean, vocab.segmentation)(text)
    if cleaned != text:
        pairs = zip(text, cleaned, strict=False)
        same = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(text), len(cleaned)))
        raise DataError(
            f"the model was trained with --normalize {clean}, which would change this text at character {same:,} and "
            "cannot be undone: compress a text that is normalized already, or use a model trained with --normalize none"
        )


def gap_context(token: bytes) -> bytes:
    """What white space beside a word is predicted from: the same for all letters, each other character itself."""
    return b"a" if token[:1].isalnum() or token[:1] >= b"\x80" else token[:1]


def other_bits(part: Split, vocab: Vocab) -> float | None:
    """Bits of what is not in the ids of a text: unknown symbols, white space between words, byte order marks.

    They are those that `elman.inference.compression` writes for the same text, as one stream.

    Args:
        part: the text.
        vocab: the vocabulary of its ids.

    Returns:
        Bits; None where unknown symbols have no spelling, as in ids without their text.
    """
    originals = part.originals
    if originals is None:
        return None if part.unknown else 0.0
    strings: Counter[tuple[Hashable, bytes]] = Counter({(BEGINNING, codecs.BOM_UTF8): originals.marks})
    counts = np.bincount(originals.spellings, minlength=len(originals.types))
    for token, count in zip(originals.types, counts.tolist(), strict=True):
        strings[SPELLING, token.encode()] += count
    flags = (
        adaptive_bits([len(part.ids), originals.unknown], 0.5, 1.0)
        if originals.dropped and vocab.level != "byte"
        else 0.0
    )
    return flags + _string_bits(strings + _gap_strings(part, vocab))


def other_bits_by_token(part: Split, vocab: Vocab) -> npt.NDArray[np.float64]:
    """The same bits spread over the tokens, (n,), by the bytes of unknown symbols and of white space beside them.

    Args:
        part: the text.
        vocab: the vocabulary of its ids.
    """
    total, originals = other_bits(part, vocab), part.originals
    weights = np.ones(len(part.ids))
    if originals is not None and originals.gaps is not None and not originals.dropped:
        weights += np.array([utf8_length(gap) for gap in originals.gap_types])[originals.gaps]
    if originals is not None and not originals.dropped:
        spelt = np.array([1 + utf8_length(token) for token in originals.types], np.float64)
        weights = weights if originals.gaps is not None or not len(spelt) else np.zeros(len(part.ids))
        weights[originals.places] += spelt[originals.spellings]
    return np.asarray(weights * ((total or 0.0) / weights.sum()))


def _gap_strings(part: Split, vocab: Vocab) -> Counter[tuple[Hashable, bytes]]:
    """How often each stretch of white space stands between each two kinds of words."""
    originals, found = part.originals, Counter[tuple[Hashable, bytes]]()
    if originals is None or originals.gaps is None:
        return found
    kinds = _Kinds()
    of_ids = np.array([kinds[gap_context(name)] for name in token_bytes(vocab)], np.int64)
    each = originals.values(part.ids, of_ids, lambda token: kinds[gap_context(token.encode())])
    gaps, outside = originals.gaps.astype(np.int64), kinds[b""]
    if originals.reverse:
        each, gaps = each[::-1], gaps[::-1]
    kind_count, gap_count = len(kinds), len(originals.gap_types)
    before = np.concatenate([[outside], each[:-1]])
    triples, times = np.unique((before * kind_count + each) * gap_count + gaps, return_counts=True)
    names = list(kinds)
    for triple, count in zip(triples.tolist(), times.tolist(), strict=True):
        pair, gap = divmod(triple, gap_count)
        context = tuple(names[kind] for kind in divmod(pair, kind_count))
        found[context, originals.gap_types[gap].encode()] += count
    last = names[each[-1]] if len(each) else b""
    found[(last, b""), originals.tail.encode()] += 1
    return found


class _Kinds(dict[bytes, int]):
    """The contexts of white space, numbered in order of appearance."""

    def __missing__(self, context: bytes) -> int:
        self[context] = place = len(self)
        return place


def _string_bits(strings: Mapping[tuple[Hashable, bytes], int]) -> float:
    """Bits of strings of bytes, each with the context of its first byte and how often it occurs."""
    counts: Counter[tuple[Hashable, int]] = Counter()
    for (context, data), times in strings.items():
        for before, symbol in zip((context, *data), (*data, END), strict=True):
            counts[before, symbol] += times
    by_context: dict[Hashable, list[int]] = {}
    for (before, _), times in counts.items():
        by_context.setdefault(before, []).append(times)
    return sum(adaptive_bits(times, 1.0, COUNT_INCREMENT, END + 1) for times in by_context.values())


def adaptive_bits(counts: Iterable[int], first: float, increment: float, symbols: int | None = None) -> float:
    """Bits of symbols of which each is predicted by how often it occurred before, in any order.

        P = prod_s prod_{j < n_s} (a + c j) / prod_{j < n} (a S + c j)

    Args:
        counts: n_s, how often each symbol occurs.
        first: a, the weight of a symbol that has not occurred, above 0.
        increment: c, what an occurrence adds to it, above 0.
        symbols: S, how many there could be; None: as many as `counts`.
    """
    each = list(counts)
    unit, total = first / increment, first * (symbols or len(each)) / increment

    def rising(start: float, n: int) -> float:
        """Log of start (start + 1) ... (start + n - 1)."""
        return math.lgamma(start + n) - math.lgamma(start)

    return max(0.0, (rising(total, sum(each)) - sum(rising(unit, n) for n in each)) / math.log(2))
