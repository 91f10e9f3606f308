"""Characters a second, of one stream and of several: elman, the textbook's `predict`, a lean PyTorch loop; interleaved.

python benchmarks/generating.py [--rounds 9] [--length 6000]
"""

import argparse
import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # one core; read when NumPy is imported

import numpy as np
import torch
import torch.nn.functional as F
from side_by_side import against, interleave, write
from torch import nn

from elman.data.vocab import Vocab
from elman.inference.generation import Sampling, generate, sample_tokens
from elman.models.recurrent import Recurrent
from elman.models.task import TextTask

MODELS = [("elman", 256), ("elman", 512), ("gru", 512), ("lstm", 512)]
TEMPERATURES = {"arg-max": 0.0, "temperature 0.7": 0.7}


def textbook(size, hidden, length):
    """Arg-max decoding as the textbook writes it: one-hot, `nn.RNN`, a graph over the whole text."""
    rnn, linear = nn.RNN(size, hidden), nn.Linear(hidden, size)

    def work():
        state, out = torch.zeros(1, 1, hidden), [1]
        for _ in range(length):
            x = F.one_hot(torch.tensor([[out[-1]]]), size).to(torch.float32)
            y, state = rnn(x, state)
            out.append(int(linear(y.reshape(-1, hidden)).argmax(dim=1).reshape(1)))
        return length

    return work


def lean(model, streams, steps, temperature):
    """As little PyTorch as does it: rows of a table, two products a step, no graph."""
    layer, step = model.stack[0], model.cell.step
    with torch.no_grad():
        projected, W_h, W_q = (layer.W_x.t() + layer.b_x).contiguous(), layer.W_h.t(), model.W_q.t()
        if model.cell.name == "elman":
            projected += layer.b_h

    @torch.inference_mode()
    def work():
        tokens, state, out = torch.ones(streams, dtype=torch.int64), model.initial(streams), []
        for _ in range(steps):
            x = projected.index_select(0, tokens)
            if model.cell.name == "elman":
                state = (torch.addmm(x, state[0], W_h).tanh_(),)
            else:
                state = step(x, torch.addmm(layer.b_h, state[0], W_h), *state)
            logits = torch.addmm(model.b_q, state[0], W_q)
            if temperature:
                tokens = torch.multinomial(logits.div_(temperature).softmax(-1), 1).squeeze(1)
            else:
                tokens = logits.argmax(-1)
            out.append(tokens)
        torch.stack(out).numpy()
        return steps * streams

    return work


def ours(model, streams, steps, temperature):
    """The tokens alone, as in the lean loop."""

    def work():
        prompt, sampling = np.array([1]), Sampling(temperature)
        return sum(map(len, sample_tokens(model, prompt, count=steps, sampling=sampling, samples=streams)))

    return work


def text(model, length, temperature):
    """A text, piece by piece."""
    return lambda: sum(map(len, generate(model, "a", length, temperature=temperature)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--length", type=int, default=6000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    vocab = Vocab.chars("abcdefghijklmnopqrstuvwxyz ")
    table = []
    for cell, hidden in MODELS:
        model = Recurrent(TextTask(vocab), cell=cell, hidden=hidden)
        for streams in (1, 64):
            steps = max(1, options.length // min(streams, 16))
            for name, temperature in TEMPERATURES.items():
                ways = {
                    "lean PyTorch": lean(model, streams, steps, temperature),
                    "elman": ours(model, streams, steps, temperature),
                }
                if streams == 1:
                    ways["elman, as text"] = text(model, steps, temperature)
                if streams == 1 and cell == "elman" and not temperature:
                    ways["textbook"] = textbook(len(vocab), hidden, steps)
                compared = against(interleave(ways, options.rounds), "lean PyTorch")
                table.append({"cell": cell, "H": hidden, "streams": streams, "draw": name, "threads": 1} | compared)
                for way, figures in compared.items():
                    rate, ratio = (figures[what]["median"] for what in ("per_second", "ratio"))
                    print(f"{cell:5} {hidden} {streams:2} {name:15} {way:14} {rate:9,.0f}/s {ratio:5.2f}", flush=True)
    write("generating", table)


if __name__ == "__main__":
    main()
