"""The example that adds a cell, a model family, a source and a metric runs, and the command line knows them."""

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def run_python(code: str, folder: Path) -> str:
    """What a program prints that imports the example: in its own process, since registries are for good."""
    program = f"import sys; sys.path.insert(0, {str(EXAMPLES)!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_runs_and_all_that_it_adds_is_compared(tmp_path):
    out = run_python("import extend; extend.main()", tmp_path)
    head, _, *rows = (line for line in out.splitlines() if line.startswith("|"))
    assert "| top 5 |" in head
    assert {"mgu", "convolution", "gru", "3-gram"} <= {row.split(" | ")[0].strip("| ") for row in rows}
    assert "loaded again: convolution, perplexity" in out


def test_the_command_line_trains_scores_and_resumes_what_it_adds(tmp_path):
    tiny = '"--hidden", "8", "--batch", "4", "--window", "16", "-q"'
    out = run_python(
        "import extend\nfrom elman.cli import run\n"
        f'assert run(["train", "squares", "--cell", "mgu", "--steps", "4", "--run", "m", {tiny}]) == 0\n'
        f'assert run(["train", "squares", "--model", "convolution", "--steps", "4", "--run", "c", {tiny}]) == 0\n'
        'assert run(["train", "--resume", "c", "--steps", "6", "-q"]) == 0\n'
        'assert run(["evaluate", "c"]) == 0\n'
        'assert run(["generate", "m", "12", "--length", "5"]) == 0\n',
        tmp_path,
    )
    assert re.search(r"^top5 +[0-9.]+%", out, re.MULTILINE)
    assert "convolution, state carried" in out
    assert "mgu + " not in out
