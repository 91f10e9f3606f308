"""The recurrent language model: layers of one cell, and a linear map from the last output to the vocabulary."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs
from torch import Generator, Tensor, nn

from elman.arguments import checked
from elman.cells import CELLS, State
from elman.config import STRICT
from elman.data.batches import Rows
from elman.engines import ENGINES, Engine, Stack, TokenSampler, choose
from elman.engines.base import StreamExperts
from elman.engines.sampling import Sampling
from elman.errors import ConfigError, no_such
from elman.models.base import Backbone, Evidence, ModelSettings, Step, dropout, without_gradients
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


_Widths = Annotated[tuple[Annotated[PositiveInt, Field(le=65536)], ...], Field(max_length=64)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RecurrentSettings(ModelSettings):
    """A stack of recurrent layers."""

    cell: str = "gru"
    """Recurrent cell: elman, elman-relu, gru, lstm."""
    hidden: Annotated[PositiveInt, Field(le=65536)] | _Widths = 256
    """Hidden units of a layer, H; in a file or in Python also a list with one number a layer."""
    layers: Annotated[PositiveInt, Field(le=64)] = 1
    """Recurrent layers; where hidden is a list, as many as it has numbers."""
    embedding: Annotated[NonNegativeInt, Field(le=65536)] = 0
    """Width of the token embedding; 0: one-hot inputs, computed as a row look-up."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability of each layer's outputs (Srivastava et al. 2014)."""
    input_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability of the embedding, the same numbers in all steps of a window (Gal and Ghahramani 2016)."""
    recurrent_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability of the recurrent weights W_h, once a window (weight-drop; Merity et al. 2018)."""
    layer_norm: bool = False
    """Layer normalization of each layer's outputs (Ba et al. 2016); the carried state is not normalized."""
    residual: bool = False
    """Residual connections: add a layer's input to its output, where both have one width (He et al. 2016)."""
    mogrifier: Annotated[NonNegativeInt, Field(le=MOST_ROUNDS)] = 0
    """Mogrifier rounds: the embedding and the state gate each other before each step (Melis et al. 2020); 0: none."""
    tied: bool = False
    """Tied weights: the output map is the embedding (Press and Wolf 2017); both must have one width."""
    learn_initial_state: bool = False
    """Train the initial state; otherwise it is zero."""
    init: str = "elman"
    """Initial weights: elman, reference (normal, standard deviation 0.01), torch (uniform, as torch.nn's layers)."""

    @model_validator(mode="before")
    @classmethod
    def _count_layers(cls, data: Any) -> Any:
        """The number of layers out of a list of widths, where it is not given: a given one may contradict the list."""
        values = (data.kwargs or {}) if isinstance(data, ArgsKwargs) else data
        widths = values.get("hidden") if isinstance(values, Mapping) else None
        if not isinstance(widths, list | tuple) or values.get("model", Recurrent.kind) != Recurrent.kind:
            return data
        counted = {"layers": max(1, len(widths))} | dict(values) | {"hidden": tuple(widths)}
        return ArgsKwargs(data.args, counted) if isinstance(data, ArgsKwargs) else counted


