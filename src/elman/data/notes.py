"""What a user should know of a text before its figures: odd or mixed line ends, a script without spaces."""

from collections.abc import Mapping
from typing import Final, Literal

from elman.data.batches import token_counts
from elman.data.segmentation import starts_without_spaces
from elman.data.tokens import NEWLINE, TokenSequence

LineEnds = Literal["", "LF", "CR LF", "CR LF and LF", "CR"]
UNSPACED: Final = 0.3
"""The share of the words of a text, in a script without spaces, from which on a note is given."""


def line_ends(tokens: TokenSequence) -> LineEnds:
    """How the lines of a text end; "" where it has none. Of words only CR alone is told, which lies between them."""
    counts = dict(zip(tokens.types, tokens.counts().tolist(), strict=True))
    if tokens.level == "word":
        gaps, stretches = tokens.white_space()
        holding = [i for i, stretch in enumerate(stretches) if "\r" in stretch]
        between = bool(holding) and bool(token_counts(gaps, len(stretches))[holding].any())
        return "CR" if not counts.get(NEWLINE) and (between or "\r" in tokens.tail) else ""
    return kind_of_line_ends(counts.get("\r", 0), counts.get("\n", 0))


def kind_of_line_ends(returns: int, feeds: int) -> LineEnds:
    """How lines end, by the number of carriage returns and of line feeds.

    Example:
        >>> kind_of_line_ends(0, 9), kind_of_line_ends(9, 9), kind_of_line_ends(3, 9), kind_of_line_ends(9, 0)
        ('LF', 'CR LF', 'CR LF and LF', 'CR')
    """
    if not feeds:
        return "CR" if returns else ""
    return "LF" if not returns else "CR LF" if returns >= feeds else "CR LF and LF"


def line_end_notes(ends: Mapping[str, LineEnds]) -> tuple[str, ...]:
    """A sentence where the lines of texts that belong together end differently, or with CR alone.

    Args:
        ends: those of each text, by the name of the text.

    Example:
        >>> line_end_notes({"the training text": "LF", "the held-out text": "CR LF"})[0]
        'Lines end with LF in the training text and with CR LF in the held-out text: convert them to one (dos2unix).'
        >>> line_end_notes({"the training text": "LF", "the held-out text": "LF"})
        ()
    """
    known = {name: kind for name, kind in ends.items() if kind}
    if {*known.values()} == {"CR"}:
        return ("Lines end with CR alone, which is not read as the end of a line: convert them to LF (mac2unix).",)
    if len({*known.values()} - {"CR LF and LF"}) < 2 and "CR LF and LF" not in known.values():
        return ()
    listed = " and ".join(f"with {kind.replace(' and ', ' or ')} in {name}" for name, kind in known.items())
    tools = "dos2unix, mac2unix" if "CR" in known.values() else "dos2unix"
    return (f"Lines end {listed}: convert them to one ({tools}).",)


def unspaced_notes(tokens: TokenSequence) -> tuple[str, ...]:
    """A sentence where most words are of a script that does not write spaces: there, words are mostly characters."""
    if tokens.level != "word" or not len(tokens):
        return ()
    counts = tokens.counts().tolist()
    number = sum(n for token, n in zip(tokens.types, counts, strict=True) if n and starts_without_spaces(token))
    if number < UNSPACED * len(tokens):
        return ()
    how = "each character is a word of its own" if tokens.segmentation == "uax29" else "a whole clause is one word"
    return (
        f"{number / len(tokens):.0%} of the words are of a script that writes no spaces between words, where {how}: "
        "--tokens char suits it better.",
    )
