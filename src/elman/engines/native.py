"""Recurrences compiled for this machine's processor: the C++ of `native/`, where the package was built with it.

One call runs a layer over the whole sequence, forward or back; the gradient of W_h is one large product at the end. It
computes in single precision, on the CPU, and equals `loop` to the same tolerance as every engine.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from elman.cells import Cell, State
from elman.drawing import Draw
from elman.engines.base import Engine, Stack, Weights, Write
from elman.engines.native_writer import Writer
from elman.errors import ConfigError

SMALL = 48  # units, below which a product of weights' gradients is not cut into blocks that round less
CODES = {"elman": 0, "elman-relu": 1, "gru": 2, "lstm": 3}


def _module() -> ModuleType | None:
    try:
        from elman import _native
    except ImportError:  # built without a compiler, and whole without it
        return None
    module: ModuleType = _native
    return module


MODULE = _module()
INSTRUCTIONS: list[str] = [] if MODULE is None else MODULE.instruction_sets()
"""The instruction sets that the engine was built for and this processor has, the fastest first; the first is used."""


class Native(Engine):
    """The compiled Elman, GRU and LSTM."""

    name = "native"

    @staticmethod
    def supports(cell: type[Cell], device: torch.device, dtype: torch.dtype) -> bool:
        """Four cells, on the CPU, in single precision, where the package was built with a compiler."""
        return bool(INSTRUCTIONS) and cell.name in CODES and device.type == "cpu" and dtype == torch.float32

    @staticmethod
    def run(cell: type[Cell], inputs: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
        """Outputs (B, T, H) and the last state."""
        if weights.W_h.dtype != torch.float32:  # addresses have no type: this is the last place to see it
            raise ConfigError(f"the native engine computes in float32, not in {weights.W_h.dtype}: use another engine")
        steps = inputs.transpose(0, 1).contiguous()
        if inputs.is_floating_point():
            ids, asks = None, torch.nn.functional.linear(steps, weights.W_x, weights.b_x)
        else:
            ids, asks = steps, weights.W_x.t() + weights.b_x
        layer: Any = _Layer
        outputs, *last = layer.apply(CODES[cell.name], ids, asks, weights.W_h, weights.b_h, *state)
        return outputs.transpose(0, 1), tuple(last)

    @staticmethod
    def writer(cell: type[Cell], stack: Stack, draw: Draw, *, streams: int, unknown: bool) -> Write | None:
        """All of them in one call."""
        assert MODULE is not None  # noqa: S101 - it says that it supports nothing without
        return Writer(MODULE, INSTRUCTIONS[0], CODES[cell.name], stack, draw, streams=streams, unknown=unknown)


def call(code: int, tensors: Mapping[str, Tensor | None], *, T: int, B: int, H: int, back: bool) -> None:
    """Run the compiled code on contiguous tensors."""
    assert MODULE is not None  # noqa: S101 - it says that it supports nothing without
    arguments = {name: t.data_ptr() for name, t in tensors.items() if t is not None}
    sizes = {"T": T, "B": B, "H": H, "threads": torch.get_num_threads()}
    MODULE.run(INSTRUCTIONS[0], code, back, arguments | sizes)


class _Layer(Function):
    """A layer as PyTorch's autograd sees it; asks are (T, B, G*H), or a row for each of V tokens (V, G*H)."""

    @staticmethod
    def forward(
        ctx: Any, code: int, ids: Tensor | None, asks: Tensor, W_h: Tensor, b_h: Tensor, *state: Tensor
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
            made["gates"] = asks.new_empty(T, B, 4 * H)
        if code == CODES["lstm"]:
            made["cells"] = asks.new_empty(T, B, H)
        call(code, {**read, **made}, T=T, B=B, H=H, back=False)
        ctx.code, ctx.rows = code, len(asks)
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
        call(ctx.code, tensors, T=T, B=B, H=H, back=True)
        rows = owed.flatten(0, 1)
        gated = W_h.shape[0]
        past, asked = rows[:, :gated], rows
        if ctx.code == CODES["gru"]:  # the candidate asks the input for more than the past, which r holds back
            asked = torch.cat((rows[:, : 2 * H], rows[:, 3 * H :]), 1)
        earlier = torch.cat((h0[None], outputs[:-1])).flatten(0, 1)
        d_asks = asked.view(T, B, -1) if ids is None else _by_token(asked, ids, ctx.rows)
        d_b_h = past.unflatten(0, (T, B)).sum(1).sum(0)  # in two stages, which rounds less
        return None, None, d_asks, _product(past, earlier), d_b_h, *d_state


def _product(a: Tensor, b: Tensor) -> Tensor:
    """The product a' b over many rows; a small one in double precision, since it is summed up row by row."""
    if b.shape[1] < SMALL:
        return (a.double().t() @ b.double()).float()
    return a.t() @ b


def _by_token(asked: Tensor, ids: Tensor, size: int) -> Tensor:
    """What was asked, (T*B, G*H), added up by token, (V, G*H)."""
    assert MODULE is not None  # noqa: S101 - it says that it supports nothing without
    d_table = asked.new_zeros(size, asked.shape[1])
    columns, threads = asked.shape[1], torch.get_num_threads()
    MODULE.scatter(
        INSTRUCTIONS[0], len(asked), columns, asked.stride(0), ids.data_ptr(), asked.data_ptr(), columns,
        d_table.data_ptr(), threads,
    )  # fmt: skip
    return d_table
