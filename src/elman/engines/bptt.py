"""Back-propagation through time with gradients written by hand (Werbos 1990).

The forward loop saves the gate activations; the backward loop carries only the gradient of the state from a step to
the step before it. What needs no loop (the derivatives of the gates, the gradient of W_h) is computed for all steps at
once, which is why it is faster than `loop`.

All tensors are time-major, (T, B, ...). a_t = x_t + u_t are the pre-activations; d_<name> is the gradient of <name>.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from elman.cells import Cell, State
from elman.engines.base import Engine, Weights, input_projection


class Bptt(Engine):
    """Hand-written forward and backward passes of the Elman, GRU and LSTM cells."""

    name = "bptt"

    @staticmethod
    def supports(cell: type[Cell], device: torch.device, dtype: torch.dtype) -> bool:
        """Four cells, on the CPU, in single and double precision."""
        return cell.name in _FUNCTIONS and device.type == "cpu" and dtype in (torch.float32, torch.float64)

    @staticmethod
    def priority(cell: type[Cell], *, one_hot: int, hidden: int) -> int:  # noqa: ARG004 - of any
        """Measured on CPUs: the fastest but for `native`; for an LSTM see `aten`."""
        return 20

    @staticmethod
    def run(cell: type[Cell], inputs: Tensor, state: State, weights: Weights) -> tuple[Tensor, State]:
        """One autograd function for the whole window."""
        outputs, *last = _FUNCTIONS[cell.name].apply(
            input_projection(inputs, weights), weights.W_h, weights.b_h, *state
        )
        return outputs.transpose(0, 1), tuple(last)


def _previous(h0: Tensor, outputs: Tensor) -> Tensor:
    """The outputs h_0 to h_{T-1} that each step starts from, (T*B, H)."""
    return torch.cat((h0[None], outputs[:-1])).flatten(0, 1)


def _weight_gradients(d_u: Tensor, h0: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of W_h and b_h, given those of u = W_h h + b_h at all steps, (T, B, G*H)."""
    rows = d_u.flatten(0, 1)
    return rows.t() @ _previous(h0, outputs), rows.sum(0)


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
        return d_a, *_weight_gradients(d_a, h0, outputs), d_h


class _ElmanReLU(_Elman):
    rectify = True


class _GRU(Function):
    """h_t = n + z (h_{t-1} - n), n = tanh(x_n + r u_n); the equations of `elman.cells.gru`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W_h: Tensor, b_h: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        T, B, H = *x.shape[:2], h0.shape[1]
        outputs, gates = x.new_empty(T, B, H), torch.empty_like(x)
        u_all, h, W = torch.empty_like(x), h0, W_h.t()
        for t in range(T):
            u, g = torch.addmm(b_h, h, W, out=u_all[t]), gates[t]
            rz = torch.add(x[t, :, : 2 * H], u[:, : 2 * H], out=g[:, : 2 * H]).sigmoid_()
            n = torch.addcmul(x[t, :, 2 * H :], rz[:, :H], u[:, 2 * H :], out=g[:, 2 * H :]).tanh_()
            h = torch.lerp(n, h, rz[:, H:], out=outputs[t])
        ctx.save_for_backward(W_h, h0, outputs, gates, u_all[..., 2 * H :])
        return outputs, h.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_last: Tensor) -> tuple[Tensor, ...]:
        W_h, h0, outputs, gates, u_n = ctx.saved_tensors
        r, z, n = gates.chunk(3, -1)
        h_prev = torch.cat((h0[None], outputs[:-1]))
        dh_da_n = (1 - z) * (1 - n * n)  # dh/dn * dn/da_n
        d_u = torch.stack((dh_da_n * u_n * r * (1 - r), (h_prev - n) * z * (1 - z), dh_da_n * r), 2)
        d_h, d_h_all = d_outputs[-1] + d_last, torch.empty_like(outputs)
        for t in range(len(outputs) - 1, -1, -1):
            d_h_all[t] = d_h
            d_u_t = d_u[t].mul_(d_h[:, None])
            carried = torch.mul(d_h, z[t])
            d_h = carried.addmm_(d_u_t.flatten(1), W_h)
            if t:
                d_h += d_outputs[t - 1]
        d_u = d_u.flatten(2)
        d_x = torch.cat((d_u[..., : 2 * u_n.shape[-1]], d_h_all.mul_(dh_da_n)), -1)
        return d_x, *_weight_gradients(d_u, h0, outputs), d_h


class _LSTM(Function):
    """c_t = f c_{t-1} + i g, h_t = o tanh(c_t); the equations of `elman.cells.lstm`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W_h: Tensor, b_h: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        T, B, H = *x.shape[:2], h0.shape[1]
        gates, outputs = x + b_h, x.new_empty(T, B, H)
        cells, tanh_c = torch.empty_like(outputs), torch.empty_like(outputs)
        h, c, W = h0, c0, W_h.t()
        for t in range(T):
            a = gates[t].addmm_(h, W)
            i_f, g, o = a[:, : 2 * H].sigmoid_(), a[:, 2 * H : 3 * H].tanh_(), a[:, 3 * H :].sigmoid_()
            c = torch.mul(i_f[:, H:], c, out=cells[t]).addcmul_(i_f[:, :H], g)
            h = torch.mul(o, torch.tanh(c, out=tanh_c[t]), out=outputs[t])
        ctx.save_for_backward(W_h, h0, c0, outputs, gates, cells, tanh_c)
        return outputs, h.clone(), c.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_h_last: Tensor, d_c_last: Tensor) -> tuple[Tensor, ...]:
        W_h, h0, c0, outputs, gates, cells, tanh_c = ctx.saved_tensors
        i, f, g, o = gates.chunk(4, -1)
        c_prev = torch.cat((c0[None], cells[:-1]))
        dc_da = torch.stack((g * i * (1 - i), c_prev * f * (1 - f), i * (1 - g * g)), 2)
        dh_da_o = tanh_c * o * (1 - o)
        dh_dc = o * (1 - tanh_c * tanh_c)
        d_a = torch.empty_like(gates).unflatten(-1, (4, -1))
        d_h, d_c = d_outputs[-1] + d_h_last, d_c_last.clone()
        for t in range(len(outputs) - 1, -1, -1):
            d_c.addcmul_(d_h, dh_dc[t])
            torch.mul(d_c[:, None], dc_da[t], out=d_a[t, :, :3])
            torch.mul(d_h, dh_da_o[t], out=d_a[t, :, 3])
            d_c.mul_(f[t])
            d_a_t = d_a[t].flatten(1)
            d_h = torch.addmm(d_outputs[t - 1], d_a_t, W_h) if t else d_a_t @ W_h
        d_a = d_a.flatten(2)
        return d_a, *_weight_gradients(d_a, h0, outputs), d_h, d_c


_FUNCTIONS: dict[str, Any] = {"elman": _Elman, "elman-relu": _ElmanReLU, "gru": _GRU, "lstm": _LSTM}
