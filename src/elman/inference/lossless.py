"""A file as tokens and all that the tokens leave out, so that its bytes come back exactly.

    file = gap_0 token_1 gap_1 token_2 ... token_n gap_n        gaps are white space, at level word only

Nothing is dropped on the way: a byte order mark, line ends, NUL and bytes that are not UTF-8 are symbols like any
other, which most vocabularies lack. What a vocabulary lacks is spelt.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from elman.data.cleaning import cleaning
from elman.data.tokens import spans
from elman.data.vocab import Vocab
from elman.errors import DataError

SURROGATE: Final = "surrogateescape"
"""How a byte that is not UTF-8 becomes a symbol: U+DC80 to U+DCFF, which no vocabulary holds."""


def missing(vocab: Vocab) -> int:
    """The id of what a vocabulary lacks: that of `<unk>`; -1 where it has none; 256, no id, as bytes lack nothing."""
    return 0 if vocab.unknown else 256 if vocab.level == "byte" else -1


@dataclass(eq=False)
class LosslessTokens:
    """A file, cut for a vocabulary; `decode` puts it together."""

    ids: npt.NDArray[np.int64]
    """(n,), `missing` where a token is spelt."""
    escapes: dict[int, bytes]
    """The tokens that the vocabulary lacks, by their place."""
    whitespace: list[bytes]
    """What stands before each token and after the last, (n + 1,) at level word; empty at the other levels."""

    @classmethod
    def encode(cls, data: bytes, vocab: Vocab, clean: str = "none") -> "LosslessTokens":
        r"""The bytes of a file as tokens of a vocabulary.

        Raises:
            DataError: the text is not as the cleaning leaves it, which could not be undone.

        Example:
            >>> cut = Exact.cut(b"a  b,\xff", Vocab.words("a b c"))
            >>> cut.ids.tolist(), cut.spelt, cut.gaps
            ([1, 2, 0, 0], {2: b',', 3: b'\xff'}, [b'', b'  ', b'', b'', b''])
        """
        if clean != "none":
            _check_clean(data, clean)
        if vocab.level == "byte":
            return cls(np.frombuffer(data, np.uint8).astype(np.int64), {}, [])
        text = data.decode("utf-8", SURROGATE)
        tokens, whitespace = (text, []) if vocab.level == "char" else _words(text)
        lacking = missing(vocab)
        ids = np.fromiter((vocab.token_to_idx.get(t, lacking) for t in tokens), np.int64, len(tokens))
        return cls(ids, {i: _encoded(tokens[i]) for i in np.flatnonzero(ids == lacking).tolist()}, whitespace)

    @classmethod
    def empty(cls, n: int, vocab: Vocab) -> "LosslessTokens":
        """Room for n tokens."""
        return cls(np.zeros(n, np.int64), {}, [b""] * (n + 1 if vocab.level == "word" else 0))

    def written(self, place: int, names: list[bytes]) -> bytes:
        """The bytes of the token at a place; `names` are those of the vocabulary (`token_bytes`)."""
        return self.escapes[place] if place in self.escapes else names[self.ids[place]]

    def decode(self, names: list[bytes]) -> bytes:
        """The bytes of the file; `names` are those of the vocabulary."""
        tokens = [self.written(i, names) for i in range(len(self.ids))]
        if not self.whitespace:
            return b"".join(tokens)
        return b"".join(gap + token for gap, token in zip(self.whitespace, [*tokens, b""], strict=True))


def token_bytes(vocab: Vocab) -> list[bytes]:
    """What each token of a vocabulary is in a file."""
    if vocab.level == "byte":
        return [bytes([value]) for value in range(256)]
    return [token.encode() for token in vocab.idx_to_token]


def _encoded(text: str) -> bytes:
    """The bytes that were read as this text."""
    return text.encode("utf-8", SURROGATE)


def _words(text: str) -> tuple[list[str], list[bytes]]:
    """The words of a text and what stands before each and after the last."""
    tokens, whitespace, end = [], [], 0
    for start, stop in spans(text):
        tokens.append(text[start:stop])
        whitespace.append(_encoded(text[end:start]))
        end = stop
    return tokens, [*whitespace, _encoded(text[end:])]


def _check_clean(data: bytes, clean: str) -> None:
    text = data.decode("utf-8", SURROGATE)
    cleaned = cleaning(clean)(text)
    if cleaned != text:
        pairs = zip(text, cleaned, strict=False)
        same = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(text), len(cleaned)))
        raise DataError(
            f"the model reads texts after the cleaning {clean!r}, which would change this one at character "
            f"{same:,} and could not be undone: give a text that is clean already, or "
            "use a model trained with --clean none"
        )
