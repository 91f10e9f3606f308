"""A checkpoint is whole or absent: killed anywhere, on a full disk, and in the exact order of system calls.

The kills need many forks of a process without threads. So each test here runs this file as a script, which
imports neither pytest's plugins nor NumPy nor PyTorch; the functions above `main` are its commands.
"""

import errno
import itertools
import json
import os
import random
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import elman
from elman.errors import StorageError
from elman.storage.checkpoints import LATEST, Checkpoints
from elman.storage.folder import read_folder, write_folder

SYSTEM_CALLS = ("open", "write", "fsync", "close", "mkdir", "rename", "replace", "unlink", "rmdir")
MAKING_CALLS = ("write", "fsync", "mkdir", "rename", "replace")


def contents(step: int, size: int = 600) -> dict[str, bytes]:
    """What a checkpoint of `step` holds: different in every step and file, and known without the disk."""
    return {name: random.Random(f"{step}{name}").randbytes(size) for name in ("model.bin", "state.bin")}


def intercept(before: Callable[[str, tuple[Any, ...]], None], replace: Callable[..., None] = setattr) -> None:
    """Call `before(name, arguments)` ahead of every system call that changes the disk."""

    def intercepted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            before(name, arguments)
            return real(*arguments, **named)

        return call

    for name in SYSTEM_CALLS:
        replace(os, name, intercepted(name, getattr(os, name)))


def check_whole(root: Path, acknowledged: Path | None, saved: str) -> str:
    """The newest checkpoint after a crash, having checked that nothing visible is less than whole."""
    for folder in root.glob("step-*"):
        if ".tmp-" not in folder.name:
            assert read_folder(folder).files == contents(step_of(folder)), folder
    checkpoints = Checkpoints(root)
    latest, best = checkpoints.latest(), checkpoints.best()
    before = acknowledged.name if acknowledged else None
    assert (latest.path.name if latest else None) in {before, saved}
    if acknowledged:
        assert checkpoints.skipped == ()
        assert best is not None
    return latest.path.name if latest else ""


def newest(checkpoints: Checkpoints) -> Path | None:
    found = checkpoints.latest()
    return found and found.path


def step_of(folder: Path) -> int:
    return int(folder.name[5:11])


# --- commands of the script


def kill_at_call(k: int, action: Callable[[], None]) -> bool:
    """Run `action` in a fork killed by signal 9 at its k-th system call, a write half done. Was it killed?"""
    child = os.fork()
    if child == 0:
        counter = itertools.count()
        write = os.write

        def die(name: str, arguments: tuple[Any, ...]) -> None:
            if next(counter) == k:
                if name == "write":
                    write(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)

        intercept(die)
        try:
            action()
            os._exit(0)
        finally:  # the fork must never go on in the code of its parent
            traceback.print_exc()
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) in {0, -signal.SIGKILL}, "the save failed by itself"
    return os.WIFSIGNALED(status)


def kill_everywhere(folder: Path, steps: list[int], step: int, best: bool) -> Iterator[str]:
    """Kill the save of `step` after those of `steps` at every system call; yields the newest after each."""
    os.fsync = lambda file: None  # slow, and what a killed process has written is not lost with it
    template = folder / "template"
    before = [Checkpoints(template).save(done, contents(done), best=done == steps[0]) for done in steps]
    for k in itertools.count():
        root = folder / f"run-{k}"
        if before:
            shutil.copytree(template, root)
        acknowledged = root / before[-1].name if before else None
        saved = f"step-{step:06d}" + (".2" if step in steps else "")
        killed = kill_at_call(k, lambda root=root: Checkpoints(root).save(step, contents(step), best=best))
        newest = check_whole(root, acknowledged, saved)
        left = Checkpoints(root).remove_stale_temporaries()
        assert all(re.search(r"\.tmp-[0-9a-f]{16}$", path.name) for path in left)
        again = Checkpoints(root).save(step, contents(step), best=best)
        assert check_whole(root, again, again.name) == again.name
        assert not Checkpoints(root).remove_stale_temporaries()
        shutil.rmtree(root)
        if not killed:
            assert newest == saved
            return
        yield newest


