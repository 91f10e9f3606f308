"""Findings: each rule on both sides of its threshold, and each sentence where it belongs and only there."""

import json
import math

import numpy as np
import pytest

from elman.inference.findings import benchmark, comparison, forecast, run
from elman.inference.findings.base import Finding, listed, sentences, verb
from elman.inference.findings.benchmark import Variant
from elman.inference.findings.comparison import Competitor
from elman.inference.findings.forecast import ForecasterErrors
from elman.inference.findings.run import of_run
from elman.inference.spreads import Quartiles, SeedRange
from elman.models.saving import finite

BOUNDS = {"uniform": 28.0, "unigram": 17.0}


def told(**changes) -> list[str]:
    quiet = {
        "train": 4.0,
        "held_out": 5.0,
        "bounds": BOUNDS,
        "curve": [9.0, 7.0, 6.0, 5.5, 5.1, 5.0, 5.0, 5.0],
        "training_curve": [9.0, 7.0, 6.0, 5.0, 4.5, 4.2, 4.1, 4.0],
    }
    return sentences(of_run(**quiet | changes))


def test_a_good_run_is_one_sentence():
    assert told() == ["Better than unigram on held-out text: perplexity 5.00 against 17.00."]


def test_an_n_gram_that_wins_is_named():
    assert told(bounds=BOUNDS | {"7-gram": 4.9}) == [
        "The 7-gram is better on held-out text: perplexity 4.90 against 5.00 of the network. "
        "It is saved in the folder ngram of the run. --ngram-experts 8 trains a network that uses the predictions of "
        "an n-gram and corrects them; elman train does this when no setting of the network is given."
    ]
    assert told(bounds=BOUNDS | {"7-gram": 5.5}) == [
        "Better than 7-gram on held-out text: perplexity 5.00 against 5.50."
    ]


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        (16.99, "Better than unigram on held-out text: perplexity 16.99 against 17.00."),
        (17.0, "No better than unigram on held-out text: perplexity 17.00 against 17.00; do not use this model."),
        (20.0, "Worse than unigram on held-out text: perplexity 20.00 against 17.00; do not use this model."),
        (
            40.0,
            "Worse than uniform and unigram on held-out text: perplexity 40.00 against 28.00 and 17.00; "
            "do not use this model.",
        ),
    ],
)
def test_the_bounds_come_first(figure, expected):
    assert told(held_out=figure, train=figure)[0] == expected


@pytest.mark.parametrize(("held_out", "expected"), [(5.9, False), (6.0, True), (114.0, True)])
def test_memorising_is_said_from_one_and_a_half_times_on(held_out, expected):
    said = [s for s in told(held_out=held_out) if s.startswith("Over-fitting: perplexity 4.00")]
    assert bool(said) == expected
    if said:
        assert f"{held_out:.2f}" in said[0]


def test_a_curve_that_rose_again_says_where_it_was_lowest():
    said = told(curve=[9.0, 6.0, 8.0, 10.0])
    assert "Held-out perplexity was lowest (6.00) after 50% of the run and rose to 10.00." in said


def test_a_curve_that_still_falls_wants_a_longer_run():
    longer = "Held-out perplexity was still falling when the run ended: train longer."
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
        "No held-out text: training figures alone cannot show over-fitting.",
    ]
    assert told(held_out=None, train=30.0, curve=[])[0].startswith("Worse than uniform and unigram on training")


def test_a_model_without_counts_has_only_the_uniform_bound():
    assert told(bounds={"uniform": 28.0})[0].startswith("Better than uniform on held-out text")


def test_a_compressor_that_wins_is_named():
    bounds = {"uniform": 30.0, "unigram": 20.0, "5-gram": 9.0}
    told = {"train": 3.0, "held_out": 4.0, "bounds": bounds, "curve": [4.0], "training_curve": [3.0], "bits": 2.0}
    assert sentences(of_run(**told, xz=1.8, xz_p_value=0.049))[1] == (
        "xz -9e is better on held-out text: 1.800 bits per character against 2.000 of the network. A compressor also "
        "learns while it reads; elman evaluate --protocol dynamic lets this model do the same."
    )
    assert sentences(of_run(**told, xz=1.8, xz_p_value=0.05))[1] == (
        "xz -9e needs fewer bits for the held-out text, 1.800 bits per character against 2.000 of the network; that "
        "may be chance (p = 0.05)."
    )
    assert sentences(of_run(**told, xz=1.8))[1].endswith(
        "of the network; the text is too short to tell that from chance."
    )
    assert (
        sentences(of_run(**told, xz=2.0))
        == sentences(of_run(**told, xz=2.2))
        == sentences(of_run(**told))
        == ["Better than 5-gram on held-out text: perplexity 4.00 against 9.00."]
    )


