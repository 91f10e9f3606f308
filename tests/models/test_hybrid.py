"""A network that weighs experts: against scalar equations, its own n-gram, finite differences, and what it learns."""

import json
import math
import tracemalloc
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import V, hybrid, shaken, task, tokens

import elman
import elman.reproduce
from elman.data.batches import BATCHINGS, Rows, gather
from elman.errors import ConfigError, ModelError
from elman.inference.evaluation import surprisals
from elman.models import hybrid as module
from elman.models.ngram import expert_sets
from elman.models.ngram.expert_sets import expert_set
from elman.models.ngram.experts import FOLDS, KINDS, SHARE, ContextFeatures, Experts, fold_count
from elman.models.saving import model_files
from elman.storage.folder import read_folder, write_folder

KNOWN = tokens(400, seed=11)


def studied(ids=KNOWN, of=None, **settings):
    model = hybrid(of or task(), **{"hidden": 5, "ngram_experts": 3, **settings})
    model.prepare(ids)
    return model


def inputs_of(ids, *spans):
    row = Rows(np.array([a for a, _ in spans]), np.array([b for _, b in spans]), fresh=True)
    return row, *(torch.from_numpy(a) for a in gather(ids, row))


# --- the equations


def evidence(model, experts, read):
    """What one position's experts say, after `read` from a fresh state."""
    features = ContextFeatures(model.task.vocab)
    keys, _ = features.extract(np.array([read], np.int64), features.initial(1))
    padded = np.array([[-1] * (model.order - 1) + read], np.int64)[:, -model.order :]
    log_p, rest = experts.after(padded, keys[:, -1:])
    return log_p[0, 0].astype(float).tolist(), rest[0, 0].astype(float).tolist()


def definition(model, read, experts_at):
    """Logits after each token of `read`: sums and products of single numbers; `experts_at(t)` are those of place t."""
    w = {name: p.double().tolist() for name, p in model.tensors().items()}
    units, number = range(model.widths[0]), range(len(w["b_a"]))
    h, found = w["layers.0.start"][0], []
    for t, token in enumerate(read):
        x = [w["layers.0.W_x"][i][token] + w["layers.0.b_x"][i] + w["layers.0.b_h"][i] for i in units]
        h = [math.tanh(x[i] + sum(w["layers.0.W_h"][i][j] * h[j] for j in units)) for i in units]
        log_p, rest = evidence(model, experts_at(t), read[: t + 1])
        a = [
            w["b_a"][k] + sum(w["A"][k][j] * h[j] for j in units) + sum(w["C"][k][i] * rest[i] for i in number)
            for k in number
        ]
        found.append(
            [
                w["b_q"][v] + sum(w["W_q"][v][j] * h[j] for j in units) + sum(a[k] * log_p[k][v] for k in number)
                for v in range(model.task.size)
            ]
        )
    return found


@pytest.mark.parametrize("order", [2, 5])
def test_logits_are_the_equations(order):
    model = shaken(studied(cell="elman", ngram_experts=order).double())
    whole = Experts(task().vocab, [KNOWN], order)
    read = [[0, *KNOWN[:11].tolist()], [0, *tokens(11, seed=3, size=V).tolist()]]
    logits, _ = model(torch.tensor(read), model.initial(2))
    for row in range(2):
        expected = definition(model, read[row], lambda _: whole)
        assert logits[row].detach().numpy() == pytest.approx(np.array(expected), rel=1e-9, abs=1e-9)


