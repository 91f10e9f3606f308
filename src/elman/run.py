"""A run: a folder that explains itself, and the training that fills it.

config.toml      every setting, resolved: `elman train --config` with it makes the same run
env.json         versions, device, threads
metrics.jsonl    a line an epoch and a line a report
samples.jsonl    what the model wrote at each report
checkpoints/     saved folders (elman.saving), each with all that going on bit by bit needs; LATEST, BEST
report.json      the figures beside their bounds, and the verdict
*.png            perplexity and gradient norm against epoch
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elman import bounds
from elman.config import Config, ModelSettings, TrainSettings, to_toml
from elman.data.batches import coverage
from elman.data.corpus import Corpus, read_corpus
from elman.data.sources import SOURCES
from elman.disk import RunLock, refusals, replace_file
from elman.environment import device_for, environment
from elman.errors import ConfigError, DataError, DivergedError, ModelError
from elman.generation import encode_prompt, generate
from elman.models.recurrent import Recurrent
from elman.rng import numpy_generator
from elman.saving import Files, build, check_finite, model_files, to_json
from elman.store import Checkpoints, Saved, read_folder
from elman.task import Text
from elman.training import Progress, Sum, Training, train

SAVE_SECONDS = 60.0  # at most this much work is lost, plus a step
PROMPT_TOKENS = 20
RESUMABLE = {"epochs", "steps", "minutes", "device"}  # what a resumed run may change
COUNTERS = (
    "step",
    "epoch",
    "batch",
    "seen",
    "learnt",
    "seconds",
    "reports",
    "best",
    "stale",
    "last",
    "norms",
    "normed",
)


@dataclass
class Job:
    """A run in memory."""

    path: Path
    config: Config
    corpus: Corpus
    model: Recurrent
    training: Training
    counts: npt.NDArray[np.int64]
    notes: list[str]
    """What the user should know about how it began."""

    @property
    def checkpoints(self) -> Checkpoints:
        """Where it is saved."""
        return Checkpoints(self.path / "checkpoints")


def read_data(config: Config) -> Corpus:
    """The corpus that a configuration names."""
    return read_corpus(
        config.sources,
        level=config.level,
        clean=config.clean,
        errors=config.errors,
        limit=config.limit,
        held_out=config.held_out,
        test=config.test,
        min_count=config.min_count,
        unknown=config.unknown,
    )


def absolute(sources: Sequence[str]) -> list[str]:
    """The sources, with paths that hold from any folder."""
    return [s if s in SOURCES or s == "-" else str(Path(s).absolute()) for s in sources]


def begin(path: Path, config: Config) -> Job:
    """A new run in a folder that must not exist yet.

    Raises:
        ConfigError: the folder exists, or settings that do not fit each other.
        DataError: the text cannot be used.
    """
    with refusals("make", path):
        if os.path.lexists(path):
            raise ConfigError(f"{str(path)!r} exists already: choose another --run, or go on with --resume {path}")
    corpus = read_data(config)
    for prompt in config.prompts:
        encode_prompt(corpus.vocab, prompt)  # refused now, not at the first report
    model = _new_model(config, corpus)
    training = Training.begin(model, config.part(TrainSettings))
    coverage_of(config, corpus)
    with refusals("make", path):
        path.mkdir(parents=True)
    job = Job(path, config, corpus, model, training, bounds.counts(corpus.train.ids, len(corpus.vocab)), [])
    replace_file(path / "config.toml", to_toml(config.values() | {"sources": absolute(config.sources)}).encode())
    replace_file(
        path / "env.json",
        to_json(environment() | {"device": str(model.b_q.device), "engine": model.engine.name}),
    )
    return job


def coverage_of(config: Config, corpus: Corpus) -> str:
    """What an epoch trains on, in words."""
    rng = numpy_generator(config.seed, "order of an epoch", 0)
    return str(coverage(config.batching, len(corpus.train.ids), config.batch, config.window, rng))


def _new_model(config: Config, corpus: Corpus) -> Recurrent:
    settings = asdict(config.part(ModelSettings))
    model = Recurrent(Text(corpus.vocab, config.clean), seed=config.seed, **settings).to(device_for(config.device))
    model.engine  # noqa: B018 - an engine that cannot run this is refused before a folder is made
    return model


def resume(path: Path, changes: Mapping[str, Any]) -> Job:
    """The run in `path` at its newest checkpoint, bit by bit as it was left.

    Args:
        path: the run folder.
        changes: settings given anew; only a budget and the device may change.

    Raises:
        ConfigError: other settings than the run has.
        DataError: the text is no longer the one that the run learnt from.
        ModelError: no whole checkpoint.
    """
    if not path.is_dir():
        raise ModelError(f"there is no run at {str(path)!r}: begin one with elman train SOURCE --run {path}")
    checkpoints = Checkpoints(path / "checkpoints")
    newest = checkpoints.latest()
    if newest is None:
        raise ModelError(f"the run {str(path)!r} has no checkpoint to go on from: begin it again in another folder")
    saved = read_folder(newest)
    facts = saved.json("training.json")
    try:
        config = _changed(Config.resolve((str(path), facts["config"])), changes)
        counters, digest, lengths = facts["counters"], facts["corpus"], facts["records"]
    except (KeyError, TypeError) as error:
        raise ModelError(
            f"{newest}: training.json is not of this elman ({error}); use the elman that wrote it"
        ) from error
    corpus = read_data(config)
    if corpus.digest != digest:
        raise DataError(
            f"the text of {', '.join(config.sources)} is not the one that {str(path)!r} learnt from (now "
            f"{len(corpus.train.ids):,} training tokens, {len(corpus.vocab)} symbols): restore it, or begin a new run"
        )
    model = build(saved, engine=config.engine, device=device_for(config.device))
    training = _restored(saved, model, config.part(TrainSettings), counters)
    for name, length in lengths.items():
        _truncate(path / name, int(length))
    counts = bounds.counts(corpus.train.ids, len(corpus.vocab))
    notes = [*checkpoints.skipped, *_differences(path)]
    return Job(path, config, corpus, model, training, counts, notes)


def _changed(config: Config, changes: Mapping[str, Any]) -> Config:
    """The configuration with a new budget or device; anything else that differs is refused."""
    old = config.values()
    if "sources" in changes:
        changes = dict(changes) | {"sources": absolute(changes["sources"])}
    different = {k: v for k, v in changes.items() if k not in RESUMABLE and old.get(k) != v}
    if different:
        listed = ", ".join(f"{k} is {old.get(k)!r}, not {v!r}" for k, v in sorted(different.items()))
        raise ConfigError(f"this run cannot be resumed with other settings: {listed}; begin a new run for those")
    return Config.resolve(("command line", dict(changes)), ("run", old))


def _earlier(path: Path) -> dict[str, Any]:
    """The environment of before; nothing, where its file is missing or damaged, since no result depends on it."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _differences(path: Path) -> list[str]:
    """What of the environment has changed, where bits may depend on it."""
    before = _earlier(path / "env.json")
    now = environment()
    changed = [k for k in ("torch", "threads", "machine") if k in before and before[k] != now[k]]
    return [f"{k} was {before[k]} and is {now[k]}: results may differ in the last bits" for k in changed]


