"""Training equals a plain PyTorch loop, keeps to its budget, and stops where a number is not finite."""

import itertools
import math
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import V, task, tiny, tokens, weights
from torch import nn

import elman
import elman.reproduce
from elman.cells import CELLS
from elman.config import TrainSettings
from elman.data.batches import BATCHINGS, IGNORE, gather
from elman.errors import ConfigError, DataError, DivergedError
from elman.rng import numpy_generator
from elman.training.loop import TrainState, train

TEXT = tokens(400)
FAST = TrainSettings(batch=4, window=10, steps=25, schedule="constant", num_reports=5, clip=1.0)


# --- against a loop written by hand on torch.nn


class Plain(nn.Module):
    """One-hot, one layer of `torch.nn`, a linear head."""

    def __init__(self, ours: elman.Recurrent) -> None:
        super().__init__()
        kind = {"gru": nn.GRU, "lstm": nn.LSTM, "elman": nn.RNN}[ours.cell.name]
        self.rnn, self.head = kind(V, ours.widths[0], batch_first=True), nn.Linear(ours.widths[0], V)
        layer = ours.stack[0]
        with torch.no_grad():
            for name, source in (("weight_ih_l0", layer.W_x), ("weight_hh_l0", layer.W_h)):
                getattr(self.rnn, name).copy_(source)
            for name, source in (("bias_ih_l0", layer.b_x), ("bias_hh_l0", layer.b_h)):
                getattr(self.rnn, name).copy_(source)
            self.head.weight.copy_(ours.W_q)
            self.head.bias.copy_(ours.b_q)

    def forward(self, x, state):
        outputs, state = self.rnn(F.one_hot(x, V).float(), state)
        return self.head(outputs), state


def by_hand(plain: Plain, s: TrainSettings, steps: int) -> list[float]:
    """The mean loss of each step."""
    if s.optimizer == "sgd":
        optimizer = torch.optim.SGD(plain.parameters(), lr=s.lr)
    else:
        matrices = [p for p in plain.parameters() if p.dim() > 1]
        vectors = [p for p in plain.parameters() if p.dim() == 1]
        groups = [{"params": matrices, "weight_decay": s.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=s.lr, betas=(0.9, 0.99))
    losses, epoch = [], 0
    while True:
        state = None
        rng = numpy_generator(s.seed, "order of an epoch", epoch)
        for rows in BATCHINGS[s.batching].rows(len(TEXT), s.batch, s.window, rng):
            x, y = map(torch.from_numpy, gather(TEXT, rows))
            if s.batching == "random":
                state = None
            logits, state = plain(x, state)
            state = tuple(t.detach() for t in state) if isinstance(state, tuple) else state.detach()
            loss = F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=IGNORE)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(plain.parameters(), s.clip)
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == steps:
                return losses
        epoch += 1


@pytest.mark.parametrize("batching", ["sequential", "random"])
@pytest.mark.parametrize(
    ("cell", "optimizer", "lr"),
    [("gru", "sgd", 1.0), ("gru", "adamw", 0.01), ("lstm", "adamw", 0.01), ("elman", "sgd", 0.5)],
)
def test_training_equals_a_plain_loop(batching, cell, optimizer, lr):
    model = elman.Recurrent(task(), cell=cell, hidden=9)
    plain = Plain(model)
    settings = replace(FAST, batching=batching, optimizer=optimizer, lr=lr, clip=0.5)
    found = [p.nats / p.tokens for p in train(model, TEXT, settings=settings)]
    expected = by_hand(plain, settings, 25)
    assert found == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(model.W_q, plain.head.weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.stack[0].W_h, plain.rnn.weight_hh_l0, rtol=1e-4, atol=1e-5)


