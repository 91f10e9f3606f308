"""A recurrent network that weighs counted experts and corrects them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Generator, Tensor, nn

from elman.cells import State
from elman.data.batches import Ids, Rows
from elman.errors import ConfigError
from elman.models.base import Network, Step, in_range, step_by_reading
from elman.models.ngram.experts import HIGHEST, LARGEST, SHARE, ContextFeatures, Experts, Folds, fold_count
from elman.models.recurrent import Recurrent
from elman.models.task import TextTask

RECOUNT, GROWN = 128, 2000


@dataclass(frozen=True, eq=False)
class _Evidence:
    """What the experts say: log-probabilities (B, T, K, V), and what each leaves to a more general one (B, T, K)."""

    log_p: Tensor
    rest: Tensor


class Hybrid(Recurrent):
    """A recurrent network and counted experts, in one output (Neubig and Dyer 2016; mixed as by Mahoney 2005).

        h_t       = what the last layer of the network says
        a_t       = A h_t + C r_t + b_a                        one weight an expert, (K,)
        logits_t  = W_q h_t + b_q + sum_k a_t,k log p_t,k

    p_t,k is what expert k says after the tokens so far, r_t,k what it leaves to a more general one
    (`elman.models.ngram.experts`). Weights of experts may be negative. It starts as the n-gram itself: W_q, A, C and
    b_q are 0, and a is 1 for the longest n-gram.

    The experts are counted on the text that `prepare` was given, which is saved with the weights. While it
    trains, each of eight stretches is read by experts that were counted on the other seven.

    Args:
        task: the symbols to read and predict, at most 4,096.
        experts: n, the tokens of the longest n-grams, 2 to 16.
        **settings: those of `elman.Recurrent`.

    Raises:
        ConfigError: as `Recurrent`; or a larger vocabulary, a tied output, other experts.

    Example:
        >>> import elman
        >>> task = elman.TextTask(elman.Vocab.chars("abracadabra"))
        >>> model = Hybrid(task, experts=3, hidden=8)
        >>> model.prepare(task.vocab.encode("abracadabra" * 9))
        >>> logits, _ = model(torch.tensor([[1, 2, 3]]), model.initial(1))
        >>> tuple(logits.shape)
        (1, 3, 6)
    """

    kind: ClassVar[str] = "hybrid"
    dynamic_lr: ClassVar[float] = 0.0
    has_counts: ClassVar[bool] = True
    text: Tensor

    def __init__(self, task: TextTask, *, experts: int = 8, text: int = 0, **settings: Any) -> None:
        if task.size > LARGEST:
            raise ConfigError(
                f"experts give each of {task.size:,} tokens a probability at every step, which is slow over "
                f"{LARGEST}: use --experts 0, or --level byte"
            )
        if not 2 <= experts <= HIGHEST or settings.get("tied"):
            tied = settings.get("tied", False)
            raise ConfigError(f"experts {experts}, tied {tied}: give 2 to {HIGHEST}, and do not tie")
        super().__init__(task, **settings)
        number = Experts.number(experts)
        self.order = experts
        self.A = nn.Parameter(torch.zeros(number, self.widths[-1]))
        self.C = nn.Parameter(torch.zeros(number, number))
        self.b_a = nn.Parameter(torch.zeros(number))
        self.register_buffer("text", torch.zeros(text, dtype=torch.uint8 if task.size <= 256 else torch.int16))
        self._folds: Folds | None = None
        if settings.get("seed", 0) is not None:
            with torch.no_grad():
                self.head.zero_()
                self.b_a[experts - 2] = 1.0

    @cached_property
    def features(self) -> ContextFeatures:
        """Words and lines of this vocabulary."""
        return ContextFeatures(self.task.vocab)

    @cached_property
    def experts(self) -> Experts:
        """Those of the whole text."""
        return Experts(self.task.vocab, [self._ids], self.order)

    @property
    def _ids(self) -> Ids:
        return self.text.numpy(force=True).astype(self.task.vocab.dtype)

    @property
    def name(self) -> str:
        """The cell and the n-gram."""
        return f"{super().name} + {self.order}-gram"

    def prepare(self, ids: Ids) -> None:
        """Count the training text, and each stretch's complement.

        Raises:
            ConfigError: the counts would need too much memory.
        """
        number = self.folds(len(ids))
        fresh = torch.from_numpy(np.asarray(ids).astype(np.uint8 if self.task.size <= 256 else np.int16))
        self.text = fresh.to(self.text.device)
        self.__dict__.pop("experts", None)
        self._folds = Folds(self.task.vocab, self._ids, self.order, number)

    @property
    def recount_interval(self) -> int:
        """128 tokens, or 1/2,000 of the text that is counted: counting anew takes as long as that text."""
        return max(RECOUNT, len(self.text) // GROWN)

    def update_counts(self, ids: Ids) -> None:
        """Count more text; no longer for training, since the stretches stay as they were."""
        more = torch.from_numpy(np.asarray(ids).astype(np.int64)).to(self.text)
        self.text = torch.cat((self.text, more))
        self.__dict__.pop("experts", None)

    def folds(self, tokens: int) -> int:
        """Into how many stretches a text of so many tokens is cut: eight, or as many as memory holds.

        Raises:
            ConfigError: memory holds no two.
        """
        number = fold_count(tokens, self.order)
        if number < 2:
            raise ConfigError(
                f"counting {tokens:,} tokens for experts may take more than 1/{SHARE} of this machine's memory: "
                "--limit the text, or use --experts 0"
            )
        return number

    def initial(self, batch: int) -> State:
        """That of the network; the n-1 tokens read last, -1 where there are none; what is remembered of words."""
        read = torch.full((batch, self.order - 1), -1, device=self.device)
        features = torch.from_numpy(ContextFeatures.initial(batch)).to(self.device)
        return (*super().initial(batch), read, features)

    def is_valid_state(self, state: State) -> bool:
        """Whether the tokens are some; words are hashed, to any numbers."""
        return in_range(state[-2], -1, self.task.size - 1)

    def forward(self, inputs: Tensor, state: State, rng: Generator | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, V) for the token after each of inputs (B, T), and the state after the last."""
        return self.training_logits(inputs, state, rng)

    loss = Network.loss  # of the logits: no engine knows the experts

    def training_logits(
        self, inputs: Tensor, state: State, rng: Generator | None = None, rows: Rows | None = None
    ) -> tuple[Tensor, State]:
        """What a call gives; with `rows`, by experts that have not seen the stretch where the targets stand."""
        x, ended = self._outputs(self.engine, inputs, state[:-2], rng)
        said, memory_after = self._evidence(inputs, state[-2:], rows)
        h = x.transpose(0, 1)
        weights = h @ self.A.t() + said.rest @ self.C.t() + self.b_a
        logits = h @ self.head.t() + self.b_q + (weights[..., None, :] @ said.log_p).squeeze(-2)
        return logits, ended + memory_after

    def _evidence(self, inputs: Tensor, state: State, rows: Rows | None) -> tuple[_Evidence, State]:
        """What the experts say of inputs (B, T), and what they remember then."""
        before, features = (s.numpy(force=True) for s in state)
        keys, features = self.features.extract(inputs.numpy(force=True), features)
        read = np.concatenate((before, inputs.numpy(force=True)), 1)
        if rows is None or self._folds is None:
            found = self.experts.after(read, keys)
        else:
            found = self._folds.after(read, keys, rows.starts[:, None] + np.arange(inputs.shape[1]))
        log_p, rest = (torch.from_numpy(f).to(self.b_q) for f in found)
        after = (torch.from_numpy(a).to(self.device) for a in (read[:, inputs.shape[1] :], features))
        return _Evidence(log_p, rest), tuple(after)

    def __getstate__(self) -> dict[str, Any]:
        """A copy counts its text again when it needs the experts, and those of the stretches serve training alone."""
        return {name: value for name, value in self.__dict__.items() if name != "experts"} | {"_folds": None}

    def stepper(self) -> Step:
        """The same one token at a time."""
        return step_by_reading(self)

    sampler = Network.sampler  # the experts are counted in Python

    def settings(self) -> dict[str, Any]:
        """The arguments that build this model again; the weights and the text follow."""
        return super().settings() | {"experts": self.order, "text": len(self.text)}

    def operations(self) -> int:
        """Those of the network, and of weighing the experts."""
        return super().operations() + self.A.numel() + self.C.numel() + len(self.b_a) * self.task.size
