"""The Python interface with arguments of every kind: a right answer, or one sentence from elman."""

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import elman
from elman.arguments import checked
from elman.data.batches import as_ids
from elman.errors import ConfigError, DataError, ElmanError
from elman.inference.rollout import rollouts

TEXT = "abracadabra " * 12
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def vocab() -> elman.Vocab:
    return elman.Vocab.chars(TEXT)


@cache
def task() -> elman.TextTask:
    return elman.TextTask(vocab())


@cache
def ngram() -> elman.NGram:
    return elman.NGram.fit(task(), vocab().encode(TEXT), order=2)


@cache
def network() -> elman.Recurrent:
    return elman.Recurrent(task(), cell="gru", hidden=2)


def ids() -> np.ndarray:
    return vocab().encode(TEXT)


@cache
def corpus() -> elman.Corpus:
    return elman.read_corpus(["human-numbers"], limit=600, held_out=100.0)


@cache
def sine() -> elman.Series:
    return elman.sine(60)


def first_step(**arguments: Any) -> Any:
    return next(elman.train(**arguments))


def said(**arguments: Any) -> Any:
    made = elman.generate(**arguments)
    return made if isinstance(made, list) else "".join(made)


TRAINING = {"steps": 1, "batch": 2, "window": 4, "seed": 0, "lr": 0.01, "optimizer": "sgd", "clip": 1.0, "patience": 1}
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Callable[[], Any]]]] = {}


def call(called: str, function: Callable[..., Any], /, **arguments: Any) -> None:
    CALLS[called] = function, {key: v if callable(v) else (lambda v=v: v) for key, v in arguments.items()}


call("train", first_step, model=network, text=ids, held_out=ids, settings=lambda: elman.TrainSettings(**TRAINING))
call("fit", lambda text: elman.fit(network(), text, **TRAINING), text=ids)
call("TrainSettings", elman.TrainSettings, **TRAINING)
call("Config", elman.Config, hidden=4, cell="gru", dropout=0.1, steps=3, prompts=("a",), held_out=0.2)
call("evaluate", elman.evaluate, model=ngram, text=ids, protocol="reset", window=8, streams=1, before=None)
call("per_token", elman.evaluate, model=ngram, text=ids, per_token=lambda: np.zeros(len(TEXT)))
call("surprisals", elman.surprisals, model=ngram, ids=ids, protocol="carried", window=8, streams=2)
call("generate", said, model=ngram, prompt="ab", length=3, temperature=0.5, top_k=2, top_p=0.9, stop="c", seed=1)
call("samples", said, model=network, prompt="", length=2, samples=2)
call("compress", elman.compress, model=ngram, data=b"abra", details=True)
call("decompress", elman.decompress, model=ngram, data=lambda: elman.compress(ngram(), b"abra"))
call("NGram.fit", elman.NGram.fit, task=task, ids=ids, order=2, smoothing="laplace", eps=1.0)
call("surprisals of n-gram", lambda ids: ngram().surprisals(ids), ids=ids)
call("predict_ahead", elman.predict_ahead, model=ngram, tokens=ids, steps=2)
call("ngram_frequencies", elman.ngram_frequencies, ids=ids, vocab=vocab, order=2, top=2)
call("rollouts", rollouts, model=ngram, ids=ids, length=3, places=2, temperature=0.0, prompt=4, seed=0)
call("Mixture", elman.Mixture, models=lambda: [ngram(), network()], weights=lambda: [0.5, 0.5])
call("Mixture.fit", elman.Mixture.fit, models=lambda: [ngram(), network()], ids=ids)
call("Recurrent", elman.Recurrent, task=task, cell="gru", hidden=4, layers=1, engine="auto", seed=0, dropout=0.1)
call("widths", elman.Recurrent, task=task, hidden=lambda: [4, 4], init="torch", mogrifier=0)
call("MLP", elman.MLP, task=task, hidden=4, context=2, bag=False, seed=0)
call("Hybrid", elman.Hybrid, network=lambda: elman.Recurrent(task(), hidden=4), ngram_experts=3, seed=0)
call("CopyHead", elman.CopyHead, network=lambda: elman.Recurrent(task(), hidden=4), copy_window=3, seed=0)
call("build_network", elman.build_network, task=task, settings=lambda: {"hidden": 4}, engine="auto", seed=0)
call("TextTask", elman.TextTask, vocab=vocab, normalize="none", reverse=False)
call("Vocab", elman.Vocab, tokens=lambda: ["a", "b", "a"], level="word", min_count=1, unknown=True)
call("Vocab.chars", elman.Vocab.chars, text=TEXT, min_count=1, unknown=True)
call("Vocab.words", elman.Vocab.words, text=TEXT, min_count=1, unknown=True)
call("to_tokens", lambda ids: vocab().to_tokens(ids), ids=ids)
call("decode", lambda ids: vocab().decode(ids), ids=ids)
call("decode_bytes", lambda ids: elman.Vocab.bytes().decode_bytes(ids), ids=ids)
call("encode", lambda text: vocab().encode(text), text="abra")
call("getitem", lambda name: vocab()[name], name="a")
call("unseen", lambda text: vocab().unseen(text), text="abx")
call("read_corpus", elman.read_corpus, sources=("human-numbers",), tokens="char", errors="strict", limit=300,
     held_out=0.1, test=0.1, min_count=1, unknown=True, reverse=False, normalize="none")  # fmt: skip
