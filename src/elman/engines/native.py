"""The compiled engine: C++ kernels for the instruction set of this processor (`native/`), if they were built.

One call runs a layer over the whole sequence, forward or backward; the gradients of the weights are large matrix
products at the end. `native` computes in float32 on the CPU and equals `loop` to the same tolerance as every engine.
`native-bfloat16` rounds the operands of products (weights, states, outputs, their gradients) to bfloat16 and
accumulates in float32; the weights themselves stay in float32, as with PyTorch's autocast.
"""

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from elman.cells import Cell, State
from elman.data.batches import IGNORE
from elman.engines.base import Engine, Stack, TokenSampler, Weights
from elman.engines.native_generate import NativeTokenSampler
from elman.engines.sampling import Sampling
from elman.errors import ConfigError

CODES = {"elman": 0, "elman-relu": 1, "gru": 2, "lstm": 3}
FORCED = "ELMAN_INSTRUCTIONS"
"""The environment variable that forces one instruction set, for tests and for comparing them."""


def _module() -> ModuleType | None:
    try:
        from elman.engines import _native
    except ImportError:  # installed without a compiler: the other engines do all
        return None
    module: ModuleType = _native
    return module


def _instructions(forced: str) -> list[str]:
    usable: list[str] = [] if MODULE is None else MODULE.instruction_sets()
    if not forced:
        return usable
    if forced not in usable:
        raise ConfigError(f"{FORCED}={forced}: this processor and this build have {', '.join(usable) or 'none'}")
    return [forced]


MODULE = _module()
INSTRUCTIONS: list[str] = _instructions(os.environ.get(FORCED, ""))
"""The instruction sets that the engine was built for and this processor has, the fastest first; the first is used."""
BFLOAT16: list[str] = [name for name in INSTRUCTIONS if name == "avx512bf16" or FORCED in os.environ]
"""Those with bfloat16 instructions; a forced one without them emulates them."""


def _compiled() -> ModuleType:
    """The compiled module; called only where `supports` is true, and so where the module exists."""
    assert MODULE is not None  # noqa: S101 - `supports` is false without it
    return MODULE


