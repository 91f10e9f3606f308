"""A run: a folder that explains itself, and the training that fills it.

config.toml      every setting, resolved: `elman train --config` with it makes the same run
env.json         versions, device, threads
metrics.jsonl    a line an epoch and a line a report
samples.jsonl    what the model wrote at each report
checkpoints/     saved folders (elman.models.saving), each with all that going on bit by bit needs; LATEST, BEST
report.json      the figures beside their bounds, and the verdict
*.png            perplexity and gradient norm against epoch
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.config import BUDGETS, current_names, to_toml
from elman.data.batches import Coverage, check_length, coverage, token_counts
from elman.data.corpus import Corpus, read_corpus
from elman.data.segmentation import Segmentation
from elman.data.sources import SOURCES
from elman.engines.native import INSTRUCTIONS
from elman.environment import device_for, environment
from elman.errors import ConfigError, DataError, DivergedError, ElmanError, ModelError, quoted
from elman.inference.generation import encode_prompt, generate
from elman.models.base import Network
from elman.models.build import build_network
from elman.models.ngram.counts import check_order
from elman.models.ngram.model import NGRAM_TOKENS, highest_order
from elman.models.saving import finite, load_saved_network, model_files, to_json
from elman.models.task import TextTask
from elman.reading import parsing, read_limited
from elman.rng import numpy_generator
from elman.storage.atomic import (
    LOCK,
    OWNER,
    RunLock,
    is_unused,
    make_folder,
    no_empty_folders,
    replace_file,
    translate_os_errors,
)
from elman.storage.checkpoints import Checkpoints
from elman.storage.folder import Saved, read_folder
from elman.storage.tensors import strict_json
from elman.training.auto import auto_configure
from elman.training.budget import training_settings
from elman.training.checkpoint import RECORDS, CheckpointMetadata, read_facts, restored, training_files
from elman.training.config import Config, as_not_given
from elman.training.loop import Progress, TrainState, train

SAVE_SECONDS = 60.0  # at most this much work is lost, plus a step
PROMPT_TOKENS = 20
RECORDS_LIMIT = 2**28
"""Bytes of a file of records that are read at most: a line has about 250."""
CHECKPOINTS = "checkpoints"
LEFT = (LOCK, OWNER, "config.toml", "env.json")
"""Files that a run leaves which ends before its first checkpoint."""
RESUMABLE = {"epochs", "steps", "minutes", "device"}  # what a resumed run may change


@dataclass
class Job:
    """A run in memory."""

    path: Path
    config: Config
    corpus: Corpus
    model: Network
    training: TrainState
    counts: npt.NDArray[np.int64]
    coverage: Coverage
    """What an epoch trains on."""
    notes: list[str]
    """What the user should know about how it began."""
    lock: RunLock
    """Of the folder; `execute` holds it, and whoever enters it before holds it for longer."""
    recorded: Mapping[str, int] = field(default_factory=dict)
    """The length of each file of records at the checkpoint that it goes on from."""
    checkpoint: str | None = None
    """The digest of the checkpoint that the job began with or saved last."""
    opening_seconds: float = 0.0
    """How long it took to read the text and to make the model."""

    @cached_property
    def checkpoints(self) -> Checkpoints:
        """Where it is saved."""
        return Checkpoints(self.path / CHECKPOINTS, existing=bool(self.training.step))


def read_data(config: Config, segmentation: Segmentation = "uax29") -> Corpus:
    """The corpus that a configuration names.

    Args:
        config: the configuration.
        segmentation: the rules of word boundaries: for a run of before, those of its vocabulary.
    """
    return read_corpus(
        config.sources,
        tokens=config.tokens,
        normalize=config.normalize,
        errors=config.errors,
        limit=config.limit,
        held_out=config.held_out,
        test=config.test,
        min_count=config.min_count,
        unknown=config.unknown,
        reverse=config.reverse,
        segmentation=segmentation,
    )


def checkpoint_metadata(path: Path, saved: Saved) -> CheckpointMetadata:
    """How the checkpoint that a run ends with came to be.

    Args:
        path: the run, for messages.
        saved: its checkpoint, as `elman.models.saving.open_saved` opens it.

    Raises:
        ConfigError: it is a saved model, of which that is not known.
        ModelError: a damaged run.
    """
    if "training.json" not in saved.listed:
        raise ConfigError(
            f"{str(path)!r} is a saved model without a training run, so it has no held-out text: give a text to score"
        )
    return read_facts(saved)


def corpus_of(path: Path, facts: CheckpointMetadata) -> Corpus:
    """The corpus that a run was trained on, the same to the last token.

    Args:
        path: the run, for messages.
        facts: the contents of its training.json, as `checkpoint_metadata` reads them.

    Raises:
        DataError: the text has changed since, or is gone.
    """
    corpus, _ = _same_corpus(facts.config, facts.corpus, facts.segmentation)
    if corpus.digest != facts.corpus:
        raise DataError(f"the training text of {str(path)!r} has changed: restore it, or give a text to score")
    return corpus


def _same_corpus(config: Config, digest: str, segmentation: Segmentation) -> tuple[Corpus, Config]:
    """The corpus of a run and its configuration: as they are, or as an older elman meant them if that fits the digest.

    Until 0.1 a `held_out` of 0.1 was the default, and so the split of the source where that has one.
    """
    corpus = read_data(config, segmentation)
    older = replace(config, held_out=as_not_given(config.values()).get("held_out"))
    if corpus.digest != digest and older != config:
        meant = read_data(older, segmentation)
        return (meant, older) if meant.digest == digest else (corpus, config)
    return corpus, config


def absolute(sources: Sequence[str]) -> list[str]:
    """The sources, with paths that hold from any folder."""
    return [s if s in SOURCES or s == "-" else str(Path(s).absolute()) for s in sources]


def begin(path: Path, config: Config) -> Job:
    """A new run in a new folder, or in one that holds no checkpoint and no file but what a run leaves that ended early.

    Raises:
        ConfigError: the folder holds something else, settings that do not fit each other, or too little memory.
        DataError: the text cannot be used.
    """
    began = time.monotonic()
    with translate_os_errors("make", path):
        _check_free(path)
    if odd := [s for s in config.sources if not _is_text(s)]:
        raise ConfigError(f"the name {odd[0]!a} is not valid text, so no file could hold it: rename the file")
    corpus = read_data(config)
    if config.ngram:  # counted when training has ended: too late to be refused
        tokens = min(len(corpus.train.ids), NGRAM_TOKENS)
        try:
            check_order(tokens, len(corpus.vocab), min(tokens, highest_order(tokens)))
        except ConfigError as error:
            raise ConfigError(f"{error}, or set ngram to false in the configuration") from error
    config, reasons = auto_configure(config, corpus)
    model = _new_model(config, corpus)
    if not config.reverse:
        for prompt in config.prompts:
            encode_prompt(model.task, prompt, can_be_kept=False)  # refused now, not at the first report
    training = TrainState.begin(model, training_settings(config))
    covered, counts = coverage_of(config, corpus), token_counts(corpus.train.ids, len(corpus.vocab))
    with translate_os_errors("make", path):
        make_folder(path)
    notes = [*corpus.notes, *reasons, *_slower(config, model)]
    opening = time.monotonic() - began
    return Job(path, config, corpus, model, training, counts, covered, notes, RunLock(path), opening_seconds=opening)


def _check_free(path: Path) -> None:
    """Refuse a folder in which no new run may begin, and say what to do with it."""
    if not os.path.lexists(path) or (path.is_dir() and is_unused(path, LEFT, (CHECKPOINTS,))):
        return
    if path.is_dir() and Checkpoints(path / CHECKPOINTS).any:
        raise ConfigError(f"{quoted(path)} exists already: choose another --run, or go on with --resume {path}")
    raise ConfigError(f"{quoted(path)} exists already and is no run: choose another --run, or remove it")


@contextlib.contextmanager
def no_empty_run(path: Path) -> Iterator[None]:
    """If the block fails before the first checkpoint, leave nothing of the new run that it began.

    Args:
        path: the folder of the run; nothing is removed if it holds anything before the block.
    """
    existed = os.path.lexists(path)
    new = not existed or (path.is_dir() and is_unused(path, ()))
    with no_empty_folders(path):
        try:
            yield
        except BaseException:
            # The lock tells that no other process is about to fill the folder.
            with contextlib.suppress(ElmanError, OSError):
                if new and path.is_dir():
                    with RunLock(path):
                        if is_unused(path, LEFT, (CHECKPOINTS,)):
                            shutil.rmtree(path)
                            if existed:
                                path.mkdir()
            raise


def _slower(config: Config, model: Network) -> list[str]:
    """Why the engine is not the fastest that there is, where that is so."""
    if INSTRUCTIONS or config.engine != "auto" or not model.slower_for_lack_of_compiler:
        return []
    return [
        f"engine {model.engine_name!r} is used; the compiled engine 'native' is faster: "
        "install a C++ compiler, then elman again"
    ]


def _is_text(name: str) -> bool:
    """Whether a name can be written down: one whose bytes are not UTF-8 cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _describe(job: Job) -> None:
    """Write down the settings and the environment that the steps to come are made with."""
    settings = job.config.values() | {"sources": absolute(job.config.sources)}
    replace_file(job.path / "config.toml", to_toml(settings).encode())
    place = {"device": str(job.model.device), "engine": job.model.engine_name}
    replace_file(job.path / "env.json", to_json(environment() | place))


