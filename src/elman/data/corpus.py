"""A text ready for a model: split by position first, then numbered by the vocabulary of its training part.

    tokens x_1 .. x_n     [ training | held out | test ]     x_1 .. x_k counted, then all of them -> ids

No part sees the tokens of another: the split comes before vocabulary, windows and batches.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Final, TypeVar

from elman.data.cleaning import cleaning
from elman.data.files import DecodingErrors
from elman.data.sources import Source, resolve
from elman.data.tokens import Level, Symbols, check_level
from elman.data.vocab import Ids, Vocab
from elman.errors import ConfigError, DataError, quoted

HELD_OUT: Final = 0.1
"""The share of a text that is held out where the user says nothing and the source has no split of its own."""

Sliceable = TypeVar("Sliceable", Ids, Symbols)


@dataclass(frozen=True, eq=False)
class Split:
    """One side of a split, ready for a model."""

    name: str
    ids: Ids
    """(n,) in the smallest type that holds them."""
    characters: int
    """Characters of the text they stand for; words count the spaces between them."""
    bytes: int
    """Bytes of that text in UTF-8."""
    unknown: int
    """How many of the tokens are `<unk>`; where such are dropped, how many were dropped."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text, split and numbered."""

    vocab: Vocab
    train: Split
    held_out: Split | None
    test: Split | None
    source: str
    """The name to show."""
    clean: str
    """The name of the cleaning."""
    reverse: bool = False
    """Whether the ids of every part stand in reverse order."""

    @property
    def parts(self) -> tuple[Split, ...]:
        """The parts there are, in the order of the text."""
        return tuple(part for part in (self.train, self.held_out, self.test) if part)

    def turned(self) -> "Corpus":
        """The same parts, each read from the other end."""
        train, held_out, test = (part and turned(part) for part in (self.train, self.held_out, self.test))
        assert train is not None  # noqa: S101 - there always is one
        return replace(self, train=train, held_out=held_out, test=test, reverse=not self.reverse)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of cleaning, direction, vocabulary and ids: corpora that agree in it train alike, on any machine."""
        direction = "reverse\n" if self.reverse else ""
        sha = hashlib.sha256(f"{self.clean}\n{direction}{self.vocab.to_json()}".encode())
        for part in self.parts:
            sha.update(f"\n{part.name} {len(part.ids)}\n".encode())
            sha.update(part.ids.astype(part.ids.dtype.newbyteorder("<"), copy=False).data)
        return sha.hexdigest()


def read_corpus(
    sources: Sequence[str],
    *,
    level: str | None = None,
    clean: str = "none",
    errors: DecodingErrors = "strict",
    limit: int | None = None,
    held_out: float = HELD_OUT,
    test: float = 0,
    min_count: int | None = None,
    unknown: bool = True,
    reverse: bool = False,
) -> Corpus:
    """Read, clean, split and number a text.

    Args:
        sources: names of sources, or paths, read one after the other.
        level: `char`, `word` or `byte`; None takes what suits the source.
        clean: the name of a cleaning.
        errors: `strict` refuses bytes that are not UTF-8, `replace` reads them as U+FFFD.
        limit: use only so many tokens from the beginning.
        held_out: below 1 the share of all tokens that is held out, from 1 on their number; 0 holds none out.
            A source with a split of its own keeps it where this is the default and no test part is asked for.
        test: the same for a last part that training never looks at.
        min_count: rarer tokens of the training part become `<unk>`; None decides by the singletons (`Vocab`).
        unknown: whether the vocabulary has `<unk>`; without it, symbols that only the other parts hold are dropped.
        reverse: turn every part around once the text is split, so that the parts hold the same tokens either way.

    Raises:
        ConfigError: a level, cleaning, limit or share that does not exist.
        DataError: the text cannot be used, or a part would have no tokens.
    """
    source = resolve(sources, errors)
    chosen = check_level(level or source.level)
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}, but at least 1 token must be read")
    if source.split and held_out == HELD_OUT and not test:
        train, held = (_symbols(replace(source, text=text), chosen, clean) for text in source.split)
        pieces = {"train": train[:limit], "held-out": held}
    else:
        pieces = _parted(_symbols(source, chosen, clean, limit), held_out, test)
    vocab = Vocab.of(pieces["train"], min_count=min_count, unknown=unknown)
    parts = {name: _known(name, symbols, vocab) for name, symbols in pieces.items()}
    corpus = Corpus(
        vocab,
        parts["train"],
        parts.get("held-out"),
        parts.get("test"),
        source.name,
        clean,
    )
    return corpus.turned() if reverse else corpus


def read_part(
    sources: Sequence[str],
    vocab: Vocab,
    *,
    clean: str = "none",
    errors: DecodingErrors = "strict",
    limit: int | None = None,
    drop_unknown: bool = False,
    reverse: bool = False,
) -> Split:
    """Number any text by a vocabulary that exists, to score a model on it; `reverse` turns what is left of it around.

    Raises:
        ConfigError: a cleaning or limit that does not exist.
        DataError: the text cannot be used; or it has symbols that the vocabulary lacks, the vocabulary has no
            `<unk>`, and they are not to be dropped.
    """
    source = resolve(sources, errors)
    symbols = _symbols(source, vocab.level, clean, limit)
    part = (_known if drop_unknown else _part)(source.name, symbols, vocab)
    return turned(part) if reverse else part


def split(ids: Sliceable, at: float) -> tuple[Sliceable, Sliceable]:
    """Cut by position: below 1 `at` is the share before the cut, from 1 on the number of tokens before it.

    Raises:
        ConfigError: a negative position, or one that is no number.
        DataError: a side would have no tokens.

    Example:
        >>> [part.tolist() for part in split(Vocab.bytes().encode("abcdefghij"), 0.8)]
        [[97, 98, 99, 100, 101, 102, 103, 104], [105, 106]]
    """
    n = len(ids)
    cut = _size("the cut", at, n)
    if not 0 < cut < n:
        raise DataError(f"cutting {n:,} tokens at {at:g} leaves a side without any: move the cut, or give more text")
    return ids[:cut], ids[cut:]


def _size(name: str, share: float, n: int) -> int:
    """How many of n tokens a share means: below 1 a part of them, from 1 on their number."""
    if not (math.isfinite(share) and share >= 0) or (share >= 1 and share != int(share)):
        raise ConfigError(f"{name} is {share:g}, but must be a share from 0 to below 1 or a whole number of tokens")
    return int(share) if share >= 1 else round(n * share)


def _parted(symbols: Symbols, held_out: float, test: float) -> dict[str, Symbols]:
    """The parts by position, those that were asked for, in the order of the text."""
    asked = {"held-out": held_out, "test": test}
    sizes = {name: _size(name, share, len(symbols)) for name, share in asked.items() if share}
    sizes = {"train": len(symbols) - sum(sizes.values()), **sizes}
    if min(sizes.values()) < 1:
        told = ", ".join(f"{size:,} {name}" for name, size in sizes.items())
        raise DataError(
            f"the text has {len(symbols):,} tokens, which cannot be split into {told}: "
            "give more text, or set held_out lower in the configuration (0 holds out nothing)"
        )
    edges = [0, *accumulate(sizes.values())]
    return {name: symbols[start:stop] for name, (start, stop) in zip(sizes, pairwise(edges), strict=True)}


def _symbols(source: Source, level: Level, clean: str, limit: int | None = None) -> Symbols:
    """The cleaned text of a source, or its first tokens."""
    how = cleaning(clean)
    as_it_is = level == "byte" and how.name == "none"
    symbols = Symbols.read(source.bytes() if as_it_is else how.apply(source.text()), level, limit)
    if not len(symbols):
        raise DataError(f"{quoted(source.name)}: no {level} is left of it by the cleaning {clean}: choose another")
    return symbols


def _known(name: str, symbols: Symbols, vocab: Vocab) -> Split:
    """The symbols numbered; where the vocabulary has no `<unk>`, without those that it lacks."""
    strange = _strange(symbols, vocab)
    if vocab.unknown or not strange:
        return _part(name, symbols, vocab)
    if strange == len(symbols):
        raise DataError(f"{quoted(name)}: none of its {strange:,} symbols is in the vocabulary: take another text")
    return replace(_part(name, symbols[vocab.known(symbols)], vocab), unknown=strange)


def _part(name: str, symbols: Symbols, vocab: Vocab) -> Split:
    """The symbols numbered; they are used up, so that a text is in memory once."""
    characters, in_bytes, unknown = symbols.characters, symbols.bytes, _strange(symbols, vocab)
    return Split(name, vocab.encode(symbols, consume=True), characters, in_bytes, unknown)


def turned(part: Split) -> Split:
    """The same from its end to its beginning."""
    return replace(part, ids=part.ids[::-1].copy())


def _strange(symbols: Symbols, vocab: Vocab) -> int:
    """How many of the symbols the vocabulary lacks."""
    counted = zip(symbols.types, symbols.counts().tolist(), strict=True)
    return sum(n for token, n in counted if token not in vocab.token_to_idx)
