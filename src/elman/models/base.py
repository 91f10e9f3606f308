"""The one protocol of every model, from an n-gram to a stack of LSTMs."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor, nn

from elman.cells import State
from elman.data.batches import Ids, Rows
from elman.engines import Sampler
from elman.engines.sampling import Sampling
from elman.models.task import TextTask

Step = Callable[[Tensor, State], tuple[Tensor, State]]


@runtime_checkable
class SequenceModel(Protocol):
    """`(inputs, state) -> (prediction, state)`; the state is passed in and returned, never kept."""

    kind: ClassVar[str]
    """What a saved model says it is."""
    task: TextTask

    @property
    def is_trained(self) -> bool:
        """Whether gradients trained it, or some of its members; False: it was counted."""

    @property
    def members(self) -> "tuple[tuple[SequenceModel, float], ...]":
        """The models that a mixture averages, and their weights; () for any other model."""

    @property
    def name(self) -> str:
        """What tables call it: gru, mlp, 7-gram."""

    def initial(self, batch: int) -> State:
        """The state before anything was read: tensors whose first dimension is `batch`."""

    def __call__(self, inputs: Tensor, state: State, rng: Generator | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, V) for the token after each of inputs (B, T), and the state after the last.

        `rng` is the source of dropout; without it nothing is dropped.
        """

    def stepper(self) -> Step:
        """The same one token at a time, (B,) to logits (B, V): what generating does, as lean as can be."""

    def sampler(self, draw: Sampling, streams: int) -> Sampler | None:
        """What reads and draws many tokens of so many streams in one call, `<unk>` never; None: only the steps can."""

    def settings(self) -> dict[str, Any]:
        """The arguments that build this model again, as JSON values."""

    def tensors(self) -> dict[str, Tensor]:
        """All numbers that the model consists of, to be saved."""

    def parameter_count(self) -> int:
        """How many numbers were learnt from the training text."""

    def operations(self) -> int:
        """Multiplications, each with its addition, that the prediction of one token takes."""


def step_by_reading(model: SequenceModel) -> Step:
    """The step of a model that has no leaner one: reading a window of a single token."""

    def one_step(tokens: Tensor, state: State) -> tuple[Tensor, State]:
        logits, state = model(tokens[:, None], state)
        return logits[:, 0], state

    return one_step


class Network(nn.Module, ABC):
    """A `SequenceModel` whose weights training changes."""

    kind: ClassVar[str]
    is_trained: ClassVar[bool] = True
    members: ClassVar[tuple[tuple[SequenceModel, float], ...]] = ()
    dynamic_lr: ClassVar[float] = 3e-4
    """The learning rate of dynamic evaluation; 0: the weights stay."""
    has_counts: ClassVar[bool] = False
    """Whether it holds counts of its training text, which it therefore predicts far better than any other text."""
    task: TextTask
    widths: list[int]
    """Hidden units of each layer."""
    dropout: float
    b_q: nn.Parameter
    """The bias of the output, (V,)."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What tables call it."""

    @property
    @abstractmethod
    def engine_name(self) -> str:
        """What runs it where the weights are now.

        Raises:
            ConfigError: nothing that was asked for can.
        """

    @abstractmethod
    def initial(self, batch: int) -> State:
        """The state before anything was read."""

    @abstractmethod
    def stepper(self) -> Step:
        """The same one token at a time."""

    def sampler(self, draw: Sampling, streams: int) -> Sampler | None:  # noqa: ARG002 - the protocol's
        """Nothing but the steps."""
        return None

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The arguments that build this model again."""

    @abstractmethod
    def operations(self) -> int:
        """Multiplications, each with its addition, of one token."""

    def prepare(self, ids: Ids) -> None:
        """What is done once with a training text, before the first step on it: nothing, but for what counts."""

    @property
    def recount_interval(self) -> int | None:
        """Tokens after which dynamic evaluation adds what was read to the counts; None: there are no counts."""
        return None

    def update_counts(self, ids: Ids) -> None:
        """Count more text, (N,) token ids: nothing, but for what counts."""

    def training_logits(
        self,
        inputs: Tensor,
        state: State,
        rng: Generator | None = None,
        rows: Rows | None = None,  # noqa: ARG002 - for what counts
    ) -> tuple[Tensor, State]:
        """What a call gives, in training.

        `rows` says where in the text the targets stand: what counted it must forget them for a moment.
        """
        logits, state = self(inputs, state, rng)
        return logits, state

    def loss(
        self, inputs: Tensor, targets: Tensor, state: State, rng: Generator | None = None, rows: Rows | None = None
    ) -> tuple[Tensor, State]:
        """What the targets (B, T) after each of inputs cost together, a scalar, and the state after the last."""
        logits, state = self.training_logits(inputs, state, rng, rows)
        return self.task.nats(logits, targets), state

    def is_valid_state(self, state: State) -> bool:
        """Whether the whole numbers of a state, read from a file, are such as reading leaves: tokens, or V for none."""
        return all(in_range(s, 0, self.task.size) for s in state if not s.is_floating_point())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.b_q.device

    def tensors(self) -> dict[str, Tensor]:
        """The weights."""
        return dict(self.state_dict())

    def parameter_count(self) -> int:
        """How many numbers training can change."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    @property
    def noisy(self) -> bool:
        """Whether training it takes noise."""
        return self.dropout > 0

    def drop(self, x: Tensor, rng: Generator | None) -> Tensor:
        """Dropout of outputs, in the layout that they have."""
        return x if rng is None else dropout(x, self.dropout, rng)


def in_range(numbers: Tensor, low: int, high: int) -> bool:
    """Whether all numbers are from `low` to `high`."""
    return not numbers.numel() or low <= int(numbers.min()) <= int(numbers.max()) <= high


def unigram_noise(tokens: Tensor, share: float, rng: Generator) -> Tensor:
    """A share of tokens (B, T) replaced by any others of them: as frequent as in the text (Xie et al. 2017)."""
    if not share:
        return tokens
    chosen = torch.empty(tokens.shape, device=tokens.device).bernoulli_(share, generator=rng).bool()
    drawn = torch.randint(tokens.numel(), tokens.shape, generator=rng, device=tokens.device)
    return torch.where(chosen, tokens.flatten()[drawn], tokens)


def dropout(x: Tensor, share: float, rng: Generator, *, alike: int | None = None) -> Tensor:
    """Inverted dropout: a share of the numbers becomes 0, the others grow to keep the mean (Srivastava et al. 2014).

    `alike` names a dimension along which the same numbers are silenced, as along time (Gal and Ghahramani 2016).
    """
    if not share:
        return x
    shape = [1 if d == alike else n for d, n in enumerate(x.shape)]
    keep = torch.empty_like(x) if alike is None else x.new_empty(shape)
    return x * keep.bernoulli_(1 - share, generator=rng).div_(1 - share)