def coverage_of(config: Config, corpus: Corpus, epoch: int = 0) -> Coverage:
    """What an epoch trains on; refused where even the longest window does not fit."""
    check_length(config.batching, len(corpus.train.ids), config.batch, config.window)
    rng = numpy_generator(config.seed, "order of an epoch", epoch)
    return coverage(config.batching, len(corpus.train.ids), config.batch, config.window_in(epoch), rng)


def _new_model(config: Config, corpus: Corpus) -> Network:
    model = build_network(TextTask.of(corpus), config.network, engine=config.engine, seed=config.seed)
    model.to(device_for(config.device))
    _ = model.engine_name  # an engine that cannot run this is refused before a folder is made
    return model


def resume(path: Path, changes: Mapping[str, Any]) -> Job:
    """The run in `path` at its newest checkpoint, bit by bit as it was left.

    The folder is locked before the checkpoint is read, and until all is: another process may be about to save the next.

    Args:
        path: the run folder.
        changes: settings given anew; only a budget and the device may change.

    Raises:
        ConfigError: other settings than the run has, or another process is in the folder.
        DataError: the text is no longer the one that the run learnt from.
        ModelError: no whole checkpoint.
    """
    if not path.is_dir():
        raise ModelError(f"there is no run at {str(path)!r}: begin one with elman train SOURCE --run {path}")
    if not Checkpoints(path / CHECKPOINTS).any:  # no lock is left in a folder that is no run
        raise _nothing_to_resume(path)
    with RunLock(path) as lock:
        return _resumed(path, changes, lock)


