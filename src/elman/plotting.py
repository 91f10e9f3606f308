"""The style that all pictures share; matplotlib is optional (the extra "plot") and imported when one is drawn."""

import io
from typing import TYPE_CHECKING, Literal

from elman.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


TRAIN, HELD_OUT, BOUND = "#2a6fb0", "#c8452f", "#777777"
LINES = (TRAIN, HELD_OUT, "#2f8f5b", "#8457a8", "#b8860b", "#444444")
"""The colours of curves that stand side by side."""


def new_figure(height: float) -> "Figure":
    """An empty picture.

    Args:
        height: in inches; the width is 7.5.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError('pictures need the "plot" extra: pip install "elman[plot]"') from error
    return Figure(figsize=(7.5, height), dpi=150, layout="constrained")


def figure_bytes(figure: "Figure", axes: "Axes", title: str, *, kind: str = "png", pad: float | None = None) -> bytes:
    """Give a picture its title and draw it as a file, which `elman.storage.atomic.replace_file` writes whole.

    Args:
        figure: the picture.
        axes: the part of it that gets the title.
        title: letters that the font lacks become question marks.
        kind: the format: png, svg or pdf.
        pad: distance of the title from the axes in points; None: matplotlib's own.

    Returns:
        The contents of the file.
    """
    axes.set_title(drawable(title), fontsize=10, loc="left", parse_math=False, pad=pad)
    into = io.BytesIO()
    figure.savefig(into, format=kind)
    return into.getvalue()


def nice_ticks(axes: "Axes", which: Literal["x", "y"] = "y") -> None:
    """Plain numbers 1, 2, 5, 10, ... instead of powers of ten, where the scale is logarithmic.

    Args:
        axes: whose ticks; an axis with another scale is left as it is.
        which: the horizontal axis or the vertical one. Its ends must be set before: a short axis has more ticks.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    if axis.get_scale() != "log":
        return
    low, high = axis.get_view_interval()
    if high < 4 * low:
        axis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
        axis.set_minor_locator(NullLocator())
    else:
        fine = (1, 1.5, 2, 3, 4, 5, 7) if high < 20 * low else (1, 2, 5) if high < 5000 * low else (1,)
        axis.set_major_locator(LogLocator(subs=fine))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def drawable(text: str) -> str:
    """The text with a question mark for every letter that the font lacks (a $ is no mathematics: `parse_math`)."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    return "".join(letter if font.get_char_index(ord(letter)) else "?" for letter in text)
