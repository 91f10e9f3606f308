"""JSON and tensors out of bytes that anybody may have written: every claim is checked before it is believed.

    strict_json     bytes -> objects      UTF-8, no key twice, no NaN or infinity, bounded size and depth
    tensor_header   bytes -> {name: Slot} each tensor's dtype, shape and place, which must tile the data
    load_tensors    bytes -> {name: Tensor}, only after the header is what the caller expects
    dump_tensors    {name: Tensor} -> bytes, the way back

The format of tensors is safetensors: 8 bytes with the length N of the header (little endian), N bytes of
JSON `{name: {"dtype", "shape", "data_offsets"}}`, then the data. It holds numbers only, so loading runs no
code. The library checks the layout too, but it accepts a key that appears twice and allocates before the
caller can compare shapes; hence the parser here. PyTorch is not imported until tensors are asked for.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elman.errors import ModelError

if TYPE_CHECKING:
    import numpy
    import torch

JSON_LIMIT = 16 * 2**20
"""Largest JSON document read, in bytes: a vocabulary of a million words fits."""

DIMENSIONS_LIMIT = 16
"""Most dimensions a tensor may have."""

DTYPES = {
    "BOOL": ("bool", 1),
    "U8": ("uint8", 1),
    "U16": ("uint16", 2),
    "U32": ("uint32", 4),
    "U64": ("uint64", 8),
    "I8": ("int8", 1),
    "I16": ("int16", 2),
    "I32": ("int32", 4),
    "I64": ("int64", 8),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F32": ("float32", 4),
    "F64": ("float64", 8),
}
"""The dtypes accepted: name in the file -> (name in PyTorch and NumPy, bytes an element)."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a tensor lies: its dtype by PyTorch's name, its shape, its bytes `begin:end` of the data."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def damaged(where: str, why: str) -> ModelError:
    """The refusal of something read: `where` it lies (already quoted) and `why` it cannot be used."""
    return ModelError(f"{where} is damaged or foreign: {why}; use another checkpoint or a fresh copy")


def strict_json(data: bytes, where: str) -> Any:
    """The value of a JSON document, or `ModelError` naming `where`.

    Refused besides what is not JSON: more than `JSON_LIMIT` bytes, a key twice in one object, NaN, Infinity
    and numbers that overflow to it, nesting beyond Python's recursion limit, strings that are not Unicode.

    >>> strict_json(b'{"hidden": 256}', "config.json")
    {'hidden': 256}
    >>> strict_json(b'{"hidden": 256, "hidden": 512}', "config.json")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    elman.errors.ModelError: config.json is damaged or foreign: the key 'hidden' appears twice; use ...
    """
    if len(data) > JSON_LIMIT:
        raise damaged(where, f"{len(data)} bytes of JSON, at most {JSON_LIMIT} are read")
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite)
        # "\ud800" is JSON but not text: it would fail only later, when printed or saved.
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise damaged(where, "the JSON is nested too deeply") from error
    except ValueError as error:
        raise damaged(where, str(error)) from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique: dict[str, Any] = {}
    for key, value in pairs:
        if key in unique:
            raise ValueError(f"the key {key!r:.60} appears twice")
        unique[key] = value
    return unique


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits:.20} is not a finite number")
    return number


def tensor_header(data: bytes, where: str) -> dict[str, Slot]:
    """The place of every tensor in a safetensors file, or `ModelError` naming `where`.

    The slots tile the data: no overlap, no hole, nothing after the last, each as long as its shape says.
    """
    if len(data) < 8:
        raise damaged(where, f"{len(data)} bytes are too few for a header")
    length = int.from_bytes(data[:8], "little")
    if length > min(len(data) - 8, JSON_LIMIT):
        raise damaged(where, f"its header claims {length} bytes of {len(data)}, at most {JSON_LIMIT} are read")
    header = strict_json(data[8 : 8 + length], where)
    if not isinstance(header, dict):
        raise damaged(where, "its header is not an object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise damaged(where, "its metadata is not text")
    slots = {name: _slot(name, entry, where) for name, entry in header.items()}
    _check_tiling(slots, len(data) - 8 - length, where)
    return slots


def _slot(name: str, entry: object, where: str) -> Slot:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end], **rest} if (
            not rest and dtype in DTYPES and len(shape) <= DIMENSIONS_LIMIT
        ):
            if all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
                return _sized(name, Slot(DTYPES[dtype][0], tuple(shape), begin, end), DTYPES[dtype][1], where)
    raise damaged(where, f"the header's entry for tensor {name!r:.60} is not a dtype, a shape and two offsets")


