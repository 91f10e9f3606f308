"""The report of a finished run: its metrics beside their baselines, findings, and pictures."""

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from elman.data.batches import Ids, find_batching
from elman.data.corpus import Corpus, Split
from elman.environment import device_for
from elman.errors import DivergedError, ModelError, quoted
from elman.inference.baselines import FLOOR_LIMIT, perplexity_lower_bound, uniform_nats, unigram_nats
from elman.inference.compressors import compressed_sizes, split_bytes
from elman.inference.evaluation import AT_REST, Score, beginning, evaluate
from elman.inference.findings.base import sentences
from elman.inference.findings.run import of_run
from elman.inference.metrics import perplexity
from elman.models.base import Network
from elman.models.ngram.model import NGram
from elman.models.saving import MODEL_FILES, finite, load, load_saved_network, save, to_json
from elman.reading import parsing, read_limited
from elman.storage.atomic import replace_file
from elman.storage.tensors import strict_json
from elman.training.config import Config
from elman.training.loop import HELD_OUT_TOKENS
from elman.training.run import Job, records

SCORED_TRAINING_TOKENS = 200_000  # of the training text
SCORED_TOKENS, SCORED_LOGITS = 2_000_000, 2**33  # of the other parts: a minute or two; `elman evaluate` scores all
COMPRESSED = 5_000_000  # bytes of a text that are compressed, its last ones: seconds
NGRAM, NGRAM_TOKENS = "ngram", 20_000_000  # the folder of the n-gram in a run; of so many last training tokens
SCHEMA = 1


def conclude(job: Job) -> dict[str, Any]:
    """Score the weights that the run keeps, write report.json, and return it.

    Raises:
        ModelError: no checkpoint, or a damaged one.
        DivergedError: a perplexity that no float holds.
    """
    checkpoints = job.checkpoints
    best = checkpoints.best(MODEL_FILES) if job.config.final_weights == "best" else None
    chosen = best or checkpoints.latest(MODEL_FILES)
    if chosen is None:
        raise ModelError(
            f"the run {str(job.path)!r} has no checkpoint: begin it again in another folder, and let it train longer"
        )
    model = load_saved_network(chosen, engine=job.config.engine, device=device_for(job.config.device))
    report = _report(job, model, chosen.path.name, counted(job))
    if any(math.isinf(score["perplexity"]) for scores in report["figures"].values() for score in scores):
        raise DivergedError(
            f"training diverged: the weights in {str(chosen.path)!r} have an infinite perplexity; "
            "begin a new run with a lower lr or a lower clip"
        )
    replace_file(job.path / "report.json", to_json(finite(report)))
    return report


def counted(job: Job) -> NGram | None:
    """The n-gram of the run's training text, where the settings want one; counted once and saved in the run."""
    if not job.config.ngram:
        return None
    path = job.path / NGRAM
    if not path.exists():
        save(NGram.fit(job.model.task, job.corpus.train.ids[-NGRAM_TOKENS:]), path, job.counts)
    return saved_ngram(job.path)


def saved_ngram(run: Path) -> NGram | None:
    """The n-gram that a run keeps, if it does."""
    path = run / NGRAM
    model = load(path) if path.exists() else None
    return cast(NGram, model) if model is not None and model.kind == NGram.kind else None


def _report(job: Job, model: Network, checkpoint: str, ngram: NGram | None) -> dict[str, Any]:
    corpus, config, t = job.corpus, job.config, job.training
    scored = {part.name: _first(model, part) for part in corpus.parts}
    figures = {
        name: [
            described(evaluate(model, part, protocol=protocol, window=config.window), job.counts, part.ids, ngram)
            for protocol in AT_REST
        ]
        for name, part in scored.items()
    }
    curve = [m for m in records(job.path / "metrics.jsonl") if m.get("report")]
    train = figures[corpus.train.name][0]
    held_out = figures[corpus.held_out.name][0] if corpus.held_out else None
    compressed = {name: _xz(corpus, name, part) for name, part in scored.items()}
    findings = of_run(
        train=_seen(model, train["perplexity"], curve),
        held_out=held_out["perplexity"] if held_out else None,
        bounds=held_out["baselines"] if held_out else _without_ngram(train["baselines"], ngram),
        curve=[m["held_out"] for m in curve if m.get("held_out")],
        training_curve=[m["train"] for m in curve if m.get("train")],
        rates=[m["lr"] for m in curve],
        xz=compressed.get(corpus.held_out.name) if corpus.held_out else None,
    )
    return {
        "schema_version": SCHEMA,
        "run": str(job.path),
        "checkpoint": checkpoint,
        "kept": ", the best on held-out text" if config.final_weights == "best" and corpus.held_out else ", the last",
        "source": corpus.source,
        "vocabulary": len(corpus.vocab),
        "unknown_symbol": corpus.vocab.unknown,
        "cell": model.name,
        "hidden": model.widths,
        "parameters": model.parameter_count(),
        "operations": model.operations(),
        "ngram": None if ngram is None else ngram.settings() | {"ngrams": ngram.parameter_count()},
        "engine": model.engine_name,
        "device": str(model.device),
        "steps": t.step,
        "epochs": t.epoch + t.epoch_tokens / len(corpus.train.ids),
        "seconds": t.seconds,
        "tokens_per_second": t.total_tokens / t.step_seconds if t.step_seconds else None,
        "training_perplexity": curve[-1]["train"] if curve else None,
        "floor": floor(config, corpus.train.ids),
        "clip": config.clip,
        "figures": figures,
        "curve_bounds": baselines(job.counts, _of_the_curve(model, corpus), ngram),
        "xz": compressed,
        "scored_whole": {part.name: len(scored[part.name].ids) == len(part.ids) for part in corpus.parts},
        "verdict": sentences(findings),
        "findings": [finding.to_dict() for finding in findings],
    }


