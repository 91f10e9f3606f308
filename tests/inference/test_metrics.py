"""Metrics: built-in ones by hand, and one of a user's that every command shows without another edit."""

import json
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from command import ENGLISH, TINY, good
from helpers import V, task, tiny, tokens
from torch import Tensor

import elman
from elman.comparison.plots import comparison_dots
from elman.inference.metrics import METRICS, ScoredTargets, TextSize, argmax, bits_per, perplexity, values
from elman.plotting import new_figure


@pytest.fixture
def top2() -> Iterator[type[elman.Metric]]:
    """A metric as a user's script adds it: registered where it is defined."""

    class TopTwo(elman.Metric):
        """The share of tokens that have one of the two largest logits."""

        name, heading, form, better = "top2", "top 2", ".1%", "higher"

        def token_values(self, batch: ScoredTargets) -> Tensor:
            return (batch.logits.topk(2).indices == batch.targets[:, None]).any(-1)

        def value(self, total: float, text: TextSize) -> float | None:
            return None if text.tokens is None else total / text.tokens

    yield TopTwo
    del METRICS["top2"]


def test_the_built_in_metrics():
    assert [(m.name, m.better, m.from_nats) for m in METRICS.values()] == [
        ("perplexity", "lower", True),
        ("bits_per_character", "lower", True),
        ("bits_per_byte", "lower", True),
        ("accuracy", "higher", False),
    ]


def test_a_new_metric_is_measured_by_hand_and_by_every_protocol(top2):
    model, ids = tiny(), tokens(90, seed=2)
    with torch.inference_mode():
        inputs = torch.from_numpy(np.concatenate(([0], ids[:-1])).astype(np.int64))
        logits, _ = model(inputs[None], model.initial(1))
    expected = sum(t in row for t, row in zip(ids.tolist(), logits[0].topk(2).indices.tolist(), strict=True))
    score = elman.evaluate(model, ids)
    assert score.totals["top2"] == expected
    assert score.metrics["top2"] == expected / 90
    always = elman.Recurrent(task(), hidden=2)  # predicts token 0, whatever came before
    with torch.no_grad():
        for p in always.parameters():
            p.zero_()
        always.b_q[0] = 1
    for how in ({"streams": 7}, {"protocol": "reset", "window": 7}):
        assert elman.evaluate(always, np.zeros(95, np.uint8), **how).metrics["top2"] == 1, "padding is not scored"
    assert elman.evaluate(model, ids, protocol="dynamic").metrics["top2"] > 0
    mixed = elman.Mixture([tiny(), tiny(cell="lstm")])
    assert 0 < elman.evaluate(mixed, ids, protocol="dynamic").metrics["top2"] <= 1


def test_every_command_shows_a_new_metric(top2, tmp_path):
    (tmp_path / "text.txt").write_text(ENGLISH, encoding="utf-8")
    run = ("--run", "r", *TINY, "--steps", "4", "--quiet")
    trained = good("train", "text.txt", *run, "--cell", "gru", folder=tmp_path).out
    assert "top 2" not in trained  # a row a metric: in words
    assert any(line.startswith("top2, carried") and "%" in line for line in trained.splitlines())
    report = json.loads((tmp_path / "r" / "report.json").read_text(encoding="utf-8"))
    assert 0 < report["figures"]["held-out"][0]["top2"] < 1
    found = good("evaluate", "r", "--json", folder=tmp_path).json
    assert found["top2"] == report["figures"]["held-out"][0]["top2"]
    printed = good("evaluate", "r", folder=tmp_path).out
    assert f"top2                {found['top2']:.1%}\n" in printed
    compared = good("compare", "r", "--out", "c", folder=tmp_path).out
    assert "top 2" in compared.splitlines()[0]
    document = json.loads((tmp_path / "c" / "comparison.json").read_text(encoding="utf-8"))
    row = next(e for e in document["entries"] if e["name"] == "r")
    assert row["top2"]["median"] == row["seeds"][0]["top2"] == found["top2"]
    assert all(e["top2"] is None for e in document["entries"] if e["kind"] in {"bound", "compressor"})
    axes = new_figure(4).subplots()
    comparison_dots(axes, [row], "top2")
    assert f"{found['top2']:.1%}" in [text.get_text() for text in axes.texts]


def test_values_without_a_sum_or_a_unit_are_none():
    class Words:
        tokens, characters, bytes, other_bits = None, 10, None, 10.0

    found = values(math.log(2) * 20, {}, Words())
    assert found == {"perplexity": None, "bits_per_character": 3.0, "bits_per_byte": None, "accuracy": None}
    assert math.isnan(bits_per(0, 1.0, 0.0))
    assert perplexity(701.0, 1) == math.inf


def test_accuracy_takes_the_first_of_equal_logits():
    assert argmax(torch.tensor([[0.0, 1.0, 1.0], [2.0, 2.0, 2.0]])).tolist() == [1, 0]
    assert elman.evaluate(tiny(), tokens(40)).accuracy <= 1
    assert V > 1
