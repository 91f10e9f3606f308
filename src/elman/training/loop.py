"""Training, a generator of `Progress`: whoever iterates prints, plots, saves or stops."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from elman.cells import State
from elman.config import BUDGETS, DEFAULT_BUDGET, TrainSettings
from elman.data.batches import BATCHINGS, Ids, Rows, check_length, gather
from elman.data.corpus import Split
from elman.errors import DivergedError
from elman.inference.evaluation import Score, beginning, evaluate
from elman.inference.metrics import perplexity
from elman.models.base import Network
from elman.rng import numpy_generator, torch_generator
from elman.training.distillation import DistillationTargets
from elman.training.optim import clip_gradients, optimizer_for, rate

HELD_OUT_TOKENS = 20_000  # scored at a report; the final figure is over the whole held-out part
REPORT_STREAMS = 64


@dataclass
class Sum:
    """Nats and tokens, added up and divided once."""

    nats: float = 0.0
    tokens: int = 0

    @property
    def perplexity(self) -> float:
        """exp(nats / tokens)."""
        return perplexity(self.nats, self.tokens)


@dataclass
class TrainState:
    """All that a step reads and changes beside the weights: what a checkpoint must hold to go on bit by bit.

    Random choices need no place here: they are functions of the seed, the epoch and the step.
    """

    model: Network
    optimizer: torch.optim.Optimizer
    settings: TrainSettings
    carried: State = ()
    """The state after the last batch, cut from its graph (S63)."""
    step: int = 0
    epoch: int = 0
    """Epochs completed."""
    batch: int = 0
    """Batches done in this epoch."""
    seen: int = 0
    """Targets done in this epoch."""
    learnt: int = 0
    """Targets done in all."""
    busy: float = 0.0
    """Seconds spent in steps alone, without reports and checkpoints."""
    seconds: float = 0.0
    reports: int = 0
    best: float = math.inf
    """The lowest held-out perplexity of a report."""
    stale: int = 0
    """Reports since then."""
    tally: Sum = field(default_factory=Sum)
    """The cost of this epoch's tokens so far, while the weights change."""
    last: float | None = None
    """Training perplexity of the last whole epoch, if one ended since the last report."""
    norms: float = 0.0
    """Gradient norms added up since the last record of a run."""
    normed: int = 0
    """Steps since then."""
    teacher: DistillationTargets | None = None
    """What it also learns from; counted anew when it goes on."""
    trained: list[Tensor] = field(default_factory=list)
    """With averaged weights, those that the steps change: between steps the model holds the average instead."""

    @classmethod
    def begin(cls, model: Network, settings: TrainSettings) -> "TrainState":
        """The state before the first step; without any budget in the settings the default one is theirs."""
        if all(getattr(settings, name) is None for name in BUDGETS):
            settings = replace(settings, **DEFAULT_BUDGET)
        training = cls(model, optimizer_for(model, settings), settings)
        if settings.average:
            training.trained = [p.detach().clone() for p in training.parameters]
        return training

    @property
    def parameters(self) -> list[Tensor]:
        """What the optimizer changes, in its order."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @contextmanager
    def unaveraged(self) -> Iterator[None]:
        """For one step, the model with the weights that steps change; then their average follows them, and is back.

            a <- d a + (1 - d) w        d = min(average, (1 + n) / (10 + n)) after n steps before

        (Polyak and Juditsky 1992, as a moving average: it forgets the start.) Without an average nothing is done.
        """
        self._exchange()
        try:
            yield
        finally:
            self._exchange()
        if self.trained:
            keep = min(self.settings.average, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                torch._foreach_lerp_(self.parameters, self.trained, 1 - keep)

    def _exchange(self) -> None:
        """Put the other weights into the model."""
        for i, (p, other) in enumerate(zip(self.parameters, self.trained, strict=False)):
            self.trained[i], p.data = p.data, other

    def fraction(self, tokens: int, *, steps: float = 0, targets: float = 0, seconds: float = 0) -> float:
        """How much of the budget is spent, 0 to 1, where an epoch has `tokens` tokens; or will be, so much later."""
        s = self.settings
        spent = (
            (self.step + steps) / (s.steps or math.inf),
            (self.epoch + (self.seen + targets) / tokens) / (s.epochs or math.inf),
            (self.seconds + seconds) / 60 / (s.minutes or math.inf),
        )
        return min(1.0, max(spent))


@dataclass(frozen=True)
class Progress:
    """What one step did, and what was measured after it."""

    step: int
    epoch: float
    fraction: float
    """How much of the budget is spent, 0 to 1."""
    seconds: float
    tokens: int
    """Targets of this step."""
    nats: float
    """Cost of this step's targets, together."""
    lr: float
    gradient_norm: float
    """Global L2 norm before clipping."""
    perplexity: float
    """Training perplexity of this epoch so far, while the weights change."""
    rate: float
    """Tokens a second, in steps alone, since the run began."""
    epoch_ended: bool
    report: bool
    """Whether this step ends one of the evenly spaced stretches of the run."""
    train: float | None
    """At a report: training perplexity of the last whole epoch, or since the last report where none ended."""
    held_out: Score | None
    improved: bool
    """Whether the held-out figure is the best so far."""
    done: bool
    stopped_early: bool


