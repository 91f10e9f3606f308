"""The windowed network: a hidden layer over the last few tokens, and no state beyond them."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from elman.cells import State
from elman.errors import ConfigError
from elman.models.base import Network, Step, step_by_reading
from elman.models.task import TextTask
from elman.rng import torch_generator

LARGEST = 2**31  # parameters


class MLP(Network):
    """A network with one hidden layer that sees the last `context` tokens (S38, S71; Bengio et al. 2003).

        h_t      = relu(W_1 x_t + W_2 x_{t-1} + ... + W_tau x_{t-tau+1} + b)      one-hot x, concatenated
                   relu(W (x_t + ... + x_{t-tau+1}) + b)                          a bag: the order is lost
                   relu(U [E x_t, ..., E x_{t-tau+1}] + b)                        with an embedding E
        logits_t = W_q h_t + b_q

    Its state is the tau - 1 tokens before, (B, tau-1); V stands for one that was never read, and has weights too.

    Args:
        task: the symbols to read and predict.
        hidden: units of the hidden layer, H.
        context: tau, how many tokens it sees.
        embedding: width of a learnt vector a token, 0 for one-hot.
        bag: add the tokens' vectors up instead of laying them side by side.
        dropout: the share of the hidden units that training silences.
        seed: of the initial weights; None leaves them zero, to be loaded.

    Raises:
        ConfigError: sizes that cannot be.

    Example:
        >>> import elman, torch
        >>> model = MLP(elman.TextTask(elman.Vocab.chars("abracadabra")), hidden=8, context=3)
        >>> logits, state = model(torch.tensor([[1, 2, 3]]), model.initial(1))
        >>> tuple(logits.shape), state[0].tolist()
        ((1, 3, 6), [[2, 3]])
    """

    kind: ClassVar[str] = "mlp"

    def __init__(
        self,
        task: TextTask,
        *,
        hidden: int = 256,
        context: int = 5,
        embedding: int = 0,
        bag: bool = False,
        dropout: float = 0.0,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        self.task, self.widths, self.context, self.bag, self.dropout = task, [hidden], context, bag, dropout
        _check(task.size, hidden, context, embedding, dropout)
        places = 1 if bag else context
        rows = task.size + 1  # the last stands for a token that was never read
        self.embed = nn.Parameter(torch.zeros(rows, embedding)) if embedding else None
        self.W = nn.Parameter(torch.zeros(places, embedding or rows, hidden))
        self.b = nn.Parameter(torch.zeros(hidden))
        self.W_q, self.b_q = nn.Parameter(torch.zeros(task.size, hidden)), nn.Parameter(torch.zeros(task.size))
        if seed is not None:
            self._begin(torch_generator(seed, "initial weights"))

    @torch.no_grad()
    def _begin(self, rng: Generator) -> None:
        """Weights such that every layer's outputs begin at about the same size (He et al. 2015)."""
        fan_in = self.context * (1 if self.embed is None else self.embed.shape[1])
        self.W.normal_(0, (2 / fan_in) ** 0.5, generator=rng)
        if self.embed is not None:
            self.embed.normal_(0, 1, generator=rng)
        self.W_q.uniform_(-(self.widths[0] ** -0.5), self.widths[0] ** -0.5, generator=rng)

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{'bag' if self.bag else 'mlp'} of {self.context}"

    @property
    def engine_name(self) -> str:
        """PyTorch's own operators."""
        return "aten"

    def initial(self, batch: int) -> State:
        """Nothing read: (batch, context-1) of V."""
        return (torch.full((batch, self.context - 1), self.task.size, device=self.device),)

    def forward(self, inputs: Tensor, state: State, rng: Generator | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, V) for the token after each of inputs (B, T), and the tokens that the next one sees."""
        read = torch.cat((state[0], inputs), 1)
        windows = read.unfold(1, self.context, 1).flip(-1)  # (B, T, tau), the latest first
        h = self.drop(torch.relu(self._preactivation(windows) + self.b), rng)
        return F.linear(h, self.W_q, self.b_q), (read[:, inputs.shape[1] :],)

    def _preactivation(self, windows: Tensor) -> Tensor:
        """What the tokens ask of the hidden units, (B, T, H): a sum of rows for one-hot inputs, else a product."""
        if self.embed is None:
            rows = self.W.flatten(0, 1)
            at = windows if self.bag else windows + torch.arange(self.context, device=windows.device) * self.W.shape[1]
            summed: Tensor = F.embedding_bag(at.flatten(0, 1), rows, mode="sum").unflatten(0, windows.shape[:2])
            return summed
        seen = F.embedding(windows, self.embed)
        seen = seen.sum(2) if self.bag else seen.flatten(2)
        return seen @ self.W.flatten(0, 1)

    def stepper(self) -> Step:
        """The same one token at a time."""
        return step_by_reading(self)

    def settings(self) -> dict[str, Any]:
        """The arguments that build this model again; the weights follow."""
        return {
            "hidden": self.widths[0],
            "context": self.context,
            "embedding": 0 if self.embed is None else self.embed.shape[1],
            "bag": self.bag,
            "dropout": self.dropout,
        }

    def operations(self) -> int:
        """Of the hidden layer, where its input is no look-up, and of the output."""
        return (self.W.numel() if self.embed is not None else 0) + self.W_q.numel()


def _check(size: int, hidden: int, context: int, embedding: int, dropout: float) -> None:
    if hidden < 1 or context < 1 or embedding < 0:
        raise ConfigError(f"hidden {hidden}, context {context}, embedding {embedding}: a layer needs at least one unit")
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout {dropout} is not in [0, 1)")
    count = context * (embedding or size + 1) * hidden + size * (hidden + embedding)
    if count > LARGEST:
        raise ConfigError(f"{count:,} parameters are more than elman trains (2^31): lower hidden, context or embedding")
