"""The samples of a report: drawn at the temperature of the configuration, from the same numbers at every report."""

import json

import pytest

import elman
from elman.training.config import RECIPES, Config
from elman.training.run import begin, execute

TEXT = "the quick brown fox jumps over the lazy dog. " * 20


def samples(path, **settings):
    (path / "text.txt").write_text(TEXT, encoding="utf-8")
    whole = {"hidden": 8, "batch": 4, "steps": 2, "num_reports": 1, "prompts": ("the ",), "seed": 5, **settings}
    job = begin(path / "run", Config(sources=(str(path / "text.txt"),), **whole))
    list(execute(job))
    lines = (job.path / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    return job, [json.loads(line)["text"] for line in lines]


@pytest.mark.parametrize(("settings", "temperature"), [({}, 0.7), ({"sample_temperature": 0.0}, 0)])
def test_samples_are_drawn_at_the_temperature_of_the_configuration(tmp_path, settings, temperature):
    job, (text,) = samples(tmp_path, **settings)
    assert text == "".join(elman.generate(job.model, "the ", 50, temperature=temperature, seed=5))


def test_the_recipes_of_sources_that_print_the_most_probable_token_do_so():
    assert {name for name, values in RECIPES.items() if values.get("sample_temperature") == 0} == {
        "lecture",
        "notes",
        "notes-concise",
    }
    assert Config().sample_temperature == 0.7
