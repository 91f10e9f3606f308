"""Pictures of n-gram frequencies."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from elman.models.ngram.frequencies import Frequencies
from elman.plotting import LINES, figure_bytes, new_figure
from elman.storage.atomic import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 2000  # of a curve: more would lie on each other


def rank_frequency(axes: "Axes", found: "Sequence[Frequencies]") -> None:
    """Plot counts of n-grams over their ranks on logarithmic axes, with the power law fitted to each length.

    Args:
        axes: Matplotlib's axes to draw on.
        found: the frequencies of each length.
    """
    import numpy as np

    for f, colour in zip(found, itertools.cycle(LINES)):
        ranks = np.unique(np.geomspace(1, f.types, POINTS).round().astype(np.int64))
        law = f", alpha {f.power_law.alpha:.2f}" if f.power_law else ""
        axes.plot(ranks, f.times[ranks - 1], color=colour, linewidth=1.8, label=f"{f.n}-grams{law}")
        if f.power_law:
            ends = np.array([f.power_law.first, f.power_law.last])
            axes.plot(ends, f.power_law.scale / ends**f.power_law.alpha, color="black", linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    axes.set_xlabel("rank")
    axes.set_ylabel("count")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def zipf_picture(path: Path, found: "Sequence[Frequencies]", *, title: str) -> None:
    """Save the plot of `rank_frequency` as a file.

    Args:
        path: the new file; its suffix is the format.
        found: the frequencies of each length.
        title: above the plot.

    Raises:
        ConfigError: matplotlib is not installed.
        StorageError: the file cannot be written.
    """
    figure = new_figure(5.0)
    axes = figure.subplots()
    rank_frequency(axes, found)
    replace_file(path, figure_bytes(figure, axes, title, kind=path.suffix.removeprefix(".")))
