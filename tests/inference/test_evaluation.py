"""Scores against sums in plain Python floats, token by token; the two protocols; bits of the text as it was read."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import V, task, tiny, tokens
from hypothesis import given
from hypothesis import strategies as st

import elman
from elman.data.corpus import Split
from elman.errors import ConfigError, DataError
from elman.inference.evaluation import AT_REST, WARM, score_batches, surprisals
from elman.inference.metrics import perplexity

MODELS = {
    "gru": lambda: tiny().double(),
    "lstm-2": lambda: tiny(cell="lstm", layers=2, learn_initial_state=True).double(),
    "tied": lambda: tiny(embedding=5, tied=True).double(),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def by_hand(model: elman.Recurrent, ids: np.ndarray, window: int | None = None) -> list[float]:
    """-log P(token | tokens before it), each by the model's single step and a softmax in Python floats."""
    found = []
    with torch.inference_mode():
        step, state, before = model.stepper(), model.initial(1), 0
        for n, token in enumerate(ids.tolist()):
            if window and n % window == 0:
                state = model.initial(1)
            logits, state = step(torch.tensor([before]), state)
            scores = logits[0].tolist()
            top = max(scores)
            found.append(top + math.log(sum(math.exp(s - top) for s in scores)) - scores[token])
            before = token
    return found


@pytest.mark.parametrize("n", [1, 2, 130, 300])
def test_carried_equals_the_sum_by_hand(model, n):
    ids = tokens(n)
    expected = by_hand(model, ids)
    score = elman.evaluate(model, ids)
    assert score.nats == pytest.approx(sum(expected), rel=1e-12)
    assert score.perplexity == pytest.approx(math.exp(sum(expected) / n), rel=1e-12)
    assert surprisals(model, ids) == pytest.approx(expected, rel=1e-10)
    assert (score.protocol, score.tokens, score.streams, score.window) == ("carried", n, 1, None)
    each = np.zeros(n)
    assert elman.evaluate(model, ids, per_token=each) == score
    assert each == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("n", "window"), [(1, 5), (30, 5), (31, 5), (34, 5), (400, 3), (50, 64), (20, 1)])
def test_reset_equals_windows_scored_apart(model, n, window):
    ids = tokens(n)
    score = elman.evaluate(model, ids, protocol="reset", window=window)
    assert score.nats == pytest.approx(sum(by_hand(model, ids, window)), rel=1e-12)
    assert (score.protocol, score.tokens, score.window) == ("reset", n, window)
    assert score.streams == math.ceil(n / window)
    each = surprisals(model, ids, protocol="reset", window=window)
    assert each == pytest.approx(by_hand(model, ids, window), rel=1e-10)


@given(st.integers(1, 400), st.integers(1, 30), st.sampled_from(AT_REST), st.integers(1, 40))
def test_every_token_is_counted_once(n, streams, protocol, window):
    ids, seen = tokens(n), np.zeros(n, int)
    for rows, _, _, cost in score_batches(COUNTED, ids, protocol, window, min(streams, n)):
        for start, stop, row in zip(rows.starts, rows.stops, cost, strict=True):
            seen[start:stop] += 1
            assert (row[: stop - start] > 0).all()
            assert not row[stop - start :].any()
    assert (seen == 1).all()


COUNTED = elman.Recurrent(task(), hidden=2)


def test_several_streams_are_warmed_and_come_close_to_one(model):
    ids = tokens(1000)
    one = surprisals(model, ids)
    for streams in (2, 5):
        several = surprisals(model, ids, streams=streams)
        edges = np.arange(streams + 1) * 1000 // streams
        assert several[: edges[1]] == pytest.approx(one[: edges[1]], rel=1e-9)  # the first begins like the text
        for start in edges[1:-1]:  # the others after reading the 128 tokens before them
            expected = by_hand(model, ids[start - WARM : start + 3])
            warmed = self_warmed(model, ids, start)
            assert several[start] == pytest.approx(warmed, rel=1e-9)
            assert several[start] != pytest.approx(expected[0], rel=1e-3)
        score = elman.evaluate(model, ids, streams=streams)
        assert score.streams == streams
        assert score.nats == pytest.approx(several.sum(), rel=1e-12)
        assert score.perplexity == pytest.approx(math.exp(one.mean()), rel=1e-3)


def self_warmed(model: elman.Recurrent, ids: np.ndarray, start: int) -> float:
    """The cost of token `start` to a model that begins 128 tokens earlier, having the token before as input."""
    with torch.inference_mode():
        step, state = model.stepper(), model.initial(1)
        for at in range(start - WARM - 1, start):
            logits, state = step(torch.tensor([int(ids[at])]), state)
        return float(-torch.log_softmax(logits[0], -1)[int(ids[start])])


