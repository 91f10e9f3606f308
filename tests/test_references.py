"""Every work that a docstring cites by author and year has an entry in docs/references.md, and every entry is cited."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
REFERENCES = ROOT / "docs" / "references.md"
NAME = r"[A-Z][\w\-]+"
CITATION = re.compile(rf"({NAME})(?:(?:, {NAME})*,? and {NAME}| et al\.)?,? \(?((?:1[89]|20)\d\d)\b")
OTHERS = {"Python", "Level", "Unicode", "January", "November", "Epoch"}
"""Words that stand before a year and are no author."""

Key = tuple[str, str]


def cited(text: str) -> set[Key]:
    """First author and year of every citation, whether it names the others or says et al."""
    return {(author, year) for author, year in CITATION.findall(" ".join(text.split())) if author not in OTHERS}


def docstrings(path: Path) -> Iterator[str]:
    """Those of modules, classes, functions and attributes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def in_source() -> set[Key]:
    return {key for path in (ROOT / "src").rglob("*.py") for text in docstrings(path) for key in cited(text)}


def in_documents() -> set[Key]:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md"]
    pages += (ROOT / "examples").rglob("*.py")
    return {key for page in pages if page != REFERENCES for key in cited(page.read_text(encoding="utf-8"))}


def entries() -> list[Key]:
    """In the order of the page."""
    keys = re.findall(r"^- \*\*(.+? \d{4})\*\*: ", REFERENCES.read_text(encoding="utf-8"), re.MULTILINE)
    return [key for each in keys for key in cited(each)]


def test_every_citation_of_the_source_has_an_entry():
    assert in_source() - set(entries()) == set()


def test_every_citation_of_the_documents_has_an_entry():
    assert in_documents() - set(entries()) == set()


def test_every_entry_is_cited_once_and_in_order():
    found = entries()
    assert set(found) - in_source() - in_documents() == set()
    assert len(set(found)) == len(found)
    assert found == sorted(found)


def test_every_entry_has_an_address_or_says_that_it_has_none():
    for entry in re.split(r"^- ", REFERENCES.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        assert re.search(r"<https://[^>]+>|not recorded", entry), entry


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("the GRU (Cho et al. 2014), resetting", ("Cho", "2014")),
        ("Hochreiter and\n    Schmidhuber 1997", ("Hochreiter", "1997")),
        ("(Hinton, Vinyals and Dean 2015)", ("Hinton", "2015")),
        ("of Elman (1990)", ("Elman", "1990")),
    ],
)
def test_citations_are_found_however_they_are_written(text, key):
    assert cited(text) == {key}