def _restored(saved: Saved, model: Recurrent, settings: TrainSettings, counters: Mapping[str, Any]) -> Training:
    """The training state of a checkpoint."""
    training = Training.begin(model, settings)
    tensors = saved.tensors("training.safetensors", None)
    check_finite(tensors, saved.path)
    parameters = [p for group in training.optimizer.param_groups for p in group["params"]]
    carried: dict[int, Tensor] = {}
    for name, t in tensors.items():
        kind, number, *rest = name.split(".")
        if kind == "carried":
            carried[int(number)] = t.to(model.b_q.device)
        else:
            p = parameters[int(number)]
            moment = torch.empty_like(p).copy_(t) if t.dim() else t
            training.optimizer.state[p][rest[0]] = moment
    training.carried = tuple(carried[i] for i in sorted(carried))
    for name in COUNTERS:
        setattr(training, name, counters[name])
    training.best = math.inf if counters["best"] is None else float(counters["best"])
    training.tally = Sum(*counters["tally"])
    return training


def _training_files(job: Job) -> Files:
    """What going on needs beside the model."""
    t = job.training
    parameters = [p for group in t.optimizer.param_groups for p in group["params"]]
    tensors = {
        f"optimizer.{i}.{key}": value
        for i, p in enumerate(parameters)
        for key, value in t.optimizer.state[p].items()
        if value is not None
    }
    tensors |= {f"carried.{i}": s for i, s in enumerate(t.carried)}
    counters = {name: getattr(t, name) for name in COUNTERS} | {"tally": [t.tally.nats, t.tally.tokens]}
    counters["best"] = None if math.isinf(t.best) else t.best
    facts = {
        "config": job.config.values() | {"sources": absolute(job.config.sources)},
        "corpus": job.corpus.digest,
        "counters": counters,
        "records": {name: _length(job.path / name) for name in ("metrics.jsonl", "samples.jsonl")},
    }
    return {"training.json": to_json(facts), "training.safetensors": tensors}


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _truncate(path: Path, length: int) -> None:
    """Forget the records of steps that are done again."""
    if _length(path) > length:
        os.truncate(path, length)


