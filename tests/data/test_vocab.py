"""TokenSequence and integers: frequent ones first, exact round trips, and nothing believed that a file claims."""

import json
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data import vocab as module
from elman.data.tokens import LEVELS, TokenSequence, join_words
from elman.data.vocab import REPLACEMENT, UNKNOWN, Vocab
from elman.errors import ConfigError, DataError, ModelError, StorageError

anything = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
SCRIPTS = "The Time Traveller; 時間旅行者は東京へ; naïveté à l'œuvre; 🙂👩‍🚀; e\u0301 \u0928\u093f\r\n\t<unk>\n"


@pytest.mark.parametrize("unknown", [True, False])
@given(anything)
@settings(max_examples=300)
def test_characters_round_trip(unknown, text):
    vocab = Vocab.chars(text, unknown=unknown)
    assert vocab.decode(vocab.encode(text)) == text
    assert len(vocab) == len(set(text)) + unknown
    assert vocab.encode(text).dtype == vocab.dtype


@given(st.binary())
def test_bytes_round_trip(content):
    vocab = Vocab.bytes()
    ids = vocab.encode(content)
    assert ids.tolist() == list(content)
    assert vocab.decode_bytes(ids) == content
    assert vocab.decode(ids) == content.decode("utf-8", "replace")


@given(anything)
def test_words_round_trip_but_for_spacing(text):
    try:
        vocab = Vocab.words(text)
    except DataError:
        assert not TokenSequence.read([text], "word").tokens()
        return
    rendered = vocab.decode(vocab.encode(text))
    assert rendered == join_words(TokenSequence.read([text], "word").tokens())
    assert vocab.decode(vocab.encode(rendered)) == rendered


@pytest.mark.parametrize("level", LEVELS)
def test_every_script_round_trips(level):
    symbols = TokenSequence.read([SCRIPTS], level)
    vocab = Vocab.from_tokens(symbols)
    assert symbols.text() == SCRIPTS
    assert vocab.decode(vocab.encode(SCRIPTS)) == (join_words(symbols.tokens()) if level == "word" else SCRIPTS)
    assert vocab.unseen(SCRIPTS) == []


@given(st.lists(st.text("abcd", min_size=1), min_size=1))
def test_frequent_tokens_have_small_ids_and_ties_are_in_order(tokens):
    vocab, counts = Vocab(tokens), Counter(tokens)
    assert vocab.idx_to_token == (UNKNOWN, *sorted(counts, key=lambda token: (-counts[token], token)))
    assert Vocab(counts) == vocab
    assert [vocab.to_tokens(vocab[token]) for token in tokens] == tokens
    assert vocab.to_tokens(vocab[tokens]) == tokens
    assert vocab.encode(tokens).tolist() == vocab[tokens]


def test_the_interface_of_the_book():
    vocab = Vocab(["the", "time", "the", "machine"])
    assert (vocab["the"], vocab[["time", "never seen"]], vocab["<unk>"]) == (1, [3, 0], 0)
    assert (vocab.to_tokens(1), vocab.to_tokens([1]), vocab.to_tokens([0, 2])) == ("the", ["the"], ["<unk>", "machine"])
    assert (len(vocab), vocab.idx_to_token[2], vocab.token_to_idx["machine"]) == (4, "machine", 2)
    for wrong in (4, -1):
        with pytest.raises(DataError, match="ids 0 to 3"):
            vocab.to_tokens(wrong)
        with pytest.raises(DataError):
            vocab.decode([wrong])


def test_the_counts_are_those_of_the_part_that_is_given():
    symbols = TokenSequence.read(["aab ccc"], "char")
    assert Vocab.from_tokens(symbols[:3]).idx_to_token == (UNKNOWN, "a", "b")
    assert Vocab.from_tokens(symbols) == Vocab.chars("aab ccc")


@pytest.mark.parametrize(
    ("entries", "dtype"), [(255, np.uint8), (256, np.uint8), (257, np.uint16), (65536, np.uint16), (65537, np.uint32)]
)
def test_ids_take_the_smallest_type(entries, dtype):
    text = "".join(chr(c) for c in range(0x20, 0x20 + 0x12000) if not 0xD800 <= c < 0xE000)[:entries]
    vocab = Vocab.chars(text, unknown=False)
    assert len(vocab) == entries
    assert vocab.encode(text).dtype == vocab.dtype == dtype
    assert vocab.decode(vocab.encode(text)) == text


