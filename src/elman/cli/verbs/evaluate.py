"""`elman evaluate`: score a text with a saved model."""

import json as json_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from elman.cli.flags import help_of, number
from elman.cli.options import Json, Switch
from elman.errors import ConfigError, ElmanError, quoted

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from elman.data.corpus import Split
    from elman.models.base import SequenceModel
    from elman.storage.folder import Saved

ORDER = 3
EXAMPLES = """Examples:
  elman evaluate runs/book                        # its own held-out text
  elman evaluate runs/book --protocol dynamic     # it learns while it reads
  elman evaluate runs/book other.txt --json
  elman evaluate runs/book other.txt --per-token surprisal.tsv"""


class GateError(ElmanError):
    """The figure is worse than the user allows."""

    exit_code = 6


def command(
    run: Annotated[Path, Parameter(help="A run, a checkpoint or a saved model.")],
    *sources: Annotated[str, Parameter(help="What to score [default: the run's held-out text].")],
    protocol: Annotated[
        Literal["carried", "reset", "dynamic"],
        Parameter(help="Keep the state through the text, start anew every --window, or learn from what was scored."),
    ] = "carried",
    window: Annotated[int, number("Steps between resets.", least=1)] = 32,
    limit: Annotated[int | None, number("Score only the first N tokens.", least=1)] = None,
    per_token: Annotated[Path | None, Parameter(help="Write each token and its surprisal in nats to this TSV.")] = None,
    drop_unknown: Annotated[
        Switch, Parameter(help="Leave out symbols that a vocabulary without <unk> does not hold.")
    ] = False,
    max_ppl: Annotated[float | None, Parameter(help="Exit with 6 if perplexity is above this.")] = None,
    engine: Annotated[str, Parameter(help=help_of("engine"))] = "auto",
    device: Annotated[str, Parameter(help=help_of("device"))] = "auto",
    json: Json = False,
) -> int:
    """Score a text with a saved model: perplexity and bits, beside uniform and unigram."""
    import numpy as np

    from elman.cli.progress import ProgressDisplay
    from elman.data.unknown import symbol_count, unknown_summary
    from elman.environment import device_for
    from elman.inference.evaluation import AFFORDABLE, evaluate
    from elman.models.saving import finite, load_counts, load_saved, open_saved
    from elman.training.report import baselines, blocks_of, chances, described, saved_ngram

    if per_token is not None and per_token.exists():
        raise ConfigError(f"{quoted(per_token)} exists already: choose another --per-token file")
    saved = open_saved(run)
    model = load_saved(saved, engine=engine, device=device_for(device))
    part, before = _part(run, saved, model, sources, limit=limit, drop_unknown=drop_unknown)
    counts = load_counts(saved, model.task.size)
    for note in (*part.notes, *_line_end_notes(part, model, counts)):
        sys.stderr.write(f"{note}\n")
    if len(part.ids) * model.task.size > AFFORDABLE:
        sys.stderr.write(f"scoring {len(part.ids):,} tokens\n")
    nats = None if per_token is None else np.zeros(len(part.ids))
    context = before if protocol == "dynamic" else None
    with ProgressDisplay() as progress:

        def tell(done: int, of: int) -> None:
            progress.update(done / of, f"scored {done:,} of {of:,} tokens")

        blocks = blocks_of(part, model)
        score = evaluate(
            model,
            part,
            protocol=protocol,
            window=window,
            before=context,
            per_token=nats,
            on_progress=tell,
            collect=blocks.collect,
        )
    ngram = saved_ngram(run)
    figures = {
        "schema_version": 1,
        "model": str(run),
        "text": part.name,
        **described(score),
        "baselines": baselines(counts, part.ids, ngram),
        "p_values": chances(blocks, counts, part.ids, ngram),
        "unknown_symbols": unknown_summary(part, model.task.vocab),
    }
    if per_token is not None and nats is not None:
        _write_tokens(per_token, model, part, nats)
    if json:
        print(json_module.dumps(finite(figures), ensure_ascii=False))
    else:
        symbols = symbol_count(part, model.task.vocab, counts)
        _print(figures, symbols, has_unknown=model.task.vocab.unknown)
    if max_ppl is not None and not score.perplexity <= max_ppl:  # a figure that is no number is no pass
        raise GateError(f"perplexity {score.perplexity:.3f} is above --max-ppl {max_ppl:g}")
    return 0


