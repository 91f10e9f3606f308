"""The pictures of a run and of a comparison: they show what was measured, and without matplotlib that is said."""

import builtins

import pytest

from elman.comparison.plots import comparison_dots, comparison_picture
from elman.data.vocab import Vocab
from elman.errors import ConfigError
from elman.models.ngram.frequencies import ngram_frequencies
from elman.models.ngram.plots import rank_frequency
from elman.plotting import BOUND, HELD_OUT, TRAIN, figure_bytes, new_figure
from elman.training.plots import gradient_curve, perplexity_curve, run_pictures, spread

matplotlib = pytest.importorskip("matplotlib", reason='needs the "plot" extra')

METRICS = [
    {"epoch": float(e), "train": 20 / e, "held_out": 25 / e if e % 2 else None, "gradient_norm": 1 / e}
    for e in range(1, 9)
]


def axes():
    from matplotlib.figure import Figure

    return Figure().subplots()


def drawn(tmp_path, metrics=METRICS, bounds=None, clip=1.0):
    return run_pictures(tmp_path, metrics, bounds or {"uniform": 28.0}, title="gru 256, 8 epochs", clip=clip)


def colours(path) -> dict[str, int]:
    """How many pixels come near each of the three colours of ink."""
    from matplotlib import colors, image

    pixels = image.imread(path)[..., :3]
    near = {}
    for name in (TRAIN, HELD_OUT, BOUND):
        near[name] = int((abs(pixels - colors.to_rgb(name)).max(-1) < 0.12).sum())
    return near


def test_two_pictures_with_ink_of_every_kind(tmp_path):
    from matplotlib import image

    paths = drawn(tmp_path)
    assert [p.name for p in paths] == ["perplexity.png", "gradient.png"]
    for path, height in zip(paths, (675, 450), strict=True):
        pixels = image.imread(path)
        assert pixels.shape[:2] == (height, 1125)
        white = (pixels[..., :3] > 0.99).all(-1).mean()
        assert 0.8 < white < 0.99
    ink = colours(paths[0])
    assert all(count > 100 for count in ink.values()), ink
    assert colours(paths[1])[TRAIN] > 100
    assert colours(paths[1])[HELD_OUT] == 0


def test_the_curves_are_the_figures():
    found = axes()
    perplexity_curve(found, METRICS, {"uniform": 28.0, "floor": 1.2})
    train, held_out, *limits = found.get_lines()
    assert train.get_xydata().tolist() == [[m["epoch"], m["train"]] for m in METRICS]
    assert held_out.get_xydata().tolist() == [[m["epoch"], m["held_out"]] for m in METRICS if m["held_out"]]
    assert [line.get_ydata()[0] for line in limits] == [28.0, 1.2]
    labels = {"uniform 28.00", "floor 1.20", "train 2.50", "held-out 3.57"}
    assert {t.get_text() for t in found.texts} == labels
    assert (found.get_yscale(), found.get_xlabel(), found.get_ylabel()) == ("log", "epoch", "perplexity")


def curve(train, held_out, n=12):
    return [{"epoch": e / 2, "train": train(e), "held_out": held_out(e), "gradient_norm": 1 / e} for e in range(1, n)]


CASES = {
    "learns": (METRICS, {"uniform": 28.0, "unigram": 17.0, "5-gram": 3.6, "floor of this training": 1.02}),
    "over-fits": (curve(lambda e: 1 + 9 / e, lambda e: 6 + 30 / e + e * e), {"uniform": 28.0, "unigram": 17.0}),
    "one report": (METRICS[:1], {"uniform": 28.0, "unigram": 17.0, "5-gram": 24.0}),
    "flat": (curve(lambda e: 3.4, lambda e: 3.401), {"uniform": 104.0, "unigram": 25.0, "8-gram": 3.4, "floor": 1.0}),
    "no held-out": ([{"epoch": 1.0, "train": 2.0, "held_out": None}], {"uniform": 28.0, "unigram": 27.0}),
    "crowded": (curve(lambda e: 3 + 1 / e, lambda e: 3.1 + 1 / e), {f"{i}-gram": 3 + i / 100 for i in range(14)}),
    "huge": (curve(lambda e: 1e6 / e**4, lambda e: 1e12 / e**8 + 3), {"uniform": 28.0, "unigram": 27.5, "floor": 1.0}),
    "nothing": ([], {"uniform": 28.0}),
}


