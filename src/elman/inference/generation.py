"""Continuing a text: read the prompt, then draw a token, read it, draw the next (S15, S50)."""

import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from elman.cells import State
from elman.data.batches import START, Ids
from elman.data.vocab import Vocab
from elman.engines import Sampler
from elman.engines.sampling import Sampling
from elman.errors import ConfigError, DataError
from elman.models.base import SequenceModel
from elman.models.task import TextTask
from elman.rng import numpy_generator

LOGITS_AT_ONCE = 2**22  # of a prompt: 16 MB
PROMPT_CHUNK = 4096  # tokens of a prompt read at a time
CHUNK, TOKENS_AT_ONCE = 256, 2**16  # tokens of a stream, and of all, that are drawn in one call at most
QUICK = 0.05  # seconds that a chunk may take for the next one to be longer


def sample_tokens(
    model: SequenceModel, prompt: Ids, *, count: int, draw: Sampling, samples: int = 1, seed: int = 0
) -> Iterator[npt.NDArray[np.int64]]:
    """`count` times one token a sample, (samples,), each sample a continuation of `prompt`; never `<unk>`."""
    if count < 0 or samples < 1:
        raise ConfigError(f"{samples} samples of {count} tokens: give at least one sample and no negative length")
    if not count:
        return
    # Not around the loop: a generator that yields inside the mode would leave its caller in it.
    with torch.inference_mode():
        logits, state = read(model, np.concatenate(([START], prompt))[None], model.initial(1))
        logits, state = logits.repeat(samples, 1), tuple(s.repeat_interleave(samples, 0) for s in state)
    yield from continued(model, logits, state, count=count, draw=draw, seed=seed)


