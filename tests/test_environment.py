"""The memory that a process may use: the machine's, or what its container leaves of it."""

import os
from pathlib import Path

import pytest

from elman import environment
from elman.environment import container_limits, memory


def group(root: Path, name: str, limits: dict[str, str]) -> tuple[Path, Path]:
    """A tree of control groups with some limits, and the file that says in which one the process is."""
    for path, limit in limits.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(limit, encoding="ascii")
    own = root / "self"
    own.write_text(name, encoding="ascii")
    return root, own


@pytest.mark.parametrize(
    ("name", "limits", "found"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "4096\n", "a/memory.max": "8192\n", "memory.max": "max\n"}, [4096, 8192]),
        ("0::/\n", {"memory.max": "12345\n"}, [12345]),
        ("0::/a\n", {"b/memory.max": "1\n"}, []),
        ("4:memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": "77\n"}, [77]),
        ("4:cpu,memory:/a\n3:pids:/a\n", {"memory/a/memory.limit_in_bytes": "77\n", "pids/a/memory.max": "1\n"}, [77]),
        ("nothing of the kind\n", {"memory.max": "1\n"}, []),
        ("0::/a\n", {"a/memory.max": "not a number\n"}, []),
    ],
)
def test_the_limits_of_a_container_are_found_at_every_level(tmp_path, name, limits, found):
    assert container_limits(*group(tmp_path, name, limits)) == found


def test_without_control_groups_there_is_no_limit(tmp_path):
    assert container_limits(tmp_path / "none", tmp_path / "nobody") == []


def test_the_lower_of_machine_and_container_is_the_memory(monkeypatch):
    monkeypatch.setattr(environment, "container_limits", list)
    whole = memory()
    assert whole > 2**27
    if hasattr(os, "sysconf"):
        assert whole == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    monkeypatch.setattr(environment, "container_limits", lambda: [2**62, 5000])
    assert memory() == 5000