def kill_at_random(root: Path, rounds: int) -> Iterator[int]:
    """Kill a training that saves 1 MB without pause at random moments, and resume; yields the newest."""
    chance = random.Random(0)
    size = 2**19
    for _ in range(rounds):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            checkpoints = Checkpoints(root)
            checkpoints.remove_stale_temporaries()
            latest = checkpoints.latest()
            for step in itertools.count(1 + (step_of(latest.path) if latest else 0)):
                checkpoints.save(step, contents(step, size))
                os.write(writer, step.to_bytes(8, "little"))
        os.close(writer)
        select.select([reader], [], [])
        time.sleep(chance.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "the training failed by itself"
        with os.fdopen(reader, "rb") as acknowledged:
            steps = acknowledged.read()
        latest = Checkpoints(root).latest()
        assert latest is not None
        assert step_of(latest.path) >= int.from_bytes(steps[-8:], "little")
        assert latest.files == contents(step_of(latest.path), size)
        yield step_of(latest.path)


def limit_file_size(root: Path, limits: list[int]) -> Iterator[str]:
    """Save files of 100,000 bytes where no file may pass a limit; yields what is said, "" where it worked."""
    import resource

    for limit in limits:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            try:
                Checkpoints(root).save(2, contents(2, 100_000))
                os._exit(0)
            except StorageError as error:
                os.write(writer, str(error).encode())
                os._exit(0)
            finally:
                os._exit(1)
        os.close(writer)
        assert os.waitpid(child, 0)[1] == 0
        with os.fdopen(reader, "rb") as message:
            yield message.read().decode()


def without_permission(folder: Path) -> Iterator[str]:
    """Save into folders that this user may not write or not even read; yields what is said."""
    os.chdir(folder)
    if os.geteuid() == 0:
        os.setuid(65534)  # root may write everywhere
    for path in (Path("closed/gru"), Path("secret/gru"), Path("secret/below/gru")):
        try:
            write_folder(path, {"a.json": b"1"})
        except StorageError as error:
            yield str(error)
    for path in (Path("secret/other"), Path("secret/below/gru")):
        try:
            read_folder(path)
        except StorageError as error:
            yield str(error)


def main(command: str, *arguments: Any) -> None:
    convert = [Path(arguments[0]), *arguments[1:]]
    print(json.dumps(list(globals()[command](*convert))))


def script(command: str, *arguments: Any) -> Any:
    """The results of a command of this file, run in a process of its own."""
    source = str(Path(elman.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "error", __file__, command, json.dumps(arguments, default=str)],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- tests

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks, which this system does not have")


@needs_fork
@pytest.mark.parametrize(
    ("steps", "step", "best"),
    [
        pytest.param([], 1, True, id="first"),
        pytest.param([1, 2, 3], 4, False, id="prunes"),
        pytest.param([1, 2, 3], 4, True, id="prunes the former best"),
        pytest.param([1, 2, 3], 3, True, id="same step again"),
        pytest.param([1, 2, 3], 2, False, id="back to an earlier step"),
    ],
)
def test_a_kill_at_every_system_call_leaves_a_whole_newest_checkpoint(tmp_path, steps, step, best):
    newest = script("kill_everywhere", tmp_path, steps, step, best)
    assert len(newest) >= 20  # a save makes that many system calls; fewer: some are not intercepted
    changed = [name for name, _ in itertools.groupby(newest)]
    assert len(changed) == 2, "it changes from the old one to the new one once, and not back"


@needs_fork
def test_a_kill_at_any_moment_loses_nothing_acknowledged(tmp_path):
    newest = script("kill_at_random", tmp_path / "run", 20)
    assert newest == sorted(newest)


@needs_fork
@pytest.mark.acceptance
def test_a_thousand_kills_lose_nothing_acknowledged(tmp_path):
    newest = script("kill_at_random", tmp_path / "run", 1000)
    assert newest == sorted(newest)


def saving(root: Path) -> None:
    """The save whose system calls are compared with the promised order; it deletes one checkpoint."""
    Checkpoints(root).save(4, {"b.bin": b"bbbb", "a.bin": b"aaaa"}, best=True)


def prepared(root: Path) -> Path:
    for step in (1, 2, 3):
        Checkpoints(root, keep=3).save(step, {"a.bin": b"a"}, best=step == 3)
    shutil.rmtree(root / "step-000001")
    return root


def flushed(file: str) -> list[str]:
    return [f"create {file}", f"write {file}", f"fsync {file}"]


THE_ORDER = [
    "mkdir step-000004.tmp",
    *flushed("step-000004.tmp/b.bin"),
    *flushed("step-000004.tmp/a.bin"),
    *flushed("step-000004.tmp/MANIFEST.json"),
    "fsync step-000004.tmp",
    "rename step-000004.tmp step-000004",
    "fsync .",
    *flushed("BEST.tmp"),
    "rename BEST.tmp BEST",
    "fsync .",
    *flushed("LATEST.tmp"),
    "rename LATEST.tmp LATEST",
    "fsync .",
    "rename step-000002 step-000002.tmp",
    "unlink a.bin",
    "unlink MANIFEST.json",
    "rmdir step-000002.tmp",
]


def in_order(events: list[str]) -> list[str]:
    """The events with the two deletions, whose order the folder decides, in a fixed one."""
    unlinked = sorted((event for event in events if event.startswith("unlink")), reverse=True)
    return [unlinked.pop(0) if event.startswith("unlink") else event for event in events]


def test_the_order_of_system_calls(tmp_path, monkeypatch):
    """Data flushed < manifest flushed < folder flushed < renamed < parent flushed < pointers < deletion."""
    root = prepared(tmp_path / "run")
    opened: dict[int, str] = {}
    events: list[str] = []

    def short(path: Any) -> str:
        path = Path(os.fspath(path))
        relative = str(path.relative_to(root)) if path.is_absolute() else str(path)
        return re.sub(r"\.tmp-[0-9a-f]{16}", ".tmp", relative)

    def record(name: str, arguments: tuple[Any, ...]) -> None:
        if name in {"write", "fsync"}:
            events.append(f"{name} {opened[arguments[0]]}")
        elif name in {"rename", "replace"}:
            events.append(f"rename {short(arguments[0])} {short(arguments[1])}")
        elif name in {"mkdir", "unlink", "rmdir"}:
            events.append(f"{name} {short(arguments[0])}")

    def opening(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        file = real_open(path, flags, mode, dir_fd=dir_fd)
        opened[file] = short(path)
        if flags & os.O_CREAT:
            events.append(f"create {short(path)}")
        return file

    real_open = os.open
    intercept(record, monkeypatch.setattr)
    monkeypatch.setattr(os, "open", opening)
    saving(root)
    monkeypatch.undo()
    assert in_order(events) == THE_ORDER


def save_once(root: Path) -> Iterator[str]:
    saving(root)
    yield "saved"


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_the_kernel_sees_the_same_order(tmp_path):
    """The same list, as the kernel received it: nothing goes to the disk beside the functions intercepted."""
    root = prepared(tmp_path.resolve() / "run")
    log = tmp_path / "log"
    trace = "trace=openat,write,fsync,mkdir,rename,renameat,renameat2,unlink,unlinkat,rmdir"
    traced = ["strace", "-f", "-y", "-s", "0", "-o", str(log), "-e", trace]
    command = [sys.executable, __file__, "save_once", json.dumps([str(root)])]
    source = str(Path(elman.__file__).parents[1])
    done = subprocess.run(
        [*traced, *command], env={**os.environ, "PYTHONPATH": source}, capture_output=True, check=False
    )
    if b"ptrace" in done.stderr.lower():
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    assert in_order(list(kernel_events(log.read_text(), str(root)))) == THE_ORDER


def kernel_events(log: str, root: str) -> Iterator[str]:
    log = re.sub(r"\.tmp-[0-9a-f]{16}", ".tmp", log)
    for line in log.splitlines():
        found = re.match(r"\d+ +(\w+)\((.*)\) += (\d+)", line)
        if not found or root not in line:
            continue
        call, arguments = found[1], found[2]
        inside = [path.lstrip("/") or "." for path in re.findall(re.escape(root) + r"(/[^\">]*|)[\">]", arguments)]
        if call == "openat" and "O_CREAT" in arguments:
            yield f"create {inside[-1]}"
        elif call in {"write", "fsync", "mkdir"}:
            yield f"{call} {inside[0]}"
        elif call.startswith("rename"):
            yield f"rename {inside[0]} {inside[1]}"
        elif call in {"unlink", "unlinkat", "rmdir"}:
            removed = Path(re.findall(r'"([^"]*)"', arguments)[-1]).name
            yield f"{'rmdir' if call == 'rmdir' or 'AT_REMOVEDIR' in arguments else 'unlink'} {removed}"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS])
def test_a_refusal_at_every_call_leaves_the_old_checkpoint_and_no_rubbish(tmp_path, monkeypatch, number):
    for k in itertools.count():
        root = tmp_path / f"run-{k}"
        old = Checkpoints(root).save(1, contents(1), best=True)
        counter = itertools.count()

        def refuse(name: str, arguments: tuple[Any, ...], counter: Iterator[int] = counter, k: int = k) -> None:
            if name in MAKING_CALLS and next(counter) >= k:
                raise OSError(number, os.strerror(number), str(arguments[0]))

        with monkeypatch.context() as patch:
            intercept(refuse, patch.setattr)
            try:
                Checkpoints(root).save(2, contents(2), best=True)
            except StorageError as error:
                check_refusal(str(error), root, number)
            else:
                break
        assert not list(root.glob("*.tmp-*"))
        assert check_whole(root, old, "step-000002") in {"step-000001", "step-000002"}
        assert check_whole(root, Checkpoints(root).save(2, contents(2)), "-").startswith("step-000002")
    assert k >= 15


def check_refusal(message: str, root: Path, number: int) -> None:
    """One line that names the path and the cause; where room is short also the bytes needed and free."""
    assert str(root) in message
    assert os.strerror(number) in message
    assert "\n" not in message
    if number in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        needed, free = map(int, re.findall(r"(\d+) bytes are needed and (\d+) are free", message)[0])
        assert 50 < needed < 3000  # a pointer or a whole checkpoint
        assert free > 0


def test_writes_that_come_up_short_are_completed(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:7]))
    write_folder(tmp_path / "gru", contents(1))
    monkeypatch.undo()
    assert read_folder(tmp_path / "gru").files == contents(1)


