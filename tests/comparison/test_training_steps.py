"""Races of engines: who has a turn when, what is made of the rates, what is said of them. No test asserts a time."""

import pytest
import torch
from helpers import supported

import elman
from elman.comparison import timing
from elman.comparison import training_steps as bench
from elman.comparison.benchmark import Shape, SpeedBenchmark
from elman.comparison.timing import against, interleave, lasting, measure_rounds, repeated, threaded
from elman.comparison.training_steps import (
    PRODUCT,
    batches,
    benchmark_steps,
    elman_step,
    plain_step,
    product,
    steps_of,
    threads_here,
)
from elman.engines.native import BFLOAT16, INSTRUCTIONS
from elman.environment import same_threads
from elman.errors import ConfigError
from elman.inference.findings.benchmark import ENOUGH, PLAIN, Variant
from elman.inference.spreads import Quartiles

TINY = Shape("gru", hidden=4, vocab=5, batch=2, window=3)


@pytest.fixture
def clock(monkeypatch):
    """A clock that only stands where it is put: clock[0] is the time."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


def lasts(clock, seconds, done=1.0, said=None, name=""):
    """Work that takes so many seconds of the clock."""

    def work():
        clock[0] += seconds
        if said is not None:
            said.append(name)
        return done

    return work


# --- taking turns


def test_ways_take_turns_forth_and_back_after_a_warm_up(clock):
    said = []
    variants = {name: lasts(clock, 1.0, said=said, name=name) for name in "abc"}
    rounds = list(measure_rounds(variants, 3))
    assert "".join(said) == "abc" + "abc" + "cba" + "abc"
    assert [list(found) for found in rounds] == [list("abc")] * 3


def test_rates_are_work_a_second_of_each_round(clock):
    pace = iter([1.0, 1.0, 4.0])  # the warm-up is not counted

    def drifting():
        clock[0] += next(pace)
        return 20.0

    assert interleave({"steady": lasts(clock, 0.5, 3.0), "drifting": drifting}, 2) == {
        "steady": [6.0, 6.0],
        "drifting": [20.0, 5.0],
    }


def test_a_spread_is_median_and_quartiles_and_ratios_are_of_one_round():
    assert Quartiles.of([7, 1, 5, 3, 2, 6, 4]) == (4, 2, 6)
    assert Quartiles.of([3.0]) == (3, 3, 3)
    these, those = [10.0, 20.0, 40.0], [5.0, 10.0, 80.0]
    assert Quartiles.of_ratios(these, those) == Quartiles.of([2.0, 2.0, 0.5])
    assert Quartiles(1.3149, 1.2651, 1.3849).written() == "1.31 (1.27 to 1.38)"
    with pytest.raises(ValueError, match="argument 2"):
        Quartiles.of_ratios([1.0], [1.0, 2.0])
    assert against({"a": [2.0] * 3, "b": [1.0] * 3}, "b")["a"] == {
        "per_second": {"median": 2, "low": 2, "high": 2},
        "ratio": {"median": 2, "low": 2, "high": 2},
    }


def test_work_is_repeated_to_last_a_turn(clock):
    said = []
    assert repeated(lambda: 2.5, 4)() == 10
    seconds = lasting(lasts(clock, 0.02, 7.0, said, "x"), 0.1)
    assert len(said) == 2, "a warm-up, and one to find out"
    assert (seconds(), len(said)) == (35.0, 7)
    assert lasting(lasts(clock, 9.0, 7.0), 0.1)() == 7.0, "one at the least"


def test_threads_are_set_for_each_turn_and_left_as_they_were():
    found = [threaded(torch.get_num_threads, n)() for n in (2, 1, 3)]
    assert found == [2, 1, 3]
    before = torch.get_num_threads()
    with pytest.raises(KeyError), same_threads():
        raise KeyError(torch.set_num_threads(before + 1))
    assert torch.get_num_threads() == before


# --- steps


@pytest.mark.parametrize(("cell", "gates"), [("elman", 1), ("elman-relu", 1), ("gru", 3), ("lstm", 4)])
def test_flops_of_a_token_by_hand(cell, gates):
    """Forward, and the gradients of both factors: three products of a (G*2, 2) and of a (3, 2) matrix."""
    assert Shape(cell, hidden=2, vocab=3).flops == 3 * (2 * gates * 2 * 2 + 2 * 3 * 2)


@pytest.mark.parametrize("cell", ["elman", "elman-relu", "gru", "lstm"])
def test_every_engine_that_supports_a_cell_is_a_way(cell):
    shape = Shape(cell, hidden=4, vocab=5, batch=2, window=3)
    variants = steps_of(shape)
    native = [*(["native"] if INSTRUCTIONS else []), *(["native-bfloat16"] if BFLOAT16 else [])]
    assert list(variants) == [PLAIN, *sorted([*supported(cell), *native])]
    assert [step() for step in variants.values()] == [6] * len(variants)


def test_each_way_of_elman_runs_the_engine_of_its_name(monkeypatch):
    asked, recurrent = [], bench.Recurrent

    def noted(*arguments, engine, **more):
        asked.append(engine)
        return recurrent(*arguments, engine=engine, **more)

    monkeypatch.setattr(bench, "Recurrent", noted)
    variants = list(steps_of(TINY))
    assert [PLAIN, *asked] == variants


def test_plain_pytorch_is_elman_with_the_same_weights():
    """The yardstick computes what it is compared with."""
    shape = Shape("lstm", hidden=4, vocab=5, batch=2, window=3)
    plain, model = bench.PlainPyTorch(shape), bench.elman_model(shape)
    layer = model.stack[0]
    with torch.no_grad():
        for ours, theirs in zip(layer.weights(), plain.rnn.parameters(), strict=True):
            ours.copy_(theirs)
        model.W_q.copy_(plain.linear.weight)
        model.b_q.copy_(plain.linear.bias)
    inputs, _ = next(batches(shape))
    theirs, _ = plain(inputs, None)
    ours, _ = model(inputs, model.initial(2))
    torch.testing.assert_close(ours.transpose(0, 1).reshape(-1, 5), theirs)


@pytest.mark.parametrize("step", [plain_step, elman_step, lambda s: plain_step(s, bfloat16=True)])
def test_a_step_learns_clips_and_updates(step, monkeypatch):
    """Weights move by at most lr times the largest norm, and do move."""
    seen = []
    update = torch.optim.SGD.step

    def watched(self, *arguments):
        p = [q for group in self.param_groups for q in group["params"] if q.grad is not None]
        before = [q.detach().clone() for q in p]
        result = update(self, *arguments)
        seen.append(torch.cat([(q - b).flatten() for q, b in zip(p, before, strict=True)]).norm())
        return result

    monkeypatch.setattr(torch.optim.SGD, "step", watched)
    cost = torch.nn.functional.cross_entropy
    work = step(Shape("elman", hidden=4, vocab=5, batch=2, window=3))
    assert [work() for _ in range(100)] == [6] * 100
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", lambda *a, **more: 100 * cost(*a, **more))
    work()
    assert len(seen) == 101
    assert all(0 < norm < 0.1001 for norm in seen)


def test_batches_are_the_text_and_what_follows_each_symbol():
    text, found = TINY.ids(), batches(TINY)
    inputs, targets = next(found)
    assert inputs.shape == targets.shape == (2, 3)
    assert inputs[0].tolist() == text[:3].tolist()
    assert targets[0].tolist() == text[1:4].tolist()
    for _ in range(100):
        assert next(found)[0].shape == (2, 3)
    assert (text.min(), text.max()) == (1, 4)


def test_a_product_counts_a_multiply_add_as_two(monkeypatch):
    calls, multiply = [], torch.mm
    monkeypatch.setattr(torch, "mm", lambda a, b, **more: calls.append((a.shape, b.shape)) or multiply(a, b, **more))
    assert product(8)() == 2 * 8 * 8 * 8
    assert calls == [((8, 8), (8, 8))]


# --- a race


def test_a_race_yields_every_round_and_disturbs_nothing():
    torch.manual_seed(3)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    races = list(benchmark_steps(TINY, threads=[3, 1], rounds=3, seconds=0))
    assert [benchmark.done for benchmark in races] == [False, False, True]
    names = set(steps_of(TINY))
    assert set(races[-1].rates) == {Variant(name, count) for name in names for count in (1, 3)}
    assert set(races[-1].products) == {1, 3}
    assert [{len(rates) for rates in benchmark.rates.values()} for benchmark in races] == [{1}, {2}, {3}]
    assert all(rate > 0 for rates in races[-1].rates.values() for rate in rates)
    assert torch.equal(torch.get_rng_state(), state)
    assert (torch.get_num_threads(), races[-1].default) == (threads, threads)
    assert races[-1].auto == bench.elman_model(TINY).engine_name


def test_the_ways_of_a_race_and_the_product_take_turns(monkeypatch):
    said = []

    def noted(name):
        return lambda: said.append((name, torch.get_num_threads())) or 1.0

    monkeypatch.setattr(bench, "steps_of", lambda _: {name: noted(name) for name in (PLAIN, "loop")})
    monkeypatch.setattr(bench, "product", lambda: noted(PRODUCT))
    list(benchmark_steps(TINY, threads=[1, 2], rounds=2, seconds=0))
    variants = [(name, count) for count in (1, 2) for name in (PRODUCT, PLAIN, "loop")]
    calibrated = [way for way in variants for _ in range(2)]
    assert said == [*calibrated, *variants, *variants, *reversed(variants)]


def test_race_is_the_last_of_racing():
    found = elman.benchmark_speed("elman", hidden=3, vocab=4, batch=1, window=2, threads=[1], rounds=2, seconds=0)
    assert isinstance(found, elman.SpeedBenchmark)
    assert found.done
    assert found.shape == Shape("elman", 3, 4, 1, 2)


def test_threads_are_one_and_all(monkeypatch):
    cores = len(bench.os.sched_getaffinity(0))
    assert threads_here() == sorted({1, cores}), "under test PyTorch has one thread"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    assert threads_here() == [1, 6]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"cell": "grru"}, "no cell 'grru'.*did you mean gru"),
        ({"hidden": 0}, "hidden 0: it must be at least 1"),
        ({"vocab": 1}, "vocab 1: it must be at least 2"),
        ({"batch": -1}, "batch -1"),
        ({"window": 0}, "window 0"),
        ({"rounds": 0}, "rounds 0"),
        ({"threads": [1, 0]}, r"threads \[0, 1\]"),
        ({"threads": []}, "threads"),
        ({"threads": [10**6]}, "1 to 1024"),
        ({"vocab": 10**7}, "10,000,000 symbols.*lower"),
        ({"batch": 10**6, "window": 10**6}, "1,000,000,000,000 tokens.*lower"),
    ],
)
def test_what_cannot_be_raced(wrong, words):
    with pytest.raises(ConfigError, match=words):
        elman.benchmark_speed(**wrong)


# --- what is said


def fabricated(rates, *, auto="native", default=1, products=None):
    """A race with those rates: {(name, threads): [tokens a second]}."""
    found = {Variant(*way): list(values) for way, values in rates.items()}
    counts = {way.threads for way in found}
    rounds = len(next(iter(found.values())))
    peaks = products or {count: [1e6] * rounds for count in counts}
    return SpeedBenchmark(Shape("gru", hidden=2, vocab=3), auto, default, rounds, found, peaks)


def steady(rate, rounds=8):
    """About that rate, a little up and down."""
    return [rate * (1 + 0.01 * (-1) ** i) for i in range(rounds)]


def test_the_share_is_of_the_product_on_as_many_threads_by_hand():
    """A token of a GRU with H = 2 and V = 3 is 6 * 3 * 4 + 6 * 2 * 3 = 108 flops."""
    benchmark = fabricated(
        {("native", 1): [10.0] * 3, ("native", 2): [15.0] * 3}, products={1: [2160.0] * 3, 2: [4320.0] * 3}
    )
    assert benchmark.share(Variant("native", 1)) == (0.5, 0.5, 0.5)
    assert benchmark.share(Variant("native", 2)).median == 0.375


def test_a_clear_winner_that_auto_takes():
    said = fabricated({(PLAIN, 1): steady(100), ("bptt", 1): steady(120), ("native", 1): steady(180)}).verdict
    assert said == [
        "The fastest engine is native on 1 thread: 1.50 (1.50 to 1.50) times bptt on 1 thread, the next; "
        "2 % of the rate of a large matrix product.",
        "It is 1.80 (1.80 to 1.80) times plain PyTorch on 1 thread.",
        "auto takes native.",
        "There is nothing to set.",
    ]


def test_spreads_that_overlap_have_no_clear_winner():
    """Ahead in half of the rounds and behind in the others, whatever the medians are."""
    one, other = [100, 130, 100, 130, 100, 130, 100, 140], [130, 100, 130, 100, 130, 100, 130, 100]
    said = fabricated({(PLAIN, 1): steady(50), ("native", 1): one, ("bptt", 1): other, ("loop", 1): steady(60)}).verdict
    assert said[0].startswith("No clear winner: ")
    assert "native" in said[0]
    assert "bptt" in said[0]
    assert "loop" not in said[0], "which is clearly slower"
    assert "auto takes native, which no engine clearly beats." in said
    assert said[-1] == "There is nothing to set."


def test_auto_may_be_behind_the_first_within_the_spread():
    one, other = [100, 130, 100, 130, 100, 130, 100, 140], [131, 101, 131, 101, 131, 101, 131, 101]
    said = fabricated({("native", 1): one, ("bptt", 1): other, ("loop", 1): steady(60)}).verdict
    assert said[0].startswith("No clear winner: bptt on 1 thread")
    assert "auto takes native, which no engine clearly beats." in said
    assert said[-1] == "There is nothing to set."


def test_neighbours_in_time_decide_and_not_how_the_machine_drifts():
    drift = [100, 50, 25, 200, 80, 60, 120, 90]
    said = fabricated({("native", 1): [1.1 * d for d in drift], ("bptt", 1): drift}).verdict
    assert said[0].startswith("The fastest engine is native on 1 thread: 1.10 (1.10 to 1.10) times bptt")


def test_an_engine_that_beats_auto_is_what_to_set():
    said = fabricated(
        {(PLAIN, 1): steady(100), ("aten", 1): steady(200), ("bptt", 1): steady(100)}, auto="bptt"
    ).verdict
    assert said[0].startswith("The fastest engine is aten")
    assert "auto takes bptt, but aten on 1 thread is 2.00 (2.00 to 2.00) times bptt on 1 thread." in said
    assert said[-1] == "Set --engine aten."


def test_a_winner_that_rounds_more_is_said_to():
    said = fabricated({("native", 1): steady(100), ("native-bfloat16", 1): steady(170)}).verdict
    assert (
        "native-bfloat16 rounds what enters a product to bfloat16, as autocast does; all others keep float32." in said
    )
    assert said[-1] == "Set --engine native-bfloat16."
    said = fabricated({("native", 1): steady(180), ("native-bfloat16", 1): steady(170)}).verdict
    assert "rounds" not in " ".join(said)


def test_plain_pytorch_may_win_and_is_said_to():
    found = {(PLAIN, 1): steady(300), ("native", 1): steady(200), ("loop", 1): steady(50)}
    assert "But plain PyTorch on 1 thread is faster: 1.50 (1.50 to 1.50) times." in fabricated(found).verdict
    found[PLAIN, 1] = [300, 100] * 4
    said = [line for line in fabricated(found).verdict if "plain" in line]
    assert said[0].startswith("Against plain PyTorch on 1 thread there is no clear winner")


@pytest.mark.parametrize(
    ("one", "two", "default", "sentence", "last"),
    [
        (100, 150, 2, "native on 2 threads is 1.50 (1.50 to 1.50) times 1.", "There is nothing to set."),
        (100, 150, 1, "native on 2 threads is 1.50 (1.50 to 1.50) times 1.", "Set OMP_NUM_THREADS=2."),
        (100, 50, 2, "native on 1 thread is 2.00 (2.00 to 2.00) times 2.", "Set OMP_NUM_THREADS=1."),
    ],
)
def test_the_number_of_threads_that_is_faster(one, two, default, sentence, last):
    said = fabricated({("native", 1): steady(one), ("native", 2): steady(two)}, default=default).verdict
    assert sentence in said
    assert said[-1] == last


def test_engine_and_threads_are_set_together_and_overlapping_threads_are_not():
    rates = {("bptt", 1): steady(100), ("bptt", 2): steady(90), ("aten", 1): steady(300), ("aten", 2): steady(200)}
    assert fabricated(rates, auto="bptt", default=2).verdict[-1] == "Set OMP_NUM_THREADS=1 and --engine aten."
    said = fabricated({("native", 1): [100, 120] * 4, ("native", 2): [121, 101] * 4}, default=2).verdict
    assert "Between native on 2 threads and 1 there is no clear winner." in said
    assert said[-1] == "There is nothing to set."


def test_nothing_is_said_of_what_was_not_tried():
    said = fabricated({("native", 1): steady(100), ("loop", 1): steady(50)}, default=2).verdict
    assert not any("thread is" in line or "OMP" in line or "nothing to set" in line for line in said)
    alone = fabricated({("loop", 1): steady(100)}, auto="loop").verdict
    assert alone[0].startswith("loop on 1 thread is the only engine of this cell: 100 tokens/s")
    few = fabricated({("native", 1): steady(200, ENOUGH - 1), ("loop", 1): steady(50, ENOUGH - 1)})
    assert few.verdict == ["Fewer than 5 rounds cannot show which engine is faster: use --rounds 5 or more."]


def test_a_document_holds_every_round():
    found = fabricated({(PLAIN, 1): steady(100), ("native", 1): steady(150)}).to_dict()
    assert (found["cell"], found["hidden"], found["vocab"], found["flops_per_token"]) == ("gru", 2, 3, 108)
    assert [row["name"] for row in found["variants"]] == [PLAIN, "native"]
    assert found["variants"][1]["rounds"] == steady(150)
    assert found["variants"][1]["times_plain"]["median"] == pytest.approx(1.5)
    assert found["variants"][1]["tokens_per_second"]["median"] == pytest.approx(150)
    assert found["variants"][1]["share_of_matrix_product"]["median"] == pytest.approx(150 * 108 / 1e6)
    assert found["matrix_products"][0]["flops_per_second"]["median"] == 1e6
    assert found["verdict"] == fabricated({(PLAIN, 1): steady(100), ("native", 1): steady(150)}).verdict
