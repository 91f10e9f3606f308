"""The text that all models of a comparison are scored on, and what each costs there, block by block.

The held-out part is looked at once, when a model is done: nothing is chosen by it, the last weights are scored.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from elman.comparison.result import Comparison, ComparisonRow, Measured, RowKind
from elman.comparison.specs import NetworkSpec, NGramSpec
from elman.data.batches import token_counts
from elman.data.corpus import Corpus, Split
from elman.data.unknown import symbol_count, unknown_sentence, unknown_summary
from elman.errors import ConfigError, DivergedError
from elman.inference import baselines
from elman.inference.blocks import BlockSums, Edges, block_count, even_edges, other_blocks
from elman.inference.compressors import EMPTY_SIZES, compressed_sizes, nats_of_tokens, training_bytes
from elman.inference.evaluation import beginning, evaluate
from elman.inference.lossless import other_bits
from elman.inference.metrics import Accuracy
from elman.models.base import SequenceModel
from elman.models.ngram.model import NGRAM_TOKENS
from elman.models.task import TextTask
from elman.training.config import Config
from elman.training.loop import Progress
from elman.training.report import SCORED_LOGITS, SCORED_TOKENS, SCORED_TRAINING_TOKENS

Tell = Callable[[str, float | None], None]
"""Called with what is measured, and the share of it that is done; None where that is not known."""


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


@dataclass(frozen=True, eq=False)
class SharedSplit:
    """The held-out and training tokens that every model of a comparison is scored on.

    Args:
        corpus: its training part is learnt from; its held-out part is scored.
        tell: called with what is measured and the share of it that is done.

    Raises:
        ConfigError: nothing is held out.
    """

    corpus: Corpus
    tell: Tell = field(default=lambda *_: None, repr=False)

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
        return SharedSplit(replace(self.corpus, held_out=self.held_out).reversed(), self.tell)

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
        each = np.full(len(self.held_out.ids), math.log(size))
        measured = self._costing(each, hits=len(each) / size, train=float(size))
        return ComparisonRow(name="uniform", kind="bound", measured=(measured,))

    def _unigram(self) -> ComparisonRow:
        counts = token_counts(self.corpus.train.ids, len(self.corpus.vocab))
        ids, train_perplexity = self.held_out.ids, self.train.ids
        measured = self._costing(
            baselines.unigram_surprisals(counts, ids),
            hits=float((ids == counts.argmax()).sum()),
            train=math.exp(baselines.unigram_nats(counts, train_perplexity) / len(train_perplexity)),
        )
        return ComparisonRow(name="unigram", kind="bound", measured=(measured,), parameters=int((counts > 0).sum()))

    def _costing(self, nats: npt.NDArray[np.float64], hits: float, **more: Any) -> Measured:
        """What is known of a predictor without logits: the nats of each held-out token, (N,), and its hits."""
        edges = even_edges(len(nats), block_count(len(nats)))
        blocks = BlockSums(edges, reverse=self.corpus.reverse)
        blocks.add(np.arange(len(nats)), nats)
        return replace(
            _of_split(self.held_out, float(nats.sum()), self.other_bits),
            totals={Accuracy.name: hits},
            blocks=tuple(blocks.sums.tolist()),
            other_blocks=tuple(other_blocks(self.held_out, self.task, edges).tolist()),
            **more,
        )

    def with_compressors(self, comparison: Comparison) -> Comparison:
        """The comparison with the compressors, alone and after the training text."""
        vocab = self.corpus.vocab
        training = training_bytes(vocab, self.corpus.train)
        self.tell("xz and bz2", None)
        sizes = compressed_sizes(self.held_out.text_bytes(vocab), training)
        comparison = with_compressors(comparison, sizes, self.held_out, self.other_bits)
        if len(training) < self.corpus.train.bytes:
            comparison = comparison.with_note(f"Compressors saw the last {len(training):,} bytes of the training text.")
        return comparison

    def counted(self, spec: NGramSpec) -> Iterator[tuple[ComparisonRow]]:
        """Count an n-gram and score it: one row."""
        self.tell(f"{spec.name}: counting", None)
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
                measured = replace(_of_split(self.held_out, math.inf, self.other_bits), seed=seed)
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
        scored = measured_on(model, self.held_out, tell=self.tell)
        return replace(scored, train=self.train_perplexity(model), **more)

    def train_perplexity(self, model: SequenceModel) -> float:
        """The perplexity of the training part under a model."""
        return evaluate(model, self.train, on_progress=_told(self.tell, model, "training")).perplexity


def measured_on(
    model: SequenceModel, part: Split, edges: Edges | None = None, tell: Tell = lambda *_: None
) -> Measured:
    """Score a model on one part of a corpus, state carried.

    Args:
        model: what is scored.
        part: in the order in which the model reads.
        edges: the first token of each block of the text, and the end, (Q + 1,); None: blocks of equally many tokens.
        tell: as for `SharedSplit`.
    """
    if edges is None:
        edges = even_edges(len(part.ids), block_count(len(part.ids)))
    blocks = BlockSums(edges, reverse=model.task.reverse)
    score = evaluate(model, part, collect=blocks.collect, on_progress=_told(tell, model, "held-out"))
    return replace(
        _of_split(part, score.nats, score.other_bits),
        totals=score.totals,
        blocks=tuple(blocks.sums.tolist()),
        other_blocks=tuple(other_blocks(part, model.task, edges).tolist()),
    )


def _told(tell: Tell, model: SequenceModel, text: str) -> Callable[[int, int], None]:
    """What `evaluate` calls with the tokens that are scored, and all of them."""
    return lambda done, of: tell(f"{model.name}: {done:,} of {of:,} {text} tokens scored", done / of)


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
