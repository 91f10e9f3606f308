"""Counts of n-grams equal those of a Counter over slices."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import elman.models.ngram.counts
from elman.errors import ConfigError, DataError
from elman.models.ngram.counts import UNREAD, Counts, validated_counts

TEXTS = st.integers(1, 6).flatmap(
    lambda size: st.tuples(st.just(size), st.lists(st.integers(0, size - 1), min_size=4, max_size=60))
)


def by_slices(ids, n):
    """n-gram -> times; token 0 stands before the text, and is itself no target."""
    text = (0, *ids)
    return Counter(tuple(text[i : i + n]) for i in range(n == 1, len(text) - n + 1))


@pytest.fixture(params=["bits", "sorted"])
def way(request, monkeypatch):
    if request.param == "sorted":
        monkeypatch.setattr(elman.models.ngram.counts, "BITS", 0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("size", "length"), [(1, 9), (2, 70), (7, 400), (300, 500)])
def test_counts_equal_those_of_a_counter(size, length, seed):
    ids = np.random.default_rng(seed).integers(0, size, length).astype(np.uint16)
    counts = Counts.of(ids, size, 4)
    for n in (1, 2, 3, 4):
        expected = by_slices(ids.tolist(), n)
        found = dict(zip(map(tuple, counts.grams(n).tolist()), counts.times[n - 1].tolist(), strict=True))
        assert {gram: times for gram, times in found.items() if times} == expected
        assert n == 1 or min(found.values()) > 0
        assert list(found) == sorted(found)


@given(TEXTS)
def test_suffixes_children_and_places(text):
    size, ids = text
    counts = Counts.of(np.array(ids, np.uint8), size, 4)
    for n in (2, 3, 4):
        grams, shorter = counts.grams(n), counts.grams(n - 1)
        assert np.array_equal(shorter[counts.suffixes[n - 1]], grams[:, 1:])
        edges = counts.first_children[n - 1]
        for context in range(len(shorter)):
            assert (grams[edges[context] : edges[context + 1], :-1] == shorter[context]).all()
        assert edges[-1] == len(grams)


@given(TEXTS, st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_contexts_are_the_n_grams_that_end_there(text, read):
    size, ids = text
    read = [-1, -1, *(token % size for token in read)]
    counts = Counts.of(np.array(ids, np.uint8), size, 4)
    found = counts.contexts(np.array([read]))
    for n in (1, 2, 3):
        known = list(map(tuple, counts.grams(n).tolist()))
        for end in range(2, len(read)):
            gram = tuple(read[end - n + 1 : end + 1])
            at = found[n][0, end]
            if min(gram) < 0:
                assert at == UNREAD
            else:
                assert at == (known.index(gram) if gram in known else -1)


def test_upto_is_what_counting_less_gives():
    ids = np.random.default_rng(0).integers(0, 5, 200).astype(np.uint8)
    for mine, other in zip(
        vars(Counts.of(ids, 5, 6).upto(3)).values(), vars(Counts.of(ids, 5, 3)).values(), strict=True
    ):
        assert mine == other if isinstance(mine, int) else all(map(np.array_equal, mine, other))


def test_the_memory_of_an_order_is_estimated_first(monkeypatch):
    monkeypatch.setattr(elman.models.ngram.counts, "memory", lambda: 10_000)
    ids = np.zeros(5000, np.uint8)
    Counts.of(ids, 1, 3)  # one n-gram a length, however long the text
    with pytest.raises(ConfigError, match=r"n-grams of up to 3 of 5,000 tokens may take .* lower the order"):
        Counts.of(ids, 300, 3)


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ConfigError, match="order is 0"):
        Counts.of(np.zeros(9, np.uint8), 1, 0)
    with pytest.raises(DataError, match="a text of 3 tokens has no n-gram of 4"):
        Counts.of(np.zeros(3, np.uint8), 1, 4)


GOOD = Counts.of(np.array([1, 2, 1, 2, 0, 1, 1], np.uint8), 3, 3)


def test_good_counts_pass_the_check():
    again = validated_counts(3, GOOD.keys, GOOD.times)
    assert all(map(np.array_equal, again.suffixes, GOOD.suffixes))


@pytest.mark.parametrize(
    "forge",
    [
        lambda k, t: ([k[0][:-1], *k[1:]], t),
        lambda k, t: ([k[0], k[1][::-1], k[2]], t),
        lambda k, t: ([k[0], k[1] + 9, k[2]], t),
        lambda k, t: ([k[0], k[1] - 1, k[2]], t),
        lambda k, t: (k, [t[0], t[1][1:], t[2]]),
        lambda k, t: (k, [t[0], t[1] * 0, t[2]]),
        lambda k, t: (k, [t[0] - 9, *t[1:]]),
        lambda k, t: ([*k[:2], k[2][:0]], [*t[:2], t[2][:0]]),
        lambda k, t: ([k[0], k[1][:-1], k[2]], [t[0], t[1][:-1], t[2]]),
        lambda k, t: ([k[0], np.array([0]), np.array([1])], [t[0], np.array([1]), np.array([1])]),
    ],
)
def test_forged_counts_are_refused(forge):
    with pytest.raises(ValueError, match=r"tokens|counts|order|end"):
        validated_counts(3, *forge(list(GOOD.keys), list(GOOD.times)))
