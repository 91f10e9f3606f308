"""`elman decompress`: restore a compressed file, byte for byte."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from elman.cli.verbs.compress import SUFFIX, check_new, read_bytes, token_progress
from elman.errors import ConfigError, one_line

ORDER = 11
EXAMPLES = """Examples:
  elman decompress book.txt.elman --run runs/book          # writes book.txt
  elman decompress book.txt.elman --run runs/book --output again.txt"""


def command(
    file: Annotated[Path, Parameter(help="A file that elman compress wrote.")],
    *,
    run: Annotated[Path, Parameter(help="The run or model that compressed it.")],
    output: Annotated[Path | None, Parameter(help="The file to write [default: FILE without .elman].")] = None,
) -> int:
    """Decompress a file with the model that compressed it, on the same kind of machine."""
    from elman.errors import quoted
    from elman.inference.container import Container
    from elman.storage.atomic import replace_file

    if output is None and (file.suffix != SUFFIX or file.stem in ("", SUFFIX)):
        raise ConfigError(f"{quoted(file)} does not end in {SUFFIX}: name the file to write with --output")
    out = check_new(output or file.with_suffix(""))
    data = read_bytes(file)
    Container.from_bytes(data, quoted(file))  # refused before the model and PyTorch are loaded

    from elman.inference.compression import decompress
    from elman.models.saving import load

    model = load(run)
    with token_progress(f"decompressing {file.name}") as on_progress:
        original = decompress(model, data, on_progress)
    replace_file(check_new(out), original)
    print(f"{len(data):,} -> {len(original):,} bytes, identical to the original\n{one_line(str(out))}")
    return 0
