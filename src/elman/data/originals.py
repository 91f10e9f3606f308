"""What the ids of a text do not hold, so that the text itself can be given back.

text = gap_1 token_1 gap_2 token_2 ... gap_n token_n tail

spelling      of the tokens that the vocabulary lacks; all of them are one id, or are left out
white space   before each word and after the last; characters and bytes have none
marks         byte order marks of its files, as if all of them stood at its beginning
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from elman.data.files import MARK
from elman.data.tokens import Codes, TokenSequence, unsigned
from elman.data.vocab import Ids, Vocab

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Originals:
    """The spelling of unknown tokens and the white space between words, in the order in which a model reads.

    Args:
        length: N, the tokens of the text; those that were left out are among them.
        places: (k,) which of them are not in the vocabulary, ascending.
        spellings: (k,) the index in `types` of each.
        types: the distinct unknown tokens.
        gaps: (N,) the index in `gap_types` of the white space before each token in the text; None: there is none.
        gap_types: the distinct stretches of white space.
        tail: white space after the last token of the text.
        marks: byte order marks of the text.
        dropped: whether unknown tokens were left out of the ids; else they are `<unk>`.
        reverse: whether the order is the reverse of that of the text.
    """

    length: int
    places: Places
    spellings: Codes
    types: tuple[str, ...]
    gaps: Codes | None = None
    gap_types: tuple[str, ...] = ()
    tail: str = ""
    marks: int = 0
    dropped: bool = False
    reverse: bool = False

    @classmethod
    def of(cls, tokens: TokenSequence, vocab: Vocab) -> "Originals":
        """What the ids of a text lose.

        Args:
            tokens: the text.
            vocab: the vocabulary that numbers it, at the same level.
        """
        if vocab.level == "byte":
            return cls(len(tokens), np.empty(0, np.int64), np.empty(0, np.uint8), (), marks=tokens.marks)
        unknown = np.array([token not in vocab.token_to_idx for token in tokens.types], np.bool_)
        places = np.flatnonzero(unknown[tokens.codes]) if unknown.any() else np.empty(0, np.int64)
        found, spellings = np.unique(tokens.codes[places], return_inverse=True)
        types = tuple(tokens.types[code] for code in found.tolist())
        gaps, gap_types = tokens.white_space() if vocab.level == "word" else (None, ())
        spelt = spellings.astype(unsigned(max(len(types) - 1, 0)))
        return cls(
            len(tokens), places, spelt, types, gaps, gap_types, tokens.tail, tokens.marks, dropped=not vocab.unknown
        )

    @property
    def unknown(self) -> int:
        """How many tokens are not in the vocabulary."""
        return len(self.places)

    def reversed(self) -> "Originals":
        """The same of the same tokens in reverse order."""
        return replace(
            self,
            places=self.length - 1 - self.places[::-1],
            spellings=self.spellings[::-1],
            gaps=None if self.gaps is None else self.gaps[::-1],
            reverse=not self.reverse,
        )

    def first(self, count: int) -> "Originals":
        """The same of the first `count` ids, and of the tokens that were left out between them."""
        length = min(count, self.length)
        if self.dropped and count:
            length = int(np.flatnonzero(self.known)[:count][-1]) + 1
        if length == self.length:
            return self
        few = int(np.searchsorted(self.places, length))
        return replace(
            self,
            length=length,
            places=self.places[:few],
            spellings=self.spellings[:few],
            gaps=None if self.gaps is None else self.gaps[:length],
            tail=self.tail if self.reverse else "",
            marks=0 if self.reverse else self.marks,
        )

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Whether the vocabulary holds each token of the text, (N,)."""
        known = np.ones(self.length, np.bool_)
        known[self.places] = False
        return known

    def values(self, ids: Ids, of_ids: npt.NDArray[np.int64], function: Callable[[str], int]) -> npt.NDArray[np.int64]:
        """A number for each token of the text, (N,), by its spelling.

        Args:
            ids: the tokens that are in the vocabulary, or with `<unk>` for the others.
            of_ids: the number of each id, (V,).
            function: the number of a spelling that is not in the vocabulary.
        """
        each = np.empty(self.length, np.int64)
        each[self.known if self.dropped else slice(None)] = of_ids[ids]
        if self.unknown:
            each[self.places] = np.array([function(token) for token in self.types], np.int64)[self.spellings]
        return each

    def tokens(self, ids: Ids, vocab: Vocab) -> list[str]:
        """The tokens of the text as they stand in it, in the order of reading.

        Args:
            ids: as for `values`.
            vocab: the vocabulary of the ids.
        """
        found = [""] * self.length
        kept = np.flatnonzero(self.known).tolist() if self.dropped else range(self.length)
        for place, token in zip(kept, ids.tolist(), strict=True):
            found[place] = vocab.idx_to_token[token]
        for place, code in zip(self.places.tolist(), self.spellings.tolist(), strict=True):
            found[place] = self.types[code]
        return found

    def white_space(self) -> list[str]:
        """The white space before each token and after the last, (N + 1,), in the order of the text."""
        if self.gaps is None:
            return []
        gaps = self.gaps[::-1] if self.reverse else self.gaps
        return [*(self.gap_types[gap] for gap in gaps.tolist()), self.tail]

    def text(self, ids: Ids, vocab: Vocab) -> str:
        """The text itself, its byte order marks included, at level char or word.

        Args:
            ids: as for `values`.
            vocab: the vocabulary of the ids.
        """
        tokens = self.tokens(ids, vocab)
        if self.reverse:
            tokens.reverse()
        before = MARK * self.marks
        if self.gaps is None:
            return before + "".join(tokens)
        return before + "".join(gap + token for gap, token in zip(self.white_space(), [*tokens, ""], strict=True))
