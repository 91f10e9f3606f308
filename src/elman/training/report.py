"""The report of a finished run: its metrics beside their baselines, findings, and pictures."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from elman.data.batches import Ids, find_batching
from elman.data.corpus import Corpus, Split
from elman.data.unknown import symbol_count, unknown_summary
from elman.environment import device_for
from elman.errors import DivergedError, ModelError, quoted
from elman.inference.baselines import FLOOR_LIMIT, perplexity_lower_bound, unigram_surprisals
from elman.inference.blocks import BlockSums, block_count, even_edges, other_blocks
from elman.inference.compressors import MAX_TRAINING_BYTES, compressed_sizes, nats_of_tokens, training_bytes
from elman.inference.evaluation import AT_REST, Protocol, Score, beginning, evaluate
from elman.inference.findings.base import Finding, sentences
from elman.inference.findings.run import of_run
from elman.inference.lossless import other_bits
from elman.inference.metrics import perplexity
from elman.inference.significance import BlockCosts, against_total, differences
from elman.models.base import Network, SequenceModel
from elman.models.ngram.model import NGRAM_TOKENS, NGram
from elman.models.saving import MODEL_FILES, finite, load, load_saved_network, save, to_json
from elman.reading import parsing, read_limited
from elman.storage.atomic import replace_file
from elman.storage.tensors import strict_json
from elman.training.budget import AROUND, measuring_seconds
from elman.training.config import Config
from elman.training.loop import HELD_OUT_TOKENS
from elman.training.run import Job, locked, records

SCORED_TRAINING_TOKENS, SCORED_AT_LEAST = 200_000, 5_000  # of the training text
SCORED_TOKENS, SCORED_LOGITS = 2_000_000, 2**33  # of the other parts: a minute or two; `elman evaluate` scores all
NGRAM = "ngram"  # the folder of the n-gram in a run
SHORT_BLOCK = 16  # tokens of a block of a short text: several times what neighbouring tokens have in common
PROBE, SCORING = 1_024, 0.4  # tokens that tell how fast a model is; share of the time for one pass over a part
NGRAM_SECONDS, XZ_SECONDS = 8e-7, 6e-7  # a token of few symbols and a byte, about
XZ_SHARE = 0.1  # of a budget, for the bound that a compressor is
NGRAM_SYMBOLS = 700  # so many symbols take twice the time
SCHEMA = 1


@dataclass(frozen=True)
class Measuring:
    """Where the measuring of a trained run is."""

    stage: str
    """What is measured now."""
    fraction: float
    """How much of that is done, 0 to 1."""
    overall: float
    """How much of all measuring is done, 0 to 1, estimated."""
    seconds: float
    """How long all of it takes, estimated."""


Tell = Callable[[Measuring], None]


def conclude(
    job: Job,
    tell: Tell = lambda _: None,
    interruptible: AbstractContextManager[object] = nullcontext(),  # noqa: B008 - it has no state
) -> dict[str, Any]:
    """Score the weights that the run keeps, write report.json, and return it.

    A budget of minutes covers this too: what it has no room for is left out, or measured on the beginning of a part,
    and the report says so (`not_measured`, `scored_whole`).

    Args:
        job: the trained run.
        tell: called before and within each stage.
        interruptible: entered while it measures. A KeyboardInterrupt within it ends the measuring, not the report: that
            is written with what was measured.

    Raises:
        ConfigError: another process holds the run, or has gone on with it.
        ModelError: no checkpoint, or a damaged one.
        DivergedError: a perplexity that no float holds.
    """
    with locked(job):
        return _conclude(job, tell, interruptible)


def _conclude(job: Job, tell: Tell, interruptible: AbstractContextManager[object]) -> dict[str, Any]:
    checkpoints = job.checkpoints
    best = checkpoints.best(MODEL_FILES) if job.config.final_weights == "best" else None
    chosen = best or checkpoints.latest(MODEL_FILES)
    if chosen is None:
        raise ModelError(
            f"the run {str(job.path)!r} has no checkpoint: begin it again in another folder, and let it train longer"
        )
    model = load_saved_network(chosen, engine=job.config.engine, device=device_for(job.config.device))
    measured = _Measured(job, model, tell)
    try:
        with interruptible:
            measured.run()
    except KeyboardInterrupt:
        measured.interrupted = True
    if measured.ngram is not None and not (job.path / NGRAM).exists():
        save(measured.ngram, job.path / NGRAM, job.counts)
    report = _report(job, model, chosen.path.name, measured)
    if any(math.isinf(score["perplexity"]) for scores in report["figures"].values() for score in scores):
        raise DivergedError(
            f"training diverged: the weights in {str(chosen.path)!r} have an infinite perplexity; "
            "begin a new run with a lower lr or a lower clip"
        )
    replace_file(job.path / "report.json", to_json(finite(report)))
    return report


@dataclass(frozen=True)
class _Stage:
    """One thing to measure."""

    words: str
    seconds: float
    """How long it takes, estimated."""
    run: Callable[[Callable[[float], None]], None]
    """Measures it; calls its argument with the share that is done."""
    needed: bool = False
    """Whether it is measured even where the budget has no room for it."""


class _Measured:
    """What is measured of a trained run, the most important first."""

    def __init__(self, job: Job, model: Network, tell: Tell) -> None:
        self.job, self.model, self.tell = job, model, tell
        self.scores: dict[str, list[Score]] = {}
        self.scored: dict[str, Split] = {}
        self.bounds: dict[str, dict[str, float]] = {}
        self.blocks: dict[str, BlockSums] = {}
        self.xz: dict[str, _Xz] = {}
        self.ngram: NGram | None = None
        self.floor: float | None = None
        self.interrupted = False
        self.overall = 0.0
        self.left: list[str] = ["all but the training"]
        self.began = time.monotonic()
        minutes = job.config.minutes
        around = AROUND + job.opening_seconds
        spare = 0.0 if minutes is None else max(measuring_seconds(minutes), 60 * minutes - job.training.seconds)
        self.limit = math.inf if minutes is None else max(0.0, spare - around)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    def run(self) -> None:
        """Measure one stage after the other, as long as there is time."""
        stages = self._planned()
        skipped: list[str] = []
        for i, stage in enumerate(stages):
            self.left = skipped + [later.words for later in stages[i:]]
            planned = self._that_fit(stages[i:])
            if stage not in planned:
                skipped.append(stage.words)
                continue
            done, total = self.seconds, self.seconds + sum(each.seconds for each in planned)

            def tell(share: float, stage: _Stage = stage, done: float = done, total: float = total) -> None:
                self.overall = max(self.overall, min(1.0, (done + share * stage.seconds) / max(total, 1e-9)))
                self.tell(Measuring(stage.words, share, self.overall, total))

            tell(0.0)
            stage.run(tell)
        self.left = skipped

    def _that_fit(self, stages: Sequence[_Stage]) -> list[_Stage]:
        """Those that are needed, and the others as long as there is time."""
        planned, until = list[_Stage](), self.seconds
        for stage in stages:
            if stage.needed or until + stage.seconds <= self.limit:
                planned.append(stage)
                until += stage.seconds
        return planned

    def _planned(self) -> list[_Stage]:
        """All stages; how much of each part is scored follows from how fast the model is."""
        job, corpus = self.job, self.job.corpus
        main, *others = sorted(corpus.parts, key=lambda part: ("held-out", "test", "train").index(part.name))
        token = self._seconds_a_token(main)
        self.scored = {part.name: self._stretch(part, token) for part in corpus.parts}
        tokens = len(corpus.train.ids)
        stages = [self._scoring(main, AT_REST[0], token, needed=True)]
        if job.config.ngram:
            counted = min(tokens, NGRAM_TOKENS)
            each = 0.0 if (job.path / NGRAM).exists() else NGRAM_SECONDS * (1 + len(corpus.vocab) / NGRAM_SYMBOLS)
            stages.append(_Stage("counting n-grams", counted * each, self._count, needed=True))
        stages += [
            _Stage(
                "comparing with n-grams", sum(len(s.ids) for s in self.scored.values()) * 1e-6, self._bound, needed=True
            ),
            self._compressing(main, share=XZ_SHARE),
            *(self._compressing(part) for part in others),
            self._scoring(main, AT_REST[1], token),
            *(self._scoring(part, protocol, token) for part in others for protocol in AT_REST),
            _Stage("the lowest possible training perplexity", min(tokens, FLOOR_LIMIT) * 1e-6, self._floor),
        ]
        return stages

    def _seconds_a_token(self, part: Split) -> float:
        """How long the scoring of a token takes, measured on the first ones."""
        self.tell(Measuring("timing the model", 0.0, 0.0, self.seconds))
        for tokens in (1, PROBE):  # the first call may count the experts
            probe = beginning(self.model, part, tokens)
            began = time.perf_counter()
            evaluate(self.model, probe)
            each = (time.perf_counter() - began) / len(probe.ids)
        return each

    def _stretch(self, part: Split, token: float) -> Split:
        """As much of a part as is scored: with a budget of minutes half of the time is for one pass over it."""
        wanted = _first(self.job, self.model, part)
        if self.limit == math.inf:
            return wanted
        return beginning(self.model, wanted, max(PROBE, int(SCORING * self.limit / max(token, 1e-9))))

    def _scoring(self, part: Split, protocol: Protocol, token: float, *, needed: bool = False) -> _Stage:
        scored, window = self.scored[part.name], self.job.config.window

        def run(tell: Callable[[float], None]) -> None:
            blocks = self.blocks.setdefault(part.name, blocks_of(scored, self.model))
            score = evaluate(
                self.model,
                scored,
                protocol=protocol,
                window=window,
                on_progress=lambda done, of: tell(done / of),
                collect=None if self.scores.get(part.name) else blocks.collect,
            )
            self.scores.setdefault(part.name, []).append(score)

        words = f"scoring the {'training text' if part.name == 'train' else f'{part.name} part'}, state {protocol}"
        return _Stage(words, len(scored.ids) * token, run, needed)

    def _count(self, _tell: Callable[[float], None]) -> None:
        self.ngram = counted(self.job)

    def _bound(self, tell: Callable[[float], None]) -> None:
        for i, (name, part) in enumerate(self.scored.items(), 1):
            self.bounds[name] = baselines(self.job.counts, part.ids, self.ngram)
            tell(i / len(self.scored))

    def _compressing(self, part: Split, share: float = 0.0) -> _Stage:
        """What xz needs: in any case where that takes no more than a share of the budget."""
        corpus, scored = self.job.corpus, self.scored[part.name]
        after = 0 if part.name == corpus.train.name else 2 * min(corpus.train.bytes, MAX_TRAINING_BYTES)

        def run(_tell: Callable[[float], None]) -> None:
            self.xz[part.name] = _xz(corpus, part.name, scored)

        seconds = (scored.bytes + after) * XZ_SECONDS
        needed = seconds <= share * 60 * (self.job.config.minutes or 0)
        return _Stage(f"xz of the {part.name} part", seconds, run, needed)

    def _floor(self, _tell: Callable[[float], None]) -> None:
        self.floor = floor(self.job.config, self.job.corpus.train.ids)


def counted(job: Job) -> NGram | None:
    """The n-gram of the run's training text, where the settings want one: the saved one, or counted now."""
    if not job.config.ngram:
        return None
    return saved_ngram(job.path) or NGram.fit(job.model.task, job.corpus.train.ids[-NGRAM_TOKENS:])