class Recurrent(Backbone):
    """A stack of recurrent layers that predicts the next token.

        x_t       = one-hot(token_t), or E[token_t] with an embedding
        state_l,t = cell(W_x x + b_x, W_h h + b_h, state_l,t-1)     layer l reads the output of layer l-1
        logits_t  = W_q y_L,t + b_q

    y_l,t, the output of a layer, is its h_l,t; LN(h_l,t) with `layer_norm`; and y_l-1,t more with `residual`.

    Args:
        task: the symbols to read and predict.
        engine: the name of an engine, or "auto" for the fastest.
        seed: of the initial weights; None leaves them zero, to be loaded.
        **settings: fields of `RecurrentSettings`: cell, hidden, layers, embedding, dropout, ...

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
    Settings = RecurrentSettings
    config: RecurrentSettings

    @checked
    def __init__(self, task: TextTask, *, engine: str = "auto", seed: int | None = 0, **settings: Any) -> None:
        super().__init__(task, engine=engine, seed=seed, **settings)
        c = self.config
        self.widths = [c.hidden] * c.layers if isinstance(c.hidden, int) else list(c.hidden)
        _check(task.size, c, self.widths)
        self.cell = CELLS[c.cell]
        self.embed = nn.Parameter(torch.zeros(task.size, c.embedding)) if c.embedding else None
        inputs = [c.embedding or task.size, *self.widths[:-1]]
        self.layers = nn.ModuleList(
            Layer(
                self.cell,
                i,
                h,
                tokens=not c.embedding and n == 0,
                learn_initial_state=c.learn_initial_state,
                layer_norm=c.layer_norm,
                residual=c.residual,
                mogrifier=c.mogrifier,
            )
            for n, (i, h) in enumerate(zip(inputs, self.widths, strict=True))
        )
        self.W_q = None if c.tied else nn.Parameter(torch.zeros(task.size, self.widths[-1]))
        self.b_q = nn.Parameter(torch.zeros(task.size))
        if seed is not None:
            INITS[c.init](self, torch_generator(seed, "initial weights"))

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
        if self.config.mogrifier and self.engine_request not in ("auto", "loop"):
            raise ConfigError(f"engine {self.engine_request!r} cannot run a mogrifier: use engine loop or auto")
        if self.config.mogrifier:
            return ENGINES["loop"]
        one_hot = 0 if self.embed is not None else self.task.size
        return choose(
            self.engine_request, self.cell, self.b_q.device, self.b_q.dtype, one_hot=one_hot, hidden=self.widths[0]
        )

    @property
    def name(self) -> str:
        """The cell's."""
        return self.cell.name

    @property
    def engine_name(self) -> str:
        """The engine's."""
        return self.engine.name

    @property
    def slower_for_lack_of_compiler(self) -> bool:
        """Whether the compiled engine would run it: on a CPU, where no mogrifier needs `loop`."""
        return self.device.type == "cpu" and not self.config.mogrifier

    @property
    def has_dropout(self) -> bool:
        """Whether training draws random numbers."""
        return max(self.config.dropout, self.config.input_dropout, self.config.recurrent_dropout) > 0

    @property
    def output_weight(self) -> Tensor:
        """W_q, (V, H); with tied weights the embedding."""
        weight = self.embed if self.W_q is None else self.W_q
        assert weight is not None  # noqa: S101 - a tied model has an embedding, checked when it was made
        return weight

    @property
    def output_bias(self) -> Tensor:
        """b_q, (V,)."""
        return self.b_q

    def initial(self, batch: int) -> State:
        """Zeros, or the learnt start: one (batch, H) a layer and state, the lowest layer first."""
        return tuple(row.expand(batch, -1) for layer in self.stack for row in layer.start)

    def forward(self, inputs: Tensor, state: State, rng: Generator | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, V) for the token after each of inputs (B, T), and the next state."""
        engine = self.engine
        y, after = self._outputs(engine, inputs, state, rng)
        logits = engine.linear(y.flatten(0, 1), self.output_weight, self.b_q)
        return logits.unflatten(0, y.shape[:2]).transpose(0, 1), after

    def training_logits(
        self,
        inputs: Tensor,
        state: State,
        rng: Generator | None = None,
        rows: Rows | None = None,  # noqa: ARG002 - it holds no counts
    ) -> tuple[Tensor, State]:
        """The same logits, by the engine."""
        return self.forward(inputs, state, rng)

    def features(
        self,
        inputs: Tensor,
        state: State,
        rng: Generator | None = None,
        rows: Rows | None = None,  # noqa: ARG002 - it holds no counts
    ) -> tuple[Tensor, Evidence, State]:
        """The last layer's outputs (B, T, H), no evidence, and the next state."""
        y, after = self._outputs(self.engine, inputs, state, rng)
        return y.transpose(0, 1), (), after

    def logits(self, features: Tensor, evidence: Evidence = ()) -> Tensor:  # noqa: ARG002 - there is none
        """W_q y + b_q of features (B, T, H)."""
        return F.linear(features, self.output_weight, self.b_q)

    def loss(
        self,
        inputs: Tensor,
        targets: Tensor,
        state: State,
        rng: Generator | None = None,
        rows: Rows | None = None,  # noqa: ARG002 - it holds no counts
    ) -> tuple[Tensor, State]:
        """Nats of the targets (B, T), a scalar, and the next state: the engine need not keep the logits."""
        engine = self.engine
        y, after = self._outputs(engine, inputs, state, rng)
        return engine.linear_cross_entropy(
            y.flatten(0, 1), self.output_weight, self.b_q, targets.t().reshape(-1)
        ), after

    def _outputs(
        self, engine: type[Engine], inputs: Tensor, state: State, rng: Generator | None
    ) -> tuple[Tensor, State]:
        """The last layer's outputs, time-major (T, B, H), and the next state."""
        c, n = self.config, len(self.cell.states)
        x = inputs if self.embed is None else F.embedding(inputs.t(), self.embed)
        if self.embed is not None:
            x = (dropout(x, c.input_dropout, rng, shared_dim=0) if rng else x).transpose(0, 1)
        after: State = ()
        for depth, layer in enumerate(self.stack):
            weights = layer.weights()
            if rng:
                weights = weights._replace(W_h=dropout(weights.W_h, c.recurrent_dropout, rng))
            run = engine.run if layer.mogrifier is None else layer.mogrifier.run
            h, ended = run(self.cell, x, state[depth * n : (depth + 1) * n], weights)
            y = layer.normalize(h.transpose(0, 1)).transpose(0, 1)
            y = dropout(y, c.dropout, rng) if rng else y
            x, after = x + y if layer.has_residual else y, after + ended
        return x.transpose(0, 1), after

    def stepper(self) -> Step:
        """A function from one token a row, (B,), and a state to logits (B, V) and the next state, without gradients.

        It is the definition without an engine, for generating; W_x + b_x is added up once for all steps.
        """
        several = self._stepper(one=False)
        if self.device.type != "cpu" or self.weight.dtype not in (torch.float32, torch.float64):
            return several
        alone = self._stepper(one=True)
        return lambda tokens, state: (alone if tokens.shape[0] == 1 else several)(tokens, state)

    @torch.no_grad()
    def _stepper(self, *, one: bool) -> Step:
        """The step of a single row on the CPU, or of any number anywhere."""
        n, cell_step = len(self.cell.states), self.cell.step
        input_maps = [affine(layer.W_x, layer.b_x, one=one) for layer in self.stack]
        state_maps = [affine(layer.W_h, layer.b_h, one=one) for layer in self.stack]
        head = affine(self.output_weight, self.b_q, one=one)
        row = None if self.embed is None else pick(self.embed, one=one)
        if row is None:
            first = self.stack[0]
            input_maps[0] = pick((first.W_x.t() + first.b_x).contiguous(), one=one)

        def one_step(tokens: Tensor, state: State) -> tuple[Tensor, State]:
            x = tokens if row is None else row(tokens)
            after: State = ()
            for depth, (layer, input_map, state_map) in enumerate(zip(self.stack, input_maps, state_maps, strict=True)):
                old = state[depth * n : (depth + 1) * n]
                read, h = (x, old[0]) if layer.mogrifier is None else layer.mogrifier(x, old[0])
                new = cell_step(input_map(read), state_map(h), *old)
                y = layer.normalize(new[0])
                x, after = x + y if layer.has_residual else y, after + new
            return head(x), after

        return without_gradients(one_step)

    def token_sampler(self, sampling: Sampling, streams: int) -> TokenSampler | None:
        """The engine's, of the weights as they are now; equal to the steps, but for rounding. It knows no parts."""
        return self.corrected_sampler(sampling, streams, None)

    def corrected_sampler(self, sampling: Sampling, streams: int, experts: StreamExperts | None) -> TokenSampler | None:
        """The same with counted experts."""
        if self.config.layer_norm or self.config.mogrifier or any(layer.has_residual for layer in self.stack):
            return None
        stack = Stack(self.embed, [layer.weights() for layer in self.stack], self.output_weight, self.b_q, experts)
        return self.engine.token_sampler(self.cell, stack, sampling, streams=streams, unknown=self.task.vocab.unknown)

    def settings(self) -> dict[str, Any]:
        """The arguments that build this model again: `hidden` as one number a layer; the weights follow."""
        values = dataclasses.asdict(self.config) | {"hidden": self.widths}
        del values["layers"]
        return values

    def operations(self) -> int:
        """Of every W_h, of the W_x whose input is no look-up, of mogrifiers, and of the output."""
        looked_up = self.stack[0].W_x.numel() if self.embed is None else 0
        return sum(layer.operations() for layer in self.stack) - looked_up + self.output_weight.numel()