def resumed_config(path: Path, changes: Mapping[str, Any]) -> Config:
    """The settings with which `resume` would go on.

    Args:
        path: the run folder.
        changes: settings given anew; only a budget and the device may change.

    Raises:
        ConfigError: other settings than the run has.
        ModelError: no run, or no whole checkpoint.
    """
    saved = Checkpoints(path / CHECKPOINTS).latest(("training.json", "vocab.json"))
    if saved is None:
        raise _nothing_to_resume(path)
    return _changed(read_facts(saved).config, changes)


def _nothing_to_resume(path: Path) -> ModelError:
    return ModelError(f"the run {str(path)!r} has no checkpoint to resume from: begin it again with --run {path}")


def _resumed(path: Path, changes: Mapping[str, Any], lock: RunLock) -> Job:
    """The job of a run that this process holds."""
    checkpoints = Checkpoints(path / "checkpoints")
    saved = checkpoints.latest()
    if saved is None:
        raise _nothing_to_resume(path)
    facts = read_facts(saved)
    if facts.removed:
        raise ConfigError(
            f"the run {str(path)!r} was trained with {', '.join(facts.removed)}, which this elman does not have: "
            "it can be used as it is, but not trained further"
        )
    config = _changed(facts.config, changes)
    try:
        corpus, config = _same_corpus(config, facts.corpus, facts.segmentation)
    except DataError as error:
        raise DataError(f"the training text of {str(path)!r}: {error}") from error
    if corpus.digest != facts.corpus:
        raise DataError(
            f"the text of {', '.join(config.sources)} is not the training text of {str(path)!r} (it now has "
            f"{len(corpus.train.ids):,} training tokens, {len(corpus.vocab)} symbols): restore it, or begin a new run"
        )
    model = load_saved_network(saved, engine=config.engine, device=device_for(config.device))
    training = restored(saved, model, training_settings(config), facts)
    covered = coverage_of(config, corpus, training.epoch)
    if not training.batch < covered.batches:
        raise ModelError(
            f"{saved.path} cannot be resumed: an epoch has {covered.batches:,} batches, not {training.batch:,}"
        )
    counts = token_counts(corpus.train.ids, len(corpus.vocab))
    newest = _newest(path) if checkpoints.skipped else saved.digest
    if any(getattr(config, name) != getattr(facts.config, name) for name in BUDGETS):
        # Another measure of the same steps: what is done of it now, how many reports that was, and new patience.
        training.reports = int(training.fraction(len(corpus.train.ids)) * config.num_reports + 1e-9)
        training.reports_since_best = 0
    job = Job(path, config, corpus, model, training, counts, covered, [], lock, facts.records, newest)
    done = ["this run is complete: give it a larger --epochs, --steps or --minutes to go on"] if finished(job) else []
    job.notes += [*corpus.notes, *checkpoints.skipped, *_differences(path), *done]
    return job


