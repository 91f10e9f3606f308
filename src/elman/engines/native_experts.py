"""Counted experts in compiled code: their contexts, their weighted sum in the logits, and its gradient.

    logits_t + sum_k a_t,k log p_t,k          but for a constant of each place, which a softmax does not see

`native/experts.cpp` has the equations; `elman.models.ngram.experts` is the definition.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from elman.engines.base import ExpertWeights
from elman.engines.native import INSTRUCTIONS, MODULE, cross_entropy_, product

KINDS: Final = 5
"""Contexts that are no n-grams."""
LARGEST: Final = 1 << 16
"""The largest vocabulary: tokens are stored in 16 bits."""


class LevelArrays(NamedTuple):
    """The continuations of the contexts of one expert (`ExpertLevel` in native/experts.h).

    Args:
        contexts: where the continuations of each begin, and its backoff weight, (contexts + 1,) of `CONTEXT`.
        tokens: of each continuation, ascending within a context.
        found: what each adds, of `CONTINUATION`.
        hashes: of the contexts, sorted; None for n-grams.
    """

    contexts: npt.NDArray[np.void]
    tokens: npt.NDArray[np.uint16]
    found: npt.NDArray[np.void]
    hashes: npt.NDArray[np.int64] | None


CONTEXT: Final = np.dtype([("first", np.int32), ("backoff", np.float32)])
CONTINUATION: Final = np.dtype([("ratio", np.float32), ("gain", np.float32)])


class ContextTokens(NamedTuple):
    """What tells words and lines apart, by token.

    Args:
        letter: the number of the letter, (V,); 0: none.
        extending: whether it belongs to the letter before it, (V,).
        newline: the token that ends a line, or -1.
    """

    letter: npt.NDArray[np.int64]
    extending: npt.NDArray[np.uint8]
    newline: int

    @property
    def addresses(self) -> tuple[int, int, int]:
        """As the compiled code takes them."""
        return _address(self.letter), _address(self.extending), self.newline


class NativeTable:
    """Counted experts in flat memory.

    Args:
        log_unigram: log p(w), (V,).
        levels: those of n-grams, from bigrams on, then those of the other kinds; None: nothing was counted.
    """

    def __init__(self, log_unigram: npt.NDArray[np.float32], levels: Sequence[LevelArrays | None]) -> None:
        self.log_unigram, self.levels = log_unigram, tuple(levels)
        self.chain, self.experts = len(levels) - KINDS, len(levels)
        self._slots = [None if each is None or each.hashes is None else _slots(each.hashes) for each in levels]
        rows = [
            [0] * 6
            if level is None
            else [*map(_address, level), _address(slots), 0 if slots is None else len(slots) - 1]
            for level, slots in zip(self.levels, self._slots, strict=True)
        ]
        self.handle = _module().expert_table(len(log_unigram), self.chain, _address(log_unigram), rows)

    def contexts_after(self, of: "ContextTokens", read: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """The contexts of streams after the tokens that they read last.

        Args:
            of: what tells words and lines apart.
            read: (B, n-1); -1 where nothing was read.

        Returns:
            Ranks, (B, K); those of words and lines follow from their state when the next token is read.
        """
        nothing = np.full_like(read, -1), np.zeros((len(read), KINDS), np.int64)
        found, _, _ = find_contexts([self], of, read, *nothing)
        return np.ascontiguousarray(found[:, -1])

    @property
    def nbytes(self) -> int:
        """Its memory."""
        arrays = [self.log_unigram, *self._slots, *(array for level in self.levels for array in level or ())]
        return sum(array.nbytes for array in arrays if array is not None)


def find_contexts(
    tables: Sequence[NativeTable],
    of: ContextTokens,
    inputs: npt.NDArray[np.int64],
    read: npt.NDArray[np.int64],
    memory: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.int32] | None = None,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The contexts of every expert after each input.

    Args:
        tables: counted on different texts, of one vocabulary and order.
        of: what tells words and lines apart.
        inputs: token ids, (B, T); below 0 where there is none.
        read: the n-1 tokens before them, (B, n-1).
        memory: the state of words and lines, (B, 5).
        chosen: which table predicts after each input, (B, T); None: the first.

    Returns:
        Ranks of the contexts, (B, T, K), below 0 where there is none; their backoff weights, (B, T, K); the next state.
    """
    (rows, steps), experts = inputs.shape, tables[0].experts
    contexts = np.empty((steps, rows, experts), np.int32)
    backoff = np.empty((steps, rows, experts), np.float32)
    inputs, read = np.ascontiguousarray(inputs, np.int64), np.ascontiguousarray(read, np.int64)
    memory = np.array(memory, np.int64, order="C")
    picked = None if chosen is None else np.ascontiguousarray(chosen.T, np.int32)
    _module().find_contexts(
        [table.handle for table in tables], steps, rows, _address(picked), _address(contexts), torch.get_num_threads(),
        of.addresses, _address(inputs), _address(read), _address(memory), _address(backoff),
    )  # fmt: skip
    return contexts.transpose(1, 0, 2), backoff.transpose(1, 0, 2), memory


