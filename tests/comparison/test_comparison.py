"""A comparison: what it measures against the evaluator, compressors and counts by hand; its table; its words."""

import bz2
import json
import lzma
import math
import re
import statistics
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from command import ENGLISH, SCRIPTS

import elman
from elman.comparison.result import Comparison, ComparisonRow, Measured
from elman.comparison.saved import compare_runs
from elman.comparison.shared import TrainingStep
from elman.comparison.specs import EXAMPLES, NetworkSpec, NGramSpec, model_spec
from elman.comparison.trained import compare_steps
from elman.errors import ConfigError, DataError
from elman.inference.compressors import EMPTY_SIZES, compressed_sizes, training_bytes
from elman.inference.evaluation import part_of
from elman.inference.spreads import SeedRange
from elman.models.build import build_network
from elman.models.saving import finite
from elman.training.config import Config

SMALL = {"hidden": 8, "batch": 4, "window": 16, "steps": 12, "lr": 0.02}
MODELS = ("ngram", "2-gram", "laplace-3", "witten-bell-3", "mlp", "bag", "elman", "elman-relu", "gru", "lstm")


def corpus_of(tmp_path, text=ENGLISH, **settings):
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    return elman.read_corpus([str(tmp_path / "text.txt")], **settings)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_of(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def compared(corpus):
    """Every kind of model, networks with two seeds."""
    return elman.compare(corpus, MODELS, seeds=2, **SMALL)


def entry(comparison, name):
    return next(e for e in comparison.entries if e.name == name)


# --- what is measured


@pytest.mark.parametrize("name", ["3-gram", "gru"])
def test_a_reversed_model_is_trained_and_scored_on_the_same_tokens_from_the_other_end(corpus, name):
    found = elman.compare(corpus, [name, f"{name}-reversed"], **SMALL)
    backward = entry(found, f"{name}-reversed").measured[0]
    turned = replace(
        corpus,
        train=replace(corpus.train, ids=corpus.train.ids[::-1]),
        held_out=replace(corpus.held_out, ids=corpus.held_out.ids[::-1]),
    )
    alone = entry(elman.compare(turned, [name], **SMALL), name).measured[0]
    assert backward.nats == alone.nats
    assert backward.tokens == entry(found, name).measured[0].tokens
    assert backward.nats != entry(found, name).measured[0].nats


def test_compressors_read_a_reversed_corpus_forward(corpus):
    made = elman.compare(corpus.reversed(), ["2-gram"], **SMALL)
    assert entry(made, "bz2 after training").measured[0].nats == pytest.approx(
        entry(elman.compare(corpus, ["2-gram"], **SMALL), "bz2 after training").measured[0].nats
    )


@pytest.mark.parametrize("name", ["mlp", "bag", "elman", "gru", "lstm"])
def test_a_network_scores_what_it_scores_when_trained_by_itself(name, compared, corpus):
    found = entry(compared, name)
    settings = {"cell": name} if name not in {"mlp", "bag"} else {"model": "mlp", "bag": name == "bag"}
    for seed, measured in enumerate(found.measured):
        model = build_network(elman.TextTask(corpus.vocab), {"hidden": 8, **settings}, seed=seed)
        elman.fit(model, corpus.train, batch=4, window=16, steps=12, lr=0.02, seed=seed)
        score = elman.evaluate(model, corpus.held_out)
        assert (measured.seed, measured.nats, measured.tokens) == (seed, score.nats, score.tokens)
        assert measured.metrics == score.metrics
        assert measured.train == elman.evaluate(model, corpus.train).perplexity
        assert (found.parameters, found.operations) == (model.parameter_count(), model.operations())
    assert len({m.nats for m in found.measured}) == 2


@pytest.mark.parametrize(
    ("name", "order", "smoothing"),
    [("ngram", None, "kneser-ney"), ("2-gram", 2, "kneser-ney"), ("laplace-3", 3, "laplace"),
     ("witten-bell-3", 3, "witten-bell")],
)  # fmt: skip
def test_a_counting_model_is_counted_once(name, order, smoothing, compared, corpus):
    (measured,) = entry(compared, name).measured
    model = elman.NGram.fit(elman.TextTask(corpus.vocab), corpus.train.ids, order=order, smoothing=smoothing)
    assert measured.nats == pytest.approx(model.surprisals(corpus.held_out.ids).sum(), rel=1e-12)
    assert measured.seed is None


def test_accuracy_of_the_bigram_by_hand(tmp_path):
    """Without ties, what follows a character most often is what its bigram predicts, smoothed or not."""
    corpus = corpus_of(tmp_path, normalize="letters", unknown=False)
    found = entry(elman.compare(corpus, ["laplace-2"]), "laplace-2").measured[0].metrics["accuracy"]
    train, held_out = (corpus.vocab.decode(part.ids) for part in (corpus.train, corpus.held_out))
    follows = {a: Counter(y for x, y in pairwise(train) if x == a) for a in set(train)}
    right = sum(y == follows[x].most_common(1)[0][0] for x, y in pairwise(held_out))
    assert abs(found * len(held_out) - right) <= 1  # the first token follows the beginning, not a character


def test_the_bounds_by_hand(compared, corpus):
    train, held_out = (corpus.vocab.decode(part.ids) for part in (corpus.train, corpus.held_out))
    size, counts = len(corpus.vocab), Counter(train)
    nats = -sum(math.log((counts[c] + 1) / (len(train) + size)) for c in held_out)
    assert entry(compared, "unigram").measured[0].nats == pytest.approx(nats)
    assert entry(compared, "unigram").measured[0].metrics["accuracy"] == held_out.count(
        counts.most_common(1)[0][0]
    ) / len(held_out)
    assert entry(compared, "uniform").measured[0].metrics["perplexity"] == pytest.approx(size)
    assert entry(compared, "uniform").measured[0].metrics["accuracy"] == 1 / size


def test_held_out_text_changes_nothing_that_is_learnt(tmp_path, compared):
    """The same training part before another held-out part: every training figure is the same to the last bit."""
    first = {e.name: [m.train for m in e.measured] for e in compared.entries if e.is_model}
    cut = entry(compared, "gru").measured[0].tokens
    other = corpus_of(tmp_path, ENGLISH[:-cut] + ENGLISH[-cut:][::-1])
    second = elman.compare(other, MODELS, seeds=2, **SMALL)
    assert {e.name: [m.train for m in e.measured] for e in second.entries if e.is_model} == first
    assert entry(second, "gru").measured[0].nats != entry(compared, "gru").measured[0].nats


# --- compressors


@pytest.mark.parametrize("clean", ["none", "letters"])
def test_compressors_by_the_standard_library_on_the_text_that_was_typed(clean, tmp_path):
    corpus = corpus_of(tmp_path, normalize=clean)
    text = ENGLISH if clean == "none" else re.sub("[^A-Za-z]+", " ", ENGLISH).lower()
    held_out, train = text[-len(corpus.held_out.ids) :], text[: len(corpus.train.ids)]
    assert train + held_out == text
    compared = elman.compare(corpus, ["1-gram"])
    xz = {"format": lzma.FORMAT_XZ, "preset": 9 | lzma.PRESET_EXTREME}
    for name, size in {
        "xz": len(lzma.compress(held_out.encode(), **xz)),
        "bz2": len(bz2.compress(held_out.encode(), compresslevel=9)),
        "xz after training": len(lzma.compress(text.encode(), **xz)) - len(lzma.compress(train.encode(), **xz)),
        "bz2 after training": len(bz2.compress(text.encode())) - len(bz2.compress(train.encode())),
    }.items():
        (measured,) = entry(compared, name).measured
        assert measured.metrics["bits_per_character"] == pytest.approx(8 * size / len(held_out))
        assert measured.metrics["perplexity"] == pytest.approx(2 ** (8 * size / len(held_out)))
    assert {name: len(module.compress(b"")) for name, module in (("xz", lzma), ("bz2", bz2))} == EMPTY_SIZES


def test_characters_of_other_scripts_are_characters_and_words_pay_for_their_spacing(tmp_path):
    chinese = elman.compare(corpus_of(tmp_path, SCRIPTS["chinese"]), ["2-gram"])
    size = len(lzma.compress(SCRIPTS["chinese"][-chinese.parts["held-out"]["tokens"] :].encode(), preset=9 | 1 << 31))
    assert entry(chinese, "xz").measured[0].metrics["bits_per_character"] == pytest.approx(
        8 * size / chinese.parts["held-out"]["characters"]
    )
    words = elman.compare(corpus_of(tmp_path, tokens="word"), ["2-gram"])
    bits, ngram = entry(words, "xz").spread("bits_per_character"), words.models[0].measured[0]
    assert bits is not None
    nats = (bits.median * ngram.characters - ngram.other_bits) * math.log(2)
    assert entry(words, "xz").spread("perplexity").median == pytest.approx(math.exp(nats / ngram.tokens))


def test_of_a_long_text_the_end_is_compressed(corpus):
    whole = corpus.vocab.decode(corpus.train.ids).encode()
    assert training_bytes(corpus.vocab, corpus.train) == whole
    assert training_bytes(corpus.vocab, corpus.train, max_bytes=100) == whole[-100:]
    assert compressed_sizes(b"") == EMPTY_SIZES


# --- by name


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_name_that_is_offered_means_a_model(name, corpus):
    found = model_spec(name, Config())
    assert found.name == name
    assert isinstance(found, NGramSpec if "gram" in name or name[-1] == "3" else NetworkSpec)
    found.check(corpus)


@pytest.mark.parametrize("name", ["grru", "gram", "-gram", "laplace", "laplace-x", "3-grams", "1.5-gram", "", "mlp "])
def test_other_names_are_refused(name):
    with pytest.raises(ConfigError, match=r"there is no model .*: choose one of ngram, 3-gram"):
        model_spec(name, Config())


def test_what_cannot_be_is_refused_before_anything_is_trained(corpus):
    for models, settings, words in (
        (["gru", "grru"], {}, "did you mean gru"),
        (["gru", "0-gram"], {}, "order is 0"),
        (["2-gram", "gru"], {"hidden": 65536, "layers": 64}, "parameters"),
        (["mlp"], {"device": "tpu"}, "tpu"),
    ):
        with pytest.raises(ConfigError, match=words):
            next(compare_steps(corpus, models, seeds=1, config=Config(steps=1, **settings)))
    with pytest.raises(DataError, match="--batch"):
        elman.compare(corpus, ["gru"], batch=100_000)
    with pytest.raises(ConfigError, match="seeds is 0"):
        elman.compare(corpus, ["gru"], seeds=0)
    with pytest.raises(ConfigError, match="needs held-out text"):
        elman.compare(replace(corpus, held_out=None), ["gru"])


def test_layers_are_for_recurrent_networks_alone(corpus):
    """The windowed networks leave out what they do not have."""
    found = elman.compare(corpus, ["mlp", "gru"], layers=2, **SMALL)
    assert entry(found, "gru").parameters > entry(elman.compare(corpus, ["gru"], **SMALL), "gru").parameters
    assert entry(found, "mlp").measured


def test_a_name_twice_is_one_entry(corpus):
    assert [e.name for e in elman.compare(corpus, ["2-gram", "2-gram"]).models] == ["2-gram"]


# --- order, spread, interruption, divergence


def test_the_best_is_first_and_the_figure_is_the_median(compared):
    medians = [statistics.median(m.metrics["bits_per_character"] for m in e.measured) for e in compared.entries]
    assert medians == sorted(medians)
    assert {e.name for e in compared.models} == set(MODELS)
    for e in compared.entries:
        values = [m.metrics["perplexity"] for m in e.measured]
        assert e.spread("perplexity") == SeedRange(statistics.median(values), min(values), max(values))
        assert len(values) == (2 if e.kind == "network" else 1)


def test_a_stop_keeps_what_was_measured(corpus):
    asked = 0

    def stop():
        nonlocal asked
        asked += 1
        return asked > 20  # in the middle of the second training

    events = list(compare_steps(corpus, ["2-gram", "gru", "lstm"], seeds=2, config=Config(**SMALL), stop=stop))
    last = events[-1]
    assert isinstance(last, Comparison)
    assert not last.complete
    assert {e.name: len(e.measured) for e in last.models} == {"2-gram": 1, "gru": 1}
    assert last.notes[-1] == "Interrupted before all was measured of gru, lstm."
    assert isinstance(events[-2], TrainingStep)
    assert events[-2].progress.fraction < 1


def test_a_stop_that_comes_too_late_leaves_nothing_out(corpus):
    events = list(compare_steps(corpus, ["2-gram"], seeds=1, config=Config(), stop=lambda: False))
    assert events[-1].complete
    steps = 0

    def stop():
        nonlocal steps
        steps += 1
        return steps > SMALL["steps"]

    last = list(compare_steps(corpus, ["gru"], seeds=1, config=Config(**SMALL), stop=stop))[-1]
    assert last.complete
    assert [e.name for e in last.models] == ["gru"]


def test_a_training_that_diverges_is_said_and_the_others_go_on(corpus):
    found = elman.compare(corpus, ["elman-relu", "2-gram"], **SMALL | {"lr": 1e30, "clip": 0})
    assert math.isinf(entry(found, "elman-relu").measured[0].nats)
    assert any("elman-relu, seed 0: training diverged at step" in note for note in found.notes)
    assert found.verdict[0].startswith("2-gram is the only model")
    assert finite(found.to_dict())["entries"][-1]["perplexity"]["median"] is None
    assert found.entries[-1].name == "elman-relu"


# --- table, Markdown, JSON


def cells(markdown):
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def test_markdown_says_what_json_says(compared):
    document = json.loads(json.dumps(finite(compared.to_dict())))
    head, rule, *rows = cells(compared.markdown())
    assert rule == ["---", *["---:"] * (len(head) - 1)]
    assert len(rows) == len(document["entries"])
    number = re.compile(r"[\d,.]*\d")
    for row, described in zip(rows, document["entries"], strict=True):
        said = dict(zip(head, row, strict=True))
        assert said["model"].startswith(described["name"])
        figures = [float(n.replace(",", "")) for n in re.findall(r"\d[\d,]*(?:\.\d+)?", said["perplexity"])]
        spread = described["perplexity"]
        wanted = (
            [spread["median"]] if spread["low"] == spread["high"] else [spread[k] for k in ("median", "low", "high")]
        )
        assert figures == pytest.approx(wanted, abs=0.00501)
        for heading, key, share in (("bits/char", "bits_per_character", 0.00051), ("train", "train", 0.00501)):
            if described[key] is None:
                assert said[heading] == ""
            else:
                assert float(said[heading]) == pytest.approx(described[key]["median"], abs=share)
        if described["accuracy"]:
            assert float(said["accuracy"].rstrip("%")) == pytest.approx(
                100 * described["accuracy"]["median"], abs=0.051
            )
        for heading in ("parameters", "operations"):
            assert said[heading] == ("" if described[heading] is None else f"{described[heading]:,}")
            assert not said[heading] or number.fullmatch(said[heading])
        seeds = [s["perplexity"] for s in described["seeds"]]
        assert (spread["median"], spread["low"]) == (statistics.median(seeds), min(seeds))
    assert all(f"- {line}\n" in compared.markdown() for line in document["verdict"])
    assert document["parts"]["train"]["tokens"] + document["parts"]["held-out"]["tokens"] == len(ENGLISH)


def test_a_bar_in_a_name_does_not_make_a_column():
    odd = made(["a|b", 2.0], ["c", 3.0])
    assert {len(row) for row in cells(odd.markdown())} == {9}
    assert cells(odd.markdown())[2][0] == r"a\|b"


def test_a_run_may_be_called_like_a_compressor():
    measured = (Measured(nats=1.0, tokens=1, characters=1),)
    found = made(["xz", 4.0], kinds={"xz": "compressor"}).with_entry(
        ComparisonRow(name="xz", kind="network", measured=measured)
    )
    assert [e.kind for e in found.entries] == ["network", "compressor"]


# --- words


def made(*rows, vocabulary=28, kinds=None):
    """A comparison of names and perplexities of 100 tokens and characters, in 8 blocks that cost nearly the same."""
    comparison = Comparison(source="text", level="char", clean="none", vocabulary=vocabulary, parts={})
    for name, *figures in rows:
        kind = (kinds or {}).get(name, "counts" if name.endswith("gram") and name[0].isdigit() else "network")
        share = 1 + 1e-3 * np.random.default_rng(list(name.encode())).standard_normal(8)
        blocks = [tuple(100 * math.log(p) * share / share.sum()) for p in figures]
        measured = tuple(
            Measured(nats=100 * math.log(p), tokens=100, characters=100, seed=i, blocks=blocks[i])
            for i, p in enumerate(figures)
        )
        comparison = comparison.with_entry(ComparisonRow(name=name, kind=kind, measured=measured))
    return comparison


KINDS = {"uniform": "bound", "unigram": "bound", "xz": "compressor"}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], ["No model was measured."]),
        ([("gru", 5.0)], ["gru is the only model: perplexity 5.00."]),
        (
            [("gru", 4.0, 4.1, 4.2), ("lstm", 5.0, 5.1, 5.2)],
            ["gru wins: perplexity 4.10 against 5.10 of lstm, 19.6% less.", "That is more than chance (p)."],
        ),
        (
            [("gru", 4.0, 4.1, 5.0), ("lstm", 5.0, 5.1, 5.2)],
            [
                "gru has the lowest perplexity: 4.10 against 5.10 of lstm, 19.6% less.",
                "That may be chance: gru and lstm may be equally good (p).",
            ],
        ),
        (
            [("gru", 4.0), ("4-gram", 5.0)],
            [
                "gru has the lowest perplexity: 4.00 against 5.00 of 4-gram, 20.0% less.",
                "On text like this the difference between these trained models is significant (p).",
                "gru was trained with one seed, so what another seed changes is not measured: train with 3 seeds or "
                "more to know whether the difference is chance.",
                "The network beats the best n-gram, 4-gram (by the text alone: one seed).",
            ],
        ),
        (
            [("gru", 6.0, 6.1), ("4-gram", 5.0), ("5-gram", 4.0), ("lstm", 4.5, 4.6)],
            [
                "5-gram has the lowest perplexity: 4.00 against 4.55 of lstm, 12.1% less.",
                "That may be chance: 5-gram and lstm may be equally good.",
                "gru is worse than the best n-gram, 5-gram.",
                "lstm and 5-gram, the best n-gram, may be equally good.",
            ],
        ),
        (
            [("gru", 6.0, 6.1), ("5-gram", 4.0), ("lstm", 3.54, 3.56)],
            [
                "lstm wins: perplexity 3.55 against 4.00 of 5-gram, 11.3% less.",
                "That is more than chance (p).",
                "lstm beats the best n-gram, 5-gram.",
                "gru is worse than the best n-gram, 5-gram.",
            ],
        ),
        (
            [("4-gram", 4.0), ("5-gram", 4.0), ("3-gram", 6.0)],
            ["4-gram and 5-gram share the first place: perplexity 4.00."],
        ),
        (
            [("gru", 4.0, 4.0), ("lstm", 20.0, 21.0), ("unigram", 17.0), ("uniform", 28.0)],
            [
                "gru wins: perplexity 4.00 against 20.50 of lstm, 80.5% less.",
                "That is more than chance (p).",
                "lstm is no better than unigram: do not use it.",
            ],
        ),
        (
            [("3-gram", 4.0), ("2-gram", 8.0), ("xz", 2.0)],
            [
                "3-gram wins: perplexity 4.00 against 8.00 of 2-gram, 50.0% less.",
                "That is more than chance (p).",
                "No model beats the best compressor: xz needs 1.000 bits per character, the best model 2.000.",
            ],
        ),
        (
            [("3-gram", 4.0), ("2-gram", 8.0), ("xz", 6.0)],
            [
                "3-gram wins: perplexity 4.00 against 8.00 of 2-gram, 50.0% less.",
                "That is more than chance (p).",
                "2-gram does not beat the best compressor: xz needs 2.585 bits per character.",
            ],
        ),
        (
            [("3-gram", 4.0), ("2-gram", 8.0), ("xz", 16.0)],
            [
                "3-gram wins: perplexity 4.00 against 8.00 of 2-gram, 50.0% less.",
                "That is more than chance (p).",
                "Every model beats the best compressor: xz needs 4.000 bits per character, the best model 2.000.",
            ],
        ),
    ],
)
def test_the_verdict(rows, expected):
    said = [
        re.sub(r"p (?:=|<|<=) [0-9.]*[0-9](?: against each other model)?", "p", line)
        for line in made(*rows, kinds=KINDS).verdict
    ]
    assert said == expected


