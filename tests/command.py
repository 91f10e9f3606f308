"""The command line as the tests call it: in this process, which is fast, or as a program of its own."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elman.cli import run
from elman.storage.checkpoints import Checkpoints

TINY = ("--hidden", "8", "--batch", "4", "--window", "16")
ENGLISH = "".join(
    f"{who} {what} the {thing}.\n"
    for who in ("She", "He", "The traveller", "Nobody", "My friend")
    for what in ("saw", "took", "lost", "found", "made", "forgot")
    for thing in ("machine", "book", "old clock", "river", "garden", "lamp", "red door")
)
SCRIPTS = {
    "english": ENGLISH,
    "chinese": "時間旅行者說：「天地玄黃，宇宙洪荒。」日月盈昃，辰宿列張。\n" * 60,
    "japanese": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n" * 50,
    "accented": "L'été, le garçon naïf déjà fêté — où ça ? Über Größe, piñata, smørrebrød.\n" * 40,
    "emoji": "👩‍🚀 liftoff 🚀! cafe\u0301 🇫🇷 👍🏽 a\u0308\u0323 end 🎉\n" * 60,
}


@dataclass(frozen=True)
class Done:
    """What a call of the command line left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON Lines on standard output."""
        return [json.loads(line) for line in self.out.splitlines()]


def elman(*arguments: object, folder: Path | None = None, stdin: bytes = b"") -> Done:
    """`elman ARGUMENTS`, in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n") for _ in range(2))
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(stdin))
    try:
        with redirect_stdout(out), redirect_stderr(err), chdir(folder or Path.cwd()):
            code = run([str(a) for a in arguments])
    finally:
        sys.stdin = before
    return Done(code, *(_written(stream) for stream in (out, err)))


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    data: bytes = stream.buffer.getvalue()  # type: ignore[attr-defined]  # a BytesIO
    return data.decode()


def good(*arguments: object, **more: Any) -> Done:
    """The same, which must succeed."""
    done = elman(*arguments, **more)
    assert done.code == 0, done.err
    return done


def program(*arguments: object, **more: Any) -> "subprocess.Popen[str]":
    """`python -m elman ARGUMENTS` as a program of its own, on one thread, which Ctrl-C reaches.

    A shell lets what it starts in the background ignore SIGINT, and so would the programs that the tests start there.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "elman", *map(str, arguments)],
            env=os.environ | {"OMP_NUM_THREADS": "1"} | more.pop("env", {}),
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | more,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def tree(folder: Path) -> dict[str, str]:
    """Every path below a folder and the SHA-256 of its contents."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


def weights(run_folder: Path) -> dict[str, bytes]:
    """The tensors of the newest checkpoint, optimizer and carried state included, as bytes."""
    saved = Checkpoints(run_folder / "checkpoints").latest()
    assert saved is not None
    found = {}
    for name in ("model.safetensors", "training.safetensors"):
        for key, tensor in saved.tensors(name, None).items():
            found[f"{name}/{key}"] = np.ascontiguousarray(tensor.numpy()).tobytes()
    return found


def curve(run_folder: Path) -> list[dict[str, Any]]:
    """The records of a run without its times."""
    lines = (run_folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def one_line(done: Done) -> str:
    """The message of a failed call, which is one line and nothing else."""
    assert done.err.startswith("elman: "), done.err
    assert done.err.count("\n") == 1, done.err
    assert done.err.endswith("\n"), done.err
    assert "Traceback" not in done.err
    assert "unexpected" not in done.err
    return done.err.removeprefix("elman: ").strip()
