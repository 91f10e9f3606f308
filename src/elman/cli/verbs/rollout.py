"""`elman rollout`: how long the continuations of a model equal a text, and what goes wrong in them."""

import json as json_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from elman.cli.flags import help_of, number
from elman.cli.options import Json
from elman.errors import ConfigError, one_line, quoted

if TYPE_CHECKING:
    from elman.data.corpus import Corpus, Split
    from elman.models.task import TextTask

ORDER = 5
EXAMPLES = """Examples:
  elman rollout runs/numbers                    # continue its own held-out text
  elman rollout runs/book other.txt --json
  elman rollout runs/book --length 50 --temperature 1"""


def command(
    run: Annotated[Path, Parameter(help="A run, whose training text is read again.")],
    *sources: Annotated[str, Parameter(help="The text to continue [default: the run's held-out text].")],
    length: Annotated[int, number("Tokens of a continuation.", least=1)] = 200,
    positions: Annotated[int, number("How many continuations, at random positions of the text.", least=1)] = 200,
    places: Annotated[int | None, Parameter(show=False)] = None,
    temperature: Annotated[float, Parameter(help="Of the sampled continuations; the greedy ones have none.")] = 0.7,
    seed: Annotated[int, number("The same seed gives the same positions and samples.", least=0)] = 0,
    device: Annotated[str, Parameter(help=help_of("device"))] = "auto",
    json: Json = False,
) -> int:
    """Continue a text at many positions: how many tokens are correct, what goes wrong first, how many end in a loop."""
    from elman.environment import device_for
    from elman.inference.evaluation import LONGEST, beginning
    from elman.inference.rollout import report
    from elman.models.saving import load_saved, open_saved
    from elman.training.run import checkpoint_metadata, corpus_of

    if not temperature > 0:
        raise ConfigError("--temperature must be above 0: greedy continuations are always measured too")
    saved = open_saved(run)
    if "training.json" not in saved.listed:
        raise ConfigError(f"{quoted(run)} is a saved model without a training run, whose text is needed: give a run")
    model = load_saved(saved, engine="auto", device=device_for(device))
    corpus = corpus_of(run, checkpoint_metadata(run, saved))
    part = beginning(model, _text(run, model.task, corpus, sources), LONGEST)
    figures = report(
        model, part.ids, corpus.train.ids, length=length, places=places or positions, temperature=temperature, seed=seed
    )
    figures = {"schema_version": 1, "model": str(run), "text": part.name, **figures}
    if json:
        print(json_module.dumps(figures, ensure_ascii=False))
    else:
        _print(figures)
    return 0


def _text(run: Path, task: "TextTask", corpus: "Corpus", sources: tuple[str, ...]) -> "Split":
    """The text that the user names, or the run's own held-out part."""
    from elman.data.corpus import read_part

    if sources:
        return read_part(sources, task.vocab, normalize=task.normalize, reverse=task.reverse)
    if corpus.held_out is None:
        raise ConfigError(f"the run {quoted(run)} has no held-out text: give a text to continue")
    return corpus.held_out


def _print(found: dict[str, Any]) -> None:
    kinds, length = ("greedy", "sampled"), found["length"]
    rows: list[tuple[str, ...]] = [("", "most probable", f"temperature {found['temperature']:g}", "the text itself")]
    rows += [
        (f"exact, {n} tokens", *(f"{found[kind]['exact'][n]:.1%}" for kind in kinds), "")
        for n in found["greedy"]["exact"]
    ]
    rows.append(("correct tokens", *(_spread(found[kind]["right"], length) for kind in kinds), ""))
    label = f"before an unseen {found['order']}-gram"
    rows.append((label, *(_spread(found[kind]["passing"], length) for kind in (*kinds, "truth"))))
    rows.append(("ends in a loop", *(f"{found[kind]['loops']:.1%}" for kind in (*kinds, "truth"))))
    rows += [
        (f"first error: {name}", *(f"{found[kind]['errors'][name]:,}" for kind in kinds), "")
        for name in found["greedy"]["errors"]
    ]
    for first, *cells in rows:
        sys.stdout.write(f"{first:<24}" + "".join(f"{cell:>20}" for cell in cells).rstrip() + "\n")
    sys.stdout.write(
        f"{found['places']:,} positions in the first {found['tokens']:,} tokens of {one_line(found['text'])}; "
        "numbers of tokens as median (quartiles).\n"
    )
    for example in found["greedy"]["examples"][:1]:
        shown = {name: json_module.dumps(text, ensure_ascii=False) for name, text in example.items()}
        sys.stdout.write(
            f"After {shown['after']} the model writes {shown['wrote']}, and the text has {shown['truth']}.\n"
        )


def _spread(lengths: dict[str, Any], most: int) -> str:
    """Median and quartiles; + marks the length at which the continuations ended."""
    low, middle, high = (f"{n}{'+' * (n == most)}" for n in (lengths["quantiles"][q] for q in ("0.25", "0.5", "0.75")))
    return f"{middle} ({low}..{high})"
