"""Recurrences compiled for this machine's processor: the C++ of `native/`, where the package was built with it.

One call runs a layer over the whole sequence, forward or back; the gradients of weights are large products at the end.
`native` computes in single precision, on the CPU, and equals `loop` to the same tolerance as every engine.
`native-bfloat16` rounds what enters a product (weights, states, outputs, their gradients) to bfloat16 and adds up in
single precision; the weights themselves stay in single precision, as with PyTorch's autocast.
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
from elman.engines.base import Engine, Sampler, Stack, Weights
from elman.engines.native_generate import NativeSampler
from elman.engines.sampling import Sampling
from elman.errors import ConfigError

CODES = {"elman": 0, "elman-relu": 1, "gru": 2, "lstm": 3}
FORCED = "ELMAN_INSTRUCTIONS"
"""The variable that names the one instruction set to use, for tests and for comparing them."""


def _module() -> ModuleType | None:
    try:
        from elman.engines import _native
    except ImportError:  # built without a compiler, and whole without it
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
"""Those with instructions for bfloat16; one that was forced goes through them step by step where it has none."""


def _compiled() -> ModuleType:
    """The compiled code, for those who know that it is there."""
    assert MODULE is not None  # noqa: S101 - the engines say that they support nothing without
    return MODULE


class Native(Engine):
    """The compiled Elman, GRU and LSTM."""

    name = "native"
    needs = "a CPU, and elman installed with a C++ compiler"
    bfloat16: ClassVar[bool] = False
    """Whether what enters a product is rounded."""

    @staticmethod
    def supports(cell: type[Cell], device: torch.device, dtype: torch.dtype) -> bool:
        """Four cells, on the CPU, in single precision, where the package was built with a compiler."""
        return bool(INSTRUCTIONS) and cell.name in CODES and device.type == "cpu" and dtype == torch.float32

    @classmethod
    def run(cls, cell: type[Cell], inputs: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
        """Outputs (B, T, H) and the last state."""
        return _run(cell, inputs, state, weights, bfloat16=cls.bfloat16)

    @classmethod
    def linear(cls, x: Tensor, W: Tensor, b: Tensor) -> Tensor:
        """W x + b of rows (N, I)."""
        return _linear(x, W, b, bfloat16=cls.bfloat16)

    @classmethod
    def linear_cross_entropy(cls, x: Tensor, W: Tensor, b: Tensor, targets: Tensor) -> Tensor:
        """Nats, a scalar, of the targets (N,) where W x + b are logits; a target below 0 costs nothing."""
        return _cost(x, W, b, targets, bfloat16=cls.bfloat16)

    @staticmethod
    def sampler(cell: type[Cell], stack: Stack, draw: Sampling, *, streams: int, unknown: bool) -> Sampler | None:
        """All of them in one call, in single precision: a step of few streams waits for weights, not for products."""
        return NativeSampler(
            _compiled(), INSTRUCTIONS[0], CODES[cell.name], stack, draw, streams=streams, unknown=unknown
        )


class NativeBfloat16(Native):
    """The same with products of bfloat16 numbers, added up in single precision."""

    name = "native-bfloat16"
    needs = f"a processor with AVX512_BF16, and a C++ compiler at installation; {FORCED}=plain goes without, slowly"
    bfloat16 = True

    @staticmethod
    def supports(cell: type[Cell], device: torch.device, dtype: torch.dtype) -> bool:
        """As `native`, where the processor has instructions for it."""
        return bool(BFLOAT16) and Native.supports(cell, device, dtype)


def _run(cell: type[Cell], inputs: Tensor, state: State, weights: Weights, *, bfloat16: bool) -> tuple[Tensor, State]:
    if weights.W_h.dtype != torch.float32:  # addresses have no type: this is the last place to see it
        raise ConfigError(f"the native engine computes in float32, not in {weights.W_h.dtype}: use another engine")
    steps = inputs.transpose(0, 1).contiguous()
    if inputs.is_floating_point():
        asks = _linear(steps.flatten(0, 1), weights.W_x, weights.b_x, bfloat16=bfloat16)
        ids, asks = None, asks.unflatten(0, steps.shape[:2])
    else:
        check_ids(steps, weights.W_x.shape[1])
        ids, asks = steps.long(), weights.W_x.t() + weights.b_x
    layer: Any = _Layer
    outputs, *last = layer.apply(CODES[cell.name], bfloat16, ids, asks, weights.W_h, weights.b_h, *state)
    return outputs.transpose(0, 1), tuple(last)


def check_ids(ids: Tensor, size: int, lowest: int = 0) -> None:
    """Addresses are computed from ids: none may lead out of its table."""
    if ids.numel():
        low, high = map(int, ids.aminmax())
        if low < lowest or high >= size:
            raise IndexError(f"token {low if low < lowest else high} is none of the vocabulary's {size}")


def call(
    code: int, tensors: Mapping[str, Tensor | None], *, T: int, B: int, H: int, back: bool, bfloat16: bool = False
) -> None:
    """Run the compiled code on contiguous tensors."""
    arguments = {name: t.data_ptr() for name, t in tensors.items() if t is not None}
    sizes = {"T": T, "B": B, "H": H, "threads": torch.get_num_threads(), "bfloat16": bfloat16}
    _compiled().run(INSTRUCTIONS[0], code, back, arguments | sizes)


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
    """`scale` A B, plus `bias` (N,) or what `into` (M, N) held; A (M, K) and B (K, N) in any layout."""
    C = A.new_empty(A.shape[0], B.shape[1]) if into is None else into
    _compiled().product(
        INSTRUCTIONS[0], *C.shape, A.shape[1], A.data_ptr(), *A.stride(), B.data_ptr(), *B.stride(), C.data_ptr(),
        C.stride(0), 0 if bias is None else bias.data_ptr(), scale, add, bfloat16, torch.get_num_threads(),
    )  # fmt: skip
    return C


class _Layer(Function):
    """A layer as PyTorch's autograd sees it; asks are (T, B, G*H), or a row for each of V tokens (V, G*H)."""

    @staticmethod
    def forward(
        ctx: Any, code: int, bfloat16: bool, ids: Tensor | None, asks: Tensor, W_h: Tensor, b_h: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        T, B = (asks if ids is None else ids).shape[:2]
        H = W_h.shape[1]
        read: dict[str, Tensor | None] = {
            "ids": ids,
            "asks": asks.contiguous(),
            "W_h": W_h.contiguous(),
            "b_h": b_h.contiguous(),
            **{name: s.contiguous() for name, s in zip(("h0", "c0"), state, strict=False)},
        }
        made = {"outputs": asks.new_empty(T, B, H)}
        if code >= CODES["gru"]:
            made["gates"] = asks.new_empty(T, B, 4 * (H + -H % 16))  # in whole vectors
        if code == CODES["lstm"]:
            made["cells"] = asks.new_empty(T, B, H)
        call(code, {**read, **made}, T=T, B=B, H=H, back=False, bfloat16=bfloat16)
        ctx.code, ctx.bfloat16, ctx.rows = code, bfloat16, len(asks)
        kept = [read["W_h"], read["h0"], made["outputs"], made.get("gates"), read.get("c0"), made.get("cells"), ids]
        ctx.save_for_backward(*kept)
        last = (made["outputs"][-1].clone(), *([made["cells"][-1].clone()] if "cells" in made else []))
        return made["outputs"], *last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, *d_last: Tensor) -> tuple[Tensor | None, ...]:
        W_h, h0, outputs, gates, c0, cells, ids = ctx.saved_tensors
        T, B, H = outputs.shape
        owed = outputs.new_empty(T, B, H * (1 if ctx.code < CODES["gru"] else 4))
        d_state = [torch.empty_like(h0) for _ in d_last]
        tensors = {
            "W_h": W_h, "h0": h0, "outputs": outputs, "gates": gates, "c0": c0, "cells": cells,
            "d_outputs": d_outputs.contiguous(), "d_asked": owed,
            **{name: d.contiguous() for name, d in zip(("d_h_last", "d_c_last"), d_last, strict=False)},
            **dict(zip(("d_h", "d_c"), d_state, strict=False)),
        }  # fmt: skip
        call(ctx.code, tensors, T=T, B=B, H=H, back=True, bfloat16=ctx.bfloat16)
        rows = owed.flatten(0, 1)
        past = rows[:, : W_h.shape[0]].t()
        d_W_h = product(past[:, :B], h0, bfloat16=ctx.bfloat16)
        product(past[:, B:], outputs[:-1].flatten(0, 1), d_W_h, add=True, bfloat16=ctx.bfloat16)
        # The candidate of a GRU asks the input for more than the past, which r holds back.
        asked = [rows] if ctx.code != CODES["gru"] else [rows[:, : 2 * H], rows[:, 3 * H :]]
        d_asks = torch.cat(asked, 1).view(T, B, -1) if ids is None else _by_token(asked, ids, ctx.rows)
        # What b_h is owed is what b_x is, but for that candidate; in two stages, which rounds less.
        d_b_h = d_asks.flatten(0, -2).sum(0) if ids is not None else asked[0].unflatten(0, (T, B)).sum(1).sum(0)
        if len(asked) > 1:
            d_b_h = torch.cat((d_b_h[: 2 * H], rows[:, 2 * H : 3 * H].unflatten(0, (T, B)).sum(1).sum(0)))
        return None, None, None, d_asks, d_W_h, d_b_h, *d_state