def saved_ngram(run: Path) -> NGram | None:
    """The n-gram that a run keeps, if it does."""
    path = run / NGRAM
    model = load(path) if path.exists() else None
    return cast(NGram, model) if model is not None and model.kind == NGram.kind else None


def _report(job: Job, model: Network, checkpoint: str, measured: _Measured) -> dict[str, Any]:
    corpus, config, t, ngram = job.corpus, job.config, job.training, measured.ngram
    bounds = {
        name: measured.bounds.get(name) or baselines(job.counts, measured.scored[name].ids, ngram)
        for name in measured.scores
    }
    figures = {
        part.name: [described(score) | {"baselines": bounds[part.name]} for score in measured.scores[part.name]]
        for part in corpus.parts
        if part.name in measured.scores
    }
    findings = _findings(job, model, figures, measured)
    curve = _curve(job)
    return {
        "schema_version": SCHEMA,
        "run": str(job.path),
        "checkpoint": checkpoint,
        "kept": ", the best on held-out text" if config.final_weights == "best" and corpus.held_out else ", the last",
        "source": corpus.source,
        "vocabulary": len(corpus.vocab),
        "unknown_symbol": corpus.vocab.unknown,
        "unknown_symbols": {part.name: unknown_summary(part, corpus.vocab) for part in corpus.parts},
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
        "floor": measured.floor,
        "clip": config.clip,
        "figures": figures,
        "p_values": _p_values(job, measured),
        "curve_bounds": baselines(job.counts, _of_the_curve(model, corpus), ngram),
        "xz": {name: found.perplexity for name, found in measured.xz.items()},
        "xz_bits_per_character": {name: found.bits_per_character for name, found in measured.xz.items()},
        "scored_whole": {
            p.name: len(measured.scored[p.name].ids) == len(p.ids) for p in corpus.parts if p.name in figures
        },
        "not_measured": measured.left,
        "interrupted": measured.interrupted,
        "verdict": sentences(findings),
        "findings": [finding.to_dict() for finding in findings],
    }


