"""Read series from a table: CSV (plain, .gz, .zst, standard input) or Parquet, wide or long.

wide    date, sales, visitors                  a column is a series
long    unique_id, ds, y                       a name is a series
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from elman.arguments import checked
from elman.data.files import text_chunks
from elman.errors import ConfigError, DataError, listed, no_such, one_line, printable
from elman.forecasting.series import Missing, Series, Values, series
from elman.forecasting.timeline import MICROSECONDS, Positions, Timestamps, UtcGrid
from elman.reading import parsing, real, reason

Column = list[str]
"""The cells of a column."""
MISSING_CELLS: Final = frozenset({"", "na", "n/a", "nan", "null", "none", "nat"})
"""Column, in lower case, that mean a missing value."""
TIME_COLUMNS: Final = ("ds", "date", "time", "datetime", "timestamp", "day", "month", "year")
"""Names, in lower case, of columns that are taken for the time if none is named."""
DATE_PARTS: Final = ("day", "month", "year")
TABLES: Final = (".csv", ".tsv", ".parquet", ".csv.gz", ".tsv.gz", ".csv.zst", ".tsv.zst")
YEAR_MONTH: Final = re.compile(r"(1[89]|2[01])\d\d(0[1-9]|1[0-2])", re.ASCII)
LARGEST_FIELD: Final = 2**24


@dataclass(frozen=True)
class ParsedTable:
    """A table of text cells, by column."""

    name: str
    columns: dict[str, Column]

    def column(self, name: str) -> Column:
        """The cells of a column.

        Raises:
            ConfigError: there is no such column.
        """
        if name not in self.columns:
            raise ConfigError(f"{self.name}: {no_such('column', name, self.columns)}")
        return self.columns[name]


def is_table(source: str) -> bool:
    """Whether the name of a source is that of a table."""
    return source.lower().endswith(TABLES)


@checked
def read_series(
    path: str,
    *,
    columns: Sequence[str] = (),
    time: str | None = None,
    date_format: str | None = None,
    ids: str | None = None,
    missing: Missing = "refuse",
) -> tuple[list[Series], list[str]]:
    """Read the series of a table.

    Rows that are not in the order of time are sorted, and a note says so.

    Args:
        path: a CSV or Parquet file, or `-` for CSV on standard input.
        columns: the columns with the values, one by one or with commas; if none is given, `y` of a long table and
            every numeric column of a wide table.
        time: the column with the time; None looks for a usual name, then for the first column of dates.
        date_format: how dates are written, as for `datetime.strptime`; None expects ISO 8601, or numbers.
        ids: the column that names the series of a long table; None takes `unique_id` if there is one.
        missing: the rule for missing values, see `elman.forecasting.series.MISSING`.

    Returns:
        The series, and notes on what was left out or sorted.

    Raises:
        ConfigError: a column that does not exist, or a missing package.
        DataError: the file cannot be read as a table, or a series cannot be used; the message names the row.
    """
    if not path:
        raise ConfigError("the name of the table is empty: give a CSV or Parquet file, or - for standard input")
    with parsing(_shown(path), DataError, "correct the table"):
        table = _parquet(path) if _is_parquet(path) else _csv(path)
        return _series_of(table, columns, time, date_format, ids, missing)


def _series_of(
    table: ParsedTable,
    columns: Sequence[str],
    time: str | None,
    date_format: str | None,
    ids: str | None,
    missing: Missing,
) -> tuple[list[Series], list[str]]:
    """The series of a table, and notes, as `read_series` returns them."""
    columns = list(dict.fromkeys(name for text in columns for name in _named(table, text)))
    ids = "unique_id" if ids is None and "unique_id" in table.columns else ids
    time = time or _time_column(table, date_format, taken={*columns, ids})
    if ids is None:
        stamps, utc = (None, False) if time is None else _stamps(table, time, date_format)
        names, notes = _value_columns(table, columns, time)
        rows = np.arange(1, len(table.column(names[0])) + 1)
        parts = [(name, table.column(name), stamps, rows, utc) for name in names]
    else:
        parts, notes = _long(table, ids, time, date_format, columns), []
    found = []
    for name, cells, given, unsorted, utc in parts:
        shown = printable(name)
        values = _numbers(table, shown, cells, unsorted)
        stamps, values, rows, note = _sorted(shown, values, given, unsorted)
        notes += note
        one = series(shown, values, stamps, missing, rows)
        found.append(replace(one, timeline=UtcGrid(one.timeline)) if utc else one)
    return found, notes


def _named(table: ParsedTable, text: str) -> list[str]:
    """The columns that a text names: one whose name holds commas, or several."""
    return [text] if text in table.columns else [name for name in text.split(",") if name]


def _is_parquet(path: str) -> bool:
    if path == "-" or not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return file.read(4) == b"PAR1"


def _shown(path: str) -> str:
    return "standard input" if path == "-" else printable(path)


def _csv(path: str) -> ParsedTable:
    """A CSV file with a header; the separator is the one of , ; tab | that the header holds most often."""
    name = _shown(path)
    try:
        lines = _lines(text_chunks([path]))
        header = next(lines, "")
    except DataError as error:
        raise DataError(_for_tables(str(error))) from error
    separator = max(",;\t|", key=header.count)
    csv.field_size_limit(LARGEST_FIELD)
    rows = csv.reader(chain([header], lines), delimiter=separator)
    try:
        names = [cell.strip() for cell in next(rows, [])]
        body = [row or [""] * len(names) for row in rows]
    except DataError as error:
        raise DataError(_for_tables(str(error))) from error
    except csv.Error as error:
        raise DataError(f"{name}, line {rows.line_num}: not CSV ({error}); save it again as plain CSV") from error
    while body and not any(body[-1]):
        body.pop()
    if any(map(_is_number, names)) and all(_is_number(cell) or _date(cell, None) for cell in names):
        begin = ", ".join(cell[:40] for cell in names[:3])
        raise DataError(f"{name}: the first row holds values ({begin}), not column names: add a header row")
    seen: set[str] = set()
    for cell in names:
        if cell in seen:
            raise DataError(f"{name}: two columns are called {cell!r:.100}: give them different names")
        seen.add(cell)
    for number, row in enumerate(body, 1):
        if len(row) != len(names):
            raise DataError(
                f"{name}, row {number}: {len(row)} cells, but the header has {len(names)} ({header.strip():.200})"
            )
    if not body:
        raise DataError(f"{name}: a header without rows, so there is nothing to forecast; give a table with rows")
    return ParsedTable(name, {key: [row[i].strip() for row in body] for i, key in enumerate(names)})


def _lines(chunks: Iterable[str]) -> Iterator[str]:
    """The text line by line, ends included."""
    ends = io.IncrementalNewlineDecoder(None, translate=True)
    begun: list[str] = []  # of a line that is longer than a chunk, joined once
    for chunk in chunks:
        first, *others = ends.decode(chunk).split("\n")
        begun.append(first)
        for other in others:
            yield "".join(begun) + "\n"
            begun = [other]
    if rest := "".join(begun):
        yield rest


def _for_tables(message: str) -> str:
    """What is wrong with a text, with a remedy for tables."""
    cause = message.split(": ")
    return ": ".join(cause[:2]).split("; ")[0] + "; give a CSV in UTF-8, or Parquet"


def _parquet(path: str) -> ParsedTable:
    try:
        import duckdb
    except ImportError as error:
        raise ConfigError('Parquet needs the "data" extra: pip install "elman[data]"; or give a CSV') from error
    # It reads the one file that was checked to be there, and fetches nothing.
    options: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    try:
        with duckdb.connect(":memory:", config=options) as database:
            read = database.execute("SELECT COLUMNS(*)::VARCHAR FROM read_parquet(?)", [[str(Path(path).absolute())]])
            names = [column[0] for column in read.description or ()]
            rows = read.fetchall()
    except duckdb.Error as error:
        raise DataError(
            f"{printable(path)}: the Parquet file cannot be read ({str(error).splitlines()[0]}); write it again"
        ) from error
    if not rows:
        raise DataError(
            f"{printable(path)}: a table without rows, so there is nothing to forecast; give a table with rows"
        )
    columns = zip(*rows, strict=True)
    cells = ([cell or "" for cell in column] for column in columns)
    return ParsedTable(printable(path), dict(zip(names, cells, strict=True)))


def _is_number(cell: str) -> bool:
    try:
        real(cell)
    except ValueError:
        return False
    return True


def _numbers(table: ParsedTable, name: str, cells: Column, rows: Positions) -> Values:
    """The cells as numbers, NaN where one is missing."""
    filled = ["nan" if cell.lower() in MISSING_CELLS else cell for cell in cells]
    try:
        return np.array([real(cell) for cell in filled], np.float64)
    except ValueError:
        at = next(i for i, cell in enumerate(filled) if not _is_number(cell))
        raise DataError(
            f"{table.name}: {name}, row {rows[at]}: {cells[at]!r:.60} is not a number{_hint(cells[at])}"
        ) from None


def _hint(cell: str) -> str:
    """How to write what was meant as a number."""
    if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d*)?", cell):
        return "; leave out the commas between thousands"
    if not cell.isascii() and _is_number("".join(str(unicodedata.decimal(c, c)) for c in cell)):
        return "; write it with the digits 0 to 9"
    return "; write decimals with a point" if _is_number(cell.replace(",", ".")) else ""


def _time_column(table: ParsedTable, date_format: str | None, taken: set[str | None]) -> str | None:
    """The column of the time, if one is found."""
    free = [name for name in table.columns if name not in taken]
    usual = [name for known in TIME_COLUMNS for name in free if name.lower() == known]
    parts = [name for name in usual if name.lower() in DATE_PARTS]
    if len(parts) > 1 and usual[0] in parts:
        raise ConfigError(
            f"{table.name}: the time is in the columns {', '.join(parts)}: join them into one, such as 2024-03-01, "
            "or name one with --time"
        )
    if usual or not free:
        return usual[0] if usual else None
    firsts = {name: table.columns[name][0] for name in free}
    return next((n for n, cell in firsts.items() if not _is_number(cell) and _date(cell, date_format)), None)


def _date(cell: str, date_format: str | None) -> datetime | None:
    if not cell.isascii() and any(c.isdecimal() and not c.isascii() for c in cell):
        return None  # numbers are refused in other digits too
    try:
        return datetime.fromisoformat(cell) if date_format is None else datetime.strptime(cell, date_format)
    except (ValueError, OverflowError):
        return None
    except Exception as error:
        raise ConfigError(
            f"--date-format {one_line(str(date_format)):.100}: {reason(error)}; see the codes of Python's strptime"
        ) from error


def _stamps(
    table: ParsedTable, name: str, date_format: str | None, rows: Positions | None = None
) -> tuple[Timestamps, bool]:
    """The time of every row: numbers such as years, or dates; whether those had a zone, and are in UTC now."""
    cells = table.column(name)
    cells = cells if rows is None else [cells[row - 1] for row in rows]
    if date_format is None and all(map(YEAR_MONTH.fullmatch, cells)):
        return np.array([f"{cell[:4]}-{cell[4:]}" for cell in cells], MICROSECONDS), False
    compact = all(cell.isascii() and cell.isdigit() and len(cell) == 8 for cell in cells)  # 20240301
    if date_format is None and not compact and sum(map(_is_number, cells)) > len(cells) / 2:
        rows = np.arange(1, len(cells) + 1) if rows is None else rows
        numbers = _numbers(table, name, cells, rows)
        for row in rows[~np.isfinite(numbers)][:1]:
            raise DataError(f"{table.name}: {name}, row {row}: the time is missing; fill it in, or leave the row out")
        return numbers, False
    dates = [_date(cell, date_format) for cell in cells]
    zoned = [date is not None and date.tzinfo is not None for date in dates]
    for i, (cell, date) in enumerate(zip(cells, dates, strict=True)):
        row = i + 1 if rows is None else rows[i]
        if date is None:
            how = "ISO 8601, such as 2024-03-01 or 2024-03-01T12:00" if date_format is None else date_format
            raise DataError(
                f"{table.name}: {name}, row {row}: {cell!r:.60} is not a date in the expected format ({how}): "
                "give the format with --date-format"
            )
        if zoned[i] != zoned[0]:
            raise DataError(
                f"{table.name}: {name}, row {row}: {cell!r:.60}, but some dates have a time zone and some have "
                "none: write all in one way"
            )
    there = [date for date in dates if date is not None]
    midnights = all(date.time() == datetime.min.time() for date in there)
    if not zoned[0] or midnights:  # days of a place are days, whatever its clocks do
        return np.array([date.replace(tzinfo=None) for date in there], MICROSECONDS), False
    try:
        return np.array([date.astimezone(UTC).replace(tzinfo=None) for date in there], MICROSECONDS), True
    except OverflowError as error:
        raise DataError(
            f"{table.name}: {name}: a date near the year 1 or 9999 has no time in UTC: leave its row out"
        ) from error


def _value_columns(table: ParsedTable, named: Sequence[str], time: str | None) -> tuple[list[str], list[str]]:
    """The columns with the values of a wide table, and a note about those that are left out."""
    if named:
        return [name for name in named if table.column(name)], []
    names = [name for name in table.columns if name != time]
    # A column counts as numeric if most of its cells are: a single wrong cell is then an error, not a silent omission.
    values = [name for name in names if _mostly_numbers(table.columns[name]) and not _is_index(table, name)]
    if not values:
        hints = {_hint(cell) for name in names for cell in table.columns[name][:1]} - {""}
        those = listed(names) or "there is only the time"
        raise DataError(f"{table.name}: no column is numeric ({those}){''.join(sorted(hints)[:1])}")
    numeric = set(values)
    left_out = [repr(name) for name in names if name not in numeric]
    return values, [f"left out, since they are not numeric: {listed(left_out)}"] if left_out else []


def _is_index(table: ParsedTable, name: str) -> bool:
    """Whether a column only counts the rows, as one without a name does that pandas writes."""
    return not name and table.columns[name] == [str(i) for i in range(len(table.columns[name]))]


def _mostly_numbers(cells: Column) -> bool:
    there = [cell for cell in cells if cell.lower() not in MISSING_CELLS]
    return sum(map(_is_number, there)) > len(there) / 2


SeriesColumn = tuple[str, Column, Timestamps | None, Positions, bool]


def _long(
    table: ParsedTable, ids: str, time: str | None, date_format: str | None, columns: Sequence[str]
) -> list[SeriesColumn]:
    """The series of a long table, in the order in which they begin."""
    names = table.column(ids)
    value = columns[0] if columns else "y"
    if len(columns) > 1:
        raise ConfigError(
            f"a long table needs exactly one value column, and {', '.join(columns)} were given: "
            "choose one with --columns"
        )
    cells = table.column(value)
    by_name: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        by_name.setdefault(name, []).append(row)
    parts: list[SeriesColumn] = []
    for name, at in by_name.items():
        rows: npt.NDArray[np.int64] = np.array(at, np.int64) + 1
        stamps, utc = (None, False) if time is None else _stamps(table, time, date_format, rows)
        parts.append((name, [cells[row] for row in at], stamps, rows, utc))
    return parts


def _sorted(
    name: str, values: Values, stamps: Timestamps | None, rows: Positions
) -> tuple[Timestamps | None, Values, Positions, list[str]]:
    """The rows in the order of time, and a note where they were not."""
    if stamps is None or (stamps[1:] >= stamps[:-1]).all():
        return stamps, values, rows, []
    row = rows[int(np.flatnonzero(stamps[1:] < stamps[:-1])[0]) + 1]
    order = np.argsort(stamps, kind="stable")
    return stamps[order], values[order], rows[order], [f"{name}: sorted by time; row {row} was before its predecessor"]
