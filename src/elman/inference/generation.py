"""Autoregressive generation: read the prompt, then sample a token, read it, sample the next."""

import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Final, Literal, get_args, overload

import numpy as np
import numpy.typing as npt
import torch

from elman.arguments import checked
from elman.cells import State
from elman.data.batches import START, Ids
from elman.data.segmentation import words
from elman.data.tokens import NEWLINE, join_words
from elman.data.unknown import MIN_COUNT, reasons_unknown
from elman.data.vocab import Vocab
from elman.engines import TokenSampler
from elman.engines.sampling import Sampling
from elman.errors import ConfigError, DataError, ModelError, no_such
from elman.models.base import SequenceModel
from elman.models.task import TextTask
from elman.rng import numpy_generator

LOGITS_AT_ONCE = 2**22  # of a prompt: 16 MB
PROMPT_CHUNK = 4096  # tokens of a prompt read at a time
CHUNK, TOKENS_AT_ONCE = 256, 2**16  # tokens of a stream, and of all, that are sampled in one call at most
UnknownSymbols = Literal["refuse", "keep"]
UNKNOWN_SYMBOLS: Final = get_args(UnknownSymbols)
QUICK = 0.05  # seconds that a chunk may take for the next one to be longer


@overload
def generate(
    model: SequenceModel,
    prompt: str = "",
    length: int = 200,
    *,
    samples: None = None,
    temperature: float = 0.7,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: str | None = None,
    seed: int = 0,
    unknown: UnknownSymbols = "refuse",
) -> Iterator[str]: ...


@overload
def generate(
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
    unknown: UnknownSymbols = "refuse",
) -> list[str]: ...


@checked
def generate(
    model: SequenceModel,
    prompt: str = "",
    length: int = 200,
    *,
    samples: int | None = None,
    temperature: float = 0.7,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: str | None = None,
    seed: int = 0,
    unknown: UnknownSymbols = "refuse",
) -> Iterator[str] | list[str]:
    """Generate a continuation of a prompt, streaming, or several whole ones with `samples`.

    Args:
        model: the language model; it is not changed.
        prompt: the text to continue. Empty: as at the beginning of a text.
        length: tokens to generate, 0 or more.
        samples: how many continuations, 1 or more, generated side by side; None streams a single one.
        temperature: 0 or more; 0 takes the most probable token each time (`Sampling`).
        top_k: sample from the k most probable tokens only, 1 or more.
        top_p: sample from the fewest tokens that together have this probability, in (0, 1].
        stop: end before this string of the text as it is written; of words, however they are spaced in it.
        seed: of the sampling; the same seed gives the same text.
        unknown: what happens to symbols of the prompt that are not in the vocabulary: "refuse" raises, "keep" reads
            them as `<unk>`.

    Returns:
        An iterator over the pieces of one continuation, each as soon as it is sampled; with `samples` a list of whole
        continuations. Neither holds the prompt.

    Raises:
        ConfigError: settings out of range, or a model that reads texts from the end.
        DataError: symbols in the prompt that are not in the vocabulary, unless `unknown` keeps them.

    Example:
        >>> import elman
        >>> vocab = elman.Vocab.chars("abracadabra")
        >>> model = elman.NGram.fit(elman.TextTask(vocab), vocab.encode("abracadabra" * 3), order=4)
        >>> "".join(elman.generate(model, "abra", 7, temperature=0))
        'cadabra'
        >>> elman.generate(model, "abra", 7, samples=2, temperature=0)
        ['cadabra', 'cadabra']
    """
    sampling, vocab = Sampling(temperature, top_k, top_p), model.task.vocab
    check_size(length, samples)
    ids, stops = encode_prompt(model.task, prompt, unknown), written_stops(vocab, stop)
    if samples is None:
        tokens = map(np.ndarray.item, sample_tokens(model, ids, count=length, sampling=sampling, seed=seed))
        pieces = decode_stream(vocab, ids, tokens)
        return truncate_at(stops, pieces) if stops else pieces
    steps = list(sample_tokens(model, ids, count=length, sampling=sampling, samples=samples, seed=seed))
    rows = np.stack(steps, 1).tolist() if steps else [[] for _ in range(samples)]
    return ["".join(truncate_at(stops, decode_stream(vocab, ids, iter(row)))) for row in rows]


