"""A vocabulary: symbols <-> the integers 0 .. V-1.

    id = the rank of a symbol by falling count on the training part; ties in code-point order
    0  = <unk>, every symbol that is not in the vocabulary; a vocabulary may have none

At level byte the ids are the byte values and nothing is unknown.
"""

import builtins
import json
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias, TypeVar, overload

import numpy as np
import numpy.typing as npt

from elman.arguments import checked, plain, shown
from elman.data.batches import COUNTED_AT_ONCE, IdsLike, as_ids, blocks
from elman.data.decoding import REPLACEMENT, UNKNOWN, IncrementalDecoder
from elman.data.segmentation import SEGMENTATIONS, Segmentation, check_segmentation, extends
from elman.data.tokens import (
    BYTE_NAMES,
    LEVELS,
    Codes,
    Level,
    TokenSequence,
    check_level,
    join_words,
    unsigned,
)
from elman.errors import ConfigError, DataError, ModelError, quoted
from elman.reading import read_limited
from elman.storage.atomic import replace_file
from elman.storage.tensors import JSON_LIMIT, damaged, strict_json

Ids = Codes
TextOrTokens: TypeAlias = str | bytes | TokenSequence | Sequence[str]
Element = TypeVar("Element", np.unsignedinteger[Any], np.bool_)

RARE_MASS: Final = 0.001
"""The share of singletons in the training part from which on they become unknown."""
FORMAT: Final = "elman-vocabulary"
VERSION: Final = 2
"""1 has neither a segmentation, which is "0.1" then, nor the tokens that were dropped."""
SHOWN: Final = 20
"""Unseen symbols listed in a message."""
REMEMBERED: Final = 100_000
"""The most dropped tokens that a vocabulary remembers, by falling count."""

EMPTY: Final = "a token is the empty string, which no text holds: leave it out (text.split() gives none)"


