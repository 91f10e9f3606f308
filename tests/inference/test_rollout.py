"""Roll-outs: against the same done one place at a time, and the figures against brute force."""

import json
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from command import ENGLISH, TINY, elman, good
from helpers import V, copying, shaken, task, tiny, tokens

import elman as package
from elman.engines.sampling import Sampling
from elman.errors import ConfigError, DataError
from elman.inference.rollout import CONTEXT, Rollouts, ends_in_loop, is_known, report, rollouts
from elman.models.ngram.counts import Counts
from elman.rng import numpy_generator

TEXT = tokens(90, seed=4)
N = 7


def ngram():
    return package.NGram.fit(task(), tokens(300, seed=1), order=3)


def copier():
    return shaken(copying(task(), hidden=5, copy_window=9))


# --- continuations


def alone(model, ids, start, sampling, uniforms):
    """One roll-out, each token after the whole prefix is read again."""
    known = [0, *ids[:start].tolist()]
    for t in range(N):
        with torch.no_grad():
            logits, _ = model(torch.tensor([known]), model.initial(1))
        scores = logits[:, -1].float().numpy().copy()
        scores[:, 0] = -np.inf
        known.append(int(sampling(scores, None if uniforms is None else uniforms[t : t + 1])[0]))
    return known[-N:]


@pytest.mark.parametrize("make", [tiny, copier, ngram])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_rollout_is_the_continuation_of_the_true_prefix(make, temperature):
    model = make()
    found = rollouts(model, TEXT, length=N, places=60, temperature=temperature, seed=2)
    assert found.reference.tolist() == [TEXT[83:].tolist()]  # the first 83 are only read
    long = np.concatenate((TEXT, TEXT))
    found = rollouts(model, long, length=N, places=20, temperature=temperature, seed=2)
    assert len(found.reference) == 20
    text = long.tolist()
    numbers = numpy_generator(2, "samples").random((N, 20)) if temperature else None
    starts = []
    for i in range(20):
        where = [s for s in range(128, 180 - N + 1) if text[s - CONTEXT : s] == found.context[i].tolist()]
        assert len(where) == 1
        starts += where
        assert found.reference[i].tolist() == text[where[0] : where[0] + N]
        expected = alone(model, long, where[0], Sampling(temperature), None if numbers is None else numbers[:, i])
        assert found.generated[i].tolist() == expected
    assert starts == sorted(set(starts))


@pytest.mark.parametrize("make", [tiny, copier, ngram])
def test_a_prompt_is_all_that_is_read(make):
    model, prompt = make(), 20
    found = rollouts(model, np.concatenate((TEXT, TEXT)), length=N, places=20, prompt=prompt, seed=2)
    same = rollouts(model, np.concatenate((TEXT, TEXT)), length=N, places=20, seed=2)
    assert found.context.tolist() == same.context.tolist()
    text = [*TEXT.tolist(), *TEXT.tolist()]
    for i in range(20):
        (at,) = (s for s in range(128, 174) if text[s - CONTEXT : s] == found.context[i].tolist())
        known = text[at - prompt : at]
        for _ in range(N):
            with torch.no_grad():
                logits, _ = model(torch.tensor([known]), model.initial(1))
            known.append(int(logits[0, -1, 1:].argmax()) + 1)
        assert found.generated[i].tolist() == known[prompt:]


def test_the_places_are_those_of_the_seed_whatever_the_model():
    long = np.tile(TEXT, 3)
    kept = [rollouts(m, long, length=5, places=3, seed=s).context.tolist() for m in (tiny(), ngram()) for s in (0, 1)]
    assert kept[0] == kept[2]
    assert kept[1] == kept[3]
    assert kept[0] != kept[1]


