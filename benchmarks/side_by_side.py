"""What the benchmarks share: ways that take turns (`elman.comparison.timing`), and results beside what made them."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elman.comparison.timing import against, interleave
from elman.environment import environment, version
from elman.inference.spreads import Quartiles

__all__ = ["against", "interleave", "merged", "quartiles", "read", "write"]

RESULTS = Path(__file__).parent / "results"


def read(name: str) -> dict[str, Any]:
    """A document that `write` left."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def here() -> dict[str, Any]:
    """The versions and the machine of this run."""
    return environment() | {"jax": version("jax")}


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles as JSON has them."""
    return Quartiles.of(values).to_dict()


def write(name: str, result: Any, *, before: dict[str, Any] | None = None) -> None:
    """Keep the result beside the versions and the command that made it, or the commands, one after another."""
    command = " ".join(["python", *sys.argv])
    document = {
        "command": f"{before['command']} && {command}" if before else command,
        "environment": here() | ({"threads": before["environment"]["threads"]} if before else {}),
        "result": result,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def merged(before: dict[str, Any], rows: Sequence[dict[str, Any]], key: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of an earlier run, with those of this one in the place of those with the same key.

    The environments must be equal but for the threads: figures of two machines make no table.
    """
    now, then = (e | {"threads": None} for e in (here(), before["environment"]))
    if now != then:
        odd = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
        raise SystemExit(f"--add: the earlier rows were measured elsewhere ({', '.join(odd)} differ)")
    new = {tuple(row[k] for k in key) for row in rows}
    return [row for row in before["result"] if tuple(row[k] for k in key) not in new] + list(rows)
