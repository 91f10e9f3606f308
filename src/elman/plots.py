"""Pictures of a run and of a comparison. matplotlib is optional (the extra "plot"), imported only here, when asked."""

import io
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from elman.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from elman.zipf import Frequencies

TRAIN, HELD_OUT, BOUND = "#2a6fb0", "#c8452f", "#777777"
LENGTHS = (TRAIN, HELD_OUT, "#2f8f5b", "#8457a8", "#b8860b", "#444444")
POINTS = 2000  # of a curve: more would lie on each other
COLOURS = {"network": TRAIN, "counts": HELD_OUT, "bound": BOUND, "compressor": "#5a8f3c"}


def new_figure(height: float) -> "Figure":
    """An empty picture, so many inches high.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError('pictures need the "plot" extra: pip install "elman[plot]"') from error
    return Figure(figsize=(7.5, height), dpi=150, layout="constrained")


def save_figure(
    figure: "Figure", axes: "Axes", title: str, into: Path | IO[bytes], *, pad: float | None = None
) -> None:
    """Give a picture its title and write it into a file."""
    axes.set_title(_plain(title), fontsize=10, loc="left", parse_math=False, pad=pad)
    figure.savefig(into)


def perplexity_curve(axes: "Axes", metrics: Sequence[Mapping[str, Any]], bounds: Mapping[str, float]) -> None:
    """Perplexity against epoch on log axes: training, held-out, and every bound as a labelled line.

    Args:
        axes: where to draw.
        metrics: records of metrics.jsonl, with "epoch" and "train" or "held_out".
        bounds: name to perplexity.
    """
    ends = []
    for key, label, colour, style in (("train", "train", TRAIN, "-"), ("held_out", "held-out", HELD_OUT, "o-")):
        points = _points(metrics, key)
        if points:
            axes.plot(*zip(*points, strict=True), style, color=colour, label=label, markersize=4, linewidth=1.8)
            ends.append((points[-1], colour))
    highest = max((value for (_, value), _ in ends), default=0)
    for (x, value), colour in ends:  # the higher figure above its line, the lower below: they never overlap
        _figure(axes, (x, value), colour, above=value == highest)
    held_out = _points(metrics, "held_out")
    best = min(held_out, key=lambda point: point[1], default=None)
    if best is not None and best != held_out[-1]:
        axes.plot(*best, "o", color=HELD_OUT, markersize=9, fillstyle="none")
        _figure(axes, best, HELD_OUT, above=False, ha="center", text=f"best {best[1]:.2f}")
    for name, value in bounds.items():
        _limit(axes, value, f"{name} {value:.2f}")
    _against_epochs(axes, "perplexity")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)


def _figure(
    axes: "Axes", at: tuple[float, float], colour: str, *, above: bool, ha: str = "right", text: str | None = None
) -> None:
    """A number beside its point."""
    side, away = ("bottom", 4) if above else ("top", -6)
    axes.annotate(
        text or f"{at[1]:.2f}", at, (0, away), textcoords="offset points", color=colour, ha=ha, va=side, fontsize=9
    )


def _limit(axes: "Axes", value: float, text: str) -> None:
    """A labelled dotted line across."""
    axes.axhline(value, color=BOUND, linestyle=":", linewidth=1)
    axes.annotate(
        text, (0.99, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8, color=BOUND
    )


def _against_epochs(axes: "Axes", what: str) -> None:
    """Log scale with plain numbers, epochs below."""
    axes.set_yscale("log")
    nice_ticks(axes)
    axes.set_xlim(left=0)
    axes.set_xlabel("epoch")
    axes.set_ylabel(what)
    axes.spines[["top", "right"]].set_visible(False)


def _points(metrics: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    """Epochs and values; training figures at the ends of epochs alone, where there are enough of them."""
    whole = [m for m in metrics if m.get("epoch_ended")]
    lines = whole if key == "train" and len(whole) > 3 else metrics
    return [(m["epoch"], m[key]) for m in lines if m.get(key) is not None]


def nice_ticks(axes: "Axes", which: Literal["x", "y"] = "y") -> None:
    """Plain numbers 1, 2, 5, 10, ... instead of powers of ten, where the scale is logarithmic."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    if axis.get_scale() != "log":
        return
    low, high = axis.get_view_interval()
    fine = (1, 1.5, 2, 3, 4, 5, 7) if high < 20 * low else (1, 2, 5) if high < 5000 * low else (1,)
    axis.set_major_locator(LogLocator(subs=fine))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def gradient_curve(axes: "Axes", metrics: Sequence[Mapping[str, Any]], clip: float) -> None:
    """Mean global gradient norm before clipping, against epoch, with the limit."""
    points = [(m["epoch"], m["gradient_norm"]) for m in metrics if m.get("gradient_norm") is not None]
    if points:
        axes.plot(*zip(*points, strict=True), color=TRAIN, linewidth=1.5)
    if clip:
        _limit(axes, clip, f"clipped above {clip:g}")
    _against_epochs(axes, "gradient norm")


