"""Models by name, all trained on one training part and scored on the same held-out tokens."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from elman.arguments import checked
from elman.comparison.result import CHANCE, Comparison
from elman.comparison.shared import SharedSplit, Tell, TrainingStep
from elman.comparison.specs import DEFAULT, NetworkSpec, NGramSpec, model_spec
from elman.data.corpus import Corpus
from elman.errors import ConfigError
from elman.training.config import Config

LAST = "Networks: the weights after the last step; nothing was chosen by held-out text."
SEEDS = "Networks were trained with {} seeds each: median (lowest..highest)."


@checked
def compare(
    corpus: Corpus, models: Sequence[str] = DEFAULT, *, seeds: int = 1, config: Config | None = None, **overrides: Any
) -> Comparison:
    """Train the models and score them on the held-out part of `corpus`, beside bounds and compressors.

    Args:
        corpus: its training part is learnt from.
        models: by name, see `elman.comparison.specs`.
        seeds: networks are trained so often, with the seeds that follow `config.seed`.
        config: how they are built and trained; without it by the defaults.
        **overrides: replace single settings of `config`: `compare(corpus, epochs=20, hidden=128)`.

    Raises:
        ConfigError: an unknown model, or settings that cannot be.
        DataError: a text that is too short.
    """
    settings = Config.resolve(("call", overrides), ("config", config.values() if config else {}))
    for event in compare_steps(corpus, models, seeds=seeds, config=settings):
        if isinstance(event, Comparison):
            result = event
    return result


def compare_steps(
    corpus: Corpus,
    models: Sequence[str],
    *,
    seeds: int,
    config: Config,
    stop: Callable[[], bool] = lambda: False,
    tell: Tell = lambda *_: None,
) -> Iterator[TrainingStep | Comparison]:
    """`compare` step by step: every step of a training, and the comparison so far whenever something was measured.

    The first comparison, of the bounds alone, comes after all settings were checked.

    Args:
        corpus: as for `compare`.
        models: as for `compare`.
        seeds: as for `compare`.
        config: as for `compare`.
        stop: called after every step; once true, or after a KeyboardInterrupt within a step, the last comparison names
            what was not measured.
        tell: called while something is scored, counted or compressed.

    Raises:
        ConfigError: as `compare`.
        DataError: as `compare`.
    """
    specs = [model_spec(name, config) for name in dict.fromkeys(models)]
    if seeds < 1:
        raise ConfigError(f"seeds is {seeds}: a network is trained at least once")
    split = SharedSplit(corpus, tell)
    for spec in specs:
        spec.check(corpus)
    comparison = split.comparison(config).with_note(LAST, *([SEEDS.format(seeds)] if seeds > 1 else []), CHANCE)
    yield comparison
    interrupted = False
    try:
        comparison = split.with_compressors(comparison)
        yield comparison
        for spec in specs:
            if stop():
                break
            shared = split.reversed if spec.reverse else split
            for event in shared.counted(spec) if isinstance(spec, NGramSpec) else shared.trained(spec, seeds, stop):
                if isinstance(event, TrainingStep):
                    yield event
                    continue
                comparison = comparison.with_entry(event[0]).with_note(*event[1:])
                yield comparison
    except KeyboardInterrupt:
        interrupted = True
    if interrupted or stop():
        yield _stopped(comparison, specs, seeds)


def _stopped(comparison: Comparison, specs: Sequence[NGramSpec | NetworkSpec], seeds: int) -> Comparison:
    """The comparison with a note of what was not measured, if anything."""
    done = {entry.name: len(entry.measured) for entry in comparison.entries}
    left = [r.name for r in specs if done.get(r.name, 0) < (seeds if isinstance(r, NetworkSpec) else 1)]
    if not left:
        return comparison
    return replace(comparison.with_note(f"Interrupted before all was measured of {', '.join(left)}."), complete=False)
