"""The one interface of every model, from an n-gram to a stack of LSTMs, and the registry of model families.

A family is a class with a `kind`: a network brings its `Settings` too, and is then built by `elman train`, saved,
loaded, compared and sampled from without being named anywhere else (`examples/extend.py`).
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor, nn

from elman.arguments import checked
from elman.cells import State
from elman.config import STRICT, Checked, current_names, validated
from elman.data.batches import Ids, Rows
from elman.engines import TokenSampler
from elman.engines.base import StreamExperts
from elman.engines.sampling import Sampling
from elman.errors import ConfigError, ModelError
from elman.models.task import TextTask
from elman.storage.folder import Saved

Step = Callable[[Tensor, State], tuple[Tensor, State]]
Evidence = tuple[Tensor, ...]
"""What a network has computed for each token beside its features: tensors (B, T, ...)."""

BASE = "recurrent"
"""The family of a network where none is named."""
FAMILIES: dict[str, type["SequenceModel"]] = {}
"""Every model family by its `kind`."""


class SequenceModel(ABC):
    """`(inputs, state) -> (prediction, state)`; the state is passed in and returned, never kept.

    A subclass with a `kind` joins `FAMILIES`.
    """

    kind: ClassVar[str]
    """The family's name: in saved models, and on the command line."""
    task: TextTask

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "kind" in cls.__dict__:
            FAMILIES[cls.kind] = cls

    @property
    def is_trained(self) -> bool:
        """Whether gradients trained it, or some of its members; False: it was counted."""
        return False

    @property
    def members(self) -> "tuple[tuple[SequenceModel, float], ...]":
        """The models that a mixture averages, and their weights; () for any other model."""
        return ()

    @property
    def numerics(self) -> tuple[str, ...]:
        """What decides the last bits of its predictions, beside the libraries and the machine."""
        return tuple(dict.fromkeys(each for member, _ in self.members for each in member.numerics))

    @property
    @abstractmethod
    def name(self) -> str:
        """What tables call it: gru, mlp, 7-gram."""

    @abstractmethod
    def initial(self, batch: int) -> State:
        """The state before any token: tensors whose first dimension is `batch`."""

    @abstractmethod
    def __call__(self, inputs: Tensor, state: State, rng: Generator | None = None) -> tuple[Tensor, State]:
        """Logits for the token after each input, and the state after the last.

        Args:
            inputs: token ids, (B, T).
            state: the state before the first of them.
            rng: random numbers of dropout; without it nothing is dropped.

        Returns:
            Logits (B, T, V) and the next state.
        """

    def stepper(self) -> Step:
        """A function from one token a row, (B,), and a state to logits (B, V) and the next state, without gradients."""

        def step(tokens: Tensor, state: State) -> tuple[Tensor, State]:
            logits, state = self(tokens[:, None], state)
            return logits[:, 0], state

        return without_gradients(step)

    def token_sampler(self, sampling: Sampling, streams: int) -> TokenSampler | None:
        """Compiled code that samples many tokens in one call, never `<unk>`; None: sample step by step.

        Args:
            sampling: how a token is chosen from the logits.
            streams: B, texts side by side.
        """
        return None

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The arguments that build this model again, as JSON values."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """All numbers of the model, by the names under which they are saved."""

    @abstractmethod
    def parameter_count(self) -> int:
        """How many numbers were learnt from the training text."""

    @abstractmethod
    def operations(self) -> int:
        """Multiply-add operations to predict one token."""

    @classmethod
    def from_saved(cls, saved: Saved, task: TextTask, settings: Mapping[str, Any], *, engine: str) -> "SequenceModel":
        """The model of a saved folder; networks need no such method of their own.

        Args:
            saved: the folder, whose files were verified.
            task: its vocabulary and normalization.
            settings: what `settings` returned when it was saved.
            engine: the name of an engine, for models that have one.

        Raises:
            ModelError: the tensors do not fit the settings.
            ConfigError: settings that cannot be.
        """
        raise ModelError(f"{saved.path}: a {cls.kind} is not saved as one model")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelSettings(Checked):
    """Base of the settings of a network.

    A field with a docstring is a keyword of the class, a setting of `elman train --config`, and saved with the model.
    """


class Network(nn.Module, SequenceModel):
    """A `SequenceModel` whose weights training changes.

    Args:
        task: the symbols to read and predict.
        engine: the name of an engine, or "auto" for the fastest.
        seed: of the initial weights; None leaves them zero, to be loaded.
        **settings: fields of the class's `Settings`.
    """

    Settings: ClassVar[type[ModelSettings]] = ModelSettings
    widths: list[int]
    """Hidden units of each layer."""
    enabled_by: ClassVar[str | None] = None
    """The setting that adds it to a network where it is not 0; None: it holds no network."""
    position: ClassVar[int] = 0
    """Where it stands among those that hold a network, the innermost with the lowest number."""
    saved_sizes: ClassVar[tuple[str, ...]] = ()
    """Settings of a saved model that are no settings of its class: the sizes of buffers, see `resize`."""

    @checked
    def __init__(
        self, task: TextTask, *, engine: str = "auto", seed: int | None = 0, **settings: Any
    ) -> None:  # the signature that building and loading rely on
        super().__init__()
        self.task, self.engine_request, self.seed = task, engine, seed
        self.removed_settings: dict[str, Any] = {}
        self.config = validated(self.Settings, current_names(settings, warn=True))

    @property
    def is_trained(self) -> bool:
        """Yes."""
        return True

    @property
    def dynamic_lr(self) -> float:
        """The learning rate of dynamic evaluation; 0: the weights stay."""
        return 3e-4

    @property
    def has_counts(self) -> bool:
        """Whether it holds counts of its training text, which it therefore predicts far better than any other text."""
        return False

    @property
    @abstractmethod
    def engine_name(self) -> str:
        """The engine in use where the weights are now.

        Raises:
            ConfigError: the engine that was given cannot run this.
        """

    @property
    def slower_for_lack_of_compiler(self) -> bool:
        """Whether the compiled engine would run it, had the package been installed with a C++ compiler."""
        return False

    def settings(self) -> dict[str, Any]:
        """The arguments that build this model again; the weights follow."""
        return dataclasses.asdict(self.config)

    def prepare(self, ids: Ids) -> None:
        """Count a text, in place of what was counted before: nothing, but for what counts.

        Args:
            ids: tokens, (N,).
        """

    def start_training(self, ids: Ids) -> None:
        """Called with the training text before the first step: `prepare`; what was counted before may stay.

        Args:
            ids: tokens, (N,).
        """
        self.prepare(ids)

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
        rows: Rows | None = None,
    ) -> tuple[Tensor, State]:
        """The logits while training.

        Args:
            inputs: token ids, (B, T).
            state: the state before the first of them.
            rng: random numbers of dropout.
            rows: where in the training text the targets stand, so that counts of it can leave them out.

        Returns:
            Logits (B, T, V) and the next state.
        """
        logits, state = self(inputs, state, rng)
        return logits, state

    def loss(
        self, inputs: Tensor, targets: Tensor, state: State, rng: Generator | None = None, rows: Rows | None = None
    ) -> tuple[Tensor, State]:
        """Cross-entropy of the targets, added up.

        Args:
            inputs: token ids, (B, T).
            targets: the token after each, (B, T); `IGNORE` counts nothing.
            state: the state before the first input.
            rng: random numbers of dropout.
            rows: see `training_logits`.

        Returns:
            Nats, a scalar, and the next state.
        """
        logits, state = self.training_logits(inputs, state, rng, rows)
        return self.task.nats(logits, targets), state

    def is_valid_state(self, state: State) -> bool:
        """Whether the integers of a state, read from a file, are token ids, or V where there was no token."""
        return all(in_range(s, 0, self.task.size) for s in state if not s.is_floating_point())

    @property
    def weight(self) -> Tensor:
        """Any of the weights: its device and precision are the model's."""
        return next(self.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.weight.device

    def tensors(self) -> dict[str, Tensor]:
        """The weights and buffers, by the names under which they are saved."""
        found = self.state_dict()
        named = {saved_name(name): t for name, t in found.items()}
        if len(named) < len(found):
            raise ConfigError(f"two tensors of {self.name} have one name but for the network that it holds: rename one")
        return named

    def trained_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """The parameters that training changes, by saved name; those outside of layers first, as checkpoints count."""
        found = [(saved_name(n), _depth(n), p) for n, p in self.named_parameters() if p.requires_grad]
        named = sorted(found, key=lambda entry: ("." in entry[0], -entry[1]))  # a held network's before its holder's
        return [(name, p) for name, _, p in named]

    def parameter_count(self) -> int:
        """How many numbers training can change."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    @property
    def has_dropout(self) -> bool:
        """Whether training draws random numbers."""
        return False

    def resize(self, sizes: Mapping[str, object]) -> None:
        """Give buffers the sizes that a saved model had.

        Args:
            sizes: elements of each buffer by name, those of `saved_sizes`.
        """

    def check_buffers(self, where: Path) -> None:
        """Refuse buffers that no training leaves.

        Args:
            where: the folder that they were read from, for the message.

        Raises:
            ModelError: says which.
        """


class Backbone(Network):
    """A network whose output map can be taken apart: what a wrapper (`Hybrid`, `CopyHead`) may hold.

    features, evidence, state = network.features(inputs, state)
    logits                    = network.logits(features, evidence)
    """

    @abstractmethod
    def features(
        self, inputs: Tensor, state: State, rng: Generator | None = None, rows: Rows | None = None
    ) -> tuple[Tensor, Evidence, State]:
        """The last layer's outputs.

        Args:
            inputs: token ids, (B, T).
            state: the state before the first of them.
            rng: random numbers of dropout.
            rows: see `training_logits`.

        Returns:
            Features (B, T, H), what else `logits` needs of each token, and the next state.
        """

    @abstractmethod
    def logits(self, features: Tensor, evidence: Evidence) -> Tensor:
        """Logits (B, T, V) of features (B, T, H)."""

    def corrected_sampler(self, sampling: Sampling, streams: int, experts: StreamExperts | None) -> TokenSampler | None:
        """`token_sampler` where counted experts correct the logits; None: compiled code knows no such network.

        Args:
            sampling: how a token is chosen from the logits.
            streams: B, texts side by side.
            experts: that a wrapper adds, if it does.
        """
        return None

    @property
    @abstractmethod
    def output_weight(self) -> Tensor:
        """W_q, the matrix of the output map, (V, H)."""

    @property
    @abstractmethod
    def output_bias(self) -> Tensor:
        """b_q, the bias of the output map, (V,)."""

    def forward(self, inputs: Tensor, state: State, rng: Generator | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, V) for the token after each of inputs (B, T), and the next state."""
        return self.training_logits(inputs, state, rng)

    def training_logits(
        self, inputs: Tensor, state: State, rng: Generator | None = None, rows: Rows | None = None
    ) -> tuple[Tensor, State]:
        """The logits while training."""
        features, evidence, state = self.features(inputs, state, rng, rows)
        return self.logits(features, evidence), state


def without_gradients(step: Step) -> Step:
    """The same step of any state, which computes no gradients wherever it is called."""

    def quiet(tokens: Tensor, state: State) -> tuple[Tensor, State]:
        state = tuple(s.detach() if s.requires_grad else s for s in state)
        if not torch.is_grad_enabled():  # quicker than to turn off what is off
            return step(tokens, state)
        with torch.no_grad():
            return step(tokens, state)

    return quiet


def check_finite(tensors: Mapping[str, Tensor], where: Path) -> None:
    """Refuse NaN and infinity.

    Args:
        tensors: by name.
        where: the folder that they were read from, for the message.

    Raises:
        ModelError: names the tensor.
    """
    for name, t in tensors.items():
        if t.is_floating_point() and not bool(torch.isfinite(t).all()):
            raise ModelError(f"{where}: {name} holds NaN or infinity; use an earlier checkpoint")


def _depth(name: str) -> int:
    """How deep the network that has a tensor is held."""
    return 1 + _depth(name.removeprefix("network.")) if name.startswith("network.") else 0


def saved_name(name: str) -> str:
    """The name under which a tensor is saved: that in the network which has it, however deep it is held."""
    return saved_name(name.removeprefix("network.")) if name.startswith("network.") else name


def in_range(numbers: Tensor, low: int, high: int) -> bool:
    """Whether all numbers are from `low` to `high`."""
    return not numbers.numel() or low <= int(numbers.min()) <= int(numbers.max()) <= high


def dropout(x: Tensor, p: float, rng: Generator, *, shared_dim: int | None = None) -> Tensor:
    """Inverted dropout (Srivastava et al. 2014).

    Args:
        x: any tensor.
        p: probability that a number becomes 0; the others are divided by 1 - p, which keeps the mean.
        rng: random numbers.
        shared_dim: a dimension along which the same numbers are dropped, as along time (Gal and Ghahramani 2016).

    Returns:
        A tensor of the same shape and memory layout.
    """
    if not p:
        return x
    shape = [1 if d == shared_dim else n for d, n in enumerate(x.shape)]
    keep = torch.empty_like(x) if shared_dim is None else x.new_empty(shape)
    return x * keep.bernoulli_(1 - p, generator=rng).div_(1 - p)
