"""The scripts of benchmarks/: they run, at sizes of no interest, and their page is made of their figures."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

from elman import bench
from elman.engines.native import INSTRUCTIONS
from elman.speed import PLAIN, Shape

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def script(monkeypatch, tmp_path):
    """A function that imports a script, whose results go to `tmp_path`, and gives it its arguments."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name, *arguments):
        module = importlib.import_module(name)
        for each in ("side_by_side", "scaling"):
            other = importlib.import_module(each)
            if hasattr(other, "RESULTS"):
                monkeypatch.setattr(other, "RESULTS", tmp_path)
        monkeypatch.setattr(sys, "argv", [f"benchmarks/{name}.py", *arguments])
        return module

    return load


def written(folder, name):
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


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
    rate, share = elman["elman"]["per_second"]["median"], elman["elman"]["share"]["median"]
    assert elman["flops_per_token"] == 6 * 4 * 4 + 6 * 4 * 5
    assert share == pytest.approx(rate * elman["flops_per_token"] / elman["matrix product"]["median"], rel=1)
    assert set(elman[PLAIN]["ratio"].values()) == {1.0}


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
    net = bench.Plain(shape)
    net.rnn.bias_ih_l0.requires_grad_(False).zero_()  # the textbook has one bias where PyTorch has two
    theirs = (net.rnn.weight_ih_l0, net.rnn.weight_hh_l0, net.rnn.bias_hh_l0, net.linear.weight, net.linear.bias)
    ours = [p.detach().t().clone() for p in theirs]
    monkeypatch.setattr(bench, "Plain", lambda _: net)
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
    before = written(tmp_path, "scaling")
    script("scaling", "--draw").main()
    assert written(tmp_path, "scaling") == before
