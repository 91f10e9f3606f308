"""`elman compress`: compress a file with the predictions of a model."""

import json as json_module
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from elman.cli.options import Json
from elman.errors import ConfigError, DataError, one_line

if TYPE_CHECKING:
    from elman.inference.compression import Compressed

ORDER = 10
EXAMPLES = """Examples:
  elman compress book.txt --run runs/book                  # writes book.txt.elman
  elman compress book.txt --run runs/book/ngram --output book.small --json"""

SUFFIX = ".elman"


def command(
    file: Annotated[Path, Parameter(help="The file to compress; it is not changed.")],
    *,
    run: Annotated[Path, Parameter(help="A run, a checkpoint or a saved model.")],
    output: Annotated[Path | None, Parameter(help="The file to write [default: FILE.elman].")] = None,
    json: Json = False,
) -> int:
    """Compress a file with the predictions of a saved model, lossless."""
    from elman.inference.compression import compress
    from elman.inference.compressors import compressed_sizes
    from elman.models.saving import finite, load
    from elman.storage.atomic import replace_file

    out = check_new(output or file.with_name(file.name + SUFFIX))
    data = read_bytes(file)
    model = load(run)
    with token_progress(f"compressing {file.name}") as on_progress:
        made = compress(model, data, details=True, on_progress=on_progress)
    replace_file(check_new(out), made.data)
    others = compressed_sizes(data)
    figures = {
        "schema_version": 1,
        "file": str(file),
        "output": str(out),
        "model": str(run),
        "bytes": made.length,
        "compressed_bytes": len(made.data),
        "header_bytes": made.header,
        "characters": made.characters,
        "tokens": made.tokens,
        "streams": made.streams,
        "stored": made.streams == 0,
        "bits_per_character": made.bits_per_character,
        "model_bits": made.model_bits,
        "other_bits": made.other_bits,
        "coding_bits": made.coding_bits,
        **{f"{name}_bytes": size for name, size in others.items()},
    }
    if json:
        print(json_module.dumps(finite(figures), ensure_ascii=False))
    else:
        _print(out, made, others)
    return 0


def _print(out: Path, made: "Compressed", others: dict[str, int]) -> None:
    def bits(of: float) -> str:
        return f"{of / made.characters if made.characters else math.nan:.4f}"

    share = f" ({len(made.data) / made.length:.1%})" if made.length else ""
    cut = f", in {made.streams} streams" if made.streams > 1 else ""
    rows = [("bytes", f"{made.length:,} -> {len(made.data):,}{share}")]
    if made.streams:
        rounding = made.coding_bits / made.model_bits if math.isfinite(made.model_bits) else math.nan
        rows += [
            ("bits per character", f"{made.bits_per_character:.4f}, of which"),
            ("  the model", f"{bits(made.model_bits)}  the tokens, as elman evaluate reports{cut}"),
            ("  other", f"{bits(made.other_bits)}  spaces between words, symbols not in the vocabulary"),
            ("  coding", f"{bits(made.coding_bits)}  rounding, {rounding:+.2%} of the model's"),
            ("  header", f"{bits(8 * made.header)}  {made.header} bytes"),
        ]
    rows += [(name, f"{size:,} bytes, {bits(8 * size)} bits per character") for name, size in others.items()]
    for name, value in rows:
        sys.stdout.write(f"{name:<20}{value}\n")
    if not made.streams:
        sys.stdout.write("Stored without compression: with this model the file would become longer.\n")
    sys.stdout.write(f"{one_line(str(out))}\n")


def read_bytes(path: Path) -> bytes:
    """The bytes of a file as they are: nothing is decompressed or decoded.

    Raises:
        DataError: it is not there, or is not a regular file.
        StorageError: it cannot be read.
    """
    from elman.errors import quoted
    from elman.storage.atomic import translate_os_errors

    with translate_os_errors("read", path):
        if not path.exists():
            raise DataError(f"{quoted(path)}: no such file")
        if not path.is_file():
            raise DataError(f"{quoted(path)}: not a regular file: name a file (tar makes one of a folder)")
        return path.read_bytes()


def check_new(path: Path) -> Path:
    """The path, where a new file can be made; checked before the work begins.

    Raises:
        ConfigError: something is there already, or there is no folder for it.
    """
    from elman.errors import quoted
    from elman.storage.atomic import translate_os_errors

    with translate_os_errors("write", path):
        if path.exists() or path.is_symlink():
            raise ConfigError(f"{quoted(path)} exists already: choose another --output, or remove it first")
        if not path.parent.is_dir():
            raise ConfigError(f"there is no folder {quoted(path.parent)} to write to: make it, or choose another")
    return path


@contextmanager
def token_progress(action: str) -> Iterator[Callable[[int, int], None]]:
    """A function to call with the number of tokens that are done and the number of all, which shows the progress."""
    from elman.cli.progress import ProgressDisplay

    with ProgressDisplay(time_left=True) as progress:
        progress.update(None, action)
        yield lambda done, total: progress.update(
            done / total if total else 1.0, action, line=f"{action}: {done:,} of {total:,} tokens"
        )
