"""A text as codes: nothing is lost, wherever the pieces were cut, and every count is exact."""

import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data import batches, segmentation
from elman.data import tokens as module
from elman.data.tokens import LEVELS, TokenSequence, check_level, unsigned
from elman.errors import ConfigError, DataError

texts = st.text(st.characters(exclude_categories=["Cs"])) | st.text(
    st.sampled_from("ab1_ .,'\n時é🙂\u0301\u200d\u2019🇩🇪א\"")
)


def cut(text, cuts):
    cuts = sorted(min(c, len(text)) for c in cuts)
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@pytest.mark.parametrize("level", LEVELS)
@given(texts, st.lists(st.integers(0, 30)))
def test_the_cuts_do_not_show(level, text, cuts):
    whole, pieces = TokenSequence.read([text], level), TokenSequence.read(cut(text, cuts), level)
    assert pieces.tokens() == whole.tokens()
    assert pieces.text() == whole.text()


@given(texts)
def test_characters_and_bytes_are_exact(text):
    chars, in_bytes = TokenSequence.read([text], "char"), TokenSequence.read([text], "byte")
    assert chars.tokens() == list(text)
    assert chars.text() == in_bytes.text() == text
    assert in_bytes.codes.tolist() == list(text.encode())


@pytest.mark.parametrize("level", LEVELS)
@given(texts, st.integers(0, 20), st.integers(0, 20))
def test_sizes_are_those_of_the_text_that_a_slice_covers(level, text, start, stop):
    part = TokenSequence.read([text], level)[start:stop]
    if level == "byte":
        raw = text.encode()[start:stop]
        assert part.bytes == len(raw)
        assert part.characters == sum(byte & 0xC0 != 0x80 for byte in raw)
    else:
        assert part.characters == len(part.text())
        assert part.bytes == len(part.text().encode())


def test_a_cut_text_counts_each_character_once():
    whole = TokenSequence.read(["時間é🙂a"], "byte")
    assert {whole[:i].characters + whole[i:].characters for i in range(len(whole))} == {5}


@pytest.mark.parametrize("level", LEVELS)
@given(texts)
def test_counts_are_those_of_the_tokens(level, text):
    symbols = TokenSequence.read([text], level)
    tokens = symbols.tokens()
    assert dict(zip(symbols.types, symbols.counts().tolist(), strict=True)) == {
        t: tokens.count(t) for t in symbols.types
    }


def test_counts_and_look_ups_go_block_by_block(monkeypatch):
    text = "the time traveller " * 20
    expected = TokenSequence.read([text], "char").counts().tolist()
    monkeypatch.setattr(batches, "COUNTED_AT_ONCE", 7)
    assert TokenSequence.read([text], "char").counts().tolist() == expected


def words_one_by_one(text):
    """The definition of words in version 0.1, character by character."""
    words, before = [], ""
    for character in text:
        is_mark = unicodedata.category(character)[0] == "M"
        inside = character.isalnum() or character == "_" or is_mark
        joins = (inside and before == "word") or (is_mark and before == "other")
        if joins:
            words[-1] += character
        elif inside or character == "\n" or not character.isspace():
            words.append(character)
        if not joins:
            kind = "newline" if character == "\n" else "space" if character.isspace() else "other"
            before = "word" if inside else kind
    return words


@given(texts)
def test_words_of_version_0_1_are_what_the_definition_says(text):
    assert TokenSequence.read([text], "word", segmentation="0.1").tokens() == words_one_by_one(text)


@pytest.mark.parametrize("rules", ["uax29", "0.1"])
@given(texts, st.lists(st.integers(0, 30)))
def test_spans_are_the_words_and_between_them_is_white_space(rules, text, cuts):
    tokens = TokenSequence.read(cut(text, cuts), "word", segmentation=rules).tokens()
    spans = list(module.spans(text, rules))
    assert [text[start:stop] for start, stop in spans] == tokens
    edges = [0, *(place for span in spans for place in span), len(text)]
    gaps = [text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]
    assert all(not gap or gap.isspace() for gap in gaps)
    assert "".join(gap + word for gap, word in zip(gaps, [*tokens, ""], strict=True)) == text


