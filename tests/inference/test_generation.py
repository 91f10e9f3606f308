"""Continuing a text: arg-max by re-reading everything, draws against enumerated probabilities, and every edge."""

import math
import traceback
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SYMBOLS, V, assert_drawn_from, task, tiny, tokens
from hypothesis import given
from hypothesis import strategies as st

import elman
from elman.data.tokens import TokenSequence
from elman.errors import ConfigError, DataError, ModelError
from elman.inference.generation import (
    Sampling,
    generate,
    prefill,
    sample_after,
    sample_tokens,
    truncate_at,
    written_stops,
)

PACKAGE = Path(elman.__file__).parent
LOGITS = [1.5, -0.3, 0.9, 0.2, -2.0, 0.9001]


def model(**settings):
    return tiny(cell="gru", hidden=12, **settings)


# --- greedy


@pytest.mark.parametrize("prompt", ["", "a", "fade", "abcdef" * 10])
def test_greedy_is_the_arg_max_of_reading_everything_again_each_time(prompt):
    m = model()
    text = prompt
    for _ in range(25):
        ids = [0, *m.task.vocab.encode(text).tolist()]
        with torch.inference_mode():
            logits, _ = m(torch.tensor([ids]), m.initial(1))
        scores = logits[0, -1].tolist()
        best = max(range(1, V), key=scores.__getitem__)  # never <unk>
        text += m.task.vocab.to_tokens(best)
    assert "".join(generate(m, prompt, 25, temperature=0)) == text[len(prompt) :]


def test_greedy_does_not_depend_on_the_seed():
    texts = {"".join(generate(model(), "ab", 30, temperature=0, seed=s)) for s in range(3)}
    assert len(texts) == 1


def test_a_temperature_near_zero_is_greedy_and_a_huge_one_is_uniform():
    m = model()
    greedy = "".join(generate(m, "ab", 60, temperature=0))
    for temperature in (1e-9, 1e-40):
        assert "".join(generate(m, "ab", 60, temperature=temperature)) == greedy
    counts = np.bincount(draws(temperature=1e9, n=6000), minlength=len(LOGITS))
    assert_drawn_from([1 / 6] * 6, counts)


# --- what is drawn, against enumeration


def probabilities(temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None) -> list[float]:
    """By the definition, in Python floats."""
    weight = [math.exp(x / temperature) for x in LOGITS]
    order = sorted(range(len(LOGITS)), key=lambda i: -weight[i])[:top_k]
    if top_p is not None:
        total = sum(weight[i] for i in order)
        mass = list(accumulate(weight[i] / total for i in order))
        order = order[: next((n for n, m in enumerate(mass, 1) if m >= top_p), len(order))]
    total = sum(weight[i] for i in order)
    return [weight[i] / total if i in order else 0.0 for i in range(len(LOGITS))]


def draws(n: int = 40_000, seed: int = 0, *, temperature: float = 1.0, **settings) -> np.ndarray:
    logits = np.tile(np.array(LOGITS, np.float32), (n, 1))
    return Sampling(temperature, **settings)(logits, np.random.default_rng(seed).random(n))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 3.0},
        {"top_k": 1},
        {"top_k": 2},
        {"top_k": 3},
        {"top_k": 6},
        {"top_k": 100},
        {"top_p": 0.01},
        {"top_p": 0.5},
        {"top_p": 0.75},
        {"top_p": 0.999},
        {"top_p": 1.0},
        {"temperature": 0.5, "top_p": 0.7},
        {"temperature": 2.0, "top_k": 4, "top_p": 0.6},
    ],
    ids=str,
)
def test_draws_follow_the_enumerated_probabilities(settings):
    assert_drawn_from(probabilities(**settings), np.bincount(draws(**settings), minlength=len(LOGITS)))


def test_top_p_counts_the_token_that_crosses_the_line():
    p = sorted(probabilities(), reverse=True)
    for kept in (1, 2, 3):
        inside = sum(p[:kept]) - 1e-4
        assert len(set(draws(4000, top_p=inside).tolist())) == kept


def test_equal_logits_are_drawn_alike():
    logits = np.zeros((30_000, 4), np.float32)
    uniforms = np.random.default_rng(0).random(len(logits))
    assert_drawn_from([0.25] * 4, np.bincount(Sampling()(logits, uniforms), minlength=4))
    assert Sampling(top_k=2)(logits, uniforms).max() == 3  # what equals the second is not told from it
    assert Sampling(top_p=0.5)(logits, uniforms).max() == 1


def test_rows_are_drawn_apart():
    logits = np.array([[5.0, 0.0, -5.0], [-5.0, 0.0, 5.0]], np.float32)
    assert Sampling(top_k=1)(logits, np.zeros(2)).tolist() == [0, 2]


