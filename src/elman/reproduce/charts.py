"""Draw charts as PNG; matplotlib is optional (the extra "plot") and imported only when something is drawn."""

import math
from typing import TYPE_CHECKING

from elman.plotting import LINES, figure_bytes, new_figure, nice_ticks
from elman.reproduce.experiment import Chart, ChartSeries

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREY = "#777777"
WIDTH, HEIGHT = 5.6, 4.0  # inches: small, so that letters are large on small screens
FEW = 6  # series whose labels have room inside the picture
STYLES = {"line": "-", "dashed": "--", "points": "o"}


def draw_chart(chart: Chart) -> bytes:
    """Draw a chart; the bytes of a PNG file.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    figure = new_figure(HEIGHT)
    many = len(chart.series) > FEW
    paired = [line.style for line in chart.series] == ["line", "dashed"] * (len(chart.series) // 2)
    figure.set_size_inches(WIDTH, HEIGHT + many)
    figure.set_dpi(200)
    axes = figure.subplots()
    bars = [line for line in chart.series if line.style == "bars"]
    for i, line in enumerate(chart.series):
        colour = LINES[(i // 2 if paired else i) % len(LINES)]
        if line.style == "bars":
            _bars(axes, line, colour, bars.index(line), len(bars))
        else:
            points = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
            style = STYLES[line.style]
            axes.plot(*zip(*points, strict=True), style, color=colour, label=line.label, linewidth=1.8, markersize=4)
    for name, value in chart.bounds.items():
        axes.axhline(value, color=GREY, linestyle=":", linewidth=1)
        at = (0.01, value)
        axes.annotate(name, at, xycoords=("axes fraction", "data"), ha="left", va="bottom", fontsize=8, color=GREY)
    if "x" in chart.log:
        axes.set_xscale("log")
    if "y" in chart.log:
        axes.set_yscale("log")
    nice_ticks(axes)
    nice_ticks(axes, "x")
    axes.set_xlabel(chart.x)
    axes.set_ylabel(chart.y)
    axes.spines[["top", "right"]].set_visible(False)
    if len(chart.series) > 1 or chart.series[0].label:
        if many:
            axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.14), ncols=2)
        else:
            axes.legend(frameon=False, fontsize=8)
    return figure_bytes(figure, axes, "")


def _bars(axes: "Axes", line: ChartSeries, colour: str, place: int, of: int) -> None:
    """Draw bars, those of several series side by side, with their names below."""
    width = 0.8 / of
    at = [i if isinstance(x, str) else x for i, x in enumerate(line.x)]
    left = [x + width * (place - (of - 1) / 2) for x in at]
    axes.bar(left, list(line.y), width, color=colour, label=line.label)
    if line.x and isinstance(line.x[0], str):
        axes.set_xticks(at, [str(x) for x in line.x], fontsize=8)
        if len(at) > 4:
            for name in axes.get_xticklabels():
                name.set(rotation=35, ha="right", rotation_mode="anchor")