class ExpertSum:
    """The weighted log-probabilities of experts at some places.

    Args:
        tables: as of `find_contexts`.
        contexts: (N, K) int32.
        chosen: (N,) int32.
    """

    def __init__(self, tables: Sequence[NativeTable], contexts: Tensor, chosen: Tensor) -> None:
        self.tables, self.contexts, self.chosen = tables, contexts.contiguous(), chosen.contiguous()
        self._offsets = torch.empty(len(chosen) + 1, dtype=torch.int64)
        _module().count_word_gains(*self._places, self._offsets.data_ptr())
        self._gains = torch.empty(int(self._offsets[-1]))

    @property
    def _places(self) -> tuple[Any, ...]:
        handles = [table.handle for table in self.tables]
        return handles, len(self.chosen), self.chosen.data_ptr(), self.contexts.data_ptr()

    def _call(self, function: Any, first: Tensor, second: Tensor, stride: int) -> None:
        function(
            *self._places, torch.get_num_threads(), first.data_ptr(), second.data_ptr(), stride,
            self._offsets.data_ptr(), self._gains.data_ptr(),
        )  # fmt: skip

    def add_(self, rows: Tensor) -> None:
        """Add the sum to the logits in rows (N, V + K), contiguous: V logits, and the K weights after them."""
        size = rows.shape[1] - self.tables[0].experts
        self._call(_module().add_experts, rows[:, size:], rows, rows.shape[1])

    def gradients_(self, d: Tensor) -> None:
        """Write the gradients of the weights after those of the logits, (N, V + K), which sum to 0; after `add_`."""
        size = d.shape[1] - self.tables[0].experts
        self._call(_module().expert_gradients, d, d[:, size:], d.shape[1])


def add_experts(logits: Tensor, weights: Tensor, experts: ExpertSum) -> Tensor:
    """Logits with the weighted log-probabilities of experts, but for a constant of each place.

    Args:
        logits: (N, V).
        weights: (N, K).
        experts: at the same places.
    """
    function: Any = _AddExperts
    found: Tensor = function.apply(logits, weights, experts)
    return found


class _AddExperts(Function):
    """logits + sum_k a_k log p_k."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, weights: Tensor, experts: ExpertSum) -> Tensor:
        ctx.experts = experts
        rows = torch.cat((logits, weights), 1)
        experts.add_(rows)
        return rows[:, : logits.shape[1]]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
        rows = torch.cat((d, d.new_empty(len(d), ctx.experts.tables[0].experts)), 1)
        ctx.experts.gradients_(rows)
        return d, rows[:, d.shape[1] :], None


def expert_cross_entropy(
    x: Tensor, W: Tensor, b: Tensor, weights: ExpertWeights, backoff: Tensor, targets: Tensor, experts: ExpertSum
) -> Tensor:
    """The sum of -log softmax(W x + b + sum_k a_k log p_k)[target]; the logits are not kept.

    Args:
        x: (N, H).
        W: (V, H).
        b: (V,).
        weights: the map to a.
        backoff: r, (N, K).
        targets: (N,); below 0 costs nothing.
        experts: at the same N places.
    """
    function: Any = _ExpertCrossEntropy
    nats: Tensor = function.apply(x, W, b, *weights, backoff, targets.long().contiguous(), experts)
    return nats


class _ExpertCrossEntropy(Function):
    """As `linear_cross_entropy`: the gradient, softmax - one-hot, is written over the logits."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, W: Tensor, b: Tensor, A: Tensor, C: Tensor, b_a: Tensor, backoff: Tensor, targets: Tensor,
        experts: ExpertSum,
    ) -> Tensor:  # fmt: skip
        size, both = len(W), torch.cat((W, A))
        rows = product(x, both.t(), bias=torch.cat((b, b_a)))
        product(backoff, C.t(), rows[:, size:], add=True)
        experts.add_(rows)
        nats = cross_entropy_(rows[:, :size], targets)
        ctx.save_for_backward(x, both, backoff, rows)
        ctx.experts, ctx.size = experts, size
        return nats.sum(dtype=torch.float64).float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_nats: Tensor) -> tuple[Tensor | None, ...]:
        x, both, backoff, d = ctx.saved_tensors
        scale, size = float(d_nats), ctx.size
        ctx.experts.gradients_(d)
        d_x = product(d, both, scale=scale) if ctx.needs_input_grad[0] else None
        d_both, d_b = product(d.t(), x, scale=scale), d.sum(0).mul_(scale)
        d_C = product(d[:, size:].t(), backoff, scale=scale)
        return d_x, d_both[:size], d_b[:size], d_both[size:], d_C, d_b[size:], None, None, None


def _slots(hashes: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Open addressing of sorted hashes, at most half full."""
    size = 1 << max(4, (2 * len(hashes)).bit_length())
    slots = np.zeros(size, np.int32)
    _module().fill_slots(len(hashes), _address(hashes), size - 1, _address(slots))
    return slots


def _address(array: npt.NDArray[Any] | None) -> int:
    """Where a contiguous array lies; 0: none."""
    return 0 if array is None else array.ctypes.data


def _module() -> Any:
    assert MODULE is not None  # noqa: S101 - nothing here is called without it
    return MODULE


def is_compiled() -> bool:
    """Whether the package was installed with a compiler."""
    return bool(INSTRUCTIONS)