def test_the_codes_of_a_long_text_may_be_used_up():
    symbols = TokenSequence.read(["abracadabra " * 100_000], "char")
    expected, codes = Vocab.from_tokens(symbols).encode(symbols).tolist(), symbols.codes
    ids = Vocab.from_tokens(symbols).encode(symbols, consume=True)
    assert ids.tolist() == expected
    assert ids is codes


def test_unseen_symbols_become_unknown():
    vocab = Vocab.chars("hello")
    assert vocab.unseen("héllo wörld") == ["é", " ", "w", "ö", "r", "d"]
    assert vocab.encode("hxe🙂").tolist() == [vocab["h"], 0, vocab["e"], 0]
    assert vocab.decode(vocab.encode("hxe")) == f"h{REPLACEMENT}e"
    words = Vocab.words("one , two")
    assert words.decode(words.encode("one three two")) == "one <unk> two"
    assert words.unseen(["one", "four", "four", "five"]) == ["four", "five"]
    assert Vocab.bytes().unseen(bytes(range(256))) == []


def test_without_unknown_an_unseen_symbol_is_an_error_that_lists_them():
    vocab = Vocab.chars("hello", unknown=False)
    assert vocab.encode("hole").tolist() == [vocab[c] for c in "hole"]
    for act in (lambda: vocab.encode("hxey\u0301x"), lambda: vocab.encode(["h", "x", "y", "\u0301"])):
        with pytest.raises(DataError, match=r"'x', 'y', '\\u0301':"):
            act()
    with pytest.raises(DataError, match="'z'"):
        vocab["z"]
    with pytest.raises(DataError, match="and 80 more"):
        vocab.encode("".join(map(chr, range(0x4E00, 0x4E00 + 100))))


def test_a_literal_unk_is_text_in_a_text_and_the_unknown_token_in_a_list():
    chars = Vocab.chars("<unk>")
    assert chars.decode(chars.encode("<unk>")) == "<unk>"
    assert 0 not in chars.encode("<unk>")
    words = Vocab.words("a <unk> b")
    assert words.decode(words.encode("a <unk> b")) == "a < unk > b"
    assert 0 not in words.encode("a <unk> b")
    listed = Vocab.words(["a", "<unk>", "<unk>", "b"])
    assert listed.idx_to_token == ("<unk>", "a", "b")
    assert listed.encode(["a", "<unk>", "c"]).tolist() == [1, 0, 0]
    assert Vocab(["a", "<unk>", "<unk>"], unknown=False).idx_to_token == ("<unk>", "a")


def test_rare_tokens_are_left_to_unknown():
    vocab = Vocab.chars("aaabbc", min_count=2)
    assert vocab.idx_to_token == (UNKNOWN, "a", "b")
    assert vocab.unseen("abc") == ["c"]
    assert len(Vocab.chars("aaabbc", min_count=2, unknown=False)) == 3


def test_automatic_min_count_follows_the_mass_of_singletons():
    at_the_bound, above = {"a": 1999, "x": 1, "y": 1}, {"a": 1998, "x": 1, "y": 1, "z": 1}
    assert len(Vocab(at_the_bound | {"a": 1998}, min_count=None)) == 4
    assert Vocab(above, min_count=None).idx_to_token == (UNKNOWN, "a")
    assert len(Vocab(above, min_count=None, unknown=False)) == 4
    assert len(Vocab.chars("abc", min_count=None)) == 4


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="min_count is 0"):
        Vocab.chars("a", min_count=0)
    for nothing in (lambda: Vocab.chars(""), lambda: Vocab([]), lambda: Vocab.chars("ab", min_count=2)):
        with pytest.raises(DataError, match="vocabulary would be empty"):
            nothing()
    with pytest.raises(ConfigError, match="'ab' has 2"):
        Vocab(["a", "ab"], level="char")
    with pytest.raises(ConfigError, match=r"Vocab\.bytes"):
        Vocab(["a"], level="byte")
    with pytest.raises(ConfigError, match="level char"):
        Vocab.words("a b").encode(TokenSequence.read(["a"], "char"))
    with pytest.raises(DataError, match="surrogate"):
        Vocab(["\ud83d"])
    with pytest.raises(DataError, match="0 to 255"):
        Vocab.bytes().decode([256])


