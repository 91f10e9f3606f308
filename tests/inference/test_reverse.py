"""A text read from its end: the same tokens, the same chance by the chain rule, its own model."""

import json
import math
from collections import Counter

import numpy as np
import pytest
from command import ENGLISH, TINY, elman, good, one_line
from helpers import task, tokens
from hypothesis import given
from hypothesis import strategies as st

from elman import NGram, TextTask, Vocab, evaluate, generate, load, read_corpus, save
from elman.data.corpus import read_part
from elman.errors import ConfigError, ModelError


@pytest.fixture
def path(tmp_path):
    (tmp_path / "t.txt").write_text(ENGLISH)
    return str(tmp_path / "t.txt")


# --- reading


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_every_part_holds_the_same_tokens_in_reverse(path, level):
    forward, back = (read_corpus([path], tokens=level, test=50, reverse=r) for r in (False, True))
    assert forward.vocab == back.vocab
    for one, other in zip(forward.parts, back.parts, strict=True):
        assert other.ids.tolist() == one.ids.tolist()[::-1]
        assert other.ids.flags.c_contiguous
        assert (one.name, one.characters, one.bytes, one.unknown) == (
            other.name, other.characters, other.bytes, other.unknown,
        )  # fmt: skip
    assert forward.digest != back.digest


def test_the_direction_is_in_the_digest_even_of_a_palindrome(tmp_path):
    (tmp_path / "p.txt").write_text("abacaba" * 10)
    one, other = (read_corpus([str(tmp_path / "p.txt")], held_out=0, reverse=r) for r in (False, True))
    assert one.train.ids.tolist() == other.train.ids.tolist()
    assert one.digest != other.digest


def test_a_text_to_score_is_cut_and_cleared_before_it_is_reversed(tmp_path):
    (tmp_path / "o.txt").write_text("abcxdef")
    vocab = Vocab.chars("abcdef", unknown=False)
    part = read_part([str(tmp_path / "o.txt")], vocab, limit=5, drop_unknown=True, reverse=True)
    assert (vocab.decode(part.ids), part.unknown) == ("dcba", 1)


# --- the same chance, either way


def conditional(pairs):
    """Nats of a conditional maximum likelihood estimate: (context, token) pairs, by its formula."""
    both, contexts = Counter(pairs), Counter(context for context, _ in pairs)
    return -sum(n * math.log(n / contexts[context]) for (context, _), n in both.items())


def mle(ids, order):
    """Nats of a text under its own maximum likelihood estimate; how it begins is certain."""
    return float(NGram.fit(task(), ids, order=order, smoothing="laplace", eps=0.0).surprisals(ids).sum())


TEXTS = st.lists(st.integers(1, 6), min_size=5, max_size=60)


@given(TEXTS, st.integers(2, 4))
def test_maximum_likelihood_of_a_text_is_that_of_its_reverse_up_to_its_ends(ids, order):
    """n(c, w) is the same either way; n(c) differs where one end of the text has no neighbour."""
    text = np.array(ids, np.uint8)
    forward, back = mle(text, order), mle(text[::-1], order)
    grams = [tuple(ids[i : i + order]) for i in range(len(ids) - order + 1)]
    assert forward == pytest.approx(conditional([(g[:-1], g[-1]) for g in grams]), abs=1e-9)
    assert back == pytest.approx(conditional([(g[1:], g[0]) for g in grams]), abs=1e-9)
    ring = np.array(ids + ids[: order - 1], np.uint8)  # it ends as it begins: nothing differs
    assert mle(ring, order) == pytest.approx(mle(ring[::-1], order), abs=1e-9)


def causal(seed):
    """x_{t+1} = f(x_t) but for one token in five, which is drawn: 400 tokens of 40, f a map of many to one."""
    rng = np.random.default_rng(seed)
    f, x = rng.integers(0, 40, 40), [0]
    for _ in range(400):
        x.append(int(f[x[-1]] if rng.random() > 0.2 else rng.integers(40)))
    return np.array(x, np.uint8)


@pytest.mark.parametrize("seed", range(5))
def test_which_direction_is_easier_to_learn_depends_on_the_model(seed):
    """The source itself has one entropy either way; a model of it may learn either direction better."""
    t = TextTask(Vocab.chars("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN", unknown=False))
    halves = causal(seed)[:200], causal(seed)[200:]

    def nats(smoothing, way):
        """A held-out token, by a bigram of the other half."""
        train, held_out = (half[::way] for half in halves)
        return NGram.fit(t, train, order=2, smoothing=smoothing).surprisals(held_out).mean()

    assert nats("kneser-ney", 1) < nats("kneser-ney", -1)
    assert nats("laplace", 1) > nats("laplace", -1)


# --- a model that reads so


