"""The same book in reverse order, where a model predicts the token before.

The claim is that of Zhang et al. 2021 (Dive into Deep Learning, edition 0.17, section 8.1.4): reverse order is harder.

P(x_1 .. x_T) = prod_t P(x_t | x_1 .. x_{t-1}) = prod_t P(x_t | x_{t+1} .. x_T)     both exact; what is learnt differs
"""

from string import ascii_letters

import numpy as np

import elman
from elman.reproduce.experiment import Experiment, Measurement, Result, Runner

ORDERS = (5, 7)
EPOCHS = 10
CAUSED = "bigram ({}) of x' = f(x), nats a token"
SYMBOLS, TOKENS = 40, 400
EXPLAINED = {
    f"{ORDERS[0]}-gram": "counts of n-grams are the same in both directions but for the ends of the text, and the "
    "maximum likelihood estimate of any order costs the same: only smoothing tells the directions apart",
    f"{ORDERS[1]}-gram": "as for the shorter n-gram",
    "GRU": "the seed alone changes it by as much",
    CAUSED.format("laplace"): "what was not seen are jumps to rare symbols: of 254 new pairs 88 lead from a frequent "
    "symbol to a rare one and 48 back; for these additive smoothing asks 9.1 nats and 3.6, Kneser-Ney 5.3 and 3.9",
    CAUSED.format("kneser-ney"): "the sequences are short, and chance decides in some",
}
"""Why the claim does not hold, by the beginning of a row's name."""


def read(reverse: bool, limit: int | None) -> elman.Corpus:
    """Read the book; the last tenth is held out in either direction.

    Args:
        reverse: whether each part is read from its end.
        limit: of the tokens; None for all.
    """
    return elman.read_corpus(["time-machine"], normalize="letters", limit=limit, held_out=0.1, reverse=reverse)


def score_ngram(order: int, reverse: bool, limit: int | None = None) -> float:
    """Held-out bits per character of an n-gram.

    Args:
        order: n.
        reverse: whether each part is read from its end.
        limit: of the tokens; None for all.
    """
    corpus = read(reverse, limit)
    model = elman.NGram.fit(elman.TextTask.of(corpus), corpus.train.ids, order=order)
    return elman.evaluate(model, corpus.parts[-1], streams=1).bits_per_character


def score_gru(seed: int, reverse: bool, epochs: int, hidden: int = 128, limit: int | None = None) -> float:
    """Held-out bits per character of a GRU.

    Args:
        seed: of weights and batches.
        reverse: whether each part is read from its end.
        epochs: of the training.
        hidden: units.
        limit: of the tokens; None for all.
    """
    corpus = read(reverse, limit)
    model = elman.Recurrent(elman.TextTask.of(corpus), cell="gru", hidden=hidden, seed=seed)
    elman.fit(model, corpus.train, epochs=epochs, seed=seed)
    return elman.evaluate(model, corpus.parts[-1]).bits_per_character


def score_causal_bigram(seed: int, smoothing: str) -> list[float]:
    """Nats per token of a bigram, forward and in reverse, on x' = f(x) with f many to one; a fifth of x' is random.

    Args:
        seed: of f and the sequence.
        smoothing: its name, see `elman.NGram.fit`.
    """
    rng = np.random.default_rng(seed)
    f, x = rng.integers(0, SYMBOLS, SYMBOLS), [0]
    for _ in range(TOKENS):
        x.append(int(f[x[-1]] if rng.random() > 0.2 else rng.integers(SYMBOLS)))
    task = elman.TextTask(elman.Vocab.chars(ascii_letters[:SYMBOLS], unknown=False))
    ids = np.array(x, np.uint8)
    halves = [[half[::way].copy() for half in (ids[: TOKENS // 2], ids[TOKENS // 2 :])] for way in (1, -1)]
    return [
        float(elman.NGram.fit(task, learnt, order=2, smoothing=smoothing).surprisals(scored).mean())
        for learnt, scored in halves
    ]


def run(runner: Runner) -> Result:
    """Each model in both directions."""
    less = runner.choose({}, {"limit": 2000})
    size = runner.choose({"epochs": EPOCHS}, {"epochs": 1, "hidden": 8}) | less
    ways = (False, True)
    found: dict[str, list[list[float]]] = {
        f"{n}-gram, bits a character": [[runner.trial(score_ngram, order=n, reverse=r, **less) for r in ways]]
        for n in ORDERS
    }
    seeds = range(runner.choose(3, 1))
    each = runner.trials(score_gru, [{"seed": s, "reverse": r} | size for s in seeds for r in ways])
    found["GRU 128, bits a character"] = [each[i : i + 2] for i in range(0, len(each), 2)]
    for smoothing in ("kneser-ney", "laplace"):
        found[CAUSED.format(smoothing)] = [
            runner.trial(score_causal_bigram, seed=s, smoothing=smoothing) for s in range(5)
        ]
    return Result(measurements=tuple(_row(what, pairs) for what, pairs in found.items()), lessons=_lessons(found))


def _row(what: str, pairs: list[list[float]]) -> Measurement:
    """The claim that reverse order is harder."""
    return Measurement(
        what=f"{what}: reverse less forward",
        published=0.0,
        claim="at least",
        measured=tuple(back - forth for forth, back in pairs),
        number_format="+.3f",
        headline=what.startswith("GRU"),
        note=f"forward {', '.join(f'{forth:.3f}' for forth, _ in pairs)}",
        explained=next(reason for begin, reason in EXPLAINED.items() if what.startswith(begin)),
    )


def _lessons(found: dict[str, list[list[float]]]) -> tuple[str, ...]:
    pairs = found["GRU 128, bits a character"]
    apart, forth = [back - forward for forward, back in pairs], [forward for forward, _ in pairs]
    counts = [back - forward for n in ORDERS for forward, back in found[f"{n}-gram, bits a character"]]
    return (
        "The chain rule holds in either order, so the true distribution has the same cost in both. A model that is "
        f"learnt from a text may differ: here by {min(apart):+.3f} to {max(apart):+.3f} bits for a GRU, whose seed "
        f"changes {max(forth) - min(forth):.3f}, and by {max(map(abs, counts)):.3f} at the most for n-grams.",
        "If the next value is a many-to-one function of the last, as an effect is of its cause, forward is easier for "
        f"Kneser-Ney ({_mean(found, 'kneser-ney'):+.2f} nats in reverse) and reverse for additive smoothing "
        f"({_mean(found, 'laplace'):+.2f}). Which direction is harder also depends on the model.",
    )


def _mean(found: dict[str, list[list[float]]], smoothing: str) -> float:
    pairs = found[CAUSED.format(smoothing)]
    return sum(back - forth for forth, back in pairs) / len(pairs)


EXPERIMENT = Experiment(
    name="reverse",
    title="a book read from its end",
    source=(
        "Zhang et al. 2021 (Dive into Deep Learning, edition 0.17), section 8.1.4: reverse order is legal "
        "but harder; it prints no figures"
    ),
    order=110,
    minutes=1.4,
    run=run,
)