@checked
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
    unknown: UnknownSymbols = "refuse",
) -> list[str]:
    """The old name of `generate(..., samples=...)`, whose arguments it has."""
    warnings.warn(
        "elman.generate_samples is now elman.generate(..., samples=...); the old name goes in 0.3",
        DeprecationWarning,
        stacklevel=2,
    )
    return generate(
        model,
        prompt,
        length,
        samples=samples,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop=stop,
        seed=seed,
        unknown=unknown,
    )


def sample_tokens(
    model: SequenceModel, prompt: Ids, *, count: int, sampling: Sampling, samples: int = 1, seed: int = 0
) -> Iterator[npt.NDArray[np.int64]]:
    """Sample continuations of a prompt, as token ids.

    Args:
        model: the language model.
        prompt: its token ids, (N,); token 0 is read before them.
        count: tokens to sample per continuation, 0 or more.
        sampling: how a token is chosen; `<unk>` never is.
        samples: continuations side by side, 1 or more.
        seed: of the sampling.

    Yields:
        `count` times the next token of each continuation, (samples,).

    Raises:
        ConfigError: a negative count, or no samples.
    """
    check_size(count, samples)
    if not count:
        return
    # Not around the loop: a generator that yields inside the mode would leave its caller in it.
    with torch.inference_mode():
        logits, state = prefill(model, np.concatenate(([START], prompt))[None], model.initial(1))
        logits, state = logits.repeat(samples, 1), tuple(s.repeat_interleave(samples, 0) for s in state)
    yield from sample_after(model, logits, state, count=count, sampling=sampling, seed=seed)


def check_size(length: int, samples: int | None) -> None:
    """Refuse a negative length, and less than one sample."""
    if length < 0 or (samples is not None and samples < 1):
        raise ConfigError(f"{samples or 0} samples of {length} tokens: give at least 1 sample, and 0 or more tokens")