def test_the_token_is_the_first_whose_cumulative_probability_is_more_than_the_number():
    sampling, logits = (
        Sampling(temperature=0.5),
        np.array([[0, math.log(2), -math.inf, 0]], np.float32),
    )  # 1/6, 4/6, 0, 1/6
    numbers = np.array([0, 1 / 6 - 1e-6, 1 / 6 + 1e-6, 5 / 6 - 1e-6, 5 / 6 + 1e-6, np.nextafter(1, 0)])
    assert sampling(np.repeat(logits, 6, 0), numbers).tolist() == [0, 0, 1, 1, 3, 3]


@pytest.mark.parametrize("temperature", [5e-324, 1e-9, 1.0, 1e308])
@pytest.mark.parametrize("settings", [{}, {"top_k": 3}, {"top_p": 0.9}, {"top_p": 5e-324}], ids=str)
def test_logits_of_minus_infinity_are_never_drawn(temperature, settings):
    logits = np.full((2, 7), -np.inf, np.float32)
    logits[:, [2, 4]] = [1, 2]
    for numbers in ([0.0, 5e-324], [0.5, 0.999], [np.nextafter(1, 0)] * 2):
        assert set(Sampling(temperature, **settings)(logits, np.array(numbers))) <= {2, 4}


@pytest.mark.parametrize("temperature", [1.0, 0.4, 3.0])
def test_what_a_model_draws_has_the_model_s_probabilities(temperature):
    """The whole way from the prompt to the token: many samples of one token."""
    m = model()
    drawn = next(sample_tokens(m, tokens(5), count=1, sampling=Sampling(temperature), samples=20_000, seed=1))
    ids = np.concatenate(([0], tokens(5))).astype(np.int64)
    with torch.inference_mode():
        logits, _ = m(torch.from_numpy(ids)[None], m.initial(1))
    weight = [0.0, *(math.exp(x / temperature) for x in logits[0, -1].tolist()[1:])]
    assert_drawn_from([w / sum(weight) for w in weight], np.bincount(drawn, minlength=V))


# --- refusals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "temperature -1.0: give a finite number, 0 or more"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"top_k": 0}, "top_k is 0: it must be at least 1"),
        ({"top_k": -3}, "top_k is -3"),
        ({"top_p": 0.0}, r"top_p is 0.0: it must be above 0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"top_p": math.nan}, "top_p is nan"),
    ],
)
def test_settings_out_of_range_are_refused_at_once(settings, message):
    with pytest.raises(ConfigError, match=message):
        generate(model(), "a", 5, **settings)
    with pytest.raises(ConfigError, match=message):
        generate(model(), "a", 5, samples=2, **settings)


def test_a_negative_length_and_no_samples_are_refused():
    with pytest.raises(ConfigError, match="at least 1 sample, and 0 or more tokens"):
        list(generate(model(), "a", -1))
    with pytest.raises(ConfigError, match="at least 1 sample"):
        generate(model(), "a", 3, samples=0)


def test_symbols_that_were_never_seen_are_listed():
    with pytest.raises(DataError, match=r"2 symbols that are not in the vocabulary \('X', '東': not in the training"):
        generate(model(), "aX東bX", 5)
    many = "".join(chr(0x4E00 + i) for i in range(15))
    with pytest.raises(DataError, match=r"has 15 symbols that are not in the vocabulary \(.*, \.\.\.: not in"):
        generate(model(), many, 5)


# --- lengths, prompts, seeds


def test_length_zero_is_nothing():
    assert list(generate(model(), "abc", 0)) == []
    assert generate(model(), "abc", 0, samples=3) == ["", "", ""]


@pytest.mark.parametrize("length", [1, 2, 300])
def test_as_many_tokens_as_asked(length):
    assert len("".join(generate(model(), "", length))) == length


def test_an_empty_prompt_begins_as_a_text_does():
    m = model()
    logits, _ = m(torch.tensor([[0]]), m.initial(1))
    first = "".join(generate(m, "", 1, temperature=0))
    assert first == SYMBOLS[int(logits[0, -1, 1:].argmax())]


def test_the_same_seed_gives_the_same_text_and_another_another():
    m = model()
    texts = ["".join(generate(m, "ab", 80, temperature=1, seed=s)) for s in (3, 3, 4)]
    assert texts[0] == texts[1] != texts[2]
    torch.manual_seed(99)
    assert "".join(generate(m, "ab", 80, temperature=1, seed=3)) == texts[0]


def test_a_longer_text_begins_with_the_shorter_one():
    m = model()
    long = "".join(generate(m, "ab", 600, temperature=1, seed=3))
    assert long.startswith("".join(generate(m, "ab", 80, temperature=1, seed=3)))
    assert long[:256] != long[256:512]