def _part(
    run: Path,
    saved: "Saved",
    model: "SequenceModel",
    sources: tuple[str, ...],
    *,
    limit: int | None,
    drop_unknown: bool,
) -> "tuple[Split, npt.NDArray[np.unsignedinteger] | None]":
    """The text to score as ids, and what stands before it: the one given, or the run's own held-out part."""
    from elman.data.corpus import read_part
    from elman.inference.evaluation import WARM
    from elman.training.run import checkpoint_metadata, corpus_of

    if sources:
        given = read_part(
            sources,
            model.task.vocab,
            normalize=model.task.normalize,
            limit=limit,
            drop_unknown=drop_unknown,
            reverse=model.task.reverse,
        )
        return given, None
    corpus = corpus_of(run, checkpoint_metadata(run, saved))
    held_out, before = corpus.held_out, corpus.train.ids[-WARM:]
    if held_out is None:
        raise ConfigError(f"the run {quoted(run)} has no held-out text: give a text to score")
    if limit is None:
        return held_out, before
    return held_out.first_of_text(limit, model.task.vocab), before


def _line_end_notes(part: "Split", model: "SequenceModel", counts: "npt.NDArray[np.int64]") -> tuple[str, ...]:
    """A sentence where lines end otherwise than in the training text, as far as its counts of tokens tell."""
    from elman.data.notes import kind_of_line_ends, line_end_notes

    vocab = model.task.vocab
    returns, feeds = (
        int(counts[vocab.token_to_idx[end]]) if end in vocab.token_to_idx else vocab.dropped.get(end, 0)
        for end in ("\r", "\n")
    )
    learnt = "" if vocab.level == "word" else kind_of_line_ends(returns, feeds)
    return line_end_notes({"the training text": learnt, part.name: part.line_ends})


def _escaped(token: str) -> str:
    """A token as JSON, with escapes where it could not be seen: control characters, and marks that begin it."""
    from elman.data.segmentation import extends

    return json_module.dumps(token, ensure_ascii=not token.isprintable() or extends(token[0]))


def _write_tokens(path: Path, model: "SequenceModel", part: "Split", nats: "npt.NDArray[np.float64]") -> None:
    """The cost of each token as it was scored, in the order of the text: they add up to the nats of the score.

    A token that is not in the vocabulary is written as it stands in the text, where that is at hand, and its cost is
    that of `<unk>`.
    """
    from elman.storage.atomic import replace_file

    written = part.tokens(model.task.vocab)
    names = {token: _escaped(token) for token in dict.fromkeys(written)}
    rows = zip(written, model.task.reading_order(nats), strict=True)
    lines = ["token\tnats\n", *(f"{names[token]}\t{cost:.6f}\n" for token, cost in rows)]
    replace_file(path, "".join(lines).encode())


def _value(name: str, figures: dict[str, Any]) -> str:
    """A metric as text; empty where there is none."""
    from elman.inference.metrics import METRICS

    value, metric = figures[name], METRICS[name]
    return "" if value is None else format(value, metric.long_form or metric.form)


def _unknown(figures: dict[str, Any], *, has_unknown: bool) -> str:
    """How many tokens are unknown."""
    unknown = figures["unknown"]
    if not unknown:
        return "0 unknown"
    share = unknown / (figures["tokens"] + (0 if has_unknown else unknown))
    return f"{unknown:,} unknown, {share:.2%}: bits pay for their spelling, perplexity and accuracy do not"


def _print(figures: dict[str, Any], symbols: int, *, has_unknown: bool) -> None:
    from elman.data.unknown import unknown_sentence
    from elman.inference.findings.run import against_baselines
    from elman.inference.metrics import METRICS

    fixed = {"carried": "state carried", "dynamic": "still learning from what was scored"}
    protocol = fixed.get(figures["protocol"], f"state reset every {figures['window']}")
    rows = [
        ("perplexity", f"{_value('perplexity', figures)}  ({protocol})"),
        *((name, f"{value:.3f}") for name, value in figures["baselines"].items()),
        *((metric.words, _value(name, figures)) for name, metric in METRICS.items() if name != "perplexity"),
        ("tokens", f"{figures['tokens']:,} ({_unknown(figures, has_unknown=has_unknown)})"),
    ]
    for name, value in rows:
        sys.stdout.write(f"{name:<20}{value}\n")
    for finding in against_baselines(figures["perplexity"], figures["baselines"], figures["p_values"], symbols):
        sys.stdout.write(f"{finding.sentence}\n")
    if figures["unknown"]:
        sentence = unknown_sentence(
            "scored" if has_unknown else "further", figures["unknown_symbols"], has_unknown=has_unknown
        )
        sys.stdout.write(f"{sentence}\n")