def test_sequential_carries_the_state_and_random_does_not():
    """The two are told apart by what a model is given, not by what it learns."""
    for batching, carried in (("sequential", True), ("random", False)):
        model = elman.Recurrent(task(), hidden=5)
        given, returned = [], []
        cost = model.loss

        def spy(inputs, targets, state, noise=None, rows=None, cost=cost, given=given, returned=returned):
            nats, after = cost(inputs, targets, state, noise)
            given.append(state)
            returned.append(after)
            return nats, after

        model.loss = spy
        list(train(model, TEXT, settings=replace(FAST, batching=batching, steps=30)))
        ends = [i for i, s in enumerate(given) if not s[0].any()]
        if carried:
            assert 2 <= len(ends) <= 4  # once an epoch of about ten steps
            for before, after in zip(returned, given[1:], strict=False):
                assert torch.equal(before[0], after[0]) or not after[0].any()
        else:
            assert len(ends) == 30
        assert not any(s.requires_grad for state in given for s in state)


@pytest.mark.parametrize("batching", ["sequential", "random", "reference-sequential"])
def test_windows_grow_from_epoch_to_epoch(batching):
    model, seen = tiny(), []
    cost = model.loss

    def spy(inputs, targets, state, noise=None, rows=None):
        seen.append(inputs.shape[1])
        return cost(inputs, targets, state, noise)

    model.loss = spy
    longest = []
    settings = replace(FAST, steps=None, epochs=5, window=20, initial_window=4, batching=batching)
    for p in train(model, TEXT, settings=settings):
        if p.epoch_ended:
            longest.append(sorted(seen)[len(seen) // 2])
            seen.clear()
    assert longest == [4, 8, 16, 20, 20]


def test_training_learns_a_text_that_repeats():
    text = np.tile(np.array([1, 2, 3, 1, 4], np.uint8), 100)
    model = elman.Recurrent(task(), hidden=16)
    last = list(train(model, text, steps=150, batch=4, window=20, lr=0.02))[-1]
    assert last.perplexity < 1.1
    assert elman.evaluate(model, text).perplexity < 1.1


def test_the_perplexity_of_an_epoch_is_one_division_of_sums():
    nats = count = 0.0
    for p in train(tiny(), TEXT, settings=replace(FAST, steps=None, epochs=3, num_reports=3)):
        nats, count = nats + p.nats, count + p.tokens
        assert p.perplexity == pytest.approx(math.exp(nats / count), rel=1e-12)
        if p.epoch_ended:
            assert count == len(TEXT)
            assert p.train == p.perplexity
            nats = count = 0.0


def test_a_report_within_an_epoch_is_of_the_tokens_since_the_last_one():
    nats = count = 0.0
    for p in train(tiny(), TEXT, settings=replace(FAST, steps=8, num_reports=4)):  # an epoch has ten steps
        nats, count = nats + p.nats, count + p.tokens
        if p.report:
            assert p.train == pytest.approx(math.exp(nats / count), rel=1e-12)
            nats = count = 0.0


def test_an_epoch_is_every_token_once():
    steps = list(train(tiny(), TEXT, settings=replace(FAST, steps=None, epochs=3)))
    ends = [i for i, p in enumerate(steps) if p.epoch_ended]
    assert len(ends) == 3
    assert [steps[i].epoch for i in ends] == [1.0, 2.0, 3.0]
    assert sum(p.tokens for p in steps) == 3 * len(TEXT)
    assert [p.step for p in steps] == list(range(1, len(steps) + 1))


# --- nothing disturbs it


def test_scoring_held_out_text_changes_no_bit():
    a, b = tiny(dropout=0.3), tiny(dropout=0.3)
    list(train(a, TEXT, None, FAST))
    scored = list(train(b, TEXT, tokens(100, seed=1), replace(FAST, num_reports=25)))
    assert all(p.held_out for p in scored)
    torch.testing.assert_close(weights(a), weights(b), rtol=0, atol=0)


def test_the_same_seed_gives_the_same_bits_whatever_global_state_is():
    results = []
    for noise in (0, 1):
        torch.manual_seed(noise)
        np.random.seed(noise)
        model = tiny(dropout=0.3)
        list(train(model, TEXT, settings=FAST))
        results.append(weights(model))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    other = tiny(dropout=0.3)
    list(train(other, TEXT, settings=FAST, seed=1))
    assert not torch.equal(other.W_q, results[0]["W_q"])


def test_dropout_differs_from_step_to_step():
    model = tiny(dropout=0.5)
    seen = []
    cost = model.loss

    def spy(inputs, targets, state, noise=None, rows=None):
        seen.append(noise.get_state().numpy().tobytes())
        return cost(inputs, targets, state, noise)

    model.loss = spy
    list(train(model, TEXT, settings=FAST))
    assert len(set(seen)) == len(seen) == 25


def test_a_learned_initial_state_learns():
    model = elman.Recurrent(task(), hidden=5, learn_initial_state=True)
    assert not model.stack[0].start.any()
    list(train(model, TEXT, settings=FAST))
    assert model.stack[0].start.abs().min() > 0
    fixed = elman.Recurrent(task(), hidden=5)
    list(train(fixed, TEXT, settings=FAST))
    assert not fixed.stack[0].start.any()


# --- the budget


@pytest.mark.parametrize("steps", [1, 7, 25])
def test_a_budget_of_steps(steps):
    done = list(train(tiny(), TEXT, settings=FAST, steps=steps))
    assert len(done) == steps
    assert [p.done for p in done] == [False] * (steps - 1) + [True]
    assert done[-1].fraction == 1.0
    assert not done[-1].stopped_early


def test_a_budget_of_minutes_by_the_clock(monkeypatch):
    now = iter(range(10**6))
    monkeypatch.setattr(
        "elman.training.loop.time", SimpleNamespace(perf_counter=lambda: float(next(now)), monotonic=time.monotonic)
    )
    done = list(train(tiny(), TEXT, settings=replace(FAST, steps=None, minutes=0.5, schedule="cosine")))
    assert [p.seconds for p in done] == list(range(1, 31))
    assert done[-1].done
    assert [p.lr for p in done] == sorted((p.lr for p in done), reverse=True)
    assert sum(p.report for p in done) == 5


@pytest.mark.parametrize(("second", "epochs", "seconds"), [(1e-6, 10, None), (10.0, None, 180)])
def test_without_a_budget_it_is_ten_epochs_or_three_minutes(monkeypatch, second, epochs, seconds):
    now = itertools.count(0.0, second)
    monkeypatch.setattr(
        "elman.training.loop.time", SimpleNamespace(perf_counter=lambda: next(now), monotonic=time.monotonic)
    )
    last = list(train(tiny(), TEXT, settings=replace(FAST, steps=None)))[-1]
    assert last.epoch == epochs if epochs else last.seconds == seconds
    assert last.done
    assert last.report


@pytest.mark.parametrize(("steps", "epochs", "done"), [(7, 50, 7), (500, 2, 20)])
def test_of_several_budgets_the_first_to_be_spent_ends_the_run(steps, epochs, done):
    last = list(train(tiny(), TEXT, settings=replace(FAST, steps=steps, epochs=epochs, batching="random")))[-1]
    assert last.step == pytest.approx(done, abs=2)
    assert last.fraction == 1.0
    assert last.report


@pytest.mark.parametrize("budget", [{"steps": 1}, {"epochs": 1}, {"minutes": 1e-9}])
def test_no_step_is_lost_to_a_rate_of_zero(budget):
    done = list(train(tiny(), TEXT, settings=replace(FAST, **{"steps": None} | budget, schedule="one-cycle", lr=0.5)))
    assert all(p.lr > 0 for p in done)


def test_the_rate_is_that_of_the_middle_of_a_step():
    settings = replace(FAST, steps=4, schedule="one-cycle", warmup=0.5, final_lr=0.0, lr=1.0)
    rates = [p.lr for p in train(tiny(), TEXT, settings=settings)]
    fall = [(1 + math.cos(math.pi * x)) / 2 for x in (0.25, 0.75)]
    assert rates == pytest.approx([0.25, 0.75, *fall])


def test_reports_are_evenly_spaced():
    done = list(train(tiny(), TEXT, settings=replace(FAST, steps=20, num_reports=5)))
    assert [p.step for p in done if p.report] == [4, 8, 12, 16, 20]
    assert all((p.train is not None) == p.report for p in done)


def test_a_report_a_step_where_a_product_of_floats_falls_short():
    assert any(int(k / 22 * 22) < k for k in range(22))
    done = list(train(tiny(), TEXT, settings=replace(FAST, steps=22, num_reports=22)))
    assert all(p.report for p in done)


def test_reports_of_epochs_come_at_their_ends():
    done = list(train(tiny(), TEXT, settings=replace(FAST, steps=None, epochs=10, num_reports=5)))
    assert [p.epoch for p in done if p.report] == [2.0, 4.0, 6.0, 8.0, 10.0]


def test_more_reports_than_epochs_come_within_them():
    done = list(train(tiny(), TEXT, settings=replace(FAST, steps=None, epochs=1, num_reports=4)))
    assert sum(p.report for p in done) == 4
    assert done[-1].report


def test_the_rate_follows_the_schedule():
    done = list(train(tiny(), TEXT, settings=replace(FAST, schedule="step", lr=0.5, optimizer="sgd", steps=8)))
    assert [p.lr for p in done] == pytest.approx([0.5] * 4 + [0.05] * 2 + [0.005] * 2)


def test_overrides_replace_single_settings():
    assert len(list(train(tiny(), TEXT, steps=3, batch=2, window=5))) == 3


def test_going_on_from_a_training_state_is_the_same_as_not_stopping():
    a, b = tiny(), tiny()
    list(train(a, TEXT, settings=FAST))
    training = TrainState.begin(b, FAST)
    first = train(b, TEXT, training=training)
    for _ in range(9):
        next(first)
    list(train(b, TEXT, training=training))
    torch.testing.assert_close(weights(a), weights(b), rtol=0, atol=0)


# --- early stopping

MEMORISE = replace(FAST, steps=400, num_reports=40, lr=0.02, patience=6)  # random letters: nothing to learn


def test_patience_ends_the_run_after_so_many_reports_without_a_better_one():
    model = elman.Recurrent(task(), hidden=24)
    done = list(train(model, TEXT, tokens(100, seed=1), MEMORISE))
    figures = [p.held_out.perplexity for p in done if p.held_out]
    best = figures.index(min(figures))
    assert done[-1].stopped_early
    assert done[-1].step < 400
    assert len(figures) == best + 1 + 6
    improved = [p.improved for p in done if p.report]
    assert improved == [f == min(figures[: i + 1]) and f not in figures[:i] for i, f in enumerate(figures)]


def test_fit_keeps_the_best_or_the_last():
    held_out = tokens(100, seed=1)
    figures = [
        p.held_out.perplexity for p in train(elman.Recurrent(task(), hidden=24), TEXT, held_out, MEMORISE) if p.held_out
    ]
    best = elman.fit(elman.Recurrent(task(), hidden=24), TEXT, held_out, MEMORISE)
    last = elman.fit(elman.Recurrent(task(), hidden=24), TEXT, held_out, MEMORISE, final_weights="last")
    assert elman.evaluate(best, held_out).perplexity == pytest.approx(min(figures), rel=1e-9)
    assert elman.evaluate(last, held_out).perplexity == pytest.approx(figures[-1], rel=1e-9)
    assert figures[-1] > 1.01 * min(figures)


def test_without_held_out_text_nothing_improves_and_patience_waits():
    done = list(train(tiny(), TEXT, settings=replace(FAST, patience=1)))
    assert len(done) == 25
    assert not any(p.improved or p.stopped_early or p.held_out for p in done)


# --- numbers that are not finite (C12)


def poisoned_loss(model: elman.Recurrent, at: int, change) -> None:
    """From step `at` on the loss is what `change` makes of it."""
    calls = iter(range(1, 10**6))
    cost = model.loss

    def changed(*arguments):
        nats, state = cost(*arguments)
        return (change(nats) if next(calls) >= at else nats), state

    model.loss = changed


@pytest.mark.parametrize(
    "change",
    [
        lambda loss: loss * math.nan,
        lambda loss: loss + math.nan,
        lambda loss: loss + math.inf,
        lambda loss: loss + 1e6,  # of 40 tokens: their perplexity is no float
    ],
    ids=["nan", "nan-with-finite-gradient", "inf-with-finite-gradient", "absurd"],
)
@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_loss_that_is_no_use_names_the_step(change, clip):
    model = tiny()
    poisoned_loss(model, 7, change)
    done = []
    with pytest.raises(DivergedError, match=r"diverged at step 7:.*a lower lr or a lower clip") as caught:
        done += iter(train(model, TEXT, settings=replace(FAST, clip=clip)))
    assert "\n" not in str(caught.value)
    assert all(p.isfinite().all() for p in model.parameters())


def test_an_infinite_gradient_names_step_and_parameter():
    model = tiny()
    calls = iter(range(1, 10**6))
    model.b_q.register_hook(lambda g: g * math.inf if next(calls) == 5 else g)
    steps = train(model, TEXT, settings=FAST)
    for _ in range(4):
        next(steps)
    before = weights(model)
    with pytest.raises(DivergedError, match="step 5: the gradient of b_q is not finite"):
        next(steps)
    torch.testing.assert_close(weights(model), before, rtol=0, atol=0)  # the bad step was not taken


def test_an_absurd_rate_diverges_or_stays_finite():
    model = elman.Recurrent(task(), cell="elman-relu", hidden=16)
    settings = replace(FAST, optimizer="sgd", lr=1e6, clip=0.0, steps=100)
    with pytest.raises(DivergedError, match=r"diverged at step \d+"):
        list(train(model, TEXT, settings=settings))


# --- edges


def test_a_text_of_one_symbol_has_perplexity_one():
    vocab = elman.Vocab.chars("a" * 50, unknown=False)
    model = elman.Recurrent(elman.TextTask(vocab), hidden=4)
    done = list(train(model, vocab.encode("a" * 50), vocab.encode("a" * 20), steps=5, batch=2, window=5, num_reports=1))
    assert all(p.perplexity == 1.0 for p in done)
    assert done[-1].held_out.perplexity == 1.0


def test_a_text_shorter_than_a_batch_is_refused_before_the_first_step():
    with pytest.raises(DataError, match="39 tokens, fewer than the 40"):
        train(tiny(), TEXT[:39], settings=FAST)
    with pytest.raises(ConfigError, match="no batching"):
        train(tiny(), TEXT, settings=FAST, batching="shuffled")


def test_from_training_to_the_equations_of_a_cell_there_are_few_frames(monkeypatch):
    frames = []

    def step(x, u, *state):
        frame, names = sys._getframe(), []
        while frame is not None:
            if frame.f_globals.get("__name__", "").startswith("elman."):
                names.append(frame.f_code.co_name)
            frame = frame.f_back
        frames.append(names[::-1])
        return original(x, u, *state)

    model = tiny(cell="gru", engine="loop")
    original = CELLS["gru"].step
    monkeypatch.setattr(CELLS["gru"], "step", staticmethod(step))
    next(train(model, TEXT, settings=replace(FAST, steps=1)))
    assert frames[0] == ["_run", "_step", "loss", "_outputs", "run"]  # and the step itself: six
