"""Where texts come from: exact counts, checked downloads, and names that are explained when they do not exist."""

import hashlib
import http.server
import sys
import threading
from pathlib import Path
from pydoc_data.topics import topics
from typing import ClassVar

import pytest

import elman
from elman.data import sources
from elman.data.sources import SOURCES, Source, file_source, human_numbers, resolve, time_machine
from elman.data.tokens import TokenSequence
from elman.errors import ConfigError, DataError, StorageError

BOOK = b"The Time Machine, by somebody else\n" * 100


@pytest.fixture
def book_sha1(monkeypatch):
    """The stand-in is the book, so that no test needs the real one."""
    monkeypatch.setattr(time_machine, "SHA1", hashlib.sha1(BOOK, usedforsecurity=False).hexdigest())


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ELMAN_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ELMAN_OFFLINE", raising=False)
    return tmp_path / "home"


class Answers(http.server.BaseHTTPRequestHandler):
    answers: ClassVar = {
        "/book": (200, BOOK, len(BOOK)),
        "/other": (200, b"<html>please log in</html>", 26),
        "/partial": (206, BOOK, len(BOOK)),
        "/gone": (404, b"", 0),
        "/short": (200, BOOK[:50], len(BOOK)),
        "/endless": (200, bytes(4 << 20), 4 << 20),
    }

    def do_GET(self):
        status, body, length = self.answers[self.path]
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True  # the client has read enough

    def log_message(self, *_):
        """Keep quiet."""


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


def test_the_registry_describes_each_source():
    assert list(SOURCES) == ["human-numbers", "python-docs", "time-machine"]
    assert all(name == source.name and source.description for name, source in SOURCES.items())


def test_every_file_of_sources_registers_one_and_nothing_else_names_it():
    folder = Path(sources.__path__[0])
    modules = [sys.modules[f"{sources.__name__}.{path.stem}"] for path in sorted(folder.glob("[!_]*.py"))]
    registered = [module.SOURCE for module in modules if module.__name__ != f"{sources.__name__}.base"]
    assert registered == list(SOURCES.values())


def test_a_script_can_register_a_source_that_is_then_read_by_its_name():
    mine = Source(name="mine", description="my own", text=lambda: iter(["one two three\n"] * 9), level="word")
    with pytest.raises(DataError, match="no source or file 'mine'"):
        resolve(["mine"])
    try:
        assert mine.register() is mine is resolve(["mine"])
        corpus = elman.read_corpus(["mine"], held_out=4)
        assert (corpus.source, len(corpus.train.ids), corpus.vocab.level) == ("mine", 32, "word")
        assert resolve(["mine", "human-numbers"]).name == "mine, human-numbers"
    finally:
        del SOURCES["mine"]


def without_rules(text):
    """The oracle of what is a rule: a line with four of one sign in a row, and no letter, digit, quote or bracket.

    In rows of tables, from | to |, words are parted by one blank.
    """
    signs = set("*=-~^+| \t")
    rows = [row for row in text.split("\n") if not (set(row) <= signs and any(4 * sign in row for sign in "*=-~^"))]
    table = [row.strip()[:1] == "|" == row.strip()[-1:] and len(row.strip()) > 1 for row in rows]
    return "\n".join(
        (" " * row.startswith(" ") + " ".join(row.split()) if framed else row)
        for row, framed in zip(rows, table, strict=True)
    )


def paragraphs(text):
    """The oracle of how texts are cut: lines between lines of white space, joined again."""
    rows = [[]]
    for line in text.strip("\n").split("\n"):
        rows = [*rows, []] if not line.strip() else [*rows[:-1], [*rows[-1], line]]
    return ["\n".join(row) for row in rows if row]