@pytest.mark.parametrize(
    ("error", "message", "settings"),
    [
        (DataError, r"90 tokens, too few for continuations of 75 tokens after 16", {"length": 75}),
        (ConfigError, "0 continuations of 7 tokens", {"places": 0}),
        (ConfigError, "of 0 tokens", {"length": 0}),
        (ConfigError, "temperature", {"temperature": -1.0}),
        (ConfigError, "prompt is 129 tokens: it must be 1 to 128", {"prompt": 129}),
        (ConfigError, "prompt is 0 tokens", {"prompt": 0}),
        (DataError, "too few for continuations of 60 tokens after 31", {"prompt": 31, "length": 60}),
    ],
)
def test_what_cannot_be_rolled_out_is_refused(error, message, settings):
    with pytest.raises(error, match=message):
        rollouts(tiny(), TEXT, **{"length": N} | settings)
    assert len(rollouts(tiny(), TEXT, length=74).reference) == 1


# --- the figures


def made(truth, written, before=None):
    truth, written = (np.array(rows, np.int64) for rows in (truth, written))
    return Rollouts(np.ones((len(truth), CONTEXT), np.int64) if before is None else before, truth, written)


def test_exact_is_the_share_of_rollouts_without_an_error_so_far():
    found = made([[1, 2, 3], [1, 2, 3], [1, 2, 3], [1, 2, 3]], [[1, 2, 3], [1, 2, 4], [2, 2, 3], [1, 3, 3]])
    assert found.correct.tolist() == [3, 2, 0, 1]
    assert [found.exact_match(n) for n in (1, 2, 3)] == [0.75, 0.5, 0.25]


@pytest.mark.parametrize("n", [2, 3, 5])
def test_known_are_the_ngrams_of_the_text(n):
    known, rows = tokens(60, seed=1).tolist(), tokens(40 * 30, seed=2).reshape(40, 30).astype(np.int64)
    every = {tuple(known[i : i + n]) for i in range(len(known) - n + 1)}
    expected = [[tuple(row[t - n + 1 : t + 1]) in every for t in range(CONTEXT, 30)] for row in rows.tolist()]
    counts = Counts.of(np.array(known, np.uint8), V, n, bos=False)
    found = is_known(counts, rows[:, :CONTEXT], rows[:, CONTEXT:])
    assert found.tolist() == expected
    assert 0 < found.mean() < 1


def test_loops_are_three_times_the_same_at_the_end():
    rows = np.random.default_rng(0).integers(0, 2, (400, 13))
    expected = [
        any(len({tuple(r[13 - k * p : 13 - (k - 1) * p]) for k in (1, 2, 3)}) == 1 for p in range(1, 5)) for r in rows
    ]
    assert ends_in_loop(rows).tolist() == expected
    assert 0.1 < np.mean(expected) < 0.9


def test_each_error_has_one_kind():
    counts = Counts.of(np.array([1, 2, 3, 1, 2, 4, 1, 1, 1], np.uint8), V, 2, bos=False)
    truth = [[1, 2, 3, 1, 2, 4]] * 5 + [[1, 0, 3, 1, 2, 4]]
    written = [
        [1, 2, 3, 1, 2, 4],  # right
        [1, 2, 4, 1, 2, 3],  # 2 4 is known
        [1, 3, 1, 2, 3, 1],  # 1 3 is not
        [1, 1, 1, 1, 1, 1],  # a loop, by what is known
        [1, 2, 3, 5, 5, 5],  # a loop, by what is not
        [1, 2, 3, 1, 2, 4],  # the text has what no vocabulary holds
    ]
    found = made(truth, written)
    assert found.error_kinds(counts, unknown=True) == {"unknown": 1, "loop": 2, "new": 1, "familiar": 1}
    assert found.error_kinds(counts, unknown=False) == {"unknown": 0, "loop": 2, "new": 1, "familiar": 2}
    both = made([[5, 1, 1, 1]], [[4, 1, 1, 1]])  # the text loops as well
    assert both.error_kinds(counts, unknown=True)["loop"] == 0


