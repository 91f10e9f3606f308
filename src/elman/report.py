"""The end of a run: its figures beside their bounds, what they mean, and the pictures."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elman import bounds
from elman.config import Config
from elman.data.batches import Ids
from elman.data.corpus import Part
from elman.disk import replace_file
from elman.environment import device_for
from elman.errors import DivergedError, ModelError
from elman.evaluation import PROTOCOLS, Score, beginning, evaluate, perplexity
from elman.models.base import Network
from elman.run import Job, records
from elman.saving import build_network, to_json
from elman.store import read_folder
from elman.verdict import verdict

SCORED_TRAINING_TOKENS = 200_000  # of the training text
SCORED_TOKENS, SCORED_LOGITS = 2_000_000, 2**33  # of the other parts: a minute or two; `elman evaluate` scores all
SCHEMA = 1


def conclude(job: Job) -> dict[str, Any]:
    """Score the weights that the run keeps, write report.json, and return it.

    Raises:
        ModelError: no checkpoint, or a damaged one.
        DivergedError: a perplexity that no float holds.
    """
    checkpoints = job.checkpoints
    chosen = (checkpoints.best() if job.config.keep == "best" else None) or checkpoints.latest()
    if chosen is None:
        raise ModelError(f"the run {str(job.path)!r} has no checkpoint: let it train longer")
    model = build_network(read_folder(chosen), engine=job.config.engine, device=device_for(job.config.device))
    report = _report(job, model, chosen.name)
    if any(math.isinf(score["perplexity"]) for scores in report["figures"].values() for score in scores):
        raise DivergedError(
            f"training diverged: the weights in {str(chosen)!r} have an infinite perplexity; "
            "begin a new run with a lower lr, or clip more tightly"
        )
    replace_file(job.path / "report.json", to_json(report))
    return report


def _report(job: Job, model: Network, checkpoint: str) -> dict[str, Any]:
    corpus, config, t = job.corpus, job.config, job.training
    scored = {part.name: _first(model, part) for part in corpus.parts}
    figures = {name: _figures(model, part, job.counts, config.window) for name, part in scored.items()}
    curve = [m for m in records(job.path / "metrics.jsonl") if m.get("report")]
    train = figures[corpus.train.name][0]
    held_out = figures[corpus.held_out.name][0] if corpus.held_out else None
    return {
        "schema_version": SCHEMA,
        "run": str(job.path),
        "checkpoint": checkpoint,
        "kept": ", the best on held-out text" if config.keep == "best" and corpus.held_out else ", the last",
        "source": corpus.source,
        "vocabulary": len(corpus.vocab),
        "unknown_symbol": corpus.vocab.unknown,
        "cell": model.name,
        "hidden": model.widths,
        "parameters": model.parameter_count(),
        "engine": model.engine_name,
        "device": str(model.device),
        "steps": t.step,
        "epochs": t.epoch + t.seen / len(corpus.train.ids),
        "seconds": t.seconds,
        "tokens_per_second": t.learnt / t.busy if t.busy else None,
        "training_perplexity": curve[-1]["train"] if curve else None,
        "floor": floor(config, corpus.train.ids),
        "clip": config.clip,
        "figures": figures,
        "scored_whole": {part.name: len(scored[part.name].ids) == len(part.ids) for part in corpus.parts},
        "verdict": verdict(
            train=train["perplexity"],
            held_out=held_out["perplexity"] if held_out else None,
            bounds=(held_out or train)["baselines"],
            curve=[m["held_out"] for m in curve if m.get("held_out")],
            training_curve=[m["train"] for m in curve if m.get("train")],
            rates=[m["lr"] for m in curve],
        ),
    }


def _first(model: Network, part: Part) -> Part:
    """As much of a part as is scored at the end of a run."""
    if part.name == "train":
        return beginning(model, part, SCORED_TRAINING_TOKENS)
    return beginning(model, part, SCORED_TOKENS, SCORED_LOGITS)


def _figures(model: Network, part: Part, counts: npt.NDArray[np.int64], window: int) -> list[dict[str, Any]]:
    return [
        described(evaluate(model, part, protocol=protocol, window=window), counts, part.ids) for protocol in PROTOCOLS
    ]


def described(score: Score, counts: npt.NDArray[np.int64], ids: Ids) -> dict[str, Any]:
    """A score with its baselines, as JSON values; all perplexities are over the same tokens.

    `counts` are those of the training text; all zero, where a model was saved without, there is no unigram.
    """
    nats = {"uniform": bounds.uniform_nats(len(ids), len(counts))}
    if counts.any():
        nats["unigram"] = bounds.unigram_nats(counts, ids)
    return {
        "protocol": score.protocol,
        "perplexity": score.perplexity,
        "nats": score.nats,
        "bits_per_character": score.bits_per_character,
        "bits_per_byte": score.bits_per_byte,
        "tokens": score.tokens,
        "characters": score.characters,
        "bytes": score.bytes,
        "unknown": score.unknown,
        "streams": score.streams,
        "window": score.window,
        "baselines": {name: perplexity(value, score.tokens) for name, value in nats.items()},
    }


def floor(config: Config, ids: Ids) -> float | None:
    """The least training perplexity that the protocol allows, or None where it is not cheap to compute."""
    if len(ids) > bounds.FLOOR_LIMIT:
        return None
    if config.batching.endswith("random"):
        return bounds.information_floor(ids, config.window)
    length = len(ids) // config.batch
    # Where the streams begin: always at the same places, or shifted by an offset of up to a window.
    shifts = np.arange(config.window) if config.batching.startswith("reference") else np.array([-1])
    places = (np.arange(config.batch)[:, None] * length + shifts).ravel()
    return bounds.information_floor(ids, max(1, length - len(shifts)), places[places >= 0])


def pictures(path: Path) -> list[Path]:
    """Draw the run in `path` again from its files.

    Raises:
        ConfigError: matplotlib is not installed.
        ModelError: the run has no report.
    """
    from elman.plots import run_pictures

    try:
        report = json.loads((path / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{str(path)!r} has no readable report.json: finish the run first") from error
    figures = report["figures"]
    limits = dict(figures.get("held-out", figures["train"])[0]["baselines"])
    if report["floor"]:
        limits["floor of this training"] = report["floor"]
    widths = "+".join(map(str, report["hidden"]))
    title = f"{Path(report['source']).name}: {report['cell']} {widths}, {report['epochs']:.3g} epochs"
    return run_pictures(path, records(path / "metrics.jsonl"), limits, title=title, clip=report["clip"])
