"""Every notebook runs from its first cell to its last on the public names alone, and Jupyter can open it."""

import ast
import re
import tempfile
from pathlib import Path

import jupytext
import matplotlib.pyplot as plt
import nbformat
import pytest

import elman

NOTEBOOKS = sorted((Path(__file__).parent.parent / "examples" / "notebooks").glob("*.py"))


def code(path: Path) -> list[str]:
    notebook = jupytext.read(path)
    nbformat.validate(notebook)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS] == ["series", "text"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch, capsys):
    drawn = []

    def show() -> None:
        drawn.append(any(axes.has_data() or axes.texts for axes in plt.gcf().axes))
        plt.close("all")

    monkeypatch.setenv("NOTEBOOK_QUICK", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(plt, "show", show)
    plt.switch_backend("Agg")
    cells = code(path)
    assert len(cells) > 8
    names: dict[str, object] = {}
    for cell in cells:
        exec(compile(cell, path.name, "exec"), names)  # noqa: S102 - the notebooks are ours
    assert len(drawn) == sum(cell.count("plt.show()") for cell in cells) > 2
    assert all(drawn)
    assert not re.search(r"\bnan\b|\binf\b", capsys.readouterr().out)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_takes_public_names_alone(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name and name.startswith("elman")} <= {"elman.errors"}
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "elman"
    }
    assert used
    assert used <= set(elman.__all__)
