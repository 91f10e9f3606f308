"""A checkpoint is opened once: what a command hashes, file by file."""

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import ENGLISH, TINY, good

import elman


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("reads")
    (folder / "text.txt").write_text(ENGLISH)
    good("train", "text.txt", *TINY, "--steps", "6", "--run", "r", "-q", folder=folder)
    return folder / "r"


def hashed_by(action: Callable[[], object], run: Path, patch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the action hashes each file of the checkpoints of a run."""
    names: dict[bytes, str] = {}
    for path in run.rglob("step-*/*"):
        names[path.read_bytes()] = path.name
    seen: Counter[str] = Counter()
    sha256 = hashlib.sha256

    def counting(data: bytes = b"", **options: Any) -> Any:
        if name := names.get(data):
            seen[name] += 1
        return sha256(data, **options)

    with patch.context() as patched:
        patched.setattr(hashlib, "sha256", counting)
        action()
    return dict(seen)


def test_loading_hashes_the_model_once_and_no_optimizer(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = hashed_by(lambda: elman.load(run), run, monkeypatch)
    assert set(found) == {"MANIFEST.json", "model.json", "vocab.json", "model.safetensors", "counts.safetensors"}
    assert found["model.safetensors"] == found["MANIFEST.json"] == 1


def test_evaluating_hashes_each_file_once_and_no_optimizer(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = hashed_by(lambda: good("evaluate", run, folder=run.parent), run, monkeypatch)
    assert "training.safetensors" not in found
    # The n-gram beside the run has the same vocabulary and counts.
    assert found.pop("vocab.json") == found.pop("counts.safetensors") == 2
    assert found == {"MANIFEST.json": 1, "model.json": 1, "model.safetensors": 1, "training.json": 1}


def test_resuming_hashes_each_file_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from elman.training.run import resume

    found = hashed_by(lambda: resume(run, {}), run, monkeypatch)
    assert found["training.safetensors"] == found["model.safetensors"] == found["MANIFEST.json"] == 1
