"""Pictures of a run: perplexity and gradient norm against epoch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.plotting import BOUND, HELD_OUT, TRAIN, new_figure, nice_ticks, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
