"""Saved folders, checkpoints and the run's lock, where nothing crashes and nobody is hostile."""

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import elman
from elman.errors import ConfigError, ModelError, StorageError
from elman.storage.atomic import RunLock, remove_stale_temporaries, replace_file
from elman.storage.checkpoints import Checkpoints
from elman.storage.folder import read_folder, write_folder
from elman.storage.tensors import JSON_LIMIT, dump_tensors, load_tensors, strict_json

SOURCE = str(Path(elman.__file__).parents[1])
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16]
DTYPES += [torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool]


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": SOURCE},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def latest(checkpoints: Checkpoints) -> Path | None:
    found = checkpoints.latest()
    return found and found.path


def best(checkpoints: Checkpoints) -> Path | None:
    found = checkpoints.best()
    return found and found.path


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


# --- folders


def test_what_is_written_is_read(tmp_path):
    files = {"config.json": b'{"cell": "gru"}', "notes.txt": "caf\u00e9 \U0001f600\n".encode(), "empty": b""}
    digest = write_folder(tmp_path / "a" / "b" / "gru", files)
    saved = read_folder(tmp_path / "a" / "b" / "gru")
    assert saved.files == files
    assert saved.json("config.json") == {"cell": "gru"}
    assert saved.text("notes.txt") == "caf\u00e9 \U0001f600\n"
    assert saved.digest == digest
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == ["gru"]


def test_the_manifest_can_be_checked_by_other_programs(tmp_path):
    files = {"b.bin": b"b", "a.bin": b"aa"}
    write_folder(tmp_path / "gru", files)
    manifest = json.loads((tmp_path / "gru" / "MANIFEST.json").read_text())
    assert (manifest["format"], manifest["version"]) == ("elman folder", 1)
    for name, entry in manifest["files"].items():
        known = subprocess.run(["sha256sum", tmp_path / "gru" / name], capture_output=True, text=True, check=True)
        assert entry == {"bytes": len(files[name]), "sha256": known.stdout.split()[0]}


def test_equal_contents_give_equal_digests(tmp_path):
    weights = {"b": torch.ones(2), "a": torch.zeros(3)}
    one = write_folder(tmp_path / "one", {"x.json": b"1", "w.safetensors": weights})
    two = write_folder(tmp_path / "two", {"w.safetensors": dict(reversed(weights.items())), "x.json": b"1"})
    other = write_folder(tmp_path / "other", {"w.safetensors": weights, "x.json": b"2"})
    assert one == two != other


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_files_obey_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_folder(tmp_path / "gru", {"w.safetensors": {"w": np.ones(3)}})
        replace_file(tmp_path / "config.toml", b"")
    finally:
        os.umask(before)
    for path in [*(tmp_path / "gru").iterdir(), tmp_path / "config.toml"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "gru").stat().st_mode) == 0o777 & ~umask


@pytest.mark.parametrize("kind", ["file", "folder", "broken link"])
def test_what_exists_is_never_replaced(tmp_path, kind):
    path = tmp_path / "gru"
    if kind == "file":
        path.write_bytes(b"precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    with pytest.raises(ConfigError, match="exists already") as error:
        write_folder(path, {"a.json": b"1"})
    assert str(path) in one_line(error)
    assert list(tmp_path.iterdir()) == [path]
    assert kind != "file" or path.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "MANIFEST.json", ".hidden", "a b", "\0", "x" * 101])
def test_a_file_of_a_folder_has_a_plain_name(tmp_path, name):
    with pytest.raises(ValueError, match="cannot name a file"):
        write_folder(tmp_path / "gru", {name: b""})
    assert not list(tmp_path.iterdir())


def test_json_that_could_not_be_read_back_is_not_written(tmp_path):
    with pytest.raises(ConfigError, match=r"vocab\.json would have 16777217 bytes"):
        write_folder(tmp_path / "gru", {"vocab.json": b" " * (JSON_LIMIT + 1)})
    assert not list(tmp_path.iterdir())


WEIRD = ["new\nline", "\U0001f600" * 60, "x" * 250, "  ", "-rf", "a.tmp-b", "\udcff", "'\"", "~", "CON"]


