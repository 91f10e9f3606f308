"""The recurrent language model: layers of one cell, and a linear map from the last output to the vocabulary."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from elman.cells import CELLS, State
from elman.data.batches import Rows
from elman.engines import ENGINES, Engine, Sampler, Stack, choose
from elman.engines.sampling import Sampling
from elman.errors import ConfigError, no_such
from elman.models.base import Network, Step, dropout, unigram_noise
from elman.models.init import INITS
from elman.models.layer import MOST_ROUNDS, Layer
from elman.models.task import TextTask
from elman.rng import torch_generator

Map = Callable[[Tensor], Tensor]


def affine(W: Tensor, b: Tensor, *, one: bool) -> Map:
    """The map x -> W x + b of rows (B, I), without gradients.

    One row on a CPU goes through NumPy, whose matrix-vector product takes 0.6 of the time of PyTorch's.
    """
    if not one:
        return lambda x: F.linear(x, W, b)
    W_t, bias = W.detach().numpy().T, b.detach().numpy()
    return lambda x: torch.from_numpy(x.numpy() @ W_t + bias)


def pick(rows: Tensor, *, one: bool) -> Map:
    """The rows of a table (V, N) at ids (B,); a single one as a view, which is quicker."""
    if not one:
        return lambda at: rows.index_select(0, at)
    return lambda at: rows.narrow(0, int(at), 1)


class Recurrent(Network):
    """A stack of recurrent layers that predicts the next token.

        x_t       = one-hot(token_t), or E[token_t] with an embedding
        state_l,t = cell(W_x x + b_x, W_h h + b_h, state_l,t-1)     layer l reads the output of layer l-1
        logits_t  = W_q y_L,t + b_q

    y_l,t, the output of a layer, is its h_l,t; LN(h_l,t) with `layer_norm`; and y_l-1,t more with `residual`.

    Args:
        task: the symbols to read and predict.
        cell: the name of a cell, see `elman.cells.CELLS`.
        hidden: units of every layer, H, or one number a layer.
        layers: how many layers, where `hidden` is one number.
        embedding: width of a learnt input vector a token; 0 is one-hot, which is the same as an embedding of
            width G*H without the product.
        dropout: the share of every layer's outputs that training silences (Srivastava et al. 2014).
        input_dropout: the share of a token's embedding, the same numbers in all steps of a window (Gal and Ghahramani
            2016).
        recurrent_dropout: the share of every W_h, for the whole of a window (weight-drop; Merity et al. 2018).
        token_noise: the share of the tokens that are read when training in place of which another of the same batch is
            read (unigram noising; Xie et al. 2017); what is to be predicted stays.
        tied: the output map is the embedding (Press and Wolf 2017); the last layer must be as wide as it.
        learn_initial: the initial state is a parameter rather than zeros.
        layer_norm: outputs have mean 0 and variance 1 over the units of a layer, before a learnt gain and bias (Ba et
            al. 2016); the state that goes on to the next step is left as it is.
        residual: a layer as wide as what it reads adds its output to that (He et al. 2016); not to one-hot inputs.
        mogrifier: rounds in which input and state gate each other before every step (`elman.models.layer`), 5 in the
            source; 0 does without. It takes an embedding, and the engine `loop`.
        engine: the name of an engine, or "auto" for the fastest.
        init: how the weights start, see `elman.models.init`.
        seed: of the initial weights; None leaves them zero, to be loaded.

    Raises:
        ConfigError: an unknown cell, engine or init, or sizes that do not fit each other.

    Example:
        >>> import elman, torch
        >>> task = elman.TextTask(elman.Vocab.chars("abracadabra"))
        >>> model = Recurrent(task, cell="gru", hidden=8)
        >>> logits, state = model(torch.tensor([[1, 2, 3]]), model.initial(1))
        >>> tuple(logits.shape), [tuple(s.shape) for s in state]
        ((1, 3, 6), [(1, 8)])
    """

    kind: ClassVar[str] = "recurrent"

    def __init__(
        self,
        task: TextTask,
        *,
        cell: str = "gru",
        hidden: int | Sequence[int] = 256,
        layers: int = 1,
        embedding: int = 0,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        token_noise: float = 0.0,
        tied: bool = False,
        learn_initial: bool = False,
        layer_norm: bool = False,
        residual: bool = False,
        mogrifier: int = 0,
        engine: str = "auto",
        init: str = "elman",
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        widths = [hidden] * layers if isinstance(hidden, int) else list(hidden)
        _check(task.size, cell, widths, embedding, mogrifier, tied=tied, init=init)
        shares = {"dropout": dropout, "input_dropout": input_dropout, "recurrent_dropout": recurrent_dropout}
        _check_shares(embedding, token_noise=token_noise, **shares)
        self.task, self.cell, self.widths = task, CELLS[cell], widths
        self.dropout, self.input_dropout, self.recurrent_dropout = dropout, input_dropout, recurrent_dropout
        self.token_noise = token_noise
        self.tied, self.init, self.asked = tied, init, engine
        self.layer_norm, self.residual, self.mogrifier = layer_norm, residual, mogrifier
        self.embed = nn.Parameter(torch.zeros(task.size, embedding)) if embedding else None
        inputs = [embedding or task.size, *widths[:-1]]
        self.layers = nn.ModuleList(
            Layer(
                self.cell,
                i,
                h,
                tokens=not embedding and n == 0,
                learn_initial=learn_initial,
                layer_norm=layer_norm,
                residual=residual,
                mogrifier=mogrifier,
            )
            for n, (i, h) in enumerate(zip(inputs, widths, strict=True))
        )
        self.W_q = None if tied else nn.Parameter(torch.zeros(task.size, widths[-1]))
        self.b_q = nn.Parameter(torch.zeros(task.size))
        if seed is not None:
            INITS[init](self, torch_generator(seed, "initial weights"))

    @property
    def stack(self) -> list[Layer]:
        """The layers, the lowest first."""
        return [layer for layer in self.layers if isinstance(layer, Layer)]

    @property
    def engine(self) -> type[Engine]:
        """The engine in use, given where the weights are now.

        Raises:
            ConfigError: there is no such engine, or it cannot run this.
        """
        if self.mogrifier and self.asked not in ("auto", "loop"):
            raise ConfigError(
                f"engine {self.asked!r} cannot run a mogrifier, whose input waits for its state: use loop"
            )
        if self.mogrifier:
            return ENGINES["loop"]
        one_hot = 0 if self.embed is not None else self.task.size
        return choose(self.asked, self.cell, self.b_q.device, self.b_q.dtype, one_hot=one_hot, hidden=self.widths[0])

    @property
    def name(self) -> str:
        """The cell's."""
        return self.cell.name

    @property
    def engine_name(self) -> str:
        """The engine's."""
        return self.engine.name

    @property
    def noisy(self) -> bool:
        """Whether training it takes noise."""
        return max(self.dropout, self.input_dropout, self.recurrent_dropout, self.token_noise) > 0

    @property
    def head(self) -> Tensor:
        """W_q, (V, H)."""
        head = self.embed if self.W_q is None else self.W_q
        assert head is not None  # noqa: S101 - a tied model has an embedding, checked when it was made
        return head

    def initial(self, batch: int) -> State:
        """Zeros, or the learnt start: one (batch, H) a layer and state, the lowest layer first."""
        return tuple(row.expand(batch, -1) for layer in self.stack for row in layer.start)

    def forward(self, inputs: Tensor, state: State, rng: Generator | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, V) for the token after each of inputs (B, T), and the state after the last."""
        engine = self.engine
        x, after = self._outputs(engine, inputs, state, rng)
        logits = engine.linear(x.flatten(0, 1), self.head, self.b_q)
        return logits.unflatten(0, x.shape[:2]).transpose(0, 1), after

    def loss(
        self,
        inputs: Tensor,
        targets: Tensor,
        state: State,
        rng: Generator | None = None,
        rows: Rows | None = None,  # noqa: ARG002 - for what counts
    ) -> tuple[Tensor, State]:
        """Nats of the targets (B, T), a scalar, and the state after the last: logits need not be kept."""
        engine = self.engine
        x, after = self._outputs(engine, inputs, state, rng)
        return engine.linear_cross_entropy(x.flatten(0, 1), self.head, self.b_q, targets.t().reshape(-1)), after

    def _outputs(
        self, engine: type[Engine], inputs: Tensor, state: State, rng: Generator | None
    ) -> tuple[Tensor, State]:
        """What the last layer says, time-major (T, B, H), and the state after the last step."""
        n = len(self.cell.states)
        inputs = unigram_noise(inputs, self.token_noise, rng) if rng else inputs
        x = inputs if self.embed is None else F.embedding(inputs.t(), self.embed)
        if self.embed is not None:
            x = (dropout(x, self.input_dropout, rng, alike=0) if rng else x).transpose(0, 1)
        after: State = ()
        for depth, layer in enumerate(self.stack):
            weights = layer.weights()
            if rng:
                weights = weights._replace(W_h=dropout(weights.W_h, self.recurrent_dropout, rng))
            h, ended = layer.run(engine, self.cell, x, state[depth * n : (depth + 1) * n], weights)
            y = self.drop(layer.normalize(h.transpose(0, 1)).transpose(0, 1), rng)
            x, after = x + y if layer.has_residual else y, after + ended
        return x.transpose(0, 1), after

    def stepper(self) -> Step:
        """A function from one token a row, (B,), and a state to logits (B, V) and the next state.

        It is the definition without an engine, for generating; W_x + b_x is added up once for all steps.
        """
        several = self._stepper(one=False)
        if self.device.type != "cpu":
            return several
        alone = self._stepper(one=True)
        return lambda tokens, state: (alone if tokens.shape[0] == 1 else several)(tokens, state)

    def _stepper(self, *, one: bool) -> Step:
        """The step of a single row on the CPU, or of any number anywhere."""
        n, cell_step = len(self.cell.states), self.cell.step
        asks = [affine(layer.W_x, layer.b_x, one=one) for layer in self.stack]
        pasts = [affine(layer.W_h, layer.b_h, one=one) for layer in self.stack]
        head = affine(self.head, self.b_q, one=one)
        row = None if self.embed is None else pick(self.embed, one=one)
        if row is None:
            first = self.stack[0]
            asks[0] = pick((first.W_x.t() + first.b_x).contiguous(), one=one)

        def one_step(tokens: Tensor, state: State) -> tuple[Tensor, State]:
            x = tokens if row is None else row(tokens)
            after: State = ()
            for depth, (layer, ask, past) in enumerate(zip(self.stack, asks, pasts, strict=True)):
                old = state[depth * n : (depth + 1) * n]
                read, h = (x, old[0]) if layer.mogrifier is None else layer.mogrifier(x, old[0])
                new = cell_step(ask(read), past(h), *old)
                y = layer.normalize(new[0])
                x, after = x + y if layer.has_residual else y, after + new
            return head(x), after

        return one_step

    def sampler(self, sampling: Sampling, streams: int) -> Sampler | None:
        """The engine's, of the weights as they are now; equal to the steps, but for rounding. It knows no parts."""
        if self.layer_norm or self.mogrifier or any(layer.has_residual for layer in self.stack):
            return None
        stack = Stack(self.embed, [layer.weights() for layer in self.stack], self.head, self.b_q)
        return self.engine.sampler(self.cell, stack, sampling, streams=streams, unknown=self.task.vocab.unknown)

    def settings(self) -> dict[str, Any]:
        """The arguments that build this model again; the weights follow."""
        return {
            "cell": self.cell.name,
            "hidden": self.widths,
            "embedding": 0 if self.embed is None else self.embed.shape[1],
            "dropout": self.dropout,
            "input_dropout": self.input_dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "token_noise": self.token_noise,
            "tied": self.tied,
            "learn_initial": bool(self.stack[0].start.requires_grad),
            "layer_norm": self.layer_norm,
            "residual": self.residual,
            "mogrifier": self.mogrifier,
            "init": self.init,
        }

    def operations(self) -> int:
        """Of every W_h, of the W_x whose input is no look-up, of mogrifiers, and of the output."""
        looked_up = self.stack[0].W_x.numel() if self.embed is None else 0
        return sum(layer.operations() for layer in self.stack) - looked_up + self.head.numel()


