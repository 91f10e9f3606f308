"""From a table to series: CSV and Parquet, wide and long, and every way in which a table can be wrong."""

import gzip
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.errors import ConfigError, DataError
from elman.forecasting.table import read_series

DAYS = [str(date(2024, 1, 30) + timedelta(i)) for i in range(6)]


def written(folder, text, name="t.csv"):
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def values(found):
    return {s.name: s.values.tolist() for s in found}


WIDE = "date,a,b,note\n" + "".join(f"{day},{i},{i * i / 4},x{i}\n" for i, day in enumerate(DAYS))


def test_every_numeric_column_of_a_wide_table_is_a_series(tmp_path):
    found, notes = read_series(written(tmp_path, WIDE))
    assert values(found) == {"a": [0, 1, 2, 3, 4, 5], "b": [0, 0.25, 1, 2.25, 4, 6.25]}
    assert found[0].timeline.at(6) == "2024-02-05"
    assert notes == ["left out, since they are not numeric: 'note'"]


def test_columns_can_be_chosen(tmp_path):
    found, notes = read_series(written(tmp_path, WIDE), columns=["b"])
    assert list(values(found)) == ["b"]
    assert notes == []


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_separators_line_ends_and_compression(tmp_path, separator, end, name):
    text = ("\ufeff" + WIDE).replace(",", separator).replace("\n", end).encode()
    found, _ = read_series(written(tmp_path, gzip.compress(text) if name.endswith("gz") else text, name))
    assert values(found)["a"] == [0, 1, 2, 3, 4, 5]


def test_a_long_table_holds_a_series_a_name_in_any_order(tmp_path):
    rows = [f"{who},{day},{base + i}" for who, base in (("one", 0), ("two", 10)) for i, day in enumerate(DAYS)]
    mixed = [rows[i] for i in (6, 0, 1, 7, 8, 2, 3, 9, 10, 4, 5, 11)]
    found, notes = read_series(written(tmp_path, "unique_id,ds,y\n" + "\n".join(mixed)))
    assert values(found) == {"two": [10, 11, 12, 13, 14, 15], "one": [0, 1, 2, 3, 4, 5]}
    assert notes == []
    other, _ = read_series(
        written(tmp_path, "who,when,what\n" + "\n".join(mixed)), ids="who", time="when", columns=["what"]
    )
    assert values(other) == values(found)


