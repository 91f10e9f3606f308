"""Models by name, all trained on one training part and scored on the same held-out tokens.

    N-gram, ngram, laplace-N, witten-bell-N     counted; ngram chooses its order on the training part
    mlp, bag                                    networks that see a window of tokens
    elman, elman-relu, gru, lstm                recurrent networks
    NAME-reversed                               any of them, reading the same text from its end

The held-out part is looked at once, when a model is done: nothing is chosen by it, the last weights are scored.
"""

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from elman.arguments import checked
from elman.cells import CELLS
from elman.comparison.result import CHANCE, Comparison, ComparisonRow, Measured, RowKind
from elman.config import TrainSettings, names_of
from elman.data.batches import check_length, token_counts
from elman.data.corpus import Corpus, Split
from elman.data.unknown import symbol_count, unknown_sentence, unknown_summary
from elman.environment import device_for
from elman.errors import ConfigError, DivergedError, no_such
from elman.inference import baselines
from elman.inference.blocks import BlockSums, Edges, block_count, even_edges
from elman.inference.compressors import EMPTY_SIZES, compressed_sizes, nats_of_tokens, training_bytes
from elman.inference.evaluation import beginning, evaluate
from elman.inference.lossless import other_bits, other_bits_by_token
from elman.inference.metrics import Accuracy
from elman.models.assemble import networks
from elman.models.base import Network, SequenceModel
from elman.models.build import build_network
from elman.models.ngram.counts import check_order
from elman.models.ngram.model import NGRAM_TOKENS, NGram, highest_order
from elman.models.task import TextTask
from elman.training.config import Config
from elman.training.loop import Progress, train
from elman.training.report import SCORED_LOGITS, SCORED_TOKENS, SCORED_TRAINING_TOKENS

DEFAULT = ("ngram", "mlp", "elman", "gru", "lstm")
WINDOWED = {"mlp": {"bag": False}, "bag": {"bag": True}}
COUNTED = re.compile(r"(?:(?P<kneser>\d+)-gram|(?P<smoothing>laplace|witten-bell)-(?P<order>\d+))\Z")
REVERSED = "-reversed"
LAST = "Networks: the weights after the last step; nothing was chosen by held-out text."
SEEDS = "Networks were trained with {} seeds each: median (lowest..highest)."
EXAMPLES = ("ngram", "3-gram", "laplace-3", "witten-bell-3", *WINDOWED, *sorted(CELLS), "gru-reversed")


@dataclass(frozen=True)
class TrainingStep:
    """A step of the training of one network.

    Args:
        name: the network, as the user named it.
        seed: of this training.
        progress: the step.
    """

    name: str
    seed: int
    progress: Progress


@dataclass(frozen=True)
class NGramSpec:
    """An n-gram model of a comparison, counted once.

    Args:
        name: as the user named it.
        order: the length of its n-grams in tokens, from 1 on; None: chosen on the training part.
        smoothing: as for `elman.NGram`.
        reverse: whether it reads the text from its end.
    """

    name: str
    order: int | None = None
    smoothing: str = "kneser-ney"
    reverse: bool = False

    def check(self, corpus: Corpus) -> None:
        """Raise ConfigError where this order cannot be counted."""
        tokens = min(len(corpus.train.ids), NGRAM_TOKENS)
        order = min(tokens, highest_order(tokens)) if self.order is None else self.order
        check_order(tokens, len(corpus.vocab), order)

    def count(self, corpus: Corpus) -> NGram:
        """The model of the training part, or of the end of a very long one."""
        return NGram.fit(
            TextTask.of(corpus), corpus.train.ids[-NGRAM_TOKENS:], order=self.order, smoothing=self.smoothing
        )


