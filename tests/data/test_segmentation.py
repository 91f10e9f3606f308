"""Word boundaries: against the rules of UAX 29 one by one on a few characters, and examples of many scripts."""

import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data import segmentation as module
from elman.data.segmentation import SEGMENTATIONS, check_segmentation, extends, starts_without_spaces, words
from elman.errors import ConfigError

# Word_Break of a few characters, as table 3 of UAX 29 has it.
LETTER, HEBREW, KATAKANA, NUMERIC, JOINER = "abé\u02bcक", "אב", "カー", "1٣", "_\u203f"
EXTEND, ZWJ = "\u0301\u093f\u094d\u200c\u00ad\ufe0f", "\u200d"
MID_LETTER, MID_NUM_LET, MID_NUM, SINGLE, DOUBLE = ":\u00b7", ".\u2019", ",;", "'", '"'
REGIONAL, PICTOGRAPH, WHITE, OTHER = "🇩🇪", "👩\u2764", " \t\r\u00a0\u3000\u2028", "時か-!\u0e01\u200b"
ALPHABET = "".join((LETTER, HEBREW, KATAKANA, NUMERIC, JOINER, EXTEND, ZWJ, MID_LETTER, MID_NUM_LET, MID_NUM))
ALPHABET += "".join((SINGLE, DOUBLE, REGIONAL, PICTOGRAPH, WHITE, OTHER, "\n"))
texts = st.text(st.sampled_from(ALPHABET), max_size=12) | st.text(st.sampled_from("ab1_.:',;\" \n-\r"), max_size=12)


def joined(before, after, following):
    """Whether UAX 29 joins two characters; what extends is in no argument."""
    left, left2, ah = before[-1:], before[-2:-1], LETTER + HEBREW
    mid = MID_LETTER + MID_NUM_LET + SINGLE
    right, right2 = after, following[:1]

    def both(a, b):
        return left != "" and left in a and right in b

    if both(ah, ah) or both(ah, NUMERIC) or both(NUMERIC, ah) or both(NUMERIC, NUMERIC):  # WB5, 8, 9, 10
        return True
    if both(ah, mid) and right2 and right2 in ah:  # WB6
        return True
    if both(mid, ah) and left2 and left2 in ah:  # WB7
        return True
    if both(HEBREW, SINGLE):  # WB7a
        return True
    if both(HEBREW, DOUBLE) and right2 and right2 in HEBREW:  # WB7b
        return True
    if both(DOUBLE, HEBREW) and left2 and left2 in HEBREW:  # WB7c
        return True
    mid_num = MID_NUM + MID_NUM_LET + SINGLE
    if both(mid_num, NUMERIC) and left2 and left2 in NUMERIC:  # WB11
        return True
    if both(NUMERIC, mid_num) and right2 and right2 in NUMERIC:  # WB12
        return True
    if both(KATAKANA, KATAKANA):  # WB13
        return True
    if both(ah + NUMERIC + KATAKANA + JOINER, JOINER) or both(JOINER, ah + NUMERIC + KATAKANA):  # WB13a, 13b
        return True
    run = len(before) - len(before.rstrip(REGIONAL))
    return both(REGIONAL, REGIONAL) and run % 2 == 1  # WB15, 16


def one_by_one(text):
    """The words of a text, character by character; white space is in none, and what follows it begins anew."""
    found, before, open_word = [], "", False
    for i, character in enumerate(text):
        if character in WHITE + "\n":
            found += ["\n"] if character == "\n" else []
            before, open_word = "", False
            continue
        if character in EXTEND + ZWJ and open_word:  # WB4
            found[-1] += character
            continue
        following = "".join(c for c in text[i + 1 :] if c not in EXTEND + ZWJ)
        join = joined(before, character, following) or (text[i - 1 : i] == ZWJ and character in PICTOGRAPH)  # WB3c
        if join and open_word:
            found[-1] += character
        else:
            found.append(character)
        before, open_word = before + character, True
    return found


@given(texts)
def test_words_are_what_the_rules_say(text):
    assert words(text) == one_by_one(text)


@given(st.text(st.characters(max_codepoint=127), max_size=20))
def test_ascii_has_the_words_of_any_text(text):
    assert words(text) == words(text + " é")[:-1]


