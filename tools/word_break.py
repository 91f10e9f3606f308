"""Write `src/elman/data/word_break.py`: two properties of Unicode, as the package `regex` knows them.

    pip install regex
    python tools/word_break.py

They are kept as a file so that a text has the same words on every Python, whose own tables differ.
"""

import re
import textwrap
from importlib.metadata import metadata
from pathlib import Path

import regex

TARGET = Path(__file__).parent.parent / "src/elman/data/word_break.py"
NAMES = {
    "ALETTER": r"\p{WB=ALetter}",
    "HEBREW_LETTER": r"\p{WB=Hebrew_Letter}",
    "KATAKANA": r"\p{WB=Katakana}",
    "NUMERIC": r"\p{WB=Numeric}",
    "EXTEND_NUM_LET": r"\p{WB=ExtendNumLet}",
    "EXTEND_FORMAT": r"[\p{WB=Extend}\p{WB=Format}]",
    "MID_LETTER": r"\p{WB=MidLetter}",
    "MID_NUM_LET": r"\p{WB=MidNumLet}",
    "MID_NUM": r"\p{WB=MidNum}",
    "PICTOGRAPHIC": r"\p{Extended_Pictographic}",
}
HEAD = '''"""Characters by Word_Break (UAX 29, table 3) and Extended_Pictographic (UTS 51), Unicode {version}.

Ranges of code points in hexadecimal, made by tools/word_break.py. Values of one character are in `segmentation`.
"""

from typing import Final
'''


def ranges(pattern: str, characters: str) -> str:
    """The characters that match, as ranges of code points."""
    runs = ((ord(run[0][0]), ord(run[0][-1])) for run in regex.finditer(f"{pattern}+", characters))
    return " ".join(f"{first:X}" if first == last else f"{first:X}-{last:X}" for first, last in runs)


def main() -> None:
    """Write the module."""
    characters = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    version = re.findall(r"supports Unicode ([\d.]+\d)", str(metadata("regex").json))[0]
    lines = [HEAD.format(version=version)]
    for name, pattern in NAMES.items():
        wrapped = textwrap.wrap(ranges(pattern, characters), 112)
        lines.append(f'{name}: Final = """\n' + "\n".join(wrapped) + '\n"""')
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