class Vocab:
    """A numbering of the distinct symbols of a text, the most frequent first.

    Args:
        tokens: the tokens of a training text, or how often each of them occurs.
        level: what a token is.
        min_count: rarer tokens become `<unk>`. None: 2 where singletons are more than 0.1 % of the text
            (their share estimates the mass of unseen symbols, Good 1953), else 1.
        unknown: keep id 0 for `<unk>`. Without it an unseen symbol is an error.
        segmentation: the rules of word boundaries, by which texts are split into words and normalized.

    What `min_count` leaves out is remembered with its counts (`dropped`), for messages.

    In a text the five characters `<unk>` are no token at any level, so they cannot be mistaken for it. In a
    list of words, as in data sets prepared so, `<unk>` is the unknown token and is never counted as a word.

    Raises:
        ConfigError: tokens that the level does not have, or a `min_count` below 1.
        DataError: nothing is left to count.

    Example:
        >>> vocab = Vocab("the time traveller for so the time".split())
        >>> vocab["the"], vocab[["time", "so", "machine"]], vocab.to_tokens(1), len(vocab)
        (1, [2, 4, 0], 'the', 6)
    """

    dropped: dict[str, int]
    """The tokens of the training text that are too rare for the vocabulary, and how often each occurs there."""
    more_dropped: int
    """How many more distinct tokens are too rare, which are not remembered one by one."""

    @checked
    def __init__(
        self,
        tokens: Iterable[str] | Mapping[str, int],
        *,
        level: Level = "word",
        min_count: int | None = 1,
        unknown: bool = True,
        segmentation: Segmentation = "uax29",
    ) -> None:
        if level == "byte":
            raise ConfigError("the vocabulary of bytes does not depend on a text: use Vocab.bytes()")
        counts = _counted(tokens)
        if unknown and level == "word":
            counts.pop(UNKNOWN, None)
        least = _least(counts, min_count, unknown=unknown)
        ranked = sorted((-n, token) for token, n in counts.items())
        kept = sum(n >= least for n in counts.values())
        self._fill(level, [token for _, token in ranked[:kept]], unknown=unknown, segmentation=segmentation)
        self.dropped = {token: -n for n, token in ranked[kept : kept + REMEMBERED]}
        self.more_dropped = max(0, len(ranked) - kept - REMEMBERED)
        _check_characters(self.dropped)

    @classmethod
    @checked
    def chars(cls, text: str, *, min_count: int | None = 1, unknown: bool = True) -> "Vocab":
        """The vocabulary of the characters of a text.

        Args:
            text: the training text.
            min_count: as for `Vocab`.
            unknown: as for `Vocab`.

        Example:
            >>> vocab = Vocab.chars("abracadabra")
            >>> vocab.encode("bad").tolist(), vocab.decode([2, 1, 5])
            ([2, 1, 5], 'bad')
        """
        return cls.from_tokens(TokenSequence.read([text], "char"), min_count=min_count, unknown=unknown)

    @classmethod
    @checked
    def words(cls, text: str | Sequence[str], *, min_count: int | None = 1, unknown: bool = True) -> "Vocab":
        """The vocabulary of the words of a text.

        Args:
            text: the training text, or a list of its words.
            min_count: as for `Vocab`.
            unknown: as for `Vocab`.
        """
        if isinstance(text, str):
            return cls.from_tokens(TokenSequence.read([text], "word"), min_count=min_count, unknown=unknown)
        return cls(text, level="word", min_count=min_count, unknown=unknown)

    @classmethod
    def bytes(cls, segmentation: Segmentation = "uax29") -> "Vocab":
        """The vocabulary of the 256 byte values in numeric order.

        Args:
            segmentation: as for `Vocab`; it decides how a text is normalized.
        """
        return cls._ordered("byte", BYTE_NAMES, unknown=False, segmentation=segmentation)

    @classmethod
    @checked
    def from_tokens(cls, tokens: TokenSequence, *, min_count: int | None = 1, unknown: bool = True) -> "Vocab":
        """The vocabulary of the tokens of a training part, at their level.

        Args:
            tokens: the training part.
            min_count: as for `Vocab`; at level byte it has no effect.
            unknown: as for `Vocab`; at level byte it has no effect.
        """
        rules = tokens.segmentation
        if tokens.level == "byte":
            return cls.bytes(rules)
        counts = dict(zip(tokens.types, tokens.counts().tolist(), strict=True))
        return cls(counts, level=tokens.level, min_count=min_count, unknown=unknown, segmentation=rules)

    @classmethod
    def _ordered(
        cls, level: Level, tokens: Iterable[str], *, unknown: bool, segmentation: Segmentation = "uax29"
    ) -> "Vocab":
        """A vocabulary of tokens in this order."""
        vocab = cls.__new__(cls)
        vocab._fill(level, tokens, unknown=unknown, segmentation=segmentation)
        return vocab

    def _fill(self, level: Level, tokens: Iterable[str], *, unknown: bool, segmentation: Segmentation) -> None:
        self.level: Level = check_level(level)
        self.unknown = unknown
        self.segmentation: Segmentation = check_segmentation(segmentation)
        self.dropped, self.more_dropped = {}, 0
        self.idx_to_token: tuple[str, ...] = (*([UNKNOWN] if unknown else []), *tokens)
        self.token_to_idx: dict[str, int] = {token: i for i, token in enumerate(self.idx_to_token)}
        if len(self) == int(unknown):
            raise DataError("the vocabulary would be empty: give more text, or lower min_count")
        if level == "char" and (wrong := [t for t in self.idx_to_token[int(unknown) :] if len(t) != 1]):
            raise ConfigError(f"at level char every token is one character, but {wrong[0]!r} has {len(wrong[0])}")
        _check_characters(self.idx_to_token)

    def __len__(self) -> int:
        return len(self.idx_to_token)

    def __repr__(self) -> str:
        return f"Vocab({len(self)} {self.level} tokens{', with <unk>' if self.unknown else ''})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocab) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def begins_with(self, other: "Vocab") -> bool:
        """Whether every id of another vocabulary is the same token here.

        Args:
            other: the vocabulary whose ids are read with this one.

        Example:
            >>> Vocab.chars("aab").begins_with(Vocab.chars("aa")), Vocab.chars("aab").begins_with(Vocab.chars("b"))
            (True, False)
        """
        if other is self:
            return True
        kind = (self.level, self.unknown) == (other.level, other.unknown)
        return kind and self.idx_to_token[: len(other)] == other.idx_to_token

    @property
    def _key(self) -> tuple[str, bool, tuple[str, ...], str]:
        return self.level, self.unknown, self.idx_to_token, self.segmentation

    @overload
    def __getitem__(self, tokens: str) -> int: ...
    @overload
    def __getitem__(self, tokens: list[str] | tuple[str, ...]) -> list[int]: ...
    def __getitem__(self, tokens: str | list[str] | tuple[str, ...]) -> int | list[int]:
        """The id of a token, or the ids of several.

        Raises:
            DataError: a token that is not in a vocabulary without `<unk>`.
        """
        if not isinstance(tokens, str):
            if not isinstance(tokens, list | tuple):
                raise ConfigError(f"{shown(tokens)} is no token: give a string, or a list of strings")
            return [self[token] for token in tokens]
        if tokens not in self.token_to_idx and not self.unknown:
            self._refuse([tokens])
        return self.token_to_idx.get(tokens, 0)

    @overload
    def to_tokens(self, ids: int) -> str: ...
    @overload
    def to_tokens(self, ids: "IdsLike") -> list[str]: ...
    def to_tokens(self, ids: "int | IdsLike") -> str | list[str]:
        """The token of an id, or the tokens of several.

        Raises:
            DataError: an id that the vocabulary does not have.
        """
        number = plain(ids)
        if isinstance(number, int):
            return str(self.idx_to_token[as_ids([number], len(self))[0]])
        return [self.idx_to_token[i] for i in as_ids(ids, len(self)).tolist()]

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """The smallest unsigned integer type that holds every id."""
        return unsigned(len(self) - 1)

    def encode(self, text: TextOrTokens, *, consume: bool = False) -> Ids:
        """The ids of a text.

        Args:
            text: a text, its tokens as a `TokenSequence`, or a list of tokens.
            consume: whether the ids may overwrite the codes of a `TokenSequence`, which halves the memory of a long
                text; the sequence cannot be used afterwards.

        Returns:
            (n,) ids of `dtype`.

        Raises:
            DataError: a symbol that is not in a vocabulary without `<unk>`; the message lists them.
            ConfigError: tokens of another level.
        """
        tokens = self._tokens(text)
        if self.level == "byte" and tokens.types == BYTE_NAMES:
            return tokens.codes
        if not self.unknown and (unseen := self.unseen(tokens)):
            self._refuse(unseen)
        ids = np.array([self.token_to_idx.get(token, 0) for token in tokens.types], self.dtype)
        reused = tokens.codes if consume and tokens.codes.dtype == self.dtype else None
        return _looked_up(ids, tokens.codes, reused)

    def unseen(self, text: TextOrTokens) -> list[str]:
        """The distinct symbols of a text that are not in the vocabulary, in order of appearance.

        Example:
            >>> Vocab.chars("abc").unseen("abyxya")
            ['y', 'x']
        """
        tokens = self._tokens(text)
        unseen = tokens[~self.contains(tokens)]
        codes, places = np.unique(unseen.codes, return_index=True)
        return replace(unseen, codes=codes[np.argsort(places)]).tokens()

    def contains(self, tokens: TokenSequence) -> npt.NDArray[np.bool_]:
        """Whether each token is in the vocabulary, (n,)."""
        return _looked_up(np.array([token in self.token_to_idx for token in tokens.types], np.bool_), tokens.codes)

    def _tokens(self, text: TextOrTokens) -> TokenSequence:
        """The tokens of a text, or of a list of tokens that was split elsewhere."""
        if isinstance(text, str):
            return TokenSequence.read([text], self.level, segmentation=self.segmentation)
        if isinstance(text, bytes):
            return TokenSequence.read([text], self.level, segmentation=self.segmentation)
        if not isinstance(text, TokenSequence):
            if not _is_row(text) or not all(isinstance(token, str) for token in text):
                raise DataError(f"{shown(text)} is no text: give a string, bytes, or a list of tokens")
            if "" in text:
                raise DataError(EMPTY)
            place: dict[str, int] = {str(token): i for i, token in enumerate(dict.fromkeys(text))}
            codes = np.array([place[str(token)] for token in text], unsigned(len(place)))
            return TokenSequence(self.level, codes, tuple(place), self.segmentation)
        if text.level != self.level:
            raise ConfigError(f"the vocabulary has {self.level} tokens, the text was split at level {text.level}")
        if self.level == "word" and text.segmentation != self.segmentation:
            raise ConfigError(
                f"the vocabulary has words of segmentation {self.segmentation}, the text was split by "
                f"{text.segmentation}: split it with TokenSequence.read(..., segmentation={self.segmentation!r})"
            )
        return text

    def _refuse(self, unseen: Sequence[str]) -> NoReturn:
        more = f" and {len(unseen) - SHOWN:,} more" if len(unseen) > SHOWN else ""
        shown = ", ".join(map(visible_repr, unseen[:SHOWN]))
        raise DataError(
            f"not in the vocabulary, which has no <unk>: {shown}{more}: "
            "leave them out of the text, or train with unknown symbols allowed"
        )

    def decode(self, ids: IdsLike) -> str:
        """The text of some ids: what was encoded if every symbol is known, but for the spacing of words.

        Unknown characters and bytes that are not UTF-8 are written as U+FFFD, unknown words as `<unk>`.

        Raises:
            DataError: an id that the vocabulary does not have.
        """
        if self.level == "byte":
            return self.decode_bytes(ids).decode("utf-8", "replace")
        tokens = self.to_tokens(ids)
        if self.level == "word":
            return join_words(tokens)
        return "".join(REPLACEMENT if token == UNKNOWN else token for token in tokens)

    def decode_bytes(self, ids: IdsLike) -> builtins.bytes:
        """The bytes of some ids, exactly, at level byte; at the other levels the text in UTF-8.

        Raises:
            DataError: an id that the vocabulary does not have.
        """
        if self.level != "byte":
            return self.decode(ids).encode("utf-8")
        return as_ids(ids, len(self)).astype(np.uint8).tobytes()

    def incremental_decoder(self) -> IncrementalDecoder:
        """A decoder that takes one id at a time.

        Example:
            >>> vocab = Vocab.bytes()
            >>> decoder = vocab.incremental_decoder()
            >>> [decoder.push(int(i)) for i in vocab.encode("né!")]
            ['n', '', 'é', '!']
        """
        return IncrementalDecoder(self)

    @classmethod
    def of(cls, symbols: TokenSequence, *, min_count: int | None = 1, unknown: bool = True) -> "Vocab":
        """The name of 0.1 for `from_tokens`, until 0.3."""
        warnings.warn("Vocab.of is now Vocab.from_tokens", DeprecationWarning, stacklevel=2)
        return cls.from_tokens(symbols, min_count=min_count, unknown=unknown)

    def known(self, symbols: TokenSequence) -> npt.NDArray[np.bool_]:
        """The name of 0.1 for `contains`, until 0.3."""
        warnings.warn("Vocab.known is now Vocab.contains", DeprecationWarning, stacklevel=2)
        return self.contains(symbols)

    def stream(self) -> IncrementalDecoder:
        """The name of 0.1 for `incremental_decoder`, until 0.3."""
        warnings.warn("Vocab.stream is now Vocab.incremental_decoder", DeprecationWarning, stacklevel=2)
        return self.incremental_decoder()

    def to_json(self) -> str:
        """The vocabulary as JSON, one token a line; `<unk>` and the 256 bytes need no line.

        One of segmentation "0.1" is written as that version wrote it, since compressed files hold a digest of this.
        """
        if self.segmentation == "0.1":
            return self.numbering
        more = {"segmentation": self.segmentation, "dropped": self.dropped, "more_dropped": self.more_dropped}
        return _to_json(self._fields | {"version": VERSION} | more)

    @property
    def numbering(self) -> str:
        """The symbols and their ids as JSON, as version 0.1 wrote a vocabulary: digests of texts are made of it."""
        return _to_json(self._fields)

    @property
    def _fields(self) -> dict[str, Any]:
        tokens = [] if self.level == "byte" else self.idx_to_token[int(self.unknown) :]
        return {"format": FORMAT, "version": 1, "level": self.level, "unknown": self.unknown, "tokens": tokens}

    @classmethod
    def from_json(cls, text: str | builtins.bytes, where: str = "the vocabulary") -> "Vocab":
        """The vocabulary that `to_json` wrote.

        Args:
            text: the JSON.
            where: what messages call it, such as the path of its file in quotes.

        Raises:
            ModelError: the text is damaged, or is not a vocabulary.
        """
        fields = strict_json(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text, where)
        try:
            _check(fields)
            rules: Segmentation = fields.get("segmentation", "0.1")
            if fields["level"] == "byte":
                return cls.bytes(rules)
            vocab = cls._ordered(fields["level"], fields["tokens"], unknown=fields["unknown"], segmentation=rules)
            vocab.dropped, vocab.more_dropped = fields.get("dropped", {}), fields.get("more_dropped", 0)
            return vocab
        except (ValueError, ConfigError, DataError) as error:
            raise damaged(where, str(error)) from error

    @checked
    def save(self, path: str | Path) -> None:
        """Write the vocabulary as JSON into a file; if that fails, the file is as it was before.

        Raises:
            ConfigError: the file would be too large to be read again.
            StorageError: the file cannot be written.
        """
        content = self.to_json().encode("utf-8")
        if len(content) > JSON_LIMIT:
            raise ConfigError(f"a vocabulary of {len(self):,} tokens is too large to be saved: raise min_count")
        replace_file(Path(path), content)

    @classmethod
    @checked
    def load(cls, path: str | Path) -> "Vocab":
        """The vocabulary that `save` wrote into a file.

        Raises:
            ModelError: the file is missing, damaged, foreign or too large to be a vocabulary.
            StorageError: permission is missing, or the disk fails.
        """
        return cls.from_json(read_limited(Path(path), ModelError, "the vocabulary", JSON_LIMIT), quoted(path))