# --- rules of a run


@pytest.mark.parametrize(("last", "found"), [(7.99, False), (8.0, True), (80.0, True)])
def test_training_diverged_at_twice_its_lowest_perplexity(last, found):
    assert bool(run.diverged([9.0, 4.0, last])) == found
    assert run.diverged([last]) == []
    if found:
        assert run.diverged([9.0, 4.0, last])[0].figures == {"lowest": 4.0, "last": last}


@pytest.mark.parametrize(("bits", "found"), [(3.99, False), (4.0, False), (4.0004, False), (4.0006, True)])
def test_nobody_wins_at_figures_that_are_printed_alike(bits, found):
    assert bool(run.against_xz(bits, 4.0, 0.001)) == found
    assert run.against_xz(None, 4.0, 0.001) == run.against_xz(bits, None, None) == []


@pytest.mark.parametrize(
    ("curve", "rule"),
    [
        ([9.0, 5.0, 5.0, 5.15], None),  # 3 % over the lowest, and no more
        ([9.0, 5.0, 5.0, 5.16], "held-out-rose"),
        ([9.0, 6.0, 5.0, 4.9], None),  # 2 % under a quarter of the run before
        ([9.0, 6.0, 5.0, 4.89], "still-falling"),
        ([9.0, 5.0, 6.0], None),  # three reports are no curve
    ],
)
def test_the_course_of_the_held_out_curve(curve, rule):
    assert [f.rule for f in run.course(curve)] == ([] if rule is None else [rule])


@pytest.mark.parametrize(
    ("last", "rates", "found"),
    [
        (4.08, (), False),
        (4.09, (), True),
        (7.99, (), True),
        (8.0, (), False),  # which is divergence
        (5.0, (0.1, 0.05), False),  # the rate has come down to half
        (5.0, (0.1, 0.051), True),
    ],
)
def test_training_perplexity_that_rises_late(last, rates, found):
    assert bool(run.late_rise([9.0, 4.0, 4.0, last], rates)) == found


def test_severities_of_the_bounds():
    for figure, severity in ((5.0, "note"), (6.0, "note"), (6.01, "warning"), (17.0, "problem")):
        (finding,) = run.against_bounds(figure, {**BOUNDS, "7-gram": 6.0}, is_held_out=True)
        assert (finding.rule, finding.severity, finding.figures["model"]) == ("bounds", severity, figure)


@pytest.mark.parametrize(
    ("figure", "severity"), [(6.0, None), (6.004, None), (6.01, "warning"), (16.9, "warning"), (17.0, "problem")]
)
def test_a_text_of_another_kind(figure, severity):
    found = run.against_baselines(figure, {**BOUNDS, "7-gram": 6.0})
    assert [f.severity for f in found] == ([severity] if severity else [])
    assert run.against_baselines(29.0, BOUNDS)[0].sentence.startswith(
        "Worse than uniform and unigram on this text: perplexity 29.00 against 28.00 and 17.00; do not use"
    )


# --- rules of a comparison


def competitor(label, *seeds, network=True, bits=2.0, characters=1000):
    """Perplexities over seeds, on 8 blocks of a text that cost nearly the same."""
    uneven = 1 + 1e-3 * np.random.default_rng(len(label) + ord(label[0])).standard_normal(8)
    blocks = np.log(seeds)[:, None] * (uneven / uneven.sum())
    of_bits = np.full((len(seeds), 1), bits) * (uneven / uneven.sum())
    return Competitor(label, network, SeedRange.of(seeds), len(seeds), bits, characters, blocks, of_bits)


@pytest.mark.parametrize(("seeds", "severity"), [((5.0, 5.1, 5.2), "note"), ((4.0, 4.2, 4.6), "warning")])
def test_a_winner_is_better_than_each_other_model_by_more_than_chance(seeds, severity):
    found, chance = comparison.winner([competitor("a", 4.0, 4.1, 4.2), competitor("b", *seeds)], "perplexity")
    assert (chance.rule, chance.severity) == ("chance", severity)
    assert found.sentence.startswith("a wins: " if severity == "note" else "a has the lowest perplexity: ")
    assert chance.sentence.startswith("That is more" if severity == "note" else "That may be chance: a and b may be")