@pytest.mark.parametrize("name", WEIRD)
def test_weird_names_work(tmp_path, name):
    checkpoints = Checkpoints(tmp_path / name / name)
    path = checkpoints.save(1, {"a.json": b"1"}, best=True)
    assert (latest(checkpoints), best(checkpoints)) == (path, path)
    write_folder(tmp_path / f"{name[:240]}.model", {"a.json": b"1"})
    with RunLock(tmp_path / name), pytest.raises(ConfigError, match="is in use by process") as error:
        RunLock(tmp_path / name).__enter__()
    assert repr(str(tmp_path / name)) in one_line(error)
    (path / "a.json").write_bytes(b"2")
    with pytest.raises(ModelError) as refusal:
        latest(checkpoints)
    assert repr(str(path / "a.json")) in one_line(refusal)


@pytest.mark.parametrize("name", ["nul\0", "\ud800"])
def test_impossible_names_are_refused(tmp_path, name):
    for action in (
        lambda path: write_folder(path, {"a.json": b"1"}),
        read_folder,
        lambda path: replace_file(path, b""),
        lambda path: RunLock(path).__enter__(),
        lambda path: Checkpoints(path).save(1, {}),
    ):
        with pytest.raises(ConfigError, match="is not a usable path") as error:
            action(tmp_path / name)
        one_line(error).encode()
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_too_long_is_refused(tmp_path):
    with pytest.raises(StorageError, match="File name too long"):
        write_folder(tmp_path / ("x" * 256), {"a.json": b"1"})
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"precious")
    for path in (tmp_path / "file" / "gru", tmp_path / "file" / "deep" / "gru"):
        for action in (lambda path: write_folder(path, {}), lambda path: Checkpoints(path).save(1, {})):
            with pytest.raises(StorageError, match="Not a directory") as error:
                action(path)
            assert str(path) in one_line(error)
        with pytest.raises(ModelError, match="not a saved folder"):
            read_folder(path)
    with pytest.raises(StorageError, match="Not a directory"), RunLock(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_linked_folder_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    path = Checkpoints(tmp_path / "link").save(1, {"a.json": b"1"})
    assert latest(Checkpoints(tmp_path / "real")) == tmp_path / "real" / path.name
    (tmp_path / "alias").symlink_to(path)
    assert read_folder(tmp_path / "alias").json("a.json") == 1


def test_only_the_files_asked_for_are_read(tmp_path):
    write_folder(tmp_path / "gru", {"model": b"m", "optimizer": b"oo", "state.json": b"{}"})
    (tmp_path / "gru" / "optimizer").write_bytes(b"??")  # same size: only its digest would tell
    assert read_folder(tmp_path / "gru", names=["model"]).files == {"model": b"m"}
    with pytest.raises(ModelError, match="optimizer' is damaged or foreign: its SHA-256"):
        read_folder(tmp_path / "gru", names=["optimizer"])
    with pytest.raises(ModelError, match=r"the file vocab\.json is missing"):
        read_folder(tmp_path / "gru", names=["vocab.json"])
    (tmp_path / "gru" / "optimizer").unlink()
    with pytest.raises(ModelError, match="the file 'optimizer' is missing"):
        read_folder(tmp_path / "gru", names=["model"])


def test_a_file_is_read_once_and_checked_when_it_is_first_used(tmp_path, monkeypatch):
    write_folder(tmp_path / "gru", {"model.json": b"1", "optimizer.json": b"2", "state.json": b"3"})
    hashed = count_hashed(monkeypatch)
    saved = read_folder(tmp_path / "gru", names=["model.json"])
    assert [saved.json("model.json") for _ in range(3)] == [1, 1, 1]
    assert hashed[1:] == [b"1"]  # after the manifest
    assert [saved.json("state.json") for _ in range(3)] == [3, 3, 3]
    assert hashed[1:] == [b"1", b"3"]
    (tmp_path / "gru" / "optimizer.json").write_bytes(b"!")
    with pytest.raises(ModelError, match=r"optimizer\.json' is damaged or foreign: its SHA-256"):
        saved.json("optimizer.json")
    with pytest.raises(ModelError, match=r"gru' is damaged or foreign: the file vocab\.json is missing"):
        saved.json("vocab.json")


def count_hashed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is hashed from here on."""
    hashed: list[bytes] = []
    sha256 = hashlib.sha256

    def counting(data: bytes) -> Any:
        hashed.append(data)
        return sha256(data)

    monkeypatch.setattr(hashlib, "sha256", counting)
    return hashed


def test_a_checkpoint_is_whole_where_the_files_read_are(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, {"model.json": str(step).encode(), "optimizer": b"oooo"}, best=step == 1)
    hashed = count_hashed(monkeypatch)
    saved = checkpoints.latest(["model.json"])
    assert saved is not None
    assert saved.json("model.json") == 2
    assert hashed[1:] == [b"2"]
    (tmp_path / "step-000002" / "optimizer").write_bytes(b"????")  # same size: only its digest would tell
    for names, step in ((["model.json"], 2), (["model.json", "optimizer"], 1), (None, 1)):
        saved = checkpoints.latest(names)
        assert saved is not None
        assert saved.json("model.json") == step
        assert len(checkpoints.skipped) == 2 - step
    hashed.clear()
    saved = checkpoints.best(["model.json"])
    assert saved is not None
    assert hashed[1:] == [b"1"]


def test_other_folders_are_not_saved_folders(tmp_path):
    with pytest.raises(ModelError, match="is not a saved folder") as error:
        read_folder(tmp_path / "nothing")
    assert repr(str(tmp_path / "nothing")) in one_line(error)
    with pytest.raises(ModelError, match=r"it has no MANIFEST.json"):
        read_folder(tmp_path)
    (tmp_path / "MANIFEST.json").write_text('{"format": "maven"}')
    with pytest.raises(ModelError, match="it is not a manifest of elman"):
        read_folder(tmp_path)
    (tmp_path / "MANIFEST.json").write_text('{"format": "elman folder", "version": 2, "shards": []}')
    with pytest.raises(ModelError, match="has the format version 2, this elman reads 1; install a newer"):
        read_folder(tmp_path)


@pytest.mark.parametrize("where", ["MANIFEST.json", "a.json"])
@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_only_plain_files_are_opened(tmp_path, where, kind):
    # The sizes agree: a link is as long as the name that it points to, a pipe is empty.
    write_folder(tmp_path / "gru", {"a.json": b"" if kind == "fifo" else b"../aside"})
    path = tmp_path / "gru" / where
    path.rename(tmp_path / "aside")
    if kind == "link":
        path.symlink_to("../aside")
    elif kind == "fifo":
        os.mkfifo(path)  # opening it would wait for ever
    else:
        path.mkdir()
    with pytest.raises(ModelError) as error:
        read_folder(tmp_path / "gru")
    assert where in one_line(error)


def test_a_disk_that_fails_while_reading_is_named(tmp_path, monkeypatch):
    def broken(path: Path, mode: str) -> None:
        raise OSError(5, "Input/output error")

    write_folder(tmp_path / "gru", {"a.json": b"1"})
    monkeypatch.setattr(Path, "open", broken)
    with pytest.raises(StorageError, match=r"cannot read .*gru': Input/output error; check the disk"):
        read_folder(tmp_path / "gru")


def test_replacing_a_file(tmp_path):
    path = tmp_path / "config.toml"
    for data in (b"one", b"", b"three"):
        replace_file(path, data)
        assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(StorageError, match=r"cannot write '.*missing/config.toml': No such file"):
        replace_file(tmp_path / "missing" / "config.toml", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="Is a directory"):
        replace_file(tmp_path / "folder", b"")
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "folder"]


def test_sweeping_removes_left_overs_and_nothing_else(tmp_path):
    kept = [
        "step-000001",
        "a.tmp-",
        "b.tmp-0123456789abcde",
        "c.tmp-0123456789abcdef.bak",
        ".tmp-0123456789abcdeg",
    ]
    for name in kept:
        (tmp_path / name).mkdir()
    (tmp_path / "step-000002.tmp-0123456789abcdef" / "deep").mkdir(parents=True)
    (tmp_path / "LATEST.tmp-fedcba9876543210").write_bytes(b"")
    (tmp_path / "link.tmp-fedcba9876543210").symlink_to("step-000001")
    swept = ["LATEST.tmp-fedcba9876543210", "link.tmp-fedcba9876543210", "step-000002.tmp-0123456789abcdef"]
    assert [path.name for path in remove_stale_temporaries(tmp_path)] == swept
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    assert remove_stale_temporaries(tmp_path) == remove_stale_temporaries(tmp_path / "missing") == []


def test_storage_starts_without_numpy_and_pytorch():
    code = "import sys, elman.storage.folder; print(sorted({'numpy', 'torch', 'safetensors'} & set(sys.modules)))"
    assert python(code).communicate()[0] == "[]\n"


# --- tensors and JSON


def bytes_of(tensor: torch.Tensor) -> list[int]:
    return tensor.reshape(-1).view(torch.uint8).tolist()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 5)])
def test_tensors_come_back_bit_for_bit(dtype, shape):
    bits = torch.randint(0, 256, (*shape, dtype.itemsize), dtype=torch.uint8)
    tensor = (bits[..., 0] > 127) if dtype == torch.bool else bits.view(dtype).reshape(shape)
    found = load_tensors(dump_tensors({"x": tensor}), {"x": (shape, dtype)}, "file")["x"]
    assert (found.dtype, found.shape) == (dtype, shape)
    assert bytes_of(found) == bytes_of(tensor)


def test_numpy_and_pytorch_write_the_same_file():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert dump_tensors({"x": array}) == dump_tensors({"x": torch.from_numpy(array)})
    mixed = load_tensors(dump_tensors({"x": array.T, "y": torch.ones(2)}), None, "file")
    assert torch.equal(mixed["x"], torch.from_numpy(array).T)
    assert load_tensors(dump_tensors({}), {}, "file") == {}


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_views_are_saved_as_they_look(make):
    array = make(np.arange(24.0).reshape(2, 3, 4))
    views = {
        "transposed": array.swapaxes(0, 2),
        "sliced": array[:, 1:, ::2],
        "whole": array,
        "tied": array,
        "one": array[0, 0, 0:1],
    }
    found = load_tensors(dump_tensors(views), None, "file")
    for name, view in views.items():
        assert found[name].tolist() == view.tolist()


def test_foreign_byte_order_and_parameters_are_saved_by_value():
    swapped = np.arange(4, dtype=">i4")
    parameter = torch.nn.Parameter(torch.ones(2))
    found = load_tensors(dump_tensors({"x": swapped}), None, "file") | load_tensors(
        dump_tensors({"p": parameter}), None, "file"
    )
    assert found["x"].tolist() == [0, 1, 2, 3]
    assert (found["p"].tolist(), found["p"].requires_grad) == ([1, 1], False)


@pytest.mark.parametrize(
    ("expected", "why"),
    [
        ({}, "2 tensors are unknown, the first is 'b'"),
        ({"w": ((2, 3), torch.float32)}, "1 tensors are unknown, the first is 'b'"),
        (
            {"w": ((2, 3), torch.float32), "b": ((3,), torch.float32), "c": ((), torch.float32)},
            "1 tensors are missing, the first is 'c'",
        ),
        ({"w": ((3, 2), torch.float32), "b": ((3,), torch.float32)}, "'w' is [2, 3] of float32, not [3, 2]"),
        (
            {"w": ((2, 3), torch.float64), "b": ((3,), torch.float32)},
            "[2, 3] of float32, not [2, 3] of float64",
        ),
        ({"w": ((2, 3), torch.float32), "b": ((3, 1), torch.float32)}, "'b' is [3] of float32, not [3, 1]"),
    ],
)
def test_tensors_other_than_expected_are_refused(expected, why):
    data = dump_tensors({"w": torch.ones(2, 3), "b": torch.ones(3)})
    with pytest.raises(ModelError) as error:
        load_tensors(data, expected, "'m.safetensors'")
    assert "'m.safetensors' is damaged or foreign: " in one_line(error)
    assert why in one_line(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_json_comes_back(value):
    assert strict_json(json.dumps(value).encode(), "file") == value
    assert strict_json(json.dumps(value, ensure_ascii=False).encode(), "file") == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        "\ufeff{}".encode(),
        "{}".encode("utf-16"),
        b"NaN",
        b"[Infinity]",
        b'{"a": -Infinity}',
        b"1e999",
        b"-1e999",
        b'{"a": 1, "a": 1}',
        b'[{"b": {"a": 1, "c": 2, "a": 3}}]',
        b'"\\ud800"',
        b'{"\\udfff": 1}',
        b"9" * 5000,
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[1,]",
        b"'a'",
        b"{}{}",
        b" " * (JSON_LIMIT + 1),
    ],
    ids=lambda data: repr(data[:20]),
)
def test_json_that_means_trouble_is_refused(data):
    with pytest.raises(ModelError, match=r"'config.json' is damaged or foreign: ") as error:
        strict_json(data, "'config.json'")
    assert len(one_line(error)) < 300


def test_the_largest_finite_number_is_a_number():
    assert strict_json(b"1e308", "file") == 1e308


# --- checkpoints


def save(root: Path, *steps: int, best: int | None = None, keep: int = 2) -> Checkpoints:
    checkpoints = Checkpoints(root, keep)
    for step in steps:
        checkpoints.save(step, {"step.json": str(step).encode()}, best=step == best)
    return checkpoints


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_a_run_without_checkpoints_has_none(tmp_path):
    for root in (tmp_path, tmp_path / "missing"):
        checkpoints = Checkpoints(root)
        assert (latest(checkpoints), best(checkpoints), checkpoints.remove_stale_temporaries()) == (None, None, [])
        assert checkpoints.skipped == ()
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("keep", [1, 2, 3, 10])
def test_the_newest_are_kept_and_the_best(tmp_path, keep):
    checkpoints = save(tmp_path, *range(100, 600, 100), best=200, keep=keep)
    newest = [f"step-000{step}" for step in range(100, 600, 100)][-keep:]
    assert names(tmp_path) == sorted({"BEST", "LATEST", "step-000200", *newest})
    assert latest(checkpoints) == tmp_path / "step-000500"
    assert best(checkpoints) == tmp_path / "step-000200"


def test_at_least_one_is_kept(tmp_path):
    with pytest.raises(ConfigError, match="keep is 0"):
        Checkpoints(tmp_path, keep=0)


def test_the_best_moves(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step, best in ((1, True), (2, False), (3, True), (4, False), (5, False)):
        checkpoints.save(step, {}, best=best)
    assert names(tmp_path) == ["BEST", "LATEST", "step-000003", "step-000004", "step-000005"]


def test_steps_are_numbers_not_words(tmp_path):
    save(tmp_path, 0, 999_999, 1_000_000)
    assert names(tmp_path) == ["LATEST", "step-1000000", "step-999999"]


@pytest.mark.parametrize("state", ["whole", "damaged"])
def test_a_step_is_saved_again_beside_the_first(tmp_path, state):
    checkpoints = save(tmp_path, 1, 2, 3)
    if state == "damaged":
        (tmp_path / "step-000003" / "step.json").write_bytes(b"!")
        assert latest(checkpoints) == tmp_path / "step-000002"
    path = checkpoints.save(3, {"step.json": b"33"})
    assert latest(checkpoints) == path == tmp_path / "step-000003.2"
    assert names(tmp_path) == ["LATEST", "step-000002", "step-000003.2"]
    checkpoints.save(4, {})
    assert names(tmp_path) == ["LATEST", "step-000003.2", "step-000004"]


def test_the_best_survives_its_step_being_saved_again(tmp_path):
    checkpoints = save(tmp_path, 1, 2, best=2)
    checkpoints.save(2, {"step.json": b"22"})
    assert best(checkpoints) == tmp_path / "step-000002"
    assert latest(checkpoints) == tmp_path / "step-000002.2"
    assert checkpoints.save(2, {}, best=True) == best(checkpoints) == tmp_path / "step-000002.3"
    assert names(tmp_path) == ["BEST", "LATEST", "step-000001", "step-000002.3"]


def test_going_back_leaves_the_abandoned_course(tmp_path):
    checkpoints = save(tmp_path, 100, 200, 300, 400, best=300, keep=3)
    checkpoints.save(250, {})
    assert latest(checkpoints) == tmp_path / "step-000250"
    assert names(tmp_path) == ["BEST", "LATEST", "step-000200", "step-000250", "step-000300"]


def test_what_is_not_a_checkpoint_is_left_alone(tmp_path):
    foreign = [
        "step-000001.bak",
        "step-1",
        "step-0000001",
        "step-000001.1",
        "step-000001.02",
        "notes",
        "step-000001 ",
    ]
    for name in foreign:
        (tmp_path / name).mkdir()
    assert latest(Checkpoints(tmp_path)) is None
    save(tmp_path, 1, 2, 3, 4)
    assert names(tmp_path) == sorted([*foreign, "LATEST", "step-000003", "step-000004"])


# Each returns the step that is then the newest whole one, and what is said of the one passed over.


def damage_pointer(root: Path) -> tuple[int, str]:
    (root / "LATEST").write_text("step-000003\n")
    return 3, "LATEST' is damaged or foreign: it does not name a checkpoint"


def remove_pointer(root: Path) -> tuple[int, str]:
    (root / "LATEST").unlink()
    return 3, "LATEST' is damaged or foreign: it is missing"


def aim_outside(root: Path) -> tuple[int, str]:
    shutil.copytree(root / "step-000003", root.parent / "step-000009")
    line = (root / "LATEST").read_text()
    (root / "LATEST").write_text(line.replace("step-000003", "../step-000009"))
    return 3, "LATEST' is damaged or foreign: it does not name a checkpoint"


def remove_folder(root: Path) -> tuple[int, str]:
    shutil.rmtree(root / "step-000003")
    return 2, "step-000003' is not a saved folder"


def damage_file(root: Path) -> tuple[int, str]:
    (root / "step-000003" / "step.json").write_bytes(b"7")
    return 2, "step.json' is damaged or foreign: its SHA-256 is not the one in the manifest"


def exchange_folders(root: Path) -> tuple[int, str]:
    (root / "step-000003").rename(root / "aside")
    (root / "step-000002").rename(root / "step-000003")
    (root / "aside").rename(root / "step-000002")
    return 2, "step-000003' is damaged or foreign: it is not the checkpoint that LATEST names"


@pytest.mark.parametrize(
    "damage", [damage_pointer, remove_pointer, aim_outside, remove_folder, damage_file, exchange_folders]
)
def test_without_the_latest_the_newest_whole_one_is_used_and_it_says_so(tmp_path, damage):
    root = tmp_path / "run"
    checkpoints = save(root, 1, 2, 3)
    step, why = damage(root)
    found = checkpoints.latest()
    assert found is not None
    assert found.json("step.json") == step
    assert why in checkpoints.skipped[0]
    checkpoints.save(4, {"step.json": b"4"})
    assert (latest(checkpoints), checkpoints.skipped) == (root / "step-000004", ())


def test_checkpoints_none_of_which_is_whole_are_not_taken_for_a_fresh_run(tmp_path):
    checkpoints = save(tmp_path, 1, 2, best=2)
    for path in tmp_path.glob("step-*/step.json"):
        path.write_bytes(b"!")
    with pytest.raises(ModelError, match=r"every checkpoint in .* is damaged: .*step-000002.*step-000001") as error:
        latest(checkpoints)
    one_line(error)
    with pytest.raises(ModelError, match="SHA-256"):
        best(checkpoints)
    for folder in tmp_path.glob("step-*"):
        shutil.rmtree(folder)
    with pytest.raises(ModelError, match=r"every checkpoint in .* is damaged"):
        latest(checkpoints)


@pytest.mark.parametrize("pointer", ["LATEST", "BEST"])
def test_no_flipped_bit_makes_a_pointer_name_another_checkpoint(tmp_path, pointer):
    checkpoints = save(tmp_path, 4, 5, best=5)  # "4" and "5" differ in one bit
    line = (tmp_path / pointer).read_bytes()
    find = latest if pointer == "LATEST" else best
    for bit in range(8 * len(line)):
        (tmp_path / pointer).unlink()
        (tmp_path / pointer).write_bytes(
            line[: bit // 8] + bytes([line[bit // 8] ^ 1 << bit % 8]) + line[bit // 8 + 1 :]
        )
        if pointer == "BEST":
            with pytest.raises(ModelError):
                find(checkpoints)
        else:
            assert find(checkpoints) == tmp_path / "step-000005"
            assert checkpoints.skipped


def test_a_damaged_pointer_to_the_best_stops_the_deletion(tmp_path):
    checkpoints = save(tmp_path, 1, 2, 3, best=1)
    (tmp_path / "BEST").write_bytes(b"?")
    with pytest.raises(ModelError, match="BEST' is damaged"):
        checkpoints.save(4, {})
    assert names(tmp_path) == ["BEST", "LATEST", "step-000001", "step-000002", "step-000003", "step-000004"]
    assert latest(checkpoints) == tmp_path / "step-000004"


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="sha256sum is not installed")
def test_pointers_can_be_checked_by_hand(tmp_path):
    save(tmp_path, 1, best=1)
    for pointer in ("LATEST", "BEST"):
        done = subprocess.run(
            ["sha256sum", "--check", "--strict", pointer], cwd=tmp_path, capture_output=True, check=True
        )
        assert done.stdout == b"step-000001/MANIFEST.json: OK\n"


# --- the lock

HOLD = """
import sys
from pathlib import Path
from elman.storage.atomic import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_training_is_refused_and_a_killed_one_leaves_no_lock(tmp_path):
    root = tmp_path / "new" / "run"
    holder = python(HOLD, root)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ConfigError, match=f"in use by process {holder.pid}; wait for it") as error:
        RunLock(root).__enter__()
    assert repr(str(root)) in one_line(error)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert (root / ".lock.pid").read_text() == str(holder.pid)  # it is there, and means nothing
    with RunLock(root):
        assert (root / ".lock.pid").read_text() == str(os.getpid())
        second = python(HOLD, root)
        assert second.communicate()[0] == ""
        assert second.returncode == 1
    with RunLock(root):
        pass