def test_mid_letters_at_the_end_of_a_word_are_none():
    assert words("é. ':é") == ["é", ".", "'", ":", "é"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("don't don’t donʼt", ["don't", "don’t", "donʼt"]),
        ("'tis 'quoted' ’ ok’", ["'", "tis", "'", "quoted", "'", "’", "ok", "’"]),
        ("l’été coûte 3,50 et 1.000,5", ["l’été", "coûte", "3,50", "et", "1.000,5"]),
        ("3.14 v2.0 snake_case 10:30", ["3.14", "v2.0", "snake_case", "10", ":", "30"]),
        ("می‌خواهم", ["می\u200cخواهم"]),
        ("ශ්‍රී ලංකා", ["ශ්\u200dරී", "ලංකා"]),
        ("हिन्दी क्‍ष विकि", ["हिन्दी", "क्\u200dष", "विकि"]),
        ("so\u00adft cafe\u0301", ["so\u00adft", "cafe\u0301"]),
        ("כָּתַב צה\"ל ג'", ["כָּתַב", 'צה"ל', "ג'"]),
        ("བོད་ཡིག", ["བོད", "་", "ཡིག"]),
        ("👩\u200d👩\u200d👧 👍🏽 ❤\ufe0f 1\ufe0f\u20e3", ["👩\u200d👩\u200d👧", "👍🏽", "❤\ufe0f", "1\ufe0f\u20e3"]),
        ("🇩🇪🇫🇷🇮", ["🇩🇪", "🇫🇷", "🇮"]),
        ("時間 かな カタカナ 한국어", ["時", "間", "か", "な", "カタカナ", "한국어"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("a \u0301b\n\u0301", ["a", "\u0301", "b", "\n", "\u0301"]),
    ],
)
def test_words_of_many_scripts(text, expected):
    assert words(text) == expected


def test_every_mark_and_format_character_belongs_to_the_one_before():
    """Unicode's categories, of this Python: all of M; of Cf all but those that stand before digits, and U+200B."""
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    marks = [c for c in characters if unicodedata.category(c)[0] == "M"]
    assert len(marks) > 2000
    assert all(map(extends, marks))
    others = {c for c in characters if unicodedata.category(c) == "Cf" and not extends(c)}
    prepended = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
    assert others == {"\u200b", *prepended}


def test_every_letter_with_a_case_and_every_digit_is_in_words():
    characters = [chr(c) for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) in {"Lu", "Ll", "Nd"}]
    assert len(characters) > 4000
    assert all(words(f"a{c}a") == [f"a{c}a"] for c in characters)


def test_scripts_without_spaces():
    assert [starts_without_spaces(c) for c in "時かカกລខမ"] == [True] * 7
    assert not any(starts_without_spaces(c) for c in ["", " ", "\n", "!", "1", "a", "한", "א", "ع", "क", "།", "🙂"])


@pytest.mark.parametrize("run", ["a" * 11, "é" * 11, "a.a.a.a.a.a", "é.é.é.é.é.é", "a\u0301" * 6, "ー" * 11])
def test_a_run_without_end_is_cut(monkeypatch, run):
    monkeypatch.setattr(module, "LONGEST_WORD", 4)
    found = words("b " + run)
    assert "".join(found) == "b" + run
    assert max(map(len, found)) == 4


def test_words_in_version_0_1():
    text = "don’t 3.14 می‌خواهم हिन्दी e\u0301 ❤\ufe0f a\u00adb 時間"
    assert words(text, "0.1") == [
        *("don", "’", "t", "3", ".", "14", "می", "\u200c", "خواهم", "हिन्दी", "e\u0301", "❤\ufe0f"),
        *("a", "\u00ad", "b", "時間"),
    ]


def test_an_unknown_segmentation_names_those_there_are():
    assert [check_segmentation(name) for name in SEGMENTATIONS] == ["uax29", "0.1"]
    with pytest.raises(ConfigError, match=r"'icu'.*uax29, 0\.1"):
        check_segmentation("icu")


def test_the_table_has_a_class_for_every_code_point():
    assert len(module._table()) == sys.maxunicode + 1
    assert np.unique(module._table()).tolist() == list(range(len(module._CLASSES)))


def test_only_a_line_feed_ends_a_line():
    text = "one\u2028two\x85three\x0cfour\x0bfive\x1csix\u2029seven\neight\r\nnine\rten"
    found = words(text)
    assert found.count("\n") == 2
    assert [word for word in found if word != "\n"] == text.split()
    assert "".join(module.spaced_words(text)) == text