def test_counts_have_no_seeds_and_one_seed_names_no_winner():
    counted = competitor("5-gram", 4.0, network=False)
    assert comparison.winner([counted, competitor("4-gram", 5.0, network=False)], "perplexity")[0].sentence.startswith(
        "5-gram wins"
    )
    found, chance, seeds = comparison.winner([counted, competitor("gru", 5.0)], "perplexity")
    assert found.sentence.startswith("5-gram has the lowest perplexity: 4.00 against 5.00 of gru, 20.0% less.")
    assert chance.sentence.startswith("On text like this the difference between these trained models is significant")
    assert seeds.sentence.startswith("gru was trained with one seed, so what another seed changes is not measured")


def test_two_seeds_that_lie_apart_are_not_enough_where_their_distance_is_that_of_the_models():
    """The ranges 4.0..4.2 and 4.21..4.41 do not touch, as those of 19 % of equal models."""
    _, chance = comparison.winner([competitor("a", 4.0, 4.2), competitor("b", 4.21, 4.41)], "perplexity")
    assert chance.sentence.startswith("That may be chance: a and b may be equally good (p = 0.")


def test_a_short_text_is_not_tested():
    models = [competitor(label, value)._replace(blocks=None) for label, value in (("a", 4.0), ("b", 5.0))]
    found, chance = comparison.winner(models, "perplexity")
    assert found.sentence.startswith("a has the lowest")
    assert "too short to test" in chance.sentence
    assert comparison.networks_and_ngram([models[0], competitor("4-gram", 5.0, network=False)]) == []


def test_what_pays_for_other_text_has_no_winner():
    models = [competitor("a", 4.0, characters=900), competitor("b", 5.0)]
    (found,) = comparison.of_comparison(models, [], [("xz", 9.0)], "bits_per_character")
    assert found.sentence == (
        "No winner is named: a was scored on 900 characters of the text and b on 1,000, so they do not pay for the "
        "same text."
    )


def test_medians_that_differ_in_the_last_digits_share_the_first_place():
    same = comparison.winner([competitor("a", 4.0, 4.0), competitor("b", 4.004)], "perplexity")
    assert sentences(same) == ["a and b share the first place: perplexity 4.00."]
    other = comparison.winner([competitor("a", 4.0, 4.0), competitor("b", 4.006)], "perplexity")
    assert other[0].sentence.startswith("a has the lowest perplexity: 4.00")


@pytest.mark.parametrize(
    ("seeds", "sentence"),
    [
        ((3.0, 3.01), "The network beats the best n-gram, 4-gram."),
        ((5.0, 5.01), "gru is worse than the best n-gram, 4-gram."),
        ((3.9, 4.0), "gru and 4-gram, the best n-gram, may be equally good."),
        ((3.0,), "The network beats the best n-gram, 4-gram (by the text alone: one seed)."),
    ],
)
def test_networks_are_compared_with_the_best_n_gram_by_the_test(seeds, sentence):
    ngram, gru = competitor("4-gram", 4.0, network=False), competitor("gru", *seeds)
    assert sentences(comparison.networks_and_ngram(sorted([gru, ngram], key=lambda m: m.seeds.median))) == [sentence]


@pytest.mark.parametrize(("value", "severity"), [(3.9, None), (3.999, "warning"), (4.0, "problem"), (5.0, "problem")])
def test_what_is_not_under_a_bound_by_more_than_chance_is_named(value, severity):
    bound = competitor("unigram", 4.0, network=False)
    found = comparison.no_better_than_bound([competitor("gru", value, network=False)], [bound])
    assert [f.severity for f in found] == ([severity] if severity else [])
    sentences_of = {"warning": "gru may be no better than unigram: the difference may be chance."}
    sentences_of["problem"] = "gru is no better than unigram: do not use it."
    assert sentences(found) == ([sentences_of[severity]] if severity else [])
    short = competitor("gru", value)._replace(blocks=None)
    (said,) = comparison.no_better_than_bound([short], [bound])
    assert said.severity == ("problem" if value >= 4 else "warning")  # nothing could be tested