def _curve(job: Job) -> list[dict[str, Any]]:
    """The records of the reports."""
    return [m for m in records(job.path / "metrics.jsonl") if m.get("report")]


def _findings(job: Job, model: Network, figures: dict[str, Any], measured: _Measured) -> list[Finding]:
    """What follows from the figures; nothing, where those of the held-out part are missing."""
    corpus, ngram, curve = job.corpus, measured.ngram, _curve(job)
    train = figures[corpus.train.name][0] if corpus.train.name in figures else None
    if (corpus.held_out and corpus.held_out.name not in figures) or not (train or curve):
        return []
    held_out = figures[corpus.held_out.name][0] if corpus.held_out else None
    of_training = _seen(model, train["perplexity"], curve) if train else curve[-1]["train"]
    without = _without_ngram(train["baselines"], ngram) if train else {}
    held_out_xz = measured.xz.get(corpus.held_out.name) if corpus.held_out else None
    return of_run(
        train=of_training,
        held_out=held_out["perplexity"] if held_out else None,
        bounds=held_out["baselines"] if held_out else without,
        curve=[m["held_out"] for m in curve if m.get("held_out")],
        training_curve=[m["train"] for m in curve if m.get("train")],
        rates=[m["lr"] for m in curve],
        p_values=_p_values(job, measured),
        bits=held_out["bits_per_character"] if held_out else None,
        xz=held_out_xz.bits_per_character if held_out_xz else None,
        xz_p_value=_xz_chance(model, measured, corpus.held_out.name) if corpus.held_out and held_out_xz else None,
        symbols=symbol_count(corpus.held_out or corpus.train, corpus.vocab, job.counts),
    )


