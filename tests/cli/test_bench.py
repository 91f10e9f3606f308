"""`elman bench`: the table, the sentences, one JSON document. No test asserts a time."""

from pathlib import Path

import pytest
import torch
from command import elman, good, one_line

from elman.comparison import training_steps as bench
from elman.comparison.benchmark import Shape, SpeedBenchmark
from elman.inference.findings.benchmark import PLAIN, Variant

SMALL = ("--hidden", "4", "--vocab", "5", "--batch", "2", "--window", "3", "--threads", "1")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of small matrices, and turns of one step."""
    product, benchmark_steps = bench.product, bench.benchmark_steps
    monkeypatch.setattr(bench, "product", lambda: product(8))
    monkeypatch.setattr(bench, "benchmark_steps", lambda shape, **options: benchmark_steps(shape, **options, seconds=0))


def test_a_benchmark_is_a_table_and_a_verdict_and_leaves_nothing(tmp_path: Path) -> None:
    done = good("bench", *SMALL, "--rounds", "6", folder=tmp_path)
    lines = done.out.splitlines()
    assert lines[0] == "gru, 4 units, 5 symbols, 2 rows of 3 steps"
    assert lines[2].split() == ["engine", "threads", "tokens/s", "low", "high", "x", "plain", "PyTorch", "%"]
    names = set(bench.steps_of(Shape("gru", 4, 5, 2, 3)))
    assert {line.split("  ")[0] for line in lines[3 : 3 + len(names)]} == names
    assert "Medians and quartiles of 6 rounds" in done.out
    assert "auto takes " in done.out
    assert done.err == "gru, 4 units: 6 rounds\n"
    assert list(tmp_path.iterdir()) == []


def test_the_figures_of_the_table_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fastest on top; 108 flops a token, of 1 and 2 million a second."""
    rates = {Variant(PLAIN, 1): [1000.0] * 5, Variant("loop", 1): [500.0] * 5, Variant("loop", 2): [4000.0] * 5}
    made = SpeedBenchmark(Shape("gru", 2, 3), "loop", 2, 5, rates, {1: [1e6] * 5, 2: [2e6] * 5})
    monkeypatch.setattr(bench, "benchmark_steps", lambda shape, **options: iter([made]))
    rows = [line.split() for line in good("bench").out.splitlines()[3:6]]
    assert rows == [
        ["loop", "2", "4,000", "4,000", "4,000", "22"],
        ["plain", "PyTorch", "1", "1,000", "1,000", "1,000", "11"],
        ["loop", "1", "500", "500", "500", "0.50", "(0.50", "to", "0.50)", "5"],
    ]


def test_json_is_one_document() -> None:
    done = good("bench", "--cell", "lstm", "--hidden", "3", "--threads", "2", "1", "--rounds", "2", "--json", "-q")
    assert done.err == ""
    found = done.json
    assert found["schema_version"] == 2
    assert "torch" in found["environment"]
    assert [found[name] for name in ("cell", "hidden", "vocab", "batch", "window", "rounds")] == [
        "lstm",
        3,
        28,
        32,
        35,
        2,
    ]
    variants = {(row["name"], row["threads"]) for row in found["variants"]}
    assert {(PLAIN, 1), (PLAIN, 2), ("loop", 1), ("loop", 2)} <= variants
    assert {len(row["rounds"]) for row in found["variants"]} == {2}
    assert [row["threads"] for row in found["matrix_products"]] == [1, 2]
    assert found["verdict"] == ["Fewer than 5 rounds cannot show which engine is faster: use --rounds 5 or more."]
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--cell grru", ("'grru'", "did you mean gru?", "elman, elman-relu, gru, lstm")),
        ("--cell", ("--cell", "requires an argument")),
        ("--hidden", ("--hidden", "requires an argument")),
        ("--hidden 0", ("--hidden", ">= 1")),
        ("--threads 1 0", ("--threads", ">= 1")),
        ("--hidden 8.5", ("--hidden", "8.5")),
        ("--hidden 1000000", ("1,000,000 units", "lower")),
        ("--vocab 1", ("--vocab", ">= 2")),
        ("--batch 0", ("--batch", ">= 1")),
        ("--window -1", ("--window", ">= 1")),
        ("--threads 0", ("--threads", ">= 1")),
        ("--threads 5000", ("5000", "1024")),
        ("--rounds 0", ("--rounds", ">= 1")),
        ("--threds 1", ("--threds", "--threads")),
    ],
)
def test_a_benchmark_that_cannot_be(flags: str, words: tuple[str, ...]) -> None:
    done = elman("bench", "-q", *flags.split())
    assert (done.code, done.out) == (2, "")
    message = one_line(done)
    assert all(word in message for word in words), message