@dataclass(frozen=True)
class NetworkSpec:
    """A network of a comparison, trained once a seed.

    Args:
        name: as the user named it.
        model: its architecture.
        config: how it is trained, and on which device.
        reverse: whether it reads the text from its end.
    """

    name: str
    network: Mapping[str, Any]
    """Its settings, for `elman.models.build.build_network`."""
    config: Config
    reverse: bool = False

    def check(self, corpus: Corpus) -> None:
        """Raise ConfigError or DataError where this network cannot be trained."""
        self.begin(corpus, self.config.seed)
        check_length(self.config.batching, len(corpus.train.ids), self.config.batch, self.config.window)

    def begin(self, corpus: Corpus, seed: int) -> Network:
        """The network at its initial weights.

        Args:
            corpus: its vocabulary.
            seed: of the initial weights.
        """
        model = build_network(TextTask.of(corpus), self.network, engine=self.config.engine, seed=seed)
        model.to(device_for(self.config.device))
        model.engine_name  # noqa: B018 - an engine that cannot run this is refused now
        return model

    def train(self, model: Network, corpus: Corpus, seed: int) -> Iterator[Progress]:
        """Train, without any held-out text.

        Args:
            model: changed in place.
            corpus: its training part.
            seed: of the order of batches and of dropout.
        """
        return train(model, corpus.train, settings=replace(self.config.part(TrainSettings), seed=seed))


def model_spec(name: str, config: Config) -> NGramSpec | NetworkSpec:
    """The model of a name.

    Args:
        name: as above; `EXAMPLES` has one of each kind.
        config: all settings but those that the name decides.

    Raises:
        ConfigError: there is none of this name.

    Example:
        >>> model_spec("witten-bell-3", Config())
        NGramSpec(name='witten-bell-3', order=3, smoothing='witten-bell', reverse=False)
    """
    if name.endswith(REVERSED):
        return replace(model_spec(name.removesuffix(REVERSED), config), name=name, reverse=True)
    if name == "ngram":
        return NGramSpec(name)
    if found := COUNTED.match(name):
        return NGramSpec(name, int(found["kneser"] or found["order"]), found["smoothing"] or "kneser-ney")
    if name in WINDOWED:
        kept = names_of(networks()["mlp"].Settings)
        values = {field: value for field, value in config.network.items() if field in kept}
        return NetworkSpec(name, values | {"model": "mlp"} | WINDOWED[name], config)
    if name in CELLS:
        return NetworkSpec(name, config.network | {"model": "recurrent", "cell": name}, config)
    if name in networks():
        kept = names_of(networks()[name].Settings)
        values = {field: value for field, value in config.network.items() if field in kept}
        return NetworkSpec(name, values | {"model": name}, config)
    raise ConfigError(no_such("model", name, EXAMPLES))


@checked
def compare(
    corpus: Corpus, models: Sequence[str] = DEFAULT, *, seeds: int = 1, config: Config | None = None, **overrides: Any
) -> Comparison:
    """Train the models and score them on the held-out part of `corpus`, beside bounds and compressors.

    Args:
        corpus: its training part is learnt from.
        models: by name, see `elman.comparison.trained`.
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
    corpus: Corpus, models: Sequence[str], *, seeds: int, config: Config, stop: Callable[[], bool] = lambda: False
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

    Raises:
        ConfigError: as `compare`.
        DataError: as `compare`.
    """
    specs = [model_spec(name, config) for name in dict.fromkeys(models)]
    if seeds < 1:
        raise ConfigError(f"seeds is {seeds}: a network is trained at least once")
    split = SharedSplit(corpus)
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