def test_parquet_is_the_same_table(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    csv, parquet = written(tmp_path, WIDE), str(tmp_path / "t.parquet")
    with duckdb.connect() as database:
        database.execute(f"COPY (SELECT * FROM read_csv('{csv}')) TO '{parquet}' (FORMAT parquet)")  # noqa: S608 - our own paths
    assert values(read_series(parquet)[0]) == values(read_series(csv)[0])
    with duckdb.connect() as database:  # decimals, timestamps with a zone and nulls
        database.execute(
            "CREATE TABLE t AS SELECT TIMESTAMPTZ '2024-01-01 00:00:00+00' + INTERVAL 1 HOUR * i AS ds, "
            "CASE WHEN i = 3 THEN NULL ELSE i::DECIMAL(9, 2) END AS y FROM range(6) t(i)"
        )
        database.execute(f"COPY t TO '{parquet}2' (FORMAT parquet)")
    found, _ = read_series(parquet + "2", missing="linear")
    assert values(found) == {"y": [0, 1, 2, 3, 4, 5]}
    assert found[0].timeline.at(6) == "2024-01-01T06:00:00Z"


def test_rows_out_of_order_are_sorted_and_a_note_says_so(tmp_path):
    text = "ds,y\n2024-01-03,3\n2024-01-01,1\n2024-01-02,2\n"
    found, notes = read_series(written(tmp_path, text))
    assert values(found) == {"y": [1, 2, 3]}
    assert notes == ["y: sorted by time; row 2 was before its predecessor"]


@pytest.mark.parametrize(
    ("dates", "more", "next_"),
    [
        (["03/01/2024", "04/01/2024", "05/01/2024"], {"date_format": "%d/%m/%Y"}, "2024-01-06"),
        (["1990", "1991", "1992"], {}, "1993"),
        (["20240103", "20240104", "20240105"], {}, "2024-01-06"),
        (["2024-01-03T10:00:00Z", "2024-01-03T12:00:00+01:00", "2024-01-03T12:00:00Z"], {}, "2024-01-03T13:00:00Z"),
        (["202311", "202312", "202401"], {}, "2024-02-01"),
        (["2024-03-30T00:00-05:00", "2024-03-31T00:00-05:00", "2024-04-01T00:00-04:00"], {}, "2024-04-02"),
        (["1704067200001", "1704067200002", "1704067200003"], {}, "1704067200004"),
    ],
)
def test_ways_to_write_a_time(tmp_path, dates, more, next_):
    text = "time,y\n" + "".join(f"{day},{i}\n" for i, day in enumerate(dates))
    found, _ = read_series(written(tmp_path, text), **more)
    assert found[0].timeline.at(3) == next_


def test_a_first_column_of_dates_is_the_time_whatever_its_name(tmp_path):
    found, _ = read_series(written(tmp_path, WIDE.replace("date", "Tag der Messung")))
    assert found[0].timeline.at(6) == "2024-02-05"
    plain, _ = read_series(written(tmp_path, "a,b\n1,5\n2,7\n"))
    assert list(values(plain)) == ["a", "b"]
    assert plain[0].timeline.at(6) == "7"


@given(
    st.lists(
        st.floats(-1e99, 1e99, allow_subnormal=False).filter(lambda x: not 0 < abs(x) < 1e-99),
        min_size=2,
        max_size=20,
        unique=True,
    )
)
def test_numbers_survive_the_table(tmp_path_factory, numbers):
    text = "y\n" + "".join(f"{number!r}\n" for number in numbers)
    (found,), _ = read_series(written(tmp_path_factory.mktemp("t"), text))
    assert found.values.tolist() == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty, there is nothing to read"),
        ("a,b\n", "a header without rows"),
        ("1,2\n3,4\n", "not column names: add a header row"),
        ("a,a\n1,2\n", "two columns are called 'a'"),
        ("a,b\n1,2\n3\n", r"row 2: 1 cells, but the header has 2 \(a,b\)"),
        ("a\nx\ny\n", r"no column is numeric \(a\)"),
        ("a\n1\n2\nthree\n", "a, row 3: 'three' is not a number"),
        ("a\n1;5\n", "no column is numeric"),
        ("a|b\n1,5|2\n2|3\n1|1\n", "a, row 1: '1,5' is not a number; write decimals with a point"),
        ("a\n1\ninf\n2\n", "a, row 2: an infinite value"),
        ("2024-01-01,5\n2024-01-02,6\n", "not column names: add a header row"),
        ("a\n1\n\n2\n", "a, row 2: the value is missing"),
        ("a\n1e200\n1\n", "a, row 1: 1e\\+200 is too large or small"),
        ("Umsatz;n\n1,5;x\n2,5;y\n", "no column is numeric .Umsatz, n.; write decimals with a point"),
        ("year,y\n1900,1\n,2\n1902,3\n", "year, row 2"),
        ("ds,y\n0001-01-01T01:00+10:00,1\n0001-01-02T00:00+10:00,2\n", "has no time in UTC"),
        ("ds,y\n2024-01-01,1\n2024-13-01,2\n", "ds, row 2: '2024-13-01' is not a date in the expected format"),
        ("ds,y\n2024-01-01,1\n2024-01-01,2\n", "y, rows 1 and 2: 2024-01-01 occurs twice"),
        ("ds,y\n2024-01-01T01:00Z,1\n2024-01-01T02:00,2\n", "some dates have a time zone and some have none"),
        ("unique_id,ds,y\na,2024-01-01,1\na,2024-01-02,2\nb,2024-01-01,x\n", "b, row 3: 'x' is not a number"),
        ('a,b\n1,"' + "x" * 2**25 + "\n", "not CSV"),
        (b"a,b\n1,2\n\xff,3\n", "give a CSV in UTF-8, or Parquet"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_series(written(tmp_path, text))


def test_a_damaged_parquet_file(tmp_path):
    pytest.importorskip("duckdb")
    with pytest.raises(DataError, match="cannot be read"):
        read_series(written(tmp_path, b"PAR1" + bytes(100) + b"PAR1", "t.parquet"))


def test_columns_that_are_not_there(tmp_path):
    path = written(tmp_path, WIDE)
    for more in ({"columns": ["bb"]}, {"time": "dat"}, {"ids": "not"}):
        with pytest.raises(ConfigError, match="there is no column"):
            read_series(path, **more)
    with pytest.raises(ConfigError, match="exactly one value column"):
        read_series(written(tmp_path, "unique_id,y,z\na,1,2\na,2,3\n"), columns=["y", "z"])
    with pytest.raises(DataError, match="no such file"):
        read_series(str(tmp_path / "none.csv"))


def test_many_rows_are_read(tmp_path):
    n = 200_000
    text = "y\n" + "\n".join(map(str, np.arange(n) % 97)) + "\n"
    (found,), _ = read_series(written(tmp_path, text))
    assert len(found) == n
    np.testing.assert_array_equal(found.values, np.arange(n) % 97)


def test_a_time_in_several_columns_is_not_guessed(tmp_path):
    path = written(tmp_path, "year,month,y\n2024,1,5\n2024,2,6\n2025,1,7\n")
    with pytest.raises(ConfigError, match="the time is in the columns month, year: join them into one"):
        read_series(path)


def test_names_of_columns_may_hold_commas(tmp_path):
    path = written(tmp_path, 'a,"b, c",d\n1,2,3\n3,5,4\n')
    assert list(values(read_series(path, columns=["b, c"])[0])) == ["b, c"]
    assert list(values(read_series(path, columns=["a,d", "a"])[0])) == ["a", "d"]


def test_dates_are_found_behind_an_index_without_a_name(tmp_path):
    text = ",Tag,y\n" + "".join(f"{i},{DAYS[k]},{k}\n" for i, k in enumerate((1, 0, 3, 2)))
    found, notes = read_series(written(tmp_path, text))
    assert values(found) == {"y": [0, 1, 2, 3]}
    assert notes[0] == "left out, since they are not numeric: ''"


def test_a_date_format_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match="see the codes of Python's strptime"):
        read_series(written(tmp_path, "ds,y\n01/02/03,1\n02/02/03,2\n"), date_format="%d/%m/%d")


def test_lines_end_where_lines_end_and_nowhere_else(tmp_path):
    found, _ = read_series(written(tmp_path, "note,y\rsome\u2028thing,1\rnew\x85line\x0c,2\r"))
    assert values(found) == {"y": [1, 2]}


def test_a_name_with_control_characters_is_shown_on_one_line(tmp_path):
    found, _ = read_series(written(tmp_path, 'unique_id,y\n"a\nb",1\n"a\nb",2\n'))
    assert found[0].name == "'a\\nb'"
