"""Add a cell, a model family, a source and a metric to elman, without touching the package.

    python examples/extend.py

Each is one class or one call. What it defines is then trained, saved, loaded, compared and reported like elman's own.
"""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor, nn

import elman
from elman.cells.base import Gates, Hidden, State
from elman.config import STRICT


class MinimalGatedUnit(elman.Cell):
    """The minimal gated unit (Zhou et al. 2016).

    f  = sigmoid(x_f + u_f)
    n  = tanh(x_n + f * u_n)
    h' = (1 - f) * h + f * n
    """

    name, gates, states = "mgu", "fn", "h"

    @staticmethod
    def step(x: Gates, u: Gates, *state: Hidden) -> State:
        (h,) = state
        (x_f, x_n), (u_f, u_n) = x.chunk(2, -1), u.chunk(2, -1)
        f = (x_f + u_f).sigmoid()
        return ((1 - f) * h + f * (x_n + f * u_n).tanh(),)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ConvolutionSettings(elman.ModelSettings):
    """A causal convolution."""

    hidden: Annotated[int, Field(ge=1)] = 64
    """Channels, H."""
    width: Annotated[int, Field(ge=1)] = 4
    """Tokens that the filter covers, K."""


class Convolution(elman.Network):
    """Logits of a causal convolution: W_q relu(sum_k F_k E[token_t-k] + b) + b_q. Its state is the last K-1 tokens."""

    kind = "convolution"
    Settings = ConvolutionSettings
    config: ConvolutionSettings
    name, engine_name = "convolution", "aten"

    def __init__(self, task: elman.TextTask, *, seed: int | None = 0, **settings: Any) -> None:
        super().__init__(task, seed=seed, **settings)
        hidden, self.widths = self.config.hidden, [self.config.hidden]
        with torch.random.fork_rng():
            torch.manual_seed(seed or 0)
            self.embed = nn.Embedding(task.size + 1, hidden)  # the last row stands before the text
            self.filter = nn.Conv1d(hidden, hidden, self.config.width)
            self.output = nn.Linear(hidden, task.size)

    def initial(self, batch: int) -> State:
        return (torch.full((batch, self.config.width - 1), self.task.size, device=self.device),)

    def forward(self, inputs: Tensor, state: State, rng: Generator | None = None) -> tuple[Tensor, State]:  # noqa: ARG002 - no dropout
        tokens = torch.cat((state[0], inputs), 1)
        h = self.filter(self.embed(tokens).transpose(1, 2)).relu().transpose(1, 2)
        return self.output(h), (tokens[:, inputs.shape[1] :],)

    def operations(self) -> int:
        return self.filter.weight.numel() + self.output.weight.numel()


class TopFive(elman.Metric):
    """The share of tokens that are among the five with the largest logits."""

    name, heading, form, better = "top5", "top 5", ".1%", "higher"

    def token_values(self, batch: Any) -> Tensor:
        best = batch.logits.topk(min(5, batch.logits.shape[-1])).indices
        return (best == batch.targets[:, None]).any(-1)

    def value(self, total: float, text: Any) -> float | None:
        return total / text.tokens if text.tokens else None


elman.Source(
    name="squares",
    description="the squares of 1 to 1999 in decimal digits",
    text=lambda: (f"{n * n}\n" for n in range(1, 2000)),
).register()


def main() -> None:
    """Train, save, load and compare what was added."""
    corpus = elman.read_corpus(["squares"])
    models = ["3-gram", "gru", "mgu", "convolution"]
    print(elman.compare(corpus, models, hidden=32, steps=60, batch=8, window=32).markdown())
    task = elman.TextTask.of(corpus)
    model = elman.fit(Convolution(task, hidden=32), corpus.train, steps=60, batch=8, window=32)
    with tempfile.TemporaryDirectory() as folder:
        elman.save(model, Path(folder) / "model")
        again = elman.load(Path(folder) / "model")
    score = elman.evaluate(again, corpus.held_out)
    print(f"loaded again: {again.name}, perplexity {score.perplexity:.2f}, top 5 {score.metrics['top5']:.1%}")
    print("1521\n" + "".join(elman.generate(again, "1521\n", 20, temperature=0.7)))


if __name__ == "__main__":
    main()
