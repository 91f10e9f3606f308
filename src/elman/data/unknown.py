"""Tokens that a vocabulary lacks: which they are, how many, why, and what helps."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from elman.data.batches import token_counts
from elman.data.corpus import Split
from elman.data.vocab import Vocab, visible_repr

MOST: Final = 10
"""Unknown symbols that a message lists."""
MIN_COUNT: Final = "min_count = 1 in the configuration"
"""What keeps rare symbols in the vocabulary of a training."""


def times(count: int) -> str:
    """A number of occurrences in words.

    Example:
        >>> times(1), times(2), times(1000)
        ('once', 'twice', '1,000 times')
    """
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def unknown_summary(part: Split, vocab: Vocab) -> dict[str, Any]:
    """The unknown tokens of a text, as JSON values.

    Args:
        part: the text.
        vocab: the vocabulary by which it was numbered.

    Returns:
        `tokens`: how many are unknown; `different`: how many distinct ones; `too_rare`: how many of the tokens stand in
        the training text, but too rarely to be in the vocabulary, None where that is not known (a vocabulary of version
        0.1); `most_frequent`: the ten most frequent, with their counts.
    """
    found = part.originals
    types = found.types if found is not None else ()
    counts = np.bincount(found.spellings, minlength=len(types)) if found is not None else np.zeros(0, np.int64)
    remembers = vocab.segmentation != "0.1" and not vocab.more_dropped
    rare = sum(int(counts[i]) for i, token in enumerate(types) if counts[i] and token in vocab.dropped)
    top = [i for i in np.argsort(-counts, kind="stable")[:MOST].tolist() if counts[i]]
    return {
        "tokens": part.unknown,
        "different": int(np.count_nonzero(counts)),
        "too_rare": rare if remembers else None,
        "most_frequent": {types[i]: int(counts[i]) for i in top},
    }


def symbol_count(part: Split, vocab: Vocab, counts: npt.NDArray[np.int64]) -> int:
    """How many different symbols a text and the training text hold, as they stand in them.

    Args:
        part: the text.
        vocab: the vocabulary by which it was numbered.
        counts: of the training tokens, (V,).
    """
    known = (counts > 0) | (token_counts(part.ids, len(vocab)) > 0)
    known[: int(vocab.unknown)] = False
    spelt = set(vocab.dropped)
    if part.originals is not None:
        spelt |= {part.originals.types[code] for code in np.unique(part.originals.spellings).tolist()}
    return int(known.sum()) + len(spelt)


def unknown_sentence(name: str, summary: Mapping[str, Any], *, has_unknown: bool) -> str:
    """What a report says of the unknown tokens of a text.

    Args:
        name: of the text: "held-out", "train", or the path of a file.
        summary: of `unknown_summary`, with one token or more.
        has_unknown: whether the vocabulary has `<unk>`.

    Example:
        >>> unknown_sentence(
        ...     "held-out",
        ...     {"tokens": 5, "different": 2, "too_rare": 3, "most_frequent": {"verdict": 3, "zeal": 2}},
        ...     has_unknown=True,
        ... )
        "5 held-out tokens are not in the vocabulary, and scored as <unk>: 3 are too rare in the training text (min_count = 1 in the configuration keeps them), 2 are not in it. Unknown: 'verdict' 3, 'zeal' 2."
    """  # noqa: E501 - what is printed is one line
    number, rare = summary["tokens"], summary["too_rare"]
    subject = " ".join(filter(None, [f"{number:,}", name, "token is" if number == 1 else "tokens are"]))
    fate = "scored as <unk>" if has_unknown else "left out"
    reasons = ""
    if rare:
        subjects = "all are" if number == rare > 1 else _are(rare)
        reasons = f": {subjects} too rare in the training text ({MIN_COUNT} keeps them)"
        reasons += f", {_are(number - rare)} not in it" if number > rare else ""
    listed = ", ".join(f"{visible_repr(token)} {count:,}" for token, count in summary["most_frequent"].items())
    heading = "Unknown" if summary["different"] <= MOST else f"The most frequent of {summary['different']:,} unknown"
    return f"{subject} not in the vocabulary, and {fate}{reasons}." + (f" {heading}: {listed}." if listed else "")


def _are(number: int) -> str:
    return "1 is" if number == 1 else f"{number:,} are"


def reasons_unknown(vocab: Vocab, symbols: Sequence[str]) -> str:
    """Symbols that a vocabulary lacks, each with the reason; those of one reason stand together.

    Args:
        vocab: the vocabulary.
        symbols: distinct symbols that it lacks.

    Example:
        >>> reasons_unknown(Vocab.words("a a a b c c", min_count=3), ["b", "c", "d"])
        "'b': too rare in the training text (once); 'c': too rare in the training text (twice); 'd': not in the training text"
    """  # noqa: E501 - what is printed is one line
    groups: dict[str, list[str]] = {}
    for symbol in symbols:
        groups.setdefault(_reason(vocab, symbol), []).append(symbol)
    return "; ".join(f"{_listed(each)}: {reason}" for reason, each in groups.items())


def _reason(vocab: Vocab, symbol: str) -> str:
    if symbol in vocab.dropped:
        return f"too rare in the training text ({times(vocab.dropped[symbol])})"
    if vocab.segmentation == "0.1":
        return "not in the vocabulary"
    if vocab.more_dropped:
        return "too rare in the training text, or not in it"
    return "not in the training text"


def _listed(symbols: Sequence[str]) -> str:
    more = ", ..." if len(symbols) > MOST else ""
    return ", ".join(map(visible_repr, symbols[:MOST])) + more
