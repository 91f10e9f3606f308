"""`elman forecast`: predicts a series, with intervals, after a back-test of the models."""

import csv
import io
import json as json_module
import math
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from elman.cli.flags import number
from elman.cli.folders import result_folder
from elman.cli.options import Json, Quiet, Switch
from elman.cli.signals import Stop
from elman.errors import ConfigError, DataError, DivergedError, printable

if TYPE_CHECKING:
    from elman.forecasting.series import Series
    from elman.forecasting.study import ForecastResult

DRAWN = 4  # series of which pictures are drawn unasked; those of one take half a second
LONGEST_NAME = 150  # bytes of the part of a file's name that is the name of a series
MIN_WIDTH = 100  # columns of the tables, whatever the terminal: a figure that is cut is a wrong figure

ORDER = 6
EXAMPLES = """Examples:
  elman forecast sine                         # sin(0.01 t) and noise
  elman forecast sales.csv --horizon 14       # every numeric column
  elman forecast sales.csv --columns shop --model ridge-28,gru --seeds 3
  elman forecast sales.csv --missing previous --season 7 --json
Models: last, seasonal, mean, ar, ridge, mlp, mlp-reference, and every cell
(elman, elman-relu, gru, lstm), trained to predict one step or, as gru-ahead,
several steps; a window may follow (ridge-128). auto tries several and takes the
one with the least error on the end of the training values."""


