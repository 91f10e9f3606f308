"""The test of a difference: its quantiles against tables and formulas, its level for equal models, its power."""

import math
from itertools import pairwise

import numpy as np
import pytest

from elman.comparison.result import Comparison, ComparisonRow, Measured
from elman.data.tokens import LEVELS, TokenSequence
from elman.inference.blocks import BlockSums, block_count, even_edges, text_edges
from elman.inference.significance import ALPHAS, BlockCosts, against_total, differences, quantiles

BLOCKS = 16
TOKENS = 4096


# --- quantiles and p-values against tables and formulas


@pytest.mark.parametrize(
    ("models", "freedom", "five", "one"),
    [(2, 1, 17.97, 90.03), (2, 2, 6.085, 14.04), (3, 10, 3.877, 5.270), (5, 1, 37.08, 185.6), (5, 2, 10.88, 24.72),
     (5, 4, 6.287, 9.958), (10, 20, 5.008, 6.09), (5, math.inf, 3.858, 4.603)],
)  # fmt: skip
def test_quantiles_are_those_of_the_tables_of_the_studentised_range(models, freedom, five, one):
    found = quantiles(models, freedom)
    assert np.interp([0.05, 0.01], ALPHAS, found) == pytest.approx([five, one], rel=1e-3)


@pytest.mark.parametrize("costs", [[0.1, 0.5], [0.1, 0.5, 0.3], [1.0, 1.1, 0.9], [-0.2, 0.1, 0.3]])
def test_two_counted_models_are_a_paired_t_test(costs):
    """Of 1 and 2 degrees of freedom, whose distribution functions are elementary."""
    n = len(costs)
    (found,) = differences(BlockCosts("a", np.zeros((1, n)), False), [BlockCosts("b", np.array([costs]), False)])
    t = abs(np.mean(costs)) / (np.std(costs, ddof=1) / math.sqrt(n))
    expected = 1 - 2 / math.pi * math.atan(t) if n == 2 else 1 - t / math.sqrt(2 + t * t)
    assert found.p_value == pytest.approx(expected, rel=2e-3)
    critical = math.tan(0.475 * math.pi) if n == 2 else math.sqrt(2 * 0.95**2 / (1 - 0.95**2))
    half = critical * np.std(costs, ddof=1) * math.sqrt(n)
    assert (found.low, found.high) == pytest.approx((sum(costs) - half, sum(costs) + half), rel=2e-3, abs=1e-3 * half)


def test_seeds_alone_are_welch_s_test():
    """Blocks that do not differ: two seeds each, of variances 2 and 0 (1 degree of freedom), or 2 and 2 (2)."""
    one = np.array([[0.0], [2.0]]) / 4 + np.zeros((2, 4))
    same = np.full((2, 4), 0.25)
    for other, freedom in ((same, 1), (one, 2)):
        (found,) = differences(BlockCosts("a", one + 5, True), [BlockCosts("b", other, True)])
        se = math.sqrt(sum(x.sum(1).var(ddof=1) / 2 for x in (one, other)))
        t = abs(other.sum(1).mean() - (one + 5).sum(1).mean()) / se
        expected = 1 - 2 / math.pi * math.atan(t) if freedom == 1 else 1 - t / math.sqrt(2 + t * t)
        assert found.p_value == pytest.approx(expected, rel=2e-3)


def test_the_order_of_models_and_the_unit_do_not_matter():
    rng = np.random.default_rng(0)
    a, *others = (BlockCosts(str(i), rng.standard_normal((3, 8)) + i, True) for i in range(4))
    found = differences(a, others)
    assert [each.label for each in found] == ["1", "2", "3"]
    assert differences(a, others[::-1])[::-1] == found
    scaled = differences(a._replace(costs=7 * a.costs), [x._replace(costs=7 * x.costs) for x in others])
    assert [x.p_value for x in scaled] == pytest.approx([x.p_value for x in found])
    assert [x.low for x in scaled] == pytest.approx([7 * x.low for x in found])
    assert all((x.low > 0 or x.high < 0) == x.is_significant for x in found)


# --- equal models


def most(trials, level=0.05, beyond=1e-4):
    """The number of false claims that a test of this level exceeds with a probability of 1e-4 (binomial)."""
    tail, k, log = 1.0, -1, math.lgamma
    while tail > beyond:
        k += 1
        ways = log(trials + 1) - log(k + 1) - log(trials - k + 1)
        tail -= math.exp(ways + k * math.log(level) + (trials - k) * math.log1p(-level))
    return k


