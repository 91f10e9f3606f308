"""Every block of the README and of the pages in docs/ does what it says, with smaller budgets; links lead somewhere."""

import importlib.util
import re
import shlex
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from elman.cli import run
from elman.forecasting import learn

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
CI = {"make demo", "make test"}
"""What is no `elman` command: CI calls it."""


def blocks(page: Path) -> list[tuple[str, str]]:
    """Kind and text of every fenced block."""
    return re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    return [line for kind, block in blocks(page) if kind == "sh" for line in block.splitlines()]


@pytest.fixture
def folder(tmp_path):
    """A folder with the texts that the pages speak of."""
    words = "It was the best of times, it was the worst of times; it was the age of wisdom. "
    (tmp_path / "book.txt").write_text(words * 60, encoding="utf-8")
    (tmp_path / "other.txt").write_text("It was the age of foolishness. " * 20, encoding="utf-8")
    shop = (f"{date(2024, 1, 1) + timedelta(i)},{100 + 20 * (i % 7 > 4) + i * i % 11}\n" for i in range(150) if i != 40)
    (tmp_path / "sales.csv").write_text("date,shop\n" + "".join(shop), encoding="utf-8")
    return tmp_path


def smaller(arguments: list[str]) -> list[str]:
    """The same command with a budget of a few steps."""
    budget = next((i for i, a in enumerate(arguments) if a in ("--minutes", "--epochs")), None)
    if "sales.csv" in arguments and "--missing" not in arguments:  # a day is missing, as the first of them knows
        arguments = [*arguments, "--missing", "linear"]
    if arguments[0] == "reproduce" and len(arguments) > 1:  # what each experiment does is tested elsewhere
        return ["reproduce"]
    if arguments[0] == "bench":
        arguments = [*arguments, "--hidden", "8", "--threads", "1", "--rounds", "2"]
    if budget is not None:
        arguments = [*arguments[:budget], "--steps", "4", *arguments[budget + 2 :]]
    return [*arguments, "--steps", "6"] if "--resume" in arguments else arguments


def test_the_readme_is_short_and_every_line_is_run_here_or_by_ci():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150
    assert {line for page in PAGES for line in commands(page) if not line.startswith("elman ")} == CI
    assert sum(line.startswith("elman ") for page in PAGES for line in commands(page)) >= 25


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_the_commands_run(page, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ELMAN_SAMPLE_LENGTH", "5")
    for budget in ("MLP_BUDGET", "RECURRENT_BUDGET"):
        monkeypatch.setattr(learn, budget, learn.Budget(5, 1e-2))
    for line in commands(page):
        if line.startswith("elman "):
            assert run(smaller(shlex.split(line)[1:])) == 0, (line, capsys.readouterr().err)
    if page.stem == "guide":
        assert (folder / "surprisal.tsv").exists()


def programs(page: Path) -> list[tuple[str, str]]:
    """Each Python block, and the block of text right after it: its output, or ""."""
    found = blocks(page)
    after = [*found[1:], ("", "")][: len(found)]
    text = page.read_text(encoding="utf-8")
    return [
        (block, shown if kind == "text" and f"{block}```\n\n```text\n{shown}" in text else "")
        for (python, block), (kind, shown) in zip(found, after, strict=True)
        if python == "python"
    ]


@pytest.mark.parametrize("page", [page for page in PAGES if programs(page)], ids=lambda page: page.stem)
def test_the_python_blocks_run_and_print_what_stands_below(page, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for program, shown in programs(page):
        exec(compile(program, str(page), "exec"), {})  # noqa: S102 - the page is ours
        printed = capsys.readouterr().out
        if shown:
            assert alike(printed, shown), printed
    assert page != README or any(shown for _, shown in programs(page))


def alike(printed: str, shown: str) -> bool:
    """Whether two outputs are the same but for figures that differ by 5 %: machines round differently."""
    number = r"\d+\.\d+"
    figures = [[float(found) for found in re.findall(number, text)] for text in (printed, shown)]
    return re.sub(number, "0", printed) == re.sub(number, "0", shown) and figures[0] == pytest.approx(
        figures[1], rel=0.05
    )


def test_a_different_output_is_seen():
    assert alike("gru 3.41\n", "gru 3.4\n")
    assert not alike("gru 3.8\n", "gru 3.4\n")
    assert not alike("lstm 3.4\n", "gru 3.4\n")


def test_what_contributing_shows_is_code_that_runs(tmp_path):
    """In a process of its own: it registers a cell, an engine and a forecaster."""
    written = blocks(ROOT / "CONTRIBUTING.md")
    assert {line for kind, block in written if kind == "sh" for line in block.splitlines() if "make" in line} == {
        "make test"
    }
    code = "\n".join(block for kind, block in written if kind == "python")
    check = (
        "\nmodel = elman.Recurrent(elman.TextTask(elman.Vocab.chars('abc')), cell='mgu', hidden=4, engine='checked')"
        "\nfor _ in elman.train(model, np.array([1, 2, 3] * 40), steps=1, batch=2, window=8): pass"
        "\nassert ''.join(SOURCE.text()).split()[:3] == ['1', '4', '9'] and EXPERIMENT.run is measure"
        "\nstudy = elman.forecast(elman.sine(200), ['drift-4'], horizon=4)"
        "\nassert 'drift-4' in [entry.name for entry in study.entries]"
    )
    (tmp_path / "shown.py").write_text(code + check, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "shown.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_the_table_of_figures_is_true_of_the_printed_report(folder, monkeypatch, capsys):
    """The rows that the README shows are the rows that a training prints."""
    monkeypatch.chdir(folder)
    book = (folder / "book.txt").read_text(encoding="utf-8")
    (folder / "long.txt").write_text(book * 4, encoding="utf-8")  # as long a window as for the demo's text
    assert run(["train", "long.txt", "--steps", "2", "-q", "--run", "runs/rows"]) == 0
    printed = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    shown = next(block for kind, block in blocks(README) if kind == "text").splitlines()
    for row in shown:
        assert row.split("  ")[0] in printed


def test_every_verb_stands_in_the_table_of_the_readme():
    from elman.cli.app import app

    shown = README.read_text(encoding="utf-8")
    for verb in (name for name in app if not name.startswith("-")):
        assert f"| `elman {verb}`" in shown or f", `{verb}` |" in shown, verb


@pytest.mark.parametrize("script", ["settings"])
def test_tables_that_scripts_make_are_current(script):
    spec = importlib.util.spec_from_file_location(script, ROOT / "tools" / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.PAGE.read_text(encoding="utf-8")
    assert page == module.with_table(page), f"run: python tools/{script}.py"


DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")]
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            heads = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, link


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda page: page.stem[:4])
def test_every_decision_has_its_fields(page):
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {int(page.stem[:4])}. ")
    assert re.search(r"^- Date: \d{4}-\d\d-\d\d\n- Status: (accepted|superseded|rejected)", text, re.MULTILINE)
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert heads == ["Context", "Decision", "Rejected alternatives", "Consequences"]


def test_each_decision_has_a_number_of_its_own():
    numbers = sorted(int(page.stem[:4]) for page in (ROOT / "docs" / "decisions").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
