"""Tables in Markdown, and spreads."""

import pytest

from elman.inference.spreads import Quartiles, SeedRange, number
from elman.inference.tables import markdown_table


def test_a_table_in_markdown():
    assert markdown_table([["a", "b"], ["x|y", "1"]]) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n"
    assert markdown_table([["a", "b"]], left=2) == "| a | b |\n| --- | --- |\n"


def test_quartiles_and_ranges_are_two_things_with_one_form_in_json():
    values = [7.0, 1.0, 5.0, 3.0, 2.0, 6.0, 4.0]
    assert Quartiles.of(values).to_dict() == {"median": 4, "low": 2, "high": 6}
    assert SeedRange.of(values).to_dict() == {"median": 4, "low": 1, "high": 7}
    assert Quartiles.from_dict(Quartiles.of(values).to_dict()) == Quartiles.of(values)
    assert SeedRange.of([4.1, 4.0, 5.0]).written(".2f") == "4.10 (4.00..5.00)"
    assert SeedRange.of([4.1]).written(".2f") == "4.10"


@pytest.mark.parametrize(("value", "text"), [(999.994, "999.99"), (1000.0, "1,000"), (float("inf"), "inf")])
def test_numbers_of_a_table(value, text):
    assert number(value, ".2f") == text
