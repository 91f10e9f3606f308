"""A bidirectional network as a language model: why 1.1 is no perplexity, and what two directions are good for.

The network is that of Zhang et al. 2021 (Dive into Deep Learning, edition 0.17, section 9.4), which trains it as a
language model for a warning: the perplexity that it prints is 1.1, and what it writes is "erererer".

    window        x_1 x_2 ... x_35     the targets are x_2 ... x_36
    output t      has read x_1 ... x_35, and so its target x_{t+1}, unless t = 35
    honest cost   that of output 35, the only one that has not read its target

What two directions are good for is a gap in a text, which a forward and a backward model fill together
(Berglund et al. 2015).
"""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

import elman
from elman.data.batches import Ids, Integers
from elman.inference.infilling import infill
from elman.reproduce.bidirectional import WINDOW, BidirectionalRecurrent, continuation, probe, window_costs
from elman.reproduce.experiment import PRINTED, Chart, ChartSeries, Experiment, Measurement, Result, Runner
from elman.reproduce.experiments.notes import letters
from elman.reproduce.experiments.reverse import read

PUBLISHED = 1.1
"""Training perplexity of the last of 500 epochs, printed with one digit; the lowest point of the curve is 1.092."""
EPOCHS = 500
UNIFORM = 28
PROMPTS = ("time traveller", "traveller", "time machine")
"""The two of the source, and one that does not end with the same letters."""
SCORED = 5_000
"""Held-out characters that are scored."""
STREAMS = 50
WRITTEN = 50
LENGTHS = (1, 3, 8)
"""Characters of a gap."""
GAPS = 200
CONTEXT = 100
"""Characters before and after a gap."""
WIDE = 256
"""The beam of one model alone, so that it scores as many fills as two with a beam of 32 do."""
FORWARD, BACKWARD, BOTH = "forward model, both sides", "backward model, both sides", "both models, both sides"
LEFT, RIGHT = "forward model, left side only", "backward model, right side only"
WAYS = (LEFT, RIGHT, FORWARD, BACKWARD, BOTH)
Found = dict[str, Any]


