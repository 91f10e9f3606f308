"""What a text decides: the settings, that they fit it, and that they are said."""

import random

import pytest

from elman.models.ngram import expert_sets
from elman.models.ngram.experts import LARGEST
from elman.training import run
from elman.training.auto import MINUTES, auto_configure
from elman.training.config import CHOSEN, Config
from elman.training.run import read_data


def config(tmp_path, text: str, **settings):
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    return Config.resolve(("flags", {"sources": [str(path)], **settings}))


def letters(n: int, alphabet: str = "abcdefgh \n", seed: int = 0) -> str:
    return "".join(random.Random(seed).choices(alphabet, k=n))


def chosen(tmp_path, text: str, **settings):
    asked = config(tmp_path, text, **settings)
    return auto_configure(asked, read_data(asked))


def test_a_setting_of_ones_own_leaves_all_as_it_is(tmp_path):
    asked = config(tmp_path, letters(500), hidden=7)
    assert auto_configure(asked, read_data(asked)) == (asked, [])


@pytest.mark.parametrize("size", [40, 300, 3_000, 20_000])
def test_a_text_of_any_length_can_be_trained_on_with_what_was_chosen(tmp_path, size):
    found, reasons = chosen(tmp_path, letters(size), steps=1)
    assert found.batch * found.window <= 0.9 * size
    assert found.ngram_experts == 8
    assert reasons[0].startswith(f"chosen for {round(size * 0.9):,} tokens of ")
    job = run.begin(tmp_path / "run", config(tmp_path, letters(size), steps=1))
    assert job.config == found
    assert job.notes[:2] == reasons
    assert [type(event).__name__ for event in run.execute(job)][-1] == "Progress"


def test_the_shorter_the_text_the_stronger_the_hand_on_it(tmp_path):
    short, book, long = (chosen(tmp_path, letters(n))[0] for n in (20_000, 170_000, 1_200_000))
    assert short.hidden < book.hidden <= long.hidden
    assert short.dropout > book.dropout > long.dropout
    assert short.recurrent_dropout > book.recurrent_dropout > long.recurrent_dropout


def test_an_alphabet_too_large_for_experts_gets_a_network_alone_and_is_told_why(tmp_path, monkeypatch):
    monkeypatch.setattr(expert_sets, "is_compiled", lambda: False)
    text = "".join(chr(0x4E00 + i % (LARGEST + 100)) * 2 for i in range(3 * LARGEST))
    found, reasons = chosen(tmp_path, text, held_out=0)
    assert found.ngram_experts == 0
    assert f"without n-grams (they are for vocabularies of at most {LARGEST:,} tokens)" in reasons[0]


def test_words_have_n_grams_of_words(tmp_path):
    found, reasons = chosen(tmp_path, "one two three " * 400, level="word")
    assert found.ngram_experts == 5
    assert "with an n-gram of 5 tokens and with counts of positions in a line" in reasons[0]


def test_budgets_that_are_given_hold_and_others_are_chosen(tmp_path):
    text = letters(2000)
    assert chosen(tmp_path, text)[0].minutes == MINUTES
    assert chosen(tmp_path, text)[0].epochs == 16
    timed, reasons = chosen(tmp_path, text, minutes=2.5)
    assert (timed.minutes, timed.epochs) == (2.5, 16)
    assert reasons[1].startswith("16 epochs, at most 2.5 min")
    stepped = chosen(tmp_path, text, steps=3)[0]
    assert (stepped.steps, stepped.epochs, stepped.minutes) == (3, None, None)
    counted = chosen(tmp_path, text, epochs=2)[0]
    assert (counted.epochs, counted.minutes) == (2, None)


def test_what_was_chosen_is_written_down_and_makes_the_same_run_again(tmp_path):
    asked = config(tmp_path, letters(900), steps=2)
    job = run.begin(tmp_path / "run", asked)
    list(run.execute(job))
    written = (tmp_path / "run" / "config.toml").read_text(encoding="utf-8")
    assert 'recipe = "elman"' in written
    from elman.config import from_toml

    again = Config.resolve(("file", from_toml(tmp_path / "run" / "config.toml")))
    assert all(getattr(again, name) == getattr(job.config, name) for name in CHOSEN)
