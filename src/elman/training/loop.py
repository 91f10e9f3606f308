"""Training, a generator of `Progress`: whoever iterates prints, plots, saves or stops."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from elman.arguments import checked
from elman.cells import State
from elman.config import BUDGETS, DEFAULT_BUDGET, TrainSettings, current_names, validated
from elman.data.batches import BATCHINGS, Ids, IdsLike, Rows, as_ids, check_length, gather
from elman.data.corpus import Split
from elman.errors import DivergedError
from elman.inference.evaluation import Score, beginning, evaluate
from elman.inference.metrics import perplexity
from elman.models.base import Network
from elman.rng import numpy_generator, torch_generator
from elman.training.distillation import DistillationTargets
from elman.training.optim import clip_gradients, optimizer_for, rate

HELD_OUT_TOKENS = 20_000  # scored at a report; the final figure is over the whole held-out part
REPORT_STREAMS, STREAM_TOKENS = (
    64,
    512,
)  # at most so many; each longer than what is read ahead of it


@dataclass
class LossSum:
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
    """The hidden state after the last batch, detached from its graph."""
    step: int = 0
    epoch: int = 0
    """Epochs completed."""
    batch: int = 0
    """Batches done in this epoch."""
    epoch_tokens: int = 0
    """Targets trained on in this epoch."""
    total_tokens: int = 0
    """Targets trained on in all."""
    step_seconds: float = 0.0
    """Seconds spent in steps alone, without reports and checkpoints."""
    seconds: float = 0.0
    reports: int = 0
    best_perplexity: float = math.inf
    """The lowest held-out perplexity of a report."""
    reports_since_best: int = 0
    running_loss: LossSum = field(default_factory=LossSum)
    """The loss of this epoch's tokens so far, while the weights change."""
    last_epoch_perplexity: float | None = None
    """Training perplexity of the last whole epoch, if one ended since the last report."""
    norm_sum: float = 0.0
    """Gradient norms added up since the last record of a run."""
    norm_count: int = 0
    """Steps since then."""
    distillation: DistillationTargets | None = None
    """An n-gram's probabilities as part of the target; counted again when training goes on."""

    @classmethod
    def begin(cls, model: Network, settings: TrainSettings) -> "TrainState":
        """The state before the first step.

        Args:
            model: the network to train.
            settings: how; without any budget they get the default one.
        """
        if all(getattr(settings, name) is None for name in BUDGETS):
            settings = replace(settings, **DEFAULT_BUDGET)
        return cls(model, optimizer_for(model.trained_parameters(), settings), settings)

    @property
    def parameters(self) -> list[Tensor]:
        """What the optimizer changes, in the order in which checkpoints number it: AdamW's matrices come first."""
        trained: list[Tensor] = [p for _, p in self.model.trained_parameters()]
        return trained if self.settings.optimizer == "sgd" else sorted(trained, key=lambda p: p.dim() < 2)

    def fraction(self, tokens: int, *, steps: float = 0, targets: float = 0, seconds: float = 0) -> float:
        """How much of the budget is spent, 0 to 1, where an epoch has `tokens` tokens; or will be, so much later."""
        s = self.settings
        spent = (
            (self.step + steps) / (s.steps or math.inf),
            (self.epoch + (self.epoch_tokens + targets) / tokens) / (s.epochs or math.inf),
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


@checked
def train(
    model: Network,
    text: Split | IdsLike,
    held_out: Split | IdsLike | None = None,
    settings: TrainSettings | None = None,
    *,
    training: TrainState | None = None,
    **overrides: Any,
) -> Iterator[Progress]:
    """Train `model` on `text` in place, yielding after every step.

    Args:
        model: its weights change.
        text: the training tokens: a part of a corpus, or token ids (`elman.data.batches.as_ids`).
        held_out: scored at every report, without disturbing the training state.
        settings: how to learn.
        training: go on from there instead of beginning; its settings hold.
        **overrides: replace single fields of `settings`: `train(model, ids, steps=2000, seed=1)`.

    Raises:
        ConfigError: an unknown setting, or one out of range.
        DataError: ids that the vocabulary does not have, a part that was numbered by another vocabulary or stands in
            the other order, or fewer ids than one batch.
        DivergedError: a loss or gradient is not finite; names the step.
    """
    training = training or TrainState.begin(model, _settings(settings, overrides))
    s = training.settings
    if isinstance(text, Split):
        text.check_readable(model.task.vocab, reverse=model.task.reverse)
    ids = as_ids(text.ids if isinstance(text, Split) else text, model.task.size)
    check_length(s.batching, len(ids), s.batch, s.window)
    began = time.perf_counter() - training.seconds  # counting is part of a budget in minutes
    training.model.start_training(ids)
    training.distillation = (
        DistillationTargets(training.model.task, ids, s.distill_weight) if s.distill_weight else None
    )
    return _run(training, ids, began, None if held_out is None else beginning(model, held_out, HELD_OUT_TOKENS))


def _settings(settings: TrainSettings | None, overrides: dict[str, Any]) -> TrainSettings:
    """The settings with some of them replaced, under their names of today."""
    values = asdict(settings or TrainSettings()) | current_names(overrides, warn=True)
    return validated(TrainSettings, values)


def _run(training: TrainState, ids: Ids, began: float, held_out: Split | None) -> Iterator[Progress]:
    while True:
        for row, ends in _with_last(_epoch(training, len(ids))):
            started = time.monotonic()
            cost = _step(training, ids, row, started)
            training.step_seconds += time.monotonic() - started
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
    return islice(BATCHINGS[s.batching].rows(n, s.batch, s.window_in(training.epoch), rng), training.batch, None)


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


def _step(training: TrainState, ids: Ids, row: Rows, started: float) -> _Cost:
    """One step: forward, backward through the window, clip, update; the state goes on without its graph.

    The learning rate is that of the middle of the step, so that neither the first nor the last is lost to a zero.
    """
    model, s = training.model, training.settings
    device = model.device
    inputs, targets = (torch.from_numpy(a).to(device) for a in gather(ids, row))
    state = model.initial(len(inputs)) if row.fresh else training.carried
    rng = torch_generator(s.seed, "dropout", training.step, device=device) if model.has_dropout else None
    if training.distillation is None:
        nats, state = model.loss(inputs, targets, state, rng, row)
        loss = nats
    else:
        loss, nats, state = training.distillation.loss(model, inputs, targets, state, rng, row)
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
            "use a lower lr or a lower clip"
        )