@needs_fork
def test_a_file_size_limit_is_refused_at_every_size(tmp_path):
    root = tmp_path / "run"
    old = Checkpoints(root).save(1, contents(1))
    limits = [0, 1, 100, 4095, 4096, 4097, *range(5_000, 100_000, 6_000), 99_999]
    messages = script("limit_file_size", root, limits)
    assert len(messages) == len(limits)
    for message in messages:
        assert os.strerror(errno.EFBIG) in message
        assert "step-000002" in message
        assert int(re.findall(r"(\d+) bytes are needed", message)[0]) > 200_000
    assert [path.name for path in sorted(root.iterdir())] == [LATEST, old.name]
    assert read_folder(old).files == contents(1)
    assert script("limit_file_size", root, [100_000]) == [""]
    assert newest(Checkpoints(root)) == root / "step-000002"


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 5 MB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_keeps_the_old_checkpoint_and_saving_goes_on_when_there_is_room(small_disk):
    checkpoints = Checkpoints(small_disk / "run")
    old = checkpoints.save(1, contents(1, 1_500_000))
    with pytest.raises(StorageError) as refusal:
        checkpoints.save(2, contents(2, 1_500_000))
    found = re.search(r"left on device; (\d+) bytes are needed and (\d+) are free", str(refusal.value))
    assert found
    assert int(found[1]) == sum(path.stat().st_size for path in old.iterdir())  # both have the same sizes
    assert int(found[2]) == shutil.disk_usage(small_disk).free
    assert str(small_disk / "run" / "step-000002") in str(refusal.value)
    assert [path.name for path in sorted(checkpoints.root.iterdir())] == [LATEST, old.name]
    assert read_folder(old).files == contents(1, 1_500_000)
    assert newest(checkpoints) == old
    new = checkpoints.save(2, contents(2, 900_000))
    assert newest(checkpoints) == new