@pytest.mark.parametrize(
    ("bits", "severity", "verdict"),
    [
        (1.95, "note", "Every model beats"),
        (1.9999, "warning", "gru may be no better than"),
        (2.0, "warning", "No model beats"),
        (2.5, "warning", "No model beats"),
    ],
)
def test_what_is_not_under_the_compressor_by_more_than_chance_is_named(bits, severity, verdict):
    gru = competitor("gru", 4.0, bits=bits)
    (found,) = comparison.against_compressor([gru], [("xz", 2.0), ("bz2", 3.0)])
    assert (found.severity, found.figures) == (severity, {"xz": 2.0, "gru": bits})
    assert found.sentence.startswith(f"{verdict} the best compressor: xz needs 2.000 bits per character")
    assert comparison.against_compressor([gru], []) == []
    (short,) = comparison.against_compressor([gru._replace(bit_blocks=None)], [("xz", 2.0)])
    assert short.severity == "warning"


def test_models_are_told_apart_by_the_compressor():
    models = [competitor(label, 4.0, bits=bits) for label, bits in (("a", 1.5), ("b", 1.9999), ("c", 2.1))]
    assert sentences(comparison.against_compressor(models, [("xz", 2.0)])) == [
        "b may be no better than the best compressor: xz needs 2.000 bits per character; the difference may be chance.",
        "c does not beat the best compressor: xz needs 2.000 bits per character.",
    ]


# --- rules of a forecast


def errors_of(name, *mse, naive=False, diverged=(), blocks=None, has_seeds=False):
    return ForecasterErrors(name, np.array(mse), naive, diverged, blocks, has_seeds)


def test_a_forecast_is_compared_with_the_best_and_with_the_naive_one():
    last = errors_of("last", 1.0, 2.0, naive=True)
    assert forecast.against_naive(errors_of("gru", 1.0, 2.0), last)[0].severity == "problem"
    assert forecast.against_naive(errors_of("gru", 1.0, 1.9), last)[0].severity == "note"
    assert forecast.against_naive(last, last) == []
    assert forecast.better_on_held_out(errors_of("a", 1.0), errors_of("b", 1.0)) == []
    assert forecast.better_on_held_out(errors_of("a", 1.0), errors_of("b", 0.9))[0].severity == "warning"
    assert math.isinf(errors_of("a", math.nan).overall)


@pytest.mark.parametrize(
    ("noise", "seeds", "words"),
    [
        (0.001, 2, "On the held-out values b is better than a by more than chance: mean squared error 0.5"),
        (1.0, 2, "On the held-out values b has the smaller error, which may be chance (p = "),
        (0.001, 1, "has the smaller error, but another seed may change it (--seeds 3 shows how much): mean"),
        (None, 2, "which may be chance, as there are too few held-out values to test it: mean"),
    ],
)
def test_a_forecaster_is_better_by_the_test_alone(noise, seeds, words):
    rng = np.random.default_rng(0)
    tested = [errors_of("last", 1.0, naive=True, blocks=None if noise is None else np.full((1, 8), 1 / 8))]
    for name, mse in (("a", 0.9), ("b", 0.5)):
        blocks = None if noise is None else mse / 8 + noise * rng.standard_normal((seeds, 8)) / 8
        tested.append(errors_of(name, mse, blocks=blocks, has_seeds=True))
    found = sentences(forecast.of_forecast(tested, "a", reason="named", coverage={}))
    assert words in found[1]
    assert found[2].startswith("The squared error of a is 10% less than that of the best naive forecast, last")
    assert ("chance" in found[2]) == (noise != 0.001)


def test_the_horizon_up_to_which_it_is_better_than_the_last_value():
    last = errors_of("last", 2.0, 2.0, 2.0, naive=True)
    (found,) = forecast.useful_horizon(errors_of("gru", 1.0, 1.9, 2.0), last)
    assert found.figures == {"steps": 2}
    assert forecast.useful_horizon(errors_of("gru", 2.0, 2.0, 1.9), last) == []
    assert forecast.useful_horizon(last, last) == []


def test_divergence_and_intervals():
    assert forecast.divergence(errors_of("ar-2", 1.0, diverged=[None, None])) == []
    assert forecast.divergence(errors_of("ar-2", 1.0, diverged=[None, 9, 7]))[0].figures == {"step": 7, "seeds": 2}
    assert forecast.intervals({}).severity == "warning"
    assert forecast.intervals({0.8: 0.75}).sentence == (
        "80% intervals hold 75% of the held-out values (calibrated on the end of the training part)."
    )


# --- rules of a benchmark


class Rounds:
    """Rates alone."""

    auto, default, products = "loop", 1, {}

    def __init__(self, rates):
        self.rates = {Variant(*key): list(values) for key, values in rates.items()}

    def ratio(self, variant, to):
        return Quartiles.of_ratios(self.rates[variant], self.rates[to])


