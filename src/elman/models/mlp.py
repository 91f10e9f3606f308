"""The windowed network: a hidden layer over the last few tokens, and no state beyond them."""

from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor, nn

from elman.arguments import checked
from elman.cells import State
from elman.config import STRICT
from elman.errors import ConfigError
from elman.models.base import ModelSettings, Network, dropout
from elman.models.task import TextTask
from elman.rng import torch_generator

LARGEST = 2**31  # parameters


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MLPSettings(ModelSettings):
    """A windowed network."""

    hidden: Annotated[PositiveInt, Field(le=65536)] = 256
    """Hidden units, H."""
    context: Annotated[PositiveInt, Field(le=65536)] = 5
    """mlp: tokens of the window that it sees."""
    embedding: Annotated[NonNegativeInt, Field(le=65536)] = 0
    """Width of the token embedding; 0: one-hot inputs, computed as a row look-up."""
    bag: bool = False
    """mlp: add the tokens' vectors up, whatever their order (bag of words), instead of concatenating them."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability of the hidden units (Srivastava et al. 2014)."""


class MLP(Network):
    """A network with one hidden layer that sees the last `context` tokens (Bengio et al. 2003).

        h_t      = relu(W_1 x_t + W_2 x_{t-1} + ... + W_tau x_{t-tau+1} + b)      one-hot x, concatenated
                   relu(W (x_t + ... + x_{t-tau+1}) + b)                          a bag: the order is lost
                   relu(U [E x_t, ..., E x_{t-tau+1}] + b)                        with an embedding E
        logits_t = W_q h_t + b_q

    Its state is the tau - 1 tokens before, (B, tau-1); V stands for one that was never read, and has weights too.

    Args:
        task: the symbols to read and predict.
        engine: of no effect: PyTorch's own operators run it.
        seed: of the initial weights; None leaves them zero, to be loaded.
        **settings: fields of `MLPSettings`: hidden, context, embedding, bag, dropout.

    Raises:
        ConfigError: sizes out of range.

    Example:
        >>> import elman, torch
        >>> model = MLP(elman.TextTask(elman.Vocab.chars("abracadabra")), hidden=8, context=3)
        >>> logits, state = model(torch.tensor([[1, 2, 3]]), model.initial(1))
        >>> tuple(logits.shape), state[0].tolist()
        ((1, 3, 6), [[2, 3]])
    """

    kind: ClassVar[str] = "mlp"
    Settings = MLPSettings
    config: MLPSettings

    @checked
    def __init__(self, task: TextTask, *, engine: str = "auto", seed: int | None = 0, **settings: Any) -> None:
        super().__init__(task, engine=engine, seed=seed, **settings)
        c = self.config
        _check(task.size, c)
        self.widths = [c.hidden]
        rows = task.size + 1  # the last stands for a token that was never read
        self.embed = nn.Parameter(torch.zeros(rows, c.embedding)) if c.embedding else None
        self.W = nn.Parameter(torch.zeros(1 if c.bag else c.context, c.embedding or rows, c.hidden))
        self.b = nn.Parameter(torch.zeros(c.hidden))
        self.W_q, self.b_q = nn.Parameter(torch.zeros(task.size, c.hidden)), nn.Parameter(torch.zeros(task.size))
        if seed is not None:
            self._begin(torch_generator(seed, "initial weights"))

    @torch.no_grad()
    def _begin(self, rng: Generator) -> None:
        """Weights such that every layer's outputs begin at about the same size (He et al. 2015)."""
        fan_in = self.config.context * (1 if self.embed is None else self.embed.shape[1])
        self.W.normal_(0, (2 / fan_in) ** 0.5, generator=rng)
        if self.embed is not None:
            self.embed.normal_(0, 1, generator=rng)
        self.W_q.uniform_(-(self.widths[0] ** -0.5), self.widths[0] ** -0.5, generator=rng)

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{'bag' if self.config.bag else 'mlp'} of {self.config.context}"

    @property
    def engine_name(self) -> str:
        """PyTorch's own operators."""
        return "aten"

    @property
    def has_dropout(self) -> bool:
        """Whether training draws random numbers."""
        return self.config.dropout > 0

    def initial(self, batch: int) -> State:
        """Nothing read: (batch, context-1) of V."""
        return (torch.full((batch, self.config.context - 1), self.task.size, device=self.device),)

    def forward(self, inputs: Tensor, state: State, rng: Generator | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, V) for the token after each of inputs (B, T), and the tokens that the next one sees."""
        read = torch.cat((state[0], inputs), 1)
        windows = read.unfold(1, self.config.context, 1).flip(-1)  # (B, T, tau), the latest first
        h = torch.relu(self._preactivation(windows) + self.b)
        h = dropout(h, self.config.dropout, rng) if rng else h
        return F.linear(h, self.W_q, self.b_q), (read[:, inputs.shape[1] :],)

    def _preactivation(self, windows: Tensor) -> Tensor:
        """The input of the hidden units, (B, T, H): a sum of rows for one-hot inputs, else a product."""
        if self.embed is None:
            rows = self.W.flatten(0, 1)
            at = (
                windows
                if self.config.bag
                else windows + torch.arange(self.config.context, device=windows.device) * self.W.shape[1]
            )
            summed: Tensor = F.embedding_bag(at.flatten(0, 1), rows, mode="sum").unflatten(0, windows.shape[:2])
            return summed
        seen = F.embedding(windows, self.embed)
        seen = seen.sum(2) if self.config.bag else seen.flatten(2)
        return seen @ self.W.flatten(0, 1)

    def operations(self) -> int:
        """Of the hidden layer, where its input is no look-up, and of the output."""
        return (self.W.numel() if self.embed is not None else 0) + self.W_q.numel()


def _check(size: int, c: MLPSettings) -> None:
    """Refuse sizes that are each in range but too large together."""
    count = c.context * (c.embedding or size + 1) * c.hidden + size * (c.hidden + c.embedding)
    if count > LARGEST:
        raise ConfigError(f"{count:,} parameters are more than elman trains (2^31): lower hidden, context or embedding")
