"""The chances that stand behind the verdict of a run: a test over blocks of the held-out text."""

import math

import numpy as np
import pytest
from command import ENGLISH

import elman
from elman.inference.blocks import BlockSums
from elman.inference.evaluation import part_of
from elman.training.report import baselines, blocks_of, chances


@pytest.fixture(scope="module")
def counted():
    vocab = elman.Vocab.chars(ENGLISH)
    ids = vocab.encode(ENGLISH)
    task = elman.TextTask(vocab)
    counts = np.bincount(ids[:4000], minlength=len(vocab))
    return elman.NGram.fit(task, ids[:4000], order=2), counts, ids


def test_the_blocks_of_bounds_add_up_to_their_perplexities(counted):
    ngram, counts, ids = counted
    text = ids[4000:5200]
    part = part_of(ngram, text)
    blocks = blocks_of(part, ngram)
    score = elman.evaluate(ngram, part, collect=blocks.collect)
    assert blocks.sums.sum() == pytest.approx(score.nats)
    found = baselines(counts, text, ngram)
    assert found["uniform"] == pytest.approx(len(counts))
    assert found[ngram.name] == pytest.approx(score.perplexity)
    expected = -np.log((counts[text] + 1) / (counts.sum() + len(counts))).mean()
    assert found["unigram"] == pytest.approx(math.exp(expected))


def test_a_model_is_told_from_bounds_that_are_far_and_not_from_itself(counted):
    ngram, counts, ids = counted
    part = part_of(ngram, ids[4000:5200])
    blocks = blocks_of(part, ngram)
    elman.evaluate(ngram, part, collect=blocks.collect)
    found = chances(blocks, counts, part.ids, ngram)
    assert found["uniform"] < 0.001
    assert found["unigram"] < 0.05
    assert found[ngram.name] == 1.0


def test_a_short_text_is_tested_by_short_blocks_and_a_very_short_one_is_not(counted):
    ngram, counts, ids = counted
    part = part_of(ngram, ids[4000:4120])
    assert len(blocks_of(part, ngram).sums) == 7
    part = part_of(ngram, ids[4000:4063])
    assert set(chances(blocks_of(part, ngram), counts, part.ids, ngram).values()) == {None}
    assert len(BlockSums(np.array([0])).sums) == 0