def train(
    model: Network,
    text: Split | Ids,
    held_out: Split | Ids | None = None,
    settings: TrainSettings | None = None,
    *,
    training: TrainState | None = None,
    **overrides: Any,
) -> Iterator[Progress]:
    """Train `model` on `text` in place, yielding after every step.

    Args:
        model: its weights change.
        text: the training tokens.
        held_out: scored at every report, without disturbing the training state.
        settings: how to learn.
        training: go on from there instead of beginning; its settings hold.
        **overrides: replace single fields of `settings`: `train(model, ids, steps=2000, seed=1)`.

    Raises:
        ConfigError: an unknown batching.
        DataError: the text is shorter than one batch.
        DivergedError: a loss or gradient is not finite; names the step.
    """
    training = training or TrainState.begin(model, replace(settings or TrainSettings(), **overrides))
    s = training.settings
    ids = text.ids if isinstance(text, Split) else text
    check_length(s.batching, len(ids), s.batch, s.window)
    training.model.prepare(ids)
    training.teacher = DistillationTargets(training.model.task, ids, s.teacher) if s.teacher else None
    return _run(training, ids, None if held_out is None else beginning(model, held_out, HELD_OUT_TOKENS))


def _run(training: TrainState, ids: Ids, held_out: Split | None) -> Iterator[Progress]:
    began = time.perf_counter() - training.seconds
    while True:
        for row, ends in _with_last(_epoch(training, len(ids))):
            started = time.monotonic()
            with training.unaveraged():
                cost = _learn(training, ids, row, started)
            training.busy += time.monotonic() - started
            _count(training, row, cost.nats, ends=ends)
            training.seconds = time.perf_counter() - began
            progress = _measure(training, cost, len(ids), held_out, epoch_ended=ends)
            yield progress
            if progress.done:
                return


def _epoch(training: TrainState, n: int) -> Iterator[Rows]:
    """The batches of this epoch that are still to do."""
    s = training.settings
    rng = numpy_generator(s.seed, "order of an epoch", training.epoch)
    return islice(BATCHINGS[s.batching](n, s.batch, s.window_in(training.epoch), rng), training.batch, None)


def _with_last(rows: Iterator[Rows]) -> Iterator[tuple[Rows, bool]]:
    """Each batch, and whether it is the last."""
    row = next(rows)
    for following in rows:
        yield row, False
        row = following
    yield row, True


class _Cost(NamedTuple):
    tokens: int
    nats: float
    lr: float
    norm: float


def _learn(training: TrainState, ids: Ids, row: Rows, started: float) -> _Cost:
    """One step: forward, backward through the window, clip, update; the state goes on without its graph.

    The learning rate is that of the middle of the step, so that neither the first nor the last is lost to a zero.
    """
    model, s = training.model, training.settings
    device = model.device
    inputs, targets = (torch.from_numpy(a).to(device) for a in gather(ids, row))
    state = model.initial(len(inputs)) if row.fresh else training.carried
    noise = torch_generator(s.seed, "dropout", training.step, device=device) if model.noisy else None
    if training.teacher is None:
        nats, state = model.loss(inputs, targets, state, noise, row)
        loss = nats
    else:
        loss, nats, state = training.teacher.loss(model, inputs, targets, state, noise, row)
    for p in training.parameters:
        p.grad = None
    (loss / row.targets).backward()
    cost = float(nats.detach())
    _check(cost, row.targets, training.step + 1)
    norm = _clipped(training)
    elapsed = time.monotonic() - started
    lr = rate(s, training.fraction(len(ids), steps=0.5, targets=row.targets / 2, seconds=elapsed / 2))
    for group in training.optimizer.param_groups:
        group["lr"] = lr
    training.optimizer.step()
    training.carried = tuple(t.detach() for t in state)
    return _Cost(row.targets, cost, lr, norm)