def run_pictures(
    folder: Path,
    metrics: Sequence[Mapping[str, Any]],
    bounds: Mapping[str, float],
    *,
    title: str,
    clip: float,
) -> list[Path]:
    """Write perplexity.png and gradient.png into `folder`; their paths.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    paths = [folder / "perplexity.png", folder / "gradient.png"]
    for path, height in zip(paths, (4.5, 3.0), strict=True):
        figure = new_figure(height)
        axes = figure.subplots()
        if path.stem == "perplexity":
            perplexity_curve(axes, metrics, bounds)
        else:
            gradient_curve(axes, metrics, clip)
        save_figure(figure, axes, title, path)
    return paths


def rank_frequency(axes: "Axes", found: "Sequence[Frequencies]") -> None:
    """How often each n-gram occurs against its rank, on log axes, with the power law fitted to each length (S10)."""
    import numpy as np

    for f, colour in zip(found, itertools.cycle(LENGTHS)):
        ranks = np.unique(np.geomspace(1, f.types, POINTS).round().astype(np.int64))
        law = f", alpha {f.line.alpha:.2f}" if f.line else ""
        axes.plot(ranks, f.times[ranks - 1], color=colour, linewidth=1.8, label=f"{f.n}-grams{law}")
        if f.line:
            ends = np.array([f.line.first, f.line.last])
            axes.plot(ends, f.line.height / ends**f.line.alpha, color="black", linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    axes.set_xlabel("rank")
    axes.set_ylabel("times")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def zipf_picture(path: Path, found: "Sequence[Frequencies]", *, title: str) -> None:
    """Draw `rank_frequency` into a file.

    Raises:
        ConfigError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    figure = new_figure(5.0)
    axes = figure.subplots()
    rank_frequency(axes, found)
    save_figure(figure, axes, title, path)


def comparison_picture(document: Mapping[str, Any]) -> bytes:
    """A comparison (`Comparison.document`) as PNG: a row an entry, the best on top, a dot a seed.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    entries = [e for e in document["entries"] if _seeds(e, document["figure"])]
    figure = new_figure(1.3 + 0.32 * len(entries))
    axes = figure.subplots()
    comparison_dots(axes, entries, document["figure"])
    picture = io.BytesIO()
    save_figure(figure, axes, f"{Path(document['source']).name}: the same held-out text for all", picture)
    return picture.getvalue()


def comparison_dots(axes: "Axes", entries: Sequence[Mapping[str, Any]], figure: str) -> None:
    """A figure of each entry, on a log axis where they lie far apart: its seeds, their range, and the median.

    Bounds also stand as lines across, so that every dot is seen beside them.
    """
    values = [_seeds(entry, figure) for entry in entries]
    everything = [value for seeds in values for value in seeds]
    if everything and max(everything) > 4 * min(everything):
        axes.set_xscale("log")
    for y, (entry, seeds) in enumerate(zip(entries, values, strict=True)):
        colour, median = COLOURS[entry["kind"]], entry[figure]["median"]
        if entry["kind"] == "bound":
            axes.axvline(median, color=BOUND, linestyle=":", linewidth=1, zorder=0)
        axes.plot([min(seeds), max(seeds)], [y, y], color=colour, linewidth=2, alpha=0.4)
        axes.plot(seeds, [y] * len(seeds), "o", color=colour, markersize=6, alpha=0.8)
        form = ".2f" if figure == "perplexity" else ".3f"
        text = "a seed diverged" if median is None else format(median, form)
        axes.annotate(
            text, (max(seeds), y), (7, 0), textcoords="offset points", color=colour, va="center", fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )  # fmt: skip
    axes.set_yticks(range(len(entries)), [_plain(_label(entry)) for entry in entries], fontsize=9, parse_math=False)
    axes.set_ylim(len(entries) - 0.4, -0.6)
    axes.margins(x=0.12)
    nice_ticks(axes, "x")
    axes.set_xlabel(f"{figure.replace('_', ' ')} of held-out text")
    axes.spines[["top", "right"]].set_visible(False)


def _seeds(entry: Mapping[str, Any], figure: str) -> list[float]:
    """The figures of an entry's seeds, where there are such."""
    return [seed[figure] for seed in entry["seeds"] if seed[figure] is not None and math.isfinite(seed[figure])]


def _label(entry: Mapping[str, Any]) -> str:
    return entry["name"] if entry["model"] == entry["name"] else f"{entry['name']} ({entry['model']})"


def _plain(text: str) -> str:
    """The text with a question mark for every letter that the font lacks (a $ is no mathematics: `parse_math`)."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    return "".join(letter if font.get_char_index(ord(letter)) else "?" for letter in text)