NOISE = [  # over seeds, of the text, of the text with another seed; correlation of neighbours; heavy tails
    (1.0, 0.05, 0.0, 0.0, False),
    (1.0, 1.0, 0.5, 0.5, False),
    (0.3, 1.0, 1.0, 0.5, True),
    (0.05, 1.0, 0.1, 0.7, True),
]
PIECES = 32
"""Of a block, so that the correlation is within it and into the next."""


def equal_models(rng, trials, models, seeds, noise, spreads=None):
    """Costs of blocks, (trials, M, S, Q): all models cost the same in the mean over texts and seeds.

    Args:
        rng: of the noise.
        trials: how many comparisons.
        models: M.
        seeds: S.
        noise: one of `NOISE`.
        spreads: factors of the spread over seeds, one a model.
    """
    over_seeds, of_text, both, rho, heavy = noise
    length = BLOCKS * PIECES

    def dependent(*shape):
        each = rng.standard_t(3, (*shape, length)) / math.sqrt(3) if heavy else rng.standard_normal((*shape, length))
        for t in range(1, length if rho else 0):
            each[..., t] = rho * each[..., t - 1] + math.sqrt(1 - rho**2) * each[..., t]
        return each.reshape(*shape, BLOCKS, PIECES).sum(-1) / PIECES**0.5

    seed = rng.standard_normal((trials, models, seeds, 1)) / BLOCKS**0.5
    seed = seed * np.array(spreads or [1.0] * models)[:, None, None]
    with_text = rng.standard_normal((trials, models, seeds, BLOCKS))
    return over_seeds * seed + of_text * dependent(trials, models, 1) + both * with_text


def claims(costs, counted=()):
    """Whether anything is said to be more than chance, of one comparison (M, S, Q)."""
    models = [BlockCosts(str(i), each[:1] if i in counted else each, i not in counted) for i, each in enumerate(costs)]
    best = min(models, key=lambda m: m.mean.sum())
    found = differences(best, [m for m in models if m is not best])
    return any(each.is_significant for each in found)


@pytest.mark.parametrize("models", [2, 4])
def test_equal_models_are_told_apart_in_at_most_five_percent_of_comparisons(models):
    total, trials = 0, 300
    for seeds in (2, 3, 5):
        told = 0
        for number, noise in enumerate(NOISE):
            rng = np.random.default_rng([models, seeds, number])
            found = sum(claims(each) for each in equal_models(rng, trials, models, seeds, noise))
            assert found <= most(trials), (seeds, noise)
            told += found
        assert told <= most(trials * len(NOISE)), seeds
        total += told
    assert total <= most(3 * trials * len(NOISE))


