"""The command `elman`: every file of `elman.cli.verbs` is one verb, found as the cells are.

A verb is a module with

    ORDER       its place in `elman --help`, a number
    EXAMPLES    the text below its own help page
    command     the function that runs it; the first line of its docstring is its line in `elman --help`

These are read from the source of the file. The module is imported when its verb is called, so that `elman --help`
and `elman data` do not import PyTorch, whatever another verb imports.
"""

import ast
import importlib.util
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cyclopts import App

from elman.cli import verbs
from elman.cli.options import EVERY

EPILOGUE = (
    "Exit codes: 0 success, 1 unexpected error, 2 usage or configuration, 3 input data, 4 model or checkpoint, "
    "5 training diverged, 6 worse than the limit that was given, 74 input or output failed, 130 interrupted, "
    "143 terminated (after saving). --debug shows tracebacks."
)


@dataclass(frozen=True)
class Verb:
    """A subcommand of `elman`, as its help describes it.

    Args:
        name: what a user types, the name of its file.
        summary: the first line of its command's docstring.
        examples: the text below its help page.
        order: its place in the list of verbs; a smaller number comes first.
    """

    name: str
    summary: str
    examples: str
    order: int


def find_verbs() -> list[Verb]:
    """Every verb in its order, read from its file without importing it."""
    return sorted(_verbs(), key=lambda verb: verb.order)


def _verbs() -> Iterator[Verb]:
    for module in pkgutil.iter_modules(verbs.__path__):
        spec = importlib.util.find_spec(f"{verbs.__name__}.{module.name}")
        assert spec is not None  # noqa: S101 - it was just found
        assert spec.origin is not None  # noqa: S101 - elman is installed as source files
        yield _described(module.name, ast.parse(Path(spec.origin).read_bytes()))


def _described(name: str, tree: ast.Module) -> Verb:
    """The verb of a file by its constants and the docstring of its command."""
    constants = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    command = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "command")
    summary = (ast.get_docstring(command) or "").partition("\n")[0]
    return Verb(name, summary, ast.literal_eval(constants["EXAMPLES"]), ast.literal_eval(constants["ORDER"]))


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
    default_parameter=EVERY,
)
for _verb in find_verbs():
    app.command(
        f"{verbs.__name__}.{_verb.name}:command",
        name=_verb.name,
        help=_verb.summary,
        sort_key=_verb.order,
        help_epilogue=_verb.examples,
    )
