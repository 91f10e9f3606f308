"""The whole training step, elman against the plain PyTorch way, interleaved: tokens a second and their ratio.

The plain way is the textbook's concise network: one-hot vectors, `nn.RNN`, `nn.GRU` or `nn.LSTM`, a linear layer,
cross-entropy, backward, clipping by `clip_grad_norm_`, SGD. Both learn the same batches of the same shapes.

    python benchmarks/training.py [--rounds 15] [--steps 4] [--threads 1 2]
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from side_by_side import against, interleave, write
from torch import nn

from elman.config import TrainSettings
from elman.data.batches import gather, reference_sequential_at
from elman.data.vocab import Vocab
from elman.models.recurrent import Recurrent
from elman.task import Text
from elman.training import Training, train

BATCH, WINDOW = 32, 35
LAYERS = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class Plain(nn.Module):
    """The concise network of the textbook."""

    def __init__(self, cell: str, size: int, hidden: int) -> None:
        super().__init__()
        self.size, self.rnn, self.linear = size, LAYERS[cell](size, hidden), nn.Linear(hidden, size)

    def forward(self, inputs, state):
        """Logits (T*B, V) and the new state."""
        x = F.one_hot(inputs.T, self.size).to(torch.float32)
        y, state = self.rnn(x, state)
        return self.linear(y.reshape(-1, y.shape[-1])), state


def plain_steps(cell, ids, size, hidden, steps):
    """A function that trains the plain network for `steps` steps and returns the tokens it learnt from."""
    torch.manual_seed(0)
    net = Plain(cell, size, hidden)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    rows = list(reference_sequential_at(len(ids), BATCH, WINDOW, 0))
    batches = [tuple(map(torch.from_numpy, gather(ids, row))) for row in rows]
    state, at = None, 0

    def work():
        nonlocal state, at
        for _ in range(steps):
            inputs, targets = batches[at % len(batches)]
            at += 1
            if state is not None:
                state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
            logits, state = net(inputs, state)
            loss = F.cross_entropy(logits, targets.T.reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        return steps * BATCH * WINDOW

    return work


def elman_steps(cell, ids, size, hidden, steps, engine="auto"):
    """The same by elman's own training loop."""
    vocab = Vocab([f"w{i}" for i in range(size - 1)], level="word")
    model = Recurrent(Text(vocab), cell=cell, hidden=hidden, engine=engine)
    settings = TrainSettings(
        batching="reference-sequential", batch=BATCH, window=WINDOW, optimizer="sgd", lr=0.1,
        schedule="constant", steps=10**9, reports=1,
    )  # fmt: skip
    run = train(model, ids, training=Training.begin(model, settings))

    def work():
        return sum(next(run).tokens for _ in range(steps))

    return model, work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    table = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        for size in (28, 1000):
            ids = np.random.default_rng(0).integers(1, size, 40 * BATCH * WINDOW).astype(np.uint16)
            for cell in LAYERS:
                for hidden in (256, 512):
                    model, ours = elman_steps(cell, ids, size, hidden, options.steps)
                    ways = {"plain PyTorch": plain_steps(cell, ids, size, hidden, options.steps), "elman": ours}
                    compared = against(interleave(ways, options.rounds), "plain PyTorch")
                    row = {"threads": threads, "V": size, "cell": cell, "H": hidden, "engine": model.engine.name}
                    table.append(row | compared)
                    ratio, rate = compared["elman"]["ratio"], compared["elman"]["per_second"]
                    print(
                        f"{threads} threads  V {size:4}  {cell:5} {hidden}  {model.engine.name:5} "
                        f"{rate['median']:9,.0f} tokens/s  {ratio['median']:.2f} x plain PyTorch "
                        f"({ratio['low']:.2f} to {ratio['high']:.2f})",
                        flush=True,
                    )
    write("training", table)


if __name__ == "__main__":
    main()