@pytest.mark.parametrize("common", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("models", [1, 3])
def test_a_rival_of_which_only_the_total_is_known_is_told_from_its_equals_in_at_most_five_percent(models, common):
    """Its blocks vary as those of the models, and are hidden from the test; a share of the variance is common."""
    for seeds in (2, 3):
        for number, noise in enumerate(NOISE):
            rng = np.random.default_rng([models, seeds, number])
            spreads = [0.0] + [1.0] * models  # the rival has no seeds
            drawn = equal_models(rng, 300, models + 1, seeds, noise, spreads)
            of_text = rng.standard_normal((300, 1, 1, BLOCKS)) * drawn[:, 1:].std()
            drawn = math.sqrt(1 - common) * drawn + math.sqrt(common) * of_text
            told = 0
            for rival, *others in drawn:
                costs = [BlockCosts(str(i), each, True) for i, each in enumerate(others)]
                told += any(each.is_significant for each in against_total(rival[0].sum(), costs))
            assert told <= most(300), (seeds, noise)


def test_a_model_that_is_far_from_a_total_is_told_from_it():
    rng = np.random.default_rng(0)
    costs = 1 + 0.1 * rng.standard_normal((3, BLOCKS))
    found = against_total(1.2 * BLOCKS, [BlockCosts("a", costs, True), BlockCosts("b", costs + 0.2, True)])
    assert [each.is_significant for each in found] == [True, False]
    assert found[0].difference == pytest.approx(costs.mean(0).sum() - 1.2 * BLOCKS)


@pytest.mark.parametrize(
    ("spreads", "counted"), [([1, 0.1], ()), ([1, 1, 0.1, 0.1], ()), ([1, 0, 0, 0.3], (1, 2)), ([0, 1], (0,))]
)
def test_the_level_holds_where_models_vary_unlike_and_for_counts(spreads, counted):
    for seeds in (2, 3):
        for number, noise in enumerate(NOISE[:2]):
            rng = np.random.default_rng([len(spreads), seeds, number])
            drawn = equal_models(rng, 300, len(spreads), seeds, noise, spreads)
            assert sum(claims(each, counted) for each in drawn) <= most(300), (seeds, noise)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_verdict_on_equal_models_claims_nothing_in_95_percent_of_comparisons(seeds):
    """Whatever a sentence claims: a winner, more than chance, better or worse than the n-gram."""
    rng = np.random.default_rng(seeds)
    drawn = 2000 + 20 * equal_models(rng, 200, 4, seeds, NOISE[1])
    claimed = 0
    for each in drawn:
        found = Comparison(source="text", level="char", clean="none", vocabulary=28, parts={})
        for i, costs in enumerate(each):
            measured = tuple(
                Measured(nats=blocks.sum(), tokens=TOKENS, characters=TOKENS, seed=s, blocks=tuple(blocks))
                for s, blocks in enumerate(costs)
            )
            found = found.with_entry(ComparisonRow(name=f"net{i}", kind="network", measured=measured))
        claimed += any(
            word in line for line in found.verdict for word in ("wins", "more than chance", "beats", "worse")
        )
    assert claimed <= most(200)


# --- different models


@pytest.mark.parametrize(
    ("seeds", "difference", "least"), [(2, 0.4, 0.95), (2, 0.2, 0.8), (3, 0.1, 0.95), (5, 0.07, 0.95)]
)
def test_a_clear_difference_from_an_n_gram_is_told(seeds, difference, least):
    """Spreads as measured on a book of 6,000 held-out characters: 0.01 nats a token over seeds, 0.015 over the text."""
    rng, found = np.random.default_rng(seeds), 0
    for _ in range(200):
        text = 0.015 * math.sqrt(BLOCKS) * rng.standard_normal(BLOCKS)
        gru = 2 + text + 0.01 * rng.standard_normal((seeds, 1))
        ngram = np.full((1, BLOCKS), 2 + difference)
        (each,) = differences(BlockCosts("gru", gru, True), [BlockCosts("4-gram", ngram, False)])
        found += each.is_significant and each.difference > 0
    assert found >= least * 200


def test_the_winner_of_four_is_told_though_two_of_the_others_are_alike():
    rng, found = np.random.default_rng(0), 0
    for _ in range(200):
        costs = [mean + 0.01 * rng.standard_normal((3, 1)) + 0.02 * rng.standard_normal((1, BLOCKS))
                 for mean in (1.0, 1.15, 1.4, 1.4)]  # fmt: skip
        best, *others = (BlockCosts(str(i), each, True) for i, each in enumerate(costs))
        found += all(each.is_significant for each in differences(best, others))
    assert found >= 0.9 * 200


# --- blocks of a text


TEXT = "Some text, häßlich or «не», with spaces\nand lines. " * 60


@pytest.mark.parametrize("level", LEVELS)
def test_blocks_of_every_level_have_their_edges_at_the_same_places(level):
    """The text before each edge, by a tokeniser of its own, ends within one token of that share of the characters."""
    edges, n = text_edges(TEXT, level, 8), len(TEXT)
    tokens = TokenSequence.read([TEXT], level).tokens()
    assert edges[-1] == len(tokens)
    for k, edge in enumerate(edges.tolist()):
        if level == "byte":
            place = len(TEXT.encode()[:edge].decode(errors="ignore"))
        else:
            place, at = 0, 0
            for token in tokens[:edge]:
                at = TEXT.index(token, at) + len(token)
                place = at
        assert abs(place - k * n / 8) <= (1 if level != "word" else 10)


@pytest.mark.parametrize("reverse", [False, True])
def test_block_sums_are_those_of_the_tokens_in_any_order(reverse):
    rng = np.random.default_rng(0)
    nats = rng.exponential(size=1001)
    edges = even_edges(1001, block_count(1001))
    sums, order = BlockSums(edges, reverse=reverse), rng.permutation(1001)
    for part in np.array_split(order, 7):
        sums.add(part, (nats[::-1] if reverse else nats)[part])
    assert sums.sums == pytest.approx([nats[a:b].sum() for a, b in pairwise(edges)])
