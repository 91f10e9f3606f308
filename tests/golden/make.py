"""Make the golden folder: runs, saved models and compressed files of one version, and what that version measured.

    python tests/golden/make.py /tmp/golden/v0.1
    tar -C /tmp/golden --sort=name --owner=0 --group=0 -cf - v0.1 | xz -9e > tests/golden/v0.1.tar.xz

It calls the command line of the `elman` that is installed. `v0.1.tar.xz` was made at commit e4436a2, the last before
the package was divided into rooms; later versions must read it and find the same (`tests/test_golden.py`). Add an
archive a release; never make an old one again.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

WORDS = "".join(
    f"{who} {what} the {thing}.\n"
    for who in ("She", "He", "The traveller", "Nobody", "My friend")
    for what in ("saw", "took", "lost", "found", "made", "forgot")
    for thing in ("machine", "book", "old clock", "river", "garden", "lamp", "red door")
)
OTHER = "She found the river.\nNobody made the old clock, and 7 lamps burnt in the garden.\nHe saw caf\u00e9s.\n" * 6
TINY = ("--hidden", "8", "--batch", "4", "--window", "16", "--steps", "24", "--seed", "3")
RUNS: dict[str, tuple[str, ...]] = {
    "gru": ("--cell", "gru", *TINY),
    "lstm-2": ("--cell", "lstm", "--clean", "lower-spaces", "--layers", "2", "--dropout", "0.2", *TINY),
    "elman-words": ("--cell", "elman", "--level", "word", *TINY),
    "relu-bytes-random": ("--cell", "elman-relu", "--level", "byte", "--batching", "random", *TINY),
    "reverse": ("--cell", "gru", "--reverse", *TINY),
    "mlp": ("--cell", "mlp", *TINY),
    "experts": ("--cell", "gru", "--experts", "3", *TINY),
    "copy": ("--cell", "gru", "--copy", "4", *TINY),
    "options": ("--cell", "gru", "--config", "options.toml", *TINY),
}
OPTIONS = """embedding = 8
tied = true
layer_norm = true
residual = true
layers = 2
mogrifier = 2
teacher = 0.5
first_window = 8
input_dropout = 0.1
recurrent_dropout = 0.1
learn_initial = true
optimizer = "adamw"
schedule = "cosine"
"""
RESUMABLE = {
    "numbers": ("--cell", "gru", "--limit", "4000", *TINY),
    "numbers-experts": ("--cell", "gru", "--experts", "3", "--level", "char", "--limit", "4000", *TINY),
}
"""Of a text that every elman carries: these can go on anywhere."""
COMPRESSED = ("gru", "mlp", "elman-words", "reverse", "experts", "copy", "gru/ngram")


def elman(*arguments: str, folder: Path) -> str:
    """What `elman ARGUMENTS` prints, on one thread."""
    done = subprocess.run(
        [sys.executable, "-m", "elman", *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"elman {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def make(folder: Path) -> None:
    """Fill a new folder."""
    folder.mkdir(parents=True)
    (folder / "text.txt").write_text(WORDS, encoding="utf-8")
    (folder / "other.txt").write_text(OTHER, encoding="utf-8")
    (folder / "options.toml").write_text(OPTIONS, encoding="utf-8")
    expected: dict[str, Any] = {}
    for name, flags in RUNS.items():
        elman("train", "text.txt", "--run", name, "--quiet", *flags, folder=folder)
        expected[name] = measured(folder, name)
    for name, flags in RESUMABLE.items():
        elman("train", "human-numbers", "--run", name, "--quiet", *flags, folder=folder)
        expected[name] = measured(folder, name, sources=())
        shutil.copytree(folder / name, folder / "resumed")
        elman("train", "--resume", "resumed", "--steps", "36", "--quiet", folder=folder)
        expected[name]["resumed"] = measured(folder, "resumed", sources=())
        shutil.rmtree(folder / "resumed")
    expected["gru/ngram"] = measured(folder, "gru/ngram", sources=("other.txt",))
    for name in COMPRESSED:
        target = f"{name.replace('/', '-')}.elman"
        elman("compress", "other.txt", "--run", name, "--output", target, folder=folder)
    for path in [*folder.rglob("*.png"), *folder.rglob("env.json"), *folder.rglob(".lock")]:
        path.unlink()
    for name in {*RUNS, *RESUMABLE} - {"gru"}:  # one n-gram is enough
        shutil.rmtree(folder / name / "ngram", ignore_errors=True)
    here = json.loads(elman("env", "--json", folder=folder))
    expected["made_by"] = {name: here[name] for name in ("elman", "torch", "numpy", "constriction", "cpu_capability")}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


def measured(folder: Path, name: str, sources: tuple[str, ...] = ("other.txt",)) -> dict[str, Any]:
    """What a model is worth on a text, by two protocols, and what it writes."""
    found: dict[str, Any] = {}
    for protocol in ("carried", "reset"):
        score = json.loads(elman("evaluate", name, *sources, "--protocol", protocol, "--json", folder=folder))
        found[protocol] = {key: score[key] for key in ("nats", "tokens", "characters", "bytes", "unknown")}
    if name != "reverse" and sources:
        writing = ("--length", "40", "--seed", "5", "--temperature", "0.5")
        found["generated"] = elman("generate", name, "the", *writing, folder=folder)
    return found


if __name__ == "__main__":
    make(Path(sys.argv[1]))
