"""The picture of a comparison."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.inference.metrics import METRICS
from elman.plotting import BOUND, HELD_OUT, TRAIN, drawable, figure_bytes, new_figure, nice_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"network": TRAIN, "counts": HELD_OUT, "bound": BOUND, "compressor": "#5a8f3c"}


def comparison_picture(document: Mapping[str, Any]) -> bytes:
    """A comparison (`Comparison.to_dict`, with null for infinite figures) as PNG: the best row on top, a dot a seed.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    entries = [e for e in document["entries"] if _seeds(e, document["figure"])]
    figure = new_figure(1.3 + 0.32 * len(entries))
    axes = figure.subplots()
    comparison_dots(axes, entries, document["figure"])
    return figure_bytes(figure, axes, f"{Path(document['source']).name}: the same held-out text for all")


def comparison_dots(axes: "Axes", entries: Sequence[Mapping[str, Any]], figure: str) -> None:
    """Draw a metric of each entry: its seeds, their range and median, on a log axis where they lie far apart.

    Bounds are also drawn as lines across.

    Args:
        axes: where to draw.
        entries: those of `Comparison.to_dict`, the best first.
        figure: the name of the metric.
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
        form = METRICS[figure].form
        text = "a seed diverged" if median is None else format(median, form)
        axes.annotate(
            text, (max(seeds), y), (7, 0), textcoords="offset points", color=colour, va="center", fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )  # fmt: skip
    axes.set_yticks(range(len(entries)), [drawable(_label(entry)) for entry in entries], fontsize=9, parse_math=False)
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
