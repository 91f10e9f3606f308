"""Runs and saved models as rivals: scored again, side by side, on the same tokens or at least on the same text."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elman.comparison.result import Comparison, ComparisonRow, Measured
from elman.comparison.trained import SharedSplit, compressed, entry, score_on
from elman.config import DataSettings
from elman.data.cleaning import cleaning
from elman.data.corpus import Split
from elman.data.sources import resolve
from elman.errors import ConfigError, DataError, printable
from elman.inference.compressors import sizes
from elman.inference.evaluation import part_of
from elman.models.base import SequenceModel
from elman.models.saving import find, load
from elman.training.checkpoint import Facts
from elman.training.report import saved_ngram
from elman.training.run import checkpoint_metadata, corpus_of

REMEDY = "score all of them on one text with --on SOURCE"
KEPT = (
    "The weights are those that each run keeps; where they were kept as the best on held-out text, "
    "the figure on that text flatters them a little."
)
GROUPED = "Runs that differ in the seed alone share a row: median (lowest..highest)."
ALIKE = {f.name for f in dataclasses.fields(DataSettings)} | {
    "sources", "seed", "device", "engine", "recipe", "prompts", "sample_length", "sample_temperature", "ngram",
}  # fmt: skip
"""Settings in which runs on one corpus may differ and still be the same model with another seed."""


@dataclass(frozen=True)
class SavedRival:
    """A model out of a folder."""

    path: Path
    model: SequenceModel
    facts: Facts | None
    """How it came to be; None for a model that was saved without a run."""

    @classmethod
    def read(cls, path: Path, device: str) -> "SavedRival":
        """The model that a folder holds.

        Raises:
            ModelError: it holds none, or a damaged one.
        """
        facts = checkpoint_metadata(path) if (find(path) / "training.json").exists() else None
        return cls(path, load(path, device=device), facts)

    @property
    def group(self) -> object:
        """What runs of one model with several seeds agree in."""
        if self.facts is None:
            return self.path
        settings = {k: repr(v) for k, v in dataclasses.asdict(self.facts.config).items() if k not in ALIKE}
        return self.facts.corpus, tuple(sorted(settings.items()))

    def measured(self, part: Split) -> Measured:
        """The model on a part, and how long it took to learn what it knows."""
        found = replace(score_on(self.model, part), run=str(self.path))
        if self.facts is None:
            return found
        counters = self.facts.counters
        rate = counters["learnt"] / counters["busy"] if counters["busy"] else None
        return replace(found, seed=self.facts.config.seed, seconds=counters["seconds"], tokens_per_second=rate)


def compare_runs(
    paths: Sequence[Path],
    *,
    sources: Sequence[str] = (),
    device: str = "cpu",
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Comparison]:
    """Score runs on the held-out text that they share, or on any text; yields the comparison so far.

    Args:
        paths: folders of runs or saved models; runs that differ in the seed alone become one entry.
        sources: score on that text instead, each model by its own vocabulary.
        device: where to compute.
        stop: asked after every measurement; once true the last comparison says that it is not complete.

    Raises:
        ConfigError: runs that have no held-out text in common, and no text is named.
        DataError: a text that cannot be used, or that has changed.
        ModelError: a folder without a model.
    """
    rivals = [SavedRival.read(path, device) for path in dict.fromkeys(paths)]
    for comparison in _on_a_text(rivals, sources) if sources else _on_their_own(rivals):
        yield comparison
        if stop():
            yield replace(comparison.with_note("Interrupted: not every model was measured."), complete=False)
            return


def _on_their_own(rivals: Sequence[SavedRival]) -> Iterator[Comparison]:
    _agree(rivals)
    trial = SharedSplit(corpus_of(rivals[0].path))
    comparison = trial.comparison().with_note(KEPT, *_of_groups(rivals))
    yield comparison
    comparison = trial.compressed(comparison)
    yield comparison
    for each in _grouped(rivals):
        done = tuple(replace(one.measured(trial.held_out), train=trial.train_perplexity(one.model)) for one in each)
        comparison = comparison.with_entry(_entry(each, done))
        yield comparison
    ngram = next((model for rival in rivals if (model := saved_ngram(rival.path)) is not None), None)
    if ngram is not None:
        yield comparison.with_entry(entry("ngram", ngram, (trial.measured(ngram),)))


def _agree(rivals: Sequence[SavedRival]) -> None:
    """Refuse runs that do not share a text, its vocabulary and its split."""
    first = rivals[0].facts
    for rival in rivals:
        if rival.facts is None:
            raise ConfigError(f"{str(rival.path)!r} is a model without a run and has no text of its own: {REMEDY}")
        assert first is not None  # noqa: S101 - it was the first to be looked at
        if rival.facts.corpus != first.corpus:
            a, b = first.config.values(), rival.facts.config.values()
            names = ["sources", *(f.name for f in dataclasses.fields(DataSettings))]
            odd = [f"{name} {_set(b, name)}, not {_set(a, name)}" for name in names if a.get(name) != b.get(name)]
            raise ConfigError(
                f"{str(rival.path)!r} learnt from another text than {str(rivals[0].path)!r} "
                f"({'; '.join(odd) or 'its contents differ'}): {REMEDY}"
            )


def _set(settings: dict[str, Any], name: str) -> str:
    return str(settings.get(name, "as the source has it"))


def _on_a_text(rivals: Sequence[SavedRival], sources: Sequence[str]) -> Iterator[Comparison]:
    task = rivals[0].model.task
    for rival in rivals:
        if rival.model.task.clean != task.clean:
            raise ConfigError(
                f"{str(rival.path)!r} cleans its text by {rival.model.task.clean!r}, {str(rivals[0].path)!r} by "
                f"{task.clean!r}: what is left is not the same text, so compare runs of one cleaning"
            )
    source = resolve(sources)
    text = "".join(source.text())  # once: standard input cannot be read again
    parts = {rival.path: _part(rival, text) for rival in rivals}
    part, shared = parts[rivals[0].path], all(rival.model.task.vocab == task.vocab for rival in rivals)
    lengths = {"characters": part.characters, "bytes": part.bytes}
    comparison = Comparison(
        source=source.name,
        level=task.vocab.level if shared else None,
        clean=task.clean,
        vocabulary=len(task.vocab) if shared else None,
        parts={"held-out": {"tokens": len(part.ids)} | lengths if shared else lengths},
        notes=(
            "The same text for every model, state carried.",
            *_of_groups(rivals),
            *_notes(parts, shared=shared),
        ),
    )
    yield comparison
    made = sizes(cleaning(task.clean)(text).encode())
    comparison = compressed(comparison, made, part, per_token=shared and task.vocab.level == "char")
    for each in _grouped(rivals):
        comparison = comparison.with_entry(_entry(each, tuple(one.measured(parts[one.path]) for one in each)))
        yield comparison
    seen = set()
    for rival in rivals:
        ngram = saved_ngram(rival.path)
        if ngram is not None and rival.facts is not None and rival.facts.corpus not in seen:
            seen.add(rival.facts.corpus)
            measured = score_on(ngram, parts[rival.path])
            comparison = comparison.with_entry(replace(entry("ngram", ngram, (measured,)), name=f"{rival.path}/ngram"))
            yield comparison


def _part(rival: SavedRival, text: str) -> Split:
    try:
        return part_of(rival.model, text)
    except DataError as error:
        raise DataError(f"{error} (the vocabulary is that of {str(rival.path)!r})") from error


def _notes(parts: dict[Path, Split], *, shared: bool) -> list[str]:
    """What the figures of different vocabularies do not show."""
    notes = []
    if not shared:
        notes.append("Vocabularies differ, so bits per character are compared and not perplexities.")
    if len({part.characters for part in parts.values()}) > 1:
        notes.append("Words do not hold the spacing of the text, so characters were counted as each model reads them.")
    return notes


def _grouped(rivals: Sequence[SavedRival]) -> list[list[SavedRival]]:
    """Runs that differ in the seed alone, together."""
    groups: dict[object, list[SavedRival]] = {}
    for rival in rivals:
        groups.setdefault(rival.group, []).append(rival)
    return list(groups.values())


def _of_groups(rivals: Sequence[SavedRival]) -> list[str]:
    return [GROUPED] if len(_grouped(rivals)) < len(rivals) else []


def _entry(each: Sequence[SavedRival], measured: tuple[Measured, ...]) -> ComparisonRow:
    first, *more = (printable(rival.path) for rival in each)
    name = f"{first} and {len(more)} more" if more else first
    made = entry(name, each[0].model, measured)
    return replace(made, model=f"{each[0].model.name}{_widths(each[0].model.settings())}")


def _widths(settings: dict[str, Any]) -> str:
    hidden = settings.get("hidden", "")
    return f" {'+'.join(map(str, hidden if isinstance(hidden, list) else [hidden]))}".rstrip()
