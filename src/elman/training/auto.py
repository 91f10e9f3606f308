"""The recipe `auto`: settings chosen by the size of a text and of its alphabet, with the reasons."""

from dataclasses import replace
from typing import Any

from elman.config import BUDGETS
from elman.data.corpus import Corpus
from elman.models.ngram.expert_sets import largest_vocabulary
from elman.training.config import AUTO, Config

MINUTES = 5.0
ORDER, WORD_ORDER = 8, 5
SHORT, LONG = 50_000, 1_000_000  # tokens up to which a text is short, and from which on it is long
EXPERTS_MOST = 10_000_000  # tokens of a text that experts count within seconds


def auto_configure(config: Config, corpus: Corpus) -> tuple[Config, list[str]]:
    """The configuration with what the text decides, and what was chosen and why; as it is, where it decides nothing."""
    if config.recipe != AUTO:
        return config, []
    tokens, size = len(corpus.train.ids), len(corpus.vocab)
    chosen, reasons = _network(tokens, size, corpus.vocab.level)
    chosen |= _batches(tokens)
    budget: dict[str, Any] = {}
    if all(getattr(config, name) is None for name in BUDGETS):
        budget = {"minutes": MINUTES}
    if config.epochs is None and config.steps is None:
        budget["epochs"] = chosen.pop("epochs")
    chosen.pop("epochs", None)
    settings = replace(config, recipe="elman", **chosen, **budget)
    return settings, [f"chosen for {tokens:,} tokens of {size:,} symbols: {'. '.join(reasons)}", _limits(settings)]


def _network(tokens: int, size: int, level: str) -> tuple[dict[str, Any], list[str]]:
    """The network, and why."""
    if tokens < SHORT:
        made = {"hidden": 128, "dropout": 0.6, "recurrent_dropout": 0.4, "epochs": 16}
        why = "A short text is soon memorised, so the network is small and dropout is high"
    elif tokens < LONG:
        made = {"hidden": 256, "dropout": 0.5, "recurrent_dropout": 0.2, "epochs": 16}
        why = "A text of this size is over-fitted easily, so outputs and weights have dropout"
    else:
        made = {"hidden": 256, "dropout": 0.1, "epochs": 10}
        why = "A long text is rarely over-fitted, so dropout is low"
    made |= {"embedding": 64, "input_dropout": 0.1 if tokens < LONG else 0.0, "weight_decay": 0.05}
    network = f"a GRU of {made['hidden']} units"
    if size > largest_vocabulary():
        most = largest_vocabulary()
        return made, [f"{network} without n-grams (they are for vocabularies of at most {most:,} tokens)", why]
    if tokens > EXPERTS_MOST:
        return made, [f"{network} without n-grams (of more than {EXPERTS_MOST:,} tokens counting takes long)", why]
    order, words = (WORD_ORDER, " of") if level == "word" else (ORDER, " of words and of")
    return made | {"ngram_experts": order}, [
        f"{network} combined with an n-gram of {order} tokens and with counts{words} positions in a line",
        "N-gram counts learn fastest from little text",
        why,
    ]


def _batches(tokens: int) -> dict[str, Any]:
    """Long windows, where the text has enough of them for every row."""
    window = 64 if tokens >= 16_384 else 32 if tokens >= 2_048 else 16
    return {"window": window, "batch": max(1, min(32, tokens // (8 * window)))}


def _limits(settings: Config) -> str:
    """When it ends."""
    limits = [f"{settings.epochs} epochs" if settings.epochs else f"{settings.steps:,} steps" if settings.steps else ""]
    limits += [f"at most {settings.minutes:g} min"] if settings.minutes else []
    return f"{', '.join(x for x in limits if x)}; --recipe elman trains a network without n-grams"