def sample_after(
    model: SequenceModel, logits: torch.Tensor, state: State, *, count: int, sampling: Sampling, seed: int = 0
) -> Iterator[npt.NDArray[np.int64]]:
    """Sample continuations from where a model stands.

    Tokens are sampled in chunks, the first of one token and each twice as long as the one before while that is quick.
    Chunks change no token: the uniform numbers that select them come from one generator.

    Args:
        model: the language model.
        logits: for the next token of each of B streams, (B, V).
        state: the state of each, (B, ...) per tensor.
        count: tokens to sample per stream, 1 or more.
        sampling: how a token is chosen; `<unk>` never is.
        seed: of the sampling.

    Yields:
        `count` times the next token of each stream, (B,).
    """
    streams = len(logits)
    rng = numpy_generator(seed, "samples") if sampling.temperature else None

    def uniforms(steps: int) -> npt.NDArray[np.float64] | None:
        return rng.random((steps, streams)) if rng else None

    with torch.inference_mode():
        token_sampler = model.token_sampler(sampling, streams) or _sampler_of_steps(model, sampling)
    numbers = uniforms(1)
    tokens = sampling(_sampling_logits(logits, model.task), None if numbers is None else numbers[0])
    yield tokens
    left, chunk, longest = count - 1, 1, max(1, min(CHUNK, TOKENS_AT_ONCE // streams))
    while left:
        steps = min(chunk, left)
        started = time.perf_counter()
        with torch.inference_mode():
            sampled, state = token_sampler(tokens, state, steps, uniforms(steps))
        if time.perf_counter() - started < QUICK:
            chunk = min(2 * chunk, longest)
        yield from sampled
        tokens, left = sampled[-1], left - steps


def _sampler_of_steps(model: SequenceModel, sampling: Sampling) -> TokenSampler:
    """The reference sampler: a step of the model, a token from its logits, and again."""
    step = model.stepper()

    def token_sampler(
        tokens: npt.NDArray[np.int64], state: State, steps: int, uniforms: npt.NDArray[np.float64] | None
    ) -> tuple[npt.NDArray[np.int64], State]:
        sampled = []
        for i in range(steps):
            logits, state = step(torch.from_numpy(tokens).to(state[0].device), state)
            tokens = sampling(_sampling_logits(logits, model.task), None if uniforms is None else uniforms[i])
            sampled.append(tokens)
        return np.stack(sampled), state

    return token_sampler


def _sampling_logits(logits: torch.Tensor, task: TextTask) -> npt.NDArray[np.float32]:
    """Logits (B, V) in float32, minus infinity for `<unk>` but for no other at all; never the caller's memory."""
    copy = logits.float().numpy(force=True).copy()
    if not (copy < np.inf).all():
        raise ModelError("the model predicts NaN or infinity: use an earlier checkpoint")
    if task.vocab.unknown:
        copy[:, 0] = -np.inf
        copy[np.isneginf(copy).all(1), 1:] = 0  # of a model that expects `<unk>` alone: any other token
    return copy


def prefill(model: SequenceModel, tokens: npt.NDArray[np.integer], state: State) -> tuple[torch.Tensor, State]:
    """Read a prompt in chunks, keeping only the last logits.

    Args:
        model: the language model.
        tokens: token ids of B prompts of one length, (B, N), N at least 1.
        state: the state before them.

    Returns:
        The logits for the token after each prompt, (B, V), and the state there.
    """
    inputs = torch.from_numpy(tokens.astype(np.int64)).to(state[0].device)
    for chunk in inputs.split(max(1, min(PROMPT_CHUNK, LOGITS_AT_ONCE // (len(inputs) * model.task.size))), 1):
        with torch.inference_mode():
            logits, state = model(chunk, state)
    return logits[:, -1], state


def encode_prompt(
    task: TextTask,
    prompt: str,
    unknown: UnknownSymbols = "refuse",
    *,
    can_be_kept: bool = True,
    name: str = "the prompt",
) -> Ids:
    """The token ids of a prompt, which is used as it is: normalizing it could remove a space at its end.

    Args:
        task: the task of the model.
        prompt: the text to continue.
        unknown: "keep" reads symbols that are not in the vocabulary as `<unk>`, "refuse" raises.
        can_be_kept: whether the message names "keep" as a remedy.
        name: what messages call it.

    Returns:
        Token ids, (N,).

    Raises:
        ConfigError: the model reads texts from the end, so that it predicts what stands before the prompt.
        DataError: symbols that are not in the vocabulary, and `unknown` is not "keep" or there is no `<unk>`; the
            message lists them, and says of each whether it is too rare in the training text or not in it.
    """
    if task.reverse:
        raise ConfigError(
            "the model reads from the end of a text to its beginning and cannot continue one: "
            "evaluate it, or train without reverse"
        )
    unseen = task.vocab.unseen(prompt)
    if unknown not in UNKNOWN_SYMBOLS:
        raise ConfigError(no_such("way to treat unknown symbols", unknown, UNKNOWN_SYMBOLS))
    if unseen and (unknown == "refuse" or not task.vocab.unknown):
        raise DataError(_unknown_in_prompt(task, unseen, name, can_be_kept=can_be_kept))
    return task.vocab.encode(prompt)


def _unknown_in_prompt(task: TextTask, unseen: Sequence[str], name: str, *, can_be_kept: bool) -> str:
    """Which symbols of a prompt are unknown, why, and what helps."""
    vocab = task.vocab
    symbols = "a symbol that is" if len(unseen) == 1 else f"{len(unseen)} symbols that are"
    remedies = ["leave them out" if len(unseen) > 1 else "leave it out"]
    if task.normalize != "none":
        remedies.append(f"write it as --normalize {task.normalize} writes the training text")
    if vocab.unknown and can_be_kept:
        remedies.append("let the prompt hold <unk> with --unknown keep")
    if any(symbol in vocab.dropped for symbol in unseen):
        remedies.append(f"train with {MIN_COUNT}")
    if not all(symbol in vocab.dropped for symbol in unseen):
        remedies.append("train on a text that has them" if len(unseen) > 1 else "train on a text that has it")
    return (
        f"{name} has {symbols} not in the vocabulary ({reasons_unknown(vocab, unseen)}): "
        f"{', '.join(remedies[:-1])}, or {remedies[-1]}"
    )


def decode_stream(vocab: Vocab, prompt: Ids, tokens: Iterator[int]) -> Iterator[str]:
    """Decode tokens one by one, as they would stand after a prompt.

    Args:
        vocab: the vocabulary.
        prompt: token ids that come before; they are not returned.
        tokens: token ids.

    Yields:
        Pieces of text, none of them empty.
    """
    stream = vocab.incremental_decoder()
    for token in prompt.tolist():
        stream.push(token)
    for token in tokens:
        if piece := stream.push(token):
            yield piece
    if piece := stream.flush():
        yield piece


def written_stops(vocab: Vocab, stop: str | None) -> tuple[str, ...]:
    """The strings at which a text ends before `stop`: itself and, of words, as words are written.

    Args:
        vocab: of the model; words are written with one space between them, and none around a line end.
        stop: what a user typed; None or empty: nothing ends the text.

    Example:
        >>> written_stops(Vocab.words("the end ."), "the  end."), written_stops(Vocab.chars("end."), "end.")
        (('the  end.', 'the end .'), ('end.',))
    """
    if not stop:
        return ()
    tokens = words(stop, vocab.segmentation) if vocab.level == "word" else []
    before = " " if tokens and stop[0].isspace() and tokens[0] != NEWLINE else ""
    after = " " if tokens and stop[-1].isspace() and tokens[-1] != NEWLINE else ""
    return tuple(dict.fromkeys((stop, before + join_words(tokens) + after))) if tokens else (stop,)


def unwritten(vocab: Vocab, stop: str) -> list[str]:
    """The characters of a stop string that stand in no token of the vocabulary, so that it is never written.

    Example:
        >>> unwritten(Vocab.chars("the end"), "The end.")
        ['T', '.']
    """
    if vocab.level == "byte":
        return []
    known = {" ", *"".join(vocab.idx_to_token[int(vocab.unknown) :])} if vocab.level == "word" else vocab.token_to_idx
    return [character for character in dict.fromkeys(stop) if character not in known and not character.isspace()]


def truncate_at(stops: tuple[str, ...], pieces: Iterator[str]) -> Iterator[str]:
    """End a stream of text before the first stop string, which may be spread over several pieces.

    Args:
        stops: strings, none of them empty; of none all pieces pass.
        pieces: the text in pieces.

    Yields:
        Pieces of the text before the first occurrence of a stop string; a piece that may begin one is held back until
        it is known.
    """
    buffer = ""
    for piece in pieces:
        buffer += piece
        # Where the earliest stop string begins that the next pieces may complete.
        pending = len(buffer) - max((_overlap(buffer, stop) for stop in stops), default=0)
        if -1 < _first(buffer, stops) <= pending:
            break
        if pending:
            yield buffer[:pending]
            buffer = buffer[pending:]
    found = _first(buffer, stops)
    if rest := buffer if found < 0 else buffer[:found]:
        yield rest


def _first(text: str, stops: Sequence[str]) -> int:
    """Where the first stop string begins, or -1."""
    return min((at for stop in stops if (at := text.find(stop)) >= 0), default=-1)


def _overlap(text: str, stop: str) -> int:
    """The longest end of `text` with which `stop` may begin."""
    return next(n for n in range(min(len(text), len(stop) - 1), -1, -1) if text.endswith(stop[:n]))
