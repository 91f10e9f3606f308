"""A text ready for a model: split by position first, then numbered by the vocabulary of its training part.

    tokens x_1 .. x_n     [ training | held out | test ]     x_1 .. x_k counted, then all of them -> ids

No part sees the tokens of another: the split comes before vocabulary, windows and batches.
"""

import builtins
import hashlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Final, TypeVar, get_args

import numpy as np

from elman.arguments import checked
from elman.data.batches import as_ids
from elman.data.cleaning import cleaning
from elman.data.files import MARK, DecodingErrors
from elman.data.notes import LineEnds, line_end_notes, line_ends, unspaced_notes
from elman.data.originals import Originals
from elman.data.segmentation import Segmentation, check_segmentation
from elman.data.sources import Source, resolve
from elman.data.tokens import Level, TokenSequence, check_level, utf8_length
from elman.data.vocab import Ids, Vocab
from elman.errors import ConfigError, DataError, no_such, quoted

HELD_OUT: Final = 0.1
"""The share of a text that is held out where nothing is given and its source does not define a split."""

BEGINNING: Final = 60
"""Tokens of a text that are kept as they stand in it, to be shown."""

TITLES: Final = {"train": "training"}

Sliceable = TypeVar("Sliceable", Ids, TokenSequence)


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a text as token ids.

    Args:
        name: "train", "held-out" or "test", or the name of a text that is scored.
        ids: (n,) in the smallest unsigned type that holds them.
        characters: the number of characters of its text, white space and what is unknown included.
        bytes: the number of bytes of the same text in UTF-8.
        unknown: how many of the tokens are `<unk>`, or, where those are dropped, how many were dropped.
        originals: the spelling of unknown tokens and the white space between words; None: not known.
        line_ends: how its lines end.
        notes: what a user should know of it: files that were read twice, a level that does not suit it.
        vocab: the vocabulary of the ids; None: not known.
    """

    name: str
    ids: Ids
    characters: int
    bytes: int
    unknown: int
    originals: Originals | None = None
    line_ends: LineEnds = ""
    notes: tuple[str, ...] = ()
    vocab: Vocab | None = field(default=None, repr=False)

    def check_readable(self, vocab: Vocab, *, reverse: bool) -> None:
        """Refuse a part whose ids do not mean to a model what they mean here, as far as that is known.

        Args:
            vocab: the vocabulary of the model; it may have more tokens at its end.
            reverse: whether the model reads texts from the end.

        Raises:
            DataError: the ids are of another vocabulary, or stand in the other order.
        """
        remedy = "give the text itself, or its ids as model.task.vocab.encode makes them"
        if self.vocab is not None and not vocab.begins_with(self.vocab):
            raise DataError(
                f"the part {quoted(self.name)} has ids of another vocabulary ({self.vocab!r}, that of the model is "
                f"{vocab!r}), where they mean other tokens: {remedy}"
            )
        if self.originals is not None and self.originals.reverse != reverse:
            orders = ("from the end", "from the beginning")
            raise DataError(
                f"the part {quoted(self.name)} stands in the other order: the model reads texts {orders[not reverse]}, "
                "and the part is its reverse: read it again with reverse as in the training of the model"
            )

    def first(self, count: int, vocab: Vocab) -> "Split":
        """The first `count` tokens in the order of reading, with the lengths of their text.

        Args:
            count: how many, at least 1.
            vocab: the vocabulary of the ids.
        """
        if count >= len(self.ids):
            return self
        originals = None if self.originals is None else self.originals.first(count)
        cut = numbered(self.name, self.ids[:count], originals, vocab)
        return replace(cut, line_ends=self.line_ends, notes=self.notes)

    def first_of_text(self, count: int, vocab: Vocab) -> "Split":
        """The first `count` tokens of the text, in the order of reading.

        Args:
            count: how many, at least 1.
            vocab: the vocabulary of the ids.
        """
        return self._backward().first(count, vocab)._backward() if self._is_reversed else self.first(count, vocab)

    def last_of_text(self, count: int, vocab: Vocab) -> "Split":
        """The last `count` tokens of the text, in the order of reading.

        Args:
            count: how many, at least 1.
            vocab: the vocabulary of the ids.
        """
        return self.first(count, vocab) if self._is_reversed else self._backward().first(count, vocab)._backward()

    @property
    def _is_reversed(self) -> bool:
        return self.originals is not None and self.originals.reverse

    def _backward(self) -> "Split":
        """A view of the same tokens in the other order."""
        originals = None if self.originals is None else self.originals.reversed()
        return replace(self, ids=self.ids[::-1], originals=originals)

    def text_bytes(self, vocab: Vocab) -> builtins.bytes:
        """The bytes of the text, exactly; where `originals` is None, of what the ids are written as.

        Args:
            vocab: the vocabulary of the ids.
        """
        if self.originals is None or vocab.level == "byte":
            marks = self.originals.marks if self.originals else 0
            return marks * MARK.encode() + vocab.decode_bytes(self.ids[::-1] if self._is_reversed else self.ids)
        return self.originals.text(self.ids, vocab).encode("utf-8")

    def tokens(self, vocab: Vocab) -> list[str]:
        """The tokens of the ids as they stand in the text, in its order; `<unk>` where `originals` is None.

        Args:
            vocab: the vocabulary of the ids.
        """
        if self.originals is None or self.originals.dropped:
            found = [vocab.idx_to_token[token] for token in self.ids.tolist()]
        else:
            found = self.originals.tokens(self.ids, vocab)
        return found[::-1] if self._is_reversed else found

    def beginning(self, vocab: Vocab) -> str:
        """The text of the first 60 tokens; bytes that are not UTF-8 are escaped.

        Args:
            vocab: the vocabulary of the ids.
        """
        return self.first_of_text(BEGINNING, vocab).text_bytes(vocab).decode("utf-8", "backslashreplace")


def numbered(name: str, ids: Ids, originals: Originals | None, vocab: Vocab) -> Split:
    """A part of a text with its lengths.

    Args:
        name: of the part.
        ids: (n,) token ids, in the order of reading.
        originals: what the ids do not hold; None: the text is what they are written as.
        vocab: the vocabulary of the ids.
    """
    if originals is None:
        text = np.frombuffer(vocab.decode_bytes(ids), np.uint8)
        unknown = int((ids == 0).sum()) if vocab.unknown else 0
        return Split(name, ids, _beginning_characters(text), len(text), unknown, vocab=vocab)
    marks = originals.marks
    if vocab.level == "byte":
        characters, size = _beginning_characters(ids) + marks, len(ids) + marks * utf8_length(MARK)
        return Split(name, ids, characters, size, 0, originals, vocab=vocab)

    def length(size: Callable[[str], int]) -> int:
        of_ids = np.array([size(token) for token in vocab.idx_to_token], np.int64)
        gaps = np.array([size(gap) for gap in originals.gap_types], np.int64)
        between = 0 if originals.gaps is None else int(gaps[originals.gaps].sum()) + size(originals.tail)
        return int(originals.values(ids, of_ids, size).sum()) + between + marks * size(MARK)

    return Split(name, ids, length(len), length(utf8_length), originals.unknown, originals, vocab=vocab)


def _beginning_characters(values: Ids) -> int:
    """How many bytes begin a character of UTF-8."""
    return int(np.count_nonzero(values & 0xC0 != 0x80))


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text, split into parts and numbered.

    Args:
        vocab: the vocabulary of the training part.
        train: the training part.
        held_out: the part that training is measured on, or None.
        test: the part that training never reads, or None.
        source: the name that reports show.
        normalize: the name of the normalization.
        reverse: whether the ids of every part stand in reverse order.
        notes: what a user should know of the text: files that were read twice, line ends that differ, a level that does
            not suit it.
    """

    vocab: Vocab
    train: Split
    held_out: Split | None
    test: Split | None
    source: str
    normalize: str
    reverse: bool = False
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[Split, ...]:
        """The parts that exist, in the order of the text."""
        return tuple(part for part in (self.train, self.held_out, self.test) if part)

    def reversed(self) -> "Corpus":
        """The same parts, the tokens of each in reverse order."""
        train, held_out, test = (part and reversed_split(part) for part in (self.train, self.held_out, self.test))
        assert train is not None  # noqa: S101 - there always is one
        return replace(self, train=train, held_out=held_out, test=test, reverse=not self.reverse)

    @property
    def clean(self) -> str:
        """The name of `normalize` in 0.1, until 0.3."""
        warnings.warn("Corpus.clean is now Corpus.normalize", DeprecationWarning, stacklevel=2)
        return self.normalize

    def turned(self) -> "Corpus":
        """The name of 0.1 for `reversed`, until 0.3."""
        warnings.warn("Corpus.turned is now Corpus.reversed", DeprecationWarning, stacklevel=2)
        return self.reversed()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of cleaning, direction, vocabulary and ids: equal means the same training on any machine."""
        direction = "reverse\n" if self.reverse else ""
        sha = hashlib.sha256(f"{self.normalize}\n{direction}{self.vocab.numbering}".encode())
        for part in self.parts:
            sha.update(f"\n{part.name} {len(part.ids)}\n".encode())
            sha.update(part.ids.astype(part.ids.dtype.newbyteorder("<"), copy=False).data)
        return sha.hexdigest()


@checked
def read_corpus(
    sources: Sequence[str],
    *,
    tokens: str | None = None,
    normalize: str = "none",
    errors: DecodingErrors = "strict",
    limit: int | None = None,
    held_out: float | None = None,
    test: float = 0,
    min_count: int | None = None,
    unknown: bool = True,
    reverse: bool = False,
    segmentation: Segmentation = "uax29",
    level: str | None = None,
    clean: str | None = None,
) -> Corpus:
    """Read, normalize, split and number a text.

    Args:
        sources: names of sources, or paths, read one after the other.
        tokens: what a token is: "char", "word" or "byte"; None is what suits the source.
        normalize: the name of a normalization.
        errors: "strict" refuses bytes that are not UTF-8, "replace" reads them as U+FFFD.
        limit: the number of tokens to use, from the beginning; None uses all.
        held_out: the part at the end to hold out: below 1 a share of all tokens, from 1 on a number of tokens; 0 holds
            nothing out. None: the split that the source defines, if `test` is 0; otherwise a tenth.
        test: the same for a last part, which training never reads.
        min_count: rarer tokens of the training part become `<unk>`; None decides by the singletons (`Vocab`).
        unknown: whether the vocabulary has `<unk>`; without it, symbols that only the other parts hold are dropped.
        reverse: reverse every part after the split, so that the parts hold the same tokens either way.
        segmentation: the rules of word boundaries; "0.1" reads a text as that version did.
        level: the name of `tokens` in 0.1, until 0.3.
        clean: the name of `normalize` in 0.1, until 0.3.

    Returns:
        The parts as ids, with the vocabulary of the training part.

    Raises:
        ConfigError: a level, normalization, limit or share that is not possible.
        DataError: the text cannot be used, or a part would have no tokens.
    """
    if errors not in get_args(DecodingErrors):
        raise ConfigError(no_such("treatment of errors", errors, get_args(DecodingErrors)))
    check_segmentation(segmentation)
    source = resolve(sources, errors, end_lines=segmentation != "0.1")
    if level is not None or clean is not None:
        warnings.warn(
            "level is now tokens, and clean is normalize; the old names go in 0.3", DeprecationWarning, stacklevel=2
        )
        tokens, normalize = level or tokens, clean or normalize
    chosen = check_level(tokens or source.level)
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}, but it must be at least 1 token")
    if source.split and held_out is None and not test:
        train, held = (_tokens(replace(source, text=text), chosen, normalize, segmentation) for text in source.split)
        split_tokens = {"train": train[:limit], "held-out": held}
    else:
        whole = _tokens(source, chosen, normalize, segmentation, limit)
        split_tokens = _split_by_position(whole, HELD_OUT if held_out is None else held_out, test)
    ends = {f"the {TITLES.get(name, name)} text": line_ends(part) for name, part in split_tokens.items()}
    notes = (*source.notes(), *line_end_notes(ends), *unspaced_notes(split_tokens["train"]))
    vocab = Vocab.from_tokens(split_tokens["train"], min_count=min_count, unknown=unknown)
    parts = {name: _known_only(name, part, vocab) for name, part in split_tokens.items()}
    corpus = Corpus(
        vocab,
        parts["train"],
        parts.get("held-out"),
        parts.get("test"),
        source.name,
        normalize,
        notes=notes,
    )
    return corpus.reversed() if reverse else corpus


def read_part(
    sources: Sequence[str],
    vocab: Vocab,
    *,
    normalize: str = "none",
    errors: DecodingErrors = "strict",
    limit: int | None = None,
    drop_unknown: bool = False,
    reverse: bool = False,
) -> Split:
    """Number a text by the vocabulary of a model, to score the model on it.

    Args:
        sources: names of sources, or paths, read one after the other.
        vocab: the vocabulary; its level splits the text.
        normalize: the name of a normalization.
        errors: "strict" refuses bytes that are not UTF-8, "replace" reads them as U+FFFD.
        limit: the number of tokens to use, from the beginning; None uses all.
        drop_unknown: leave out symbols that a vocabulary without `<unk>` lacks.
        reverse: reverse the tokens that remain.

    Raises:
        ConfigError: a cleaning or limit that is not possible.
        DataError: the text cannot be used; or it has symbols that the vocabulary lacks, the vocabulary has no
            `<unk>`, and `drop_unknown` is not set.
    """
    source = resolve(sources, errors, end_lines=vocab.segmentation != "0.1")
    tokens = _tokens(source, vocab.level, normalize, vocab.segmentation, limit)
    notes = (*source.notes(), *unspaced_notes(tokens))
    part = (_known_only if drop_unknown else _numbered)(source.name, tokens, vocab)
    part = replace(part, notes=notes)
    return reversed_split(part) if reverse else part


@checked
def split(ids: Sliceable, at: float) -> tuple[Sliceable, Sliceable]:
    """Cut tokens in two by position.

    Args:
        ids: (n,) token ids, or a `TokenSequence`.
        at: where to cut: below 1 the share before the cut, from 1 on the number of tokens before it.

    Returns:
        The tokens before the cut and those after it, as views of the same memory.

    Raises:
        ConfigError: `at` is negative, not finite, or above 1 and no whole number.
        DataError: a side would have no tokens.

    Example:
        >>> [part.tolist() for part in split(Vocab.bytes().encode("abcdefghij"), 0.8)]
        [[97, 98, 99, 100, 101, 102, 103, 104], [105, 106]]
    """
    if not isinstance(ids, TokenSequence):
        ids = as_ids(ids, None)
    n = len(ids)
    cut = _size("the cut", at, n)
    if not 0 < cut < n:
        raise DataError(f"cutting {n:,} tokens at {at:g} leaves one side empty: move the cut, or give more text")
    return ids[:cut], ids[cut:]


def _size(name: str, share: float, n: int) -> int:
    """How many of n tokens a share means: below 1 a part of them, from 1 on their number."""
    if not (math.isfinite(share) and share >= 0) or (share >= 1 and share != int(share)):
        raise ConfigError(f"{name} is {share:g}, but must be a share from 0 to below 1 or a whole number of tokens")
    return int(share) if share >= 1 else round(n * share)


def _split_by_position(tokens: TokenSequence, held_out: float, test: float) -> dict[str, TokenSequence]:
    """The parts that are wanted, by position, in the order of the text."""
    shares = {"held-out": held_out, "test": test}
    sizes = {name: _size(name, share, len(tokens)) for name, share in shares.items() if share}
    sizes = {"train": len(tokens) - sum(sizes.values()), **sizes}
    if min(sizes.values()) < 1:
        wanted = ", ".join(f"{size:,} {name}" for name, size in sizes.items())
        raise DataError(
            f"the text has {len(tokens):,} tokens, which cannot be split into {wanted}: "
            "give more text, or set held_out lower in the configuration (0 holds out nothing)"
        )
    edges = [0, *accumulate(sizes.values())]
    return {name: tokens[start:stop] for name, (start, stop) in zip(sizes, pairwise(edges), strict=True)}


def _tokens(
    source: Source, level: Level, clean: str, segmentation: Segmentation, limit: int | None = None
) -> TokenSequence:
    """The cleaned text of a source, or its first tokens."""
    cleaner = cleaning(clean, segmentation)
    unchanged = level == "byte" and cleaner.name == "none"
    pieces = source.bytes() if unchanged else cleaner.apply(source.text())
    tokens = TokenSequence.read(pieces, level, limit, segmentation=segmentation)
    if not len(tokens):
        raise DataError(
            f"{quoted(source.name)}: no {level} is left after --normalize {clean}: choose another normalization"
        )
    return tokens if cleaner.name != "none" else replace(tokens, marks=source.marks())


def _known_only(name: str, tokens: TokenSequence, vocab: Vocab) -> Split:
    """The tokens numbered; where the vocabulary has no `<unk>`, without those that it lacks."""
    if vocab.unknown or all(token in vocab.token_to_idx for token in tokens.types):
        return _numbered(name, tokens, vocab)
    originals, ends = Originals.of(tokens, vocab), line_ends(tokens)
    if originals.unknown == len(tokens):
        raise DataError(
            f"{quoted(name)}: none of its {len(tokens):,} symbols is in the vocabulary: choose another text"
        )
    ids = vocab.encode(tokens[originals.known], consume=True)
    return replace(numbered(name, ids, originals, vocab), line_ends=ends)


def _numbered(name: str, tokens: TokenSequence, vocab: Vocab) -> Split:
    """The tokens numbered; they are overwritten, so that a text is in memory once."""
    characters, in_bytes, originals = tokens.characters, tokens.bytes, Originals.of(tokens, vocab)
    ends = line_ends(tokens)
    ids = vocab.encode(tokens, consume=True)
    return Split(name, ids, characters, in_bytes, originals.unknown, originals, ends, vocab=vocab)


def reversed_split(part: Split) -> Split:
    """The same tokens in reverse order."""
    found = part._backward()
    return replace(found, ids=found.ids.copy())
