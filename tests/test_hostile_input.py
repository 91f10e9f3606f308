"""Every reader of input: whatever it is given, there is a result or one sentence, and never an unexpected error."""

import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from command import ENGLISH, TINY, elman, good, one_line, program
from hostile import DATES, DEEP, NUMBERS, TEXTS, changed, listed

import elman as package
from elman.cli.flags import resolve
from elman.config import CONFIG_LIMIT, TrainSettings, from_toml
from elman.data.files import text_chunks
from elman.data.vocab import Vocab
from elman.errors import ConfigError, DataError, ElmanError
from elman.forecasting.study import forecast, to_dict
from elman.forecasting.table import read_series
from elman.reading import read_limited, real, whole
from elman.training.report import pictures
from elman.training.run import resume

TOML = b"""hidden = 8
lr = 0.5
tokens = "char"
reverse = false
sources = ["a.txt", "b"]
limit = 100
held_out = 0.1
dropout = 0.2
epochs = 3
minutes = 1.5
prompts = ["He"]
seed = 1
recipe = "elman"
min_count = 2
"""
TABLES = (
    b"date,shop,item\n" + b"".join(b"2024-01-%02d,%d.5,%d\n" % (i + 1, i * 3 % 7, i) for i in range(12)),
    b"unique_id,ds,y\n" + b"".join(b"%s,%d,%d\n" % (n, 2000 + i, i * i % 5) for n in (b"a", b"b") for i in range(8)),
    b"date;v\n" + b"".join(b"20%02d%02d;%d\n" % (20 + i // 12, i % 12 + 1, i % 5) for i in range(15)),
    b"time,v\n" + b"".join(b"2024-01-01T%02d:00+02:00,%d\n" % (i, i % 5) for i in range(15)),
    b"t,v\n" + b"".join(b"%d,%d\n" % (i, i % 5) for i in range(15)),
)
SOME = 130
"""Changed inputs of each kind in the normal suite; `make acceptance` tries many more."""


def outcome(read: Callable[[], object]) -> str:
    """Whether an input was read or refused in one sentence; any other error passes through."""
    try:
        read()
    except ElmanError as error:
        message = str(error)
        assert "\n" not in message, message
        return "refused"
    return "read"


# --- settings


def read_toml(data: bytes, folder: Path) -> None:
    (folder / "c.toml").write_bytes(data)
    resolve({}, folder / "c.toml").values()


def read_variables(data: bytes, folder: Path) -> None:
    """Lines NAME=VALUE as variables of the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for line in data.replace(b"\0", b"").replace(b" ", b"").splitlines():
            name, _, value = line.decode("utf-8", "surrogateescape").partition("=")
            if name:
                patch.setenv(f"ELMAN_{name.upper()}", value.strip('"'))
        resolve({}, None)


def read_table(data: bytes, folder: Path) -> None:
    path = folder / "c.csv"
    path.write_bytes(data)
    found, _ = read_series(str(path), missing=("refuse", "skip", "linear")[len(data) % 3])
    for series in found[:2]:
        json.dumps(to_dict(forecast(series, ["last"], horizon=2)))


READERS = {
    "TOML": (read_toml, (TOML,)),
    "variables": (read_variables, (TOML.replace(b'"', b""),)),
    "CSV": (read_table, TABLES),
}


def tried(kind: str, seeds: range, folder: Path) -> list[str]:
    """What became of changed inputs of a kind."""
    read, originals = READERS[kind]
    found = []
    for seed in seeds:
        chance = random.Random(seed)
        data = changed(chance.choice(originals), chance)
        try:
            found.append(outcome(lambda data=data: read(data, folder)))
        except Exception as error:
            raise AssertionError(f"{kind}, seed {seed}: {data[:200]!r}") from error
    return found


@pytest.mark.parametrize("kind", READERS)
def test_the_inputs_that_are_changed_are_read(kind, tmp_path):
    read, originals = READERS[kind]
    for data in originals:
        read(data, tmp_path)


@pytest.mark.parametrize("kind", READERS)
def test_changed_inputs_are_read_or_refused_in_one_sentence(kind, tmp_path):
    found = tried(kind, range(SOME), tmp_path)
    assert min(found.count("read"), found.count("refused")) > SOME // 20


@pytest.mark.acceptance
@pytest.mark.parametrize("kind", READERS)
def test_thousands_of_changed_inputs_are_read_or_refused_in_one_sentence(kind, tmp_path):
    tried(kind, range(10_000, 11_500), tmp_path)


@pytest.mark.parametrize("kind", ["TOML", "CSV"])
def test_hostile_inputs_are_read_or_refused_in_one_sentence(kind, tmp_path):
    for data in listed():
        outcome(lambda data=data: READERS[kind][0](data, tmp_path))


@pytest.mark.parametrize("where", ["hidden = {}", "lr = {}", "sources = {}", "reverse = [{}]", "recipe = {}", "{} = 1"])
def test_every_hostile_value_is_a_setting_or_refused(where, tmp_path):
    for value in (*NUMBERS, *DATES, *(json.dumps(text) for text in TEXTS), "[" * DEEP + "]" * DEEP):
        outcome(lambda value=value: read_toml(where.format(value).encode("utf-8", "surrogatepass"), tmp_path))


@pytest.mark.parametrize("place", ["date", "value", "name", "id"])
def test_every_hostile_cell_is_a_value_or_refused(place, tmp_path):
    for cell in (*NUMBERS, *DATES, *TEXTS):
        odd = cell.replace('"', '""').encode("utf-8", "surrogatepass")
        rows = [[b"ds", b"y", b"unique_id"], *([b"2024-01-%02d" % (i + 1), b"%d" % (i % 4), b"a"] for i in range(8))]
        rows[0 if place == "name" else 4][["date", "value", "id", "name"].index(place) % 3] = b'"%s"' % odd
        outcome(lambda rows=rows: read_table(b"\n".join(map(b",".join, rows)) + b"\n", tmp_path))


# --- saved folders and the files beside them


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "text.txt").write_text(ENGLISH)
    good("train", "text.txt", *TINY, "--steps", "2", "--run", "r", "-q", folder=folder)
    return folder / "r"


def forge(path: Path) -> None:
    """Make the manifest and the pointers agree with what a checkpoint holds now: anybody can."""
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in sorted(path.iterdir())
        if file.name != "MANIFEST.json"
    }
    manifest = json.dumps({"format": "elman folder", "version": 1, "files": files}, indent=1).encode() + b"\n"
    (path / "MANIFEST.json").write_bytes(manifest)
    for name in ("LATEST", "BEST"):
        line = f"{hashlib.sha256(manifest).hexdigest()}  {path.name}/MANIFEST.json\n"
        (path.parent / name).write_text(line)


SAVED = ("model.json", "vocab.json", "training.json", "model.safetensors")
BESIDE = ("env.json", "report.json", "metrics.jsonl")


def change_file(path: Path, chance: random.Random) -> None:
    """Change a file; of tensors, the header."""
    data = path.read_bytes()
    if path.suffix != ".safetensors":
        path.write_bytes(changed(data, chance))
        return
    end = 8 + int.from_bytes(data[:8], "little")
    header = changed(data[8:end], chance)
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[end:])


def use_changed_files(run: Path, folder: Path, names: tuple[str, ...], seeds: range) -> Iterator[str]:
    """What becomes of a run of which one file was changed, and the manifest with it."""
    copy = folder / "r"
    shutil.copytree(run, copy)
    (checkpoint,) = (copy / "checkpoints").glob("step-*2")
    original = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    for seed in seeds:
        chance = random.Random(seed)
        name = chance.choice(names)
        change_file((checkpoint if name in SAVED else copy) / name, chance)
        forge(checkpoint)
        uses = {
            "load": lambda: package.load(copy),
            "resume": lambda: resume(copy, {"steps": 3}),
            "pictures": lambda: pictures(copy),
        }
        for use in ("load", "resume") if name in SAVED else ("resume",) if name == "env.json" else ("pictures",):
            try:
                yield outcome(uses[use])
            except Exception as error:
                raise AssertionError(f"{use} with a changed {name}, seed {seed}") from error
        for path, data in original.items():
            path.write_bytes(data)


def test_a_run_with_a_changed_file_is_used_or_refused_in_one_sentence(trained, tmp_path):
    found = list(use_changed_files(trained, tmp_path, SAVED, range(40)))
    assert min(found.count("read"), found.count("refused")) > 5


def test_a_run_with_changed_files_beside_is_used_or_refused_in_one_sentence(trained, tmp_path):
    pytest.importorskip("matplotlib")
    assert len(list(use_changed_files(trained, tmp_path, BESIDE, range(8)))) == 8


@pytest.mark.acceptance
def test_a_thousand_runs_with_a_changed_file_are_used_or_refused_in_one_sentence(trained, tmp_path):
    assert list(use_changed_files(trained, tmp_path, SAVED + BESIDE, range(10_000, 11_000)))


# --- the one place


@pytest.fixture
def odd_files(tmp_path):
    """Paths of things that are no regular files, by their kind."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(tmp_path)
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)
        yield {
            "a named pipe": tmp_path / "pipe",
            "a folder": tmp_path / "folder",
            "a socket": tmp_path / "socket",
            "a device": Path("/dev/zero"),
        }


@pytest.mark.skipif(sys.platform != "linux", reason="devices and pipes of Linux")
@pytest.mark.parametrize("kind", ["a named pipe", "a folder", "a socket", "a device"])
def test_a_configuration_is_a_regular_file(kind, odd_files):
    path = odd_files[kind]
    done = elman("train", "--print-config", "--config", path)
    assert done.code == 2
    assert str(path) in one_line(done)
    # A socket cannot be opened at all.
    assert kind in done.err or kind == "a socket"
    with pytest.raises(ElmanError, match="cannot be read"):
        Vocab.load(path)


def test_a_configuration_has_a_limit(tmp_path):
    path = tmp_path / "c.toml"
    path.write_bytes(b"#" * CONFIG_LIMIT)
    assert from_toml(path) == {}
    path.write_bytes(b"#" * (CONFIG_LIMIT + 1))
    with pytest.raises(ConfigError, match=r"c\.toml' is too large: it has 1,048,577 bytes"):
        from_toml(path)


def test_a_file_is_read_whole(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    assert read_limited(tmp_path / "a", DataError, limit=10) == b"0123456789"
    with pytest.raises(DataError, match="too large"):
        read_limited(tmp_path / "a", DataError, limit=9)
    with pytest.raises(DataError, match="no file has such a name"):
        read_limited(tmp_path / "a\0", DataError)


def test_a_byte_order_mark_is_no_part_of_a_configuration(tmp_path):
    (tmp_path / "c.toml").write_bytes(b"\xef\xbb\xbfhidden = 3\n")
    assert from_toml(tmp_path / "c.toml") == {"hidden": 3}


# --- kinds of values


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden", True),
        ("hidden", [4, True]),
        ("lr", False),
        ("epochs", True),
        ("held_out", True),
        ("reverse", 1),
        ("reverse", 0.0),
        ("reverse", "1"),
        ("unknown", 0),
        ("hidden", "٣"),
        ("lr", "０.５"),
        ("limit", "१"),
    ],
)
def test_a_truth_value_is_no_number_and_digits_are_0_to_9(name, value, tmp_path):
    (tmp_path / "c.toml").write_text(f"{name} = {json.dumps(value, ensure_ascii=False)}\n")
    with pytest.raises(ConfigError, match=rf"c\.toml: {name} = .*: it must be (a number|true or false)"):
        resolve({}, tmp_path / "c.toml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"ELMAN_{name.upper()}", "true" if isinstance(value, list) else str(value).lower())
        with pytest.raises(ConfigError, match="it must be"):
            resolve({}, None)


def test_truth_values_and_numbers_are_taken_for_what_they_are(tmp_path):
    (tmp_path / "c.toml").write_text('hidden = [4, 4]\nreverse = true\nlr = 1\nlimit = "12"\n')
    found = resolve({}, tmp_path / "c.toml")
    assert (found.hidden, found.reverse, found.lr, found.limit) == ((4, 4), True, 1.0, 12)
    assert found.values()["hidden"] == [4, 4]


@pytest.mark.parametrize("make", [lambda: TrainSettings(batch=True), lambda: TrainSettings(lr=True)])
def test_a_truth_value_is_no_number_in_python(make):
    with pytest.raises(ElmanError, match="a number, not true or false"):
        make()


def test_a_network_refuses_a_truth_value_for_a_number():
    task = package.TextTask(Vocab.chars("abc"))
    with pytest.raises(ElmanError, match="hidden = True"):
        package.Recurrent(task, hidden=True)


@pytest.mark.parametrize("text", ["٣", "３", "१.५", "²"])
def test_digits_of_other_scripts_are_refused_everywhere(text, tmp_path):
    for convert in (real, whole):
        with pytest.raises(ValueError, match="digits 0 to 9"):
            convert(text)
    for arguments in (["train", "--hidden", text], ["train", "--lr", text], ["generate", "r", "--temperature", text]):
        assert elman(*arguments, folder=tmp_path).code == 2
    (tmp_path / "t.csv").write_text(f"date,y\n2024-01-01,1\n2024-01-02,{text}\n2024-01-03,3\n")
    with pytest.raises(DataError, match=f"row 2: '{text}' is not a number"):
        read_series(str(tmp_path / "t.csv"))


def test_dates_in_digits_of_other_scripts_are_refused_in_every_format(tmp_path):
    odd = "2024-01-02".translate({ord(d): chr(0x660 + int(d)) for d in "0123456789"})
    (tmp_path / "t.csv").write_text(f"date,y\n2024-01-01,1\n{odd},2\n2024-01-03,3\n")
    for date_format in (None, "%Y-%m-%d"):
        with pytest.raises(DataError, match=r"row 2: .* is not a date"):
            read_series(str(tmp_path / "t.csv"), time="date", date_format=date_format)


# --- names


@pytest.mark.parametrize(
    "call",
    ["train @", "train x --run @", "stats @", "data @", "forecast @", "compress @ --run r", "evaluate @", "compare @"],
)
def test_an_empty_name_is_refused(call, tmp_path):
    (tmp_path / "notes.txt").write_text(ENGLISH)  # what an empty path, the working directory, would read
    done = elman(*[word.replace("@", "") for word in call.split()], folder=tmp_path)
    assert done.code == 2
    assert "is empty: give a name" in one_line(done)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_name_is_refused_in_python_and_in_files(tmp_path):
    with pytest.raises(ConfigError, match="the name of a text is empty"):
        list(text_chunks([""]))
    with pytest.raises(ConfigError, match="the name of the table is empty"):
        read_series("")
    with pytest.raises(ElmanError, match="the name of the model is empty"):
        package.load("")
    (tmp_path / "c.toml").write_text('sources = [""]\n')
    assert "is empty" in one_line(elman("train", "--config", "c.toml", folder=tmp_path))


def test_an_empty_prompt_is_a_prompt(trained):
    assert len(good("generate", trained, "", "--length", "5").out.removesuffix("\n")) == 5


ESCAPE = "a\x1b]0;owned\x07\x1b[31m\x7f\x9b2J\u202eb"


@pytest.mark.parametrize(
    "call", ["train {}", "evaluate {}", "generate {}", "forecast {}.csv", "train --config {}", "data {}", "compare {}"]
)
def test_control_characters_of_names_are_escaped_in_messages(call, tmp_path):
    done = elman(*[word.format(ESCAPE) for word in call.split()], folder=tmp_path)
    assert done.code in (2, 3, 4)
    assert all(c.isprintable() for c in one_line(done))


def test_control_characters_are_escaped_in_tables(tmp_path):
    name = ESCAPE.replace("/", "")
    rows = "".join(f"2024-01-{i + 1:02},{i % 5},x\n" for i in range(20))
    (tmp_path / f"{name}.csv").write_text(f"date,{name},{name}2\n{rows}")
    done = good("forecast", f"{name}.csv", "--model", "last", folder=tmp_path)
    (tmp_path / f"{name}.txt").write_text(ENGLISH)
    outputs = [done, good("data", f"{name}.txt", folder=tmp_path), good("stats", f"{name}.txt", folder=tmp_path)]
    for done in outputs:
        assert all(c.isprintable() or c == "\n" for c in done.out + done.err), done
        assert "owned" in done.out


# --- waiting


@pytest.mark.skipif(sys.platform != "linux", reason="what a pipe without a writer does differs")
@pytest.mark.parametrize("verb", ["data", pytest.param("compare", marks=pytest.mark.acceptance)])
def test_a_pipe_without_a_writer_is_named_and_can_be_interrupted(verb, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    process = program(verb, tmp_path / "pipe", cwd=tmp_path)
    assert process.stderr
    line = process.stderr.readline()
    assert "waiting for a writer of the named pipe" in line
    assert "pipe'" in line
    process.send_signal(subprocess.signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipe"]


@pytest.mark.skipif(sys.platform != "linux", reason="pipes of Linux")
def test_what_a_pipe_gives_is_read_whole(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    text = ENGLISH * 50  # more than a pipe holds at once
    writer = threading.Thread(target=path.write_text, args=(text,))
    writer.start()
    assert "".join(text_chunks([path])) == text
    writer.join()


# --- time


def test_the_columns_of_a_table_are_not_compared_with_each_other(tmp_path, monkeypatch):
    """Counted, not timed: how often names are compared grows with their number, not with its square."""

    class Name(str):
        __slots__ = ()
        compared = 0

        def __eq__(self, other: object) -> bool:
            Name.compared += 1
            return str.__eq__(self, str(other))

        def __hash__(self) -> int:
            return str.__hash__(self)

        def strip(self, chars: str | None = None) -> str:
            return Name(str.strip(self, chars))

    import csv

    reader = csv.reader

    class Rows:
        def __init__(self, *arguments: object, **options: object) -> None:
            self.rows = reader(*arguments, **options)  # type: ignore[call-overload]

        def __iter__(self) -> Iterator[list[str]]:
            return self

        def __next__(self) -> list[str]:
            return [Name(cell) for cell in next(self.rows)]

        @property
        def line_num(self) -> int:
            return self.rows.line_num

    monkeypatch.setattr(csv, "reader", Rows)
    n = 1000
    (tmp_path / "w.csv").write_text(",".join(f"c{i}" for i in range(n)) + "\n" + ",".join("1" for _ in range(n)) + "\n")
    found, _ = read_series(str(tmp_path / "w.csv"))
    assert len(found) == n
    assert Name.compared < 60 * n


def test_a_line_in_many_pieces_is_put_together_once(tmp_path):
    values = np.arange(40_000)
    (tmp_path / "w.csv").write_text(",".join(f"c{i}" for i in values) + "\n" + ",".join(map(str, values)) + "\n")
    found, _ = read_series(str(tmp_path / "w.csv"), columns=["c0", "c39999"])
    assert [series.values[-1] for series in found] == [0, 39_999]
