"""The folder of a run and of other results: whole or absent, free to take over where nothing is lost."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from command import ENGLISH, TINY, elman, good, one_line, tree

from elman.cli.verbs import forecast as forecast_verb
from elman.errors import ConfigError, StorageError
from elman.plotting import figure_bytes, new_figure
from elman.storage import atomic
from elman.storage.atomic import is_unused, make_folder, new_folder, no_empty_folders, replace_file, translate_os_errors
from elman.storage.checkpoints import Checkpoints
from elman.training import run as runs

FILES = {"config.json": b"{}"}
TRAIN = ("train", "text.txt", *TINY, "--steps", "2", "-q", "--run")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(ENGLISH)
    return tmp_path


@pytest.mark.parametrize("interrupted", [KeyboardInterrupt(), StorageError("no space left")])
def test_what_fails_before_the_first_checkpoint_leaves_nothing(interrupted, home, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise interrupted

    before = tree(home)
    monkeypatch.setattr(runs, "save", fail)
    assert elman(*TRAIN, "new/deep/r", folder=home).code in (130, 74)
    assert tree(home) == before


@pytest.mark.parametrize("left", ["nothing", "a lock", "all that a kill leaves"])
def test_a_folder_without_a_checkpoint_is_taken_over(left, home):
    (home / "r").mkdir()
    if left != "nothing":
        (home / "r" / ".lock").touch()
    if left == "all that a kill leaves":
        (home / "r" / "config.toml").write_text("hidden = 8\n")
        (home / "r" / "env.json.tmp-0123456789abcdef").write_text("{")
        (home / "r" / "checkpoints" / "step-000000.tmp-0123456789abcdef").mkdir(parents=True)
    assert "begin it again with --run r" in one_line(elman("train", "--resume", "r", folder=home))
    good(*TRAIN, "r", folder=home)
    assert Checkpoints(home / "r" / "checkpoints").any
    assert not list((home / "r").rglob("*.tmp-*/*"))


@pytest.mark.parametrize(
    "name", ["notes.txt", "metrics.jsonl", "checkpoints/step-000001/x", "checkpoints/LATEST", ".lock/x"]
)
def test_a_folder_with_anything_else_is_not_touched(name, home):
    (home / "r" / name).parent.mkdir(parents=True)
    (home / "r" / name).write_text("precious")
    before = tree(home)
    done = elman(*TRAIN, "r", folder=home)
    assert done.code == 2
    assert "'r' exists already" in one_line(done)
    assert ("--resume r" if "checkpoints" in name else "or remove it") in done.err
    assert tree(home) == before


def test_a_run_that_another_process_has_begun_in_the_same_folder_is_not_overwritten(home, monkeypatch):
    job = runs.begin(home / "r", runs.Config.resolve(("test", {"sources": [str(home / "text.txt")], "steps": 2})))
    good(*TRAIN, "r", folder=home)  # the folder is still free
    before = tree(home)
    with pytest.raises(ConfigError, match=r"exists already|another process"):
        list(runs.execute(job))
    assert tree(home) == before


@pytest.mark.parametrize("gone", ["r", "r/checkpoints"])
def test_checkpoints_that_disappear_while_a_run_trains_are_an_error(gone, home, monkeypatch):
    save = runs.save

    def save_after_all_is_gone(job, **more):
        if job.training.step:
            shutil.rmtree(home / gone)
        return save(job, **more)

    monkeypatch.setattr(runs, "save", save_after_all_is_gone)
    done = elman(*TRAIN, "r", folder=home)
    assert done.code == 74
    assert "'r/checkpoints' has disappeared" in one_line(done)
    assert not (home / gone).exists()


def test_the_folder_of_checkpoints_is_made_once(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(1, FILES)
    shutil.rmtree(tmp_path / "c")
    with pytest.raises(StorageError, match="has disappeared"):
        checkpoints.save(2, FILES)
    with pytest.raises(StorageError, match="has disappeared"):
        Checkpoints(tmp_path / "c", existing=True).save(2, FILES)
    assert not (tmp_path / "c").exists()


# --- files of every verb


def test_folders_that_a_failure_made_are_removed_and_no_others(tmp_path):
    (tmp_path / "old").mkdir()

    def make(path: Path, *files: Path) -> None:
        with no_empty_folders(path):
            path.mkdir(parents=True)
            for file in files:
                file.touch()
            raise KeyError

    with pytest.raises(KeyError):
        make(tmp_path / "old" / "a" / "b")
    assert tree(tmp_path) == {"old": "folder"}
    with pytest.raises(KeyError):
        make(tmp_path / "new" / "b", tmp_path / "new" / "kept")
    assert set(tree(tmp_path)) == {"old", "new", "new/kept"}


def test_a_new_folder_has_its_files_or_is_not_there(tmp_path, monkeypatch):
    new_folder(tmp_path / "a" / "b", {"x": b"1", "y": b"2"})
    assert (tmp_path / "a" / "b" / "y").read_bytes() == b"2"
    write, calls = atomic.write_file, []

    def fail_second(path, data):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, data)

    monkeypatch.setattr(atomic, "write_file", fail_second)
    with pytest.raises(StorageError, match=r"cannot make '.*c/d': No space left.*; 3 bytes are needed"):
        new_folder(tmp_path / "c" / "d", {"x": b"1", "y": b"23"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


@pytest.mark.parametrize("existed", [False, True])
def test_a_run_that_fails_early_leaves_the_place_as_it_was(tmp_path, existed):
    place = tmp_path / "r"
    if existed:
        place.mkdir()

    def fails(path: Path) -> None:
        with runs.no_empty_run(path):
            make_folder(path)
            (path / "config.toml").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fails(place)
    assert tree(tmp_path) == ({"r": "folder"} if existed else {})


def test_an_unused_folder_holds_only_what_may_go(tmp_path):
    assert is_unused(tmp_path, ())
    (tmp_path / "a").touch()
    (tmp_path / "x.tmp-0123456789abcdef").touch()
    assert not is_unused(tmp_path, ())
    assert is_unused(tmp_path, ("a",))
    (tmp_path / "c").symlink_to(tmp_path)
    assert not is_unused(tmp_path, ("a",), ("c",))


@pytest.mark.parametrize(
    ("needed", "words"),
    [
        (0, r"device; \d+ bytes are free: make room, or raise the quota"),
        (5, r"device; 5 bytes are needed and \d+ are free: make room, or raise the quota"),
        (10**18, r"device; 1000000000000000000 bytes are needed and \d+ are free: make room, then"),
    ],
)
def test_a_full_disk_is_described_with_the_sizes_that_are_known(needed, words, tmp_path):
    with pytest.raises(StorageError, match=words), translate_os_errors("make", tmp_path / "x", needed):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_pictures_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """Every picture goes through `replace_file`: what is under its name is never a part of it."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    paths = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, into, **more: paths.append(into) or save(self, into, **more))
    (tmp_path / "text.txt").write_text(ENGLISH)
    good(*TRAIN, "r", folder=tmp_path)
    good("stats", "text.txt", "--picture", "z.svg", folder=tmp_path)
    good("forecast", "sine", "--model", "last", "--run", "f", "-q", folder=tmp_path)
    assert len(paths) == 7
    assert not [path for path in paths if isinstance(path, str | Path)]
    assert (tmp_path / "z.svg").read_bytes().startswith(b"<?xml")
    assert (tmp_path / "r" / "gradient.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_does_not_fit_leaves_none(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    figure = new_figure(2)
    data = figure_bytes(figure, figure.subplots(), "title")
    monkeypatch.setattr(os, "write", lambda file, data: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(StorageError, match=rf"cannot write '.*p\.png': No space left; {len(data)} bytes are needed"):
        replace_file(tmp_path / "p.png", data)
    assert not list(tmp_path.iterdir())


def test_costs_of_tokens_are_written_whole_or_not_at_all(home, monkeypatch):
    good(*TRAIN, "r", folder=home)
    written = []
    monkeypatch.setattr(atomic, "write_file", lambda path, data: written.append(data) or path.write_bytes(data))
    good("evaluate", "r", "--limit", "50", "--per-token", "t.tsv", folder=home)
    assert written == [(home / "t.tsv").read_bytes()]
    assert len(written[0].splitlines()) == 51


# --- pictures that nobody asked for


def test_pictures_are_drawn_of_few_series_or_when_asked(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(forecast_verb, "DRAWN", 1)
    rows = "".join(f"{2000 + i},{i % 3},{i % 4}\n" for i in range(20))
    (tmp_path / "t.csv").write_text(f"year,a,b\n{rows}")
    call = ("forecast", "t.csv", "--model", "last")
    done = good(*call, "--run", "many", folder=tmp_path)
    assert "no pictures of more than 1 series; --pictures draws them all" in done.err
    assert {path.suffix for path in (tmp_path / "many").iterdir()} == {".json", ".md", ".csv"}
    good(*call, "--run", "asked", "--pictures", "-q", folder=tmp_path)
    assert len(list((tmp_path / "asked").glob("*.png"))) == 8
    good(*call, "--run", "one", "--columns", "a", "-q", folder=tmp_path)
    assert len(list((tmp_path / "one").glob("*.png"))) == 4


def test_equal_names_of_files_are_numbered():
    stems = forecast_verb._stems
    assert stems(["a.b", "a b", "A-B", "a-b-2", "a/b"]) == ["a-b", "a-b-2", "A-B-3", "a-b-2-2", "a-b-4"]
    many = stems(["?"] * 3000)
    assert len({stem.casefold() for stem in many}) == 3000