def test_python_docs_hold_every_paragraph_in_order_and_long_ones_once():
    from elman.data.sources import python_docs

    text = "".join(SOURCES["python-docs"].text())
    raw = [paragraph for name in sorted(topics) for paragraph in paragraphs(without_rules(topics[name]))]
    kept = paragraphs(text)
    assert text.startswith(topics[min(topics)].strip("\n").split("\n")[0])
    assert not {"****", "----", "===="} & {line.strip()[:4] for line in text.split("\n")}
    assert text.endswith("\n")
    assert set(kept) == set(raw)
    assert list(dict.fromkeys(kept)) == list(dict.fromkeys(raw))
    assert max(kept.count(p) for p in set(kept) if len(p) >= python_docs.PASSAGE) == 1
    assert 0.7 < len(text) / sum(len(topics[name]) for name in topics) < 0.95


def test_a_passage_that_comes_again_is_left_out():
    from elman.data.sources import python_docs

    long, head = "a sentence of a topic " * 5, "Title\n*****"
    texts = [f"{head}\n\n{long}\n\nshort", f"new\n \n{head}\n\n{long}\n\nshort\n\n\nlast", "short\n\nend"]
    kept = "\n\n".join(python_docs.without_repeats(texts))
    assert kept == "\n\n".join([head, long, "short", "new", "last", "short", "end"])


def test_python_without_its_docs_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(DataError, match="python-docs"):
        list(SOURCES["python-docs"].text())


def value(words):
    """The number that the words say, read the other way round: the oracle of `in_words`."""
    units = dict(zip(human_numbers.BELOW_TWENTY, range(20), strict=True))
    units |= {
        "twenty": 20,
        "thirty": 30,
        "forty": 40,
        "fifty": 50,
        "sixty": 60,
        "seventy": 70,
        "eighty": 80,
        "ninety": 90,
    }
    total = part = 0
    for word in words.split(" "):
        if word == "thousand":
            total, part = part * 1000, 0
        elif word == "hundred":
            part *= 100
        else:
            part += units[word]
    return total + part


def test_human_numbers_say_every_number_and_have_the_published_counts():
    source = SOURCES["human-numbers"]
    train, held_out = ("".join(text()) for text in source.split)
    assert [value(words) for words in train.split(" , ")] == list(range(1, 8000))
    assert [value(words) for words in held_out.split(" , ")] == list(range(8001, 10000))
    assert (len(train.split()), len(held_out.split())) == (50_078, 13_016)
    assert len({*train.split(), *held_out.split()}) == 30
    assert "".join(source.text()) == f"{train} , {held_out}"
    assert source.level == "word"
    assert TokenSequence.read(source.text(), "word").text() == f"{train} , {held_out}"


def test_the_example_of_the_article():
    assert human_numbers.in_words(1312) == "one thousand three hundred twelve"
    assert "".join(human_numbers.training()).startswith("one , two , three , four")


def test_the_book_is_read_where_it_lies(home, book_sha1):
    home.mkdir()
    (home / "timemachine.txt").write_bytes(BOOK)
    assert "".join(SOURCES["time-machine"].text()) == BOOK.decode()


def test_the_default_home_is_a_place_of_the_user(monkeypatch):
    monkeypatch.delenv("ELMAN_DATA_HOME", raising=False)
    assert time_machine.data_home().is_absolute()
    assert "elman" in str(time_machine.data_home())
    monkeypatch.setenv("ELMAN_DATA_HOME", "~/texts")
    assert "~" not in str(time_machine.data_home())


def test_the_book_is_downloaded_once(home, book_sha1, server):
    path = home / "timemachine.txt"
    assert time_machine.book(path, f"{server}/book") == BOOK
    assert [each.name for each in home.iterdir()] == ["timemachine.txt"]
    assert path.read_bytes() == BOOK
    assert time_machine.book(path, f"{server}/gone") == BOOK


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ("other", "please log in"),
        ("partial", "status 206"),
        ("gone", "404"),
        ("short", "downloaded|something else"),
        ("endless", "1,048,576 bytes"),
    ],
)
def test_a_bad_answer_is_not_kept(home, book_sha1, server, answer, word):
    path = home / "timemachine.txt"
    with pytest.raises(DataError, match=word) as caught:
        time_machine.book(path, f"{server}/{answer}")
    assert not home.exists()
    message = str(caught.value)
    assert str(path) in message
    assert time_machine.SHA1 in message
    assert "\n" not in message