def _changed(config: Config, changes: Mapping[str, Any]) -> Config:
    """The configuration with a new budget or device; anything else that differs is refused."""
    old, changes = config.values(), current_names(changes)
    if "sources" in changes:
        changes = dict(changes) | {"sources": absolute(changes["sources"])}
    different = {k: v for k, v in changes.items() if k not in RESUMABLE and old.get(k) != v}
    if different:
        listed = ", ".join(f"{k} is {old.get(k)!r} in the run and {v!r} here" for k, v in sorted(different.items()))
        raise ConfigError(f"this run cannot be resumed with other settings: {listed}; begin a new run")
    return Config.resolve(("command line", dict(changes)), ("run", old))


def _earlier(path: Path) -> dict[str, Any]:
    """The environment of before; nothing, where its file is missing or damaged, since no result depends on it."""
    try:
        return dict(strict_json(read_limited(path, ModelError), quoted(path)))
    except (ElmanError, ValueError, TypeError):
        return {}


def _differences(path: Path) -> list[str]:
    """What of the environment has changed, where bits may depend on it."""
    before = _earlier(path / "env.json")
    now = environment()
    changed = [k for k in ("torch", "threads", "machine") if k in before and before[k] != now[k]]
    return [f"{k} was {before[k]} and is {now[k]}: results may differ in the last bits" for k in changed]


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _truncate(path: Path, length: int) -> None:
    """Forget the records of steps that are done again."""
    if _length(path) > length:
        os.truncate(path, length)


def save(job: Job, *, best: bool = False) -> Path:
    """A checkpoint of this moment."""
    config = job.config.values() | {"sources": absolute(job.config.sources)}
    lengths = {name: _length(job.path / name) for name in RECORDS}
    files = training_files(job.training, config, job.corpus.digest, lengths)
    path = job.checkpoints.save(job.training.step, model_files(job.model, job.counts) | files, best=best)
    job.checkpoint = read_folder(path, names=()).digest
    return path


def record(path: Path, value: Mapping[str, Any]) -> None:
    """Append one line of JSON; numbers that are not finite become null."""
    line = json.dumps(finite(value), ensure_ascii=False, allow_nan=False).encode() + b"\n"
    with translate_os_errors("write", path, len(line)), path.open("ab") as file:
        file.write(line)


