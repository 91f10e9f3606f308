"""Batches: the textbook's exact tensors, and every token a target exactly once where nothing may be dropped."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data.batches import (
    BATCHINGS,
    IGNORE,
    START,
    Batching,
    Rows,
    check_length,
    coverage,
    even_windows,
    find_batching,
    gather,
)
from elman.errors import ConfigError, DataError
from elman.reproduce.batchings import shuffled_windows
from elman.rng import numpy_generator

OWN = ("sequential", "random")
REFERENCE = ("reference-sequential", "reference-random", "reference-reset")

NAMES = sorted(BATCHINGS.keys() - {"even-windows"})  # those of training; the other leaves tokens out for benchmarks


def rng(seed: int = 0, epoch: int = 0) -> np.random.Generator:
    return numpy_generator(seed, "order of an epoch", epoch)


@st.composite
def sizes(draw):
    """Awkward sizes: (n, batch, window, seed) with at least one batch, and any remainder beyond it."""
    batch, window = draw(st.integers(1, 9)), draw(st.integers(1, 13))
    n = draw(st.integers(batch * window + window, batch * window + 150))
    return n, batch, window, draw(st.integers(0, 10_000))


# --- the worked examples of the book


def test_random_windows_of_the_book():
    """0..34 in windows of 5 by twos from offset 4: 3 minibatches of these numbers, Zhang et al. 2021, section 8.3."""
    order = np.array([2, 5, 3, 1, 0, 4])
    found = [gather(np.arange(35, dtype=np.uint8), r) for r in shuffled_windows(2, 5, 4, order)]
    expected = [((14, 29), (15, 30)), ((19, 9), (20, 10)), ((4, 24), (5, 25))]
    assert len(found) == 3
    for (inputs, targets), (first_inputs, first_targets) in zip(found, expected, strict=True):
        assert inputs.tolist() == [list(range(a, a + 5)) for a in first_inputs]
        assert targets.tolist() == [list(range(a, a + 5)) for a in first_targets]


def test_sequential_partitions_of_the_book():
    """0..34 in windows of 5 by twos from offset 1: row i continues where row i stopped (section 8.3)."""
    found = [gather(np.arange(35, dtype=np.uint8), r) for r in even_windows(35, 2, 5, 1)]
    assert [(x.tolist(), y.tolist()) for x, y in found] == [
        ([[1, 2, 3, 4, 5], [17, 18, 19, 20, 21]], [[2, 3, 4, 5, 6], [18, 19, 20, 21, 22]]),
        ([[6, 7, 8, 9, 10], [22, 23, 24, 25, 26]], [[7, 8, 9, 10, 11], [23, 24, 25, 26, 27]]),
        ([[11, 12, 13, 14, 15], [27, 28, 29, 30, 31]], [[12, 13, 14, 15, 16], [28, 29, 30, 31, 32]]),
    ]


def test_the_book_s_six_pairs_make_three_minibatches_from_every_offset():
    """The offset of a whole window, which the published program can draw and which loses a batch, is never drawn."""
    counts = {sum(1 for _ in BATCHINGS["reference-random"].rows(35, 2, 5, rng(seed))) for seed in range(50)}
    assert counts == {3}


def test_ten_tokens_in_two_streams_are_read_in_pairs():
    """[0..9] -> [0..4], [5..9] -> (0, 5), (1, 6), (2, 7), (3, 8), (4, 9)."""
    targets = [gather(np.arange(10, dtype=np.uint8), r)[1] for r in BATCHINGS["sequential"].rows(10, 2, 2, rng())]
    assert np.concatenate(targets, 1).T.tolist() == [[0, 5], [1, 6], [2, 7], [3, 8], [4, 9]]


# --- gathering


def test_an_input_is_the_token_before_its_target_and_the_first_is_the_start():
    ids = np.array([9, 8, 7, 6, 5], np.uint16)
    inputs, targets = gather(ids, Rows(np.array([0, 2]), np.array([2, 5]), fresh=True))
    assert inputs.tolist() == [[START, 9, START], [8, 7, 6]]
    assert targets.tolist() == [[9, 8, IGNORE], [7, 6, 5]]
    assert inputs.dtype == targets.dtype == np.int64


@given(sizes(), st.sampled_from(NAMES))
def test_every_input_stands_before_its_target(size, name):
    n, batch, window, seed = size
    ids = np.arange(1, n + 1, dtype=np.uint16)  # token t is t + 1: the input must be the target less one
    for rows in BATCHINGS[name].rows(n, batch, window, rng(seed)):
        inputs, targets = gather(ids, rows)
        real = targets != IGNORE
        assert inputs.shape == targets.shape
        assert real.sum() == rows.targets
        assert (inputs[real] == targets[real] - 1).all()
        assert (inputs[~real] == START).all()


# --- what an epoch trains on


@given(sizes(), st.sampled_from(OWN))
def test_every_token_is_a_target_exactly_once_an_epoch(size, name):
    n, batch, window, seed = size
    ids = np.arange(n, dtype=np.uint16)
    seen = np.zeros(n, int)
    for rows in BATCHINGS[name].rows(n, batch, window, rng(seed)):
        targets = gather(ids, rows)[1]
        np.add.at(seen, targets[targets != IGNORE], 1)
        assert len(targets) <= batch
    assert (seen == 1).all()


@given(sizes(), st.sampled_from(REFERENCE))
def test_the_reference_trains_on_no_token_twice_and_never_on_the_first(size, name):
    n, batch, window, seed = size
    seen = np.zeros(n, int)
    for rows in BATCHINGS[name].rows(n, batch, window, rng(seed)):
        assert len(rows.starts) == batch
        assert (rows.stops - rows.starts == window).all()
        for start, stop in zip(rows.starts, rows.stops, strict=True):
            seen[start:stop] += 1
    assert seen.max() == 1
    assert seen[0] == 0


@given(sizes(), st.sampled_from(["sequential", "reference-sequential"]))
def test_rows_continue_from_batch_to_batch(size, name):
    n, batch, window, seed = size
    rows = list(BATCHINGS[name].rows(n, batch, window, rng(seed)))
    assert [r.fresh for r in rows] == [True] + [False] * (len(rows) - 1)
    for before, after in pairwise(rows):
        assert (before.stops == after.starts).all()


@given(sizes())
def test_streams_are_as_long_as_each_other_and_windows_near_what_was_asked(size):
    n, batch, window, seed = size
    rows = list(BATCHINGS["sequential"].rows(n, batch, window, rng(seed)))
    streams = rows[-1].stops - rows[0].starts
    assert streams.max() - streams.min() <= 1
    assert max((r.stops - r.starts).max() for r in rows) < 1.5 * window + 1
    if len(rows) > 1:
        assert min((r.stops - r.starts).max() for r in rows) >= window / 2


@given(sizes())
def test_what_the_textbook_calls_random_is_sequential_but_for_the_state(size):
    """The flag of its program resets the state and nothing else."""
    n, batch, window, seed = size
    reset, sequential = (
        list(BATCHINGS[f"reference-{x}"].rows(n, batch, window, rng(seed))) for x in ("reset", "sequential")
    )
    assert [(r.starts.tolist(), r.stops.tolist()) for r in reset] == [
        (r.starts.tolist(), r.stops.tolist()) for r in sequential
    ]
    assert all(r.fresh for r in reset)


@given(sizes(), st.sampled_from(["random", "reference-random"]))
def test_random_windows_start_from_a_fresh_state_and_are_no_longer_than_asked(size, name):
    n, batch, window, seed = size
    for rows in BATCHINGS[name].rows(n, batch, window, rng(seed)):
        assert rows.fresh
        assert 0 < (rows.stops - rows.starts).min() <= (rows.stops - rows.starts).max() <= window


@given(sizes(), st.sampled_from(NAMES))
def test_coverage_is_what_is_gathered(size, name):
    n, batch, window, seed = size
    told = coverage(name, n, batch, window, rng(seed))
    rows = list(BATCHINGS[name].rows(n, batch, window, rng(seed)))
    targets = np.concatenate([gather(np.arange(n, dtype=np.uint16), r)[1].ravel() for r in rows])
    assert (told.batches, told.targets, told.tokens) == (len(rows), (targets != IGNORE).sum(), n)
    if name in OWN:
        assert told.targets == n


def test_coverage_in_words():
    assert str(coverage("sequential", 10_000, 32, 35, rng())).startswith("10,000 of 10,000 tokens (100.0%) in ")
    dropped = coverage("reference-sequential", 10_000, 32, 64, rng())
    assert str(dropped) == f"{dropped.targets:,} of 10,000 tokens ({dropped.targets / 100:.1f}%) in 4 batches"
    assert dropped.targets == 4 * 32 * 64  # 18 % are dropped


# --- chance


def order(name: str, seed: int, epoch: int) -> list[list[int]]:
    return [r.starts.tolist() for r in BATCHINGS[name].rows(500, 3, 7, rng(seed, epoch))]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_epoch_and_another_epoch_differs(name):
    assert order(name, 3, 1) == order(name, 3, 1)
    assert len({str(order(name, 3, epoch)) for epoch in range(8)}) > 2
    assert len({str(order(name, seed, 0)) for seed in range(8)}) > 2


def test_random_windows_come_in_random_order():
    starts = [s for batch in order("random", 0, 0) for s in batch]
    rising = sum(a < b for a, b in pairwise(starts))
    assert 0.3 < rising / len(starts) < 0.7


# --- refusals


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("batch", "window"), [(32, 35), (1, 64)])
def test_a_text_shorter_than_one_batch_is_refused_with_the_numbers(name, batch, window):
    need = batch * window + (window if name in REFERENCE else 0)
    for length in (0, 1, need - 1):
        with pytest.raises(DataError, match=rf"{length:,} tokens, fewer than the {need:,} of one batch of {batch}"):
            check_length(name, length, batch, window)
    check_length(name, need, batch, window)
    for seed in range(20):
        assert sum(r.targets for r in BATCHINGS[name].rows(need, batch, window, rng(seed)))


def test_a_batching_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match=r"no batching 'shuffled': choose one of sequential, random, .*reference-"):
        check_length("shuffled", 100, 2, 5)


def test_the_batchings_of_published_programs_are_found_once_they_are_imported():
    code = """
