"""`elman stats`: how often the n-grams of a text occur, and Zipf's law of their frequencies."""

import json as json_module
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from elman.cli.flags import help_of, number
from elman.cli.options import Json
from elman.errors import ConfigError, StorageError, quoted

if TYPE_CHECKING:
    from rich.table import Table

    from elman.data.corpus import Corpus
    from elman.models.ngram.frequencies import Frequencies

ORDER = 9
EXAMPLES = """Examples:
  elman stats time-machine --clean letters
  elman stats notes/ --clean lower --picture zipf.png
  elman stats book.txt --level char --order 5 --json"""

PICTURES = (".png", ".svg", ".pdf")


def command(
    *sources: Annotated[str, Parameter(help="Sources, files, folders, globs or -.")],
    level: Annotated[Literal["char", "word", "byte"], Parameter(help="Tokens: characters, words or bytes.")] = "word",
    clean: Annotated[str, Parameter(help=help_of("clean"))] = "none",
    limit: Annotated[int | None, number(help_of("limit"), least=1)] = None,
    order: Annotated[int, number("Tokens of the longest n-grams.", least=1)] = 3,
    top: Annotated[int, number("Number of the most frequent n-grams to show.", least=1)] = 10,
    picture: Annotated[
        Path | None, Parameter(help="Draw frequency against rank into this new file (.png, .svg, .pdf).")
    ] = None,
    json: Json = False,
) -> int:
    """Count the n-grams of a text: the most frequent, the share that is rare, Zipf's law."""
    if not sources:
        raise ConfigError("name a text: a source (elman data lists them), a file, a folder, a glob, or -")
    if picture is not None:
        _check_picture(picture)
    from elman.data.corpus import read_corpus
    from elman.models.ngram.frequencies import ngram_frequencies

    corpus = read_corpus(sources, level=level, clean=clean, limit=limit, held_out=0, min_count=1, unknown=False)
    frequencies = ngram_frequencies(corpus.train.ids, corpus.vocab, order=order, top=top)
    if picture is not None:
        _draw(picture, corpus, frequencies)
    if json:
        print(json_module.dumps(_document(corpus, frequencies), ensure_ascii=False, allow_nan=False))
    else:
        _print(corpus, frequencies)
    return 0


def _check_picture(path: Path) -> None:
    if path.suffix not in PICTURES:
        raise ConfigError(f"--picture {quoted(path)}: the name must end in {', '.join(PICTURES)}")
    if os.path.lexists(path):
        raise ConfigError(f"{quoted(path)} exists already: choose another --picture file")


def _draw(path: Path, corpus: "Corpus", frequencies: "tuple[Frequencies, ...]") -> None:
    from elman.models.ngram.plots import zipf_picture

    try:
        zipf_picture(path, frequencies, title=f"{Path(corpus.source).name}, {corpus.vocab.level}, {corpus.clean}")
    except OSError as error:
        raise StorageError(f"{quoted(path)} cannot be written: {error.strerror}") from error


def _document(corpus: "Corpus", frequencies: "tuple[Frequencies, ...]") -> dict[str, Any]:
    import dataclasses

    return {
        "schema_version": 1,
        "source": corpus.source,
        "level": corpus.vocab.level,
        "clean": corpus.clean,
        "tokens": len(corpus.train.ids),
        "types": frequencies[0].types,
        "ngrams": [
            {
                "n": f.n,
                "total": f.total,
                "types": f.types,
                "singletons": f.singletons,
                "share_of_possible": f.types / f.possible,
                "top": [{"tokens": tokens, "times": times} for tokens, times in f.top],
                "zipf": f.line and dataclasses.asdict(f.line),
                "tail": f.tail and dataclasses.asdict(f.tail),
            }
            for f in frequencies
        ],
    }


def _print(corpus: "Corpus", frequencies: "tuple[Frequencies, ...]") -> None:
    from elman.cli.console import Console

    out = Console()
    out.print_lines(
        f"{corpus.source}: {len(corpus.train.ids):,} tokens, level {corpus.vocab.level}, clean {corpus.clean}\n"
    )
    out.print(_figures(frequencies))
    out.print_lines(
        "\nalpha: times fall as 1 / rank^alpha, fitted on these ranks.\n"
        "2nd half: how often n-grams that occur once in the first half of the text do in\n"
        "the second, and how often they would by additive smoothing (Laplace, eps 1).\n"
    )
    out.print(_most_frequent(corpus, frequencies))


def _figures(frequencies: "tuple[Frequencies, ...]") -> "Table":
    """A row for each length of n-grams."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("n", "different", "once", "% once", "% of possible", "alpha", "ranks", "2nd half", "Laplace"):
        table.add_column(name, justify="right")
    for f in frequencies:
        table.add_row(
            str(f.n),
            f"{f.types:,}",
            f"{f.singletons:,}",
            f"{100 * f.singletons / f.types:.0f}",
            f"{100 * f.types / f.possible:.3g}",
            *((f"{f.line.alpha:.2f}", f"{f.line.first}-{f.line.last:,}") if f.line else ("too few", "")),
            *((f"{f.tail.observed:.2f}", f"{f.tail.laplace:.2f}") if f.tail else ("none", "")),
        )
    return table


def _most_frequent(corpus: "Corpus", frequencies: "tuple[Frequencies, ...]") -> "Table":
    """A row for each length: n-grams as text, each with its count."""
    from rich.table import Table
    from rich.text import Text

    from elman.data.tokens import join_words

    write = join_words if corpus.vocab.level == "word" else "".join
    table = Table(box=None, pad_edge=False)
    table.add_column("n", justify="right", vertical="top")
    table.add_column("most frequent, and times")
    for f in frequencies:
        table.add_row(str(f.n), Text(", ".join(f"{write(tokens)!r} {times:,}" for tokens, times in f.top)))
    return table
