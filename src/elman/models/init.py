"""How the weights of a recurrent model start; part of the recipe, not a detail."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Generator, Tensor, nn

from elman.cells import Cell
from elman.models.layer import Layer

if TYPE_CHECKING:

    class Initialised(Protocol):
        """The parts of a recurrent network that are given weights."""

        cell: type[Cell]
        widths: list[int]
        embed: nn.Parameter | None
        W_q: nn.Parameter | None

        @property
        def stack(self) -> list[Layer]:
            """The layers, the lowest first."""

        def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
            """All parameters by name."""

else:
    Initialised = nn.Module  # whose parameters a check at run time does not see as attributes, from Python 3.12 on


def _uniform(t: Tensor, bound: float, rng: Generator) -> None:
    t.uniform_(-bound, bound, generator=rng)


@torch.no_grad()
def reference(model: Initialised, rng: Generator) -> None:
    """Weights from N(0, 0.01^2), biases 0: the networks from scratch of Zhang et al. 2021 start so."""
    for name, p in model.named_parameters():
        if p.dim() > 1 and not name.endswith("start"):
            p.normal_(0, 0.01, generator=rng)


@torch.no_grad()
def torch_nn(model: Initialised, rng: Generator) -> None:
    """All of a layer from U(-1/sqrt(H), 1/sqrt(H)): what `torch.nn.RNN`, `GRU` and `LSTM` start with."""
    for layer in model.stack:
        for p in (layer.W_x, layer.W_h, layer.b_x, layer.b_h):
            _uniform(p, layer.W_h.shape[1] ** -0.5, rng)
    _output(model, rng)


@torch.no_grad()
def elman(model: Initialised, rng: Generator) -> None:
    """The default: inputs that are heard.

    W_x ~ N(0, 1) for a one-hot input, whose fan-in is the one unit that is on; N(0, 1/I) otherwise
    W_h   orthogonal for each gate (Saxe et al. 2014)
    b     0, but the LSTM's forget gate starts open, at 1 (Jozefowicz et al. 2015)
    """
    for depth, layer in enumerate(model.stack):
        one_hot = depth == 0 and model.embed is None
        layer.W_x.normal_(0, 1.0 if one_hot else layer.W_x.shape[1] ** -0.5, generator=rng)
        for gate in layer.W_h.chunk(len(model.cell.gates)):
            nn.init.orthogonal_(gate, generator=rng)
        if "f" in model.cell.gates:
            layer.b_x.chunk(len(model.cell.gates))[model.cell.gates.index("f")].fill_(1.0)
    _output(model, rng)


def _output(model: Initialised, rng: Generator) -> None:
    """The embedding from N(0, 1) (small enough to be an output map where it is tied), the rest U(1/sqrt(H))."""
    bound = model.widths[-1] ** -0.5
    if model.embed is not None:
        model.embed.normal_(0, bound if model.W_q is None else 1.0, generator=rng)
    if model.W_q is not None:
        _uniform(model.W_q, bound, rng)


INITS: dict[str, Callable[[Initialised, Generator], None]] = {
    "elman": elman,
    "reference": reference,
    "torch": torch_nn,
}
