"""A recurrent network that may also point: say again what followed a state like this one."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from elman.cells import State
from elman.errors import ConfigError
from elman.models.base import Network, Step, step_by_reading
from elman.models.recurrent import Recurrent
from elman.models.task import TextTask
from elman.rng import torch_generator

LARGEST = 4096  # states that are remembered
PIECE = 128  # steps whose places are scored together: memory is for N + 128 scores a step, however long a window


class Copying(Recurrent):
    """A recurrent network with a copy head: a pointer over its last N states, and a learnt gate.

        e_t,j = (W_c h_t + b_c) . h_t-j               how alike it was j steps ago, j = 1 .. N
        e_t,0 = w_g . h_t + b_g                       the gate, which competes with the places
        a_t   = softmax(e_t,0, e_t,1, ..., e_t,N)
        P_t   = a_t,0 softmax(W_q h_t + b_q) + sum_j a_t,j one-hot(token_t-j+1)

    A place stands for the token that was read after it, as in a cache (Grave et al. 2017), and the gate is what the
    pointer leaves (pointer sentinel; Merity et al. 2017; pointer networks, Vinyals et al. 2015). So it repeats
    what it never learnt to say: a name, or a number beyond those of its training text.

    The state is that of the network, the N states of the last layer before, (B, N, H), and the tokens read with them,
    (B, N), V where nothing was read.

    Args:
        task: the symbols to read and predict.
        copy: N, from how many states back it copies.
        **settings: those of `elman.Recurrent`.

    Raises:
        ConfigError: as `Recurrent`; or `copy` outside 1 to 4,096.

    Example:
        >>> import elman, torch
        >>> model = Copying(elman.TextTask(elman.Vocab.chars("abracadabra")), copy=4, cell="lstm", hidden=8)
        >>> logits, state = model(torch.tensor([[1, 2, 3]]), model.initial(1))
        >>> tuple(logits.shape), state[-1].tolist()
        ((1, 3, 6), [[6, 1, 2, 3]])
    """

    kind: ClassVar[str] = "copying"

    def __init__(self, task: TextTask, *, copy: int = 24, **settings: Any) -> None:
        if not 1 <= copy <= LARGEST:
            raise ConfigError(f"copy {copy}: a copy head looks 1 to {LARGEST:,} states back")
        super().__init__(task, **settings)
        width = self.widths[-1]
        self.copy = copy
        self.W_c, self.b_c = nn.Parameter(torch.zeros(width, width)), nn.Parameter(torch.zeros(width))
        self.w_g, self.b_g = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(1))
        if (seed := settings.get("seed", 0)) is not None:
            with torch.no_grad():
                self.W_c.uniform_(-(width**-0.5), width**-0.5, generator=torch_generator(seed, "copy head"))

    @property
    def name(self) -> str:
        """The cell, and that it copies."""
        return f"{super().name} + copy"

    def initial(self, batch: int) -> State:
        """That of the network, and no state to point at."""
        width = self.widths[-1]
        states = self.b_q.new_zeros(batch, self.copy, width)
        return (*super().initial(batch), states, torch.full((batch, self.copy), self.task.size, device=self.device))

    def forward(self, inputs: Tensor, state: State, rng: Generator | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, V) for the token after each of inputs (B, T), and the state after the last."""
        x, ended = self._outputs(self.engine, inputs, state[:-2], rng)
        pieces, memory = [], state[-2:]
        for h, tokens in zip(x.transpose(0, 1).split(PIECE, 1), inputs.split(PIECE, 1), strict=True):
            logits, memory = self._mixed(h, tokens, memory)
            pieces.append(logits)
        return torch.cat(pieces, 1), ended + memory

    def _mixed(self, h: Tensor, inputs: Tensor, memory: State) -> tuple[Tensor, State]:
        """Logits (B, T, V) after states (B, T, H), with which inputs (B, T) were read, and what is remembered then.

        All is divided by the largest term of a_t, so that nothing overflows.
        """
        states, tokens = (torch.cat(pair, 1) for pair in zip(memory, (h, inputs), strict=True))
        places = self._places(h, states, tokens)
        gate = (h @ self.w_g + self.b_g)[..., None]
        most = torch.maximum(gate, places.amax(-1, keepdim=True)).detach()
        followed_by = tokens.roll(-1, 1)[:, None].expand(places.shape)
        copied = h.new_zeros(*h.shape[:2], self.task.size + 1)
        copied = copied.scatter_add(2, followed_by, (places - most).exp())[..., : self.task.size]
        generated = F.log_softmax(F.linear(h, self.head, self.b_q), -1)
        nothing = torch.finfo(copied.dtype).tiny
        logits = torch.logaddexp(gate + generated, most + copied.clamp_min(nothing).log())
        return logits, (states[:, inputs.shape[1] :], tokens[:, inputs.shape[1] :])

    def _places(self, h: Tensor, states: Tensor, tokens: Tensor) -> Tensor:
        """The e_t,j of all states, (B, T, N + T); minus infinity where one is not of the last N, or none was read."""
        steps = torch.arange(h.shape[1], device=h.device)[:, None]
        place = torch.arange(states.shape[1], device=h.device) - steps  # 0 is N steps ago, N is now
        seen = (place >= 0) & (place < self.copy) & (tokens != self.task.size)[:, None]
        return (F.linear(h, self.W_c, self.b_c) @ states.transpose(1, 2)).masked_fill(~seen, -torch.inf)

    loss = Network.loss  # of the probabilities: no engine adds them up

    def stepper(self) -> Step:
        """The same one token at a time."""
        return step_by_reading(self)

    sampler = Network.sampler  # no engine points

    def settings(self) -> dict[str, Any]:
        """The arguments that build this model again; the weights follow."""
        return super().settings() | {"copy": self.copy}

    def operations(self) -> int:
        """Those of the network, of what it looks for, and of the places that it compares with that."""
        return super().operations() + self.W_c.numel() + (self.copy + 1) * self.widths[-1]