@pytest.mark.parametrize(
    ("rates", "found"),
    [
        ([1.1] * 5, True),
        ([1.1] * 4, False),
        ([1.0] * 5, False),
        ([1.1] * 6 + [0.9], True),
        ([1.1] * 5 + [0.9] * 3, False),
    ],
)
def test_clearly_faster_is_three_rounds_of_four_of_at_least_five(rates, found):
    rounds = Rounds({("native", 1): rates, ("loop", 1): [1.0] * len(rates)})
    assert benchmark.clearly_faster(rounds, Variant("native", 1), Variant("loop", 1)) == found


# --- what a finding is


def test_a_finding_is_json_with_its_rule_and_its_figures():
    found = Finding("diverged", "problem", "Diverged.", {"last": math.inf})
    assert json.loads(json.dumps(finite(found.to_dict()))) == {
        "rule": "diverged", "severity": "problem", "sentence": "Diverged.", "figures": {"last": None},
    }  # fmt: skip
    assert (listed(["a"]), listed(["a", "b"]), verb(["a"], "is", "are"), verb(["a", "b"], "is", "are")) == (
        "a", "a and b", "is", "are",
    )  # fmt: skip


@pytest.mark.parametrize("length", [60, 600, 15_000])
def test_a_text_of_one_symbol_has_no_verdict_of_who_wins(length):
    """Its unigram with one count for `<unk>`: (n + 1) / (n + 2)."""
    bounds = {"uniform": 2.0, "unigram": (length + 2) / (length + 1), "1-gram": 1.0}
    found = of_run(train=1.0, held_out=1.0, bounds=bounds, curve=[1.0], training_curve=[1.0], xz=1.0, symbols=1)
    assert [finding.rule for finding in found] == ["nothing-to-predict"]
    assert [f.rule for f in run.against_baselines(1.07, bounds, symbols=1)] == ["nothing-to-predict"]


def test_a_text_of_two_symbols_has_one():
    """However rare the second: 20,000 of one and 1 of the other leave a unigram of 1.0005."""
    assert run.nothing_to_predict(2) == run.nothing_to_predict(None) == []
    assert run.against_baselines(1.88, {"uniform": 2.0, "unigram": 1.0005}, symbols=2)[0].severity == "problem"


# --- differences that may be chance


@pytest.mark.parametrize(
    ("figure", "p_value", "expected"),
    [
        (5.0, 0.049, "Better than 7-gram on held-out text: perplexity 5.00 against 6.00."),
        (5.0, 0.05, "Lower perplexity than 7-gram on held-out text, 5.00 against 6.00; that may be chance (p = 0.05)."),
        (
            5.0,
            None,
            "Lower perplexity than 7-gram on held-out text, 5.00 against 6.00; the text is too short to tell that from "
            "chance.",
        ),
        (
            7.0,
            0.3,
            "The 7-gram has the lower perplexity on held-out text, 6.00 against 7.00 of the network; that may be "
            "chance (p = 0.30).",
        ),
    ],
)
def test_better_is_said_of_what_is_more_than_chance(figure, p_value, expected):
    p_values = {"uniform": 0.0, "unigram": 0.0, "7-gram": p_value}
    (found,) = run.against_bounds(figure, BOUNDS | {"7-gram": 6.0}, p_values, is_held_out=True)
    assert found.sentence == expected
    assert (
        run.against_bounds(7.0, BOUNDS | {"7-gram": 6.0}, {"7-gram": 0.01}, is_held_out=True)[0].severity == "warning"
    )
    others = run.against_baselines(7.0, BOUNDS | {"7-gram": 6.0}, {"7-gram": p_value})
    assert [f.severity for f in others] == ["warning" if p_value == 0.049 else "note"]


def test_what_cannot_be_used_is_said_whatever_the_chance():
    (found,) = run.against_bounds(20.0, BOUNDS, dict.fromkeys(BOUNDS, 0.9), is_held_out=True)
    assert found.severity == "problem"
    assert found.sentence.startswith("No better than unigram on held-out text: perplexity 20.00 against 17.00")
    (found,) = run.against_bounds(20.0, BOUNDS, dict.fromkeys(BOUNDS, 0.01), is_held_out=True)
    assert found.sentence.startswith("Worse than unigram on held-out text: perplexity 20.00 against 17.00")
