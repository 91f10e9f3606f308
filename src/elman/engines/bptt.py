"""Back-propagation through time written out: the gradients by hand, in whole-sequence products.

The forward loop keeps the gates; the backward loop carries only what one step owes the step before it. All
that needs no loop (the derivatives of the gates, the gradient of W_h) is computed for all steps at once, which
is where the speed over `loop` comes from (Werbos 1990, "Backpropagation through time").

Everything is time-major here: (T, B, ...). a_t = x_t + u_t is what the gates are asked, d<name> the gradient.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from elman.cells import Cell, State
from elman.engines.base import Engine, Weights, input_projection


class Bptt(Engine):
    """The hand-written gradients of the Elman, GRU and LSTM cells."""

    name = "bptt"

    @staticmethod
    def supports(cell: type[Cell], device: torch.device, dtype: torch.dtype) -> bool:
        """Four cells, on the CPU, in single and double precision."""
        return cell.name in _FUNCTIONS and device.type == "cpu" and dtype in (torch.float32, torch.float64)

    @staticmethod
    def run(cell: type[Cell], inputs: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
        """Outputs (B, T, H) and the last state."""
        outputs, *last = _FUNCTIONS[cell.name].apply(
            input_projection(inputs, weights), weights.W_h, weights.b_h, *state
        )
        return outputs.transpose(0, 1), tuple(last)


def _earlier(h0: Tensor, outputs: Tensor) -> Tensor:
    """(T*B, H): the state that each step started from."""
    return torch.cat((h0[None], outputs[:-1])).flatten(0, 1)


def _recurrent(d_u: Tensor, h0: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of W_h and b_h, from what every step's u = W_h h + b_h owes, (T, B, G*H)."""
    rows = d_u.flatten(0, 1)
    return rows.t() @ _earlier(h0, outputs), rows.sum(0)


