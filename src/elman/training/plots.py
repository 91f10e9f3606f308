"""Pictures of a run: perplexity and gradient norm against epoch."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.plotting import BOUND, HELD_OUT, TRAIN, figure_bytes, new_figure, nice_ticks
from elman.storage.atomic import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABEL_POINTS = 11.5  # from one label in the margin to the next; the letters are 8 points high
LEAST_RATIO = 1.25  # highest by lowest value of an axis, however flat the curves are
NEAR = 0.5  # how far from the curves, in heights of them on the log scale, a bound is drawn as a line


def perplexity_curve(axes: "Axes", metrics: Sequence[Mapping[str, Any]], bounds: Mapping[str, float]) -> None:
    """Perplexity against epoch on a log scale: training, held-out, and the bounds.

    The scale is that of the curves. Bounds near them are dotted lines; those far away are named at the edge that is
    nearer to them, with an arrow. All labels stand in the right margin, apart from each other.

    Args:
        axes: where to draw.
        metrics: records of metrics.jsonl, with "epoch" and "train" or "held_out".
        bounds: name to perplexity, above 0.
    """
    labels, curves = [], []
    for key, name, colour, style in (("train", "train", TRAIN, "-"), ("held_out", "held-out", HELD_OUT, "o-")):
        points = _points(metrics, key)
        if not points:
            continue
        curves.append(points)
        marker = "o-" if len(points) == 1 else style
        axes.plot(
            *zip(*points, strict=True), marker, color=colour, label=name, markersize=4, linewidth=1.8, clip_on=False
        )
        last = points[-1][1]
        labels.append(_Label(last, f"{name} {_perplexity(last)}", colour, size=9))
        best = min(points, key=lambda point: point[1])
        if key == "held_out" and best != points[-1]:
            axes.plot(*best, "o", color=colour, markersize=9, fillstyle="none")
            found = f"best {_perplexity(best[1])}, epoch {best[0]:.3g}"
            labels.append(_Label(best[1], found, colour, size=9, leads=False))
    lines = _draw_frame(axes, "perplexity", curves, bounds.values())
    labels += [
        _bound_label(axes, f"{name} {_perplexity(value)}", value, near=value in lines) for name, value in bounds.items()
    ]
    _write_labels(axes, labels)


def _perplexity(value: float) -> str:
    """The figure with two decimals, or none where it is long."""
    return f"{value:.2f}" if value < 1000 else f"{value:,.0f}"


def gradient_curve(axes: "Axes", metrics: Sequence[Mapping[str, Any]], clip: float) -> None:
    """Mean global gradient norm before clipping, against epoch, on a log scale.

    Args:
        axes: where to draw.
        metrics: records of metrics.jsonl, with "epoch" and "gradient_norm".
        clip: norm above which gradients are clipped; 0: they are not, and no line is drawn.
    """
    points = [(x, y) for x, y in _finite(metrics, "gradient_norm") if y > 0]
    if points:
        marker = "o-" if len(points) == 1 else "-"
        axes.plot(*zip(*points, strict=True), marker, color=TRAIN, markersize=4, linewidth=1.5, clip_on=False)
    limits = [clip] if clip else []
    lines = _draw_frame(axes, "gradient norm", [points] if points else [], limits)
    labels = [_Label(points[-1][1], f"{points[-1][1]:.3g}", TRAIN, size=9)] if points else []
    labels += [_bound_label(axes, f"clipped above {value:g}", value, near=value in lines) for value in limits]
    _write_labels(axes, labels)


@dataclass(frozen=True)
class _Label:
    """A text in the right margin, as near as can be to a value of the vertical axis."""

    value: float
    text: str
    colour: str
    size: float = 8
    leads: bool = True
    """Whether a thin line leads from the value to the text."""


def _draw_frame(
    axes: "Axes", name: str, curves: Sequence[Sequence[tuple[float, float]]], bounds: Iterable[float]
) -> set[float]:
    """Scales, ticks and the names of the axes; the bounds that lie on the axis."""
    epochs = [x for points in curves for x, _ in points]
    low, high, lines = _axis_range([y for points in curves for _, y in points], bounds)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.set_xlim(0, max(epochs, default=0) or 1)
    nice_ticks(axes)
    axes.set_xlabel("epoch")
    axes.set_ylabel(name)
    axes.spines[["top", "right"]].set_visible(False)
    return lines


def _axis_range(values: Sequence[float], bounds: Iterable[float]) -> tuple[float, float, set[float]]:
    """The ends of the axis, and which bounds lie on it: those within NEAR heights of the curves."""
    wanted = {bound for bound in bounds if bound > 0}
    values = values or sorted(wanted) or [1.0]
    low, high = math.log(min(values)), math.log(max(values))
    widen = max(0.0, math.log(LEAST_RATIO) - (high - low)) / 2
    low, high = low - widen, high + widen
    reach = NEAR * (high - low)
    lines = {bound for bound in wanted if low - reach <= math.log(bound) <= high + reach}
    low, high = min([low, *map(math.log, lines)]), max([high, *map(math.log, lines)])
    pad = 0.05 * (high - low)
    return math.exp(low - pad), math.exp(high + pad), lines


def _bound_label(axes: "Axes", text: str, value: float, *, near: bool) -> _Label:
    """The label of a bound; its dotted line is drawn, or an arrow points to where it would be."""
    if near:
        axes.axhline(value, color=BOUND, linestyle=":", linewidth=1)
        return _Label(value, text, BOUND)
    arrow = "\N{UPWARDS ARROW}" if value > axes.get_ylim()[1] else "\N{DOWNWARDS ARROW}"
    return _Label(value, f"{arrow} {text}", BOUND, leads=False)


def _write_labels(axes: "Axes", labels: Sequence[_Label]) -> None:
    """Write labels into the right margin in the order of their values, each with a thin line to its value."""
    ordered = sorted(labels, key=lambda label: label.value)
    low, high = map(math.log, axes.get_ylim())
    wanted = [(math.log(max(label.value, 1e-300)) - low) / (high - low) for label in ordered]
    height = axes.get_window_extent().height * 72 / axes.figure.dpi
    for label, y, place in zip(ordered, wanted, spread(wanted, LABEL_POINTS / height), strict=True):
        line = {"arrowstyle": "-", "color": label.colour, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
        axes.annotate(
            label.text, (1, min(max(y, 0), 1)), (1.03, place), xycoords="axes fraction", textcoords="axes fraction",
            color=label.colour, fontsize=label.size, va="center", annotation_clip=False,
            arrowprops=line | {"relpos": (0, 0.5)} if label.leads else None,
        )  # fmt: skip


def spread(places: Sequence[float], distance: float) -> list[float]:
    """The nearest places in [0, 1] that lie at least so far apart, in the same order.

    Args:
        places: ascending; those outside [0, 1] are moved to its ends.
        distance: least distance of neighbours, above 0; made smaller where [0, 1] does not hold so many.

    Returns:
        As many places, ascending. Crowded ones are grouped, and each group lies around the mean of what it wanted.
    """
    distance = min(distance, 1 / max(1, len(places) - 1))
    groups: list[list[float]] = []
    for place in places:
        groups.append([min(max(place, 0), 1)])
        while len(groups) > 1 and _first(groups[-1], distance) < _first(groups[-2], distance) + distance * len(
            groups[-2]
        ):
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_first(group, distance) + i * distance for group in groups for i in range(len(group))]


def _first(group: Sequence[float], distance: float) -> float:
    """The lowest place of a group that lies around its mean, but within [0, 1]."""
    length = distance * (len(group) - 1)
    return min(max(sum(group) / len(group) - length / 2, 0), 1 - length)


def _points(metrics: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    """Epochs and values; training figures at the ends of epochs alone, where there are enough of them."""
    whole = [m for m in metrics if m.get("epoch_ended")]
    return _finite(whole if key == "train" and len(whole) > 3 else metrics, key)


def _finite(metrics: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    """Epochs and values of the records that have one."""
    return [(m["epoch"], m[key]) for m in metrics if m.get(key) is not None and math.isfinite(m[key])]


def run_pictures(
    folder: Path,
    metrics: Sequence[Mapping[str, Any]],
    bounds: Mapping[str, float],
    *,
    title: str,
    clip: float,
) -> list[Path]:
    """Draw perplexity.png and gradient.png.

    Args:
        folder: where to write them; it exists.
        metrics: records of metrics.jsonl.
        bounds: name to perplexity.
        title: above both.
        clip: norm above which gradients are clipped; 0: they are not.

    Returns:
        Their paths.

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
        replace_file(path, figure_bytes(figure, axes, title))
    return paths