@pytest.mark.parametrize("n", [64, 200, 700])
@pytest.mark.parametrize("kind", ["gru", "4-gram", "mixture"])
def test_every_stream_is_warmed_on_its_own_tokens(kind, n):
    """Streams whose beginnings lie within 128 tokens read from the beginning of the text, and so cost what one costs.

    Of the others each is a text of its own that begins 128 tokens earlier.
    """
    ngram = elman.NGram.fit(task(), tokens(900, seed=3, size=4), order=4)
    gru = tiny(cell="gru").double()
    reader = {"gru": gru, "4-gram": ngram, "mixture": elman.Mixture([gru, ngram])}[kind]
    ids = tokens(n, seed=4, size=4)
    one, several = surprisals(reader, ids), surprisals(reader, ids, streams=64)
    edges = np.arange(65) * n // 64
    for start, stop in pairwise(edges):
        if start <= WARM:
            assert several[start:stop] == pytest.approx(one[start:stop], rel=1e-9)
        elif start % 3 == 0:
            alone = read_after(reader, int(ids[start - WARM - 1]), ids[start - WARM : stop])
            assert several[start:stop] == pytest.approx(alone[WARM:], rel=1e-9)


def read_after(reader: elman.SequenceModel, token: int, ids: np.ndarray) -> np.ndarray:
    """The cost of each token to a model that begins before the first and is given the token before it."""
    step, state, costs = reader.stepper(), reader.initial(1), []
    for previous, target in zip([token, *ids[:-1].tolist()], ids.tolist(), strict=True):
        logits, state = step(torch.tensor([previous]), state)
        costs.append(-float(torch.log_softmax(logits[0].double(), -1)[target]))
    return np.array(costs)


def test_no_streams_are_refused():
    for score in (elman.evaluate, surprisals):
        with pytest.raises(ConfigError, match="streams is 0: it must be at least 1"):
            score(tiny(), tokens(9), streams=0)


def test_a_long_text_is_cut_into_streams_unless_told_otherwise(monkeypatch):
    assert elman.inference.evaluation.LONGEST == 20_000
    monkeypatch.setattr("elman.inference.evaluation.LONGEST", 200)
    model = elman.Recurrent(task(), hidden=2)
    assert elman.evaluate(model, tokens(399)).streams == 1
    assert elman.evaluate(model, tokens(400)).streams == 2
    assert elman.evaluate(model, tokens(400), streams=7).streams == 7


def test_the_cost_does_not_depend_on_how_much_is_computed_at_a_time(model, monkeypatch):
    ids = tokens(300)
    whole = surprisals(model, ids)
    monkeypatch.setattr("elman.inference.evaluation.LOGITS_AT_ONCE", 7 * V)
    assert surprisals(model, ids) == pytest.approx(whole, rel=1e-12)


def test_a_model_that_knows_nothing_guesses_among_all_symbols():
    model = elman.Recurrent(task(), seed=None)
    for protocol in AT_REST:
        assert elman.evaluate(model, tokens(100), protocol=protocol).perplexity == pytest.approx(V, rel=1e-6)


def test_perplexity_is_one_when_certain_and_infinite_when_a_float_is_too_small():
    assert perplexity(0.0, 10) == 1.0
    assert perplexity(10 * math.log(28), 10) == pytest.approx(28)
    assert perplexity(1e6, 10) == math.inf


def test_scoring_changes_neither_weights_nor_gradients(model):
    before = [p.clone() for p in model.parameters()]
    elman.evaluate(model, tokens(50))
    torch.testing.assert_close(list(model.parameters()), before, rtol=0, atol=0)
    assert all(p.grad is None for p in model.parameters())


# --- bits of the text as it was read

MIXED = "東京 naïve 🙂 é\n"


def test_bits_per_character_and_byte_of_many_scripts():
    vocab = elman.Vocab.chars(MIXED)
    score = elman.evaluate(elman.Recurrent(elman.TextTask(vocab), seed=None), MIXED)
    bits = len(MIXED) * math.log2(len(vocab))
    assert (score.tokens, score.characters, score.bytes) == (len(MIXED), len(MIXED), len(MIXED.encode()))
    assert score.bits_per_character == pytest.approx(bits / len(MIXED), rel=1e-6)
    assert score.bits_per_byte == pytest.approx(bits / len(MIXED.encode()), rel=1e-6)


def test_bits_of_bytes_count_the_characters():
    score = elman.evaluate(elman.Recurrent(elman.TextTask(elman.Vocab.bytes()), seed=None), MIXED)
    size = len(MIXED.encode())
    assert (score.tokens, score.characters, score.bytes) == (size, len(MIXED), size)
    assert score.bits_per_byte == pytest.approx(8, rel=1e-6)
    assert score.bits_per_character == pytest.approx(8 * size / len(MIXED), rel=1e-6)


