"""The bidirectional network of Zhang et al. 2021 (Dive into Deep Learning, edition 0.17, section 9.4).

A network that reads a window in both directions (Schuster and Paliwal 1997) can say something about each of its tokens,
but it is no language model: its output at step t has read the token after t, which a language model is to predict.
"""

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, PositiveInt
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor, nn

import elman
from elman.cells import CELLS, State
from elman.config import STRICT
from elman.data.batches import Ids, Integers, Rows
from elman.engines import Engine, choose
from elman.models.init import torch_nn
from elman.models.layer import Layer
from elman.rng import torch_generator

WINDOW = 35
PROBES = 500


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BidirectionalSettings(elman.ModelSettings):
    """A stack of layers with a forward and a backward direction each."""

    cell: str = "lstm"
    """Recurrent cell."""
    hidden: Annotated[PositiveInt, Field(le=65536)] = 256
    """Hidden units of each direction of a layer, H."""
    layers: Annotated[PositiveInt, Field(le=64)] = 2
    """Recurrent layers."""


class BidirectionalRecurrent(elman.Network):
    """A bidirectional recurrent network with an output at each step, as `torch.nn.LSTM(bidirectional=True)`.

        h>_t = cell(x_t, h>_{t-1})                 t = 1 .. T
        h<_t = cell(x_t, h<_{t+1})                 t = T .. 1
        y_t  = [h>_t ; h<_t]                       the x_t of the next layer
        logits_t = W_q y_t + b_q                   scored with the target x_{t+1}

    The state carries h>_T into the window that follows, as of any network. It carries h<_1 too, and there it stands at
    the end: the program of Zhang et al. 2021 gives each direction of each layer what that direction ended with.

    Args:
        task: the text and its vocabulary.
        engine: the name of an engine, or "auto" for the fastest.
        seed: of the initial weights, which are those of `torch.nn`.
        **settings: fields of `BidirectionalSettings`.

    Example:
        >>> model = BidirectionalRecurrent(elman.TextTask(elman.Vocab.chars("abc")), hidden=8)
        >>> logits, state = model(torch.tensor([[1, 2, 3]]), model.initial(1))
        >>> tuple(logits.shape), len(state)
        ((1, 3, 4), 8)
    """

    Settings = BidirectionalSettings
    config: BidirectionalSettings
    name: ClassVar[str] = "bidirectional"  # it has no `kind`: it is no family that can be trained by its name

    def __init__(self, task: elman.TextTask, *, engine: str = "auto", seed: int | None = 0, **settings: object) -> None:
        super().__init__(task, engine=engine, seed=seed, **settings)
        c = self.config
        self.cell, self.widths = CELLS[c.cell], [2 * c.hidden] * c.layers
        self.embed: nn.Parameter | None = None
        inputs = [task.size, *self.widths[:-1]]
        self.layers = nn.ModuleList(
            Layer(self.cell, width, c.hidden, tokens=depth == 0, learn_initial_state=False)
            for depth, width in enumerate(inputs)
            for _ in ("forward", "backward")
        )
        self.W_q: nn.Parameter | None = nn.Parameter(torch.zeros(task.size, self.widths[-1]))
        self.b_q = nn.Parameter(torch.zeros(task.size))
        if seed is not None:
            torch_nn(self, torch_generator(seed, "initial weights"))

    @property
    def stack(self) -> list[Layer]:
        """Forward and backward of the lowest layer, then of the next, as PyTorch orders them."""
        return [layer for layer in self.layers if isinstance(layer, Layer)]

    @property
    def engine(self) -> type[Engine]:
        """The engine in use, given where the weights are now."""
        size, hidden = self.task.size, self.config.hidden
        return choose(self.engine_request, self.cell, self.device, self.weight.dtype, one_hot=size, hidden=hidden)

    @property
    def engine_name(self) -> str:
        """The engine's."""
        return self.engine.name

    @property
    def output_weight(self) -> Tensor:
        """W_q, (V, 2H)."""
        assert self.W_q is not None  # noqa: S101 - it is made with the network
        return self.W_q

    def initial(self, batch: int) -> State:
        """Zeros: one (batch, H) for each state of each direction of each layer, in the order of `stack`."""
        return tuple(row.expand(batch, -1) for layer in self.stack for row in layer.start)

    def forward(self, inputs: Tensor, state: State, rng: Generator | None = None) -> tuple[Tensor, State]:  # noqa: ARG002
        """Logits (B, T, V) of inputs (B, T), each of which has read all of the window, and the next state."""
        y, after = self._outputs(inputs, state)
        logits = self.engine.linear(y.transpose(0, 1).flatten(0, 1), self.output_weight, self.b_q)
        return logits.unflatten(0, (y.shape[1], y.shape[0])).transpose(0, 1), after

    def loss(
        self,
        inputs: Tensor,
        targets: Tensor,
        state: State,
        rng: Generator | None = None,  # noqa: ARG002 - it drops nothing
        rows: Rows | None = None,  # noqa: ARG002 - it holds no counts
    ) -> tuple[Tensor, State]:
        """Nats of the targets (B, T), a scalar, and the next state."""
        y, after = self._outputs(inputs, state)
        flat = y.transpose(0, 1).flatten(0, 1)
        nats = self.engine.linear_cross_entropy(flat, self.output_weight, self.b_q, targets.t().reshape(-1))
        return nats, after

    def _outputs(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """[h> ; h<] of the last layer, (B, T, 2H), and the next state."""
        engine, n, x = self.engine, len(self.cell.states), inputs
        after: State = ()
        for i in range(0, len(self.stack), 2):
            forth, back = (layer.weights() for layer in self.stack[i : i + 2])
            to_right, ended = engine.run(self.cell, x, state[i * n : (i + 1) * n], forth)
            to_left, begun = engine.run(self.cell, x.flip(1), state[(i + 1) * n : (i + 2) * n], back)
            x, after = torch.cat((to_right, to_left.flip(1)), -1), after + ended + begun
        return x, after

    def operations(self) -> int:
        """Of every W_h, of the W_x that are no look-up, and of the output."""
        looked_up = 2 * self.stack[0].W_x.numel()
        return sum(layer.operations() for layer in self.stack) - looked_up + self.output_weight.numel()


def window_costs(model: elman.Network, ids: Ids, starts: Integers, window: int, count: int) -> npt.NDArray[np.float64]:
    """The cost of each target in windows whose state is carried from one to the next, as while training.

    Args:
        model: a network, bidirectional or not.
        ids: the text, (N,).
        starts: where the first window of each stream begins, (B,).
        window: T; the outputs of a bidirectional network have read all inputs of their window.
        count: W, windows of each stream.

    Returns:
        Nats, (B, W, T); that at t is of the token after input t.
    """
    text, state, costs = ids.astype(np.int64), model.initial(len(starts)), []
    for n in range(count):
        tokens = torch.from_numpy(text[starts[:, None] + n * window + np.arange(window + 1)])
        with torch.inference_mode():
            logits, state = model(tokens[:, :-1], state)
            costs.append(model.task.surprisals(logits, tokens[:, 1:]).numpy())
    return np.stack(costs, 1)


def probe(model: elman.Network, ids: Ids, seed: int, places: int = PROBES) -> dict[str, float]:
    """What a prediction in the middle of a window does if one token of the window is exchanged for a random other.

    Args:
        model: a network, bidirectional or not.
        ids: the text, (N,).
        seed: of the windows and the tokens.
        places: how many windows.

    Returns:
        Shares of the windows, 0 to 1: `right`, the most probable token is the next one as the text has it; `follows`,
        it is the random one where that stands in the place of the next; `past`, it changes where the random one stands
        in the place of the last token that a language model would have read.
    """
    rng, middle = np.random.default_rng(seed), WINDOW // 2
    starts = rng.integers(0, len(ids) - WINDOW, places)
    windows = ids.astype(np.int64)[starts[:, None] + np.arange(WINDOW)]

    def exchanged(at: int) -> Integers:
        changed, shift = windows.copy(), rng.integers(1, model.task.size - 1, places)
        changed[:, at] = 1 + (windows[:, at] - 1 + shift) % (model.task.size - 1)  # any symbol but this and <unk>
        return np.asarray(changed)

    def predicted(inputs: Integers) -> Integers:
        with torch.inference_mode():
            logits, _ = model(torch.from_numpy(inputs), model.initial(places))
        return np.asarray(logits[:, middle].argmax(-1).numpy())

    usual, future, past = predicted(windows), exchanged(middle + 1), exchanged(middle)
    return {
        "right": float((usual == windows[:, middle + 1]).mean()),
        "follows": float((predicted(future) == future[:, middle + 1]).mean()),
        "past": float((predicted(past) != usual).mean()),
    }


def continuation(model: elman.Network, prompt: str, length: int) -> list[int]:
    """The most probable tokens after a prompt, as the program of Zhang et al. 2021 finds them: in windows of one token.

    Args:
        model: a network, bidirectional or not.
        prompt: a text; each token is read from the state after the last, the first from zeros.
        length: tokens.

    Returns:
        Token ids, as many.
    """
    state, tokens = model.initial(1), [int(token) for token in model.task.vocab.encode(prompt)]
    with torch.inference_mode():
        for token in tokens[:-1]:
            _, state = model(torch.tensor([[token]]), state)
        for _ in range(length):
            logits, state = model(torch.tensor([tokens[-1:]]), state)
            tokens.append(int(logits.argmax()))
    return tokens[-length:]