def test_models_of_several_vocabularies_are_compared_in_bits():
    found = made(("a", 4.0, 4.01), ("b", 16.0, 16.1), vocabulary=None)
    assert found.verdict[0] == "a wins: bits per character 2.002 against 4.004 of b, 50.0% less."
    assert {"perplexity", "accuracy", "train"} & set(found.table()[0]) == set()


def test_what_does_not_pay_for_the_same_text_has_no_winner():
    found = made(("a", 4.0), ("b", 16.0))
    shorter = replace(entry(found, "b").measured[0], characters=90)
    found = made(("a", 4.0)).with_entry(ComparisonRow(name="b", kind="network", measured=(shorter,)))
    assert found.verdict == [
        "No winner is named: b was scored on 90 characters of the text and a on 100, so they do not pay for the same "
        "text."
    ]


# --- the test of a difference


def block_sums(nats, tokens):
    """Sums of token costs over 16 blocks of a text, whole tokens each."""
    edges = [k * tokens // 16 for k in range(17)]
    return [math.fsum(nats[a:b]) for a, b in pairwise(edges)]


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A text whose held-out part has 16 blocks of 128 tokens or more."""
    return corpus_of(tmp_path_factory.mktemp("long"), ENGLISH * 3, held_out=2100)


@pytest.mark.parametrize("name", ["3-gram", "3-gram-reversed", "gru", "gru-reversed"])
def test_every_model_is_scored_on_the_same_blocks(name, long):
    measured = entry(elman.compare(long, [name], **SMALL), name).measured[0]
    turned = long.reversed() if name.endswith("reversed") else long
    task = elman.TextTask.of(turned)
    if name.startswith("gru"):
        model = build_network(task, {"hidden": 8, "cell": "gru"}, seed=0)
        elman.fit(model, turned.train, batch=4, window=16, steps=12, lr=0.02, seed=0)
    else:
        model = elman.NGram.fit(task, turned.train.ids, order=3)
    each = np.zeros(2100)
    elman.evaluate(model, turned.held_out, per_token=each)
    expected = block_sums(task.reading_order(each).tolist(), 2100)
    assert measured.blocks == pytest.approx(expected, rel=1e-9)


def test_a_comparison_tells_models_apart_where_they_differ(long):
    found = elman.compare(long, ["3-gram", "1-gram", "gru"], seeds=3, **SMALL)
    test = found.to_dict()["significance"]
    assert (test["level"], test["reference"], test["unit"]) == (0.05, "3-gram", "nats per token")
    worse = {each["label"]: each for each in test["differences"]}
    assert set(worse) == {"1-gram", "gru"}
    for name, each in worse.items():
        nats = statistics.mean(m.nats / m.tokens for m in entry(found, name).measured)
        best = entry(found, "3-gram").measured[0]
        assert each["difference"] == pytest.approx(nats - best.nats / best.tokens)
        assert each["low"] < each["difference"] < each["high"]
        assert each["more_than_chance"] == (each["low"] > 0)
        assert each["more_than_chance"] == (each["p_value"] < 0.05)
    assert worse["1-gram"]["more_than_chance"]
    assert found.verdict[0].startswith("3-gram wins" if worse["gru"]["more_than_chance"] else "3-gram has the lowest")


def test_models_of_characters_and_of_bytes_are_paired_over_the_same_stretches_of_the_text(tmp_path):
    text = (ENGLISH + SCRIPTS["chinese"] + "äöü ") * 2
    (tmp_path / "other.txt").write_text(text, encoding="utf-8")
    for level in ("char", "byte"):
        corpus = corpus_of(tmp_path, text, tokens=level, min_count=1, held_out=0)
        elman.save(elman.NGram.fit(elman.TextTask.of(corpus), corpus.train.ids, order=3), tmp_path / level)
    *_, found = compare_runs([tmp_path / "char", tmp_path / "byte"], sources=[str(tmp_path / "other.txt")])
    assert found.significance["unit"] == "bits per character"
    edges = [k * len(text) // 16 for k in range(17)]
    for level in ("char", "byte"):
        measured = entry(found, str(tmp_path / level)).measured[0]
        model = elman.load(tmp_path / level)
        ids = part_of(model, text).ids
        each = model.surprisals(ids)
        size = [len(text[:at]) if level == "char" else len(text[:at].encode()) for at in edges]
        assert len(ids) == size[-1]
        assert measured.blocks == pytest.approx([math.fsum(each[a:b]) for a, b in pairwise(size)], rel=1e-6)
    bits = {level: entry(found, str(tmp_path / level)).measured[0].metrics for level in ("char", "byte")}
    difference = abs(bits["char"]["bits_per_character"] - bits["byte"]["bits_per_character"])
    assert found.significance["differences"][0]["difference"] == pytest.approx(difference)


def test_equal_models_and_the_same_seed_twice_are_not_told_apart(long):
    once = entry(elman.compare(long, ["gru"], seeds=2, **SMALL), "gru")
    twin = replace(once, name="twin")
    found = made(("x", 2.0))
    found = replace(found, entries=()).with_entry(once).with_entry(twin)
    assert "share the first place" in found.verdict[0]
    assert found.significance["differences"][0]["p_value"] == 1
    again = replace(once, measured=(once.measured[0], once.measured[0]))
    worse = replace(once.measured[1], nats=once.measured[1].nats * 1.5)
    other = replace(once, name="other", measured=(worse, replace(worse, seed=7, nats=worse.nats * 1.0001)))
    found = replace(found, entries=()).with_entry(again).with_entry(other)
    assert "gru was trained with one seed" in found.verdict[2]
    assert not found.significance["differences"][0]["more_than_chance"]


def test_a_seed_that_diverged_is_never_told_apart(long):
    measured = entry(elman.compare(long, ["gru"], seeds=3, **SMALL), "gru").measured
    lost = replace(measured[2], nats=math.inf, blocks=())
    found = replace(made(("x", 2.0)), entries=()).with_entry(
        ComparisonRow(name="gru", kind="network", measured=(*measured[:2], lost))
    )
    better = tuple(replace(m, nats=m.nats / 2) for m in measured)
    found = found.with_entry(ComparisonRow(name="best", kind="network", measured=better))
    assert found.verdict[:2] == [
        found.verdict[0],
        "That may be chance: best and gru may be equally good (p = 1).",
    ]
    assert finite(found.to_dict())["significance"]["differences"][0]["difference"] is None