def test_how_many_tokens_are_drawn_at_a_time_does_not_show(monkeypatch):
    m = model()
    expected = generate(m, "ab", 50, samples=3, temperature=1)
    monkeypatch.setattr("elman.inference.generation.CHUNK", 7)
    assert generate(m, "ab", 50, samples=3, temperature=1) == expected


def test_streaming_equals_the_batch():
    m = model()
    assert generate(m, "ab", 90, samples=1, seed=5) == ["".join(generate(m, "ab", 90, seed=5))]
    greedy = "".join(generate(m, "ab", 40, temperature=0))
    assert generate(m, "ab", 40, samples=3, temperature=0) == [greedy] * 3


def test_the_old_name_of_several_samples_gives_the_same_with_a_warning():
    m = model()
    with pytest.warns(DeprecationWarning, match=r"elman.generate\(..., samples=...\); the old name goes in 0.3"):
        old = elman.generate_samples(m, "ab", 30, samples=2, temperature=1, top_k=4, seed=3)
    assert old == generate(m, "ab", 30, samples=2, temperature=1, top_k=4, seed=3)


def test_logits_that_are_passed_in_stay_as_they_are():
    m = model()
    logits, state = prefill(m, np.array([[0, 1]]), m.initial(1))
    before = logits.clone()
    list(sample_after(m, logits, state, count=3, sampling=Sampling()))
    torch.testing.assert_close(logits, before, rtol=0, atol=0)


def test_from_generating_to_the_cell_there_are_few_frames(monkeypatch):
    """The generators of the text and of the tokens, the reading of the prompt; then the model, its engine, the cell."""
    m, frames = model(engine="loop"), []
    step = m.cell.step

    def watched(x, u, *state):
        frames.append([f.name for f in traceback.extract_stack() if Path(f.filename).is_relative_to(PACKAGE)])
        return step(x, u, *state)

    monkeypatch.setattr(m.cell, "step", watched)
    next(generate(m, "ab", 1))
    assert frames[0][:4] == ["decode_stream", "sample_tokens", "prefill", "forward"]
    assert len(frames[0]) <= 7, frames[0]


def test_samples_differ_from_each_other():
    assert len(set(generate(model(), "ab", 60, samples=8, temperature=1))) == 8


def test_pieces_come_as_they_are_drawn():
    pieces = generate(model(), "ab", 10**9, temperature=1)
    assert len([next(pieces) for _ in range(5)]) == 5


def test_a_long_prompt_is_read_in_pieces_that_do_not_show(monkeypatch):
    m = model()
    prompt = m.task.vocab.decode(tokens(10_000).tolist())
    expected = "".join(generate(m, prompt, 20, temperature=0))
    monkeypatch.setattr("elman.inference.generation.PROMPT_CHUNK", 10**6)
    assert "".join(generate(m, prompt, 20, temperature=0)) == expected
    monkeypatch.setattr("elman.inference.generation.PROMPT_CHUNK", 999)
    assert "".join(generate(m, prompt, 20, temperature=0)) == expected


def test_the_unknown_token_is_never_drawn():
    m = model()
    with torch.no_grad():
        m.b_q[0] = 100.0
    for settings in ({"temperature": 0}, {"temperature": 1}, {"temperature": 1e9}, {"top_k": 100, "temperature": 5}):
        assert set("".join(generate(m, "", 200, **settings))) <= set(SYMBOLS)


def test_a_vocabulary_without_the_unknown_token_uses_its_first_symbol():
    m = elman.Recurrent(elman.TextTask(elman.Vocab.chars("ab", unknown=False)), hidden=3)
    with torch.no_grad():
        m.b_q[0] = 100.0
    assert "".join(generate(m, "", 10)) == "a" * 10


def test_generating_changes_nothing_of_the_model():
    m = model(learn_initial_state=True)
    before = [p.detach().clone() for p in m.parameters()]
    "".join(generate(m, "abc", 30))
    torch.testing.assert_close([p.detach() for p in m.parameters()], before, rtol=0, atol=0)
    assert all(p.grad is None and p.requires_grad for p in m.parameters())


# --- words and bytes


def test_words_are_written_with_their_spaces():
    vocab = elman.Vocab.words("one two , three")
    m = elman.Recurrent(elman.TextTask(vocab), hidden=4)
    after = "".join(generate(m, "one two", 6, temperature=1))
    assert after.startswith(" ")
    assert set(after.split()) <= {"one", "two", ",", "three"}
    assert len(after.split()) == 6
    assert not "".join(generate(m, "", 6, temperature=1)).startswith(" ")


def test_bytes_come_as_whole_characters():
    m = elman.Recurrent(elman.TextTask(elman.Vocab.bytes()), hidden=4)
    with torch.no_grad():
        m.W_q.zero_()
        m.b_q.fill_(-100.0)
        m.b_q[0xC3] = m.b_q[0xA9] = 0.0  # the two bytes of é
    text = "".join(generate(m, "", 50, temperature=1))
    assert set(text) <= {"é", "\N{REPLACEMENT CHARACTER}"}
    assert "é" in text


