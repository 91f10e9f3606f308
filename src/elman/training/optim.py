"""The optimiser's side of a step: gradient clipping, learning-rate schedules, parameter groups."""

import math
import re
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from elman.config import TrainSettings
from elman.errors import DivergedError


def clip_gradients(parameters: Iterable[tuple[str, Tensor]], limit: float) -> float:
    """Scale all gradients so that their global L2 norm is at most `limit`; the norm before, a float.

        g <- min(1, limit / |g|) g      |g| over all parameters together (Pascanu et al. 2013)

    The direction never changes. Parameters without a gradient are passed over; `limit` 0 only measures.

    Raises:
        DivergedError: a gradient is not finite; the message names the parameter.
    """
    named = [(name, p.grad) for name, p in parameters if p.grad is not None]
    if not named:
        return 0.0
    gradients = [g for _, g in named]
    norms = torch._foreach_norm(gradients)
    norm = float(torch.linalg.vector_norm(torch.stack(norms)))
    if not math.isfinite(norm):
        _raise_for(named, norms)
    if limit and norm > limit:
        torch._foreach_mul_(gradients, limit / norm)
    return norm


def _raise_for(named: list[tuple[str, Tensor]], norms: tuple[Tensor, ...]) -> None:
    bad = [name for (name, _), n in zip(named, norms, strict=True) if not math.isfinite(float(n))]
    raise DivergedError(f"the gradient of {bad[0] if bad else 'all parameters together'} is not finite")


def rate(settings: TrainSettings, fraction: float) -> float:
    """The learning rate when `fraction` of the run, 0 to 1, is done.

    one-cycle  linear from 0 to the peak over `warmup`, then a half cosine to `final_lr` (Smith 2018)
    cosine     a half cosine from the peak to `final_lr` (Loshchilov and Hutter 2017)
    step       the peak, a tenth of it from 1/2 on, a hundredth from 3/4 on
    constant   the peak
    """
    return settings.lr * _SHAPES[settings.schedule](settings, min(max(fraction, 0.0), 1.0))


def _cosine(settings: TrainSettings, fraction: float) -> float:
    return settings.final_lr + (1 - settings.final_lr) * (1 + math.cos(math.pi * fraction)) / 2


def _one_cycle(settings: TrainSettings, fraction: float) -> float:
    if fraction < settings.warmup:
        return fraction / settings.warmup
    return _cosine(settings, (fraction - settings.warmup) / ((1 - settings.warmup) or 1.0))


_SHAPES: dict[str, Callable[[TrainSettings, float], float]] = {
    "one-cycle": _one_cycle,
    "cosine": _cosine,
    "step": lambda _, fraction: 1.0 if fraction < 0.5 else 0.1 if fraction < 0.75 else 0.01,
    "constant": lambda _, __: 1.0,
}


_NO_WEIGHTS = re.compile(r"(.*\.)?(b|b_.*|.*bias.*|start|.*initial.*|(.*norm.*\.).*)")


def is_weight_matrix(name: str, parameter: Tensor) -> bool:
    """Whether weight decay acts on a parameter: on matrices of weights, by which activations are multiplied.

    Args:
        name: of the parameter in its network. One that is called `b`, `b_...` or `...bias...` is a bias, `start` or
            `...initial...` an initial state, and what belongs to a `...norm...` is a gain or bias of normalization,
            whatever its shape.
        parameter: the numbers; a vector or scalar is no matrix.

    Example:
        >>> matrix = torch.zeros(2, 3)
        >>> [is_weight_matrix(name, matrix) for name in ("layers.0.W_h", "layers.0.start", "layers.0.norm.weight")]
        [True, False, False]
    """
    return parameter.dim() > 1 and not _NO_WEIGHTS.fullmatch(name)


def optimizer_for(
    parameters: Iterable[nn.Parameter] | Iterable[tuple[str, nn.Parameter]], settings: TrainSettings
) -> torch.optim.Optimizer:
    """SGD, or AdamW (Loshchilov and Hutter 2019) whose decay acts on matrices of weights alone (`is_weight_matrix`).

    Args:
        parameters: what is trained, with their names, as PyTorch's optimizers take them; without, every matrix decays.
        settings: optimizer, learning rate and weight decay.

    Returns:
        The optimizer, without any step done.
    """
    trained = [each if isinstance(each, tuple) else ("", each) for each in parameters]
    if settings.optimizer == "sgd":
        return torch.optim.SGD([p for _, p in trained], lr=settings.lr, fused=True)
    groups = [
        {"params": [p for name, p in trained if is_weight_matrix(name, p) is decays], "weight_decay": decay}
        for decays, decay in ((True, settings.weight_decay), (False, 0.0))
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.99), fused=True)
