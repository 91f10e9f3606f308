"""Characters a second of one stream, elman against the textbook's `predict`, interleaved.

python benchmarks/generating.py [--rounds 9] [--length 1500]
"""

import argparse
import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # one stream on one core; read when NumPy is imported

import torch
import torch.nn.functional as F
from side_by_side import against, interleave, write
from torch import nn

from elman.data.vocab import Vocab
from elman.generation import generate
from elman.models.recurrent import Recurrent
from elman.task import Text

HIDDEN = 512


def textbook(size, length):
    """Arg-max decoding as the textbook writes it: one-hot, `nn.RNN`, a graph over the whole text."""
    rnn, linear = nn.RNN(size, HIDDEN), nn.Linear(HIDDEN, size)

    def work():
        state, out = torch.zeros(1, 1, HIDDEN), [1]
        for _ in range(length):
            x = F.one_hot(torch.tensor([[out[-1]]]), size).to(torch.float32)
            y, state = rnn(x, state)
            out.append(int(linear(y.reshape(-1, HIDDEN)).argmax(dim=1).reshape(1)))
        return length

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--length", type=int, default=1500)
    options = parser.parse_args()
    torch.set_num_threads(1)
    vocab = Vocab.chars("abcdefghijklmnopqrstuvwxyz ")
    table = []
    for cell in ("elman", "gru", "lstm"):
        model = Recurrent(Text(vocab), cell=cell, hidden=HIDDEN)

        def ours(temperature, model=model):
            return lambda: sum(map(len, generate(model, "a", options.length, temperature=temperature)))

        ways = {"elman arg-max": ours(0.0), "elman temperature 0.7": ours(0.7)}
        if cell == "elman":
            ways = {"textbook": textbook(len(vocab), options.length), **ways}
        rates = interleave(ways, options.rounds)
        compared = against(rates, next(iter(ways)))
        table.append({"cell": cell, "H": HIDDEN, "threads": 1} | compared)
        for name, figures in compared.items():
            print(f"{cell:5} {HIDDEN}  {name:22} {figures['per_second']['median']:9,.0f} characters/s", flush=True)
    write("generating", table)


if __name__ == "__main__":
    main()
