"""A file as tokens and all that is not in the tokens, so that its bytes come back exactly.

    file = gap_0 token_1 gap_1 token_2 ... token_n gap_n        gaps are white space, at level word only

Nothing is dropped: a byte order mark, line ends, NUL and bytes that are not UTF-8 are symbols like any other, which
most vocabularies do not have. A symbol that is not in the vocabulary is an escape: it is kept as bytes.
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
        if vocab.level == "byte":
            return cls(np.frombuffer(data, np.uint8).astype(np.int64), {}, [])
        text = data.decode("utf-8", SURROGATE)
        tokens, whitespace = (text, []) if vocab.level == "char" else _words(text, vocab)
        unknown = unknown_id(vocab)
        ids = np.fromiter((vocab.token_to_idx.get(t, unknown) for t in tokens), np.int64, len(tokens))
        return cls(ids, {i: _to_bytes(tokens[i]) for i in np.flatnonzero(ids == unknown).tolist()}, whitespace)

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
        tokens = [self.token_at(i, names) for i in range(len(self.ids))]
        if not self.whitespace:
            return b"".join(tokens)
        return b"".join(gap + token for gap, token in zip(self.whitespace, [*tokens, b""], strict=True))


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
