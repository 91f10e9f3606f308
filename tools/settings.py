"""`python tools/settings.py` writes the table of settings in docs/reference.md from their docstrings."""

from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from elman.cli.flags import help_of
from elman.cli.verbs.train import FLAGS
from elman.config import DataSettings, RunSettings, TrainSettings
from elman.models.build import settings_classes
from elman.training.config import Config

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference.md"
START, END = "<!-- made by tools/settings.py -->\n", "<!-- end -->\n"


def table() -> Iterator[str]:
    """A row a setting: what to learn from and to print, then data, model and training, each in its own order."""
    kinds = (RunSettings, DataSettings, Config, *settings_classes(), TrainSettings)
    order = [name for kind in kinds if is_dataclass(kind) for name in kind.__annotations__]
    yield "| setting | flag | default | meaning |"
    yield "|---|---|---|---|"
    for field in sorted(fields(Config), key=lambda field: order.index(field.name)):
        flag = f"`--{field.name.replace('_', '-')}`" if field.name in FLAGS else ""
        meaning = help_of(field.name).replace("|", "\\|")
        yield f"| `{field.name}` | {flag} | {shown(field.default)} | {' '.join(meaning.split())} |"


def shown(default: Any) -> str:
    """A default as it stands in TOML."""
    if default is None or default is MISSING or default == ():
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return ", ".join(f"`{each}`" for each in default)
    return f"`{default}`"


def with_table(page: str) -> str:
    """The page with the table between its two marks."""
    before, rest = page.split(START)
    _, after = rest.split(END)
    return before + START + "\n".join(table()) + "\n" + END + after


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