def _check_shares(embedding: int, **shares: float) -> None:
    for name, share in shares.items():
        if not 0 <= share < 1:
            raise ConfigError(f"{name} {share} is not in [0, 1)")
    if shares["input_dropout"] and not embedding:
        raise ConfigError("input_dropout silences numbers of an embedding: give embedding a width, or leave it out")


def _check(size: int, cell: str, widths: list[int], embedding: int, mogrifier: int, *, tied: bool, init: str) -> None:
    if cell not in CELLS:
        raise ConfigError(no_such("cell", cell, sorted(CELLS)))
    if init not in INITS:
        raise ConfigError(no_such("init", init, sorted(INITS)))
    if not widths or min(widths) < 1 or embedding < 0:
        raise ConfigError(f"hidden {widths} and embedding {embedding}: a layer needs at least one unit")
    if tied and embedding != widths[-1]:
        raise ConfigError(
            f"a tied output needs an embedding as wide as the last layer: {embedding} is not {widths[-1]}"
        )
    if not 0 <= mogrifier <= MOST_ROUNDS:
        raise ConfigError(f"mogrifier {mogrifier}: give 0 to {MOST_ROUNDS} rounds")
    if mogrifier and not embedding:
        raise ConfigError(f"mogrifier {mogrifier} gates the inputs: give embedding a width, or leave it out")
    gates = len(CELLS[cell].gates)
    inputs = [embedding or size, *widths[:-1]]
    pairs = list(zip(inputs, widths, strict=True))
    count = size * (embedding + widths[-1]) + sum(gates * h * (i + h) + mogrifier * h * i for i, h in pairs)
    if count > 2**31:
        raise ConfigError(f"{count:,} parameters are more than elman trains (2^31): lower hidden, layers or embedding")