@dataclass(frozen=True, eq=False)
class SharedSplit:
    """The held-out and training tokens that every model of a comparison is scored on.

    Args:
        corpus: its training part is learnt from; its held-out part is scored.

    Raises:
        ConfigError: nothing is held out.
    """

    corpus: Corpus

    def __post_init__(self) -> None:
        if self.corpus.held_out is None:
            raise ConfigError("a comparison needs held-out text: give a share or a number of tokens with --held-out")

    @property
    def task(self) -> TextTask:
        """The vocabulary and the cleaning that all models share."""
        return TextTask.of(self.corpus)

    @cached_property
    def reversed(self) -> "SharedSplit":
        """The same tokens in reverse order, for models that read from the end."""
        return SharedSplit(replace(self.corpus, held_out=self.held_out).reversed())

    @cached_property
    def held_out(self) -> Split:
        """As much of the held-out part as is scored."""
        whole = self.corpus.held_out
        assert whole is not None  # noqa: S101 - refused when this was made
        return beginning(self, whole, SCORED_TOKENS, SCORED_LOGITS)

    @cached_property
    def other_bits(self) -> float | None:
        """Bits of what is not in the held-out tokens."""
        return other_bits(self.held_out, self.corpus.vocab)

    @cached_property
    def train(self) -> Split:
        """As much of the training part as is scored."""
        return beginning(self, self.corpus.train, SCORED_TRAINING_TOKENS)

    def comparison(self, config: Config | None = None) -> Comparison:
        """A comparison that holds the bounds alone; `config` is noted in it as the settings of the networks."""
        corpus, scored = self.corpus, self.held_out
        whole = corpus.held_out is not None and len(scored.ids) == len(corpus.held_out.ids)
        notes = [
            f"Held out: the {'' if whole else 'first '}{len(scored.ids):,} tokens after the "
            f"{len(corpus.train.ids):,} of the training part, state carried, the same for every model."
        ]
        if corpus.held_out is not None and corpus.held_out.unknown:
            summary = unknown_summary(corpus.held_out, corpus.vocab)
            notes.append(unknown_sentence("held-out", summary, has_unknown=corpus.vocab.unknown))
        notes += corpus.notes
        found = Comparison(
            source=corpus.source,
            level=corpus.vocab.level,
            clean=corpus.normalize,
            vocabulary=len(corpus.vocab),
            symbols=symbol_count(scored, corpus.vocab, token_counts(corpus.train.ids, len(corpus.vocab))),
            parts={
                name: {"tokens": len(part.ids), "characters": part.characters, "bytes": part.bytes}
                for name, part in (("train", corpus.train), ("held-out", scored))
            },
            notes=tuple(notes),
            settings=config.values() if config else {},
        )
        return found.with_entry(self._uniform()).with_entry(self._unigram())

    def _uniform(self) -> ComparisonRow:
        size = len(self.corpus.vocab)
        nats = baselines.uniform_nats(len(self.held_out.ids), size)
        measured = self._costing(nats, hits=len(self.held_out.ids) / size, train=float(size))
        return ComparisonRow(name="uniform", kind="bound", measured=(measured,))

    def _unigram(self) -> ComparisonRow:
        counts = token_counts(self.corpus.train.ids, len(self.corpus.vocab))
        ids, train_perplexity = self.held_out.ids, self.train.ids
        measured = self._costing(
            baselines.unigram_nats(counts, ids),
            hits=float((ids == counts.argmax()).sum()),
            train=math.exp(baselines.unigram_nats(counts, train_perplexity) / len(train_perplexity)),
        )
        return ComparisonRow(name="unigram", kind="bound", measured=(measured,), parameters=int((counts > 0).sum()))

    def _costing(self, nats: float, hits: float | None = None, **more: Any) -> Measured:
        """What is known of a predictor without logits: its nats and its hits on the held-out part."""
        totals = {} if hits is None else {Accuracy.name: hits}
        return replace(_of_split(self.held_out, nats, self.other_bits), totals=totals, **more)

    def with_compressors(self, comparison: Comparison) -> Comparison:
        """The comparison with the compressors, alone and after the training text."""
        vocab = self.corpus.vocab
        training = training_bytes(vocab, self.corpus.train)
        sizes = compressed_sizes(self.held_out.text_bytes(vocab), training)
        comparison = with_compressors(comparison, sizes, self.held_out, self.other_bits)
        if len(training) < self.corpus.train.bytes:
            comparison = comparison.with_note(f"Compressors saw the last {len(training):,} bytes of the training text.")
        return comparison

    def counted(self, spec: NGramSpec) -> Iterator[tuple[ComparisonRow]]:
        """Count an n-gram and score it: one row."""
        started = time.perf_counter()
        model = spec.count(self.corpus)
        seconds = time.perf_counter() - started
        rate = min(len(self.corpus.train.ids), NGRAM_TOKENS) / max(seconds, 1e-9)
        measured = self.measured(model, seconds=seconds, tokens_per_second=rate)
        yield (entry(spec.name, model, (measured,)),)

    def trained(
        self, spec: NetworkSpec, seeds: int, stop: Callable[[], bool]
    ) -> Iterator[TrainingStep | tuple[ComparisonRow] | tuple[ComparisonRow, str]]:
        """Every step of the trainings of a network, and its row after each of them, with a note where it diverged.

        Args:
            spec: the network.
            seeds: how many trainings.
            stop: called after every step; once true, nothing more is trained.
        """
        done: tuple[Measured, ...] = ()
        for seed in range(spec.config.seed, spec.config.seed + seeds):
            model, note = spec.begin(self.corpus, seed), ""
            try:
                for progress in spec.train(model, self.corpus, seed):
                    yield TrainingStep(spec.name, seed, progress)
                    if stop() and not progress.done:
                        return
                took = {"seconds": progress.seconds, "tokens_per_second": progress.rate}
                measured = self.measured(model, seed=seed, **took)
            except DivergedError as error:
                measured = self._costing(math.inf, seed=seed)
                note = f"{spec.name}, seed {seed}: {error}."
            done = (*done, measured)
            found = entry(spec.name, model, done)
            yield (found, note) if note else (found,)
            if stop():
                return

    def measured(self, model: SequenceModel, **more: Any) -> Measured:
        """Score a model on the held-out part and on the training part.

        Args:
            model: what is scored.
            **more: fields of `Measured` that are known already.
        """
        return replace(measured_on(model, self.held_out), train=self.train_perplexity(model), **more)

    def train_perplexity(self, model: SequenceModel) -> float:
        """The perplexity of the training part under a model."""
        return evaluate(model, self.train).perplexity