class _Elman(Function):
    """h_t = f(x_t + W_h h_{t-1} + b_h) with f = tanh, f' = 1 - h^2, or f = relu, f' = [h > 0]."""

    rectify = False

    @classmethod
    def activate(cls, a: Tensor) -> Tensor:
        return a.relu_() if cls.rectify else a.tanh_()

    @classmethod
    def slope(cls, h: Tensor) -> Tensor:
        return (h > 0).to(h.dtype) if cls.rectify else torch.mul(h, h).neg_().add_(1)

    @classmethod
    def forward(cls, ctx: Any, x: Tensor, W_h: Tensor, b_h: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        outputs, h, W = x + b_h, h0, W_h.t()
        for h_t in outputs.unbind(0):
            h = cls.activate(h_t.addmm_(h, W))
        ctx.save_for_backward(W_h, h0, outputs)
        return outputs, h.clone()

    @classmethod
    @once_differentiable
    def backward(cls, ctx: Any, d_outputs: Tensor, d_last: Tensor) -> tuple[Tensor, ...]:
        W_h, h0, outputs = ctx.saved_tensors
        d_a = cls.slope(outputs)
        d_h = d_outputs[-1] + d_last
        for t in range(len(d_a) - 1, -1, -1):
            d_a_t = d_a[t].mul_(d_h)
            d_h = torch.addmm(d_outputs[t - 1], d_a_t, W_h) if t else d_a_t @ W_h
        return d_a, *_recurrent(d_a, h0, outputs), d_h


class _ElmanReLU(_Elman):
    rectify = True


class _GRU(Function):
    """h_t = n + z (h_{t-1} - n), n = tanh(x_n + r u_n); the equations of `elman.cells.gru`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W_h: Tensor, b_h: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        T, B, H = *x.shape[:2], h0.shape[1]
        outputs, gates = x.new_empty(T, B, H), torch.empty_like(x)
        pasts, h, W = torch.empty_like(x), h0, W_h.t()
        for t in range(T):
            u, g = torch.addmm(b_h, h, W, out=pasts[t]), gates[t]
            rz = torch.add(x[t, :, : 2 * H], u[:, : 2 * H], out=g[:, : 2 * H]).sigmoid_()
            n = torch.addcmul(x[t, :, 2 * H :], rz[:, :H], u[:, 2 * H :], out=g[:, 2 * H :]).tanh_()
            h = torch.lerp(n, h, rz[:, H:], out=outputs[t])
        ctx.save_for_backward(W_h, h0, outputs, gates, pasts[..., 2 * H :])
        return outputs, h.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_last: Tensor) -> tuple[Tensor, ...]:
        W_h, h0, outputs, gates, u_n = ctx.saved_tensors
        r, z, n = gates.chunk(3, -1)
        before = torch.cat((h0[None], outputs[:-1]))
        to_n = (1 - z) * (1 - n * n)  # dn/da_n, times what h takes of n
        d_u = torch.stack((to_n * u_n * r * (1 - r), (before - n) * z * (1 - z), to_n * r), 2)
        d_h, owed = d_outputs[-1] + d_last, torch.empty_like(outputs)
        for t in range(len(outputs) - 1, -1, -1):
            owed[t] = d_h
            d_u_t = d_u[t].mul_(d_h[:, None])
            carried = torch.mul(d_h, z[t])
            d_h = carried.addmm_(d_u_t.flatten(1), W_h)
            if t:
                d_h += d_outputs[t - 1]
        d_u = d_u.flatten(2)
        d_x = torch.cat((d_u[..., : 2 * u_n.shape[-1]], owed.mul_(to_n)), -1)
        return d_x, *_recurrent(d_u, h0, outputs), d_h


class _LSTM(Function):
    """c_t = f c_{t-1} + i g, h_t = o tanh(c_t); the equations of `elman.cells.lstm`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W_h: Tensor, b_h: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        T, B, H = *x.shape[:2], h0.shape[1]
        gates, outputs = x + b_h, x.new_empty(T, B, H)
        cells, squashed = torch.empty_like(outputs), torch.empty_like(outputs)
        h, c, W = h0, c0, W_h.t()
        for t in range(T):
            a = gates[t].addmm_(h, W)
            i_f, g, o = a[:, : 2 * H].sigmoid_(), a[:, 2 * H : 3 * H].tanh_(), a[:, 3 * H :].sigmoid_()
            c = torch.mul(i_f[:, H:], c, out=cells[t]).addcmul_(i_f[:, :H], g)
            h = torch.mul(o, torch.tanh(c, out=squashed[t]), out=outputs[t])
        ctx.save_for_backward(W_h, h0, c0, outputs, gates, cells, squashed)
        return outputs, h.clone(), c.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_h_last: Tensor, d_c_last: Tensor) -> tuple[Tensor, ...]:
        W_h, h0, c0, outputs, gates, cells, squashed = ctx.saved_tensors
        i, f, g, o = gates.chunk(4, -1)
        before = torch.cat((c0[None], cells[:-1]))
        from_c = torch.stack((g * i * (1 - i), before * f * (1 - f), i * (1 - g * g)), 2)
        from_h = squashed * o * (1 - o)
        to_c = o * (1 - squashed * squashed)
        d_a = torch.empty_like(gates).unflatten(-1, (4, -1))
        d_h, d_c = d_outputs[-1] + d_h_last, d_c_last.clone()
        for t in range(len(outputs) - 1, -1, -1):
            d_c.addcmul_(d_h, to_c[t])
            torch.mul(d_c[:, None], from_c[t], out=d_a[t, :, :3])
            torch.mul(d_h, from_h[t], out=d_a[t, :, 3])
            d_c.mul_(f[t])
            d_a_t = d_a[t].flatten(1)
            d_h = torch.addmm(d_outputs[t - 1], d_a_t, W_h) if t else d_a_t @ W_h
        d_a = d_a.flatten(2)
        return d_a, *_recurrent(d_a, h0, outputs), d_h, d_c


_FUNCTIONS: dict[str, Any] = {"elman": _Elman, "elman-relu": _ElmanReLU, "gru": _GRU, "lstm": _LSTM}