class Native(Engine):
    """The compiled Elman, GRU and LSTM layers, in float32."""

    name = "native"
    needs = "a CPU, and elman installed with a C++ compiler"
    bfloat16: ClassVar[bool] = False
    """Whether the operands of products are rounded to bfloat16."""

    @staticmethod
    def supports(cell: type[Cell], device: torch.device, dtype: torch.dtype) -> bool:
        """Four cells, on the CPU, in float32, where the package was built with a compiler."""
        return bool(INSTRUCTIONS) and cell.name in CODES and device.type == "cpu" and dtype == torch.float32

    @staticmethod
    def priority(cell: type[Cell], *, one_hot: int, hidden: int) -> int | None:  # noqa: ARG004 - of any
        """Measured on CPUs: faster than every other engine."""
        return 30

    @classmethod
    def run(cls, cell: type[Cell], inputs: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
        """One call of the compiled code for the whole window."""
        return _run(cell, inputs, state, weights, bfloat16=cls.bfloat16)

    @classmethod
    def linear(cls, x: Tensor, W: Tensor, b: Tensor) -> Tensor:
        """The output map by the compiled matrix product."""
        return _linear(x, W, b, bfloat16=cls.bfloat16)

    @classmethod
    def linear_cross_entropy(cls, x: Tensor, W: Tensor, b: Tensor, targets: Tensor) -> Tensor:
        """The output map and the cross-entropy, whose gradient is written over the logits; a target below 0 adds 0."""
        return _linear_cross_entropy(x, W, b, targets, bfloat16=cls.bfloat16)

    @staticmethod
    def token_sampler(
        cell: type[Cell], stack: Stack, sampling: Sampling, *, streams: int, unknown: bool
    ) -> TokenSampler | None:
        """All streams in one call, in float32: few streams are bound by memory, which bfloat16 operands do not help."""
        return NativeTokenSampler(
            _compiled(), INSTRUCTIONS[0], CODES[cell.name], stack, sampling, streams=streams, unknown=unknown
        )


class NativeBfloat16(Native):
    """The same with bfloat16 operands of products, accumulated in float32."""

    name = "native-bfloat16"
    needs = f"a processor with AVX512_BF16, and a C++ compiler at installation; {FORCED}=plain goes without, slowly"
    bfloat16 = True

    @staticmethod
    def supports(cell: type[Cell], device: torch.device, dtype: torch.dtype) -> bool:
        """As `native`, where the processor has bfloat16 instructions."""
        return bool(BFLOAT16) and Native.supports(cell, device, dtype)

    @staticmethod
    def priority(cell: type[Cell], *, one_hot: int, hidden: int) -> int | None:  # noqa: ARG004 - of any
        """By its name only: it rounds more than `loop`."""
        return None


def _run(cell: type[Cell], inputs: Tensor, state: State, weights: Weights, *, bfloat16: bool) -> tuple[Tensor, State]:
    if weights.W_h.dtype != torch.float32:  # the compiled code gets addresses without a type
        raise ConfigError(f"the native engine computes in float32, not in {weights.W_h.dtype}: use another engine")
    steps = inputs.transpose(0, 1).contiguous()
    if inputs.is_floating_point():
        rows = _linear(steps.flatten(0, 1), weights.W_x, weights.b_x, bfloat16=bfloat16)
        ids, projected = None, rows.unflatten(0, steps.shape[:2])
    else:
        check_ids(steps, weights.W_x.shape[1])
        ids, projected = steps.long(), weights.W_x.t() + weights.b_x
    layer: Any = _Layer
    outputs, *last = layer.apply(CODES[cell.name], bfloat16, ids, projected, weights.W_h, weights.b_h, *state)
    return outputs.transpose(0, 1), tuple(last)


def check_ids(ids: Tensor, size: int, lowest: int = 0) -> None:
    """Check token ids before they are used as row numbers in compiled code, which checks nothing.

    Args:
        ids: token ids of any shape.
        size: V, the rows of the table.
        lowest: the least id that is allowed.

    Raises:
        IndexError: an id below `lowest`, or V or more.
    """
    if ids.numel():
        low, high = map(int, ids.aminmax())
        if low < lowest or high >= size:
            raise IndexError(f"token {low if low < lowest else high} is not in the vocabulary of {size} tokens")


def _run_layer(
    code: int, tensors: Mapping[str, Tensor | None], *, T: int, B: int, H: int, back: bool, bfloat16: bool = False
) -> None:
    """Run the compiled layer, forward or backward, on contiguous tensors by name (`LayerCall` in native/kernels.h)."""
    arguments = {name: t.data_ptr() for name, t in tensors.items() if t is not None}
    sizes = {"T": T, "B": B, "H": H, "threads": torch.get_num_threads(), "bfloat16": bfloat16}
    _compiled().run_layer(INSTRUCTIONS[0], code, back, arguments | sizes)


def product(
    A: Tensor,
    B: Tensor,
    into: Tensor | None = None,
    *,
    bias: Tensor | None = None,
    scale: float = 1.0,
    add: bool = False,
    bfloat16: bool = False,
) -> Tensor:
    """The compiled matrix product, scale * A B + bias.

    Args:
        A: (M, K), float32 on the CPU, of any strides.
        B: (K, N), likewise.
        into: (M, N) memory for the result, contiguous along its rows; None allocates it.
        bias: (N,) to add to every row.
        scale: a factor of the product.
        add: add to what `into` holds, instead of the bias.
        bfloat16: round A and B to bfloat16 first.

    Returns:
        The product, (M, N).
    """
    C = A.new_empty(A.shape[0], B.shape[1]) if into is None else into
    _compiled().product(
        INSTRUCTIONS[0], *C.shape, A.shape[1], A.data_ptr(), *A.stride(), B.data_ptr(), *B.stride(), C.data_ptr(),
        C.stride(0), 0 if bias is None else bias.data_ptr(), scale, add, bfloat16, torch.get_num_threads(),
    )  # fmt: skip
    return C


class _Layer(Function):
    """One layer as an autograd function; the input projection is (T, B, G*H), or with ids a row per token, (V, G*H)."""

    @staticmethod
    def forward(
        ctx: Any,
        code: int,
        bfloat16: bool,
        ids: Tensor | None,
        projected: Tensor,
        W_h: Tensor,
        b_h: Tensor,
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        T, B = (projected if ids is None else ids).shape[:2]
        H = W_h.shape[1]
        given: dict[str, Tensor | None] = {
            "ids": ids,
            "projected": projected.contiguous(),
            "W_h": W_h.contiguous(),
            "b_h": b_h.contiguous(),
            **{name: s.contiguous() for name, s in zip(("h0", "c0"), state, strict=False)},
        }
        results = {"outputs": projected.new_empty(T, B, H)}
        if code >= CODES["gru"]:
            results["gates"] = projected.new_empty(T, B, 4 * (H + -H % 16))  # in whole vectors
        if code == CODES["lstm"]:
            results["cells"] = projected.new_empty(T, B, H)
        _run_layer(code, {**given, **results}, T=T, B=B, H=H, back=False, bfloat16=bfloat16)
        ctx.code, ctx.bfloat16, ctx.rows = code, bfloat16, len(projected)
        outputs, cells = results["outputs"], results.get("cells")
        ctx.save_for_backward(given["W_h"], given["h0"], outputs, results.get("gates"), given.get("c0"), cells, ids)
        last = (outputs[-1].clone(), *([] if cells is None else [cells[-1].clone()]))
        return outputs, *last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, *d_last: Tensor) -> tuple[Tensor | None, ...]:
        W_h, h0, outputs, gates, c0, cells, ids = ctx.saved_tensors
        T, B, H = outputs.shape
        d_preact = outputs.new_empty(T, B, H * (1 if ctx.code < CODES["gru"] else 4))
        d_state = [torch.empty_like(h0) for _ in d_last]
        tensors = {
            "W_h": W_h, "h0": h0, "outputs": outputs, "gates": gates, "c0": c0, "cells": cells,
            "d_outputs": d_outputs.contiguous(), "d_preact": d_preact,
            **{name: d.contiguous() for name, d in zip(("d_h_last", "d_c_last"), d_last, strict=False)},
            **dict(zip(("d_h", "d_c"), d_state, strict=False)),
        }  # fmt: skip
        _run_layer(ctx.code, tensors, T=T, B=B, H=H, back=True, bfloat16=ctx.bfloat16)
        rows = d_preact.flatten(0, 1)
        d_u = rows[:, : W_h.shape[0]].t()
        d_W_h = product(d_u[:, :B], h0, bfloat16=ctx.bfloat16)
        product(d_u[:, B:], outputs[:-1].flatten(0, 1), d_W_h, add=True, bfloat16=ctx.bfloat16)
        # d_x is d_u but for a GRU's candidate, n = tanh(x_n + r u_n), whose two gradients differ by r.
        blocks = [rows] if ctx.code != CODES["gru"] else [rows[:, : 2 * H], rows[:, 3 * H :]]
        d_projected = torch.cat(blocks, 1).view(T, B, -1) if ids is None else _by_token(blocks, ids, ctx.rows)
        # b_h has the gradient of b_x, but for that candidate; summed in two stages, which rounds less.
        d_b_h = d_projected.flatten(0, -2).sum(0) if ids is not None else blocks[0].unflatten(0, (T, B)).sum(1).sum(0)
        if len(blocks) > 1:
            d_b_h = torch.cat((d_b_h[: 2 * H], rows[:, 2 * H : 3 * H].unflatten(0, (T, B)).sum(1).sum(0)))
        return None, None, None, d_projected, d_W_h, d_b_h, *d_state


def _by_token(blocks: list[Tensor], ids: Tensor, size: int) -> Tensor:
    """Scatter-add blocks of columns of (T*B, G*H) by token id: (V, G*H)."""
    d_table = blocks[0].new_zeros(size, sum(block.shape[1] for block in blocks))
    at = 0
    for block in blocks:
        _compiled().scatter(
            INSTRUCTIONS[0], *block.shape, block.stride(0), ids.data_ptr(), block.data_ptr(), d_table.stride(0),
            d_table[:, at:].data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        at += block.shape[1]
    return d_table


def _linear(x: Tensor, W: Tensor, b: Tensor, *, bfloat16: bool) -> Tensor:
    function: Any = _Linear
    logits: Tensor = function.apply(x, W, b, bfloat16)
    return logits


class _Linear(Function):
    """W x + b of rows (N, I). With d the gradient of the result, those of x, W and b are d W, d' x and the sum of d."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor, bfloat16: bool) -> Tensor:
        ctx.save_for_backward(x, W)
        ctx.bfloat16 = bfloat16
        return product(x, W.t(), bias=b.contiguous(), bfloat16=bfloat16)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
        x, W = ctx.saved_tensors
        d_x = product(d, W, bfloat16=ctx.bfloat16) if ctx.needs_input_grad[0] else None
        return d_x, product(d.t(), x, bfloat16=ctx.bfloat16), d.sum(0), None


def cross_entropy_(logits: Tensor, targets: Tensor) -> Tensor:
    """-log softmax(logits)[target] of every row, (N,); its gradient, softmax - one-hot, is written over the logits.

    Args:
        logits: (N, V), float32 on the CPU, contiguous along its rows.
        targets: (N,) int64; below 0 costs nothing, and has the gradient 0.
    """
    check_ids(targets, logits.shape[1], lowest=IGNORE)
    nats = logits.new_empty(len(logits))
    _compiled().cross_entropy(
        INSTRUCTIONS[0], *logits.shape, logits.stride(0), logits.data_ptr(), targets.data_ptr(), nats.data_ptr(),
        torch.get_num_threads(),
    )  # fmt: skip
    return nats


def _linear_cross_entropy(x: Tensor, W: Tensor, b: Tensor, targets: Tensor, *, bfloat16: bool) -> Tensor:
    function: Any = _LinearCrossEntropy
    nats: Tensor = function.apply(x, W, b, targets.long().contiguous(), bfloat16)
    return nats


class _LinearCrossEntropy(Function):
    """The sum of -log softmax(W x + b)[target]; its gradient, softmax - one-hot, is written over the logits."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor, targets: Tensor, bfloat16: bool) -> Tensor:
        logits = product(x, W.t(), bias=b.contiguous(), bfloat16=bfloat16)
        nats = cross_entropy_(logits, targets)
        ctx.save_for_backward(x, W, logits)
        ctx.bfloat16 = bfloat16
        return nats.sum(dtype=torch.float64).float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_nats: Tensor) -> tuple[Tensor | None, ...]:
        x, W, d = ctx.saved_tensors
        scale = float(d_nats)
        d_x = product(d, W, scale=scale, bfloat16=ctx.bfloat16) if ctx.needs_input_grad[0] else None
        return d_x, product(d.t(), x, scale=scale, bfloat16=ctx.bfloat16), d.sum(0).mul_(scale), None, None