def _p_values(job: Job, measured: _Measured) -> dict[str, float | None] | None:
    """Of the held-out part; None where nothing is held out, or it was not scored."""
    part = job.corpus.held_out
    if part is None or part.name not in measured.scores:
        return None
    return chances(measured.blocks[part.name], job.counts, measured.scored[part.name].ids, measured.ngram)


def _seen(model: Network, train: float, curve: list[dict[str, Any]]) -> float:
    """The training perplexity that shows memorising: of counts of that text, the one that training measured."""
    return max(train, curve[-1]["train"]) if model.has_counts and curve else train


class _Xz(NamedTuple):
    """What xz -9e needs for a part of a corpus."""

    perplexity: float | None
    """Of a model of the tokens that needs as many bits; None where there is none."""
    bits_per_character: float


def _xz(corpus: Corpus, name: str, part: Split) -> _Xz:
    """What xz -9e needs: for the training text by itself, for another part after the training text."""
    before = None if name == corpus.train.name else training_bytes(corpus.vocab, corpus.train)
    found = compressed_sizes(part.text_bytes(corpus.vocab), before, ["xz"])
    size = found["xz" if before is None else "xz after training"]
    nats = nats_of_tokens(size, other_bits(part, corpus.vocab) or 0.0)
    return _Xz(perplexity(nats, len(part.ids)) if nats >= 0 else None, 8 * size / part.characters)


def _xz_chance(model: Network, measured: _Measured, name: str) -> float | None:
    """The p-value of the difference in bits to xz; None where the text is too short for a test.

    Args:
        model: that was trained.
        measured: its scores.
        name: of the part of the corpus.
    """
    part, blocks = measured.scored[name], measured.blocks[name]
    if not len(blocks.sums):
        return None
    bits = blocks.sums / math.log(2) + other_blocks(part, model.task, blocks.edges)
    (found,) = against_total(
        measured.xz[name].bits_per_character * part.characters, [BlockCosts("model", bits[None], has_seeds=False)]
    )
    return found.p_value


