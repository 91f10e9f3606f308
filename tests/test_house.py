"""The script that measures the source tree: right on a small tree, and the map in CONTRIBUTING.md is what it draws."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def script():
    spec = importlib.util.spec_from_file_location("house", ROOT / "tools" / "house.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["house"] = module
    spec.loader.exec_module(module)
    return module


house = script()


@pytest.fixture
def tree(tmp_path):
    """Five modules in two packages, and one flat."""
    files = {
        "__init__.py": "",
        "errors.py": "class Error(Exception): pass\n",
        "low/__init__.py": "from elman.low import words\n",
        "low/words.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from elman.low.more import f\n",
        "low/more.py": '''
from elman.errors import Error
from elman.low.words import x
def f(a, b):
    """First line.

    Args:
        a: one,
            and more of it: all.
        b, c: two.

    Raises:
        Error: never.
    """
    return (
        a
    )
def g(a, b): return a
def _h(a, b): return a
class Base:
    """A base.

    Args:
        size: in bytes.
    """
    def __init__(self, size, name): pass
    def run(self, a, b):
        """Run.

        Args:
            a: first.
            b: second.
        """
class Leaf(Base):
    def run(self, a, b): pass
''',
        "high/__init__.py": "",
        "high/top.py": "def late():\n    from elman.low import more\n    import elman.errors\n",
    }
    for name, text in files.items():
        path = tmp_path / "src" / "elman" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "tests").mkdir()
    return tmp_path


def test_the_facts_of_a_small_tree(tree):
    found = house.House(tree)
    assert found.packages == ["low", "high"]
    assert found.flat == ["errors"]
    assert found.arrows == {"errors": set(), "low": {"errors"}, "high": {"low", "errors"}}
    assert found.floors == {"errors": 0, "low": 1, "high": 2}
    assert found.up == []
    assert found.circles == [{"low.words", "low.more"}]
    facts = found.facts()
    assert facts["public, two or more parameters"] == "4"  # f, g, Base and Base.run; not _h, nor Leaf.run
    assert facts["of them with an Args block"] == "75 % (3 of 4)"
    assert facts["their parameters named in it"] == "62 % (5 of 8)"
    assert facts["longest function"] == "4 lines, low.more.f"


def test_a_circle_of_packages_is_an_arrow_up(tree):
    (tree / "src/elman/low/words.py").write_text("from elman.high.top import late\n")
    found = house.House(tree)
    assert found.up == [("high", "low"), ("low", "high")]
    assert found.floors == {"errors": 0, "low": 1, "high": 1}


def test_no_import_runs_up_and_none_goes_round():
    found = house.House()
    assert found.up == []
    assert found.circles == []


def test_the_map_in_contributing_is_the_one_that_is_drawn():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert page == house.with_map(page, house.House().map()), "run: python tools/house.py --write"
    assert max(map(len, house.House().map().splitlines())) <= 100


def test_the_script_prints_its_facts(tree):
    command = [sys.executable, ROOT / "tools" / "house.py", "--root", tree]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "packages" in done.splitlines()[0]
    assert done.splitlines()[0].endswith(" 2")
