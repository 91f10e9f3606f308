"""The folder of a result: its own for every command, made before the work and gone without a result."""

import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from command import elman, good, one_line, tree

from elman.cli.folders import result_folder
from elman.errors import ConfigError


def test_commands_that_begin_together_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    together = Barrier(8, timeout=60)  # one that failed must not leave the others waiting

    def make(_: int) -> Path:
        together.wait()
        with result_folder(None, ["a/book.txt"], "gru") as folder:
            (folder / "x").touch()
            together.wait()
            return folder

    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(make, range(8)))
    assert made == {Path("runs") / f"book-gru-{n}" for n in range(1, 9)}


@pytest.mark.parametrize("given", [None, Path("deep/er")])
@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_nothing_is_left_of_a_folder_without_a_result(tmp_path, monkeypatch, given, error):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error), result_folder(given, ["x"], "forecast"):
        raise error
    assert tree(tmp_path) == {}


def test_a_folder_that_is_named_may_exist_if_it_is_empty(tmp_path):
    (tmp_path / "r").mkdir()
    with result_folder(tmp_path / "r", ["x"], "forecast") as folder:
        assert folder == tmp_path / "r"
    assert (tmp_path / "r").is_dir()
    (tmp_path / "r" / "x").touch()
    for odd in (tmp_path / "r", tmp_path / "r" / "x"):
        with pytest.raises(ConfigError, match="exists already: choose another --out"):
            result_folder(odd, ["x"], "compare", flag="--out").__enter__()


@pytest.mark.parametrize("verb", ["forecast s.csv --run", "compare s.csv --out", "compare s.txt --models 1-gram --out"])
@pytest.mark.parametrize("place", ["s.csv/r", "/proc/elman/r", "x" * 300])
def test_a_place_that_cannot_be_written_is_an_error_before_the_work(verb, place, tmp_path, monkeypatch):
    (tmp_path / "s.csv").write_text("y\n" + "1\n2\n4\n" * 9, encoding="utf-8")
    (tmp_path / "s.txt").write_text("abc " * 99, encoding="utf-8")
    for name in ("elman.forecasting.study.forecast", "elman.comparison.trained.compare_steps"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("it worked before it looked at the place"))
    before = tree(tmp_path)
    done = elman(*verb.split(), place, "-q", folder=tmp_path)
    assert done.code == 74
    assert re.search(f"cannot make '{place[:40]}", one_line(done))
    assert tree(tmp_path) == before


def test_a_result_comes_into_the_folder_that_was_made_for_it(tmp_path):
    (tmp_path / "s.csv").write_text("y\n" + "1\n2\n4\n" * 9, encoding="utf-8")
    (tmp_path / "empty").mkdir()
    call = ["forecast", "s.csv", "--model", "mean-2", "--horizon", 1, "-q"]
    for _ in range(2):
        good(*call, folder=tmp_path)
    good(*call, "--run", "empty", folder=tmp_path)
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {"s-forecast-1", "s-forecast-2"}
    for folder in ("runs/s-forecast-1", "runs/s-forecast-2", "empty"):
        assert {"report.json", "report.md", "forecast.csv"} <= {p.name for p in (tmp_path / folder).iterdir()}


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names of files are text there")
@pytest.mark.parametrize(
    "call",
    [
        "forecast {}.csv --model mean-2 --run",
        "compare {}.csv --models mean-2 --out",
        "compare {}.txt --models 1-gram --out",
    ],
)
def test_a_name_that_is_not_utf_8_is_written_as_an_escape(call, tmp_path):
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / f"{name}.csv").write_text("y\n" + "1\n2\n4\n" * 9, encoding="utf-8")
    (tmp_path / f"{name}.txt").write_text("the cat sat on the mat. " * 50, encoding="utf-8")
    good(*call.format(name).split(), "out", "-q", folder=tmp_path)
    (file,) = (tmp_path / "out").glob("*.json")
    assert rb"caf\udce9" in file.read_bytes()
    assert name in json.dumps(json.loads(file.read_text(encoding="utf-8")), ensure_ascii=False)
    assert list((tmp_path / "out").glob("*.md"))


def test_a_folder_that_another_command_makes_at_the_same_moment_is_taken(tmp_path, monkeypatch):
    """It appears between the look and the call that makes it."""
    monkeypatch.chdir(tmp_path)
    is_dir, mkdir, others = Path.is_dir, Path.mkdir, iter(["runs"])

    def late(path: Path) -> bool:
        found = is_dir(path)
        if not found and str(path) == next(others, None):
            mkdir(path)
        return found

    monkeypatch.setattr(Path, "is_dir", late)
    with result_folder(None, ["a/book.txt"], "gru") as folder:
        (folder / "x").touch()
    assert next(others, None) is None
    assert (tmp_path / "runs/book-gru-1/x").exists()


@pytest.mark.parametrize("given", [None, Path("runs/deep/er")])
def test_a_folder_that_another_command_removes_at_the_same_moment_is_made_again(given, tmp_path, monkeypatch):
    """`runs` is empty for a moment, and a command that ends without a result removes it."""
    monkeypatch.chdir(tmp_path)
    mkdir, times = Path.mkdir, iter(range(9))

    def late(path: Path, *arguments: Any, **more: Any) -> None:
        if path.parent.name == "runs" and next(times) == 0:
            path.parent.rmdir()
        mkdir(path, *arguments, **more)

    monkeypatch.setattr(Path, "mkdir", late)
    with result_folder(given, ["a/book.txt"], "gru") as folder:
        (folder / "x").touch()
    assert next(times) > 1
    assert (tmp_path / (given or "runs/book-gru-1") / "x").exists()