def continued(
    model: SequenceModel, logits: torch.Tensor, state: State, *, count: int, draw: Sampling, seed: int = 0
) -> Iterator[npt.NDArray[np.int64]]:
    """`count` (1 or more) times one token a stream, (B,), after what left these logits (B, V) and this state.

    They are drawn in chunks, the first of one token and each twice as long as the one before while that is quick.
    Chunks change no token: the numbers that choose them come from one stream.
    """
    samples = len(logits)
    rng = numpy_generator(seed, "samples") if draw.temperature else None

    def uniforms(steps: int) -> npt.NDArray[np.float64] | None:
        return rng.random((steps, samples)) if rng else None

    with torch.inference_mode():
        write = model.sampler(draw, samples) or _by_steps(model, draw)
    numbers = uniforms(1)
    tokens = draw(_scores(logits, model.task), None if numbers is None else numbers[0])
    yield tokens
    left, chunk, longest = count - 1, 1, max(1, min(CHUNK, TOKENS_AT_ONCE // samples))
    while left:
        steps = min(chunk, left)
        started = time.perf_counter()
        with torch.inference_mode():
            drawn, state = write(tokens, state, steps, uniforms(steps))
        if time.perf_counter() - started < QUICK:
            chunk = min(2 * chunk, longest)
        yield from drawn
        tokens, left = drawn[-1], left - steps


def _by_steps(model: SequenceModel, draw: Sampling) -> Sampler:
    """The definition of writing: a step of the model, a draw, and again."""
    step = model.stepper()

    def write(
        tokens: npt.NDArray[np.int64], state: State, steps: int, uniforms: npt.NDArray[np.float64] | None
    ) -> tuple[npt.NDArray[np.int64], State]:
        drawn = []
        for i in range(steps):
            logits, state = step(torch.from_numpy(tokens).to(state[0].device), state)
            tokens = draw(_scores(logits, model.task), None if uniforms is None else uniforms[i])
            drawn.append(tokens)
        return np.stack(drawn), state

    return write


def _scores(logits: torch.Tensor, task: TextTask) -> npt.NDArray[np.float32]:
    """Logits (B, V) to draw from: `<unk>` has none."""
    scores = logits.float().numpy(force=True)
    if task.vocab.unknown:
        scores[:, 0] = -np.inf
    return scores


def read(model: SequenceModel, tokens: npt.NDArray[np.integer], state: State) -> tuple[torch.Tensor, State]:
    """The logits (B, V) after tokens (B, N), N at least 1, and the state there (the warm-up of S50)."""
    inputs = torch.from_numpy(tokens.astype(np.int64)).to(state[0].device)
    for chunk in inputs.split(max(1, min(PROMPT_CHUNK, LOGITS_AT_ONCE // (len(inputs) * model.task.size))), 1):
        with torch.inference_mode():
            logits, state = model(chunk, state)
    return logits[:, -1], state


def encode_prompt(task: TextTask, prompt: str) -> Ids:
    """The prompt as ids. It is taken as it is: a prompt is not cleaned, or its last space could not be meant.

    Raises:
        ConfigError: the model reads from the end, so what it would write stands before the prompt.
        DataError: it holds symbols that the model has never seen; the message lists them.
    """
    if task.reverse:
        raise ConfigError(
            "the model reads from the end of a text to its beginning and cannot continue one: "
            "evaluate it, or train without reverse"
        )
    strange = task.vocab.unseen(prompt)
    if strange:
        listed = ", ".join(repr(s) for s in strange[:10]) + (", ..." if len(strange) > 10 else "")
        how = "" if task.clean == "none" else f", or write it as the cleaning {task.clean!r} left the training text"
        raise DataError(
            f"the prompt has symbols that the model has never seen ({len(strange)}): {listed}; "
            f"leave them out{how}, or train on a text that has them"
        )
    return task.vocab.encode(prompt)


def generate(
    model: SequenceModel,
    prompt: str = "",
    length: int = 200,
    *,
    temperature: float = 0.7,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: str | None = None,
    seed: int = 0,
) -> Iterator[str]:
    """The continuation of `prompt`, piece by piece as it is drawn; `length` tokens, or up to `stop`.

    Args:
        model: what continues; it is not changed.
        prompt: read first; its symbols must be in the vocabulary. Empty: as at the beginning of a text.
        length: tokens to draw.
        temperature: 0 takes the most probable token each time; see `Sampling`.
        top_k: draw from the k most probable tokens only.
        top_p: draw from the most probable tokens that together have this probability.
        stop: end before this string.
        seed: of the draws; the same seed gives the same text.

    Raises:
        ConfigError: settings out of range.
        DataError: symbols in the prompt that the vocabulary does not hold.
    """
    draw, vocab = Sampling(temperature, top_k, top_p), model.task.vocab
    ids = encode_prompt(model.task, prompt)
    drawn = sample_tokens(model, ids, count=length, draw=draw, seed=seed)
    return until(stop, render(vocab, ids, (int(t[0]) for t in drawn)))


def generate_samples(
    model: SequenceModel,
    prompt: str = "",
    length: int = 200,
    *,
    samples: int,
    temperature: float = 0.7,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: str | None = None,
    seed: int = 0,
) -> list[str]:
    """Several continuations of one prompt, drawn side by side; the arguments of `generate`."""
    draw, vocab = Sampling(temperature, top_k, top_p), model.task.vocab
    ids = encode_prompt(model.task, prompt)
    drawn = list(sample_tokens(model, ids, count=length, draw=draw, samples=samples, seed=seed))
    rows = np.stack(drawn, 1).tolist() if drawn else [[] for _ in range(samples)]
    return ["".join(until(stop, render(vocab, ids, iter(row)))) for row in rows]


def render(vocab: Vocab, prompt: Ids, tokens: Iterator[int]) -> Iterator[str]:
    """Tokens as pieces of text, as they would stand after the prompt."""
    stream = vocab.incremental_decoder()
    for token in prompt.tolist():
        stream.push(token)
    for token in tokens:
        if piece := stream.push(token):
            yield piece
    if piece := stream.flush():
        yield piece


def until(stop: str | None, pieces: Iterator[str]) -> Iterator[str]:
    """The pieces up to the first occurrence of `stop`, which may be spread over several."""
    if not stop:
        yield from pieces
        return
    held = ""
    for piece in pieces:
        held += piece
        if stop in held:
            yield held[: held.index(stop)]
            return
        safe = len(held) - _overlap(held, stop)
        if safe:
            yield held[:safe]
            held = held[safe:]
    if held:
        yield held


def _overlap(text: str, stop: str) -> int:
    """The longest end of `text` with which `stop` may begin."""
    return next(n for n in range(min(len(text), len(stop) - 1), -1, -1) if text.endswith(stop[:n]))
