"""How far a Markov chain predicts: its probabilities k steps ahead, with the tokens between summed out.

The sum is that of Zhang et al. 2021 (Dive into Deep Learning, edition 0.17, section 8.1.4).

P(x_{t+k} | x_t) = sum over x_{t+1} .. x_{t+k-1} of P(x_{t+1} | x_t) ... P(x_{t+k} | x_{t+k-1}) = (T^k)[x_t]
I_k = sum over c of P(c) sum over w of P(x_{t+k} = w | c) log2 (P(x_{t+k} = w | c) / P_k(w))        bits about x_{t+k}
"""

from typing import Any

import numpy as np

import elman
from elman.reproduce.experiment import ROUNDING, Chart, ChartSeries, Experiment, Measurement, Result, Runner

ORDERS = (2, 3)
FARTHEST = 12
BEGUN = "t"


def book(limit: int | None) -> elman.Corpus:
    """The whole book as letters and blanks."""
    return elman.read_corpus(["time-machine"], normalize="letters", limit=limit, held_out=0, unknown=False)


def distance_from_powers(limit: int | None = None) -> float:
    """The largest distance between the probabilities of a bigram k steps ahead and the k-th power of its matrix."""
    corpus = book(limit)
    model, m = elman.NGram.fit(elman.TextTask.of(corpus), corpus.train.ids, order=2), len(corpus.vocab)
    each = np.array([elman.predict_ahead(model, np.array([c]), FARTHEST) for c in range(m)])  # (V, K, V)
    return float(max(abs(each[:, k] - np.linalg.matrix_power(each[:, 0], k + 1)).max() for k in range(FARTHEST)))


def information(order: int, limit: int | None = None) -> dict[str, Any]:
    """The mutual information of the last n-1 tokens and the token k steps ahead under an n-gram.

    Args:
        order: n.
        limit: of the tokens; None for all.

    Returns:
        Bits for each k, and two probabilities for a chart.
    """
    corpus = book(limit)
    ids = corpus.train.ids
    model = elman.NGram.fit(elman.TextTask.of(corpus), ids, order=order)
    every = np.lib.stride_tricks.sliding_window_view(ids, order - 1)
    contexts, times = np.unique(every, axis=0, return_counts=True)
    weight = times / times.sum()
    each = np.array([elman.predict_ahead(model, context, FARTHEST) for context in contexts])  # (contexts, K, V)
    mean = np.einsum("c,ckv->kv", weight, each)
    bits = np.einsum("c,ckv->k", weight, each * np.log2(each / mean))
    after = elman.predict_ahead(model, corpus.vocab.encode(BEGUN), FARTHEST)[:, corpus.vocab["e"]]
    return {"bits": bits.tolist(), "e after t": after.tolist(), "e": float((ids == corpus.vocab["e"]).mean())}


def run(runner: Runner) -> Result:
    """No seed changes a count."""
    limit = runner.choose(None, 500)
    apart = runner.trial(distance_from_powers, limit=limit)
    found = {order: runner.trial(information, order=order, limit=limit) for order in ORDERS}
    return Result(
        measurements=(
            Measurement(
                what=f"bigram, up to {FARTHEST} steps: largest distance from the power of its matrix",
                definition=0.0,
                tolerance=1e-12,
                tolerance_from=ROUNDING,
                measured=(apart,),
                number_format=".1e",
            ),
            *(
                Measurement(
                    what=f"{n}-gram, bits about the letter {k} steps ahead",
                    measured=(found[n]["bits"][k - 1],),
                    headline=n == max(ORDERS) and k in (1, 4),
                )
                for n in ORDERS
                for k in (1, 2, 4, 8)
            ),
        ),
        charts=(_sight(found), _settling(found)),
        lessons=_lessons(found),
    )


def _sight(found: dict[int, dict[str, Any]]) -> Chart:
    steps = range(1, FARTHEST + 1)
    return Chart(
        name="sight",
        title="Information of the last letters about a letter k steps ahead: almost none beyond the length of a word",
        x="k, steps ahead",
        y="bits",
        series=[ChartSeries(label=f"{n}-gram", x=steps, y=one["bits"]) for n, one in found.items()],
    )


def _settling(found: dict[int, dict[str, Any]]) -> Chart:
    steps = range(1, FARTHEST + 1)
    return Chart(
        name="settling",
        title=f"The chance of an e k letters after a first {BEGUN} settles at the share of e in the book",
        x="k, steps ahead",
        y="chance of e",
        series=[ChartSeries(label=f"{n}-gram", x=steps, y=one["e after t"]) for n, one in found.items()],
        bounds={"share of e": found[ORDERS[0]]["e"]},
    )


def _lessons(found: dict[int, dict[str, Any]]) -> tuple[str, ...]:
    two, three = (found[n]["bits"] for n in ORDERS)
    return (
        f"The last letter holds {two[0]:.2f} bits about the next, {two[3]:.3f} about the fourth and {two[7]:.4f} about "
        f"the eighth; the last two hold {three[0]:.2f}, {three[3]:.3f} and {three[7]:.4f}. A chain with so short a "
        "memory forgets within a word; a network that carries its state need not.",
        "A prediction k steps ahead needs no sampling: the letters between are summed out by dynamic programming, one "
        "product with the transition matrix for each step.",
    )


EXPERIMENT = Experiment(
    name="markov",
    title="how far a Markov chain predicts",
    source=(
        "Zhang et al. 2021 (Dive into Deep Learning, edition 0.17), section 8.1.4: the sum over the tokens "
        "between; it prints no figures"
    ),
    order=100,
    minutes=0.1,
    run=run,
)