def visible_repr(token: str) -> str:
    r"""A token in quotes, with escapes where it cannot be seen: control characters, and marks that begin it.

    Example:
        >>> [visible_repr(token) for token in ("é", "\u0301", "\u093f", "\r", "\u200d")]
        ["'é'", "'\\u0301'", "'\\u093f'", "'\\r'", "'\\u200d'"]
    """
    return ascii(token) if extends(token[0]) else repr(token)


def _check_characters(tokens: Iterable[str]) -> None:
    try:
        "".join(tokens).encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError("a token holds half of a surrogate pair, which is not a character: remove it") from error


def _to_json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, indent=0) + "\n"


def _looked_up(
    table: npt.NDArray[Element], codes: Codes, out: npt.NDArray[Element] | None = None
) -> npt.NDArray[Element]:
    """table[codes], in blocks: numpy widens indices to 8 bytes each (and so may write where it read)."""
    found = np.empty(len(codes), table.dtype) if out is None else out
    for part in blocks(len(codes), COUNTED_AT_ONCE):
        np.take(table, codes[part], out=found[part], mode="clip")  # no code lies beyond the table
    return found


def _is_row(tokens: object) -> bool:
    """Whether this is a sequence of one dimension."""
    return isinstance(tokens, Sequence) or (isinstance(tokens, np.ndarray) and tokens.ndim == 1)