def _clipped(training: TrainState) -> float:
    try:
        return clip_gradients(training.model.trained_parameters(), training.settings.clip)
    except DivergedError as error:
        raise DivergedError(
            f"training diverged at step {training.step + 1}: {error}; use a lower lr or a lower clip"
        ) from error


def _count(training: TrainState, row: Rows, nats: float, *, ends: bool) -> None:
    """Move every counter past this batch."""
    training.step += 1
    training.batch += 1
    training.epoch_tokens += row.targets
    training.total_tokens += row.targets
    training.running_loss.nats += nats
    training.running_loss.tokens += row.targets
    if ends:
        training.epoch, training.batch, training.epoch_tokens = training.epoch + 1, 0, 0


def _measure(training: TrainState, cost: _Cost, n: int, held_out: Split | None, *, epoch_ended: bool) -> Progress:
    """What this step did; at a report also what the model is worth."""
    fraction, perplexity = training.fraction(n), training.running_loss.perplexity
    if epoch_ended:
        training.last_epoch_perplexity, training.running_loss = perplexity, LossSum()
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
        epoch=training.epoch + training.epoch_tokens / n,
        fraction=fraction,
        seconds=training.seconds,
        tokens=cost.tokens,
        nats=cost.nats,
        lr=cost.lr,
        gradient_norm=cost.norm,
        perplexity=perplexity,
        rate=training.total_tokens / max(training.step_seconds, 1e-9),
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
    due = int(fraction * s.num_reports + 1e-9)
    epochs_alone = s.steps is None and s.minutes is None
    if epochs_alone and s.epochs and s.epochs >= s.num_reports and not epoch_ended:
        return False
    if due <= training.reports:
        return False
    training.reports = due
    return True


def _training_figure(training: TrainState) -> float:
    figure = training.last_epoch_perplexity
    if figure is None:
        figure, training.running_loss = training.running_loss.perplexity, LossSum()
    training.last_epoch_perplexity = None
    return figure


def _held_out_score(model: Network, part: Split | None) -> Score | None:
    if part is None:
        return None
    return evaluate(model, part, streams=max(1, min(REPORT_STREAMS, len(part.ids) // STREAM_TOKENS)))


def _compare(training: TrainState, score: Score | None) -> tuple[bool, bool]:
    """Whether this score is the best, and whether patience has ended."""
    if score is None:
        return False, False
    improved = score.perplexity < training.best_perplexity
    training.best_perplexity = min(training.best_perplexity, score.perplexity)
    training.reports_since_best = 0 if improved else training.reports_since_best + 1
    patience = training.settings.patience
    return improved, patience is not None and training.reports_since_best >= patience


@checked
def fit(
    model: Network,
    text: Split | IdsLike,
    held_out: Split | IdsLike | None = None,
    settings: TrainSettings | None = None,
    **overrides: Any,
) -> Network:
    """Train to the end and return the model, with its best weights on `held_out` where `final_weights` says so."""
    settings = _settings(settings, overrides)
    best: dict[str, Tensor] = {}
    for progress in train(model, text, held_out, settings):
        if progress.improved and settings.final_weights == "best":
            best = {name: t.clone() for name, t in model.state_dict().items()}
    if best:
        model.load_state_dict(best)
    return model