@pytest.mark.parametrize("case", CASES)
def test_labels_lie_apart_and_in_the_picture(case):
    """Whatever the curves and the bounds are; nor does a label cover a curve."""
    from io import BytesIO

    for draw, height in ((perplexity_curve, 4.5), (gradient_curve, 3.0)):
        metrics, bounds = CASES[case]
        figure = new_figure(height)
        found = figure.subplots()
        draw(found, metrics, bounds if draw is perplexity_curve else 0.5)
        figure.savefig(BytesIO())
        # A box of text has room for tails and accents, which these letters leave free.
        inner = [box.shrunk(1, 0.8).translated(0, 0.1 * box.height) for box in map(of_text, found.texts)]
        axes_box = found.get_window_extent()
        for i, box in enumerate(inner):
            assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
            assert box.x0 > axes_box.x1
            assert not any(box.overlaps(other) for other in inner[:i]), [t.get_text() for t in found.texts]


def of_text(text):
    """Where the letters are, without the line that leads to them."""
    from matplotlib.text import Text

    return Text.get_window_extent(text)


def test_the_scale_is_that_of_the_curves_and_far_bounds_are_named_at_the_edge():
    found = axes()
    metrics = curve(lambda e: 3 + 0.5 / e, lambda e: 3.2 + 0.5 / e)
    perplexity_curve(found, metrics, {"uniform": 1e4, "unigram": 25.0, "8-gram": 3.4, "floor of this training": 1.0})
    low, high = found.get_ylim()
    assert 2.5 < low < 3
    assert 3.7 < high < 4.5
    assert [line.get_ydata()[0] for line in found.get_lines()[2:]] == [3.4]
    where = {t.get_text(): t.xyann[1] for t in found.texts}
    assert where["\N{UPWARDS ARROW} uniform 10,000"] == 1
    assert where["\N{DOWNWARDS ARROW} floor of this training 1.00"] == 0
    assert where["\N{UPWARDS ARROW} unigram 25.00"] > where["8-gram 3.40"] > where["train 3.05"]


def test_the_best_of_a_curve_that_rises_again_is_marked():
    found = axes()
    perplexity_curve(found, curve(lambda e: 2.0, lambda e: 3 + abs(e - 4)), {})
    assert "best 3.00, epoch 2" in {t.get_text() for t in found.texts}
    assert [[2.0, 3.0]] in [line.get_xydata().tolist() for line in found.get_lines()]


@pytest.mark.parametrize(
    ("wanted", "distance", "expected"),
    [
        ([], 0.1, []),
        ([0.5], 0.1, [0.5]),
        ([0.5, 0.5], 0.1, [0.45, 0.55]),
        ([-7, 0.02], 0.1, [0, 0.1]),
        ([0.95, 3, 4], 0.1, [0.8, 0.9, 1]),
        ([0.2, 0.5, 0.52, 0.9], 0.1, [0.2, 0.46, 0.56, 0.9]),
        ([0.3, 0.3, 0.3], 0.9, [0, 0.5, 1]),
    ],
)
def test_places_are_spread(wanted, distance, expected):
    assert spread(wanted, distance) == pytest.approx(expected)


def test_the_norm_and_the_limit_that_clips_it():
    found = axes()
    gradient_curve(found, METRICS, 0.5)
    curve, limit = found.get_lines()
    assert curve.get_xydata().tolist() == [[m["epoch"], m["gradient_norm"]] for m in METRICS]
    assert limit.get_ydata()[0] == 0.5
    unclipped = axes()
    gradient_curve(unclipped, METRICS, 0.0)
    assert len(unclipped.get_lines()) == 1


