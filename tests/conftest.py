"""What every test runs under: one thread, shapes checked at run time, no network, no left-over settings."""

import faulthandler
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

torch.set_num_threads(1)

# Checks every annotation, shapes included, of the modules that compute; before any of them is imported.
EQUATIONS = [
    "elman.cells",
    *(f"elman.engines.{name}" for name in ("aten", "base", "bptt", "loop", "native")),
    *(
        f"elman.models.{name}"
        for name in (
            "assemble",
            "base",
            "build",
            "copying",
            "hybrid",
            "init",
            "layer",
            "mlp",
            "recurrent",
            "task",
            "wrapper",
        )
    ),
    "elman.models.ngram.model",
    *(f"elman.forecasting.{name}" for name in ("backtest", "base", "fit", "learn", "linear", "mlp", "recurrent")),
]
install_import_hook(EQUATIONS, "beartype.beartype")

settings.register_profile("elman", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("elman")


SILENCE = 450.0
"""Seconds without a result after which a process that runs tests ends, longer than `timeout`."""


class Watchdog:
    """Ends a process that hangs, with the stacks of its threads, and so fails its test; the others go on in a new one.

    `timeout` interrupts Python. What waits in compiled code, or between two tests, does not hear it.

    Args:
        stderr: where pytest does not capture what is written.
    """

    def __init__(self, stderr: int) -> None:
        self.stderr = stderr

    def pytest_runtest_logreport(self) -> None:
        """A test has a result: wait for the next one."""
        faulthandler.dump_traceback_later(SILENCE, exit=True, file=self.stderr)


@pytest.hookimpl(trylast=True)  # after the plugin that opens its standard error
def pytest_configure(config: pytest.Config) -> None:
    """Each of several processes has a watchdog."""
    if hasattr(config, "workerinput"):
        plugin = config.pluginmanager.get_plugin("faulthandler")
        config.pluginmanager.register(Watchdog(config.stash[plugin.fault_handler_stderr_fd_key]))


LOCAL = {"127.0.0.1", "localhost", "::1"}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to anything but this machine fails the test that tries it."""
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOCAL:
            pytest.fail(f"a test tried to connect to {address}")
        connect(self, address)

    def guarded_resolve(host: Any, *arguments: Any, **more: Any) -> Any:
        if host not in LOCAL and host is not None:
            pytest.fail(f"a test asked for the address of {host!r}")
        return resolve(host, *arguments, **more)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_resolve)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ELMAN_*` variables of the shell would change what the tests configure; where data lies may stay."""
    for name in [n for n in os.environ if n.startswith("ELMAN_") and n != "ELMAN_DATA_HOME"]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """A test that changes the number of threads leaves it as it was."""
    yield
    torch.set_num_threads(1)