def _check(nats: float, tokens: int, step: int) -> None:
    """Refuse a cost whose perplexity no float holds: a gate may saturate so that gradients stay finite."""
    if not math.isfinite(perplexity(nats, tokens)):
        raise DivergedError(
            f"training diverged at step {step}: the loss is {nats / tokens:.4g} nats a token; "
            "lower lr, or clip more tightly"
        )


def _clipped(training: TrainState) -> float:
    try:
        return clip_gradients(training.model.named_parameters(), training.settings.clip)
    except DivergedError as error:
        raise DivergedError(
            f"training diverged at step {training.step + 1}: {error}; lower lr, or clip more tightly"
        ) from error


def _count(training: TrainState, row: Rows, nats: float, *, ends: bool) -> None:
    """Move every counter past this batch."""
    training.step += 1
    training.batch += 1
    training.seen += row.targets
    training.learnt += row.targets
    training.tally.nats += nats
    training.tally.tokens += row.targets
    if ends:
        training.epoch, training.batch, training.seen = training.epoch + 1, 0, 0


def _measure(training: TrainState, cost: _Cost, n: int, held_out: Split | None, *, epoch_ended: bool) -> Progress:
    """What this step did; at a report also what the model is worth."""
    fraction, perplexity = training.fraction(n), training.tally.perplexity
    if epoch_ended:
        training.last, training.tally = perplexity, Sum()
    report = _report_is_due(training, fraction, epoch_ended=epoch_ended)
    figure = score = None
    improved = early = False
    if report:
        figure = _training_figure(training)
        score = _held_out_score(training.model, held_out)
        if score is not None:
            _check(score.nats, score.tokens, training.step)
        improved, early = _compare(training, score)
    return Progress(
        step=training.step,
        epoch=training.epoch + training.seen / n,
        fraction=fraction,
        seconds=training.seconds,
        tokens=cost.tokens,
        nats=cost.nats,
        lr=cost.lr,
        gradient_norm=cost.norm,
        perplexity=perplexity,
        rate=training.learnt / max(training.busy, 1e-9),
        epoch_ended=epoch_ended,
        report=report,
        train=figure,
        held_out=score,
        improved=improved,
        done=fraction >= 1 or early,
        stopped_early=early and fraction < 1,
    )


def _report_is_due(training: TrainState, fraction: float, *, epoch_ended: bool) -> bool:
    """Evenly spaced over the run; at the ends of epochs where a budget of epochs has enough of them."""
    s = training.settings
    due = int(fraction * s.reports + 1e-9)
    epochs_alone = s.steps is None and s.minutes is None
    if epochs_alone and s.epochs and s.epochs >= s.reports and not epoch_ended:
        return False
    if due <= training.reports:
        return False
    training.reports = due
    return True


def _training_figure(training: TrainState) -> float:
    figure = training.last
    if figure is None:
        figure, training.tally = training.tally.perplexity, Sum()
    training.last = None
    return figure


def _held_out_score(model: Network, part: Split | None) -> Score | None:
    return None if part is None else evaluate(model, part, streams=min(REPORT_STREAMS, len(part.ids)))


def _compare(training: TrainState, score: Score | None) -> tuple[bool, bool]:
    """Whether this score is the best, and whether patience has ended."""
    if score is None:
        return False, False
    improved = score.perplexity < training.best
    training.best = min(training.best, score.perplexity)
    training.stale = 0 if improved else training.stale + 1
    patience = training.settings.patience
    return improved, patience is not None and training.stale >= patience


def fit(
    model: Network,
    text: Split | Ids,
    held_out: Split | Ids | None = None,
    settings: TrainSettings | None = None,
    **overrides: Any,
) -> Network:
    """Train to the end and return the model, with its best weights on `held_out` where `keep` says so."""
    settings = replace(settings or TrainSettings(), **overrides)
    best: dict[str, Tensor] = {}
    for progress in train(model, text, held_out, settings):
        if progress.improved and settings.keep == "best":
            best = {name: t.clone() for name, t in model.state_dict().items()}
    if best:
        model.load_state_dict(best)
    return model
