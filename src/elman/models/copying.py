"""A recurrent network with a copy head: it may repeat the token that followed a state like this one."""

from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor, nn

from elman.arguments import checked
from elman.cells import State
from elman.config import STRICT, current_names
from elman.data.batches import Rows
from elman.errors import ConfigError
from elman.models.base import ModelSettings, Network, in_range
from elman.models.task import TextTask
from elman.models.wrapper import NetworkWrapper
from elman.rng import torch_generator

LARGEST = 4096  # states that are remembered
PIECE = 128  # steps whose places are scored together: memory is for N + 128 scores a step, however long a window


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CopyHeadSettings(ModelSettings):
    """A copy head."""

    copy_window: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    """Copy head: an attention over the last N states that may repeat the token which followed one; 0: none."""


class CopyHead(NetworkWrapper):
    """A network with a copy head: an attention over its last N states, and a learnt gate.

        e_t,j = (W_c h_t + b_c) . h_t-j               the score of the state j steps ago, j = 1 .. N
        e_t,0 = w_g . h_t + b_g                       the gate's score, in the same softmax
        a_t   = softmax(e_t,0, e_t,1, ..., e_t,N)
        P_t   = a_t,0 softmax(logits_t) + sum_j a_t,j one-hot(token_t-j+1)

    h_t are the features of the network that it holds and logits_t its logits. A state stands for the token that was
    read after it, as in a cache (Grave et al. 2017); the gate is the pointer sentinel of Merity et al. 2017 (pointer
    networks: Vinyals et al. 2015). So it repeats tokens in contexts that the training text does not have.

    The state is that of the network, the N states of its last layer before, (B, N, H), and the tokens read with them,
    (B, N), V where there was none.

    Args:
        network: the network that it holds: `elman.Recurrent`, or `elman.Hybrid`.
        seed: of the initial weights of the copy head; None leaves them zero, to be loaded.
        copy_window: N, how many states back it looks, 1 to 4,096.

    Raises:
        ConfigError: `copy_window` out of range.

    Example:
        >>> import elman, torch
        >>> network = elman.Recurrent(elman.TextTask(elman.Vocab.chars("abracadabra")), cell="lstm", hidden=8)
        >>> model = CopyHead(network, copy_window=4)
        >>> logits, state = model(torch.tensor([[1, 2, 3]]), model.initial(1))
        >>> tuple(logits.shape), state[-1].tolist()
        ((1, 3, 6), [[6, 1, 2, 3]])
    """

    kind: ClassVar[str] = "copying"
    Settings = CopyHeadSettings
    enabled_by = "copy_window"
    position = 2
    config: CopyHeadSettings

    @checked
    def __init__(self, network: Network | TextTask, *, seed: int | None = 0, **settings: Any) -> None:
        super().__init__(network, seed=seed, **({"copy_window": 24} | current_names(settings, warn=True)))
        if not self.config.copy_window:
            raise ConfigError("copy_window is 0: a copy head needs 1 or more")
        width = self.widths[-1]
        self.W_c, self.b_c = nn.Parameter(torch.zeros(width, width)), nn.Parameter(torch.zeros(width))
        self.w_g, self.b_g = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(1))
        if seed is not None:
            with torch.no_grad():
                self.W_c.uniform_(-(width**-0.5), width**-0.5, generator=torch_generator(seed, "copy head"))

    @property
    def name(self) -> str:
        """That of the network, and that it copies."""
        return f"{self.network.name} + copy"

    def initial(self, batch: int) -> State:
        """That of the network, and no state before."""
        states = self.weight.new_zeros(batch, self.config.copy_window, self.widths[-1])
        tokens = torch.full((batch, self.config.copy_window), self.task.size, device=self.device)
        return (*self.network.initial(batch), states, tokens)

    def is_valid_state(self, state: State) -> bool:
        """Whether the tokens are some, and the state of the network is one."""
        return in_range(state[-1], 0, self.task.size) and self.network.is_valid_state(state[:-2])

    def training_logits(
        self, inputs: Tensor, state: State, rng: Generator | None = None, rows: Rows | None = None
    ) -> tuple[Tensor, State]:
        """Logits (B, T, V) for the token after each of inputs (B, T), and the next state."""
        features, evidence, ended = self.network.features(inputs, state[:-2], rng, rows)
        pieces, memory = [], state[-2:]
        for h, tokens, *found in zip(*(t.split(PIECE, 1) for t in (features, inputs, *evidence)), strict=True):
            logits, memory = self._mixed(h, self.network.logits(h, tuple(found)), tokens, memory)
            pieces.append(logits)
        return torch.cat(pieces, 1), ended + memory

    def forward(self, inputs: Tensor, state: State, rng: Generator | None = None) -> tuple[Tensor, State]:
        """The same without a place in the training text."""
        return self.training_logits(inputs, state, rng)

    def _mixed(self, h: Tensor, generated: Tensor, inputs: Tensor, memory: State) -> tuple[Tensor, State]:
        """Logits (B, T, V) of features (B, T, H), the network's logits and the inputs (B, T), and the next memory.

        All is divided by the largest term of a_t, so that nothing overflows.
        """
        states, tokens = (torch.cat(pair, 1) for pair in zip(memory, (h, inputs), strict=True))
        places = self._places(h, states, tokens)
        gate = (h @ self.w_g + self.b_g)[..., None]
        most = torch.maximum(gate, places.amax(-1, keepdim=True)).detach()
        followed_by = tokens.roll(-1, 1)[:, None].expand(places.shape)
        copied = h.new_zeros(*h.shape[:2], self.task.size + 1)
        copied = copied.scatter_add(2, followed_by, (places - most).exp())[..., : self.task.size]
        nothing = torch.finfo(copied.dtype).tiny
        logits = torch.logaddexp(gate + F.log_softmax(generated, -1), most + copied.clamp_min(nothing).log())
        return logits, (states[:, inputs.shape[1] :], tokens[:, inputs.shape[1] :])

    def _places(self, h: Tensor, states: Tensor, tokens: Tensor) -> Tensor:
        """The e_t,j of all states, (B, T, N + T); minus infinity where one is not of the last N, or none was read."""
        steps = torch.arange(h.shape[1], device=h.device)[:, None]
        place = torch.arange(states.shape[1], device=h.device) - steps  # 0 is N steps ago, N is now
        seen = (place >= 0) & (place < self.config.copy_window) & (tokens != self.task.size)[:, None]
        return (F.linear(h, self.W_c, self.b_c) @ states.transpose(1, 2)).masked_fill(~seen, -torch.inf)

    def operations(self) -> int:
        """Those of the network, of what it looks for, and of the places that it compares with that."""
        return self.network.operations() + self.W_c.numel() + (self.config.copy_window + 1) * self.widths[-1]
