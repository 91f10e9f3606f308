"""Autoregressive sampling in compiled code: any number of tokens of any number of streams in one call."""

from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from elman.cells import State
from elman.engines.base import Stack
from elman.engines.sampling import Sampling

AFFINE = -1  # the code of a map without a cell
MAX_TABLE = 2**22  # numbers of a table of the first layer's input projections, up to which it replaces the embedding
STREAMS_PER_THREAD = 4  # fewer are not worth a thread


class NativeTokenSampler:
    """Samples tokens of several streams with a copy of a model's weights (`elman.engines.TokenSampler`).

    The weights are copied as they are when it is made, packed in the order in which the kernels read them.

    Args:
        module: the compiled module.
        isa: the instruction set to use, one of the module's.
        code: the number of the cell there.
        stack: the parameters, float32 on the CPU.
        sampling: how a token is chosen from its logits.
        streams: B, texts side by side.
        unknown: token 0 is `<unk>` and is never sampled.
    """

    @torch.no_grad()
    def __init__(
        self, module: ModuleType, isa: str, code: int, stack: Stack, sampling: Sampling, *, streams: int, unknown: bool
    ) -> None:
        self.module, self.isa, self.code, self.streams = module, isa, code, streams
        self._tensors: list[Tensor] = []  # the memory behind the addresses
        self.maps: list[tuple[int, int, int, int]] = []
        size, first = len(stack.b_q), stack.layers[0]
        has_table = stack.embed is None or size * len(first.b_x) <= MAX_TABLE
        if stack.embed is None:
            table = (first.W_x.t() + first.b_x).contiguous()
        else:
            table = F.linear(stack.embed, first.W_x, first.b_x) if has_table else stack.embed.contiguous()
        for depth, layer in enumerate(stack.layers):
            if depth or not has_table:
                self._add(AFFINE, layer.W_x, layer.b_x, gates=1)
            else:
                self.maps.append((0, 0, 0, 0))
            self._add(code, layer.W_h, layer.b_h, gates=len(layer.b_h) // layer.W_h.shape[1])
        self.experts = stack.experts
        output, bias = stack.W_q, stack.b_q
        if self.experts is not None:
            output, bias = torch.cat((output, self.experts.weights.A)), torch.cat((bias, self.experts.weights.b))
        self._add(AFFINE, output, bias, gates=1)
        self._tensors.append(table)
        self.settings = {
            "B": streams, "V": size, "table": table.data_ptr(), "forbidden": 0 if unknown else -1,
            "top_k": min(sampling.top_k or size, size), "top_p": sampling.top_p or 1.0,
            "temperature": sampling.clipped_temperature,
        }  # fmt: skip

    def _add(self, code: int, W: Tensor, b: Tensor, *, gates: int) -> None:
        """Pack the affine map W x + b, (G*H, K), for the cell of that code or for no cell."""
        vectors, width = self.module.panel(self.isa, code, self.streams == 1)
        packed, bias = pack(W, gates, vectors // gates, width), b.detach().contiguous()
        self._tensors += (packed, bias)
        self.maps.append((W.shape[1], len(W) // gates, packed.data_ptr(), bias.data_ptr()))

    def __call__(
        self, tokens: npt.NDArray[np.int64], state: State, steps: int, uniforms: npt.NDArray[np.float64] | None
    ) -> tuple[npt.NDArray[np.int64], State]:
        """Sample N tokens per stream; the arguments and results of `elman.engines.TokenSampler`."""
        context = state[-2:]  # of experts, where there are some
        state = state if self.experts is None else state[:-2]
        new_state = tuple(s.clone(memory_format=torch.contiguous_format) for s in state)
        first, sampled = torch.from_numpy(tokens), torch.empty(steps, self.streams, dtype=torch.int64)
        numbers = None if uniforms is None else torch.from_numpy(np.ascontiguousarray(uniforms))
        per = len(new_state) // (len(self.maps) // 2)  # states of a layer; the compiled code always expects h and c
        layers = range(0, len(new_state), per)
        addresses = [new_state[i + k].data_ptr() if k < per else 0 for i in layers for k in range(2)]
        corrected: dict[str, Any] = {}
        if self.experts is not None:
            read, memory = (np.array(each.numpy(force=True), np.int64, order="C") for each in context)
            contexts = self.experts.table.contexts_after(self.experts.tokens, read)
            C = self.experts.weights.C.detach().contiguous()
            corrected = {
                "experts": self.experts.table.handle, "context_tokens": self.experts.tokens.addresses,
                "C": C.data_ptr(), "contexts": contexts.ctypes.data, "memory": memory.ctypes.data,
            }  # fmt: skip
        self.module.generate(
            self.isa,
            self.code,
            self.maps,
            addresses,
            self.settings
            | {
                "steps": steps,
                "threads": max(1, min(torch.get_num_threads(), self.streams // STREAMS_PER_THREAD)),
                "first": first.data_ptr(),
                "tokens": sampled.data_ptr(),
                "uniforms": 0 if numbers is None else numbers.data_ptr(),
            }
            | corrected,
        )
        if self.experts is not None:
            every = np.concatenate((read, tokens[:, None], sampled.numpy()[:-1].T), 1)
            new_state += torch.from_numpy(every[:, steps:].copy()), torch.from_numpy(memory)
        return sampled.numpy(), new_state


def pack(W: Tensor, gates: int, vectors: int, width: int) -> Tensor:
    """Pack a weight matrix in the order in which the compiled tiles read it.

    Args:
        W: (G*H, K).
        gates: G.
        vectors: U, vectors of units per gate in a tile.
        width: VL, numbers in a vector.

    Returns:
        (panels, K, G, U, VL), with zeros beyond the last unit.

    Example:
        >>> pack(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), 1, 1, 2)[:, :, 0, 0].tolist()
        [[[1.0, 3.0], [2.0, 4.0]], [[5.0, 0.0], [6.0, 0.0]]]
    """
    by_gate = W.detach().unflatten(0, (gates, -1))
    padded = F.pad(by_gate, (0, 0, 0, -by_gate.shape[1] % (vectors * width)))
    packed: Tensor = padded.unflatten(1, (-1, vectors, width)).permute(1, 4, 0, 2, 3)
    return packed.contiguous()