def _by_token(asked: list[Tensor], ids: Tensor, size: int) -> Tensor:
    """What was asked, blocks of columns of (T*B, G*H), added up by token, (V, G*H)."""
    d_table = asked[0].new_zeros(size, sum(block.shape[1] for block in asked))
    at = 0
    for block in asked:
        _compiled().scatter(
            INSTRUCTIONS[0], *block.shape, block.stride(0), ids.data_ptr(), block.data_ptr(), d_table.stride(0),
            d_table[:, at:].data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        at += block.shape[1]
    return d_table


def _linear(x: Tensor, W: Tensor, b: Tensor, *, bfloat16: bool) -> Tensor:
    linear: Any = _Linear
    mapped: Tensor = linear.apply(x, W, b, bfloat16)
    return mapped


class _Linear(Function):
    """W x + b of rows (N, I), and the gradients d W, d' x and the sum of d."""

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


def _cost(x: Tensor, W: Tensor, b: Tensor, targets: Tensor, *, bfloat16: bool) -> Tensor:
    check_ids(targets, len(W), lowest=IGNORE)
    linear_cross_entropy: Any = _Cost
    nats: Tensor = linear_cross_entropy.apply(x, W, b, targets.long().contiguous(), bfloat16)
    return nats


class _Cost(Function):
    """-log softmax(W x + b)[target], added up over rows; softmax - one-hot is made in the place of the logits."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor, targets: Tensor, bfloat16: bool) -> Tensor:
        logits, nats = product(x, W.t(), bias=b.contiguous(), bfloat16=bfloat16), x.new_empty(len(x))
        _compiled().cross_entropy(
            INSTRUCTIONS[0], *logits.shape, logits.data_ptr(), targets.data_ptr(), nats.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
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
