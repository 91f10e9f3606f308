"""`elman generate`: continue a prompt."""

import json as json_module
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from elman.cli.flags import help_of, number
from elman.cli.options import Json, MayBeEmpty

ORDER = 4
EXAMPLES = """Examples:
  elman generate runs/book "time traveller"
  elman generate runs/book "time traveller" --temperature 0        # arg-max
  elman generate runs/book "The" --samples 5 --length 80 --top-p 0.9 --seed 1"""


def command(
    run: Annotated[Path, Parameter(help="A run, a checkpoint or a saved model.")],
    prompt: Annotated[str, MayBeEmpty, Parameter(help="The text to continue; - reads it from standard input.")] = "",
    *,
    length: Annotated[int, number("Tokens to generate.", least=0)] = 200,
    temperature: Annotated[float, Parameter(help="0 takes the most probable token, 1 samples freely.")] = 0.7,
    top_k: Annotated[int | None, number("Sample from the k most probable tokens.", least=1)] = None,
    top_p: Annotated[float | None, Parameter(help="Sample from the fewest tokens with this probability.")] = None,
    stop: Annotated[str | None, Parameter(help="End before this text.")] = None,
    samples: Annotated[int, number("Continuations to generate, side by side.", least=1)] = 1,
    unknown: Annotated[
        Literal["refuse", "keep"],
        Parameter(help="Symbols of the prompt that are not in the vocabulary: refuse them, or keep them as <unk>."),
    ] = "refuse",
    seed: Annotated[int, number("The same seed gives the same text.", least=0)] = 0,
    device: Annotated[str, Parameter(help=help_of("device"))] = "auto",
    json: Json = False,
) -> int:
    """Continue a prompt with a saved model, printing as it writes."""
    from elman.data.files import text_chunks
    from elman.data.unknown import reasons_unknown
    from elman.data.vocab import visible_repr
    from elman.environment import device_for
    from elman.inference.generation import generate, unwritten
    from elman.models.saving import load

    model = load(run, device=device_for(device))
    text = "".join(text_chunks(["-"])) if prompt == "-" else prompt
    if unknown == "keep" and model.task.vocab.unknown and (unseen := model.task.vocab.unseen(text)):
        sys.stderr.write(f"in the prompt, read as <unk>: {reasons_unknown(model.task.vocab, unseen)}\n")
    if stop and (missing := unwritten(model.task.vocab, stop)):
        sys.stderr.write(f"--stop has no effect: the model never writes {', '.join(map(visible_repr, missing))}\n")
    settings: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "stop": stop, "seed": seed}
    if json or samples != 1:
        texts = generate(model, text, length, samples=samples, unknown=unknown, **settings)
        if json:
            document = {"schema_version": 1, "model": str(run), "prompt": text, "samples": texts} | settings
            print(json_module.dumps(document, ensure_ascii=False))
            return 0
        for i, each in enumerate(texts, 1):
            sys.stdout.write(f"--- {i}\n{text}{each}\n")
        return 0
    pieces = generate(model, text, length, unknown=unknown, **settings)
    sys.stdout.write(text)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0