def records(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of records; a last line that a crash cut short is left out."""
    with parsing(f"{quoted(path)} is damaged", ModelError, "remove it, and the curves begin anew"):
        data = read_limited(path, ModelError, limit=RECORDS_LIMIT) if path.exists() else b""
        lines = data.splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith(b"\n")]
        if not all(isinstance(each, dict) for each in found):
            raise ValueError("a line is no JSON object")
        return found


@dataclass(frozen=True)
class Sample:
    """What the model wrote after a prompt."""

    prompt: str
    text: str


def execute(
    job: Job,
    stop: Callable[[], bool] = lambda: False,
    interruptible: AbstractContextManager[object] = nullcontext(),  # noqa: B008 - it has no state
) -> Iterator[Progress | Sample]:
    """Train a job to its end or until `stop()`, recording and saving; yields every step, and samples.

    Args:
        job: what to train.
        stop: asked after every step.
        interruptible: entered while the training text is counted, when nothing is lost by a KeyboardInterrupt.

    Raises:
        DivergedError: with the step, and the checkpoint to go back to.
        StorageError: a checkpoint could not be saved; the one before is whole.
    """
    with locked(job):
        job.checkpoints.remove_stale_temporaries()
        for name, length in job.recorded.items():
            _truncate(job.path / name, length)
        job.recorded = {}
        if finished(job):
            return
        _describe(job)
        if not job.training.step:
            save(job)
        try:
            yield from _execute(job, stop, interruptible)
        except DivergedError as error:
            newest = job.checkpoints.latest()
            good = newest.path if newest else None
            raise DivergedError(f"{error}; the last good checkpoint is {good}") from error


def _newest(path: Path) -> str | None:
    """The digest of the newest checkpoint of a run, whose files need not be whole; None where there is none."""
    newest = Checkpoints(path / CHECKPOINTS).latest(())
    return newest.digest if newest else None


@contextmanager
def locked(job: Job) -> Iterator[None]:
    """Hold the folder of a job during the block.

    Raises:
        ConfigError: another process holds it, or has gone on with the run since the job last held it.
    """
    with job.lock:
        if job.checkpoint != _newest(job.path):
            raise ConfigError(f"the run {str(job.path)!r} has gone on in another process: resume it again")
        yield


def _execute(
    job: Job, stop: Callable[[], bool], interruptible: AbstractContextManager[object]
) -> Iterator[Progress | Sample]:
    saved_at, t = time.monotonic(), job.training
    with interruptible:
        steps = train(job.model, job.corpus.train, job.corpus.held_out, training=t)
    for progress in steps:
        t.norm_sum, t.norm_count = t.norm_sum + progress.gradient_norm, t.norm_count + 1
        if progress.epoch_ended or progress.report:
            record(job.path / "metrics.jsonl", _metrics(progress, t.norm_sum / t.norm_count))
            t.norm_sum, t.norm_count = 0.0, 0
        if progress.report:
            yield from _samples(job, progress)
        stopping = stop()
        best = progress.improved and job.config.final_weights == "best"
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
    return t.fraction(len(job.corpus.train.ids)) >= 1 or (patience is not None and t.reports_since_best >= patience)


def _metrics(p: Progress, norm: float) -> dict[str, Any]:
    return {
        "step": p.step,
        "epoch": round(p.epoch, 6),
        "seconds": round(p.seconds, 3),
        "report": p.report,
        "epoch_ended": p.epoch_ended,
        "train": p.train if p.report else p.perplexity,
        "held_out": p.held_out.perplexity if p.held_out else None,
        "gradient_norm": norm,
        "lr": p.lr,
    }


def _samples(job: Job, progress: Progress) -> Iterator[Sample]:
    """Continuations of every prompt, from the same random numbers at every report."""
    config = job.config
    for prompt in prompts(job):
        pieces = generate(
            job.model, prompt, config.sample_length, temperature=config.sample_temperature, seed=config.seed
        )
        text = "".join(pieces)
        record(job.path / "samples.jsonl", {"step": progress.step, "prompt": prompt, "text": text})
        yield Sample(prompt, text)


def prompts(job: Job) -> tuple[str, ...]:
    """What samples continue: the prompts of the configuration, or how the training text begins.

    Nothing, where the run reads from the end of the text.
    """
    if job.config.reverse:
        return ()
    if job.config.prompts:
        return job.config.prompts
    vocab, ids = job.corpus.vocab, job.corpus.train.ids[:PROMPT_TOKENS]
    return (vocab.decode(ids[ids > 0] if vocab.unknown else ids),)