call("split", elman.split, ids=ids, at=0.5)
call("compare", lambda corpus: elman.compare(corpus, ["1-gram"]), corpus=corpus)
call("models", lambda models: elman.compare(corpus(), models, epochs=0), models=("1-gram",))
call("sine", elman.sine, length=30, noise=0.1, seed=0)
call("series", elman.series, name="x", values=lambda: np.arange(9.0), missing="linear")
call("forecast", elman.forecast, series=sine, models=("last",), horizon=2, held_out=0.2, season=3, seeds=1, seed=0)
call("load", elman.load, path="nowhere", engine="auto", device="cpu")
call(
    "benchmark_speed",
    lambda cell, hidden: elman.benchmark_speed(cell, hidden=hidden, threads=[0]),
    cell="gru",
    hidden=2,
)

JUNK: list[Any] = [
    None,
    True,
    False,
    np.True_,
    0,
    -1,
    -(2**70),
    1.5,
    math.nan,
    math.inf,
    -math.inf,
    10**400,
    np.int64(1),
    np.float64(0.5),
    "",
    "x",
    "1",
    b"x",
    [],
    [1],
    [1.0],
    [[1, 2]],
    [[1], [2, 3]],
    [True],
    [-1],
    [99],
    [None],
    ["a"],
    ["a", 1],
    (1, 2),
    range(3),
    {},
    {"a": 1},
    {1: 2},
    set(),
    object(),
    1j,
    print,
    np.array(1),
    np.array([0.5]),
    np.array([1], object),
    np.ones((2, 2), int),
    np.array([-1]),
    np.array(["a"]),
    np.array([math.nan]),
    torch.tensor([1]),
    torch.tensor(1),
    torch.tensor([0.5]),
    torch.tensor([[1]]),
    torch.tensor([True]),
    torch.zeros(0, dtype=torch.int64),
    torch.tensor([1], device="meta"),
    np.zeros(0),
    np.datetime64("2024-01-01"),
    Path("x"),
    iter([1]),
    "\udcff",
    "two\nlines",
]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_argument_of_a_wrong_kind_is_one_sentence_from_elman(name):
    function, arguments = CALLS[name]
    wrong = []
    for key in arguments:
        for junk in JUNK:
            try:
                function(**({k: v() for k, v in arguments.items()} | {key: junk}))
            except ElmanError as error:
                if "\n" in str(error) or len(str(error)) < 15:
                    wrong.append((key, junk, str(error)))
            except Exception as error:  # noqa: BLE001 - what is not elman's is what this looks for
                wrong.append((key, junk, repr(error)[:150]))
    assert not wrong, "\n".join(map(str, wrong))


FORMS: list[Callable[[list[int]], Any]] = [
    list,
    tuple,
    lambda x: np.array(x, np.uint8),
    lambda x: np.array(x, np.int8),
    lambda x: np.array(x, np.int32),
    lambda x: np.array(x, np.int64),
    lambda x: np.array(x, ">u4"),
    lambda x: np.array(x, np.uint64)[::1],
    lambda x: np.repeat(np.array(x, np.uint16), 2)[::2],
    lambda x: [np.int64(i) for i in x],
    lambda x: torch.tensor(x, dtype=torch.int64),
    lambda x: torch.tensor(x, dtype=torch.uint8),
    lambda x: torch.tensor(x, dtype=torch.int16),
    lambda x: torch.tensor(x, dtype=torch.int32),
]