def test_in_training_each_target_is_weighed_without_its_stretch():
    """Windows of 20 tokens that cross the stretches of 50, and one that does not begin a text."""
    model = shaken(studied(cell="elman").double())
    edges = np.arange(9) * 50
    apart = [Experts(task().vocab, [KNOWN[:a], KNOWN[b:]], 3) for a, b in pairwise(edges)]
    row, inputs, targets = inputs_of(KNOWN, (0, 20), (90, 110), (385, 400))
    with torch.no_grad():
        cost, _ = model.loss(inputs, targets, model.initial(3), None, row)
        by_heart, _ = model.loss(inputs, targets, model.initial(3))
    whole = Experts(task().vocab, [KNOWN], 3)
    expected = {"apart": 0.0, "whole": 0.0}
    for i, (start, stop) in enumerate(zip(row.starts.tolist(), row.stops.tolist(), strict=True)):
        read = inputs[i, : stop - start].tolist()
        for name, at in (("apart", lambda t, start=start: apart[(start + t) // 50]), ("whole", lambda _: whole)):
            for t, logits in enumerate(definition(model, read, at)):
                expected[name] += math.log(sum(map(math.exp, logits))) - logits[KNOWN[start + t]]
    assert float(cost) == pytest.approx(expected["apart"], rel=1e-9)
    assert float(by_heart) == pytest.approx(expected["whole"], rel=1e-9)
    assert abs(expected["apart"] - expected["whole"]) > 1


@pytest.mark.parametrize("batching", BATCHINGS)
def test_a_stretch_changes_nothing_that_it_costs_but_by_being_read(batching):
    """What the experts of a place know is told by what they say of one and the same inputs."""
    other = KNOWN.copy()
    other[100:150] = tokens(50, seed=12)
    a, b = shaken(studied()), shaken(studied(other))
    compared = 0
    for row in BATCHINGS[batching].rows(400, 4, 10, np.random.default_rng(1)):
        inputs, _ = (torch.from_numpy(x) for x in gather(KNOWN, row))
        one, two = (m.training_logits(inputs, m.initial(len(inputs)), None, row)[0] for m in (a, b))
        places = row.starts[:, None] + np.arange(inputs.shape[1])
        inside = torch.from_numpy((places >= 100) & (places < 150) & (places < row.stops[:, None]))
        assert torch.equal(one[inside], two[inside])
        assert (one[~inside] != two[~inside]).any()
        compared += int(inside.sum())
    assert compared >= 30


def test_it_starts_as_its_n_gram():
    for cell in ("gru", "lstm"):
        model = studied(cell=cell, ngram_experts=4, layers=2)
        for name in ("A", "C", "W_q", "b_q"):
            assert not model.tensors()[name].any(), name
        assert model.b_a.tolist() == [0, 0, 1, *[0] * KINDS]
        assert all(layer.W_h.any() for layer in model.network.stack)
        ngram, ids = elman.NGram.fit(task(), KNOWN, order=4), tokens(300, seed=2, size=V)
        assert elman.evaluate(model, ids).nats == pytest.approx(elman.evaluate(ngram, ids).nats, rel=1e-5)
    unseeded = hybrid(task(), ngram_experts=3, hidden=4, seed=None)
    assert not any(p.any() for p in unseeded.parameters())


@pytest.mark.parametrize("n", [0, 1, 2, 5, 9])
def test_texts_shorter_than_its_n_grams_and_stretches(n):
    model = shaken(studied(tokens(n), ngram_experts=6))
    ids = tokens(9, seed=n)
    row, inputs, targets = inputs_of(ids, (0, min(5, max(n, 1))))
    cost, _ = model.loss(inputs, targets, model.initial(1), None, row)
    assert cost.isfinite()
    assert np.isfinite(surprisals(model, ids)).all()


def test_gradients_are_finite_differences():
    model = shaken(studied(learn_initial_state=True).double())
    row, inputs, targets = inputs_of(KNOWN, (40, 60), (200, 213))

    def cost():
        return model.loss(inputs, targets, model.initial(2), None, row)[0]

    cost().backward()
    for name, p in model.named_parameters():
        flat, gradient = p.data.view(-1) if p.is_contiguous() else p.data.t().view(-1), p.grad
        gradient = (gradient if p.is_contiguous() else gradient.t()).reshape(-1)
        for i in range(0, len(flat), max(1, len(flat) // 7)):
            with torch.no_grad():
                kept, each = float(flat[i]), []
                for step in (1e-5, -1e-5):
                    flat[i] = kept + step
                    each.append(cost().item())
                flat[i] = kept
            assert (each[0] - each[1]) / 2e-5 == pytest.approx(float(gradient[i]), rel=1e-5, abs=1e-6), name


# --- learning


def runs_of_six(n, seed):
    """Letters that last for six tokens each: three tokens do not tell when one ends."""
    rng, ids = np.random.default_rng(seed), []
    while len(ids) < n:
        ids += [int(rng.choice([i for i in range(1, V) if [i] != ids[-1:]]))] * 6
    return np.array(ids[:n], np.uint8)


def test_it_learns_what_its_experts_cannot_know():
    text, new = runs_of_six(1500, 0), runs_of_six(600, 1)
    ngram = elman.evaluate(elman.NGram.fit(task(), text, order=3), new).nats / 600
    model = hybrid(task(), ngram_experts=3, hidden=16)
    elman.fit(model, text, steps=40, batch=8, window=24, lr=0.02)
    assert elman.evaluate(model, new).nats / 600 < ngram - 0.1


def test_it_does_not_learn_to_trust_a_text_that_it_knows_by_heart():
    """Of noise there is nothing to know: experts that have seen it are right, and those of the rest are not."""
    text, new = tokens(600, seed=21), tokens(600, seed=22)
    model = hybrid(task(), ngram_experts=6, hidden=4)
    before = elman.evaluate(studied(text, ngram_experts=6), new).nats / 600
    elman.fit(model, text, steps=40, batch=8, window=24, lr=0.03)
    assert elman.evaluate(model, new).nats / 600 < min(before, math.log(6) + 0.15)


HELD = {
    "alone": lambda model: model,
    "in a copy head": lambda model: elman.CopyHead(model, copy_window=5),
    "saved": lambda model: model,
}


@pytest.mark.parametrize("how", HELD)
def test_training_on_another_text_keeps_what_was_counted(tmp_path, how):
    """A step that is too small to move a weight leaves every prediction as it was, as of a network without counts."""
    model = HELD[how](hybrid(task(), ngram_experts=4, hidden=4))
    elman.fit(model, np.tile(KNOWN[:50], 8), steps=20, batch=4, window=10, lr=0.01)
    if how == "saved":
        elman.save(model, tmp_path / "m")
        model = elman.load(tmp_path / "m")
    new = np.tile(KNOWN[:50], 3)
    before = surprisals(model, new)
    assert before.mean() < 0.8 * math.log(6)
    for other in (tokens(120, seed=40), tokens(60, seed=41)):
        elman.fit(model, other, steps=1, batch=2, window=10, lr=1e-12)
    assert surprisals(model, new) == pytest.approx(before, abs=1e-6)


def trained_with(counted, learnt):
    """The evidence of every target of `learnt` while a model that counted `counted` trains on it."""
    model = studied(counted).double()  # whose evidence has every probability
    model.start_training(learnt)
    row, inputs, _ = inputs_of(learnt, (0, len(learnt)))
    _, (log_p, rest), _ = model.features(inputs, model.initial(1), rows=row)
    return model, log_p[0].numpy(), rest[0].numpy()


@pytest.mark.parametrize(("counted", "learnt"), [((0, 400), (0, 400)), ((0, 400), (90, 400)), ((0, 400), (37, 211))])
@pytest.mark.parametrize("size", [V, 400])
def test_a_target_is_never_predicted_by_counts_of_itself(counted, learnt, size):
    """Where the training text was counted with more text around it: as if the row began there, fold by fold."""
    text = KNOWN.astype(np.uint16) + (300 if size > V else 0)
    vocab = task().vocab if size == V else elman.Vocab.chars("".join(chr(0x4E00 + i) for i in range(size)))
    model = studied(text[slice(*counted)].astype(vocab.dtype), of=elman.TextTask(vocab)).double()
    ids = text[slice(*learnt)].astype(vocab.dtype)
    model.start_training(ids)
    assert len(model.text) == counted[1] - counted[0]
    row, inputs, _ = inputs_of(ids, (0, len(ids)))
    _, (log_p, _), _ = model.features(inputs, model.initial(1), rows=row)
    features, all_ids = ContextFeatures(vocab), model._ids
    keys, _ = features.extract(inputs.numpy(), features.initial(1))
    read = np.concatenate((np.full((1, 2), -1), inputs.numpy()), 1)
    for f in range(FOLDS):
        a, b = 400 * f // FOLDS, 400 * (f + 1) // FOLDS
        expected, _ = Experts(vocab, [all_ids[:a], all_ids[b:]], 3).after(read, keys)
        here = slice(max(a - learnt[0], 0), max(b - learnt[0], 0))
        assert np.array_equal(log_p[0, here].numpy(), expected[0, here])


def test_of_a_longer_text_what_was_not_counted_is_predicted_by_all_counts():
    model, log_p, rest = trained_with(KNOWN[100:300], KNOWN)
    whole = Experts(model.task.vocab, [KNOWN[100:300]], 3)
    features = ContextFeatures(model.task.vocab)
    _, inputs, _ = inputs_of(KNOWN, (0, 400))
    keys, _ = features.extract(inputs.numpy(), features.initial(1))
    read = np.concatenate((np.full((1, 2), -1), inputs.numpy()), 1)
    expected, expected_rest = whole.after(read, keys)
    outside = np.r_[0:100, 300:400]
    assert np.array_equal(log_p[outside], expected[0, outside])
    assert np.array_equal(rest[outside], expected_rest[0, outside])
    assert (log_p[100:300] != expected[0, 100:300]).any((1, 2)).mean() > 0.9
    assert np.array_equal(model.text.numpy(), KNOWN[100:300])


def test_another_text_is_predicted_by_all_counts():
    other = tokens(80, seed=50)
    model, log_p, _ = trained_with(KNOWN, other)
    row, inputs, _ = inputs_of(other, (0, 80))
    _, (expected, _), _ = model.features(inputs, model.initial(1))
    assert row.targets == 80
    assert np.array_equal(log_p, expected[0].numpy())


def test_weights_that_are_loaded_bring_their_text():
    one, other, ids = studied(KNOWN), studied(tokens(400, seed=60)), tokens(50, seed=61)
    assert elman.evaluate(one, ids) != elman.evaluate(other, ids)
    other.load_state_dict(one.state_dict())
    assert elman.evaluate(one, ids) == elman.evaluate(other, ids)


def test_the_folds_are_those_of_the_text_whatever_the_memory(monkeypatch):
    assert [fold_count(n) for n in (1, 1_000_000, 1_400_000, 3_000_000, 4_000_000, 10**9)] == [8, 8, 5, 2, 2, 2]
    model = hybrid(task(), ngram_experts=3, hidden=2)
    needed = 9 * expert_set(task().vocab, 3, tokens(801), torch.float32).nbytes + 120 * 801
    for there in (2**60, SHARE * needed):
        monkeypatch.setattr(module, "memory", lambda there=there: there)
        model.prepare(tokens(801))
        assert len(model.experts.tables) == 1 + 8
    for there in (SHARE * needed - 1, 1000):
        monkeypatch.setattr(module, "memory", lambda there=there: there)
        with pytest.raises(
            ConfigError, match=r"counting the n-grams of 801 tokens.*--limit the text, or use --ngram-experts 0"
        ):
            model.prepare(tokens(801, seed=9))
        assert np.array_equal(model.text.numpy(), tokens(801))


def test_the_memory_of_experts_is_that_of_their_arrays():
    tracemalloc.start()
    try:
        counted = Experts(task().vocab, [tokens(20_000)], 5)
        size = counted.nbytes
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == pytest.approx(held, rel=0.05)
    assert peak < size + module.COUNTING * 20_000


def test_a_text_that_is_counted_anew_takes_the_place_of_the_first():
    model, fresh = studied(), studied(tokens(90, seed=8))
    ids = tokens(40)
    assert elman.evaluate(model, ids) != elman.evaluate(fresh, ids)
    model.prepare(tokens(90, seed=8))
    assert elman.evaluate(model, ids) == elman.evaluate(fresh, ids)
    assert (model.settings()["text"], model.settings()["ngram_experts"]) == (90, 3)


def test_the_best_weights_come_back_with_their_text():
    model = hybrid(task(), ngram_experts=3, hidden=4)
    elman.fit(model, KNOWN, tokens(80), steps=12, batch=4, window=10, num_reports=3, final_weights="best")
    assert np.array_equal(model.text.numpy(), KNOWN)


# --- what it is told of words and lines, at every level, in both directions and precisions


LEVELS = {
    "char": elman.Vocab.chars,
    "byte": lambda _: elman.Vocab.bytes(),
    "word": elman.Vocab.words,
    "300 characters": lambda text: elman.Vocab.chars(text + "".join(chr(0x4E00 + i) for i in range(300))),
}
TEXT = "The cat sat on the mat.\nThe dog's bone \u6771\u4eac is on THE mat, too: 42 times.\n" * 6


@pytest.mark.parametrize("level", LEVELS)
def test_every_vocabulary_is_studied_saved_and_written(tmp_path, level):
    vocab = LEVELS[level](TEXT)
    ids = vocab.encode(TEXT)
    model = shaken(studied(ids, of=elman.TextTask(vocab), ngram_experts=4))
    assert model.text.dtype == (torch.int16 if len(vocab) > 256 else torch.uint8)
    assert np.array_equal(model._ids, ids)
    elman.save(model, tmp_path / "m")
    again = elman.load(tmp_path / "m")
    for read in (model, again):
        assert elman.evaluate(read, ids[:60]) == elman.evaluate(model, ids[:60])
    with torch.no_grad():
        for p in (model.A, model.C, model.output_weight, model.output_bias):
            p.zero_()
        model.b_a.copy_(torch.tensor([0.0, 0, 1, 0, 0, 0, 0, 0]))
    ngram = elman.NGram.fit(model.task, ids, order=4)
    assert elman.evaluate(model, ids[50:]).nats == pytest.approx(elman.evaluate(ngram, ids[50:]).nats, rel=1e-4)
    assert len(list(elman.generate(model, "", 30))) > 0


def test_a_text_read_from_its_end():
    """The experts count what the network reads: the turned text."""
    turned = elman.TextTask(task().vocab, reverse=True)
    backward, forward = studied(KNOWN[::-1].copy(), of=turned), studied(KNOWN[::-1].copy())
    assert elman.evaluate(backward, KNOWN[:50]).nats == elman.evaluate(forward, KNOWN[:50]).nats
    assert elman.evaluate(backward, KNOWN[60:20:-1].copy()).nats < elman.evaluate(backward, KNOWN[20:60]).nats


def test_double_precision_is_the_same_model():
    model = shaken(studied())
    single = elman.evaluate(model, KNOWN[:100]).nats
    assert elman.evaluate(model.double(), KNOWN[:100]).nats == pytest.approx(single, rel=1e-5)
    assert model.text.dtype == torch.uint8
    logits, state = model(torch.tensor([[1, 2]]), model.initial(1))
    assert (logits.dtype, [s.dtype for s in state[-2:]]) == (torch.float64, [torch.int64] * 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_another_device_is_the_same_model(tmp_path):
    model = shaken(studied())
    elman.save(model, tmp_path / "m")
    there = elman.load(tmp_path / "m", device="cuda")
    assert elman.evaluate(there, KNOWN[:100]).nats == pytest.approx(elman.evaluate(model, KNOWN[:100]).nats, rel=1e-4)
    elman.fit(there, KNOWN, steps=2, batch=4, window=10)


# --- with everything else


def test_a_state_from_a_file_is_taken_where_it_holds_tokens_and_hashes():
    model = studied(cell="lstm")
    fresh = model.initial(2)
    _, after = model(torch.tensor([[1], [2]]), fresh)
    assert model.is_valid_state(fresh)
    assert model.is_valid_state(after)
    for wrong in (V, -2):
        assert not model.is_valid_state((*after[:-2], after[-2].clone().fill_(wrong), after[-1]))


def test_a_stream_alone_writes_what_it_writes_among_others():
    model = shaken(studied(layers=2))
    alone = "".join(elman.generate(model, "abc", 40, temperature=0))
    assert elman.generate(model, "abc", 40, samples=3, temperature=0) == [alone] * 3
    first, again, other = ("".join(elman.generate(model, "abc", 40, seed=seed)) for seed in (5, 5, 6))
    assert first == again != other


def test_a_mixture_averages_it():
    model = shaken(studied())
    ngram, ids = elman.NGram.fit(task(), KNOWN, order=2), tokens(60, seed=4)
    mixed = elman.Mixture([ngram, model], [0.25, 0.75])
    p = 0.25 * np.exp(-surprisals(ngram, ids)) + 0.75 * np.exp(-surprisals(model, ids))
    assert surprisals(mixed, ids) == pytest.approx(-np.log(p), rel=1e-5)


def test_a_file_is_compressed_and_comes_back():
    pytest.importorskip("constriction")
    vocab = elman.Vocab.chars(TEXT)
    model = shaken(studied(vocab.encode(TEXT), of=elman.TextTask(vocab), ngram_experts=4))
    with torch.no_grad():
        for p in (model.A, model.C, model.output_weight, model.output_bias):
            p.mul_(0.05)
    data = (TEXT[:700] + "what it never saw: \u00e9\u00e9").encode()
    packed = elman.compress(model, data)
    assert len(packed) < len(data) // 2
    assert elman.decompress(model, packed) == data
    model.prepare(vocab.encode(TEXT[:-1]))
    with pytest.raises(ModelError):
        elman.decompress(model, packed)


def test_a_comparison_has_it_beside_what_has_no_experts(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    corpus = elman.read_corpus([str(path)], min_count=1)
    found = elman.compare(
        corpus, ["gru", "mlp", "3-gram", "gru-reversed"], ngram_experts=3, hidden=4, steps=2, batch=4, window=10
    )
    assert {"gru", "mlp", "3-gram", "gru-reversed"} <= {entry.name for entry in found.entries}
    plain = elman.compare(corpus, ["gru"], hidden=4, steps=2, batch=4, window=10)
    own, without = ({e.name: e.parameters for e in each.entries}["gru"] for each in (found, plain))
    assert own == without + 7 * 4 + 7 * 7 + 7


# --- saved, and refused


@pytest.mark.parametrize("settings", [{}, {"cell": "lstm", "layers": 2, "embedding": 3, "dropout": 0.25}])
def test_a_round_trip_changes_no_bit(tmp_path, settings):
    model = shaken(studied(**settings))
    elman.save(model, tmp_path / "m")
    again = elman.load(tmp_path / "m")
    assert (again.settings(), again.name) == (model.settings(), model.name)
    for name, t in model.state_dict().items():
        assert again.state_dict()[name].numpy().tobytes() == t.numpy().tobytes(), name
    read = torch.from_numpy(tokens(50).astype(np.int64))[None]
    assert torch.equal(again(read, again.initial(1))[0], model(read, model.initial(1))[0])


@cache
def files():
    return model_files(studied(), np.zeros(V, np.int64))


def forged(path: Path, **changes):
    description = json.loads(files()["model.json"]) | changes
    write_folder(path, files() | {"model.json": json.dumps(description).encode()})
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"ngram_experts": 1},
        {"ngram_experts": 17},
        {"ngram_experts": 4},
        {"ngram_experts": "3"},
        {"text": 399},
        {"text": -1},
        {"text": 10**12},
        {"text": 2**62},
        {"text": 10**30},
        {"text": None},
        {"tied": True},
        {"model": "recurrent"},
    ],
    ids=str,
)
def test_a_description_that_cannot_be_true_is_refused(tmp_path, changes):
    path = forged(tmp_path / "m", **changes)
    with pytest.raises(ModelError) as caught:
        elman.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("size", [V, 301])
def test_a_text_of_other_tokens_is_refused(tmp_path, size):
    vocab = task().vocab if size == V else elman.Vocab.chars("".join(chr(0x4E00 + i) for i in range(300)))
    model = studied(np.array([1, 2, 3, size - 1] * 9, vocab.dtype), of=elman.TextTask(vocab))
    elman.save(model, tmp_path / "good")
    assert elman.load(tmp_path / "good").text[3] == size - 1
    good = dict(read_folder(tmp_path / "good").files)
    for wrong in (size, -1) if size > 256 else (size, 255):
        weights = model.tensors() | {"text": model.text.clone()}
        weights["text"][5] = wrong
        write_folder(tmp_path / f"bad{wrong}", good | {"model.safetensors": weights})
        with pytest.raises(
            ModelError, match="the text of its n-gram experts has tokens that are not in the vocabulary"
        ):
            elman.load(tmp_path / f"bad{wrong}")


@pytest.mark.parametrize(("compiled", "most"), [(True, 2**16), (False, 4096)])
def test_a_vocabulary_that_is_too_large_is_refused(compiled, most, monkeypatch):
    monkeypatch.setattr(expert_sets, "is_compiled", lambda: compiled)
    symbols = [chr(i) for i in range(0x3000, 0x3000 + most + 0x1000) if not 0xD800 <= i < 0xE000][:most]
    allowed, large = (elman.TextTask(elman.Vocab.chars("".join(s))) for s in (symbols[:-1], symbols))
    hybrid(allowed, hidden=2)
    why = "" if compiled else " where elman was installed without a compiler"
    with pytest.raises(
        ConfigError,
        match=rf"at most {most:,} tokens{why}, and this one has {most + 1:,}: use --ngram-experts 0, or --tokens byte",
    ):
        hybrid(large, hidden=2)


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="ngram_experts is 1: it must be 2 to 16"):
        hybrid(task(), hidden=2, ngram_experts=1)
    with pytest.raises(ConfigError, match="ngram_experts does not work with tied weights: set tied to false"):
        hybrid(task(), hidden=2, ngram_experts=3, tied=True, embedding=2)
    with pytest.raises(ConfigError, match="ngram_experts = 17: it must be less than or equal to 16"):
        hybrid(task(), hidden=2, ngram_experts=17)
    with pytest.raises(ConfigError, match="'mlp' has no setting 'ngram_experts'"):
        elman.build_network(task(), {"model": "mlp", "ngram_experts": 3})
