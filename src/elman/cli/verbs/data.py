"""`elman data`: the list of sources, or the facts of one."""

import json as json_module
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from elman.cli.flags import help_of, number
from elman.cli.options import Json
from elman.errors import one_line

if TYPE_CHECKING:
    from elman.data.corpus import Corpus, Split

ORDER = 8
EXAMPLES = """Examples:
  elman data                          # sources and normalizations
  elman data time-machine --normalize letters
  elman data notes/ --tokens word --json"""

SHOWN = 10  # most frequent tokens
SHOWN_AS = {"clean": "normalization", "cleanings": "normalizations"}  # by key of the JSON


def command(
    *sources: Annotated[str, Parameter(help="Sources, files, folders, globs or -; none: list the sources.")],
    tokens: Annotated[Literal["char", "word", "byte"] | None, Parameter(help=help_of("tokens"))] = None,
    normalize: Annotated[str, Parameter(help=help_of("normalize"))] = "none",
    level: Annotated[Literal["char", "word", "byte"] | None, Parameter(show=False)] = None,
    clean: Annotated[str | None, Parameter(show=False)] = None,
    limit: Annotated[int | None, number(help_of("limit"), least=1)] = None,
    json: Json = False,
) -> int:
    """List the sources, or count what one holds: tokens, symbols, characters."""
    facts = _list_sources() if not sources else _describe(sources, tokens or level, clean or normalize, limit)
    if json:
        print(json_module.dumps({"schema_version": 1} | facts, ensure_ascii=False))
        return 0
    for key, value in facts.items():
        name = SHOWN_AS.get(key, key.replace("_", " "))
        if value in ({}, []):
            continue
        if isinstance(value, list):
            sys.stdout.writelines(f"{line}\n" for line in value)
            continue
        if isinstance(value, dict):
            sys.stdout.write(f"{name}:\n" + "".join(f"  {k:<18}{v}\n" for k, v in value.items()))
        else:
            sys.stdout.write(
                f"{name:<18}{value:,}\n" if isinstance(value, int) else f"{name:<18}{one_line(str(value))}\n"
            )
    return 0


def _list_sources() -> dict[str, Any]:
    from elman.data.cleaning import CLEANINGS
    from elman.data.sources import SOURCES

    return {
        "sources": {name: source.description for name, source in SOURCES.items()},
        "series": {
            "sine": "sin(0.01 t) and noise (Zhang et al. 2021, section 8.1); for elman forecast, as any CSV or Parquet"
        },
        "cleanings": {name: cleaning.description for name, cleaning in CLEANINGS.items()},
    }


def _describe(sources: tuple[str, ...], level: str | None, clean: str, limit: int | None) -> dict[str, Any]:
    import numpy as np

    from elman.data.batches import token_counts
    from elman.data.corpus import read_corpus
    from elman.data.vocab import visible_repr

    corpus = read_corpus(sources, tokens=level, normalize=clean, limit=limit)
    counts = token_counts(corpus.train.ids, len(corpus.vocab))
    top = np.argsort(-counts, kind="stable")[:SHOWN]
    return {
        "source": corpus.source,
        "level": corpus.vocab.level,
        "clean": clean,
        "tokens": sum(len(part.ids) for part in corpus.parts),
        **{f"{part.name.replace('-', '_')}_tokens": len(part.ids) for part in corpus.parts},
        "unknown_held_out": corpus.held_out.unknown if corpus.held_out else 0,
        "too_rare": corpus.train.unknown,
        "characters": sum(part.characters for part in corpus.parts),
        "bytes": sum(part.bytes for part in corpus.parts),
        "symbols": len(corpus.vocab),
        "most_frequent": {visible_repr(corpus.vocab.to_tokens(int(i))): int(counts[i]) for i in top if counts[i]},
        **{f"unknown_{part.name.replace('-', '_')}_symbols": _most_unknown(part, corpus) for part in corpus.parts},
        "begins": repr(corpus.train.beginning(corpus.vocab)),
        "notes": list(corpus.notes),
    }


def _most_unknown(part: "Split", corpus: "Corpus") -> dict[str, int]:
    """The ten most frequent symbols of a part that are not in the vocabulary, with their counts."""
    from elman.data.unknown import unknown_summary
    from elman.data.vocab import visible_repr

    found: dict[str, int] = unknown_summary(part, corpus.vocab)["most_frequent"]
    return {visible_repr(token): count for token, count in found.items()}
