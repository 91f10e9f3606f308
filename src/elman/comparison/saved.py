"""Runs and saved models, scored again on the same tokens, or at least on the same text."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elman.comparison.result import CHANCE, Comparison, ComparisonRow, Measured
from elman.comparison.shared import SharedSplit, Tell, entry, measured_on, with_compressors
from elman.config import DataSettings
from elman.data.cleaning import cleaning
from elman.data.corpus import Split
from elman.data.files import MARK
from elman.data.sources import resolve
from elman.data.unknown import unknown_sentence, unknown_summary
from elman.errors import ConfigError, DataError, printable
from elman.inference.blocks import Edges, block_count, even_edges, text_edges
from elman.inference.compressors import compressed_sizes
from elman.inference.evaluation import part_of
from elman.inference.lossless import other_bits
from elman.models.base import SequenceModel
from elman.models.saving import load_saved, open_saved
from elman.training.checkpoint import CheckpointMetadata
from elman.training.report import saved_ngram
from elman.training.run import checkpoint_metadata, corpus_of

REMEDY = "score all models on one text with --on FILE"
KEPT = (
    "The weights are those that each run keeps; where they were kept as the best on held-out text, "
    "the figure on that text is a little too good."
)
GROUPED = "Runs that differ in the seed alone share a row: median (lowest..highest)."
DIFFERENT = "Vocabularies differ, so bits per character are compared, neither perplexity nor accuracy."
ALIKE = {f.name for f in dataclasses.fields(DataSettings)} | {
    "sources", "seed", "device", "engine", "recipe", "prompts", "sample_length", "sample_temperature", "ngram",
}  # fmt: skip
"""Settings in which runs on one corpus may differ and still be the same model with another seed."""


@dataclass(frozen=True)
class SavedModel:
    """A model that was read from a folder.

    Args:
        path: of the folder.
        model: what it holds.
        facts: how it was trained; None for a model that was saved without a run.
    """

    path: Path
    model: SequenceModel
    facts: CheckpointMetadata | None
    """How it came to be; None for a model that was saved without a run."""

    @classmethod
    def read(cls, path: Path, device: str) -> "SavedModel":
        """The model that a folder holds.

        Args:
            path: of a run, a checkpoint or a saved model.
            device: where to compute.

        Raises:
            ModelError: it holds none, or a damaged one.
        """
        saved = open_saved(path)
        facts = checkpoint_metadata(path, saved) if "training.json" in saved.listed else None
        return cls(path, load_saved(saved, engine="auto", device=device), facts)

    @property
    def group(self) -> object:
        """What is equal in runs that differ in the seed alone."""
        if self.facts is None:
            return self.path
        settings = {k: repr(v) for k, v in dataclasses.asdict(self.facts.config).items() if k not in ALIKE}
        return self.facts.corpus, self.facts.removed, tuple(sorted(settings.items()))

    def measured(self, part: Split, edges: Edges | None = None, tell: Tell = lambda *_: None) -> Measured:
        """Score the model on a part; with the seconds that its training took, where they are known.

        Args:
            part: in the order in which the model reads.
            edges: as for `measured_on`.
            tell: as for `measured_on`.
        """
        found = replace(measured_on(self.model, part, edges, tell), run=str(self.path))
        if self.facts is None:
            return found
        counters = self.facts.counters
        rate = counters["total_tokens"] / counters["step_seconds"] if counters["step_seconds"] else None
        return replace(found, seed=self.facts.config.seed, seconds=counters["seconds"], tokens_per_second=rate)


def compare_runs(
    paths: Sequence[Path],
    *,
    sources: Sequence[str] = (),
    device: str = "cpu",
    stop: Callable[[], bool] = lambda: False,
    tell: Tell = lambda *_: None,
) -> Iterator[Comparison]:
    """Score runs on the held-out text that they share, or on any text; yields the comparison so far.

    Args:
        paths: folders of runs or saved models; runs that differ in the seed alone become one entry.
        sources: score on that text instead, each model by its own vocabulary.
        device: where to compute.
        stop: called after every measurement; once true, or after a KeyboardInterrupt while one was made, the last
            comparison says that it is not complete.
        tell: called while something is scored or compressed.

    Raises:
        ConfigError: runs that have no held-out text in common, and no text is named.
        DataError: a text that cannot be used, or that has changed.
        ModelError: a folder without a model.
    """
    models = [SavedModel.read(path, device) for path in dict.fromkeys(paths)]
    comparison = None
    try:
        for comparison in _on_text(models, sources, tell) if sources else _on_shared_split(models, tell):
            yield comparison
            if stop():
                break
        else:
            return
    except KeyboardInterrupt:
        if comparison is None:
            raise
    yield replace(comparison.with_note("Interrupted: not every model was measured."), complete=False)


def _on_shared_split(models: Sequence[SavedModel], tell: Tell) -> Iterator[Comparison]:
    _agree(models)
    facts = models[0].facts
    assert facts is not None  # noqa: S101 - runs without them were refused
    split = SharedSplit(corpus_of(models[0].path, facts), tell)
    comparison = split.comparison().with_note(KEPT, *_group_note(models), CHANCE)
    yield comparison
    comparison = split.with_compressors(comparison)
    yield comparison
    for each in _grouped(models):
        done = tuple(
            replace(one.measured(split.held_out, tell=tell), train=split.train_perplexity(one.model)) for one in each
        )
        comparison = comparison.with_entry(_entry(each, done))
        yield comparison
    ngram = next((model for saved in models if (model := saved_ngram(saved.path)) is not None), None)
    if ngram is not None:
        yield comparison.with_entry(entry("ngram", ngram, (split.measured(ngram),)))


def _agree(models: Sequence[SavedModel]) -> None:
    """Refuse runs that do not share a text, its vocabulary and its split."""
    first = models[0].facts
    for saved in models:
        if saved.facts is None:
            raise ConfigError(
                f"{str(saved.path)!r} is a saved model without a training run, so it has no held-out text: {REMEDY}"
            )
        assert first is not None  # noqa: S101 - it was the first to be looked at
        if saved.facts.corpus != first.corpus:
            a, b = first.config.values(), saved.facts.config.values()
            names = ["sources", *(f.name for f in dataclasses.fields(DataSettings))]
            odd = [f"{name}: {_set(b, name)} and {_set(a, name)}" for name in names if a.get(name) != b.get(name)]
            raise ConfigError(
                f"{str(saved.path)!r} and {str(models[0].path)!r} were trained on different texts "
                f"({'; '.join(odd) or 'the contents differ'}): "
                f"{REMEDY if len(models) > 2 else REMEDY.replace('all models', 'both')}"
            )


def _set(settings: dict[str, Any], name: str) -> str:
    return str(settings.get(name, "the source's default"))


def _on_text(models: Sequence[SavedModel], sources: Sequence[str], tell: Tell) -> Iterator[Comparison]:
    task = models[0].model.task
    for saved in models:
        if saved.model.task.normalize != task.normalize:
            raise ConfigError(
                f"{str(saved.path)!r} was trained with --normalize {saved.model.task.normalize} and "
                f"{str(models[0].path)!r} with --normalize {task.normalize}, so their texts differ: "
                "compare runs with the same normalization"
            )
    source = resolve(sources)
    text = "".join(source.text())  # once: standard input cannot be read again
    marks = source.marks() if task.normalize == "none" else 0
    parts = {saved.path: _part(saved, text, marks) for saved in models}
    part, shared = parts[models[0].path], all(saved.model.task.vocab == task.vocab for saved in models)
    lengths = {"characters": part.characters, "bytes": part.bytes}
    comparison = Comparison(
        source=source.name,
        level=task.vocab.level if shared else None,
        clean=task.normalize,
        vocabulary=len(task.vocab) if shared else None,
        symbols=len(set(text)),
        parts={"held-out": {"tokens": len(part.ids)} | lengths if shared else lengths},
        notes=(
            "The same text for every model, state carried.",
            *_group_note(models),
            *([] if shared else [DIFFERENT]),
            *_unknown_notes(models, parts, shared=shared),
            *source.notes(),
            CHANCE,
        ),
    )
    yield comparison
    read = cleaning(task.normalize, task.vocab.segmentation)(text)
    edges = _edges(models, parts, read)
    tell("xz and bz2", None)
    comparison = with_compressors(
        comparison,
        compressed_sizes((marks * MARK + read).encode()),
        part,
        other_bits(part, task.vocab) if shared else None,
    )
    for each in _grouped(models):
        comparison = comparison.with_entry(
            _entry(each, tuple(one.measured(parts[one.path], edges[one.path], tell) for one in each))
        )
        yield comparison
    seen = set()
    for saved in models:
        ngram = saved_ngram(saved.path)
        if ngram is not None and saved.facts is not None and saved.facts.corpus not in seen:
            seen.add(saved.facts.corpus)
            measured = measured_on(ngram, parts[saved.path], edges[saved.path], tell)
            comparison = comparison.with_entry(replace(entry("ngram", ngram, (measured,)), name=f"{saved.path}/ngram"))
            yield comparison


def _part(saved: SavedModel, text: str, marks: int) -> Split:
    try:
        return part_of(saved.model, text, marks)
    except DataError as error:
        raise DataError(f"{error} (the vocabulary is that of {str(saved.path)!r})") from error


def _edges(models: Sequence[SavedModel], parts: dict[Path, Split], text: str) -> dict[Path, Edges]:
    """The edges of the same blocks of a text in the tokens of each model."""
    sizes = [len(part.ids) for part in parts.values()]
    count, vocabs = block_count(min(sizes)), {saved.path: saved.model.task.vocab for saved in models}
    levels = {(vocab.level, vocab.segmentation) for vocab in vocabs.values()}
    if len(levels) == 1 and len(set(sizes)) == 1:
        return {path: even_edges(len(part.ids), count) for path, part in parts.items()}
    by_level = {rules: text_edges(text, rules[0], count, rules[1]) for rules in levels}
    return {path: by_level[vocab.level, vocab.segmentation] for path, vocab in vocabs.items()}


def _unknown_notes(models: Sequence[SavedModel], parts: dict[Path, Split], *, shared: bool) -> list[str]:
    """Which tokens each model does not know; models of one vocabulary have one note, which else names them."""
    notes: dict[str, list[str]] = {}
    for saved in models:
        vocab, part = saved.model.task.vocab, parts[saved.path]
        if part.unknown:
            summary = unknown_summary(part, vocab)
            sentence = unknown_sentence(vocab.level, summary, has_unknown=vocab.unknown)
            notes.setdefault(sentence, []).append(printable(saved.path))
    return [sentence if shared else f"{', '.join(paths)}: {sentence}" for sentence, paths in notes.items()]


def _grouped(models: Sequence[SavedModel]) -> list[list[SavedModel]]:
    """Runs that differ in the seed alone, together."""
    groups: dict[object, list[SavedModel]] = {}
    for saved in models:
        groups.setdefault(saved.group, []).append(saved)
    return list(groups.values())


def _group_note(models: Sequence[SavedModel]) -> list[str]:
    return [GROUPED] if len(_grouped(models)) < len(models) else []


def _entry(each: Sequence[SavedModel], measured: tuple[Measured, ...]) -> ComparisonRow:
    first, *more = (printable(saved.path) for saved in each)
    name = f"{first} and {len(more)} more" if more else first
    made = entry(name, each[0].model, measured)
    return replace(made, model=f"{each[0].model.name}{_widths(each[0].model.settings())}")


def _widths(settings: dict[str, Any]) -> str:
    hidden = settings.get("hidden", "")
    return f" {'+'.join(map(str, hidden if isinstance(hidden, list) else [hidden]))}".rstrip()