def _sized(name: str, slot: Slot, itemsize: int, where: str) -> Slot:
    # Empty dimensions count as one here: the strides must fit into 64 bits even where the size is zero.
    if math.prod(max(size, 1) for size in slot.shape) * itemsize >= 2**63:
        raise damaged(where, f"tensor {name!r:.60} has the impossible shape {list(slot.shape)}")
    if math.prod(slot.shape) * itemsize != slot.end - slot.begin:
        raise damaged(where, f"tensor {name!r:.60} has {slot.end - slot.begin} bytes for the shape {list(slot.shape)}")
    return slot


def _check_tiling(slots: Mapping[str, Slot], size: int, where: str) -> None:
    position = 0
    for name, slot in sorted(slots.items(), key=lambda item: (item[1].begin, item[1].end)):
        if slot.begin != position:
            raise damaged(where, f"tensor {name!r:.60} begins at byte {slot.begin}, not at {position}")
        position = slot.end
    if position != size:
        raise damaged(where, f"the tensors fill {position} bytes of {size}")


def _check_expected(
    slots: Mapping[str, Slot], expected: "Mapping[str, tuple[tuple[int, ...], torch.dtype]]", where: str
) -> None:
    if missing := sorted(expected.keys() - slots.keys()):
        raise damaged(where, f"{len(missing)} tensors are missing, the first is {missing[0]!r:.60}")
    if unknown := sorted(slots.keys() - expected.keys()):
        raise damaged(where, f"{len(unknown)} tensors are unknown, the first is {unknown[0]!r:.60}")
    for name, (shape, dtype) in expected.items():
        found, wanted = (slots[name].shape, slots[name].dtype), (tuple(shape), _name(dtype))
        if found != wanted:
            raise damaged(
                where,
                f"tensor {name!r:.60} is {list(found[0])} of {found[1]}, not {list(shape)} of {wanted[1]}",
            )


def _name(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")


def load_tensors(
    data: bytes, expected: "Mapping[str, tuple[tuple[int, ...], torch.dtype]] | None", where: str
) -> "dict[str, torch.Tensor]":
    """The tensors of a safetensors file, on the CPU; `ModelError` naming `where` unless as `expected`.

    `expected` gives each tensor's shape and dtype, from a configuration that was validated before; names,
    shapes and dtypes must be exactly these. `None` takes what is there. Values may be anything, NaN included.
    """
    slots = tensor_header(data, where)
    if expected is not None:
        _check_expected(slots, expected, where)
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except SafetensorError as error:
        raise damaged(where, f"{error!s:.200}") from error


def dump_tensors(tensors: "Mapping[str, numpy.ndarray[Any, Any] | torch.Tensor]") -> bytes:
    """The safetensors file of NumPy arrays and PyTorch tensors: equal bytes for equal contents.

    Tensors are copied: those that share memory (tied weights) or are not contiguous can be saved as they are.
    """
    import numpy as np

    arrays = {name: np.asarray(t, order="C") for name, t in tensors.items() if isinstance(t, np.ndarray)}
    if len(arrays) == len(tensors):
        from safetensors.numpy import save as save_arrays

        return save_arrays(arrays)
    import torch
    from safetensors.torch import save

    layout = torch.contiguous_format
    return save(
        {name: torch.as_tensor(t).detach().to("cpu", copy=True, memory_format=layout) for name, t in tensors.items()}
    )