def _of_the_curve(model: Network, corpus: Corpus) -> Ids:
    """The tokens that the held-out curve is measured on, so that the bounds in the picture are of the same."""
    return beginning(model, corpus.held_out or corpus.train, HELD_OUT_TOKENS).ids


def _without_ngram(baselines: dict[str, float], ngram: NGram | None) -> dict[str, float]:
    """The baselines of the training text without the n-gram, which was counted on it."""
    return {name: bound for name, bound in baselines.items() if ngram is None or name != ngram.name}


def _first(job: Job, model: Network, part: Split) -> Split:
    """As much of a part as is scored at the end of a run: of the training text no more than of the held-out part."""
    if part.name != "train":
        return beginning(model, part, SCORED_TOKENS, SCORED_LOGITS)
    held_out = job.corpus.held_out
    most = SCORED_TRAINING_TOKENS if held_out is None else max(SCORED_AT_LEAST, len(held_out.ids))
    return beginning(model, part, min(SCORED_TRAINING_TOKENS, most))


def described(score: Score) -> dict[str, Any]:
    """A score with every metric, as JSON values; `baselines` of the same tokens belong to it."""
    return {
        "protocol": score.protocol,
        "nats": score.nats,
        **score.metrics,
        "tokens": score.tokens,
        "characters": score.characters,
        "bytes": score.bytes,
        "unknown": score.unknown,
        "other_bits": score.other_bits,
        "streams": score.streams,
        "window": score.window,
    }


def baselines(counts: npt.NDArray[np.int64], ids: Ids, ngram: NGram | None) -> dict[str, float]:
    """The perplexities of a text under the uniform distribution, the unigram and the n-gram, where there are such.

    Args:
        counts: of the training tokens, (V,); all zero where a model was saved without: then there is no unigram.
        ids: token ids of the text, (N,).
        ngram: the n-gram of the training text, if there is one.
    """
    found = _surprisals(counts, ids, ngram)
    return {name: perplexity(float(each.sum()), len(ids)) for name, each in found.items()}


def chances(blocks: BlockSums, counts: npt.NDArray[np.int64], ids: Ids, ngram: NGram | None) -> dict[str, float | None]:
    """The p-value of the difference between a model and each of the same bounds (`elman.inference.significance`).

    The text is the only chance in it: what another seed would give is not known.

    Args:
        blocks: what the model costs on blocks of the text.
        counts: as for `baselines`.
        ids: as for `baselines`.
        ngram: as for `baselines`.

    Returns:
        A p-value by name, adjusted for the number of bounds; None where the text is too short for a test.
    """
    found = _surprisals(counts, ids, ngram)
    if not len(blocks.sums):
        return dict.fromkeys(found)
    rivals = []
    for name, each in found.items():
        costs = BlockSums(blocks.edges, reverse=blocks.reverse)
        costs.add(np.arange(len(ids)), each)
        rivals.append(BlockCosts(name, costs.sums[None], has_seeds=False))
    tested = differences(BlockCosts("model", blocks.sums[None], has_seeds=False), rivals)
    return {each.label: each.p_value for each in tested}


def _surprisals(counts: npt.NDArray[np.int64], ids: Ids, ngram: NGram | None) -> dict[str, npt.NDArray[np.float64]]:
    """The nats of each token, (N,), under the bounds that there are."""
    found = {"uniform": np.full(len(ids), math.log(len(counts)))}
    if counts.any():
        found["unigram"] = unigram_surprisals(counts, ids)
    if ngram is not None:
        found[ngram.name] = ngram.surprisals(ids)
    return found


def blocks_of(part: Split, model: SequenceModel) -> BlockSums:
    """Empty sums over the blocks of a text, for `evaluate(..., collect=)`.

    Args:
        part: the text.
        model: which may read it from its end.
    """
    count = block_count(len(part.ids)) or block_count(len(part.ids), SHORT_BLOCK)
    return BlockSums(even_edges(len(part.ids), count), reverse=model.task.reverse)


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
