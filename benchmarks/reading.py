"""From a file to token ids: MB/s of elman and of the textbook way, interleaved in one run.

    elman       read_corpus: read, decode, split, vocabulary of the training part, ids of both parts
    textbook    lines by a regular expression -> list of characters -> Counter -> list of ids

    python benchmarks/reading.py > reading.json      (--help for the sizes)

The text is built from the Python language reference, English (ASCII) or with words of other scripts mixed in,
and lies in the file cache. One process, one thread; JSON on standard output.
"""

import argparse
import collections
import json
import platform
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from elman.data.corpus import read_corpus
from elman.data.sources import SOURCES

WORDS = "Überraschung naïveté Ελλάδα Москва 時間旅行者 東京タワー 🙂 déjà".split()  # noqa: SIM905 - a list of words


def write_text(path: Path, megabytes: int, foreign: float) -> None:
    """Paragraphs of the reference in random order, a share of them followed by a word of another script."""
    rng = random.Random(0)
    paragraphs = "".join(SOURCES["python-docs"].text()).encode("ascii", "ignore").decode().split("\n\n")
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < megabytes * 1_000_000:
            more = f" {rng.choice(WORDS)}" if rng.random() < foreign else ""
            file.write(f"{rng.choice(paragraphs)}{more}\n\n")


def elman(path: Path, level: str, clean: str) -> None:
    read_corpus([str(path)], tokens=level, normalize=clean)


def textbook(path: Path) -> None:
    """The pipeline of the book's chapter on sequences, in its own steps."""
    with path.open(encoding="utf-8") as file:
        lines = [re.sub("[^A-Za-z]+", " ", line).strip().lower() for line in file]
    tokens = [list(line) for line in lines]
    counts = collections.Counter(token for line in tokens for token in line)
    ranked = ["<unk>", *(token for token, _ in counts.most_common())]
    ids = {token: i for i, token in enumerate(ranked)}
    corpus = [ids[token] for line in tokens for token in line]
    if not corpus:
        raise ValueError("the text is empty")


def seconds(task: Callable[[], None]) -> tuple[float, float]:
    """Wall-clock and processor seconds; they differ where the machine does other work as well."""
    wall, cpu = time.perf_counter(), time.process_time()
    task()
    return time.perf_counter() - wall, time.process_time() - cpu


def spread(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 1), "min": round(min(values), 1), "max": round(max(values), 1)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--megabytes", type=int, default=200, help="size of the files that elman reads")
    options.add_argument("--textbook-megabytes", type=int, default=10, help="size of the file for the textbook way")
    options.add_argument("--repeats", type=int, default=5)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ascii_file, mixed, small = (Path(folder, name) for name in ("ascii.txt", "mixed.txt", "small.txt"))
        write_text(ascii_file, chosen.megabytes, 0.0)
        write_text(mixed, chosen.megabytes, 0.5)
        write_text(small, chosen.textbook_megabytes, 0.0)
        tasks: dict[str, tuple[Path, Callable[[], None]]] = {
            "elman char ascii": (ascii_file, lambda: elman(ascii_file, "char", "none")),
            "elman char mixed scripts": (mixed, lambda: elman(mixed, "char", "none")),
            "elman byte": (mixed, lambda: elman(mixed, "byte", "none")),
            "elman char letters, textbook's file": (small, lambda: elman(small, "char", "letters")),
            "elman word, textbook's file": (small, lambda: elman(small, "word", "none")),
            "textbook char letters": (small, lambda: textbook(small)),
        }
        for path, _ in tasks.values():
            path.read_bytes()  # into the file cache
        rates: dict[str, list[tuple[float, float]]] = {name: [] for name in tasks}
        for _ in range(chosen.repeats):
            for name, (path, task) in tasks.items():
                wall, cpu = seconds(task)
                rates[name].append((path.stat().st_size / 1e6 / wall, path.stat().st_size / 1e6 / cpu))
    results = {
        name: {"wall": spread([wall for wall, _ in each]), "cpu": spread([cpu for _, cpu in each])}
        for name, each in rates.items()
    }
    report = {
        "unit": "MB/s, file to ids with vocabulary; cpu: per second of processor time",
        "command": " ".join(["python", *sys.argv]),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "machine": platform.machine(),
        },
        "repeats": chosen.repeats,
        "results": results,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