def reader(reverse):
    t = TextTask(task().vocab, reverse=reverse)
    ids = tokens(200, seed=1)
    return NGram.fit(t, ids[::-1].copy() if reverse else ids, order=3)


def test_a_string_is_scored_in_the_direction_of_the_model():
    back = reader(reverse=True)
    ids = back.task.vocab.encode("abcdeaffab")
    assert evaluate(back, "abcdeaffab") == evaluate(back, ids[::-1].copy())
    assert evaluate(back, "abcdeaffab").nats == pytest.approx(back.surprisals(ids[::-1]).sum())
    assert evaluate(back, "abcdeaffab").nats != pytest.approx(back.surprisals(ids).sum())


def test_the_length_of_a_text_is_that_of_the_text_in_its_own_order():
    t = TextTask(Vocab.bytes(), reverse=True)
    ids = t.vocab.encode("naïve é")
    model = NGram.fit(t, ids[::-1].copy(), order=2)
    assert evaluate(model, ids[::-1].copy()).characters == len("naïve é")


def test_it_does_not_continue_a_text():
    for call in (lambda m: generate(m, "ab"), lambda m: generate(m, "ab", samples=2)):
        with pytest.raises(ConfigError, match="from the end of a text to its beginning and cannot continue one"):
            call(reader(reverse=True))


@pytest.mark.parametrize("reverse", [False, True])
def test_the_direction_is_saved_with_the_model(tmp_path, reverse):
    save(reader(reverse=reverse), tmp_path / "m")
    assert load(tmp_path / "m").task.reverse is reverse


def test_a_model_that_was_saved_before_there_was_a_direction_reads_forward(tmp_path):
    from elman.models.saving import model_files
    from elman.storage.folder import write_folder

    files = model_files(reader(reverse=False), np.zeros(7, np.int64))
    facts = json.loads(files["model.json"])
    assert facts.pop("reverse") is False
    write_folder(tmp_path / "m", files | {"model.json": json.dumps(facts).encode()})
    assert load(tmp_path / "m").task.reverse is False
    write_folder(tmp_path / "n", files | {"model.json": json.dumps(facts | {"reverse": "yes"}).encode()})
    with pytest.raises(ModelError, match="reverse is 'yes', neither true nor false"):
        load(tmp_path / "n")


# --- by the command line


def test_a_run_in_reverse_is_scored_in_reverse(path, tmp_path):
    done = good("train", path, *TINY, "--steps", "30", "--lr", "0.03", "--reverse", "--run", "r", "-q", folder=tmp_path)
    assert "unigram" in done.out
    assert not (tmp_path / "r" / "samples.jsonl").exists()
    model, corpus = load(tmp_path / "r"), read_corpus([path], reverse=True)
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    expected = evaluate(model, corpus.held_out).nats
    assert report["figures"]["held-out"][0]["nats"] == expected
    found = good("evaluate", "r", "--json", folder=tmp_path).json
    assert found["nats"] == expected != evaluate(model, read_corpus([path]).held_out.ids).nats
    (tmp_path / "o.txt").write_text("He went home. Nobody saw it")
    other = good("evaluate", "r", "o.txt", "--per-token", "t.tsv", "--json", folder=tmp_path).json
    assert other["nats"] == evaluate(model, "He went home. Nobody saw it").nats
    rows = [line.split("\t") for line in (tmp_path / "t.tsv").read_text().splitlines()[1:]]
    assert "".join(json.loads(token) for token, _ in rows) == "He went home. Nobody saw it"
    last = evaluate(model, "t").nats
    assert float(rows[-1][1]) == pytest.approx(last, abs=1e-5), "the last token of the text is read first"
    assert elman("generate", "r/ngram", "He", folder=tmp_path).code == 2
    good("train", "--resume", "r", "--steps", "32", "-q", folder=tmp_path)
    refused = elman("generate", "r", "He", folder=tmp_path)
    assert (refused.code, refused.out) == (2, "")
    assert "cannot continue" in one_line(refused)


def test_the_limit_of_a_score_counts_from_the_beginning_of_the_text(path, tmp_path):
    good("train", path, *TINY, "--steps", "2", "--reverse", "--run", "r", "-q", folder=tmp_path)
    found = good("evaluate", "r", "--limit", "20", "--json", folder=tmp_path).json
    first = read_corpus([path]).held_out.ids[:20]
    assert found["nats"] == evaluate(load(tmp_path / "r"), first[::-1].copy()).nats


def test_prompts_of_a_recipe_are_left_alone_in_reverse(path, tmp_path):
    (tmp_path / "c.toml").write_text('prompts = ["Ω"]\nreverse = true\n', encoding="utf-8")
    good("train", path, *TINY, "--steps", "2", "--config", "c.toml", "--run", "r", "-q", folder=tmp_path)
