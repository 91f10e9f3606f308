"""How the whole training step scales: tokens a second of elman ("auto") and plain PyTorch, in turns.

Units, rows, steps and threads vary one at a time, the others at H = 256, B = 32, T = 35, one thread; V = 28.

    python benchmarks/scaling.py [--rounds 7] [--cells elman gru lstm] [--vary H B T threads] [--add]

writes results/scaling.json, and draws it into results/scaling.png.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from side_by_side import RESULTS, against, interleave, merged, read, write

from elman.comparison.benchmark import Shape
from elman.comparison.timing import lasting
from elman.comparison.training_steps import elman_step, plain_step
from elman.inference.findings.benchmark import PLAIN
from elman.inference.spreads import Quartiles
from elman.plotting import new_figure, nice_ticks

BASE = {"H": 256, "B": 32, "T": 35, "threads": 1}
VALUES = {
    "H": (64, 128, 256, 512, 1024),
    "B": (1, 4, 16, 32, 64, 256),
    "T": (8, 32, 128, 512),
    "threads": (1, 2),
}
LABELS = {"H": "hidden units H", "B": "rows of a batch B", "T": "steps of a window T", "threads": "threads"}
COLOURS = {"elman": "#0072b2", "gru": "#d55e00", "lstm": "#009e73"}  # told apart by all eyes (Okabe and Ito)
NAMES = {"elman": "Elman RNN", "gru": "GRU", "lstm": "LSTM"}
MARKERS = {"elman": "o", "gru": "s", "lstm": "^"}
TURN = 0.1


def measured(cell: str, sizes: dict[str, int], rounds: int) -> dict[str, Any]:
    """A row: both ways' rates, and their ratio."""
    torch.set_num_threads(sizes["threads"])
    shape = Shape(cell, sizes["H"], 28, sizes["B"], sizes["T"])
    ways = {PLAIN: lasting(plain_step(shape), TURN), "elman": lasting(elman_step(shape), TURN)}
    return {"cell": cell, **sizes} | against(interleave(ways, rounds), PLAIN)


def picture(rows: Sequence[dict[str, Any]]):
    """A panel a variable: rates of both ways on log axes, a colour a cell, with quartiles."""
    figure = new_figure(7.0)
    panels = figure.subplots(2, 2, sharey=True)
    for axes, variable in zip(panels.flat, VALUES, strict=True):
        axes.set_visible(any(row["varies"] == variable for row in rows))
        for cell, colour in COLOURS.items():
            for way, style, fill in (("elman", "-", "full"), (PLAIN, "--", "none")):
                points = sorted(
                    (row[variable], row[way]["per_second"])
                    for row in rows
                    if row["varies"] == variable and row["cell"] == cell
                )
                if not points:
                    continue
                x, found = zip(*points, strict=True)
                axes.plot(
                    x, [r["median"] for r in found], style, color=colour, marker=MARKERS[cell], fillstyle=fill,
                    markersize=5, linewidth=1.6, label=f"{NAMES[cell]}, {way}",
                )  # fmt: skip
                low, high = ([r[end] for r in found] for end in ("low", "high"))
                axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set_xscale("log")
        axes.set_yscale("log")
        values = sorted({row[variable] for row in rows if row["varies"] == variable}) or VALUES[variable]
        axes.set_xticks(values, [str(v) for v in values])
        axes.set_xticks([], minor=True)
        axes.set_xlabel(LABELS[variable])
        axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels.flat:
        nice_ticks(axes)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k")
    for axes in panels[:, 0]:
        axes.set_ylabel("tokens/s")
    handles, labels = max((axes.get_legend_handles_labels() for axes in panels.flat), key=lambda found: len(found[0]))
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cells", nargs="+", default=list(COLOURS), choices=list(COLOURS))
    parser.add_argument("--vary", nargs="+", default=list(VALUES), choices=list(VALUES))
    parser.add_argument("--draw", action="store_true", help="only draw what is in results/scaling.json")
    parser.add_argument("--add", action="store_true", help="keep the other rows of results/scaling.json")
    options = parser.parse_args()
    before = read("scaling") if options.add else None
    table = read("scaling")["result"] if options.draw else []
    for variable in [] if options.draw else options.vary:
        for cell in options.cells:
            for value in VALUES[variable]:
                row = {"varies": variable} | measured(cell, BASE | {variable: value}, options.rounds)
                table.append(row)
                print(
                    f"{cell:5} {variable} {value:4}  {row['elman']['per_second']['median']:9,.0f} tokens/s  "
                    f"{Quartiles.from_dict(row['elman']['ratio']).written()} x plain PyTorch",
                    flush=True,
                )
    if not options.draw:
        table = merged(before, table, ("varies", "cell", *BASE)) if before else table
        write("scaling", table, before=before)
    picture(table).savefig(RESULTS / "scaling.png")


if __name__ == "__main__":
    main()
