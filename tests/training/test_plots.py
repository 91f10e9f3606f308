"""The pictures of a run and of a comparison: they show what was measured, and without matplotlib that is said."""

import builtins

import pytest

from elman.comparison.plots import comparison_dots, comparison_picture
from elman.data.vocab import Vocab
from elman.errors import ConfigError
from elman.models.ngram.frequencies import ngram_frequencies
from elman.models.ngram.plots import rank_frequency
from elman.plotting import BOUND, HELD_OUT, TRAIN, new_figure, save_figure
from elman.training.plots import gradient_curve, perplexity_curve, run_pictures

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
    assert {t.get_text().strip() for t in found.texts} >= {"uniform 28.00", "floor 1.20", "2.50"}
    assert (found.get_yscale(), found.get_xlabel(), found.get_ylabel()) == ("log", "epoch", "perplexity")
    assert [t.get_text() for t in found.get_legend().get_texts()] == ["train", "held-out"]


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


def test_a_title_keeps_the_letters_that_the_font_has(tmp_path):
    figure = new_figure(2)
    axes = figure.subplots()
    save_figure(figure, axes, "café Ω 時 $x$", tmp_path / "p.png")
    assert axes.get_title(loc="left") == "café Ω ? $x$"