def test_without_network_the_message_says_where_the_book_belongs(home, server):
    unused = server.rsplit(":", 1)[0] + ":1"
    with pytest.raises(DataError, match="cannot be downloaded") as caught:
        time_machine.book(home / "timemachine.txt", f"{unused}/book")
    assert str(home / "timemachine.txt") in str(caught.value)
    assert "090b5e7e70c295757f55df93cb0a180b9691891a" in str(caught.value)


def test_offline_nothing_is_asked(home, book_sha1, server, monkeypatch):
    monkeypatch.setenv("ELMAN_OFFLINE", "1")
    with pytest.raises(DataError, match="ELMAN_OFFLINE"):
        time_machine.book(home / "timemachine.txt", f"{server}/book")
    monkeypatch.setenv("ELMAN_OFFLINE", "0")
    assert time_machine.book(home / "timemachine.txt", f"{server}/book") == BOOK


def test_a_present_file_that_is_something_else_is_refused_and_left(home):
    home.mkdir()
    path = home / "timemachine.txt"
    path.write_bytes(BOOK)
    found = hashlib.sha1(BOOK, usedforsecurity=False).hexdigest()
    with pytest.raises(DataError, match=f"{found}.*delete"):
        list(SOURCES["time-machine"].text())
    assert path.read_bytes() == BOOK


def test_a_home_that_cannot_be_used_is_a_storage_error(home, book_sha1, server):
    home.write_text("a file where the folder should be")
    with pytest.raises(StorageError):
        time_machine.book(home / "timemachine.txt", f"{server}/book")
    with pytest.raises(StorageError):
        time_machine.book(home / "below" / "timemachine.txt", f"{server}/book")
    with pytest.raises(StorageError):
        time_machine.book(home.parent, f"{server}/book")


def test_names_resolve_to_sources_and_everything_else_to_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain").write_bytes(b"a\xff")
    assert resolve(["python-docs"]) is SOURCES["python-docs"]
    source = resolve(["plain"])
    assert b"".join(source.bytes()) == b"a\xff"
    assert source.level == "char"
    assert "".join(resolve(["plain"], errors="replace").text()) == "a\ufffd"
    with pytest.raises(DataError, match="offset 1"):
        list(source.text())
    (tmp_path / "human-numbers").write_text("mine")
    assert resolve(["human-numbers"]) is SOURCES["human-numbers"]
    assert "".join(resolve(["./human-numbers"]).text()) == "mine"


def test_a_misspelt_source_lists_those_there_are_and_the_nearest():
    with pytest.raises(DataError, match=r"'time_machin' \(did you mean time-machine\?\).*human-numbers, python-docs"):
        resolve(["time_machin"])
    with pytest.raises(DataError, match=r"no such file.*"):
        list(resolve(["none.txt"]).text())
    with pytest.raises(ConfigError, match="python-docs"):
        resolve([])


def test_several_sources_are_read_one_after_the_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("é\xff".encode("latin-1"))
    both = resolve(["human-numbers", str(path)], errors="replace")
    numbers = "".join(SOURCES["human-numbers"].text())
    assert "".join(both.text()) == numbers + "\n\ufffd\ufffd"
    assert b"".join(both.bytes()) == numbers.encode() + b"\n\xe9\xff"
    assert (both.level, both.split) == ("char", None)
    assert resolve(["human-numbers", "human-numbers"]).level == "word"
    assert "human-numbers" in both.name


def test_files_are_read_anew_each_time(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one")
    source = file_source([str(path)])
    assert "".join(source.text()) == "".join(source.text()) == "one"