def test_a_report_is_of_the_rollouts_it_names():
    model, ids, training = copier(), np.tile(TEXT, 4), tokens(500, seed=8)
    found = report(model, ids, training, length=20, places=30, temperature=0.9, seed=5)
    assert json.loads(json.dumps(found)) == found
    every = {tuple(training[i : i + 5].tolist()) for i in range(496)}
    for name, temperature in (("greedy", 0.0), ("sampled", 0.9)):
        same = rollouts(model, ids, length=20, places=30, temperature=temperature, seed=5)
        assert found[name]["exact"] == {str(n): same.exact_match(n) for n in (1, 2, 5, 10, 20)}
        assert found[name]["right"]["each"] == same.correct.tolist()
        assert sum(found[name]["errors"].values()) == int((same.correct < 20).sum())
        for tokens_of, of in ((same.generated, name), (same.reference, "truth")):
            rows = np.concatenate((same.context, tokens_of), 1).tolist()
            lasts = [next((t for t in range(20) if tuple(r[t + 12 : t + 17]) not in every), 20) for r in rows]
            assert found[of]["passing"]["each"] == lasts
            assert found[of]["passing"]["mean"] == pytest.approx(np.mean(lasts))
            ranks = {
                "0.1": 2,
                "0.25": 7,
                "0.5": 14,
                "0.75": 22,
                "0.9": 26,
            }  # the least that so many of 30 do not exceed
            assert found[of]["passing"]["quantiles"] == {q: sorted(lasts)[rank] for q, rank in ranks.items()}
    example, vocab = found["greedy"]["examples"][0], model.task.vocab
    same = rollouts(model, ids, length=20, places=30, seed=5)
    row = int(np.flatnonzero(same.correct < 20)[0])
    at = int(same.correct[row])
    assert example["wrote"] == vocab.decode(same.generated[row, at : at + 8])
    assert example["truth"] == vocab.decode(same.reference[row, at : at + 8])
    assert (vocab.decode(same.context[row]) + vocab.decode(same.reference[row, :at])).endswith(example["after"])


# --- the command


@cache
def trained(folder: Path) -> Path:
    (folder / "book.txt").write_text(ENGLISH)
    (folder / "elman.toml").write_text("reports = 1\nsample_length = 0\n")
    good("train", "book.txt", *TINY, "--copy", "6", "--steps", "20", "--run", "r", "-q", folder=folder)
    return folder


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("rollout"))


def test_the_command_prints_the_report_of_the_held_out_text(here):
    done = good("rollout", "r", "--places", "10", "--length", "30", "--json", folder=here).json
    corpus = package.read_corpus([str(here / "book.txt")])
    how = {"length": 30, "places": 10, "temperature": 0.7, "seed": 0}
    expected = report(package.load(here / "r"), corpus.held_out.ids, corpus.train.ids, **how)
    assert {k: done[k] for k in expected} == expected
    assert (done["schema_version"], done["model"], done["text"]) == (1, "r", "held-out")
    out = good("rollout", "r", "--positions", "10", "--length", "30", folder=here).out
    assert f"{expected['greedy']['exact']['10']:.1%}" in out
    assert "most probable" in out
    assert "10 positions in the first" in out


def test_a_text_of_ones_own_may_be_given(here):
    (here / "other.txt").write_text("The machine is lost. " * 20)
    done = good("rollout", "r", "other.txt", "--length", "20", "--temperature", "1", "--json", folder=here).json
    assert done["tokens"] == 420
    assert done["temperature"] == 1
    assert Counter(done["truth"]["passing"]["each"]).total() == done["places"] == 200


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("r", "--temperature", "0"), 2, "must be above 0"),
        (("r", "--length", "5000"), 3, "too few for continuations of 5000"),
        (("nowhere",), 4, "no run or model"),
        (("r/ngram",), 2, "a saved model without a training run"),
    ],
)
def test_what_the_command_refuses(here, arguments, code, message):
    done = elman("rollout", *arguments, folder=here)
    assert (done.code, message in done.err) == (code, True), done.err