@needs_fork
def test_folders_without_permission_are_named(tmp_path):
    tmp_path.chmod(0o755)
    for name, mode in (("closed", 0o555), ("secret", 0o600)):
        (tmp_path / name).mkdir()
        write_folder(tmp_path / name / "other", {"a.json": b"1"})
        (tmp_path / name).chmod(mode)
    try:
        messages = script("without_permission", tmp_path)
    finally:
        (tmp_path / "secret").chmod(0o755)
    named = [re.match(r"cannot (save|read) '([^']*)': Permission denied; ", message) for message in messages]
    assert [found.groups() for found in named if found] == [
        ("save", "closed/gru"),
        ("save", "secret/gru"),
        ("save", "secret/below/gru"),
        ("read", "secret/other"),
        ("read", "secret/below/gru"),
    ]
    assert len(list((tmp_path / "closed").iterdir())) == 1


def test_a_folder_that_cannot_be_flushed_is_still_saved(tmp_path, monkeypatch):
    """Some network file systems refuse to flush a folder; they order its changes themselves."""
    fsync = os.fsync

    def network(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(file)

    monkeypatch.setattr(os, "fsync", network)
    assert Checkpoints(tmp_path).save(1, contents(1)) == newest(Checkpoints(tmp_path))


if __name__ == "__main__":
    main(sys.argv[1], *json.loads(sys.argv[2]))