@pytest.mark.parametrize("written", [b"", b"abc", b"9" * 100, b"\xff", b"4711"])
def test_what_the_files_of_a_lock_hold_is_no_matter(tmp_path, written):
    (tmp_path / ".lock").write_bytes(written)  # as killed runs leave it, and runs of before, with their number
    (tmp_path / ".lock.pid").write_bytes(written)
    with RunLock(tmp_path):
        assert (tmp_path / ".lock.pid").read_text() == str(os.getpid())
        (tmp_path / ".lock.pid").write_bytes(written)
        with pytest.raises(ConfigError, match=r"in use by (another process|process 9{20}|process 4711);"):
            RunLock(tmp_path).__enter__()
        (tmp_path / ".lock.pid").unlink()
        with pytest.raises(ConfigError, match="in use by another process;"):
            RunLock(tmp_path).__enter__()


def test_a_lock_is_released_in_another_thread(tmp_path):
    """A run is a generator: whichever thread drops it ends it."""
    lock = RunLock(tmp_path)
    lock.__enter__()
    thread = threading.Thread(target=lock.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    with RunLock(tmp_path):
        pass


def test_a_lock_that_fails_leaves_no_open_file(tmp_path):
    with RunLock(tmp_path):
        before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
        for _ in range(5):
            with pytest.raises(ConfigError):
                RunLock(tmp_path).__enter__()
        assert before in {0, len(list(Path("/proc/self/fd").iterdir()))}


@pytest.mark.parametrize("best", [False, True])
def test_a_reader_whose_checkpoint_is_removed_meanwhile_reads_the_next(tmp_path, monkeypatch, best):
    """Another process saves two more while this one has read the pointer and not yet the folder."""
    writer, reader = Checkpoints(tmp_path, keep=1), Checkpoints(tmp_path)
    writer.save(1, {"a.json": b"1"}, best=True)
    opened = []

    def slow(path: Path, **how: Any) -> Any:
        if not opened:
            opened.append(path.name)
            for step in (2, 3):
                writer.save(step, {"a.json": b"%d" % step}, best=True)
            assert not path.exists()
        return read_folder(path, **how)

    monkeypatch.setattr("elman.storage.checkpoints.read_folder", slow)
    found = reader.best() if best else reader.latest()
    assert (opened, found.path.name, found.json("a.json")) == (["step-000001"], "step-000003", 3)
    assert reader.skipped == ()
