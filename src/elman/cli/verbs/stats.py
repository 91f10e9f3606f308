"""`elman stats`: the frequencies of the n-grams of a text, and the power law that they follow."""

import json as json_module
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from elman.cli.flags import help_of, number
from elman.cli.options import Json
from elman.errors import ConfigError, quoted

if TYPE_CHECKING:
    from rich.table import Table

    from elman.data.corpus import Corpus
    from elman.models.ngram.frequencies import Frequencies

ORDER = 9
EXAMPLES = """Examples:
  elman stats time-machine --normalize letters
  elman stats notes/ --normalize lower --picture zipf.png
  elman stats book.txt --tokens char --order 5 --json"""

PICTURES = (".png", ".svg", ".pdf")


def command(
    *sources: Annotated[str, Parameter(help="Sources, files, folders, globs or -.")],
    tokens: Annotated[Literal["char", "word", "byte"], Parameter(help="Tokens: characters, words or bytes.")] = "word",
    normalize: Annotated[str, Parameter(help=help_of("normalize"))] = "none",
    level: Annotated[Literal["char", "word", "byte"] | None, Parameter(show=False)] = None,
    clean: Annotated[str | None, Parameter(show=False)] = None,
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

    corpus = read_corpus(
        sources,
        tokens=level or tokens,
        normalize=clean or normalize,
        limit=limit,
        held_out=0,
        min_count=1,
        unknown=False,
    )
    for note in corpus.notes:
        sys.stderr.write(f"{note}\n")
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

    zipf_picture(path, frequencies, title=f"{Path(corpus.source).name}, {corpus.vocab.level}, {corpus.normalize}")


def _document(corpus: "Corpus", frequencies: "tuple[Frequencies, ...]") -> dict[str, Any]:
    import dataclasses

    return {
        "schema_version": 1,
        "source": corpus.source,
        "level": corpus.vocab.level,
        "clean": corpus.normalize,
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
                "zipf": f.power_law and dataclasses.asdict(f.power_law),
                "tail": f.singleton_stats and dataclasses.asdict(f.singleton_stats),
            }
            for f in frequencies
        ],
    }


def _print(corpus: "Corpus", frequencies: "tuple[Frequencies, ...]") -> None:
    from elman.cli.console import Console

    out = Console()
    out.print_lines(
        f"{corpus.source}: {len(corpus.train.ids):,} tokens, level {corpus.vocab.level}, "
        f"normalization {corpus.normalize}\n"
    )
    out.print(_figures(frequencies))
    out.print_lines(
        "\nalpha: counts fall as 1 / rank^alpha, fitted on these ranks.\n"
        "2nd half: the mean count, in the second half of the text, of n-grams that occur once\n"
        "in the first; Laplace: the mean that additive smoothing (eps 1) predicts.\n"
    )
    out.print(_most_frequent(corpus, frequencies))


def _figures(frequencies: "tuple[Frequencies, ...]") -> "Table":
    """A row for each length of n-grams."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("n", "different", "once", "% once", "% of possible", "alpha", "ranks", "2nd half", "Laplace"):
        table.add_column(name, justify="right")
    for f in frequencies:
        law, rare = f.power_law, f.singleton_stats
        table.add_row(
            str(f.n),
            f"{f.types:,}",
            f"{f.singletons:,}",
            f"{100 * f.singletons / f.types:.0f}",
            f"{100 * f.types / f.possible:.3g}",
            *((f"{law.alpha:.2f}", f"{law.first}-{law.last:,}") if law else ("too few", "")),
            *((f"{rare.observed:.2f}", f"{rare.laplace:.2f}") if rare else ("none", "")),
        )
    return table


def _most_frequent(corpus: "Corpus", frequencies: "tuple[Frequencies, ...]") -> "Table":
    """A row for each length: n-grams as text, each with its count."""
    from rich.table import Table
    from rich.text import Text

    from elman.data.tokens import join_words
    from elman.data.vocab import visible_repr

    write = join_words if corpus.vocab.level == "word" else "".join
    table = Table(box=None, pad_edge=False)
    table.add_column("n", justify="right", vertical="top")
    table.add_column("most frequent, with counts")
    for f in frequencies:
        table.add_row(str(f.n), Text(", ".join(f"{visible_repr(write(tokens))} {times:,}" for tokens, times in f.top)))
    return table