from elman.data.batches import BATCHINGS, find_batching
from elman.errors import ConfigError
for name in ("reference-random", "shuffled"):
    try:
        find_batching(name)
    except ConfigError as error:
        print(error)
import elman.reproduce
print(find_batching("reference-random").__name__, len(BATCHINGS))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert out[0].endswith(
        "choose one of sequential, random; for the batchings of published programs, import elman.reproduce first"
    )
    assert out[1].endswith("choose one of sequential, random")
    assert out[2] == "ReferenceRandom 5"


def test_a_batching_of_ones_own_is_chosen_by_its_name():
    class Halves(Batching):
        name, fresh_state = "halves", True

        @staticmethod
        def rows(n, batch, window, rng):
            for i in range(2):
                yield Rows(np.array([i * n // 2]), np.array([(i + 1) * n // 2]), fresh=True)

    try:
        assert find_batching("halves") is Halves
        assert coverage("halves", 20, 1, 10, rng()).targets == 20
    finally:
        del BATCHINGS["halves"]


@given(sizes(), st.sampled_from(["sequential", "reference-sequential"]))
def test_the_places_where_streams_may_begin_hold_those_where_they_do(size, name):
    n, batch, window, seed = size
    n += -n % batch  # streams of one length
    kind = BATCHINGS[name]
    first = next(kind.rows(n, batch, window, rng(seed)))
    places = kind.starts(n, batch, window).reshape(batch, -1)
    for start, possible in zip(first.starts, places, strict=True):
        assert start in range(possible.min() - batch, possible.max() + 1)
    assert first.starts[0] in places[0]
