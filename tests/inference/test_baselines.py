"""The bounds beside every figure, against enumeration."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data.batches import token_counts
from elman.data.corpus import read_corpus
from elman.data.sources.time_machine import FILE, data_home
from elman.inference import baselines as bounds

texts = st.lists(st.integers(0, 3), min_size=1, max_size=60)


@given(texts, texts)
def test_unigram_nats_by_enumeration(train, ids):
    counts = token_counts(np.array(train, np.uint8), 4)
    assert counts.tolist() == [train.count(x) for x in range(4)]
    expected = -math.fsum(math.log((train.count(x) + 1) / (len(train) + 4)) for x in ids)
    assert bounds.unigram_nats(counts, np.array(ids, np.uint8)) == pytest.approx(expected, rel=1e-12)


def test_the_unigram_s_probabilities_sum_to_one():
    counts = token_counts(np.array([0, 0, 2], np.uint8), 5)
    each = [math.exp(-bounds.unigram_nats(counts, np.array([x], np.uint8))) for x in range(5)]
    assert sum(each) == pytest.approx(1)
    assert each == pytest.approx([3 / 8, 1 / 8, 2 / 8, 1 / 8, 1 / 8])


def floor_by_dictionary(ids: list[int], length: int) -> float:
    """exp of the mean cost a token, each window's own probability counted in a dictionary of all windows."""
    length = min(length, len(ids) - 1)
    places = range(len(ids) - length)
    windows = Counter(tuple(ids[p : p + length + 1]) for p in places)
    starts = Counter(ids[p] for p in places)
    nats = sum(-math.log(windows[tuple(ids[p : p + length + 1])] / starts[ids[p]]) for p in places)
    return math.exp(nats / len(places) / length)


@given(st.lists(st.integers(0, 2), min_size=2, max_size=60), st.integers(1, 20))
def test_the_information_floor_by_dictionary(ids, length):
    assert bounds.perplexity_lower_bound(np.array(ids, np.uint8), length) == pytest.approx(
        floor_by_dictionary(ids, length), rel=1e-9
    )


@pytest.mark.parametrize("length", [1, 2, 3, 7, 35, 64, 100])
def test_the_information_floor_of_a_longer_text(length):
    ids = np.random.default_rng(0).integers(0, 5, 2000).astype(np.uint8)
    ids[1000:1200] = ids[:200]  # something that is repeated
    expected = floor_by_dictionary(ids.tolist(), length)
    assert bounds.perplexity_lower_bound(ids, length) == pytest.approx(expected, rel=1e-9)


def test_floors_that_are_known():
    assert bounds.perplexity_lower_bound(np.zeros(50, np.uint8), 10) == 1.0  # nothing to tell apart
    assert bounds.perplexity_lower_bound(np.arange(50, dtype=np.uint8), 10) == 1.0  # the first token says where
    assert bounds.perplexity_lower_bound(np.array([1], np.uint8), 10) == 1.0


def test_the_floor_of_the_published_experiment():
    """Random windows of 35 of the first 10,000 letters of the book cannot print less than about 1.2."""
    if not (data_home() / FILE).exists():
        pytest.skip(f"needs the book, {FILE}, in the data home: set ELMAN_DATA_HOME to its folder")
    corpus = read_corpus(("time-machine",), normalize="letters", limit=10_000, held_out=0)
    assert 1.199 <= round(bounds.perplexity_lower_bound(corpus.train.ids, 35), 3) <= 1.200
    assert 1.014 <= bounds.perplexity_lower_bound(corpus.train.ids, 280) <= 1.023


def test_the_floor_of_streams_knows_where_they_begin():
    """Four streams that begin with four different letters have nothing to find out; alike, they cost log 4."""
    ids = np.array([1, 5, 6, 7, 2, 6, 7, 5, 3, 7, 5, 6, 4, 5, 7, 6], np.uint8)
    assert bounds.perplexity_lower_bound(ids, 3, np.array([0, 4, 8, 12])) == 1.0
    ids[[0, 4, 8, 12]] = 1
    assert bounds.perplexity_lower_bound(ids, 3, np.array([0, 4, 8, 12])) == pytest.approx(math.exp(math.log(4) / 3))