def save(job: Job, *, best: bool = False) -> Path:
    """A checkpoint of this moment."""
    files = model_files(job.model, job.counts) | _training_files(job)
    return job.checkpoints.save(job.training.step, files, best=best)


def record(path: Path, value: Mapping[str, Any]) -> None:
    """Append one line of JSON; numbers that are not finite become null."""
    clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in value.items()}
    with refusals("write", path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(clean, ensure_ascii=False, allow_nan=False) + "\n")


def records(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of records; a last line that a crash cut short is left out."""
    try:
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith(b"\n")]
    except ValueError as error:
        raise ModelError(f"{str(path)!r} is damaged ({error}): remove it, and the curves begin anew") from error


@dataclass(frozen=True)
class Sample:
    """What the model wrote after a prompt."""

    prompt: str
    text: str


def execute(job: Job, stop: Callable[[], bool] = lambda: False) -> Iterator[Progress | Sample]:
    """Train a job to its end or until `stop()`, recording and saving; yields every step, and samples.

    Raises:
        DivergedError: with the step, and the checkpoint to go back to.
        StorageError: a checkpoint could not be saved; the one before is whole.
    """
    with RunLock(job.path):
        job.checkpoints.sweep()
        if finished(job):
            return
        if not job.training.step:
            save(job)
        try:
            yield from _execute(job, stop)
        except DivergedError as error:
            raise DivergedError(f"{error}; the last good checkpoint is {job.checkpoints.latest()}") from error


def _execute(job: Job, stop: Callable[[], bool]) -> Iterator[Progress | Sample]:
    saved_at, t = time.monotonic(), job.training
    for progress in train(job.model, job.corpus.train, job.corpus.held_out, training=t):
        t.norms, t.normed = t.norms + progress.gradient_norm, t.normed + 1
        if progress.epoch_ended or progress.report:
            record(job.path / "metrics.jsonl", _metrics(progress, t.norms / t.normed))
            t.norms, t.normed = 0.0, 0
        if progress.report:
            yield from _samples(job, progress)
        stopping = stop()
        best = progress.improved and job.config.keep == "best"
        if best or progress.done or stopping or time.monotonic() - saved_at > SAVE_SECONDS:
            save(job, best=best)
            saved_at = time.monotonic()
        yield progress
        if stopping:
            return


def finished(job: Job) -> bool:
    """Whether the budget is spent, or patience."""
    t = job.training
    patience = t.settings.patience
    return t.fraction(len(job.corpus.train.ids)) >= 1 or (patience is not None and t.stale >= patience)


def _metrics(p: Progress, norm: float) -> dict[str, Any]:
    return {
        "step": p.step,
        "epoch": round(p.epoch, 6),
        "seconds": round(p.seconds, 3),
        "report": p.report,
        "train": p.train if p.report else p.perplexity,
        "held_out": p.held_out.perplexity if p.held_out else None,
        "gradient_norm": norm,
        "lr": p.lr,
    }


def _samples(job: Job, progress: Progress) -> Iterator[Sample]:
    """Continuations by arg-max, as the lecture prints them (S52)."""
    for prompt in prompts(job):
        text = "".join(generate(job.model, prompt, job.config.sample_length, temperature=0))
        record(job.path / "samples.jsonl", {"step": progress.step, "prompt": prompt, "text": text})
        yield Sample(prompt, text)


def prompts(job: Job) -> tuple[str, ...]:
    """What samples continue: the prompts of the configuration, or how the training text begins."""
    return job.config.prompts or (job.corpus.vocab.decode(job.corpus.train.ids[:PROMPT_TOKENS]),)
