"""Inputs that parsers stumble over, and changes of a good input at random places."""

import random
from collections.abc import Iterator

DEEP = 3000
NUMBERS = (
    "true", "false", "1", "0", "-1", "1.0", "1.5", "1e308", "-1e308",
    "1e309", "1e999999999", "1e-400", "nan", "NaN", "-inf",
    "Infinity",
    "9" * 19, "9" * 6000, "-" + "9" * 6000, "1" + "0" * 308, "0x10", "1_000", "٣", "３", "²", "Ⅷ", "1e", "--1", "+",
    "0.1.2", "1,5", "00", "-0", "1e-308", "9007199254740993", "18446744073709551616",
)  # fmt: skip
"""What may stand for a number."""
DATES = (
    "0000-01-01", "9999-12-31", "-001-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2024-02-30",
    "2024-13-01", "1e308", "24:00", "99999999", "00000000", "2024-W01", "2024-001", "10000-01-01", "٢٠٢٤-٠١-٠١",
    "2024-01-01T00:00:60", "1969-12-31T23:59:59.999999", "2024-01-01T00:00:00+99:99", "180001", "219912",
)  # fmt: skip
"""What may stand for a time."""
TEXTS = (
    "", " ", "\n", "\r", "\r\n", "\0", "\x1b[31m", "\x7f", "\x85", "\u2028", "\ufeff", "\ufffe", "\u202e", "\u0301",
    "😀",
    "é", '"', "'", '"""', "'''", "\\", "\\u0000", "\\ud800", "\\U00110000", "=", "[", "]", "[[", "{", "}", ",", ";",
    "#", ".", ":", "|", "\t", "a" * 100_000, "a." * 2000, "null", "None", "..", "/dev/zero", "%s%n", "*", "-", "--help",
)  # fmt: skip
"""What may stand anywhere."""
BYTES = (
    b"\xff\xfe",
    b"\xfe\xff",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"\x80",
    b"\xf8",
    b"\0\0",
    b"\x1f\x8b",
)
"""Bytes that are no UTF-8, or mark another encoding."""


def changed(data: bytes, chance: random.Random) -> bytes:
    """The data with one to three changes at random places.

    Args:
        data: what a parser accepts.
        chance: where and what.
    """
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        data = chance.choice(_CHANGES)(data, chance)
    return data


def _place(data: bytes, chance: random.Random) -> tuple[int, int]:
    begin = chance.randint(0, len(data))
    return begin, min(len(data), begin + chance.choice((0, 1, 1, 2, 5, 20)))


def _odd(chance: random.Random) -> bytes:
    kind = chance.randrange(4)
    if kind == 3:
        return chance.choice(BYTES)
    return chance.choice((NUMBERS, DATES, TEXTS)[kind]).encode("utf-8", "surrogatepass")


def _insert(data: bytes, chance: random.Random) -> bytes:
    begin, end = _place(data, chance)
    return data[:begin] + _odd(chance) + data[end:]


def _value(data: bytes, chance: random.Random) -> bytes:
    """Replace a word or a number."""
    edges = [i for i, byte in enumerate(data) if not chr(byte).isalnum() and byte not in b"-._+"]
    if len(edges) < 2:
        return data + _odd(chance)
    i = chance.randrange(len(edges) - 1)
    return data[: edges[i] + 1] + _odd(chance) + data[edges[i + 1] :]


def _cut(data: bytes, chance: random.Random) -> bytes:
    begin, _ = _place(data, chance)
    return data[:begin] if chance.random() < 0.5 else data[begin:]


def _repeat(data: bytes, chance: random.Random) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    i = chance.randrange(len(lines))
    return b"".join([*lines[: i + 1], *[lines[i]] * chance.choice((1, 2, 50)), *lines[i + 1 :]])


def _drop(data: bytes, chance: random.Random) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    i = chance.randrange(len(lines))
    return b"".join(lines[:i] + lines[i + 1 :])


def _swap(data: bytes, chance: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    chance.shuffle(lines)
    return b"".join(lines)


def _nest(data: bytes, chance: random.Random) -> bytes:
    begin, end = _place(data, chance)
    deep = chance.choice((2, 100, DEEP))
    opened, closed = chance.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"{a=", b"}"), (b'"', b'"')))
    return data[:begin] + opened * deep + (closed * deep if chance.random() < 0.7 else b"") + data[end:]


def _flip(data: bytes, chance: random.Random) -> bytes:
    if not data:
        return b"\0"
    i = chance.randrange(len(data))
    return data[:i] + bytes([data[i] ^ 1 << chance.randrange(8)]) + data[i + 1 :]


_CHANGES = (_insert, _insert, _value, _value, _value, _value, _cut, _repeat, _drop, _swap, _nest, _flip)


def listed() -> Iterator[bytes]:
    """Whole inputs that are hostile by themselves, whatever the format."""
    yield from (b"", b"\n", b"\r", b"\0", b"\xef\xbb\xbf", b" ", b"\xff\xfea\0", b'"', b"'", b"\x1f\x8b", b"PAR1", b"#")
    yield from (b"[" * DEEP + b"]" * DEEP, b"[" * 100_000, b'{"a":' * DEEP + b"1" + b"}" * DEEP, b"a." * DEEP + b"b=1")
    yield from (b"x" * 1_000_000, b"\n" * 1_000_000, b"," * 1_000_000, b'"' + b"a" * 1_000_000, b"a=" + b"[" * DEEP)
