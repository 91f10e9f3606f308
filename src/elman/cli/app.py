"""The verbs. Nothing here imports PyTorch; each command fetches what it needs when it is called."""

from cyclopts import App

from elman.cli.verbs import (
    bench,
    compare,
    compress,
    data,
    decompress,
    env,
    evaluate,
    forecast,
    generate,
    reproduce,
    rollout,
    stats,
    train,
)

EPILOGUE = (
    "Exit codes: 0 ok, 1 unexpected, 2 usage or configuration, 3 input data, 4 model or checkpoint, "
    "5 training diverged, 6 a limit of yours was missed, 74 disk, 130 interrupted, "
    "143 terminated (after saving). --debug shows tracebacks."
)


def _version() -> str:
    from importlib.metadata import version

    return version("elman")


app = App(
    name="elman",
    help="Learn what comes next in a sequence, beside the baselines that keep it honest.",
    help_epilogue=EPILOGUE,
    version=_version,
    version_flags=["--version", "-V"],
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
for _module in (
    train,
    compare,
    evaluate,
    generate,
    rollout,
    forecast,
    reproduce,
    data,
    stats,
    compress,
    decompress,
    bench,
    env,
):
    app.command(_module.command, name=_module.__name__.rpartition(".")[2], help_epilogue=_module.EXAMPLES)