def train(epochs: int, seed: int, hidden: int = 256, scored: int = SCORED) -> Found:
    """Train the network until its training perplexity is printed as the published one; measure what it has read.

    Args:
        epochs: at most.
        seed: of weights and batches.
        hidden: units of each direction.
        scored: held-out characters.

    Returns:
        Training perplexity by epoch, nats by position in the window, one token at a time, the probe, and texts.
    """
    corpus = letters()
    model = BidirectionalRecurrent(elman.TextTask.of(corpus), cell="lstm", hidden=hidden, layers=2, seed=seed)
    settings = elman.TrainSettings(
        batching="reference-sequential", batch=32, window=WINDOW, optimizer="sgd", lr=1, clip=1,
        schedule="constant", epochs=epochs, seed=seed,
    )  # fmt: skip
    curve = []
    for progress in elman.train(model, corpus.train, None, settings):
        if progress.epoch_ended:
            curve.append(progress.perplexity)
            if f"{curve[-1]:.1f}" == f"{PUBLISHED:.1f}":
                break
    held_out, every = corpus.parts[-1].ids[:scored], np.arange(WINDOW)
    parts = {"train": corpus.train.ids[:scored], "held-out": held_out}
    written = {prompt: continuation(model, prompt, WRITTEN) for prompt in PROMPTS}
    fresh = window_costs(model, held_out, np.arange(0, scored - WINDOW, 5), WINDOW, 1)
    single = window_costs(model, held_out, np.arange(STREAMS) * scored // STREAMS, 1, scored // STREAMS - 1)
    costs = {name: window_costs(model, ids, every, WINDOW, len(ids) // WINDOW - 1) for name, ids in parts.items()}
    return {
        "train": curve,
        "positions": {name: each.mean((0, 1)).tolist() for name, each in costs.items()},
        "fresh": float(fresh[:, 0, -1].mean()),
        "one at a time": float(single.mean()),
        "probe": probe(model, held_out, seed),
        "texts": {prompt: model.task.vocab.decode(tokens) for prompt, tokens in written.items()},
        "echoes": {prompt: echoes(model.task.vocab, prompt, tokens) for prompt, tokens in written.items()},
    }


def echoes(vocab: elman.Vocab, prompt: str, tokens: list[int]) -> float:
    """The share, 0 to 1, of the tokens after a prompt that repeat its last two in turn: "ererer" after "traveller".

    Args:
        vocab: the vocabulary.
        prompt: the text before the tokens.
        tokens: what was written after it.

    Example:
        >>> vocab = elman.Vocab.chars("ers")
        >>> echoes(vocab, "er", vocab.encode("erss").tolist())
        0.5
    """
    last: list[int] = vocab.encode(prompt).tolist()[-2:]
    return sum(token == last[i % 2] for i, token in enumerate(tokens)) / len(tokens)


def score_ngram(scored: int = SCORED) -> Found:
    """Count an n-gram on the same training text and score the same held-out characters."""
    corpus = letters()
    ngram = elman.NGram.fit(elman.TextTask.of(corpus), corpus.train.ids)
    nats = ngram.surprisals(corpus.parts[-1].ids[:scored])
    return {"name": ngram.name, "held-out": float(np.exp(nats.mean()))}


def fill(family: str, seed: int, gaps: int, limit: int | None = None, **training: int) -> Found:
    """Fill gaps of held-out text in five ways.

    Args:
        family: "gru", trained for 10 epochs, or "n-gram".
        seed: of weights, batches and places.
        gaps: of each length.
        limit: tokens of the book; None for all.
        **training: settings of the GRU and its training.

    Returns:
        By length and way of filling: the share of gaps whose fill is exact, and that of characters that are right.
    """
    models: list[elman.SequenceModel] = []
    for reverse in (False, True):
        corpus = read(reverse, limit)
        task = elman.TextTask.of(corpus)
        if family == "gru":
            hidden = training.get("hidden", 128)
            gru = elman.Recurrent(task, cell="gru", hidden=hidden, seed=seed)
            elman.fit(gru, corpus.train, epochs=training.get("epochs", 10), seed=seed)
            models.append(gru)
        else:
            models.append(elman.NGram.fit(task, corpus.train.ids, order=6))
    corpus, (forward, backward) = read(False, limit), models
    ids, rng = corpus.parts[-1].ids, np.random.default_rng(seed)
    return {
        str(n): fill_gaps(forward, backward, ids, n, rng.choice(len(ids) - 2 * CONTEXT - n, gaps, replace=False))
        for n in LENGTHS
    }


def fill_gaps(
    forward: elman.SequenceModel, backward: elman.SequenceModel, ids: Ids, length: int, starts: Integers
) -> Found:
    """Fill the gaps of one length, each between 100 characters of the text.

    Args:
        forward: a model that reads from the beginning.
        backward: one that reads from the end.
        ids: the text, (N,).
        length: characters of a gap.
        starts: where the text before each gap begins, (S,).

    Returns:
        Shares, 0 to 1, by way of filling, see `fill`.
    """
    vocab = forward.task.vocab
    hits: dict[str, list[npt.NDArray[np.bool_]]] = {way: [] for way in WAYS}
    for start in starts:
        before, gap, after = (ids[a:b] for a, b in pairwise(start + np.cumsum((0, CONTEXT, length, CONTEXT))))
        left, right = vocab.decode(before), vocab.decode(after)
        fills = {
            LEFT: infill(forward, None, left, "", length),
            RIGHT: infill(None, backward, "", right, length),
            FORWARD: infill(forward, None, left, right, length, beam=WIDE),
            BACKWARD: infill(None, backward, left, right, length, beam=WIDE),
            BOTH: infill(forward, backward, left, right, length),
        }
        for way, found in fills.items():
            hits[way].append(found[0].tokens == gap)
    return {
        way: {"exact": float(np.all(rows, 1).mean()), "characters": float(np.mean(rows))} for way, rows in hits.items()
    }


def run(runner: Runner) -> Result:
    """One seed of the bidirectional network, three of the GRUs that fill gaps, which differ in their gaps too."""
    small: Found = runner.choose({}, {"hidden": 4, "scored": 200})
    trained = runner.trial(train, epochs=runner.choose(EPOCHS, 1), seed=0, **small)
    ngram = runner.trial(score_ngram, **runner.choose({}, {"scored": 200}))
    less: Found = runner.choose({}, {"limit": 5000})
    gaps, tiny = runner.choose(GAPS, 2), runner.choose({}, {"hidden": 4, "epochs": 1})
    cases = [("gru", {"family": "gru", "seed": s, "gaps": gaps} | less | tiny) for s in range(runner.choose(3, 1))]
    cases.append(("n-gram", {"family": "n-gram", "seed": 0, "gaps": gaps} | less))
    found = runner.trials(fill, [case for _, case in cases])
    filled = {
        family: [f for (of, _), f in zip(cases, found, strict=True) if of == family] for family in ("gru", "n-gram")
    }
    return Result(
        measurements=(*_cheating(trained, ngram), *_filling(filled)),
        charts=(_positions(trained), _exact(filled["gru"])),
        texts=tuple((f"{p}, read and written one token at a time", t) for p, t in trained["texts"].items()),
        lessons=_lessons(trained, ngram, filled),
    )


def _cheating(trained: Found, ngram: Found) -> list[Measurement]:
    """What is published, and what the same network has where it has not read its target."""
    train, held_out = trained["positions"]["train"], trained["positions"]["held-out"]
    probed = trained["probe"]
    shares: Found = {"number_format": ".1%"}
    return [
        Measurement(
            what="training perplexity of the last epoch",
            published=PUBLISHED,
            measured=(trained["train"][-1],),
            tolerance=0.05,
            tolerance_from=PRINTED,
            better="lower",
            headline=True,
            note=f"training ends at the first epoch that is printed as {PUBLISHED}",
        ),
        Measurement(
            what="epochs to that training perplexity",
            published=EPOCHS,
            claim="at most",
            measured=(float(len(trained["train"])) if _is_printed_as_published(trained["train"][-1]) else math.inf,),
            infinite="never",
            better="lower",
            number_format=".0f",
        ),
        Measurement(
            what="written characters that repeat the last two of the prompt in turn",
            published=1.0,
            measured=tuple(trained["echoes"][prompt] for prompt in PROMPTS[:2]),
            number_format=".0%",
            note='"erererer..." after two prompts that end with "er"',
            explained="the state that it carries backward favours the character before the last, not at every step",
        ),
        Measurement(
            what=f'the same after "{PROMPTS[2]}"', measured=(trained["echoes"][PROMPTS[2]],), number_format=".0%"
        ),
        Measurement(
            what="training text, perplexity of the last output of a window, which has not read its target",
            measured=(math.exp(train[-1]),),
            number_format=".2f",
            note=f"alone it makes the perplexity of all {WINDOW} outputs {math.exp(train[-1] / WINDOW):.3f}",
        ),
        Measurement(
            what="held-out perplexity of all outputs of a window, as printed for the training text",
            measured=(_perplexity(held_out),),
            number_format=".2f",
            headline=True,
            note="no perplexity: the probabilities are not those of a text read once",
        ),
        Measurement(
            what="held-out perplexity of the last output of a window, which has not read its target",
            measured=(math.exp(held_out[-1]),),
            number_format=".2f",
            headline=True,
            note=f"a uniform guess has {UNIFORM}, the {ngram['name']} of the same text {ngram['held-out']:.2f}",
        ),
        Measurement(
            what="the same, each window from a zero state", measured=(math.exp(trained["fresh"]),), number_format=".2f"
        ),
        Measurement(
            what="held-out perplexity, read one token at a time, as it writes",
            measured=(math.exp(trained["one at a time"]),),
            number_format=".2f",
            note="the state that it carries backward says that the next token is the one before the last",
        ),
        Measurement(what="predictions that are the next token of the text", measured=(probed["right"],), **shares),
        Measurement(
            what="predictions that are a random token put in the place of the next",
            measured=(probed["follows"],),
            headline=True,
            **shares,
        ),
        Measurement(
            what="predictions that change if the last token before it is exchanged",
            measured=(probed["past"],),
            **shares,
        ),
    ]


def _is_printed_as_published(perplexity: float) -> bool:
    return f"{perplexity:.1f}" == f"{PUBLISHED:.1f}"


def _perplexity(costs: list[float]) -> float:
    return math.exp(sum(costs) / len(costs))


def _filling(filled: dict[str, list[Found]]) -> list[Measurement]:
    """Gaps that are filled exactly, and what the other side and the other model add."""
    return [row for n in LENGTHS for row in _of_length(filled["gru"], filled["n-gram"], n)]


def _of_length(runs: list[Found], counted: list[Found], n: int) -> list[Measurement]:
    gap = f"gaps of {n} character{'s' * (n > 1)}"
    added = [_gain(runs, n, BOTH, alone) for alone in (FORWARD, BACKWARD)]
    return [
        *(
            Measurement(
                what=f"GRU, {gap} filled exactly: {way}",
                measured=_exactly(runs, n, way),
                number_format=".1%",
                headline=n == LENGTHS[1] and way in (LEFT, BOTH),
                note=f"characters that are right: {_median(runs, n, way, 'characters'):.1%}" if n > 1 else "",
            )
            for way in WAYS
        ),
        Measurement(
            what=f"GRU, {gap}: what reading the right side adds to the forward model",
            published=0.0,
            claim="at least",
            measured=_gain(runs, n, FORWARD, LEFT),
            number_format="+.1%",
            note="Berglund et al. 2015 claim it for their text and give other figures",
        ),
        Measurement(
            what=f"GRU, {gap}: what a second model adds to the better one of the two",
            measured=tuple(map(min, zip(*added, strict=True))),
            number_format="+.1%",
        ),
        Measurement(
            what=f"6-gram, {gap} filled exactly: {BOTH}",
            measured=_exactly(counted, n, BOTH),
            number_format=".1%",
            note=", ".join(f"{way}: {_median(counted, n, way, 'exact'):.1%}" for way in (LEFT, FORWARD, BACKWARD)),
        ),
    ]


def _median(runs: list[Found], length: int, way: str, what: str) -> float:
    return float(np.median([f[str(length)][way][what] for f in runs]))


def _exactly(runs: list[Found], length: int, way: str) -> tuple[float, ...]:
    return tuple(f[str(length)][way]["exact"] for f in runs)


def _gain(runs: list[Found], length: int, way: str, less: str) -> tuple[float, ...]:
    pairs = zip(_exactly(runs, length, way), _exactly(runs, length, less), strict=True)
    return tuple(more - fewer for more, fewer in pairs)


def _positions(trained: Found) -> Chart:
    return Chart(
        name="positions",
        title="Cost of the outputs of a window: only the last has not read its target",
        x="output of the window",
        y="nats",
        series=[
            ChartSeries(label=name, x=list(range(1, WINDOW + 1)), y=costs, style="points")
            for name, costs in trained["positions"].items()
        ],
        bounds={"uniform guess": math.log(UNIFORM)},
    )


def _exact(runs: list[Found]) -> Chart:
    return Chart(
        name="gaps",
        title="The share of gaps that are filled exactly, by what is read and by which model",
        x="",
        y="filled exactly",
        series=[
            ChartSeries(
                label=f"{n} character{'s' * (n > 1)}",
                x=list(WAYS),
                y=[_median(runs, n, way, "exact") for way in WAYS],
                style="bars",
            )
            for n in LENGTHS
        ],
    )


def _lessons(trained: Found, ngram: Found, filled: dict[str, list[Found]]) -> tuple[str, ...]:
    held_out, probed, n = trained["positions"]["held-out"], trained["probe"], LENGTHS[1]
    written = {prompt: text[:8] for prompt, text in trained["texts"].items()}
    middle = {way: _median(filled["gru"], n, way, "exact") for way in WAYS}
    return (
        f"The printed {PUBLISHED} is not a perplexity: {WINDOW - 1} of the {WINDOW} outputs of a window have read the "
        f"token that they are scored with. On held-out text these have {_perplexity(held_out[:-1]):.2f}; the last one, "
        f"which has not, has {math.exp(held_out[-1]):.1f}. A uniform guess has {UNIFORM}, the {ngram['name']} that is "
        f"counted on the same 10,000 characters {ngram['held-out']:.1f}.",
        "Put a random token in the place of the next one, and the network predicts that one, in "
        f"{probed['follows']:.0%} of the windows: it copies what its backward direction has read. It writes in windows "
        "of one token, and the program carries the state of the backward direction from each to the next: what that "
        f'has read last is the token before the last. So "{PROMPTS[1]}" goes on "{written[PROMPTS[1]]}", and '
        f'"{PROMPTS[2]}" "{written[PROMPTS[2]]}".',
        f"Both directions are good for a gap. Of gaps of {n} characters a GRU that knows the left side alone fills "
        f"{middle[LEFT]:.0%} exactly; if it weighs its fills by what follows, {middle[FORWARD]:.0%}. A GRU that reads "
        f"from the end has {middle[RIGHT]:.0%} and {middle[BACKWARD]:.0%}, both together {middle[BOTH]:.0%}.",
    )


EXPERIMENT = Experiment(
    name="bidirectional",
    title="a bidirectional network reads the token that it predicts; two models fill a gap",
    source=(
        "Zhang et al. 2021 (Dive into Deep Learning, edition 0.17), section 9.4: perplexity 1.1 and "
        '"erererer"; the gaps are those of Berglund et al. 2015, with other models and text'
    ),
    order=115,
    minutes=10,
    run=run,
)
