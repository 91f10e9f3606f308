"""Writing texts in compiled code: a call reads and draws any number of tokens of any number of streams."""

from types import ModuleType

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from elman.cells import State
from elman.engines.base import Stack
from elman.engines.sampling import Sampling

ALONE = -1  # the code of a map that is followed by no cell
FOLDED = 2**22  # numbers of a table of what each token asks of the first layer, up to which an embedding is folded in
ROWS_A_THREAD = 4  # streams, fewer than which are not worth a thread


class NativeSampler:
    """A language model that writes `streams` texts side by side (`elman.engines.Sampler`).

    It keeps the weights as they are when it is made, packed in the order in which they are read.

    Args:
        module: the compiled code,
        isa: and the instruction set of it to run.
        code: the cell's number there.
        stack: the weights, float32, on the CPU.
        draw: how a token is chosen.
        streams: B.
        unknown: token 0 is never drawn.
    """

    @torch.no_grad()
    def __init__(
        self, module: ModuleType, isa: str, code: int, stack: Stack, draw: Sampling, *, streams: int, unknown: bool
    ) -> None:
        self.module, self.isa, self.code, self.streams = module, isa, code, streams
        self.kept: list[Tensor] = []  # what addresses point to
        self.maps: list[tuple[int, int, int, int]] = []
        size, first = len(stack.b_q), stack.layers[0]
        folded = stack.embed is None or size * len(first.b_x) <= FOLDED
        if stack.embed is None:
            table = (first.W_x.t() + first.b_x).contiguous()
        else:
            table = F.linear(stack.embed, first.W_x, first.b_x) if folded else stack.embed.contiguous()
        for depth, layer in enumerate(stack.layers):
            if depth or not folded:
                self._add(ALONE, layer.W_x, layer.b_x, gates=1)
            else:
                self.maps.append((0, 0, 0, 0))
            self._add(code, layer.W_h, layer.b_h, gates=len(layer.b_h) // layer.W_h.shape[1])
        self._add(ALONE, stack.W_q, stack.b_q, gates=1)
        self.kept.append(table)
        self.settings = {
            "B": streams, "V": size, "table": table.data_ptr(), "forbidden": 0 if unknown else -1,
            "top_k": min(draw.top_k or size, size), "top_p": draw.top_p or 1.0, "heat": draw.clipped_temperature,
        }  # fmt: skip

    def _add(self, code: int, W: Tensor, b: Tensor, *, gates: int) -> None:
        """The map x -> W x + b, (G*H, K), for the cell of that code or for none."""
        vectors, width = self.module.panel(self.isa, code, self.streams == 1)
        packed, bias = pack(W, gates, vectors // gates, width), b.detach().contiguous()
        self.kept += (packed, bias)
        self.maps.append((W.shape[1], len(W) // gates, packed.data_ptr(), bias.data_ptr()))

    def __call__(
        self, tokens: npt.NDArray[np.int64], state: State, steps: int, uniforms: npt.NDArray[np.float64] | None
    ) -> tuple[npt.NDArray[np.int64], State]:
        """What is drawn, (N, B), and the state after all but the last of it were read."""
        after = tuple(s.clone(memory_format=torch.contiguous_format) for s in state)
        first, drawn = torch.from_numpy(tokens), torch.empty(steps, self.streams, dtype=torch.int64)
        numbers = None if uniforms is None else torch.from_numpy(np.ascontiguousarray(uniforms))
        per = len(after) // (len(self.maps) // 2)  # states of a layer; in compiled code there are always h and c
        addresses = [after[i + k].data_ptr() if k < per else 0 for i in range(0, len(after), per) for k in range(2)]
        self.module.generate(
            self.isa,
            self.code,
            self.maps,
            addresses,
            self.settings
            | {
                "steps": steps,
                "threads": max(1, min(torch.get_num_threads(), self.streams // ROWS_A_THREAD)),
                "first": first.data_ptr(),
                "tokens": drawn.data_ptr(),
                "uniforms": 0 if numbers is None else numbers.data_ptr(),
            },
        )
        return drawn.numpy(), after


def pack(W: Tensor, gates: int, vectors: int, width: int) -> Tensor:
    """W (G*H, K) in the order in which tiles of G*U vectors of VL numbers read it: (panels, K, G, U, VL).

    What lies beyond the last unit is 0.

    Example:
        >>> pack(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), 1, 1, 2)[:, :, 0, 0].tolist()
        [[[1.0, 3.0], [2.0, 4.0]], [[5.0, 0.0], [6.0, 0.0]]]
    """
    by_gate = W.detach().unflatten(0, (gates, -1))
    padded = F.pad(by_gate, (0, 0, 0, -by_gate.shape[1] % (vectors * width)))
    packed: Tensor = padded.unflatten(1, (-1, vectors, width)).permute(1, 4, 0, 2, 3)
    return packed.contiguous()