def _seen(model: Network, train: float, curve: list[dict[str, Any]]) -> float:
    """The training perplexity that shows memorising: of counts of that text, the one that training measured."""
    return max(train, curve[-1]["train"]) if model.has_counts and curve else train


def _xz(corpus: Corpus, name: str, part: Split) -> float:
    """The perplexity of xz -9e: of the training text by itself, of another part after the training text."""
    before = None if name == corpus.train.name else split_bytes(corpus.vocab, corpus.train, COMPRESSED)
    found = compressed_sizes(split_bytes(corpus.vocab, part, COMPRESSED), before, ["xz"])
    bits = 8 * found["xz" if before is None else "xz after training"]
    return perplexity(bits * math.log(2), len(part.ids))


def _of_the_curve(model: Network, corpus: Corpus) -> Ids:
    """The tokens that the held-out curve is measured on, so that the bounds in the picture are of the same."""
    return beginning(model, corpus.held_out or corpus.train, HELD_OUT_TOKENS).ids


def _without_ngram(baselines: dict[str, float], ngram: NGram | None) -> dict[str, float]:
    """The baselines of the training text without the n-gram, which was counted on it."""
    return {name: bound for name, bound in baselines.items() if ngram is None or name != ngram.name}


def _first(model: Network, part: Split) -> Split:
    """As much of a part as is scored at the end of a run."""
    if part.name == "train":
        return beginning(model, part, SCORED_TRAINING_TOKENS)
    return beginning(model, part, SCORED_TOKENS, SCORED_LOGITS)


def described(score: Score, counts: npt.NDArray[np.int64], ids: Ids, ngram: NGram | None = None) -> dict[str, Any]:
    """A score with every metric and its baselines, as JSON values; all perplexities are over the same tokens.

    Args:
        score: of the text.
        counts: of the training tokens, (V,); all zero where a model was saved without: then there is no unigram.
        ids: token ids of the text, (N,).
        ngram: the n-gram of the training text, if there is one.
    """
    return {
        "protocol": score.protocol,
        "nats": score.nats,
        **score.metrics,
        "tokens": score.tokens,
        "characters": score.characters,
        "bytes": score.bytes,
        "unknown": score.unknown,
        "streams": score.streams,
        "window": score.window,
        "baselines": baselines(counts, ids, ngram),
    }


def baselines(counts: npt.NDArray[np.int64], ids: Ids, ngram: NGram | None) -> dict[str, float]:
    """The perplexities of a text under the uniform distribution, the unigram and the n-gram, where there are such.

    Args:
        counts: as for `described`.
        ids: as for `described`.
        ngram: as for `described`.
    """
    nats = {"uniform": uniform_nats(len(ids), len(counts))}
    if counts.any():
        nats["unigram"] = unigram_nats(counts, ids)
    if ngram is not None:
        nats[ngram.name] = float(ngram.surprisals(ids).sum())
    return {name: perplexity(value, len(ids)) for name, value in nats.items()}


def floor(config: Config, ids: Ids) -> float | None:
    """The least training perplexity that the batching allows, or None of more than 2 million tokens.

    Args:
        config: the batching, its batch and its window.
        ids: token ids of the training text, (N,).
    """
    if len(ids) > FLOOR_LIMIT:
        return None
    batching = find_batching(config.batching)
    if batching.fresh_state:
        return perplexity_lower_bound(ids, config.window)
    places = batching.starts(len(ids), config.batch, config.window) - 1  # of the first inputs
    length = (len(ids) - len(places)) // config.batch  # of a stream, whichever of its places it begins at
    return perplexity_lower_bound(ids, max(1, length), places[places >= 0])


def pictures(path: Path) -> list[Path]:
    """Draw the run in `path` again from its files.

    Raises:
        ConfigError: matplotlib is not installed.
        ModelError: the run has no report.
    """
    from elman.training.plots import run_pictures

    where = path / "report.json"
    try:
        report = strict_json(read_limited(where, ModelError), quoted(where))
    except ModelError as error:
        raise ModelError(f"{str(path)!r} has no readable report.json: finish the run first") from error
    with parsing(f"the records in {quoted(path)} cannot be drawn", ModelError, "begin the run again"):
        limits = dict(report["curve_bounds"])
        if report["floor"]:
            limits["lowest possible in training"] = report["floor"]
        widths = "+".join(map(str, report["hidden"]))
        title = f"{Path(report['source']).name}: {report['cell']} {widths}, {report['epochs']:.3g} epochs"
        if "held-out" in report["figures"] and report["figures"]["held-out"][0]["tokens"] > HELD_OUT_TOKENS:
            title += f", first {HELD_OUT_TOKENS:,} held-out tokens"
        return run_pictures(path, records(path / "metrics.jsonl"), limits, title=title, clip=report["clip"])