@pytest.mark.parametrize("level", LEVELS)
@given(anything)
def test_streaming_gives_what_decoding_at_once_gives(level, text):
    vocab = Vocab.from_tokens(TokenSequence.read([text + " a"], level))
    ids = vocab.encode(text)
    stream = vocab.incremental_decoder()
    assert "".join(stream.push(int(i)) for i in ids) + stream.flush() == vocab.decode(ids)


@given(st.binary())
def test_streaming_bytes_that_are_not_utf8(content):
    stream = Vocab.bytes().incremental_decoder()
    assert "".join(map(stream.push, content)) + stream.flush() == content.decode("utf-8", "replace")


def test_a_stream_holds_back_what_is_incomplete_and_goes_on_from_a_prompt():
    stream = Vocab.bytes().incremental_decoder()
    assert [stream.push(b) for b in "é時".encode()] == ["", "é", "", "", "時"]
    stream.push(0xE6)
    assert (stream.flush(), stream.flush()) == (REPLACEMENT, "")
    vocab = Vocab.words("one , two\n")
    stream = vocab.incremental_decoder()
    for i in vocab.encode("one ,"):
        stream.push(int(i))
    assert [stream.push(vocab[word]) for word in ("two", "\n", "one")] == [" two", "\n", "one"]


vocabularies = [
    Vocab.chars(SCRIPTS),
    Vocab.chars('\u2028"\\\x00\x1b', unknown=False),
    Vocab.words(SCRIPTS, min_count=1),
    Vocab.words(["<unk>", "New York"], unknown=False),
    Vocab.bytes(),
]


@pytest.mark.parametrize("vocab", vocabularies, ids=repr)
def test_saved_and_loaded_it_is_the_same(tmp_path, vocab):
    path = tmp_path / "vocab.json"
    vocab.save(path)
    loaded = Vocab.load(path)
    assert loaded == vocab
    assert (loaded.level, loaded.unknown, loaded.idx_to_token) == (vocab.level, vocab.unknown, vocab.idx_to_token)
    assert hash(Vocab.from_json(vocab.to_json())) == hash(vocab)
    assert [path.name for path in tmp_path.iterdir()] == ["vocab.json"]


def test_vocabularies_differ_in_level_unknown_and_order():
    each = [Vocab(["a", "b"]), Vocab(["a", "b", "b"]), Vocab.chars("ab"), Vocab(["a", "b"], unknown=False), "ab"]
    assert all((a == b) == (a is b) for a in each for b in each)


OLD = {"format": "elman-vocabulary", "version": 1, "level": "char", "unknown": True, "tokens": ["a", "b"]}
GOOD = OLD | {"version": 2, "segmentation": "uax29", "dropped": {"c": 2}, "more_dropped": 0}


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"version": 1},
        {"version": 3},
        {"version": True},
        {"version": "1"},
        {"level": "bpe"},
        {"level": ["char"]},
        {"level": None},
        {"unknown": 1},
        {"tokens": "ab"},
        {"tokens": {"a": 1}},
        {"tokens": ["a", 1]},
        {"tokens": ["a", None]},
        {"tokens": ["a", ""]},
        {"tokens": ["a", "a"]},
        {"tokens": ["a", "ab"]},
        {"tokens": []},
        {"tokens": ["a", "\ud83d"]},
        {"level": "word", "tokens": ["<unk>", "a"]},
        {"level": "byte"},
        {"level": "byte", "tokens": []},
        {"more": 1},
        {"segmentation": "0.1"},
        {"segmentation": "icu"},
        {"segmentation": ["uax29"]},
        {"dropped": ["c"]},
        {"dropped": {"c": 0}},
        {"dropped": {"c": True}},
        {"dropped": {"a": 1}},
        {"dropped": {"\ud83d": 1}},
        {"more_dropped": -1},
        {"more_dropped": 1.0},
    ],
    ids=str,
)
def test_a_damaged_or_foreign_vocabulary_is_refused(tmp_path, change):
    assert Vocab.from_json(json.dumps(GOOD)) == Vocab.chars("ab")
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(ModelError, match=r"vocab\.json' is damaged or foreign") as caught:
        Vocab.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "1",
        "{",
        json.dumps(GOOD)[:-5],
        '{"a": 1, "a": 2}',
        "[" * 100_000,
        '{"version": NaN}',
        "\ud83d",
    ],
    ids=lambda text: text[:8].encode("ascii", "replace").decode(),
)
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(ModelError):
        Vocab.from_json(text)


