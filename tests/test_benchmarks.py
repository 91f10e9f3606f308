"""The scripts of benchmarks/: they run, at sizes of no interest, and their page is made of their figures."""

import importlib
import json
import random
import sys
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean, median

import pytest
import torch

import elman
from elman.comparison import training_steps as bench
from elman.comparison.benchmark import Shape
from elman.config import TrainSettings
from elman.engines.native import INSTRUCTIONS
from elman.inference.findings.benchmark import PLAIN
from elman.reproduce import experiments
from elman.training.auto import _batches, _network
from elman.training.config import Config

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def script(monkeypatch, tmp_path):
    """A function that imports a script, whose results go to `tmp_path`, and gives it its arguments."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name, *arguments):
        module = importlib.import_module(name)
        for each in ("side_by_side", "scaling", "tables"):
            other = importlib.import_module(each)
            if hasattr(other, "RESULTS"):
                monkeypatch.setattr(other, "RESULTS", tmp_path)
        monkeypatch.setattr(sys, "argv", [f"benchmarks/{name}.py", *arguments])
        return module

    return load


def written(folder, name):
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def test_the_page_of_results_is_what_the_command_makes(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    tables = importlib.import_module("tables")
    assert (FOLDER / "results" / "README.md").read_text(encoding="utf-8") == tables.make()


def reproduced():
    return [row for e in written(FOLDER / "results", "reproduce")["experiments"] for row in e["figures"]]


def test_what_does_not_agree_is_explained():
    assert [
        row["what"] for row in reproduced() if row["kind"] and row["verdict"] != "agrees" and not row["explained"]
    ] == []


def test_an_agreement_is_a_median_or_mean_within_the_tolerance():
    """Worked here once more, of the rows as they are written."""
    for row in reproduced():
        reference = next(
            (row[name] for name in ("published", "earlier_run", "definition") if row[name] is not None), None
        )
        if row["verdict"] == "agrees" and isinstance(reference, int | float) and row["claim"] == "equals":
            middle = {"median": median, "mean": fmean}[row["statistic"]](row["measured"])
            assert abs(middle - reference) <= row["tolerance"] * (1 + 1e-9) + 1e-15, row


def test_verdicts_are_counted_by_kind():
    found = written(FOLDER / "results", "reproduce")["verdicts"]
    rows = reproduced()
    assert sum(sum(of.values()) for of in found.values()) == sum(row["kind"] != "" for row in rows)
    for kind, of in found.items():
        for verdict, number in of.items():
            assert number == sum((row["kind"], row["verdict"]) == (kind, verdict) for row in rows)


def test_the_figures_of_earlier_runs_are_called_that():
    """The source of the sine draws curves alone, and that of the smoothing prints no perplexity."""
    for e in written(FOLDER / "results", "reproduce")["experiments"]:
        for row in e["figures"]:
            if e["name"] in {"sine", "smoothing"} and row["claim"] == "equals":
                assert row["published"] is None, row
                assert row["kind"] in {"earlier run", "definition", ""}, row


def test_the_page_on_measuring_shows_the_same_verdicts(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    tables = importlib.import_module("tables")
    page = (FOLDER.parent / "docs" / "measured.md").read_text(encoding="utf-8")
    assert page == tables.with_verdicts(page, written(FOLDER / "results", "reproduce"))


def test_the_page_of_results_shows_what_was_reproduced():
    text = (FOLDER / "results" / "README.md").read_text(encoding="utf-8")
    found = written(FOLDER / "results", "reproduce")
    names = [e["name"] for e in found["experiments"]]
    assert names == [name for name in experiments() if name in names]
    assert found["quick"] is False
    assert found["command"].split(" && ")[0] == "elman reproduce all --report report"
    for each in found["experiments"]:
        assert any(row["headline"] for row in each["figures"]), each["name"]
        assert f"**{each['name']}**, " in text


SMALL = ("--rounds", "2", "--steps", "1", "--threads", "1", "--hidden", "4", "--vocab", "5")


def test_training_measures_every_way_of_every_row(script, tmp_path):
    training = script("training", *SMALL, "--cells", "elman", "gru", "--ways", "textbook's loop", "autocast")
    training.main()
    found = written(tmp_path, "training")
    assert found["command"].startswith("python benchmarks/training.py --rounds 2 --steps 1")
    elman, gru = found["result"]
    assert (elman["cell"], elman["H"], elman["V"], elman["threads"]) == ("elman", 4, 5, 1)
    assert {PLAIN, "elman", "textbook's loop", "autocast", "matrix product", "engine"} <= elman.keys()
    assert "textbook's loop" not in gru, "the textbook writes it for one cell"
    assert "JAX" not in elman
    assert "not measured" not in elman, "nobody asked for it"
    assert set(elman[PLAIN]["ratio"].values()) == {1.0}


def test_shares_are_of_the_products_of_the_same_round(script, tmp_path, monkeypatch):
    """A token of an Elman network with H = 4 and V = 5 is 6 * 16 + 6 * 20 = 216 flops."""
    training = script("training", *SMALL, "--cells", "elman", "--ways")
    rates = {PLAIN: [5.0, 5.0], "elman": [10.0, 20.0], "matrix product": [1000.0, 4000.0]}
    monkeypatch.setattr(training, "interleave", lambda ways, rounds: {name: rates[name] for name in ways})
    training.main()
    (row,) = written(tmp_path, "training")["result"]
    assert row["flops_per_token"] == 216
    assert row["elman"]["share"]["median"] == pytest.approx((10 * 216 / 1000 + 20 * 216 / 4000) / 2)
    assert row["elman"]["ratio"]["median"] == 3
    assert row["matrix product"]["median"] == 2500


def test_training_says_that_jax_is_missing(script, tmp_path, monkeypatch, capsys):
    training = script("training", *SMALL, "--cells", "gru", "--ways", "JAX")
    monkeypatch.setattr(training, "installed", lambda: False)
    training.main()
    assert "JAX: not measured, jax is not installed" in capsys.readouterr().out
    (row,) = written(tmp_path, "training")["result"]
    assert row["not measured"] == {"JAX": "jax is not installed"}


def test_training_in_pieces_keeps_the_rows_of_the_others(script, tmp_path, monkeypatch):
    script("training", *SMALL, "--cells", "elman", "gru", "--ways").main()
    first = written(tmp_path, "training")
    training = script("training", *SMALL, "--cells", "gru", "lstm", "--ways", "--add")
    training.main()
    found = written(tmp_path, "training")
    assert [row["cell"] for row in found["result"]] == ["elman", "gru", "lstm"]
    assert found["result"][0] == first["result"][0]
    assert found["result"][1] != first["result"][1], "measured again"
    assert found["command"] == f"{first['command']} && python {' '.join(sys.argv)}"
    found["environment"]["torch"] = "1.0"
    (tmp_path / "training.json").write_text(json.dumps(found))
    with pytest.raises(SystemExit, match=r"measured elsewhere \(torch differ"):
        training.main()


def test_training_says_what_pytorch_cannot_do_here(script, tmp_path, monkeypatch, capsys):
    training = script("training", *SMALL, "--cells", "gru", "--ways", "autocast")

    def refuse():
        raise RuntimeError("could not create a primitive. Run with ...")

    plain = training.plain_step
    monkeypatch.setattr(training, "plain_step", lambda shape, bfloat16=False: refuse if bfloat16 else plain(shape))
    training.main()
    (row,) = written(tmp_path, "training")["result"]
    assert row["not measured"] == {"autocast": "could not create a primitive"}
    assert "autocast" not in row
    assert "autocast: not measured, could not create a primitive" in capsys.readouterr().out


def test_the_textbooks_loop_learns_what_plain_pytorch_learns(script, monkeypatch):
    """The same weights after some steps, from the same weights."""
    training = script("training")
    shape = Shape("elman", hidden=3, vocab=5, batch=2, window=4)
    net = bench.PlainPyTorch(shape)
    net.rnn.bias_ih_l0.requires_grad_(False).zero_()  # the textbook has one bias where PyTorch has two
    theirs = (net.rnn.weight_ih_l0, net.rnn.weight_hh_l0, net.rnn.bias_hh_l0, net.linear.weight, net.linear.bias)
    ours = [p.detach().t().clone() for p in theirs]
    monkeypatch.setattr(bench, "PlainPyTorch", lambda _: net)
    cost = torch.nn.functional.cross_entropy
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", lambda x, y: 100 * cost(x, y))  # so that it is clipped
    scratch, plain = training.scratch_step(shape, ours), bench.plain_step(shape)
    for _ in range(9):
        assert scratch() == plain() == 8
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q.t())


def test_jax_runs_in_a_process_of_its_own_on_its_threads(script, tmp_path, monkeypatch):
    stub = tmp_path / "stub.py"
    stub.write_text(
        "import json, os, sys\n"
        "sizes = json.loads(sys.argv[1])\n"
        "assert sizes == dict(cell='gru', hidden=4, vocab=5, batch=2, window=3), sizes\n"
        "assert os.environ['NPROC'] == '1'\n"
        "for line in sys.stdin:\n"
        "    print(int(line) * sizes['batch'] * sizes['window'], flush=True)\n"
    )
    jax_step = script("jax_step")
    monkeypatch.setattr(jax_step, "__file__", str(stub))
    with jax_step.jax_step(Shape("gru", 4, 5, 2, 3), threads=1, steps=7) as work:
        assert [work(), work()] == [42, 42]


def test_kernels_are_measured_forward_and_backward(script, tmp_path):
    kernels = script("kernels", "--rounds", "2", "--cells", "lstm", "--hidden", "8")
    if not INSTRUCTIONS:
        with pytest.raises(SystemExit, match="without a compiler"):
            kernels.main()
        return
    forward, backward = kernels.forward_and_backward(Shape("lstm", hidden=8, vocab=5, batch=2, window=3))
    flops = 2 * 3 * 2 * 4 * 8 * 8  # B T, a multiply-add is two, G H^2
    assert [forward(), backward(), backward()] == [flops, 2 * flops, 2 * flops]
    kernels.main()
    found = written(tmp_path, "kernels")["result"]
    assert (found["instructions"], found["threads"], found["goal"]) == (INSTRUCTIONS[0], 1, {"H": 512, "share": 0.8})
    (row,) = found["rows"]
    assert {"per_second", "share"} == row["forward"].keys() == row["backward"].keys()


def test_scaling_varies_one_at_a_time_and_draws(script, tmp_path, monkeypatch):
    scaling = script("scaling", "--rounds", "2", "--cells", "gru", "--vary", "H", "B")
    monkeypatch.setattr(scaling, "BASE", {"H": 4, "B": 2, "T": 3, "threads": 1})
    monkeypatch.setattr(scaling, "VALUES", {"H": (4, 8), "B": (1, 2, 3), "T": (2,), "threads": (1,)})
    monkeypatch.setattr(scaling, "TURN", 0)
    scaling.main()
    rows = written(tmp_path, "scaling")["result"]
    assert [(row["varies"], row["H"], row["B"], row["T"], row["threads"]) for row in rows] == [
        *(("H", H, 2, 3, 1) for H in (4, 8)),
        *(("B", 4, B, 3, 1) for B in (1, 2, 3)),
    ]
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    panels = scaling.picture(rows).axes
    ours, plain = panels[1].get_lines()[:2]
    medians = [row["elman"]["per_second"]["median"] for row in rows[2:]]
    assert ours.get_xydata().tolist() == [[B, rate] for B, rate in zip((1, 2, 3), medians, strict=True)]
    assert plain.get_linestyle() == "--"
    edges = panels[1].collections[0].get_paths()[0].vertices.tolist()
    assert all([row["B"], row["elman"]["per_second"][end]] in edges for row in rows[2:] for end in ("low", "high"))
    before = written(tmp_path, "scaling")
    script("scaling", "--draw").main()
    assert written(tmp_path, "scaling") == before
    script("scaling", "--rounds", "2", "--cells", "gru", "--vary", "B", "T", "--add").main()
    after = written(tmp_path, "scaling")["result"]
    assert [row["varies"] for row in after] == ["H", "H", "B", "B", "B", "T"]
    assert after[:2] == rows[:2]
    assert after[2:5] != rows[2:]


def spread(median):
    return {"median": median, "low": 0.9 * median, "high": 1.1 * median}


def way(rate, ratio, share=None):
    same = {"median": 1.0, "low": 1.0, "high": 1.0}
    more = {} if share is None else {"share": spread(share)}
    return {"per_second": spread(rate), "ratio": same if ratio == 1 else spread(ratio)} | more


DOCUMENTS = {
    "training": [
        {"threads": 1, "V": 28, "cell": "gru", "H": 256, "engine": "native", "flops_per_token": 9}
        | {"matrix product": spread(1e9), PLAIN: way(1000, 1, 0.4), "elman": way(1500, 1.5, 0.6), "JAX": way(900, 0.9)},
        {"threads": 2, "V": 28, "cell": "elman", "H": 256, "engine": "bptt"}
        | {PLAIN: way(2000, 1), "elman": way(12345, 2)},  # as an older run left it
    ],
    "kernels": {
        "instructions": "avx2",
        "threads": 1,
        "goal": {"H": 512, "share": 0.8},
        "rows": [
            {"cell": "gru", "H": H, "matrix product": spread(1e11)}
            | {"forward": {"per_second": spread(9e10), "share": spread(0.9)}}
            | {"backward": {"per_second": spread(7.8e10), "share": spread(share)}}
            for H, share in ((256, 0.5), (512, 0.78))
        ],
    },
    "scaling": [
        {"varies": "B", "cell": "lstm", "H": 256, "B": B, "T": 35, "threads": 1}
        | {PLAIN: way(100, 1), "elman": way(200, 1 + B / 4)}
        for B in (4, 1)
    ],
    "generating": [{"cell": "elman", "H": 512, "textbook": way(6000, 1), "elman arg-max": way(18000, 3)}],
}
FACTS = {"cores": 2, "cpu_capability": "AVX2", "python": "3.11", "torch": "2.13"}


def test_the_page_by_hand(script, tmp_path):
    tables = script("tables")
    for name, result in DOCUMENTS.items():
        document = {"command": f"python {name}.py", "environment": FACTS, "result": result}
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    page = tables.make()
    lines = page.splitlines()
    assert "| 1 | 28 | gru | 256 | native | 1,500 | 1.50 (1.35 to 1.65) | 60 % | 40 % | 0.90 |" in lines
    assert "| 2 | 28 | elman | 256 | bptt | 12,345 | 2.00 (1.80 to 2.20) |  |  |  |" in lines
    assert "| gru | 512 | 90.0 | 90 % (81 to 99) | 78.0 | 78 % (70 to 86) | 100.0 |" in lines
    assert "is 78 %: not reached." in lines
    assert lines[lines.index("| B | 1 | 4 |") + 2] == "| lstm | 1.25 | 2.00 |"
    assert "| elman | 512 | textbook | 6,000 |  |" in lines
    assert "| elman | 512 | elman arg-max | 18,000 | 3.00 (2.70 to 3.30) x textbook |" in lines
    assert "`python training.py` (2 cores, AVX2, Python 3.11, PyTorch 2.13)" in lines
    DOCUMENTS["kernels"]["rows"][1]["backward"]["share"] = spread(0.81)
    document = {"command": "x", "environment": FACTS, "result": DOCUMENTS["kernels"]}
    (tmp_path / "kernels.json").write_text(json.dumps(document))
    assert "is 81 %: reached." in tables.make()


def tiny_parts(clean, *, end_of_training):
    """A text of a few thousand letters in the place of the book."""
    text = "".join(random.Random(0).choices("abcd ", weights=(5, 3, 1, 1, 2), k=2400 if end_of_training else 3600))
    vocab = elman.Vocab.chars(text)
    train, test = elman.split(vocab.encode(text), 0.9)
    return elman.TextTask(vocab, "none"), train, test


def test_small_texts_are_measured_in_rows_and_without_each_lever(script, tmp_path, monkeypatch):
    small = script("small_text", "--texts", "none", "--seeds", "2")
    network = Config(hidden=6, embedding=4, dropout=0.3, input_dropout=0.1, recurrent_dropout=0.1)
    training = TrainSettings(window=16, batch=4, epochs=2, weight_decay=0.1)
    monkeypatch.setattr(small, "parts", tiny_parts)
    monkeypatch.setattr(small, "ALONE", (network, replace(training, distill_weight=0.5)))
    monkeypatch.setattr(small, "HYBRID", (replace(network, ngram_experts=3), training))
    small.main()
    rows = written(tmp_path, "small_text")["result"]
    assert [row["model"] for row in rows[-3:]] == ["network alone", "network with n-gram", "mixture of the two"]
    assert len(rows) == 3 + 2 * 3
    assert all(0 <= row["bits"] < 8 for row in rows)
    tables = importlib.import_module("tables")
    assert "mixture of the two" in "\n".join(tables.small_text(written(tmp_path, "small_text")))


@pytest.mark.parametrize(("kind", "named"), [("hybrid", "network with n-gram"), ("alone", "network alone")])
def test_a_small_text_is_measured_without_each_lever(script, tmp_path, monkeypatch, kind, named):
    small = script("small_text", "--texts", "none", "--ablate", kind, "--end-of-training")
    network, training = small.ALONE if kind == "alone" else small.HYBRID
    monkeypatch.setattr(small, "parts", tiny_parts)
    small_one = replace(network, hidden=6, embedding=4, ngram_experts=min(network.ngram_experts, 3))
    monkeypatch.setattr(small, kind.upper(), (small_one, replace(training, window=20, batch=4, epochs=2)))
    small.main()
    rows = written(tmp_path, f"small_text_{kind}")["result"][3:]
    assert len({row["bits"] for row in rows}) == len(rows) > 12  # every lever moves something
    shown = "\n".join(importlib.import_module("tables").without(written(tmp_path, f"small_text_{kind}")))
    assert f"| {named} | at rest |" in shown
    assert "| no recurrent dropout |" in shown


def test_what_is_measured_of_a_book_is_what_elman_train_chooses(script):
    small = script("small_text")
    chosen = _network(150_000, 71, "char")[0] | _batches(150_000)
    ours = small.HYBRID[0].network | asdict(small.HYBRID[1])
    default = Config().network | asdict(TrainSettings())
    assert {name: value for name, value in ours.items() if name in chosen or value != default[name]} == chosen


def test_other_texts_are_the_same_every_time_and_trained_on_as_they_are(script, tmp_path, monkeypatch):
    other = script("other_texts")
    assert other.chinese(3000) == other.chinese(3000)
    assert len(other.sources(20_000)) == 20_000
    monkeypatch.setattr(other, "texts", lambda: [("tiny", other.chinese(1500))])
    other.main()
    (row,) = written(tmp_path, "other_texts")["result"]
    assert row["perplexity"].keys() >= {"uniform", "unigram", "xz", "gru + 8-gram"}
    assert row["chosen"].startswith("a GRU of 128 units combined with an n-gram of 8 tokens")


def test_the_docs_say_what_was_measured_of_small_texts():
    rows = json.loads((FOLDER / "results" / "small_text.json").read_text(encoding="utf-8"))["result"]
    page = (FOLDER.parent / "docs" / "measured.md").read_text(encoding="utf-8")
    said = {
        cells[1]: cells[2:] for line in page.splitlines() if len(cells := [c.strip() for c in line.split("|")]) == 6
    }

    def middle(model, text, figure):
        return median(row[figure] for row in rows if (row["model"], row["text"]) == (model, text))

    for label, model, figure, seconds in (
        ("7-gram, modified Kneser-Ney", "7-gram", "bits", None),
        ("network alone (`--recipe alone`)", "network alone", "bits", "cpu_seconds"),
        ("network with n-gram (`elman train` by itself)", "network with n-gram", "bits", "cpu_seconds"),
        ("mixture of the two", "mixture of the two", "bits", "cpu_seconds"),
        ("the same, learning from what was scored", "mixture of the two", "dynamic_bits", "with_dynamic_cpu_seconds"),
    ):
        assert said[label][0] == f"{middle(model, 'letters', figure):.3f}", label
        assert said[label][1] == f"{middle(model, 'none', figure):.3f}", label
        if seconds:
            assert float(said[label][2]) == pytest.approx(
                max(middle(model, t, seconds) for t in ("letters", "none")), abs=1
            )
