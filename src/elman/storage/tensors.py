"""JSON and tensors from bytes that anybody may have written: every claim is checked before it is believed.

    strict_json     bytes -> objects           UTF-8, no key twice, no NaN or infinity, bounded size and depth
    load_tensors    bytes -> {name: Tensor}    only after names, shapes and dtypes are what the caller expects
    dump_tensors    {name: Tensor} -> bytes    the inverse of `load_tensors`

The format of tensors is safetensors: 8 bytes with the length N of the header (little endian), N bytes of
JSON `{name: {"dtype", "shape", "data_offsets"}}`, then the data. It holds numbers only, so loading runs no
code. The library checks that the tensors tile the data and that each has the size of its shape; it accepts a
key that appears twice and allocates before shapes can be compared, so the header is read here first. PyTorch
is not imported until tensors are needed.
"""

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from elman.errors import ModelError
from elman.reading import SMALL, reason

if TYPE_CHECKING:
    import numpy
    import torch

TensorSpecs: TypeAlias = "Mapping[str, tuple[tuple[int, ...], torch.dtype]]"
"""The shape and dtype of each tensor, by name."""

JSON_LIMIT = SMALL
"""Largest JSON document read, in bytes: a vocabulary of a million words fits."""

DIMENSIONS_LIMIT = 16
"""Most dimensions a tensor may have."""

DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
}
"""The dtypes accepted: name in the file -> name in PyTorch and NumPy."""


def damaged(where: str, why: str) -> ModelError:
    """The error for something read that cannot be used.

    Args:
        where: its path, already quoted.
        why: what is wrong with it.

    Returns:
        The error, to be raised; its message names path, cause and remedy.
    """
    return ModelError(f"{where} is damaged or foreign: {why}; use another checkpoint or a fresh copy")


def strict_json(data: bytes, where: str) -> Any:
    """The value of a JSON document.

    Args:
        data: the document in UTF-8, at most `JSON_LIMIT` bytes.
        where: the name of its file, quoted, for messages.

    Returns:
        Objects, lists, strings, numbers, booleans and None.

    Raises:
        ModelError: it is not JSON, is too long, has a key twice in one object, holds NaN, Infinity or a number
            that overflows to it, is nested beyond Python's recursion limit, or has strings that are not Unicode.

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
    except Exception as error:
        raise damaged(where, reason(error)) from error
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


def load_tensors(data: bytes, expected: "TensorSpecs | None", where: str) -> "dict[str, torch.Tensor]":
    """The tensors of a safetensors file, on the CPU.

    Args:
        data: the whole file.
        expected: the shape and dtype of each tensor, from a configuration that was validated before; names,
            shapes and dtypes must be exactly these. None accepts whatever the file holds.
        where: the name of the file, quoted, for messages.

    Returns:
        Each tensor by name. Values may be anything, NaN included.

    Raises:
        ModelError: the file is damaged, or holds other tensors than expected; nothing was allocated for them.
    """
    _check_header(_tensor_header(data, where), expected, where)
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except SafetensorError as error:
        raise damaged(where, f"{error!s:.200}") from error


def _tensor_header(data: bytes, where: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """The shape and the name of the dtype that the header gives each tensor; the library checks all else."""
    length = int.from_bytes(data[:8], "little")
    if length > JSON_LIMIT:
        raise damaged(where, f"its header claims {length} bytes, at most {JSON_LIMIT} are read")
    header = strict_json(data[8 : 8 + length], where)
    if not isinstance(header, dict):
        raise damaged(where, "its header is not an object")
    return {name: _shape_and_dtype(name, entry, where) for name, entry in header.items() if name != "__metadata__"}


def _shape_and_dtype(name: str, entry: object, where: str) -> tuple[tuple[int, ...], str]:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape)} if dtype in DTYPES and _is_shape(shape):
            return tuple(shape), DTYPES[dtype]
    raise damaged(where, f"the header's entry for tensor {name!r:.60} is not a known dtype and a shape")


def _is_shape(sizes: list[Any]) -> bool:
    if len(sizes) > DIMENSIONS_LIMIT or not all(type(size) is int and size >= 0 for size in sizes):
        return False
    # Empty dimensions count as one: the strides must fit into 64 bits even where there is no element.
    return math.prod(max(int(size), 1) for size in sizes) < 2**63


def _check_header(
    header: Mapping[str, tuple[tuple[int, ...], str]], expected: "TensorSpecs | None", where: str
) -> None:
    if expected is None:
        return
    if missing := sorted(expected.keys() - header.keys()):
        raise damaged(where, f"{len(missing)} tensors are missing, the first is {missing[0]!r:.60}")
    if unknown := sorted(header.keys() - expected.keys()):
        raise damaged(where, f"{len(unknown)} tensors are unknown, the first is {unknown[0]!r:.60}")
    for name, (shape, dtype) in expected.items():
        wanted = (tuple(shape), str(dtype).removeprefix("torch."))
        if header[name] != wanted:
            found = f"{list(header[name][0])!s:.100} of {header[name][1]}"
            raise damaged(where, f"tensor {name!r:.60} is {found}, not {list(shape)} of {wanted[1]}")


def dump_tensors(tensors: "Mapping[str, numpy.ndarray[Any, Any] | torch.Tensor]") -> bytes:
    """The safetensors file of NumPy arrays and PyTorch tensors: equal bytes for equal contents.

    Tensors are copied: those that share memory (tied weights) or are not contiguous can be saved as they are.

    Args:
        tensors: by name, on any device.

    Returns:
        The whole file.
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
