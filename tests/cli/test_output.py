"""Help, configuration and streams: what a user reads, what a program reads, and what wins over what."""

import importlib
import io
import os
import pty
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from command import ENGLISH, TINY, Done, good, program

from elman.cli import run, verbs
from elman.cli.app import app, find_verbs

VERBS = (
    "train", "compare", "evaluate", "generate", "rollout", "forecast", "data", "stats", "compress", "decompress", "env",
)  # fmt: skip
PAGES = {"elman": (), "--help": ("--help",), "-h": ("-h",)} | {verb: (verb, "--help") for verb in VERBS}
FLAG = re.compile(r"^│ {1,4}(?:\* +)?(?:[A-Z]+ )?(--[a-z-]+)")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(ENGLISH)
    return path


def page(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> Done:
    monkeypatch.setenv("COLUMNS", "80")
    return good(*arguments)


# --- help


@pytest.mark.parametrize("arguments", PAGES.values(), ids=PAGES)
def test_help_is_for_80_columns_on_standard_output(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    done = page(*arguments, monkeypatch=monkeypatch)
    assert done.out.startswith("Usage: elman")
    assert not done.err
    assert max(map(len, done.out.splitlines())) <= 80
    assert "\x1b" not in done.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_has_a_help_text_and_there_are_few(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = page(verb, "--help", monkeypatch=monkeypatch).out.splitlines()
    starts = [i for i, line in enumerate(lines) if FLAG.match(line)]
    for i in starts:
        words = re.sub(r"\[.*|--[a-z-]+|\b[A-Z]{2,}\b|[│*]", "", lines[i] + lines[i + 1]).split()
        assert len(words) >= 2, lines[i]
    assert 1 <= len(starts) <= 29
    assert "Examples:" in "\n".join(lines)


def test_the_front_page_names_every_verb_and_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    out = page("--help", monkeypatch=monkeypatch).out
    assert all(re.search(rf"^│ {verb} +[A-Z]", out, re.MULTILINE) for verb in VERBS)
    assert all(re.search(rf"\b{code}\b", out) for code in (0, 1, 2, 3, 4, 5, 6, 74, 130, 143))


def test_help_and_slips_of_the_pen_do_not_import_torch(tmp_path: Path) -> None:
    calls = [list(a) for a in PAGES.values() if a[:1] not in {("train",), ("compare",)}]  # flags of model families
    calls += [
        ["--version"],
        ["data"],
        ["stats", "human-numbers"],
    ]
    script = (
        "import io, sys, contextlib\nfrom elman.cli import run\n"
        f"for call in {calls}:\n"
        "    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):\n"
        "        run(call)\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'matplotlib', 'safetensors'}))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stdout.split() == []


def test_a_file_of_verbs_is_a_verb_and_is_imported_only_when_it_is_called() -> None:
    names = {path.stem for path in Path(verbs.__path__[0]).glob("*.py")} - {"__init__"}
    assert names == {verb.name for verb in find_verbs()} == set(app) - {"--help", "-h", "--version", "-V"}
    assert len({verb.order for verb in find_verbs()}) == len(names)
    for verb in find_verbs():
        module = importlib.import_module(f"{verbs.__name__}.{verb.name}")
        assert verb.summary == (module.command.__doc__ or "").split("\n")[0]
        assert (verb.examples, verb.order) == (module.EXAMPLES, module.ORDER)
    script = (
        "import sys\nfrom elman.cli import run\nrun([]), run(['data'])\n"
        "print(*(n for n in sys.modules if n.startswith('elman.cli.verbs.')))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "elman.cli.verbs.data"


def test_version() -> None:
    import importlib.metadata

    assert good("--version").out == good("-V").out == importlib.metadata.version("elman") + "\n"


def test_python_dash_m_is_the_same_command() -> None:
    process = program("train", "--hidden", "0")
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert err.startswith("elman: ")
    assert err.count("\n") == 1


# --- configuration


def config(*arguments: object, folder: Path) -> dict[str, object]:
    return tomllib.loads(good("train", "--print-config", *arguments, folder=folder).out)


@pytest.mark.parametrize("recipe", ["elman", "alone", "lecture", "notes", "notes-concise"])
def test_the_printed_configuration_reproduces_itself(recipe: str, tmp_path: Path) -> None:
    first = good("train", "a b.txt", "é\"'\\.txt", "--recipe", recipe, "--lr", "0.1", "--print-config").out
    (tmp_path / "c.toml").write_text(first, encoding="utf-8")
    assert good("train", "--config", tmp_path / "c.toml", "--print-config").out == first
    assert tomllib.loads(first)["sources"] == ["a b.txt", "é\"'\\.txt"]


def test_a_flag_beats_the_environment_beats_the_file_beats_the_folder_beats_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = config("--recipe", "notes", folder=tmp_path)
    assert (recipe["hidden"], recipe["cell"], recipe["window"], recipe["seed"]) == (512, "elman", 35, 0)
    (tmp_path / "elman.toml").write_text('recipe = "notes"\nhidden = 1\nwindow = 1\nbatch = 1\nlr = 1\n')
    (tmp_path / "c.toml").write_text("hidden = 2\nwindow = 2\nbatch = 2\n")
    monkeypatch.setenv("ELMAN_HIDDEN", "3")
    monkeypatch.setenv("ELMAN_WINDOW", "3")
    found = config("--config", "c.toml", "--hidden", "4", folder=tmp_path)
    assert [found[k] for k in ("hidden", "window", "batch", "lr", "optimizer")] == [4, 3, 2, 1.0, "sgd"]
    monkeypatch.delenv("ELMAN_WINDOW")
    assert config("--config", "c.toml", folder=tmp_path)["window"] == 2
    assert config(folder=tmp_path)["window"] == 1


def test_a_stronger_budget_replaces_a_weaker_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def budget(*arguments: object) -> set[str]:
        return {"epochs", "steps", "minutes"} & config(*arguments, folder=tmp_path).keys()

    assert budget() == set()
    assert budget("--recipe", "elman") == {"epochs", "minutes"}
    assert budget("--recipe", "notes") == {"epochs"}
    (tmp_path / "c.toml").write_text("epochs = 3\n")
    monkeypatch.setenv("ELMAN_STEPS", "7")
    assert budget("--config", "c.toml") == {"steps"}
    assert budget("--config", "c.toml", "--minutes", "1") == {"minutes"}


# --- streams


def test_the_result_is_on_standard_output_and_progress_on_standard_error(text: Path, tmp_path: Path) -> None:
    done = good("train", text, *TINY, "--steps", "20", "--run", "r", folder=tmp_path)
    assert all(word in done.out for word in ("uniform", "unigram", "held-out", "perplexity.png"))
    assert "s left" not in done.out
    assert done.err.count("s left") == 10
    assert "100%" in done.err
    assert "\x1b" not in done.out + done.err
    assert "\r" not in done.out + done.err


def test_quiet_leaves_the_result(text: Path, tmp_path: Path) -> None:
    done = good("train", text, *TINY, "--steps", "3", "--run", "r", "--quiet", folder=tmp_path)
    assert not done.err
    assert "unigram" in done.out


SCORE = {
    "protocol", "perplexity", "nats", "bits_per_character", "bits_per_byte", "tokens", "unknown", "baselines",
}  # fmt: skip


def test_json_lines_of_a_training(text: Path, tmp_path: Path) -> None:
    done = good("train", text, *TINY, "--steps", "20", "--run", "r", "--json", folder=tmp_path)
    assert not done.err
    assert "\x1b" not in done.out
    assert all(line["schema_version"] == 1 for line in done.lines)
    kinds = [line["type"] for line in done.lines]
    assert (kinds[0], kinds[-1], set(kinds)) == ("begin", "result", {"begin", "sample", "report", "result"})
    reports = [line for line in done.lines if line["type"] == "report"]
    assert [r["step"] for r in reports] == list(range(2, 21, 2))
    assert all(r["train"] > 1 and r["held_out"] > 1 and r["gradient_norm"] > 0 for r in reports)
    result = done.lines[-1]
    assert set(result["figures"]) == {"train", "held-out"}
    for scores in result["figures"].values():
        assert [s["protocol"] for s in scores] == ["carried", "reset"]
        for score in scores:
            assert score.keys() >= SCORE
            assert score["baselines"].keys() >= {"uniform", "unigram"}
    assert result["verdict"]
    assert [Path(p).name for p in result["pictures"]] == ["perplexity.png", "gradient.png"]


def test_one_json_document_of_each_other_verb(text: Path, tmp_path: Path) -> None:
    good("train", text, *TINY, "--steps", "2", "--run", "r", folder=tmp_path)
    for call in (["evaluate", "r"], ["generate", "r", "The"], ["data"], ["data", text], ["stats", text], ["env"]):
        done = good(*call, "--json", folder=tmp_path)
        assert done.json["schema_version"] == 1
        assert done.out.count("\n") == 1
        assert not done.err
    assert good("evaluate", "r", "--json", folder=tmp_path).json.keys() >= SCORE


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {}])
def test_colours_only_where_they_are_wanted(
    plain: dict[str, str], text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (plain | {"TERM": "xterm-256color", "COLUMNS": "100"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    from elman.cli import run

    assert run(["train", str(text), *TINY, "--steps", "3", "--run", "r"]) == 0
    colours = re.findall(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", terminal.getvalue())
    assert bool(colours) == (not plain)
    assert "tokens/s" in terminal.getvalue()


def test_a_reader_that_goes_away_is_no_error(text: Path, tmp_path: Path) -> None:
    for call in (["data", "human-numbers"], ["train", text, *TINY, "--steps", "2", "--run", "r", "-q"]):
        process = program(*call, cwd=tmp_path)
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait() == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        process = program("data", stdout=full)
        _, err = process.communicate()
    assert process.returncode == 74
    assert err.startswith("elman: ")
    assert err.count("\n") == 1


def test_a_stream_that_cannot_show_a_letter_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("天地玄黃" * 300, encoding="utf-8")
    process = program("data", "t.txt", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert r"\u5929" in out


def test_a_bar_is_drawn_on_a_terminal(text: Path, tmp_path: Path) -> None:
    main, side = pty.openpty()
    process = program(
        "train", text, *TINY, "--steps", "300", "--run", "r", cwd=tmp_path, stderr=side,
        env={"TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(side)
    drawn = b""
    while piece := _read(main):
        drawn += piece
    os.close(main)
    out = process.communicate()[0]
    assert process.returncode == 0
    assert "\x1b" not in out
    assert "━".encode() in drawn
    assert b"100%" in drawn


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that nobody holds the other end
        return b""


def test_a_misspelt_variable_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("ELMAN_HIDEN", "8")
    assert run(["train", "--print-config"]) == 2
    assert "did you mean hidden?" in capsys.readouterr().err


def test_a_variable_can_hold_a_list(monkeypatch, capsys):
    monkeypatch.setenv("ELMAN_PROMPTS", "the time\nhe said")
    assert run(["train", "--print-config"]) == 0
    assert 'prompts = ["the time", "he said"]' in capsys.readouterr().out