def _counted(tokens: Iterable[str] | Mapping[str, int]) -> Counter[str]:
    """How often each token occurs.

    Raises:
        ConfigError: no strings, an empty one, or numbers of them that are no whole numbers or below 0.
    """
    try:
        counts: Counter[str] = Counter()
        counts.update({token: plain(n) for token, n in tokens.items()} if isinstance(tokens, Mapping) else tokens)
    except TypeError:
        raise ConfigError(f"the tokens are {shown(tokens)}: give strings, or how often each occurs") from None
    for token, n in counts.items():
        if not isinstance(token, str):
            raise ConfigError(f"a token is {shown(token)}: give strings, or how often each occurs")
        if not token:
            raise ConfigError(EMPTY)
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise ConfigError(
                f"the token {shown(token)} is said to occur {shown(n)} times: give a whole number, 0 or more"
            )
    return +counts


def _least(counts: Counter[str], min_count: int | None, *, unknown: bool) -> int:
    """The count from which on a token is in the vocabulary.

        P(unseen) ~ N_1 / N        N_1 tokens that occur once, N tokens (Good 1953)

    Rare tokens are dropped only where there is an `<unk>` for them, and never all of them.
    """
    if min_count is not None:
        if min_count < 1:
            raise ConfigError(f"min_count is {min_count}, but a count is at least 1")
        return min_count if unknown else 1
    once = sum(n == 1 for n in counts.values())
    return 2 if unknown and RARE_MASS * counts.total() < once < len(counts) else 1


