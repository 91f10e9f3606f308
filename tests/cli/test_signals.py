"""Stopping a training: what it had is saved, and going on ends where it would have ended without the stop."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import ENGLISH, TINY, curve, elman, good, program, tree, weights

from elman.cli.signals import Stop
from elman.storage.atomic import RunLock
from elman.training import run as runs

# Learning rate, dropout and the order of random windows all depend on the step: a resumed run must know it.
LONG = (*TINY, "--steps", "240", "--batching", "random", "--dropout", "0.1", "--seed", "3")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "text.txt").write_text(ENGLISH)
    good("train", "text.txt", *LONG, "--run", "whole", "-q", folder=folder)
    return folder


def begun(home: Path, run: Path, **more: Any) -> "subprocess.Popen[str]":
    """A program that trains and has made its third report."""
    process = program("train", home / "text.txt", *LONG, "--run", run, "--json", **more)
    assert process.stdout
    kinds = (json.loads(line)["type"] for line in process.stdout)
    reports = 0
    while reports < 3:
        reports += next(kinds) == "report"
    return process


def rest_of(process: "subprocess.Popen[str]") -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, the records that were still to come, and standard error of a program."""
    out, err = process.communicate()
    return process.returncode, [json.loads(line) for line in out.splitlines()], err


def step_of(run: Path) -> int:
    return max(int(path.name.split("-")[1]) for path in (run / "checkpoints").glob("step-*"))


def assert_goes_on_as_if_nothing_had_been(run: Path, whole: Path) -> None:
    assert 0 < step_of(run) < 240
    good("train", "--resume", run, "-q")
    assert weights(run) == weights(whole)
    assert curve(run) == curve(whole)
    assert (run / "samples.jsonl").read_bytes() == (whole / "samples.jsonl").read_bytes()
    figures = [json.loads((r / "report.json").read_text())["figures"] for r in (run, whole)]
    assert figures[0] == figures[1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_going_on_is_bit_exact(number: int, code: int, home: Path, tmp_path: Path) -> None:
    process = begun(home, tmp_path / "r")
    process.send_signal(number)
    found, records, err = rest_of(process)
    assert found == code
    assert records[-1]["type"] == "interrupted"
    assert "stopping after this step" in err
    assert "Traceback" not in err
    assert_goes_on_as_if_nothing_had_been(tmp_path / "r", home / "whole")


def test_kill_loses_no_more_than_the_steps_since_the_last_checkpoint(home: Path, tmp_path: Path) -> None:
    process = begun(home, tmp_path / "r")
    process.kill()
    assert rest_of(process)[0] == -signal.SIGKILL
    assert_goes_on_as_if_nothing_had_been(tmp_path / "r", home / "whole")


def test_a_terminal_that_is_closed_ends_the_run_saved(home: Path, tmp_path: Path) -> None:
    """The kernel sends SIGHUP, and nothing can be written there any more."""
    main, side = pty.openpty()
    shell = (
        "import fcntl, os, sys, termios; fcntl.ioctl(2, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
    )
    call = [sys.executable, "-m", "elman", "train", home / "text.txt", *LONG, "--run", tmp_path / "r", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", shell, *map(str, call)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=side,
        start_new_session=True,
    )  # fmt: skip
    os.close(side)
    assert process.stdout
    while b'"report"' not in process.stdout.readline():
        pass
    os.close(main)
    process.communicate()
    assert process.returncode == 129
    assert_goes_on_as_if_nothing_had_been(tmp_path / "r", home / "whole")


def test_two_interrupts_stop_in_the_middle_of_a_step(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(ENGLISH * 10)
    large = ("--hidden", "1024", "--batch", "64", "--window", "512", "--steps", "5")
    process = program("train", tmp_path / "text.txt", *large, "--run", tmp_path / "r", "--json")
    assert process.stdout
    assert process.stderr
    assert '"begin"' in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    said = iter(process.stderr.readline, "")
    assert any("again to stop immediately" in line for line in said)
    process.send_signal(signal.SIGINT)
    code, records, err = rest_of(process)
    assert (code, records, err) == (130, [], "elman: interrupted\n")
    assert not list((tmp_path / "r" / "checkpoints").glob("step-*1"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_second_signal_gives_the_exit_code(
    number: int, code: int, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(*_: object) -> Iterator[object]:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        yield from ()

    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    monkeypatch.setattr(runs, "execute", twice)
    done = elman("train", home / "text.txt", *LONG, "--run", tmp_path / "r", "-q")
    assert (done.code, done.out) == (code, "")
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_the_first_signal_only_asks() -> None:
    with Stop() as stop:
        assert not stop.requested()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested()
        assert stop.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_first_signal_ends_what_has_nothing_to_save() -> None:
    with Stop(immediate=True) as stop:
        with pytest.raises(KeyboardInterrupt) as interrupt:
            os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.value.args == (signal.SIGTERM,)
        stop.immediate = False
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM


def test_an_interrupt_before_the_training_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("elman.data.corpus.read_corpus", interrupted)
    done = elman("data", "python-docs")
    assert (done.code, done.out, done.err) == (130, "", "elman: interrupted\n")


def test_a_run_that_another_process_trains_is_refused(home: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(home / "whole", tmp_path / "r"))
    with RunLock(run):
        done = elman("train", "--resume", run, "--steps", "300", "-q")
    assert done.code == 2
    assert f"in use by process {os.getpid()}" in done.err
    assert done.err.count("\n") == 1
    assert step_of(run) == 240


def test_no_second_resume_takes_a_step_from_a_run(tmp_path: Path) -> None:
    """One reader of a slow text (a pipe that the test fills) at a time: whoever comes second is refused at once."""
    text, run = tmp_path / "text.txt", tmp_path / "r"
    text.write_text(ENGLISH)
    good("train", text, *TINY, "--steps", "2", "--run", run, "-q")
    training = program("train", "--resume", run, "--steps", "20000", "--json")
    assert training.stdout
    while '"type": "report"' not in training.stdout.readline():  # it holds the run, and has trained
        assert training.poll() is None
    training.send_signal(signal.SIGSTOP)  # and need not compute meanwhile
    text.unlink()
    os.mkfifo(text)
    late = program("train", "--resume", run, "-q")  # would read the newest checkpoint, and wait for the text
    pipe = opened(text, late)
    training.send_signal(signal.SIGCONT)
    training.terminate()
    assert rest_of(training)[0] == 143
    saved, left = step_of(run), tree(run)
    if pipe is not None:  # it holds a checkpoint that is no longer the newest
        fill(pipe)
        late.terminate()
    _, told = late.communicate()
    assert saved > 2
    assert tree(run) == left
    assert late.returncode == 2
    assert f"in use by process {training.pid}" in told

    slow = program("train", "--resume", run, "--steps", saved + 1, "-q")
    pipe = opened(text, slow)
    assert pipe is not None
    refused = elman("train", "--resume", run)
    fill(pipe)
    assert (refused.code, f"in use by process {slow.pid}" in refused.err) == (2, True)
    _, told = slow.communicate()
    assert slow.returncode == 0, told
    assert step_of(run) == saved + 1
    steps = [line["step"] for line in curve(run)]
    assert steps == sorted(set(steps))


def opened(pipe: Path, by: "subprocess.Popen[str]") -> int | None:
    """Open a pipe for writing once a program reads it; None where that ends without."""
    while by.poll() is None:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads it
            time.sleep(0.02)
    return None


def fill(pipe: int) -> None:
    """Write the text, and end it."""
    os.set_blocking(pipe, True)
    with os.fdopen(pipe, "w") as file:
        file.write(ENGLISH)