# --- a string that ends it


@given(st.text("abc", max_size=40), st.text("abc", min_size=1, max_size=5), st.lists(st.integers(1, 5)))
def test_truncating_equals_cutting_the_whole_text(text, stop, sizes):
    pieces, at = [], 0
    for size in [*sizes, len(text)]:
        pieces.append(text[at : at + size])
        at += size
    found = list(truncate_at((stop,), iter([p for p in pieces if p])))
    assert "".join(found) == text.partition(stop)[0]


def test_without_a_stop_all_pieces_pass_as_they_are():
    assert list(truncate_at((), iter(["ab", "c"]))) == ["ab", "c"]
    assert [written_stops(elman.Vocab.chars("ab"), stop) for stop in (None, "")] == [(), ()]


def test_what_cannot_begin_the_stop_is_not_held_back():
    pieces = truncate_at(("xyz",), iter(["a", "bx", "y", "c"]))
    assert list(pieces) == ["a", "b", "xyc"]


def test_generation_stops_before_the_stop_string():
    m = model()
    whole = "".join(generate(m, "ab", 200, temperature=1, seed=2))
    stop = whole[20:23]
    expected = whole[: whole.index(stop)]
    assert "".join(generate(m, "ab", 200, temperature=1, seed=2, stop=stop)) == expected
    assert generate(m, "ab", 200, samples=1, temperature=1, seed=2, stop=stop) == [expected]


def test_a_generator_leaves_its_caller_as_it_was():
    """Gradients go on between two pieces of text, and after generators are dropped out of order."""
    first, second = generate(model(), "a", 5), generate(model(), "b", 5)
    next(first), next(second)
    assert not torch.is_inference_mode_enabled()
    first.close(), second.close()
    assert not torch.is_inference_mode_enabled()


def test_logits_of_the_caller_are_read_and_never_written():
    """Of every precision, strides and temperature: they may be the memory of an array that the caller goes on using."""
    model = tiny()
    for logits in (
        torch.randn(2, V),
        torch.randn(V, 2).t(),
        torch.randn(2, V).double(),
        torch.randn(1, V).expand(2, V),
    ):
        kept = logits.clone()
        for sampling in (Sampling(0.0), Sampling(0.9, 2, 0.5)):
            list(sample_after(model, logits, model.initial(2), count=3, sampling=sampling))
        assert torch.equal(logits, kept)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_that_expects_only_the_unknown_symbol_writes_another(temperature):
    unknown = elman.NGram.fit(task(), np.array([1, 0] * 30, np.uint8), order=2, smoothing="laplace", eps=0.0)
    for seed in range(3):
        written = np.array(
            list(sample_tokens(unknown, np.array([1], np.uint8), count=12, sampling=Sampling(temperature), seed=seed))
        )
        assert (written > 0).all()
        assert (written < V).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_refused(bad):
    model, logits = tiny(), torch.zeros(2, V)
    logits[1, 3] = bad
    with pytest.raises(ModelError, match="the model predicts NaN or infinity"):
        next(sample_after(model, logits, model.initial(2), count=3, sampling=Sampling()))


@given(
    st.lists(st.text("ab ", max_size=3), max_size=8),
    st.lists(st.text("ab ", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_of_several_stops_the_first_ends_the_text(pieces, stops):
    text = "".join(pieces)
    expected = text[: min((text.index(stop) for stop in stops if stop in text), default=len(text))]
    assert "".join(truncate_at(tuple(stops), iter(pieces))) == expected


@pytest.mark.parametrize(
    ("level", "stop", "expected"),
    [
        ("word", "clock.", " the old "),  # written "clock ."
        ("word", "old clock", " the "),
        ("word", "old\t clock .", " the "),
        ("word", " old", " the"),
        ("word", ".\nShe", " the old clock "),
        ("word", "clock .\n", " the old "),
        ("word", "ld cl", " the o"),
        ("char", "clock.", " the old "),
        ("char", ".\nShe", " the old clock"),
        ("byte", "old clock", " the "),
    ],
)
def test_a_stop_holds_for_the_text_as_it_is_written(level, stop, expected):
    text = "She took the old clock.\n" * 30
    vocab = elman.Vocab.bytes() if level == "byte" else elman.Vocab.from_tokens(TokenSequence.read([text], level))
    model = elman.NGram.fit(elman.TextTask(vocab), vocab.encode(text), order=8)
    how = {"length": 60, "temperature": 0, "stop": stop}
    found = "".join(generate(model, "She took", **how))
    assert found == expected
    assert generate(model, "She took", samples=2, **how) == [found, found]
