"""Verdicts on the figures of the committed results: those that hold, and those that are known not to."""

import json
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "reproduce.json"
KEPT = {"agrees", "better", "inconclusive", "not published"}
WRONG = {
    e["name"]: {row["what"]: row["verdict"] for row in e["figures"] if row["verdict"] not in KEPT}
    for e in json.loads(RESULTS.read_text(encoding="utf-8"))["experiments"]
}
"""By experiment: claims of a source that do not hold, and figures that are not reached; each has its explanation."""
