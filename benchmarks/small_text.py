"""The best models of a small text: the whole Time Machine, first 90 % to learn from, last 10 % scored once.

    python benchmarks/small_text.py --seeds 3
    python benchmarks/small_text.py --end-of-training --texts letters --ablate hybrid
    python benchmarks/small_text.py --end-of-training --texts letters --ablate alone

Settings were chosen on the last tenth of the training part. CPU seconds are of the whole process, on one thread:
counting, training, weights of the mixture and scoring.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from side_by_side import merged, read, write

import elman
from elman.config import TrainSettings
from elman.data.batches import Ids
from elman.inference.compressors import compressed_sizes
from elman.inference.dynamic import dynamic
from elman.models.base import Network
from elman.models.build import build_network
from elman.training.config import Config

WARM = 512  # tokens of the end of the training text that are read before the first that is scored
_alone = Config.resolve(("benchmark", {"recipe": "alone"}))
ALONE = (_alone, _alone.part(TrainSettings))
HYBRID = (
    Config(hidden=256, embedding=64, dropout=0.5, input_dropout=0.1, recurrent_dropout=0.2, ngram_experts=8),
    TrainSettings(window=64, lr=6e-3, weight_decay=0.05, epochs=16),
)
WEIGHTS = (0.75, 0.25)  # of the network with the n-gram, and of the network alone
LEVERS: dict[str, Callable[[Config, TrainSettings], tuple[Config, TrainSettings]]] = {
    "all": lambda m, t: (m, t),
    "no embedding (one-hot), no input dropout": lambda m, t: (replace(m, embedding=0, input_dropout=0.0), t),
    "no input dropout": lambda m, t: (replace(m, input_dropout=0.0), t),
    "no output dropout": lambda m, t: (replace(m, dropout=0.0), t),
    "no recurrent dropout": lambda m, t: (replace(m, recurrent_dropout=0.0), t),
    "no weight decay": lambda m, t: (m, replace(t, weight_decay=0.0)),
    "window 32": lambda m, t: (m, replace(t, window=32)),
    "constant learning rate": lambda m, t: (m, replace(t, schedule="constant", lr=t.lr / 3)),
    "two layers": lambda m, t: (replace(m, layers=2), t),
    "lstm": lambda m, t: (replace(m, cell="lstm"), t),
    "elman": lambda m, t: (replace(m, cell="elman"), replace(t, lr=t.lr / 3)),
}
ONE_KIND = {
    "alone": {
        "no teacher": lambda m, t: (m, replace(t, distill_weight=0.0)),
        "and layer normalisation": lambda m, t: (replace(m, layer_norm=True), t),
        "and two layers, residual, layer normalisation": lambda m, t: (
            replace(m, layers=2, residual=True, layer_norm=True),
            t,
        ),
        "and a Mogrifier of 2 rounds": lambda m, t: (replace(m, mogrifier=2), t),
        "and a tied output, embedding as wide": lambda m, t: (replace(m, embedding=m.hidden, tied=True), t),
        "and windows from 16 to 64": lambda m, t: (m, replace(t, initial_window=16)),
        "and a copy head of 64": lambda m, t: (replace(m, copy_window=64), t),
    },
    "hybrid": {
        "experts of 5": lambda m, t: (replace(m, ngram_experts=5), t),
        "no experts": lambda m, t: (replace(m, ngram_experts=0), t),
    },
}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--texts", nargs="+", default=["letters", "none"], help="named cleanings")
    parser.add_argument("--end-of-training", action="store_true", help="score the last tenth of the training part")
    parser.add_argument(
        "--ablate", choices=["alone", "hybrid"], help="each lever off (or on) in turn, half as many epochs"
    )
    parser.add_argument("--add", action="store_true", help="keep the other texts of the results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for clean in args.texts:
        task, train, test = parts(clean, end_of_training=args.end_of_training)
        found += [told({"text": clean, "seed": None} | row) for row in bounds(task, train, test)]
        if args.ablate:
            found += ablation(args.ablate, task, train, test)
            continue
        for seed in range(args.seeds):
            found += [told({"text": clean, "seed": seed} | row) for row in every_row(task, train, test, seed)]
    name = f"small_text_{args.ablate}" if args.ablate else "small_text"
    before = read(name) if args.add else None
    write(name, merged(before, found, ["text", "model", "seed"]) if before else found, before=before)


def ablation(kind: str, task: elman.TextTask, train: Ids, test: Ids) -> list[dict[str, Any]]:
    """What a network costs without each of its levers."""
    network, training = ALONE if kind == "alone" else HYBRID
    half = network, replace(training, epochs=(training.epochs or 2) // 2)
    rows = []
    for lever, change in (LEVERS | ONE_KIND[kind]).items():
        model, seconds = trained(task, train, change(*half), seed=0)
        row = {"bits": bits(scored(model, train, test)), "cpu_seconds": seconds}
        rows.append(told({"model": kind, "lever": lever} | row))
    return rows


def parts(clean: str, *, end_of_training: bool) -> tuple[elman.TextTask, Ids, Ids]:
    """The text to learn from and the text to score, as ids."""
    corpus = elman.read_corpus(["time-machine"], normalize=clean, held_out=0.1)
    assert corpus.held_out is not None  # noqa: S101 - it was asked for
    train, test = corpus.train.ids, corpus.held_out.ids
    if end_of_training:
        cut = len(train) * 9 // 10
        train, test = train[:cut], train[cut:]
    return elman.TextTask.of(corpus), train, test


def told(row: dict[str, Any]) -> dict[str, Any]:
    """The row, printed."""
    print(json.dumps(row), flush=True)
    return row


def bits(nats: np.ndarray) -> float:
    """Bits a character."""
    return float(nats.mean()) / math.log(2)


def bounds(task: elman.TextTask, train: Ids, test: Ids) -> list[dict[str, Any]]:
    """The n-gram, and the compressors after the training text."""
    started = time.process_time()
    ngram = elman.NGram.fit(task, train)
    cost = ngram.surprisals(np.concatenate((train[-WARM:], test)))[WARM:]
    rows = [{"model": ngram.name, "bits": bits(cost), "cpu_seconds": time.process_time() - started}]
    decode = task.vocab.decode_bytes
    each = compressed_sizes(decode(test), decode(train))
    return rows + [{"model": name, "bits": 8 * size / len(test)} for name, size in each.items() if "after" in name]


def trained(
    task: elman.TextTask, train: Ids, settings: tuple[Config, TrainSettings], *, seed: int
) -> tuple[Network, float]:
    """A network at the end of its training, and the CPU seconds that took."""
    started = time.process_time()
    model = build_network(task, settings[0].network, seed=seed)
    elman.fit(model, train, None, replace(settings[1], seed=seed, final_weights="last", num_reports=1))
    return model, time.process_time() - started


def scored(model: elman.models.base.SequenceModel, train: Ids, test: Ids) -> np.ndarray:
    """What each token costs at rest, the state carried over from the end of the training text."""
    return elman.surprisals(model, np.concatenate((train[-WARM:], test)))[WARM:]


def one(
    task: elman.TextTask, train: Ids, test: Ids, settings: tuple[Config, TrainSettings], *, seed: int
) -> tuple[dict[str, Any], Network]:
    """One network, at rest and going on learning."""
    started = time.process_time()
    model, _ = trained(task, train, settings, seed=seed)
    row = {"bits": bits(scored(model, train, test)), "cpu_seconds": time.process_time() - started}
    row["dynamic_bits"] = bits(dynamic(model, test, before=train[-WARM:]))
    return row | {"with_dynamic_cpu_seconds": time.process_time() - started}, model


def every_row(task: elman.TextTask, train: Ids, test: Ids, seed: int) -> list[dict[str, Any]]:
    """A network alone, one that weighs experts, and their mixture."""
    first, alone = one(task, train, test, ALONE, seed=seed)
    second, hybrid = one(task, train, test, HYBRID, seed=seed)
    started = time.process_time()
    both = elman.Mixture([hybrid, alone], WEIGHTS)
    mixture = {"bits": bits(scored(both, train, test))}
    mixture["cpu_seconds"] = first["cpu_seconds"] + second["cpu_seconds"] + time.process_time() - started
    started = time.process_time()
    mixture["dynamic_bits"] = bits(dynamic(both, test, before=train[-WARM:]))
    mixture["with_dynamic_cpu_seconds"] = mixture["cpu_seconds"] + time.process_time() - started
    return [
        {"model": "network alone", **first},
        {"model": "network with n-gram", **second},
        {"model": "mixture of the two", **mixture},
    ]


if __name__ == "__main__":
    main()