def command(
    source: Annotated[str, Parameter(help="sine, a CSV or Parquet file (wide, or long: unique_id, ds, y), or - .")],
    *,
    model: Annotated[
        list[str] | None,
        Parameter(
            name=["--model", "--models"],
            negative="",
            help="Models, with commas or one a flag; the first makes the forecast [default: auto].",
        ),
    ] = None,
    horizon: Annotated[
        int | None, number("Steps to predict [default: 2 seasons, or 64; at most half of what is held out].", least=1)
    ] = None,
    held_out: Annotated[
        float | None, Parameter(help="Share, or number, of values at the end to test on [default: 0.2].")
    ] = None,
    season: Annotated[int | None, number("Steps of a cycle; 1: none [default: from the dates].", least=1)] = None,
    seeds: Annotated[int, number("Seeds that networks are fitted with.", least=1)] = 1,
    seed: Annotated[int, number("The first seed, and that of sine.", least=0)] = 0,
    columns: Annotated[
        list[str] | None, Parameter(negative="", help="Columns with values [default: y, or all that are numeric].")
    ] = None,
    time: Annotated[
        str | None, Parameter(help="Column with the time [default: found by its name or its dates].")
    ] = None,
    date_format: Annotated[
        str | None, Parameter(help="Format of the dates, such as %d/%m/%Y [default: ISO 8601].")
    ] = None,
    ids: Annotated[
        str | None, Parameter(name="--id", help="Column that names the series of a long table [default: unique_id].")
    ] = None,
    missing: Annotated[
        Literal["refuse", "previous", "linear", "skip"],
        Parameter(
            help="Missing values: refuse them, fill them by the previous value or a straight line, or skip their rows."
        ),
    ] = "refuse",
    pictures: Annotated[
        Switch, Parameter(help=f"Draw every series [default: where there are at most {DRAWN}].")
    ] = False,
    run: Annotated[Path | None, Parameter(help="New folder of the result [default: runs/SOURCE-forecast-N].")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Forecast a series: fit models, back-test them beside simple ones, and predict the next values."""
    names = split_names(model or ["auto"])
    found, notes = _read(source, columns or [], time, date_format, ids, missing, seed)

    from elman.cli.progress import ProgressDisplay
    from elman.forecasting.study import forecast, to_dict

    show = ProgressDisplay(quiet=quiet).print
    show(*notes)
    forecast_one = partial(
        forecast,
        models=names,
        horizon=horizon,
        held_out=held_out,
        season=season,
        seeds=seeds,
        seed=seed,
        on_progress=show,
    )
    with result_folder(run, [source], "forecast") as folder:
        with Stop(immediate=True):
            results, stopped_by = _forecast_each(found, notes, forecast_one, show)
        described_each = [to_dict(each) for each in results]
        report = {"schema_version": 1, "source": source, "notes": notes, "series": described_each}
        drawn = _write(folder, report, results, draw_all=pictures)
    report |= {"run": str(folder), "pictures": [str(p) for p in drawn or ()]}
    code = 128 + stopped_by if stopped_by else 0
    if json:
        from elman.models.saving import finite

        print(json_module.dumps(finite(report), ensure_ascii=False))
        return code
    for each in described_each:
        _print(each)
    sys.stdout.write("".join(f"{note}\n" for note in notes))
    sys.stdout.write(f"{printable(folder)} ({', '.join(p.name for p in sorted(folder.iterdir()))})\n")
    if drawn is None:
        show(f"no pictures of more than {DRAWN} series; --pictures draws them all, --columns chooses some")
    elif not drawn:
        show('no pictures: pip install "elman[plot]" draws them')
    return code


def _forecast_each(
    found: Sequence["Series"],
    notes: list[str],
    forecast_one: Callable[["Series"], "ForecastResult"],
    show: Callable[[str], None],
) -> tuple[list["ForecastResult"], int]:
    """The forecasts of the series, and the signal that ended it, or 0; what is done by then is kept.

    Of several series, those that cannot be forecast are left out with a note.
    """
    results: list[ForecastResult] = []
    for i, one in enumerate(found, 1):
        place = f" ({i:,} of {len(found):,})" if len(found) > 1 else ""
        show(f"{one.name}{place}: {len(one):,} values, {int((~one.observed).sum()):,} of them filled")
        try:
            results.append(forecast_one(one))
        except KeyboardInterrupt as interrupt:
            if not results:
                raise
            notes.append(f"interrupted: {len(found) - i + 1:,} of {len(found):,} series were not forecast")
            show(notes[-1])
            return results, interrupt.args[0] if interrupt.args else signal.SIGINT
        except (DataError, DivergedError) as error:
            if len(found) == 1:
                raise
            notes.append(f"left out: {error}")
            show(notes[-1])
    if not results:
        raise DataError(f"none of {len(found)} series can be forecast; {notes[-1].removeprefix('left out: ')}")
    return results, 0


def split_names(given: Sequence[str]) -> list[str]:
    """The names in texts that hold one name, or several with commas between them."""
    return [name for text in given for name in text.split(",") if name]


def _read(
    source: str,
    columns: Sequence[str],
    time: str | None,
    date_format: str | None,
    ids: str | None,
    missing: Literal["refuse", "previous", "linear", "skip"],
    seed: int,
) -> tuple[list["Series"], list[str]]:
    """The series of a source, and notes on how they were read."""
    if source == "sine":
        from elman.forecasting.series import sine

        flags = {
            "columns": columns,
            "time": time,
            "date-format": date_format,
            "id": ids,
            "missing": missing != "refuse",
        }
        if odd := [f"--{name}" for name, given in flags.items() if given]:
            raise ConfigError(f"'sine' is one series without columns: leave out {' and '.join(odd)}")
        return [sine(seed=seed)], []
    from elman.forecasting.table import read_series

    return read_series(source, columns=columns, time=time, date_format=date_format, ids=ids, missing=missing)


def _write(
    folder: Path, report: dict[str, Any], results: Sequence["ForecastResult"], *, draw_all: bool
) -> list[Path] | None:
    """Write the files of the result, and return the pictures among them; None where there are too many to draw."""
    from elman.cli.display import drawn_if_possible
    from elman.forecasting.plots import draw
    from elman.models.saving import finite, to_json
    from elman.storage.atomic import new_folder

    files = {
        "report.json": to_json(finite(report)),
        "report.md": _markdown(report).encode(errors="backslashreplace"),
        "forecast.csv": _csv(results).encode(errors="backslashreplace"),
    }
    new_folder(folder, files)
    if len(results) > DRAWN and not draw_all:
        return None
    stems = _stems([s.series.name for s in results])
    drawn = (drawn_if_possible(partial(draw, s, folder, stem)) for s, stem in zip(results, stems, strict=True))
    return list(chain.from_iterable(drawn))


def _stems(names: Sequence[str]) -> list[str]:
    """The first part of a file name for each series, unique even where a disk ignores case."""
    given: dict[str, str] = {}
    tried: dict[str, int] = {}
    """The last number behind each stem: the next search goes on from there."""
    for name in names:
        plain = "".join(c if c.isalnum() or c in "-_" else "-" for c in name).encode()[:LONGEST_NAME]
        made = stem = plain.decode(errors="ignore").strip("-") or "series"
        while made.casefold() in given:
            tried[stem.casefold()] = tried.get(stem.casefold(), 1) + 1
            made = f"{stem}-{tried[stem.casefold()]}"
        given[made.casefold()] = made
    return list(given.values())


def _csv(results: Sequence["ForecastResult"]) -> str:
    """The forecasts as a long table: unique_id, ds, model, value, and the ends of the intervals, empty without."""
    from elman.forecasting.study import LEVELS

    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    ends = [f"{side}-{level * 100:g}" for level in LEVELS for side in ("lo", "hi")]
    out.writerow(["unique_id", "ds", "model", "value", *ends])
    for result in results:
        widths = [result.half_width(level) for level in LEVELS]
        for k, value in enumerate(result.forecast):
            around = [v for w in widths for v in ((value - w[k], value + w[k]) if w[k] < float("inf") else ("", ""))]
            when = result.series.timeline.at(len(result.series) + k)
            out.writerow([result.series.name, when, result.chosen, value, *around])
    return text.getvalue()


ModelRows = dict[str, list[str]]
"""The cells of a row by the name of its model."""


def _tables(one: dict[str, Any]) -> list[tuple[str, list[str], ModelRows]]:
    """The tables of a series: title, columns, and a row for each model."""
    from elman.forecasting.study import display_horizons

    shown = display_horizons(one["horizon"])
    models = {_named(m, one): m for m in sorted(one["models"], key=lambda m: _mean(m["mse"]))}
    horizons = [f"k={k}" for k in shown]

    def by_horizon(figure: str) -> ModelRows:
        return {name: [_figure(m[figure][k - 1]) for k in shown] for name, m in models.items()}

    squared = {name: [*row, _figure(models[name]["free_running_mse"])] for name, row in by_horizon("mse").items()}
    if one["noise_floor"] is not None:
        squared = {"noise floor": [_figure(one["noise_floor"])] * (len(shown) + 1)} | squared
    facts = {
        name: [
            *(_share(_mean(held)) for held in m["coverage"].values()),
            f"{m['parameters']:,}",
            f"{m['operations']:,}",
            f"{m['seconds']:.2f}",
        ]
        for name, m in models.items()
    }
    levels = [f"in {level}" for level in one["models"][0]["coverage"]]
    return [
        ("mean squared error", [*horizons, "free run"], squared),
        ("mean absolute error", horizons, by_horizon("mae")),
        (_mase_title(one["mase_scale"]), horizons, by_horizon("mase")),
        ("held-out values in intervals", [*levels, "parameters", "operations", "seconds"], facts),
    ]


def _mase_title(scale: float) -> str:
    if math.isnan(scale):
        return "MASE (none: no training values are a season apart)"
    return f"MASE (the same / {scale:.3g})" if scale else "MASE (none: every season repeats the one before)"


def _title(one: dict[str, Any]) -> str:
    filled = f", {one['filled']:,} filled" if one["filled"] else ""
    filled += f", {one['left_out']:,} missing at the ends" if one["left_out"] else ""
    return (
        f"{one['series']}: {one['training_values']:,} training and {one['held_out_values']:,} held-out values{filled}"
    )


def _print(one: dict[str, Any]) -> None:
    """Print the tables and the verdict of one series; the model that makes the forecast has a star."""
    from rich.table import Table

    from elman.cli.console import Console

    out = Console(min_width=MIN_WIDTH)
    out.print_lines(_title(one))
    for title, columns, rows in _tables(one):
        table = Table(box=None, pad_edge=False)
        table.add_column(title, no_wrap=True)
        for name in columns:
            table.add_column(name, justify="right", no_wrap=True)
        for name, row in rows.items():
            table.add_row(name, *row)
        out.print(table)
    out.print_lines(*one["notes"], *one["verdict"], "")


def _markdown(report: dict[str, Any]) -> str:
    """The same for a page."""
    from elman.inference.tables import markdown_table

    parts = []
    for one in report["series"]:
        parts.append(f"# {_title(one)}\n")
        for title, columns, rows in _tables(one):
            parts.append(markdown_table([[title, *columns], *([name, *row] for name, row in rows.items())]))
        parts.append("".join(f"- {line}\n" for line in [*one["notes"], *one["verdict"]]))
    return "\n".join(parts).replace(" *", " \\*")


def _named(model: dict[str, Any], one: dict[str, Any]) -> str:
    return str(model["model"]) + (" *" if model["model"] == one["chosen"] else "")


def _mean(values: Sequence[float]) -> float:
    """The mean without missing values, infinite if all are missing."""
    present = [v for v in values if not math.isnan(v)]
    return sum(present) / len(present) if present else float("inf")


def _figure(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.1e}" if abs(value) >= 1e6 else f"{value:,.0f}"


def _share(value: float) -> str:
    return "-" if value == float("inf") else f"{value:.0%}"
