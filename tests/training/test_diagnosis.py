"""What the figures mean, in words: each sentence where it belongs, and only there."""

import pytest

from elman.training.diagnosis import verdict

BOUNDS = {"uniform": 28.0, "unigram": 17.0}


def told(**changes) -> list[str]:
    quiet = {
        "train": 4.0,
        "held_out": 5.0,
        "bounds": BOUNDS,
        "curve": [9.0, 7.0, 6.0, 5.5, 5.1, 5.0, 5.0, 5.0],
        "training_curve": [9.0, 7.0, 6.0, 5.0, 4.5, 4.2, 4.1, 4.0],
    }
    return verdict(**quiet | changes)


def test_a_good_run_is_one_sentence():
    assert told() == ["Better than unigram on held-out text: perplexity 5.00 against 17.00."]


def test_an_n_gram_that_wins_is_named():
    assert told(bounds=BOUNDS | {"7-gram": 4.9}) == [
        "The 7-gram wins on held-out text: perplexity 4.90 against 5.00. "
        "It is saved in the run as ngram. --experts 8 trains a network that weighs the n-gram and corrects it, as "
        "elman train does where no network is asked for."
    ]
    assert told(bounds=BOUNDS | {"7-gram": 5.5}) == [
        "Better than 7-gram on held-out text: perplexity 5.00 against 5.50."
    ]


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        (16.99, "Better than unigram on held-out text: perplexity 16.99 against 17.00."),
        (17.0, "Worse than unigram (17.00) on held-out text: do not use this model."),
        (20.0, "Worse than unigram (17.00) on held-out text: do not use this model."),
        (40.0, "Worse than uniform (28.00) and unigram (17.00) on held-out text: do not use this model."),
    ],
)
def test_the_bounds_come_first(figure, expected):
    assert told(held_out=figure, train=figure)[0] == expected


@pytest.mark.parametrize(("held_out", "expected"), [(5.9, False), (6.0, True), (114.0, True)])
def test_memorising_is_said_from_one_and_a_half_times_on(held_out, expected):
    said = [s for s in told(held_out=held_out) if s.startswith("Memorising: 4.00")]
    assert bool(said) == expected
    if said:
        assert f"{held_out:.2f}" in said[0]


def test_a_curve_that_rose_again_says_where_it_was_lowest():
    said = told(curve=[9.0, 6.0, 8.0, 10.0])
    assert "Held-out perplexity was lowest (6.00) after 50% of the run and rose to 10.00." in said


def test_a_curve_that_still_falls_wants_a_longer_run():
    longer = "Still falling when the run ended: a longer one would do better."
    assert longer in told(curve=[9.0, 8.0, 7.0, 6.0])
    assert longer not in told(curve=[9.0, 6.1, 6.05, 6.0])


def test_training_that_bounces_blames_the_rate():
    said = told(training_curve=[9.0, 4.0, 4.5, 5.0])
    assert any(s.startswith("Training perplexity itself rose from 4.00 to 5.00: the learning rate") for s in said)
    assert not any("rose" in s for s in told(training_curve=[9.0, 4.0, 4.05, 4.05]))


def test_short_curves_say_nothing():
    for curve in ([], [5.0], [5.0, 6.0, 7.0]):
        assert told(curve=curve, training_curve=curve) == told(curve=[], training_curve=[])


def test_without_held_out_text_that_is_said_and_the_training_figure_counts():
    said = told(held_out=None, curve=[])
    assert said == [
        "Better than unigram on training text: perplexity 4.00 against 17.00.",
        "No held-out text: these figures cannot tell learning from memorising.",
    ]
    assert told(held_out=None, train=30.0, curve=[])[0].startswith("Worse than uniform (28.00) and unigram")


def test_a_model_without_counts_has_only_the_uniform_bound():
    assert told(bounds={"uniform": 28.0})[0].startswith("Better than uniform on held-out text")


def test_a_compressor_that_wins_is_named():
    bounds = {"uniform": 30.0, "unigram": 20.0, "5-gram": 9.0}
    told = {"train": 3.0, "held_out": 4.0, "bounds": bounds, "curve": [4.0], "training_curve": [3.0]}
    assert verdict(**told, xz=3.5)[1] == (
        "xz -9e wins on held-out text: perplexity 3.50 against 4.00. "
        "Long passages return in it, which a compressor copies; it learns as it reads, as elman evaluate --protocol "
        "dynamic lets this model do."
    )
    assert (
        verdict(**told, xz=4.5)
        == verdict(**told)
        == ["Better than 5-gram on held-out text: perplexity 4.00 against 9.00."]
    )