def measured_on(model: SequenceModel, part: Split, edges: Edges | None = None) -> Measured:
    """Score a model on one part of a corpus, state carried.

    Args:
        model: what is scored.
        part: in the order in which the model reads.
        edges: the first token of each block of the text, and the end, (Q + 1,); None: blocks of equally many tokens.
    """
    if edges is None:
        edges = even_edges(len(part.ids), block_count(len(part.ids)))
    blocks, others = (BlockSums(edges, reverse=model.task.reverse) for _ in range(2))
    score = evaluate(model, part, collect=blocks.collect)
    if score.other_bits:
        others.add(np.arange(len(part.ids)), other_bits_by_token(part, model.task.vocab))
    return replace(
        _of_split(part, score.nats, score.other_bits),
        totals=score.totals,
        blocks=tuple(blocks.sums.tolist()),
        other_blocks=tuple(others.sums.tolist()),
    )


def _of_split(part: Split, nats: float, other_bits: float | None) -> Measured:
    return Measured(
        nats=nats,
        tokens=len(part.ids),
        characters=part.characters,
        bytes=part.bytes,
        unknown=part.unknown,
        other_bits=other_bits,
    )


def entry(name: str, model: SequenceModel, measured: tuple[Measured, ...]) -> ComparisonRow:
    """The row of a model.

    Args:
        name: what the table calls it.
        model: one of its trainings.
        measured: the scores of all of its seeds.
    """
    kind: RowKind = "network" if model.is_trained else "counts"
    return ComparisonRow(
        name=name,
        kind=kind,
        measured=measured,
        model=model.name if name.startswith("ngram") else "",
        parameters=model.parameter_count(),
        operations=model.operations(),
    )


def with_compressors(
    comparison: Comparison, found: dict[str, int], part: Split, other_bits: float | None
) -> Comparison:
    """The comparison with a row for each compressor.

    Args:
        comparison: without them.
        found: bytes of the compressed part, by the name of the compressor.
        part: what was compressed.
        other_bits: what models spend on what is not in the tokens, so that a compressor has the perplexity of a model
            that needs as many bits; None where models differ in it.
    """
    for name, size in found.items():
        nats = nats_of_tokens(size, other_bits or 0.0)
        per_token = other_bits is not None and nats >= 0
        measured = _of_split(part, nats, other_bits or 0.0)
        measured = replace(measured, tokens=measured.tokens if per_token else None, unknown=0)
        comparison = comparison.with_entry(ComparisonRow(name=name, kind="compressor", measured=(measured,)))
    note = (
        f"Compressors: xz -9e and bz2 -9 of the text itself; {EMPTY_SIZES['xz']} and {EMPTY_SIZES['bz2']} bytes are "
        "for the container of a text alone; their perplexity is that of a model that needs as many bits"
    )
    after = "; after training is what the held-out text adds to the training text" if len(found) > 2 else ""
    return comparison.with_note(f"{note}{after}.")
