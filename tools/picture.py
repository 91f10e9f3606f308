"""The picture of the README: `python tools/picture.py` trains on the language reference and draws its learning curve.

It takes some minutes. The curve is that of `elman train python-docs --epochs 5` (seed 0), with 25 reports.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from elman.cli import run

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "learning-curve.png"
SETTINGS = "epochs = 5\nreports = 25\nsample_length = 0\n"


def main() -> int:
    """Train, and keep the picture of the perplexities."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "settings.toml"
        settings.write_text(SETTINGS, encoding="utf-8")
        code = run(["train", "python-docs", "--config", str(settings), "--run", f"{folder}/run", "--quiet"])
        if code == 0:
            shutil.copy(f"{folder}/run/perplexity.png", PICTURE)
    return code


if __name__ == "__main__":
    sys.exit(main())
