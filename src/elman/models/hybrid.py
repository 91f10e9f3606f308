"""A network that combines counted experts with its own logits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor, nn

from elman.arguments import checked
from elman.cells import State
from elman.config import STRICT, current_names
from elman.data.batches import Ids, Rows
from elman.engines import TokenSampler
from elman.engines.base import ExpertWeights
from elman.engines.sampling import Sampling
from elman.environment import memory
from elman.errors import ConfigError, ModelError
from elman.models.base import Backbone, Evidence, ModelSettings, Network, in_range
from elman.models.ngram.expert_sets import COMPILED, ExpertSet, check_vocabulary, expert_set, uses_compiled
from elman.models.ngram.experts import COUNTING, HIGHEST, SHARE, ContextFeatures, Experts, fold_count
from elman.models.task import TextTask
from elman.models.wrapper import NetworkWrapper

RECOUNT, GROWN = 128, 2000


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HybridSettings(ModelSettings):
    """Counted experts."""

    ngram_experts: Annotated[int, Field(ge=0, le=HIGHEST)] = 0
    """Counted experts whose log-probabilities are weighted and added to the logits: n-grams of up to N tokens, words
    and lines; 0: none."""


class Hybrid(NetworkWrapper, Backbone):
    """A log-linear mixture of a network and counted experts (Neubig and Dyer 2016; weighted as by Mahoney 2005).

        h_t       = the features of the network
        a_t       = A h_t + C r_t + b_a                        one weight an expert, (K,)
        logits_t  = W_q h_t + b_q + sum_k a_t,k log p_t,k

    p_t,k are the probabilities of expert k after the tokens so far, r_t,k its back-off weight
    (`elman.models.ngram.experts`). Weights of experts may be negative. It starts as the n-gram itself: W_q, A, C and
    b_q are 0, and a is 1 for the longest n-gram.

    The experts are counted on the text that it is first trained on, which is saved with the weights. While it trains
    on that text, it is cut into eight folds (fewer of more than a million tokens), and each fold is predicted by
    experts that were counted on the other seven. Training on another text keeps the counts; `update_counts` adds the
    text to them, and `prepare` counts it in place of the first.

    Args:
        network: the network that it holds, without tied weights, of at most 65,536 tokens
            (without a compiler 4,096).
        seed: None leaves all weights as they are, to be loaded.
        ngram_experts: n, the tokens of the longest n-grams, 2 to 16.

    Raises:
        ConfigError: a larger vocabulary, a tied output, or `ngram_experts` out of range.

    Example:
        >>> import elman
        >>> task = elman.TextTask(elman.Vocab.chars("abracadabra"))
        >>> model = Hybrid(elman.Recurrent(task, hidden=8), ngram_experts=3)
        >>> model.prepare(task.vocab.encode("abracadabra" * 9))
        >>> logits, _ = model(torch.tensor([[1, 2, 3]]), model.initial(1))
        >>> tuple(logits.shape)
        (1, 3, 6)
    """

    kind: ClassVar[str] = "hybrid"
    Settings = HybridSettings
    enabled_by = "ngram_experts"
    position = 1
    saved_sizes = ("text",)
    config: HybridSettings
    text: Tensor

    @checked
    def __init__(self, network: Network | TextTask, *, seed: int | None = 0, **settings: Any) -> None:
        super().__init__(network, seed=seed, **({"ngram_experts": 8} | current_names(settings, warn=True)))
        order, size, tied = self.config.ngram_experts, self.task.size, self.network.settings().get("tied", False)
        check_vocabulary(size)
        if order < 2:
            raise ConfigError(f"ngram_experts is {order}: it must be 2 to {HIGHEST}")
        if tied:
            raise ConfigError("ngram_experts does not work with tied weights: set tied to false")
        number = Experts.number(order)
        self.order = order
        self.A = nn.Parameter(torch.zeros(number, self.widths[-1]))
        self.C = nn.Parameter(torch.zeros(number, number))
        self.b_a = nn.Parameter(torch.zeros(number))
        self.register_buffer("text", torch.zeros(0, dtype=_stored_type(size)))
        self._shift = 0  # where the counted text begins in the training text
        self.register_load_state_dict_post_hook(_forget_experts)  # type: ignore[no-untyped-call]  # of PyTorch
        if seed is not None:
            with torch.no_grad():
                self.network.output_weight.zero_()
                self.b_a[order - 2] = 1.0

    @property
    def experts(self) -> ExpertSet[Any]:
        """Those of the text, and while it trains those of its folds."""
        kind = uses_compiled(self.weight.dtype)
        found: tuple[bool, ExpertSet[Any]] | None = self.__dict__.get("_counted")
        if found is None or found[0] != kind:
            made = expert_set(self.task.vocab, self.order, self._ids, self.weight.dtype)
            if found is not None and found[1].has_folds:
                made.fold(len(found[1].tables) - 1)
            self._counted = found = kind, made
        return found[1]

    @property
    def numerics(self) -> tuple[str, ...]:
        """Whether its experts are compiled."""
        return (COMPILED,) if uses_compiled(self.weight.dtype) else ()

    @property
    def _ids(self) -> Ids:
        return self.text.numpy(force=True).astype(self.task.vocab.dtype)

    @property
    def name(self) -> str:
        """That of the network, and the n-gram."""
        return f"{self.network.name} + {self.order}-gram"

    def prepare(self, ids: Ids) -> None:
        """Count a text, in place of what was counted before, and the complement of each of its folds.

        Args:
            ids: tokens, (N,).

        Raises:
            ConfigError: the counts would need too much memory.
        """
        before, self.text = self.text, self._stored(ids)
        self._forget()
        try:
            self._count_folds()
        except ConfigError:
            self.text = before
            self._forget()
            raise

    def start_training(self, ids: Ids) -> None:
        """Count the training text where nothing was counted yet; what was counted stays.

        Where the training text stands in the counted one, or the counted one in it, a target that was counted is
        predicted by the experts of the other folds, and any other by those of the whole counted text.

        Args:
            ids: tokens, (N,).

        Raises:
            ConfigError: the counts would need too much memory.
        """
        if not len(self.text):
            self.prepare(ids)
            return
        learnt, counted = self._stored(ids).numpy(force=True), self.text.numpy(force=True)
        at = _find(counted, learnt)
        shift = _find(learnt, counted) if at < 0 else -at
        if at < 0 and shift < 0:
            self.experts.unfold()
            return
        self._count_folds()
        self._shift = shift

    def _stored(self, ids: Ids) -> Tensor:
        """Token ids as they are saved, (N,)."""
        return torch.from_numpy(np.array(ids).astype(np.int32)).to(self.text.device, self.text.dtype)

    def _count_folds(self) -> None:
        """Count the text and the complement of each of its folds, where memory suffices."""
        self._shift = 0
        tokens, there = len(self.text), memory() // SHARE
        number = fold_count(tokens)
        if tokens * COUNTING > there or (number + 1) * self.experts.nbytes + tokens * COUNTING > there:
            raise ConfigError(
                f"counting the n-grams of {tokens:,} tokens may take more than 1/{SHARE} of this machine's memory: "
                "--limit the text, or use --ngram-experts 0"
            )
        self.experts.fold(number)

    def _forget(self) -> None:
        """Count again when experts are needed."""
        self.__dict__.pop("_counted", None)

    @property
    def dynamic_lr(self) -> float:
        """None: to train the weights gains nothing beside counting what was read (docs/log.md)."""
        return 0.0

    @property
    def has_counts(self) -> bool:
        """Yes."""
        return True

    @property
    def recount_interval(self) -> int:
        """128 tokens, or 1/2,000 of the text that is counted: counting anew takes as long as that text."""
        return max(RECOUNT, len(self.text) // GROWN)

    def update_counts(self, ids: Ids) -> None:
        """Count more text; not while training, since the folds stay as they were.

        Args:
            ids: tokens, (N,).
        """
        more = torch.from_numpy(np.asarray(ids).astype(np.int64)).to(self.text)
        self.text = torch.cat((self.text, more))
        self._forget()

    def initial(self, batch: int) -> State:
        """That of the network; the n-1 tokens read last, -1 where there are none; what is remembered of words."""
        read = torch.full((batch, self.order - 1), -1, device=self.device)
        contexts = torch.from_numpy(ContextFeatures.initial(batch)).to(self.device)
        return (*self.network.initial(batch), read, contexts)

    def is_valid_state(self, state: State) -> bool:
        """Whether the tokens are some, and the state of the network is one; words are hashed, to any numbers."""
        return in_range(state[-2], -1, self.task.size - 1) and self.network.is_valid_state(state[:-2])

    def features(
        self, inputs: Tensor, state: State, rng: Generator | None = None, rows: Rows | None = None
    ) -> tuple[Tensor, Evidence, State]:
        """Features of the network, what the experts know of each token (`ExpertSet.find`), and the next state.

        With `rows` it is of experts that have not counted the fold where the targets stand.
        """
        features, _, ended = self.network.features(inputs, state[:-2], rng, rows)
        evidence, memory = self._evidence(inputs, state[-2:], rows)
        return features, evidence, ended + memory

    def logits(self, features: Tensor, evidence: Evidence) -> Tensor:
        """W_q h + b_q + sum_k a_k log p_k, (B, T, V), exact but for a constant of each token."""
        own = (features.transpose(0, 1) @ self.output_weight.t() + self.output_bias).transpose(0, 1)
        return self.experts.add(own, self.expert_weights(features, evidence[-1]), evidence)

    def loss(
        self, inputs: Tensor, targets: Tensor, state: State, rng: Generator | None = None, rows: Rows | None = None
    ) -> tuple[Tensor, State]:
        """Nats of the targets (B, T), a scalar, and the next state: compiled experts need not keep the logits."""
        features, evidence, state = self.features(inputs, state, rng, rows)
        nats = self.experts.cross_entropy(
            features, self.output_weight, self.output_bias, self.expert_weights, evidence, targets
        )
        return nats, state

    @property
    def expert_weights(self) -> ExpertWeights:
        """The map to a, the weights of the experts."""
        return ExpertWeights(self.A, self.C, self.b_a)

    def token_sampler(self, sampling: Sampling, streams: int) -> TokenSampler | None:
        """Compiled code that samples with the experts, where both are compiled."""
        experts = self.experts.of_streams(self.expert_weights)
        return None if experts is None else self.network.corrected_sampler(sampling, streams, experts)

    @property
    def output_weight(self) -> Tensor:
        """That of the network."""
        return self.network.output_weight

    @property
    def output_bias(self) -> Tensor:
        """That of the network."""
        return self.network.output_bias

    def _evidence(self, inputs: Tensor, state: State, rows: Rows | None) -> tuple[Evidence, State]:
        """What the experts know of inputs (B, T), and the next memory."""
        experts, chosen = self.experts, None
        read, memory = (s.numpy(force=True) for s in state)
        tokens = inputs.numpy(force=True)
        if rows is not None and experts.has_folds:
            places = rows.starts[:, None] + np.arange(tokens.shape[1])
            chosen = experts.without(places - self._shift, rows.stops[:, None] - self._shift)
        found, memory = experts.find(tokens, read, memory, chosen)
        evidence = tuple(e.to(self.weight) if e.is_floating_point() else e for e in found)
        read = np.concatenate((read, tokens), 1)[:, tokens.shape[1] :]
        return evidence, (torch.from_numpy(read).to(self.device), torch.from_numpy(memory).to(self.device))

    def __getstate__(self) -> dict[str, Any]:
        """A copy counts its text again when it needs the experts; those of the folds serve training alone."""
        return {name: value for name, value in self.__dict__.items() if name != "_counted"}

    def settings(self) -> dict[str, Any]:
        """The arguments that build this model again; the weights and the text follow."""
        return super().settings() | {"text": len(self.text)}

    def resize(self, sizes: Mapping[str, object]) -> None:
        """Make room for the text that was counted."""
        tokens = sizes.get("text", 0)
        if type(tokens) is not int or not 0 <= tokens <= 2**40:
            raise ConfigError(f"text {tokens!r:.40} is not a number of tokens")
        self.text = torch.zeros(tokens, dtype=self.text.dtype)
        super().resize(sizes)

    def check_buffers(self, where: Path) -> None:
        """Refuse a text that holds tokens which the vocabulary does not."""
        if len(self.text) and not in_range(self.text, 0, self.task.size - 1):
            raise ModelError(f"{where}: the text of its n-gram experts has tokens that are not in the vocabulary")

    def operations(self) -> int:
        """Those of the network, and of weighting the experts."""
        return self.network.operations() + self.A.numel() + self.C.numel() + len(self.b_a) * self.task.size


def _stored_type(size: int) -> torch.dtype:
    """The smallest type that holds the ids of a vocabulary; older models of 257 to 4,096 tokens have 16 bits too."""
    return torch.uint8 if size <= 1 << 8 else torch.int16 if size <= 1 << 15 else torch.int32


def _find(text: npt.NDArray[np.integer], part: npt.NDArray[np.integer]) -> int:
    """Where `part` first stands in `text`, both of one dtype; -1: nowhere."""
    data, wanted, size = text.tobytes(), part.tobytes(), text.itemsize
    at = data.find(wanted)
    while at % size and at >= 0:  # between two tokens
        at = data.find(wanted, at + 1)
    return at // size if at >= 0 else -1


def _forget_experts(module: nn.Module, _keys: object) -> None:
    """Tensors were loaded: where the text is another one, it is counted when experts are needed."""
    assert isinstance(module, Hybrid)  # noqa: S101 - the hook is registered for it alone
    found = module.__dict__.get("_counted")
    if found is not None and not np.array_equal(found[1].ids, module._ids):
        module._forget()