def _check(size: int, c: RecurrentSettings, widths: list[int]) -> None:
    """Refuse settings that are each in range but do not fit each other."""
    if c.cell not in CELLS:
        raise ConfigError(no_such("cell", c.cell, sorted(CELLS)))
    if c.init not in INITS:
        raise ConfigError(no_such("init", c.init, sorted(INITS)))
    if not widths or c.layers != len(widths):
        raise ConfigError(
            f"hidden {widths} has {len(widths)} layers, and layers is {c.layers}: give only one of these two settings"
        )
    if c.input_dropout and not c.embedding:
        raise ConfigError("input_dropout needs an embedding: set embedding above 0, or leave input_dropout out")
    if c.tied and c.embedding != widths[-1]:
        raise ConfigError(
            f"tied weights need embedding equal to the width of the last layer: set embedding to {widths[-1]}, "
            f"it is {c.embedding}"
        )
    if c.mogrifier and not c.embedding:
        raise ConfigError(f"mogrifier {c.mogrifier} needs an embedding: set embedding above 0, or leave mogrifier out")
    gates = len(CELLS[c.cell].gates)
    inputs = [c.embedding or size, *widths[:-1]]
    pairs = list(zip(inputs, widths, strict=True))
    count = size * (c.embedding + widths[-1]) + sum(gates * h * (i + h) + c.mogrifier * h * i for i, h in pairs)
    if count > 2**31:
        raise ConfigError(f"{count:,} parameters are more than elman trains (2^31): lower hidden, layers or embedding")