def test_bits_of_words_count_the_spaces_between():
    text = "one , two , three"
    score = elman.evaluate(elman.Recurrent(elman.TextTask(elman.Vocab.words(text)), seed=None), text)
    assert (score.tokens, score.characters, score.bytes) == (5, len(text), len(text))


def test_a_string_is_cleaned_as_the_training_text_was():
    vocab = elman.Vocab.chars("abc ")
    model = elman.Recurrent(elman.TextTask(vocab, "letters"), hidden=3)
    assert elman.evaluate(model, "A, B; c") == elman.evaluate(model, "a b c")
    plain = elman.Recurrent(elman.TextTask(vocab), hidden=3)
    assert elman.evaluate(plain, "A, B; c").unknown == 4


def test_unknown_symbols_are_scored_and_counted():
    model = tiny()
    score = elman.evaluate(model, "abzzc!")
    assert (score.tokens, score.unknown) == (6, 3)
    assert score.nats == pytest.approx(sum(by_hand(model.double(), np.array([1, 2, 0, 0, 3, 0]))), rel=1e-5)


def test_a_part_keeps_its_own_counts():
    score = elman.evaluate(tiny(), Split("held-out", tokens(10), 20, 30, 2))
    assert (score.characters, score.bytes, score.unknown) == (20, 30, 2)


def test_ids_are_scored_as_the_text_that_they_stand_for():
    model = tiny()
    assert elman.evaluate(model, np.array([1, 2, 3], np.uint8)) == elman.evaluate(model, "abc")


# --- refusals


def test_what_cannot_be_scored_is_refused():
    model = tiny()
    for nothing in ("", np.array([], np.uint8)):
        with pytest.raises(DataError, match="no tokens"):
            elman.evaluate(model, nothing)
    with pytest.raises(ConfigError, match="no protocol 'warm': choose one of carried, reset or dynamic"):
        elman.evaluate(model, "abc", protocol="warm")
    with pytest.raises(ConfigError, match="window is 0: it must be at least 1"):
        elman.evaluate(model, "abc", protocol="reset", window=0)


def test_more_streams_than_tokens_still_count_every_token_once():
    assert elman.evaluate(tiny(), "abc", streams=10).tokens == 3
    assert np.count_nonzero(surprisals(tiny(), tokens(3), streams=10)) == 3


def test_more_streams_than_tokens_take_no_more_memory():
    score = elman.evaluate(tiny(), "abc", streams=10**12)
    assert (score.tokens, score.streams) == (3, 3)
    assert len(surprisals(tiny(), tiny().task.vocab.encode("abc"), streams=10**12)) == 3


def test_scores_of_bytes_count_bytes_that_are_no_text():
    """Bytes that are not UTF-8 still count one each, and no characters make no division by zero."""
    task = elman.TextTask(elman.Vocab.bytes())
    net = elman.Recurrent(task, hidden=4)
    score = elman.evaluate(net, np.full(50, 0x80, np.uint8))
    assert score.bytes == 50
    assert math.isnan(replace(score, characters=0).bits_per_character)


# --- the most probable token


@pytest.mark.parametrize("n", [1, 40, 300])
def test_hits_are_what_arg_max_predicts(model, n):
    ids = tokens(n)
    expected, state, before = [], model.initial(1), 0
    with torch.inference_mode():
        step = model.stepper()
        for token in ids.tolist():
            logits, state = step(torch.tensor([before]), state)
            scores = logits[0].tolist()
            expected.append(scores.index(max(scores)) == token)
            before = token
    hits = np.ones(n, np.bool_)
    score = elman.evaluate(model, ids, hits=hits)
    assert hits.tolist() == expected
    assert score == elman.evaluate(model, ids)


def test_hits_of_several_streams_and_of_windows_stand_where_their_tokens_do():
    ids = tokens(500, size=4)
    n = len(ids)
    for how in ({"streams": 3}, {"protocol": "reset", "window": 7}):
        hits, nats = np.zeros(n, np.bool_), np.zeros(n)
        elman.evaluate(COUNTED, ids, hits=hits, per_token=nats, **how)
        assert 0 < hits.sum() < n
        assert (nats[hits] < math.log(V)).all()  # the most probable of V tokens has at least 1/V
        assert hits[nats < math.log(2)].all()  # more than half is the most probable one