def test_frequencies_fall_with_rank_beside_the_law_that_was_fitted():
    text = "".join(chr(97 + i % 26) * (40 // (1 + i % 26)) for i in range(52))
    vocab, found = Vocab.chars(text, unknown=False), axes()
    letters, pairs = ngram_frequencies(vocab.encode(text), vocab, order=2)
    rank_frequency(found, [letters, pairs])
    curve, law, other, _ = found.get_lines()
    assert curve.get_xydata().tolist() == [[i, times] for i, times in enumerate(letters.times.tolist(), 1)]
    assert other.get_ydata().tolist() == pairs.times.tolist()
    assert law.get_xdata().tolist() == [10, 26]
    fitted = letters.power_law
    assert law.get_ydata() == pytest.approx([fitted.scale * rank**-fitted.alpha for rank in (10, 26)])
    assert (found.get_xscale(), found.get_yscale()) == ("log", "log")
    labels = [t.get_text() for t in found.get_legend().get_texts()]
    assert labels == [f"1-grams, alpha {letters.power_law.alpha:.2f}", f"2-grams, alpha {pairs.power_law.alpha:.2f}"]


def test_without_held_out_text_its_curve_is_missing(tmp_path):
    metrics = [m | {"held_out": None} for m in METRICS]
    assert colours(drawn(tmp_path, metrics)[0])[HELD_OUT] == 0


def test_one_point_is_drawn_too(tmp_path):
    assert all(p.stat().st_size > 5000 for p in drawn(tmp_path, METRICS[:1]))


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    importing = builtins.__import__

    def refuse(name, *arguments, **more):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return importing(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigError, match=r'"plot" extra: pip install "elman\[plot\]"'):
        drawn(tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- a comparison


def compared(**more):
    def described(name, kind, *figures):
        return {
            "name": name,
            "model": name,
            "kind": kind,
            "perplexity": {"median": None if None in figures else sorted(figures)[len(figures) // 2]},
            "seeds": [{"perplexity": f} for f in figures],
        }

    entries = [
        described("5-gram", "counts", 4.6),
        described("gru", "network", 5.1, 5.0, 5.4),
        described("lstm", "network", 5.2, None),  # a seed diverged
        described("xz", "compressor", 10.5),
        described("unigram", "bound", 17.0),
    ]
    return {"source": "a $book$ 書.txt", "figure": "perplexity", "entries": entries} | more


def test_a_comparison_is_drawn_seed_by_seed():
    found = axes()
    comparison_dots(found, compared()["entries"], "perplexity")
    dots = [line.get_xydata().tolist() for line in found.get_lines() if line.get_marker() == "o"]
    assert dots == [[[4.6, 0]], [[5.1, 1], [5.0, 1], [5.4, 1]], [[5.2, 2]], [[10.5, 3]], [[17.0, 4]]]
    assert [t.get_text() for t in found.get_yticklabels()] == ["5-gram", "gru", "lstm", "xz", "unigram"]
    assert [t.get_text() for t in found.texts] == ["4.60", "5.10", "a seed diverged", "10.50", "17.00"]
    assert found.yaxis_inverted()
    assert found.get_xscale() == "linear"
    far = compared()["entries"]
    far[-1]["seeds"] = [{"perplexity": 900.0}]
    wide = axes()
    comparison_dots(wide, far, "perplexity")
    assert wide.get_xscale() == "log"


def test_the_labels_of_a_comparison_lie_apart():
    """Neither figures nor names overlap, and all of them lie in the picture."""
    from io import BytesIO

    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 1.3 + 0.32 * 5), dpi=150, layout="constrained")
    found = figure.subplots()
    comparison_dots(found, compared()["entries"], "perplexity")
    figure.savefig(BytesIO())
    boxes = [t.get_window_extent() for t in (*found.texts, *found.get_yticklabels())]
    whole = figure.bbox
    for i, box in enumerate(boxes):
        assert whole.x0 <= box.x0 < box.x1 <= whole.x1
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_a_comparison_is_a_png_with_ink(tmp_path):
    path = tmp_path / "c.png"
    path.write_bytes(comparison_picture(compared()))
    ink = colours(path)
    assert all(count > 100 for count in ink.values()), ink


def test_a_comparison_of_nothing_is_drawn_too():
    assert comparison_picture(compared(entries=[])).startswith(b"\x89PNG")


def test_a_title_keeps_the_letters_that_the_font_has():
    figure = new_figure(2)
    axes = figure.subplots()
    assert figure_bytes(figure, axes, "café Ω 時 $x$").startswith(b"\x89PNG")
    assert axes.get_title(loc="left") == "café Ω ? $x$"
