"""Does bfloat16 learn as float32 does? Training curves of both, with the same seeds and batches.

Every cell learns the first 10,000 characters of the book for 100 epochs by the default recipe: training perplexity of
an epoch and held-out perplexity of the next 5,000 characters, as means over seeds and paired differences.

    python benchmarks/bfloat16.py [--seeds 3] [--epochs 100] [--hidden 128]

On a processor without AVX512_BF16, `ELMAN_INSTRUCTIONS=avx2` goes through the same arithmetic step by step (slowly).
"""

import argparse
import statistics

import torch
from side_by_side import write

import elman
from elman.config import TrainSettings
from elman.engines.native import BFLOAT16
from elman.models.recurrent import Recurrent
from elman.models.task import TextTask
from elman.training.loop import train

EPOCHS = (10, 20, 40, 60, 80, 100)


def curve(corpus, cell, hidden, engine, seed, epochs):
    """Training and held-out perplexity after each of some epochs."""
    model = Recurrent(TextTask.of(corpus), cell=cell, hidden=hidden, engine=engine, seed=seed)
    settings = TrainSettings(epochs=epochs, reports=epochs, seed=seed)
    found = {}
    for progress in train(model, corpus.train, corpus.held_out, settings):
        epoch = round(progress.epoch)
        if progress.report and progress.epoch_ended and epoch in {e * epochs // 100 for e in EPOCHS}:
            found[epoch] = {"train": progress.train, "held-out": progress.held_out.perplexity}
    return found


def compare(single, half):
    """Mean and deviation over seeds of both, and of their paired differences, a row an epoch and part."""
    for epoch in single[0]:
        for part in ("train", "held-out"):
            a, b = ([run[epoch][part] for run in runs] for runs in (single, half))
            differences = [y - x for x, y in zip(a, b, strict=True)]
            spread = statistics.stdev(a) if len(a) > 1 else float("nan")
            mean = statistics.mean(differences)
            yield {
                "epoch": epoch, "part": part, "float32": a, "bfloat16": b, "mean_difference": mean,
                "seeds_deviation": spread, "within": abs(mean) <= spread,
            }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--hidden", type=int, default=128)
    options = parser.parse_args()
    if not BFLOAT16:
        raise SystemExit("no AVX512_BF16 here: set ELMAN_INSTRUCTIONS=avx2 to go through its arithmetic step by step")
    torch.set_num_threads(1)
    corpus = elman.read_corpus(["time-machine"], normalize="letters", limit=15_000, held_out=5_000)
    table = []
    for cell in ("elman", "elman-relu", "gru", "lstm"):
        single, half = (
            [curve(corpus, cell, options.hidden, engine, seed, options.epochs) for seed in range(options.seeds)]
            for engine in ("native", "native-bfloat16")
        )
        for row in compare(single, half):
            table.append({"cell": cell, "H": options.hidden} | row)
            print(
                f"{cell:10} epoch {row['epoch']:3}  {row['part']:8}  float32 {statistics.mean(row['float32']):7.3f} "
                f"± {row['seeds_deviation']:.3f}  bfloat16 {statistics.mean(row['bfloat16']):7.3f}  "
                f"difference {row['mean_difference']:+.3f}{'' if row['within'] else '  beyond the deviation of seeds'}",
                flush=True,
            )
    write("bfloat16", table)


if __name__ == "__main__":
    main()