def _check(fields: Any) -> None:
    """Raise ValueError unless these are the fields of a vocabulary."""
    names = ["format", "version", "level", "unknown", "tokens"]
    if not isinstance(fields, dict) or not fields.keys() >= {*names} or fields["format"] != FORMAT:
        raise ValueError(f"not an {FORMAT} with the fields {', '.join(names)}")
    if type(fields["version"]) is not int or not 1 <= fields["version"] <= VERSION:
        raise ValueError(f"version {fields['version']!r:.60}, this release reads 1 to {VERSION}")
    names += ["segmentation", "dropped", "more_dropped"] if fields["version"] > 1 else []
    if sorted(fields) != sorted(names):
        raise ValueError(f"not an {FORMAT} with the fields {', '.join(names)}")
    if fields["version"] > 1:
        _check_dropped(fields)
    if fields["level"] not in LEVELS or not isinstance(fields["unknown"], bool):
        raise ValueError("level or unknown has an impossible value")
    tokens = fields["tokens"]
    if not isinstance(tokens, list) or not all(isinstance(token, str) and token for token in tokens):
        raise ValueError("tokens is not a list of strings")
    if len({*tokens, *([UNKNOWN] if fields["unknown"] else [])}) != len(tokens) + fields["unknown"]:
        raise ValueError("a token occurs twice")
    if fields["level"] == "byte" and (tokens or fields["unknown"] or fields.get("dropped")):
        raise ValueError("level byte has its 256 values and no others")


def _check_dropped(fields: Any) -> None:
    """Raise ValueError unless the fields that version 2 added are possible."""
    if fields["segmentation"] not in SEGMENTATIONS[:1]:
        raise ValueError("segmentation has an impossible value")
    dropped, more = fields["dropped"], fields["more_dropped"]
    if not isinstance(dropped, dict) or not all(type(n) is int and n > 0 for n in dropped.values()):
        raise ValueError("dropped does not have a count for each token")
    if isinstance(fields["tokens"], list) and not dropped.keys().isdisjoint(map(str, fields["tokens"])):
        raise ValueError("a token is in the vocabulary and dropped from it")
    _check_characters(dropped)
    if type(more) is not int or more < 0 or len(dropped) > REMEMBERED:
        raise ValueError("dropped or more_dropped has an impossible number")
