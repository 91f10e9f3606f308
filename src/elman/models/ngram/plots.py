"""Pictures of n-gram frequencies."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from elman.models.ngram.frequencies import Frequencies
from elman.plotting import LINES, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 2000  # of a curve: more would lie on each other


def rank_frequency(axes: "Axes", found: "Sequence[Frequencies]") -> None:
    """How often each n-gram occurs against its rank, on log axes, with the power law fitted to each length (S10)."""
    import numpy as np

    for f, colour in zip(found, itertools.cycle(LINES)):
        ranks = np.unique(np.geomspace(1, f.types, POINTS).round().astype(np.int64))
        law = f", alpha {f.line.alpha:.2f}" if f.line else ""
        axes.plot(ranks, f.times[ranks - 1], color=colour, linewidth=1.8, label=f"{f.n}-grams{law}")
        if f.line:
            ends = np.array([f.line.first, f.line.last])
            axes.plot(ends, f.line.scale / ends**f.line.alpha, color="black", linestyle="--", linewidth=1)
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