@given(texts)
def test_words_lose_nothing(text):
    tokens = TokenSequence.read([text], "word")
    assert tokens.text() == text
    rendered = module.join_words(tokens.tokens())
    assert re.sub(r"[^\S\n]", "", rendered) == re.sub(r"[^\S\n]", "", text)
    assert TokenSequence.read([rendered], "word").tokens() == TokenSequence.read([text], "word").tokens()
    assert not re.search(r" \n|\n |  ", rendered)


def test_combining_marks_stay_with_what_they_stand_on():
    assert TokenSequence.read(["हिन्दी e\u0301 ❤\ufe0f!"], "word").tokens() == ["हिन्दी", "e\u0301", "❤\ufe0f", "!"]


def test_the_number_words_are_words_and_separators():
    tokens = TokenSequence.read(["one thousand , two. three"], "word").tokens()
    assert tokens == ["one", "thousand", ",", "two", ".", "three"]


@pytest.mark.parametrize(
    "text", ["abcdefghijklm,no", "abcdé.fghijk'lm,no", "a.b.c.d.e.f.g.h i", "é.b.c.d.e.f.g.h.i", "a\u0301" * 9]
)
@pytest.mark.parametrize("block", [1, 3, 1 << 18])
def test_a_run_without_end_is_cut_the_same_way_in_any_pieces(monkeypatch, text, block):
    monkeypatch.setattr(segmentation, "LONGEST_WORD", 5)
    monkeypatch.setattr(module, "BLOCK", block)
    whole = segmentation.words(text)
    assert max(map(len, whole)) == 5
    assert TokenSequence.read([text], "word").tokens() == whole
    assert TokenSequence.read(list(text), "word").tokens() == whole


@pytest.mark.parametrize("character", ["a", "é"])
def test_the_longest_word(character):
    tokens = TokenSequence.read([character * (segmentation.LONGEST_WORD + 3)], "word")
    assert [len(t) for t in tokens.tokens()] == [segmentation.LONGEST_WORD, 3]


@pytest.mark.parametrize("level", LEVELS)
@given(texts, st.integers(1, 9), st.lists(st.integers(0, 30)))
def test_a_limit_takes_the_first_tokens_and_reads_no_further(level, text, limit, cuts):
    pieces = iter([*cut(text, cuts), "xyz " * limit, *["unread " * limit] * 9])
    limited = TokenSequence.read(pieces, level, limit)
    assert limited.tokens() == TokenSequence.read([text + "xyz " * limit], level)[:limit].tokens()
    assert len(list(pieces)) >= 8


@pytest.mark.parametrize(("text", "dtype"), [("plain", "uint8"), ("naïve 時間🙂", "uint8")])
def test_codes_take_one_byte_even_where_code_points_need_four(text, dtype):
    assert TokenSequence.read([text], "char").codes.dtype == dtype


def test_many_different_characters_take_two_bytes():
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    symbols = TokenSequence.read([text[:100], text[100:]], "char")
    assert symbols.codes.dtype == np.uint16
    assert symbols.text() == text


@pytest.mark.parametrize(("largest", "dtype"), [(0, "u1"), (255, "u1"), (256, "u2"), (65535, "u2"), (65536, "u4")])
def test_the_smallest_type(largest, dtype):
    assert unsigned(largest) == np.dtype(dtype)


def test_a_slice_is_a_view():
    symbols = TokenSequence.read(["abcdef"], "char")
    assert np.shares_memory(symbols[2:4].codes, symbols.codes)


@pytest.mark.parametrize("level", LEVELS)
def test_half_a_surrogate_pair_is_refused(level):
    with pytest.raises(DataError, match=r"U\+D83D"):
        TokenSequence.read(["ab \ud83d"], level)


def test_bytes_read_as_characters_must_be_utf8():
    assert TokenSequence.read(["é".encode()], "char").text() == "é"
    with pytest.raises(DataError, match="offset 1"):
        TokenSequence.read([b"a\xff"], "char")


def test_an_unknown_level_names_those_there_are():
    assert check_level("char") == "char"
    with pytest.raises(ConfigError, match=r"'chr'.*mean char\?.*char, word, byte"):
        check_level("chr")
    with pytest.raises(ConfigError, match="'bpe'"):
        check_level("bpe")
