"""Verdicts on published figures: those that hold, and those of the committed results that are known not to."""

KEPT = {"agrees", "better", "not published"}
PAIRS = "pairs of characters seen once in the first half"
WRONG = {
    "lecture": {
        "sequential / random, the training text scored alike": "differs",
        "sequential / random, held-out text scored alike": "differs",
    },
    "corpus": {f"{PAIRS}: times that Laplace expects / times in the second half": "differs"},
    "reverse": {
        "5-gram, bits a character: reverse less forward": "differs",
        "7-gram, bits a character: reverse less forward": "differs",
        "bigram (laplace) of x' = f(x), nats a token: reverse less forward": "differs",
    },
    "sine": {
        "window 4, error 16 steps ahead / that of the last value": "differs",
        "auto, error 64 steps ahead / that of the last value": "differs",
    },
    "counting": {
        "a loop that keeps its state, training loss": "falls short",
        "a loop that keeps its state, validation loss": "falls short",
        "the article's GRU, held-out 20-token roll-outs exact": "falls short",
        "the article's GRU, 'nine thousand' after the printed prompt": "falls short",
    },
}
"""Claims of a source that do not hold by one protocol or once a remedy is applied, and figures that we do not reach."""
