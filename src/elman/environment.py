"""The machine that computes: versions of packages, threads, devices."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import torch

from elman.errors import ConfigError

OPTIONAL = ("matplotlib", "zstandard", "duckdb", "constriction")
PACKAGES = ("elman", "torch", "numpy", "safetensors", "cyclopts", "pydantic", *OPTIONAL)


def environment() -> dict[str, Any]:
    """Versions of packages, processor, threads and devices, as JSON values."""
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
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"device {name!r} is not available here: use auto or cpu") from error
    return name


@contextmanager
def same_threads() -> Iterator[None]:
    """Restore PyTorch's number of threads at the end of the block."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