def test_costs_are_in_float64_on_a_device_that_has_none(monkeypatch):
    """Metal has no float64: what is added up there has to be moved first."""
    logits, targets, moved = torch.randn(2, 3, V), torch.tensor([[1, 2, -1], [0, 3, 4]]), []
    expected = elman.TextTask.surprisals(logits, targets)
    double, cpu = torch.Tensor.double, torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "device", property(lambda _: torch.device("mps")))
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: (moved.append(True), cpu(self))[1])
    monkeypatch.setattr(torch.Tensor, "double", lambda self: double(self) if moved else pytest.fail("no float64 there"))
    found = elman.TextTask.surprisals(logits, targets)
    monkeypatch.undo()
    assert torch.equal(found, expected)


def numbered_alike(folder, *, reverse: bool = False) -> list[elman.Corpus]:
    """Two texts with as many symbols each, whose frequencies order them differently."""
    for name, text in {"a": "aaaaabbbbcccdd", "b": "ddddccccbbbaa"}.items():
        (folder / name).write_text(text * 9)
    return [elman.read_corpus([str(folder / name)], tokens="char", reverse=reverse) for name in "ab"]


def test_a_part_numbered_by_another_vocabulary_is_refused(tmp_path):
    own, other = numbered_alike(tmp_path)
    model = elman.Recurrent(elman.TextTask.of(own), hidden=3)
    assert len(own.vocab) == len(other.vocab)  # so that no id is out of range
    assert elman.evaluate(model, own.train).tokens == len(own.train.ids)
    # After more symbols the same ids are the same tokens.
    longer = elman.Recurrent(elman.TextTask(elman.Vocab.chars("aaaaabbbbcccdde")), hidden=3)
    assert elman.evaluate(longer, own.train.first(9, own.vocab)).tokens == 9
    for part in (other.train, other.train.first(9, other.vocab), other.held_out):
        with pytest.raises(DataError, match=r"has ids of another vocabulary .*: give the text itself, or its ids"):
            elman.evaluate(model, part)
        with pytest.raises(DataError, match="has ids of another vocabulary"):
            elman.train(model, part, batch=1, window=2)
    with pytest.raises(DataError, match="'held-out' has ids of another vocabulary"):
        elman.train(model, own.train, other.held_out, batch=1, window=2)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_part_in_the_other_order_is_refused(tmp_path, reverse):
    own, _ = numbered_alike(tmp_path, reverse=reverse)
    model = elman.Recurrent(elman.TextTask.of(own), hidden=3)
    elman.evaluate(model, own.train)
    with pytest.raises(DataError, match=r"stands in the other order: the model reads texts from the \w+, and"):
        elman.evaluate(model, own.reversed().train)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("protocol", ["carried", "reset"])
def test_a_model_of_16_bits_is_scored_by_what_it_predicts_in_more(dtype, protocol):
    model, ids = tiny().to(dtype), tokens(300)
    with torch.inference_mode():  # one window, so that both protocols predict the same
        logits, _ = model(torch.from_numpy(np.concatenate(([0], ids[:-1])).astype(np.int64))[None], model.initial(1))
    rows = logits[0].double().tolist()
    expected = [math.log(sum(map(math.exp, row))) - row[token] for row, token in zip(rows, ids.tolist(), strict=True)]
    each, hits = np.zeros(300), np.zeros(300, np.bool_)
    score = elman.evaluate(model, ids, protocol=protocol, window=300, per_token=each, hits=hits)
    assert each == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert score.nats == pytest.approx(math.fsum(expected), rel=1e-6)
    assert hits.tolist() == [row.index(max(row)) == token for row, token in zip(rows, ids.tolist(), strict=True)]
    assert model.task.log_probabilities(logits).exp().sum(-1) == pytest.approx(np.ones((1, 300)), abs=1e-5)


def test_the_loss_of_a_model_of_16_bits_is_no_infinity():
    logits = torch.full((64, 256, V), -8.0, dtype=torch.float16)
    logits[..., 1] = 8  # 16 nats a token, 262,144 together: float16 ends at 65,504
    targets = torch.full((64, 256), 2)
    assert float(task().nats(logits, targets)) == pytest.approx(64 * 256 * 16, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_training_in_16_bits_costs_what_scoring_does(dtype):
    model, ids = tiny(hidden=3).to(dtype), torch.from_numpy(tokens(4096).astype(np.int64))[None]
    with torch.no_grad():
        model.b_q += torch.linspace(-9, 9, V, dtype=dtype)  # costs of which float16 cannot hold the sum
        logits, _ = model(ids[:, :-1], model.initial(1))
        cost = model.loss(ids[:, :-1], ids[:, 1:], model.initial(1))[0]
    expected = model.task.surprisals(logits, ids[:, 1:]).sum()
    assert float(cost) == pytest.approx(float(expected), rel=1e-5)