@given(st.data())
@settings(max_examples=200)
def test_a_mutated_file_is_refused_or_still_a_vocabulary(data):
    content = bytearray(Vocab.chars(SCRIPTS).to_json().encode())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        vocab = Vocab.from_json(bytes(content[: data.draw(st.integers(0, len(content)))]))
    except ModelError:
        return
    assert Vocab.from_json(vocab.to_json()) == vocab


def test_a_hostile_file_costs_no_more_than_its_limit(tmp_path):
    path = tmp_path / "vocab.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    tracemalloc.start()
    with pytest.raises(ModelError, match=r"vocab\.json"):
        Vocab.load(path)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_too_large_to_be_read_back_is_not_saved(tmp_path):
    vocab = Vocab([f"{i:04}" * 50_000 for i in range(90)])
    with pytest.raises(ConfigError, match="min_count"):
        vocab.save(tmp_path / "vocab.json")
    assert not list(tmp_path.iterdir())


def test_a_vocabulary_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match=r"the vocabulary '.*none\.json' cannot be read: No such file"):
        Vocab.load(tmp_path / "none.json")
    with pytest.raises(ModelError, match="it is a folder"):
        Vocab.load(tmp_path)
    with pytest.raises(StorageError):
        Vocab.bytes().save(tmp_path / "none" / "vocab.json")
    (tmp_path / "latin.json").write_bytes(b'{"format": "\xe4"}')
    with pytest.raises(ModelError):
        Vocab.load(tmp_path / "latin.json")


def test_a_vocabulary_of_version_0_1_is_read_and_written_as_it_was():
    old = Vocab.from_json(json.dumps(OLD))
    assert (old.segmentation, old.dropped, old.more_dropped) == ("0.1", {}, 0)
    assert json.loads(old.to_json()) == OLD
    assert old != Vocab.chars("ab")
    assert old.numbering == Vocab.chars("ab").numbering
    assert Vocab.from_json(json.dumps(OLD | {"level": "byte", "unknown": False, "tokens": []})).segmentation == "0.1"


def test_old_and_new_words_are_not_mixed_up():
    old = Vocab.from_json(json.dumps(OLD | {"level": "word", "tokens": ["don", "'", "t"]}))
    assert old.encode("don't").tolist() == [1, 2, 3]
    assert Vocab.words("don't").encode("don't").tolist() == [1]
    with pytest.raises(ConfigError, match=r"segmentation='0\.1'"):
        old.encode(TokenSequence.read(["don't"], "word"))


@given(st.text("abcdefé", max_size=40), st.integers(1, 4))
def test_what_was_dropped_is_remembered_with_its_count(text, least):
    counts = Counter(text)
    if max(counts.values(), default=0) < least:
        return
    vocab = Vocab.from_json(Vocab.chars(text, min_count=least).to_json())
    assert vocab.dropped == {c: n for c, n in counts.items() if n < least}
    assert {*vocab.dropped, *vocab.idx_to_token[1:]} == set(text)


def test_the_most_frequent_of_very_many_dropped_are_remembered(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 2)
    vocab = Vocab.chars("aaaaabbbcccdde", min_count=4)
    assert (vocab.dropped, vocab.more_dropped) == ({"b": 3, "c": 3}, 2)
    assert Vocab.from_json(vocab.to_json()).more_dropped == 2


def test_the_empty_string_is_no_token():
    text = "the  time"
    split = text.split(" ")  # at each of two blanks
    assert split == ["the", "", "time"]
    told = r"a token is the empty string, which no text holds: leave it out \(text.split\(\) gives none\)"
    vocab = Vocab.words("the time")
    for make in (lambda: Vocab(split), lambda: Vocab.words(split), lambda: Vocab({"": 2, "a": 1})):
        with pytest.raises(ConfigError, match=told):
            make()
    for read in (vocab.encode, vocab.unseen):
        with pytest.raises(DataError, match=told):
            read(split)
    assert vocab.encode("the  time").tolist() == vocab.encode(["the", "time"]).tolist() == [1, 2]


@pytest.mark.parametrize("count", [-1, 1.0, True, "1"])
def test_a_number_of_occurrences_that_cannot_be_is_named(count):
    with pytest.raises(ConfigError, match=r"the token 'a' is said to occur .* times: give a whole number, 0 or more"):
        Vocab({"a": count, "b": 3})
    assert Vocab({"a": 0, "b": 3}).idx_to_token == ("<unk>", "b")
