"""Counting in English words: one , two , three , ... (the human numbers of Howard and Thomas 2019, generated).

    training  1 .. 7999       50,078 words
    held out  8001 .. 9999    13,016 words

30 different words: 19 numbers below twenty, 8 tens, hundred, thousand, and the comma between the numbers.
"""

from collections.abc import Iterator
from typing import Final

from elman.data.sources.base import Source

SEPARATOR: Final = " , "
BELOW_TWENTY: Final = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen
""".split()  # noqa: SIM905 - twenty words in quotes are twenty lines
TENS: Final = (*"--", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def in_words(number: int) -> str:
    """A number from 1 to 9999 in English words, without "and" and hyphens.

    Example:
        >>> in_words(1312), in_words(8040)
        ('one thousand three hundred twelve', 'eight thousand forty')
    """
    thousands, hundreds, rest = number // 1000, number // 100 % 10, number % 100
    words = [BELOW_TWENTY[thousands], "thousand"] if thousands else []
    words += [BELOW_TWENTY[hundreds], "hundred"] if hundreds else []
    if rest >= 20:
        words.append(TENS[rest // 10])
        rest %= 10
    return " ".join([*words, BELOW_TWENTY[rest]] if rest else words)


def training() -> Iterator[str]:
    """The numbers 1 to 7999."""
    yield SEPARATOR.join(map(in_words, range(1, 8000)))


def held_out() -> Iterator[str]:
    """The numbers 8001 to 9999."""
    yield SEPARATOR.join(map(in_words, range(8001, 10000)))


def text() -> Iterator[str]:
    """All of them, in order."""
    yield from training()
    yield SEPARATOR
    yield from held_out()


SOURCE = Source(
    name="human-numbers",
    description="numbers in English words: 1 to 7999 for training, 8001 to 9999 held out",
    text=text,
    level="word",
    split=(training, held_out),
).register()
