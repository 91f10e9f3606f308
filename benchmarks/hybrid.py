"""A GRU that weighs counted experts, beside the same GRU alone: training, sampling, and counting as the text grows.

python benchmarks/hybrid.py [--rounds 9]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import torch
from side_by_side import against, interleave, write

from elman.data.corpus import read_corpus
from elman.data.vocab import Vocab
from elman.inference.generation import Sampling, sample_tokens
from elman.models.hybrid import Hybrid
from elman.models.ngram.experts import fold_count
from elman.models.recurrent import Recurrent
from elman.models.task import TextTask
from elman.training.loop import train

HIDDEN, ORDER = 256, 8
ALONE = "GRU alone"
GROWTH = (0.1, 1, 10)
"""Megabytes of source code that are counted."""


def texts() -> dict[str, tuple[Vocab, np.ndarray]]:
    """The letters of the book, and 200,000 symbols of 3,000, each drawn by the one before it."""
    book = read_corpus(["time-machine"], normalize="letters", held_out=0)
    rng = np.random.default_rng(0)
    popular = rng.permutation(3000)
    ids = [1]
    for shift in (3000 * rng.random(200_000) ** 4).astype(int):
        ids.append(1 + int(popular[(ids[-1] + shift) % 3000]))
    many = Vocab.chars("".join(chr(0x4E00 + i) for i in range(3000)))
    return {"book, letters": (book.vocab, book.train.ids), "3,000 symbols": (many, np.array(ids, many.dtype))}


def models(vocab: Vocab) -> dict[str, Recurrent | Hybrid]:
    task = TextTask(vocab)
    settings = {"cell": "gru", "hidden": HIDDEN, "embedding": 64, "dropout": 0.1}
    return {ALONE: Recurrent(task, **settings), "hybrid": Hybrid(Recurrent(task, **settings), ngram_experts=ORDER)}


def training(rounds: int) -> list[dict[str, object]]:
    rows = []
    for name, (vocab, ids) in texts().items():
        for threads in (1, 2):
            torch.set_num_threads(threads)
            ways = {}
            for way, model in models(vocab).items():
                steps = train(model, ids, steps=10**6, batch=32, window=64, optimizer="adamw", lr=3e-3)
                next(steps)  # counts
                ways[way] = lambda steps=steps: sum(next(steps).tokens for _ in range(8))
            rows.append({"text": name, "V": len(vocab), "threads": threads} | against(interleave(ways, rounds), ALONE))
            show(rows[-1])
    return rows


def sampling(rounds: int) -> list[dict[str, object]]:
    rows = []
    torch.set_num_threads(1)
    for name, (vocab, ids) in texts().items():
        both = models(vocab)
        for model in both.values():
            for _ in train(model, ids, steps=5, batch=32, window=64, optimizer="adamw", lr=3e-3):
                pass
        for streams in (1, 64):
            count = 2000 if streams == 1 else 200

            def draw(model, ids=ids, streams=streams, count=count):
                return sum(
                    map(len, sample_tokens(model, ids[:9], count=count, sampling=Sampling(0.7), samples=streams))
                )

            ways = {way: lambda model=model, draw=draw: draw(model) for way, model in both.items()}
            rows.append(
                {"text": name, "V": len(vocab), "streams": streams, "threads": 1}
                | against(interleave(ways, rounds), ALONE)
            )
            show(rows[-1])
    return rows


def show(row: dict[str, object]) -> None:
    figures = row["hybrid"]
    print({k: v for k, v in row.items() if not isinstance(v, dict)}, f"{figures['per_second']['median']:,.0f}/s",
          f"{figures['ratio']['median']:.2f}", flush=True)  # fmt: skip


def growth() -> list[dict[str, object]]:
    """Each size in a process of its own, whose peak is its own."""
    rows = []
    for megabytes in GROWTH:
        done = subprocess.run(
            [sys.executable, __file__, "--count", str(megabytes)], check=True, capture_output=True, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        rows.append(json.loads(done.stdout))
        print(rows[-1], flush=True)
    return rows


def count(megabytes: float) -> None:
    """Print what the counting of so much source code takes."""
    library = Path(sysconfig.get_paths()["stdlib"])
    files = (path for path in sorted(library.rglob("*.py")) if "site-packages" not in path.parts)
    text, wanted = "", int(megabytes * 1e6)
    while len(text) < wanted:
        text += next(files).read_text("utf-8", "replace")
    text = text[:wanted]
    vocab = Vocab.chars(text, min_count=2)
    ids = vocab.encode(text)
    before, started = _peak(), time.process_time()
    model = models(vocab)["hybrid"]
    model.start_training(ids)
    print(
        json.dumps({
            "megabytes": megabytes, "tokens": len(ids), "folds": fold_count(len(ids)),
            "cpu_seconds": round(time.process_time() - started, 2),
            "tables_bytes": sum(table.nbytes for table in model.experts.tables), "peak_bytes_before": before,
            "peak_bytes": _peak(),
        })
    )  # fmt: skip


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--count", type=float)
    options = parser.parse_args()
    if options.count:
        count(options.count)
        return
    grown = growth()  # first: a process begins with the peak of the one that starts it
    write("hybrid", {"training": training(options.rounds), "sampling": sampling(options.rounds), "growth": grown})


if __name__ == "__main__":
    main()
