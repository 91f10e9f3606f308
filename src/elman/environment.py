"""The machine that computes: versions of packages, memory, threads, devices.

PyTorch is imported where it is used: what only needs the memory need not wait for it.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from elman.errors import ConfigError

OPTIONAL = ("matplotlib", "zstandard", "duckdb", "constriction")
PACKAGES = ("elman", "torch", "numpy", "safetensors", "cyclopts", "pydantic", *OPTIONAL)


def environment() -> dict[str, Any]:
    """Versions of packages, processor, threads and devices, as JSON values."""
    import torch

    return {
        **{name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "devices": ["cpu", *(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))],
    }


def version(package: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def device_for(name: str) -> str:
    """The device that a name means.

    Args:
        name: "auto" for a CUDA GPU where there is one, else the CPU; or a device of PyTorch, such as "cuda:1".

    Returns:
        A name for `torch.device`.

    Raises:
        ConfigError: PyTorch cannot use that device here.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"device {name!r} is not available here: use auto or cpu") from error
    return name


def memory() -> int:
    """The memory in bytes that this process may use: the machine's, or the limit of its container if that is lower.

    What is trained never depends on it: it decides only what is refused.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**33
    return min([machine, *container_limits()])


def container_limits(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """The limits of memory in bytes of the control groups that this process is in, on Linux; none elsewhere.

    Args:
        root: where the control groups are mounted.
        own: the file that names those of this process.
    """
    try:
        groups = [line.split(":", 2) for line in own.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for _, controllers, group in (g for g in groups if len(g) == 3):
        if controllers and "memory" not in controllers.split(","):
            continue
        top, name = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        inner = top / group.lstrip("/")
        found += [_limit(folder / name) for folder in (inner, *inner.parents) if folder.is_relative_to(top)]
    return [limit for limit in found if limit is not None]


def _limit(path: Path) -> int | None:
    """The number in a file; None where there is none, as for "max"."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


@contextmanager
def same_threads() -> Iterator[None]:
    """Restore PyTorch's number of threads at the end of the block."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
