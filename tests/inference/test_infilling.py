"""Infilling against enumeration: every fill scored by `surprisals`, which shares no code with the search."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import elman
from elman.errors import ConfigError, DataError
from elman.inference.infilling import RESCORED, infill

LETTERS = "abc"
VOCAB = elman.Vocab.chars(LETTERS)
TEXT = "abcabacabbcabcacbabc" * 3


def network(reverse: bool, seed: int = 0) -> elman.Recurrent:
    task = elman.TextTask(VOCAB, reverse=reverse)
    model = elman.Recurrent(task, cell="gru", hidden=6, seed=seed).double()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3)  # so that fills differ clearly
    return model


def counted(reverse: bool) -> elman.NGram:
    task = elman.TextTask(VOCAB, reverse=reverse)
    return elman.NGram.fit(task, task.reading_order(VOCAB.encode(TEXT)).copy(), order=3)


PAIRS = {"networks": (network(False), network(True, 1)), "n-grams": (counted(False), counted(True))}


def by_definition(model, left, fill, right):
    """log P of the fill and of at most 32 tokens beyond it, given what stands on the model's side."""
    reverse = model.task.reverse
    read, beyond = (right, left[-RESCORED:]) if reverse else (left, right[:RESCORED])
    text = (beyond + fill + read)[::-1] if reverse else read + fill + beyond
    return -elman.surprisals(model, VOCAB.encode(text))[len(read) :].sum()


def every_fill(models, left, right, length):
    """All fills and their scores, the best first."""
    scored = []
    for letters in product(LETTERS, repeat=length):
        each = [by_definition(m, left, "".join(letters), right) for m in models]
        scored.append(("".join(letters), np.mean(each), *each))
    return sorted(scored, key=lambda row: -row[1])


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("ways", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize(("left", "right", "length"), [("abca", "bacb", 3), ("", "ab", 2), ("ab", "", 2), ("", "", 1)])
def test_where_all_fills_are_scored_they_are_those_of_enumeration(pair, ways, left, right, length):
    models = [m if i in ways else None for i, m in enumerate(PAIRS[pair])]
    found = infill(*models, left, right, length, beam=3**length)
    expected = every_fill([m for m in models if m], left, right, length)
    assert len(found) == 3**length
    assert [f.log_probability for f in found] == pytest.approx([row[1] for row in expected], abs=1e-5)
    scores = {row[0]: row[1:] for row in expected}
    for f in found:
        given_by = [x for x in (f.forward, f.backward) if x is not None]
        assert [f.log_probability, *given_by] == pytest.approx(scores[f.text], abs=1e-5)
        assert VOCAB.encode(f.text).tolist() == f.tokens.tolist()
        assert (f.forward is None, f.backward is None) == (0 not in ways, 1 not in ways)


@settings(max_examples=25)
@given(
    left=st.text(LETTERS, max_size=6),
    right=st.text(LETTERS, max_size=6),
    length=st.integers(1, 3),
    beam=st.integers(1, 40),
    pair=st.sampled_from(sorted(PAIRS)),
)
def test_a_beam_finds_different_fills_in_order_and_the_best_if_it_is_wide(left, right, length, beam, pair):
    models = PAIRS[pair]
    found = infill(*models, left, right, length, beam=beam)
    expected = every_fill(models, left, right, length)
    assert 1 <= len(found) <= beam
    assert len({f.text for f in found}) == len(found)
    scores = {row[0]: row[1] for row in expected}
    assert [f.log_probability for f in found] == pytest.approx([scores[f.text] for f in found], abs=1e-5)
    assert all(a.log_probability >= b.log_probability for a, b in pairwise(found))
    if beam >= 3**length:
        assert found[0].log_probability == pytest.approx(expected[0][1], abs=1e-5)


def two_ngrams(text: str) -> list[elman.NGram]:
    vocab = elman.Vocab.chars(text)
    tasks = [elman.TextTask(vocab, reverse=reverse) for reverse in (False, True)]
    return [elman.NGram.fit(t, t.reading_order(vocab.encode(text)).copy(), order=2) for t in tasks]


def test_the_two_beams_meet_inside_the_gap():
    """With a beam of one: bb from the left and cc from the right; their halves together are what fits."""
    models = two_ngrams("abbbabbb" * 20 + "cccdcccd" * 20 + "abcd" * 12)
    found = infill(*models, "a", "d", 2, beam=1)
    assert [f.text for f in found] == ["bc"]
    assert infill(models[0], None, "a", "d", 2, beam=1)[0].text == "bb"
    assert infill(None, models[1], "a", "d", 2, beam=1)[0].text == "cc"


def test_both_sides_find_what_neither_end_begins_with():
    """After a comes mostly b, before d mostly c; that "xy" stands between a and d, only both ends together tell."""
    models = two_ngrams("abbbabbb" * 20 + "cccdcccd" * 20 + "axyd" * 12)
    assert infill(models[0], None, "a", "", 2)[0].text == "bb"
    assert infill(None, models[1], "", "d", 2)[0].text == "cc"
    assert infill(*models, "a", "d", 2)[0].text == "xy"


def test_the_unknown_token_fills_no_gap():
    model = network(False)
    with torch.no_grad():
        model.b_q[0] = 50.0
    assert all(0 not in f.tokens for f in infill(model, None, "ab", "c", 3))


def test_what_is_far_beyond_the_gap_is_not_scored():
    forward, _ = PAIRS["networks"]
    near = "abcab" * 7
    scores = [[f.forward for f in infill(forward, None, "ab", near[:RESCORED] + far, 2)] for far in ("", "aaaa", "cb")]
    assert scores[0] == scores[1] == scores[2]


def test_a_gap_of_words_is_written_as_words_are():
    text = "the cat sat on the mat . the dog sat on the rug . " * 4
    vocab = elman.Vocab.words(text)
    tasks = [elman.TextTask(vocab, reverse=reverse) for reverse in (False, True)]
    models = [elman.NGram.fit(t, t.reading_order(vocab.encode(text)).copy(), order=3) for t in tasks]
    best = infill(*models, "the cat", "the mat .", 2)[0]
    assert best.text.split() == ["sat", "on"]
    assert vocab.to_tokens(best.tokens.tolist()) == ["sat", "on"]


@pytest.mark.parametrize(
    ("models", "arguments", "error", "words"),
    [
        ((None, None), ("a", "b", 1), ConfigError, "give forward, backward or both"),
        ((counted(True), None), ("a", "b", 1), ConfigError, "exchange them"),
        ((None, counted(False)), ("a", "b", 1), ConfigError, "exchange them"),
        (PAIRS["n-grams"], ("a", "b", 0), ConfigError, "must be at least 1"),
        (PAIRS["n-grams"], ("a", "xb", 1), DataError, "the text around the gap has a symbol that is not"),
    ],
)
def test_what_cannot_be_filled_is_refused(models, arguments, error, words):
    with pytest.raises(error, match=words):
        infill(*models, *arguments)


def test_two_vocabularies_are_refused():
    other = elman.TextTask(elman.Vocab.chars("abcd"), reverse=True)
    backward = elman.NGram.fit(other, other.vocab.encode("abcdabcd"), order=2)
    with pytest.raises(ConfigError, match=r"different vocabularies \(4 and 5 tokens\)"):
        infill(counted(False), backward, "a", "b", 1)