@QUICK
@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.sampled_from(FORMS))
def test_ids_of_every_integer_form_mean_the_same(numbers, form):
    expected = np.array(numbers, np.uint8)
    assert as_ids(form(numbers), 7).tolist() == numbers
    assert as_ids(form(numbers), 7).dtype.kind == "u"
    assert elman.evaluate(ngram(), form(numbers)).nats == elman.evaluate(ngram(), expected).nats
    assert elman.evaluate(network(), form(numbers)).nats == elman.evaluate(network(), expected).nats
    assert vocab().decode(form(numbers)) == "".join(map(vocab().decode, ([i] for i in numbers)))


@QUICK
@given(st.lists(st.integers(-3, 9), min_size=1, max_size=12), st.sampled_from([list, np.array, torch.tensor]))
def test_ids_that_the_vocabulary_does_not_have_are_refused_by_name(numbers, form):
    odd = [i for i in numbers if not 0 <= i < 7]
    for use in (lambda x: as_ids(x, 7), vocab().decode, ngram().surprisals, lambda x: elman.surprisals(network(), x)):
        if not odd:
            use(form(numbers))
            continue
        with pytest.raises(DataError, match=rf"there is no token ({'|'.join(map(str, odd))}): "):
            use(form(numbers))


def test_a_range_is_ids_and_unsigned_ids_are_not_copied():
    assert as_ids(range(5), 7).tolist() == [0, 1, 2, 3, 4]
    same = ids()
    assert as_ids(same, 7) is same


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: elman.generate(ngram(), temprature=1), r"generate: .* 'temprature' \(did you mean temperature\?\)"),
        (elman.generate, "missing a required argument: 'model': give model, prompt"),
        (lambda: elman.generate(ngram(), length=True), "generate: length is True, and must be a whole number"),
        (lambda: elman.generate(ngram(), temperature=math.nan), "temperature is nan, and must be a finite number"),
        (lambda: elman.generate(ngram(), length=-1), "0 or more tokens"),
        (lambda: elman.evaluate(3, "x"), "evaluate: model is 3, and must be a SequenceModel"),
        (lambda: elman.Recurrent(task(), hiden=4), "no setting 'hiden'"),
        (lambda: elman.Recurrent(task(), hidden=0), "hidden = 0: it must be greater than 0"),
        (lambda: elman.TrainSettings(stepz=4), r"no setting 'stepz' \(did you mean steps\?\)"),
        (lambda: elman.TrainSettings(lr=math.nan), "lr = nan: it must be a finite number"),
        (lambda: elman.train(network(), ids(), lr=-1), "lr = -1: it must be greater than or equal to 0"),
        (lambda: elman.Config(batch=0), "batch = 0: it must be greater than 0"),
    ],
)
def test_the_sentence_names_the_argument_and_what_it_must_be(wrong, message):
    with pytest.raises(ConfigError, match=message):
        wrong()


def test_numbers_of_numpy_count_as_numbers():
    plain = "".join(elman.generate(network(), "ab", 5, temperature=0.5, seed=3))
    same = elman.generate(network(), "ab", np.int64(5), temperature=np.float32(0.5), seed=np.uint8(3))
    assert "".join(same) == plain
    assert elman.NGram.fit(task(), ids(), order=np.int32(2)).order == 2


def test_a_single_string_is_a_list_of_one():
    single = elman.read_corpus("human-numbers", limit=np.int64(300))
    assert single.digest == elman.read_corpus(["human-numbers"], limit=300).digest


@checked
def sum_of(*numbers: float, scale: float = 1.0) -> float:
    return scale * sum(numbers)


def test_more_arguments_than_named_ones_are_left_to_the_function():
    assert sum_of(1, 2, scale=np.float64(2)) == 6


def test_a_task_of_an_unknown_normalization_is_refused():
    with pytest.raises(ConfigError, match="no normalization 'upper'"):
        elman.TextTask(vocab(), "upper")
    with pytest.raises(ConfigError, match="generate_samples: missing a required argument: 'samples'"):
        elman.generate_samples(ngram(), "ab", 3)
