"""Every block of the README does what it says, with smaller budgets."""

import re
import shlex
from datetime import date, timedelta
from pathlib import Path

import pytest

from elman.cli import run
from elman.forecasting import learn

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the texts that the README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    words = "It was the best of times, it was the worst of times; it was the age of wisdom. "
    (folder / "book.txt").write_text(words * 60, encoding="utf-8")
    (folder / "other.txt").write_text("It was the age of foolishness. " * 20, encoding="utf-8")
    shop = (f"{date(2024, 1, 1) + timedelta(i)},{100 + 20 * (i % 7 > 4) + i * i % 11}\n" for i in range(150) if i != 40)
    (folder / "sales.csv").write_text("date,shop\n" + "".join(shop), encoding="utf-8")
    return folder


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


def test_every_line_is_run_here_or_by_ci():
    """What is not an `elman` command is what CI calls, or the installation that it makes."""
    others = {line for line in COMMANDS if not line.startswith("elman ")}
    assert others == {"make demo", 'pip install ".[all]"'}
    assert sum(line.startswith("elman ") for line in COMMANDS) >= 10


def test_the_commands_run(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ELMAN_SAMPLE_LENGTH", "5")
    for budget in ("MLP_BUDGET", "RECURRENT_BUDGET"):
        monkeypatch.setattr(learn, budget, learn.Budget(5, 1e-2))
    for line in COMMANDS:
        if line.startswith("elman "):
            assert run(smaller(shlex.split(line)[1:])) == 0, (line, capsys.readouterr().err)
    assert (folder / "surprisal.tsv").exists()


def test_the_python_blocks_run(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    blocks = [block for kind, block in BLOCKS if kind == "python"]
    assert blocks
    for block in blocks:
        exec(compile(block, str(README), "exec"), {})  # noqa: S102 - the README is ours
    assert "the quick brown fox" in capsys.readouterr().out


def test_the_table_of_words_is_true_of_the_printed_report(folder, monkeypatch, capsys):
    """The rows that the README shows are the rows that a training prints."""
    monkeypatch.chdir(folder)
    book = (folder / "book.txt").read_text(encoding="utf-8")
    (folder / "long.txt").write_text(book * 4, encoding="utf-8")  # as long a window as for the demo's text
    assert run(["train", "long.txt", "--steps", "2", "-q", "--run", "runs/rows"]) == 0
    printed = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    shown = next(block for kind, block in BLOCKS if kind == "text").splitlines()
    for row in shown:
        assert row.split("  ")[0] in printed
