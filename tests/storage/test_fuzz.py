"""Reading what somebody damaged or forged: refused by `ModelError`, or read as another reader reads it."""

import hashlib
import io
import json
import os
import pickle
import random
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elman.errors import ModelError
from elman.storage.folder import read_folder, write_folder
from elman.storage.tensors import JSON_LIMIT, load_tensors

CONFIG = {"cell": "gru", "hidden": 256, "dropout": 0.5, "layers": [1, 2]}
MODEL = {"w": torch.arange(12.0).reshape(4, 3), "b": torch.zeros(3), "steps": torch.tensor(500)}
OPTIMIZER = {"w.exp_avg": torch.ones(4, 3, dtype=torch.float64), "rng": torch.arange(16, dtype=torch.uint8)}
TENSORS = {"model.safetensors": MODEL, "optimizer.safetensors": OPTIMIZER}
EXPECTED = {file: {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()} for file, tensors in TENSORS.items()}


def write(path: Path) -> Path:
    write_folder(path, {"config.json": json.dumps(CONFIG).encode(), "notes.txt": b"as trained", **TENSORS})
    return path


def load(path: Path) -> dict[str, Any]:
    saved = read_folder(path)
    loaded: dict[str, Any] = {"config.json": saved.json("config.json"), "notes.txt": saved.text("notes.txt")}
    for file, expected in EXPECTED.items():
        tensors = saved.tensors(file, expected)
        loaded[file] = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
    return loaded


def load_otherwise(path: Path) -> dict[str, Any]:
    """The same by the standard library: the bytes between the offsets that the header gives."""
    loaded: dict[str, Any] = {
        "config.json": json.loads((path / "config.json").read_text()),
        "notes.txt": (path / "notes.txt").read_bytes().decode(),
    }
    for file in EXPECTED:
        data = (path / file).read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        header.pop("__metadata__", None)
        places = {name: entry["data_offsets"] for name, entry in header.items()}
        loaded[file] = {name: data[start + a : start + b] for name, (a, b) in places.items()}
    return loaded


def forge(path: Path) -> None:
    """Make the manifest agree with whatever the folder holds now: anybody can."""
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in sorted(path.iterdir())
        if file.name != "MANIFEST.json"
    }
    manifest = {"format": "elman folder", "version": 1, "files": files}
    (path / "MANIFEST.json").write_bytes(json.dumps(manifest, indent=1).encode() + b"\n")


# --- mutations

Chance = random.Random


def flip_bit(data: bytes, chance: Chance) -> bytes:
    changed = bytearray(data)
    changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def cut(data: bytes, chance: Chance) -> bytes:
    return data[: chance.randrange(len(data))]


def zero_run(data: bytes, chance: Chance) -> bytes:
    start = chance.randrange(len(data))
    return (data[:start] + bytes(chance.randint(1, 64)) + data[start + 64 :])[: len(data)].ljust(len(data), b"\0")


def append(data: bytes, chance: Chance) -> bytes:
    return data + chance.choice([b"\0", b" ", b"\n", b"}", data])


def insert(data: bytes, chance: Chance) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + chance.randbytes(chance.randint(1, 8)) + data[start:]


def swap_ranges(data: bytes, chance: Chance) -> bytes:
    a, b, c = sorted(chance.randrange(len(data)) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def repeat_key(data: bytes, chance: Chance) -> bytes:
    """The first entry of the outermost object twice, in a header with its length corrected."""
    start = 8 + int.from_bytes(data[:8], "little")
    is_header = start <= len(data)
    text = data[8:start] if is_header else data
    try:
        key, value = next(iter(json.loads(text).items()))
    except (ValueError, AttributeError, StopIteration):
        return data + b"\0"
    doubled = b"{" + json.dumps({key: value}).encode()[1:-1] + b"," + text.lstrip()[1:]
    return len(doubled).to_bytes(8, "little") + doubled + data[start:] if is_header else doubled


def change_digit(data: bytes, chance: Chance) -> bytes:
    digits = [i for i, byte in enumerate(data) if chr(byte).isdecimal()]
    if not digits:
        return data
    place = chance.choice(digits)
    return data[:place] + chance.choice([b"0", b"7", b"-1", b"1e3", b"true", b"1" * 40]) + data[place + 1 :]


CHANGES: list[Callable[[bytes, Chance], bytes]] = [
    flip_bit,
    cut,
    zero_run,
    append,
    insert,
    swap_ranges,
    repeat_key,
    change_digit,
]


def change_folder(path: Path, chance: Chance) -> None:
    """Change one file of the folder, or which files there are."""
    files = sorted(path.iterdir())
    one, two = chance.sample(files, 2)
    kind = chance.randrange(20)
    if kind == 0:
        one.unlink()
    elif kind == 1:
        (path / chance.choice(["extra", ".hidden", "config.json~", "model.safetensors.bak"])).write_bytes(b"x")
    elif kind == 2:
        data = one.read_bytes(), two.read_bytes()
        one.write_bytes(data[1])
        two.write_bytes(data[0])
    else:
        one.write_bytes(chance.choice(CHANGES)(one.read_bytes(), chance))


def restore(path: Path, original: dict[str, bytes]) -> None:
    for file in path.iterdir():
        if file.name not in original:
            file.unlink()
    for name, data in original.items():
        if not (path / name).exists() or (path / name).read_bytes() != data:
            (path / name).write_bytes(data)


def fuzz(path: Path, rounds: int, forged: bool) -> Iterator[str]:
    """Whether each of `rounds` changed folders was refused or loaded; any other error passes through."""
    write(path)
    original = {file.name: file.read_bytes() for file in path.iterdir()}
    for seed in range(rounds):
        chance = random.Random(seed)
        restore(path, original)
        change_folder(path, chance)
        changed = {file.name: file.read_bytes() for file in path.iterdir()} != original
        if forged:
            forge(path)
        try:
            loaded = load(path)
        except ModelError as refusal:
            message = str(refusal)
            yield "refused" if "\n" not in message and len(message) < 1000 else message
        else:
            assert forged or not changed, f"change {seed} went unnoticed"
            assert loaded == load_otherwise(path), seed
            yield "loaded"


def test_damage_is_never_loaded(tmp_path):
    outcomes = list(fuzz(tmp_path / "gru", 400, forged=False))
    assert outcomes.count("refused") + outcomes.count("loaded") == 400
    assert outcomes.count("loaded") < 40  # where the change left every byte as it was


def test_forgeries_are_refused_or_read_as_they_stand(tmp_path):
    outcomes = list(fuzz(tmp_path / "gru", 400, forged=True))
    assert outcomes.count("refused") + outcomes.count("loaded") == 400
    assert min(outcomes.count("refused"), outcomes.count("loaded")) > 40


@pytest.mark.acceptance
@pytest.mark.parametrize("forged", [False, True])
def test_ten_thousand_changes_are_refused_or_read_as_they_stand(tmp_path, forged):
    outcomes = list(fuzz(tmp_path / "gru", 10_000, forged))
    assert outcomes.count("refused") + outcomes.count("loaded") == 10_000


def test_every_flipped_bit_of_a_manifest_is_noticed(tmp_path):
    path = write(tmp_path / "gru") / "MANIFEST.json"
    manifest = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for bit in range(8 * len(manifest)):
            os.pwrite(file.fileno(), bytes([manifest[bit // 8] ^ 1 << bit % 8]), bit // 8)
            with pytest.raises(ModelError):
                read_folder(path.parent)
            os.pwrite(file.fileno(), manifest[bit // 8 : bit // 8 + 1], bit // 8)
    assert read_folder(path.parent).json("config.json") == CONFIG


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.replace(b'"version": 1,', b'"version": 1, "version": 1,'),
        lambda m: m.replace(b'"version": 1,', b'"version": 1.0,'),
        lambda m: m.replace(b'"version": 1,', b'"version": true,'),
        lambda m: m.replace(b'"version": 1,', b'"version": 0,'),
        lambda m: m.replace(b'"version": 1,', b'"version": "1",'),
        lambda m: m.replace(b'"version": 1,', b'"version": 1e999,'),
        lambda m: m.replace(b'"bytes": 10,', b'"bytes": 10, "bytes": 10,'),
        lambda m: m.replace(b'"bytes": 10,', b'"bytes": 10.0,'),
        lambda m: m.replace(b'"bytes": 10,', b'"bytes": 1e308,'),
        lambda m: m.replace(b'"bytes": 10,', b'"bytes": -10,'),
        lambda m: m.replace(b'"bytes": 10,', b'"bytes": 10, "mode": 511,'),
        lambda m: m.replace(b"notes.txt", b"../notes.txt"),
        lambda m: m.replace(b"notes.txt", b"/etc/passwd"),
        lambda m: m.replace(b"notes.txt", b"MANIFEST.json"),
        lambda m: m.replace(b"notes.txt", b"notes\\u0000txt"),
        lambda m: m.replace(b'"files": {', b'"files": {"a": 1,'),
        lambda m: m.replace(b'"sha256": "', b'"sha256": "0'),
        lambda m: m.upper(),
        lambda m: b"[" + m + b"]",
        lambda m: m + b"\n",
        lambda m: json.dumps(json.loads(m)).encode(),
        lambda m: b"",
        lambda m: b"[]",
        lambda m: b"null",
        lambda m: b"\x80",
        lambda m: b"[" * 100_000,
        lambda m: b" " * (JSON_LIMIT + 1),
    ],
)
def test_manifests_that_elman_does_not_write_are_refused(tmp_path, change):
    path = write(tmp_path / "gru") / "MANIFEST.json"
    changed = change(path.read_bytes())
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    with pytest.raises(ModelError):
        read_folder(path.parent)


# --- headers that claim too much, with a manifest that agrees


def file_of(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(shape: list[Any], begin: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


BOMBS = {
    "empty": b"",
    "7 bytes": b"\0" * 7,
    "no header": bytes(8),
    "length 2**63": file_of({}, length=2**63),
    "length 2**64 - 1": file_of({}, length=2**64 - 1),
    "claims 200 MB": file_of({}, length=200_000_000),
    "claims one byte more": file_of({}, length=3),
    "length cuts the header": file_of({"w": tensor([1], 0, 4)}, bytes(4), length=20),
    "negative offsets": file_of({"w": tensor([1], -4, 0)}, bytes(4)),
    "offsets backwards": file_of({"w": tensor([1], 4, 0)}, bytes(4)),
    "offsets beyond 64 bits": file_of({"w": tensor([1], 2**64, 2**64 + 4)}, bytes(4)),
    "offset -0": file_of(b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[-0,4]}}', bytes(4)),
    "offsets beyond the file": file_of({"w": tensor([2], 0, 8)}, bytes(4)),
    "overlap": file_of({"w": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, bytes(12)),
    "same place twice": file_of({"w": tensor([1], 0, 4), "b": tensor([1], 0, 4)}, bytes(4)),
    "hole": file_of({"w": tensor([1], 0, 4), "b": tensor([1], 8, 12)}, bytes(12)),
    "hole at the start": file_of({"w": tensor([1], 4, 8)}, bytes(8)),
    "trailing bytes": file_of({"w": tensor([1], 0, 4)}, bytes(5)),
    "trailing bytes, no tensor": file_of({}, b"#!/bin/sh"),
    "2**40 x 2**40": file_of({"w": tensor([2**40, 2**40], 0, 4)}, bytes(4)),
    "2**40 x 2**40 x 0": file_of({"w": tensor([2**40, 2**40, 0], 0, 0)}),
    "2**62 x 0 x 2**62": file_of({"w": tensor([2**62, 0, 2**62], 0, 0)}),
    "2**63 x 0": file_of({"w": tensor([2**63, 0], 0, 0)}),
    "10**9 hidden": file_of({"w": tensor([10**9, 10**9], 0, 4 * 10**18)}, bytes(4)),
    "shape overflows to the right size": file_of({"w": tensor([2**62 + 1], 0, 4)}, bytes(4)),
    "100,000 dimensions": file_of({"w": tensor([1] * 10**5, 0, 4)}, bytes(4)),
    "17 dimensions": file_of({"w": tensor([1] * 17, 0, 4)}, bytes(4)),
    "negative dimension": file_of({"w": tensor([-1, -1], 0, 4)}, bytes(4)),
    "dimension 1.0": file_of({"w": tensor([1.0], 0, 4)}, bytes(4)),
    "dimension 1e308": file_of({"w": tensor([1e308], 0, 4)}, bytes(4)),
    "dimension 1e999": file_of(b'{"w":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}', bytes(4)),
    "dimension true": file_of({"w": tensor([True], 0, 4)}, bytes(4)),
    "dimension of 5000 digits": file_of(b'{"w":{"dtype":"F32","shape":[' + b"9" * 5000 + b"]}}"),
    "offset true": file_of({"w": tensor([], False, True, "U8")}, bytes(1)),
    "three offsets": file_of({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 4]}}, bytes(4)),
    "shape is a number": file_of({"w": {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]}}, bytes(4)),
    "shape is missing": file_of({"w": {"dtype": "F32", "data_offsets": [0, 4]}}, bytes(4)),
    "entry is null": file_of({"w": None}),
    "unknown dtype": file_of({"w": tensor([1], 0, 4, "PyObject")}, bytes(4)),
    "dtype of 8 bits": file_of({"w": tensor([4], 0, 4, "F8_E4M3")}, bytes(4)),
    "dtype of 4 bits": file_of({"w": tensor([8], 0, 4, "F4")}, bytes(4)),
    "dtype is a list": file_of({"w": tensor([1], 0, 4, ["F32"])}, bytes(4)),
    "wrong size for the dtype": file_of({"w": tensor([1], 0, 4, "F64")}, bytes(4)),
    "duplicate tensor": file_of(
        b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        bytes(4),
    ),
    "duplicate field": file_of(b'{"w":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    "metadata is not text": file_of({"__metadata__": {"a": 1}}),
    "metadata is a list": file_of({"__metadata__": ["a"]}),
    "header is a list": file_of([]),
    "header begins with a space": file_of(b"  {}"),
    "header is deep": file_of(b"[" * 100_000),
    "header is deep in objects": file_of(b'{"a":' * 100_000),
    "header is not UTF-8": file_of(b'{"\xff": 1}'),
    "header has NaN": file_of(b'{"w": NaN}'),
    "other tensors": file_of({"v": tensor([1], 0, 4)}, bytes(4)),
    "no tensors": file_of({}),
    "other shape": file_of({"w": tensor([1, 1], 0, 4)}, bytes(4)),
    "other dtype": file_of({"w": tensor([1], 0, 4, "I32")}, bytes(4)),
}


def peak_of(action: Callable[[], None]) -> int:
    """The most memory in bytes that Python's allocators held at once for the action."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS)
def test_header_bombs_are_refused_before_anything_is_allocated(tmp_path, data):
    write_folder(tmp_path / "gru", {"m.safetensors": data})

    def read() -> None:
        with pytest.raises(ModelError, match=r"m\.safetensors' is damaged or foreign: ") as error:
            read_folder(tmp_path / "gru").tensors("m.safetensors", {"w": ((1,), torch.float32)})
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 600

    assert peak_of(read) < 20 * len(data) + 2_000_000


FINE_BY_THEMSELVES = {"other tensors", "no tensors", "other shape", "other dtype", "header begins with a space"}


@pytest.mark.parametrize("name", sorted(BOMBS.keys() - FINE_BY_THEMSELVES))
def test_header_bombs_are_refused_without_an_expectation(name):
    with pytest.raises(ModelError, match="'m' is damaged or foreign: "):
        load_tensors(BOMBS[name], None, "'m'")


@pytest.mark.parametrize("expected", [None, {"w": ((1,), torch.float32)}])
def test_unknown_fields_of_an_entry_change_nothing(expected):
    data = file_of({"w": {**tensor([1], 0, 4), "code": "import os"}}, b"\0\0\x80\x3f")
    assert load_tensors(data, expected, "'m'")["w"].tolist() == [1.0]


def test_the_file_that_the_bombs_are_made_of_is_fine(tmp_path):
    write_folder(tmp_path / "gru", {"m.safetensors": file_of({"w": tensor([1], 0, 4)}, b"\0\0\x80\x3f")})
    found = read_folder(tmp_path / "gru").tensors("m.safetensors", {"w": ((1,), torch.float32)})
    assert found["w"].tolist() == [1.0]


def test_a_header_beyond_the_limit_is_not_parsed():
    def read() -> None:
        with pytest.raises(ModelError, match="its header claims 16777218 bytes"):
            load_tensors(data, None, "file")

    data = file_of(b"{" + b" " * JSON_LIMIT + b"}")
    assert peak_of(read) < 1_000_000
    assert load_tensors(file_of(b"{" + b" " * 1000 + b"}"), None, "file") == {}


def test_loading_takes_at_most_twice_the_size_of_the_file(tmp_path):
    write_folder(tmp_path / "gru", {"m.safetensors": {"w": np.zeros((1000, 1000))}})
    expected = {"w": ((1000, 1000), torch.float64)}
    peak = peak_of(lambda: read_folder(tmp_path / "gru").tensors("m.safetensors", expected) and None)
    assert peak < 2.1 * 8_000_000


@given(st.binary(max_size=64))
def test_any_bytes_are_a_model_error_or_tensors(data):
    for candidate in (data, file_of(data), file_of({"w": tensor([len(data)], 0, len(data), "U8")}, data)):
        try:
            found = load_tensors(candidate, None, "file")
        except ModelError:
            continue
        assert sum(t.numel() * t.itemsize for t in found.values()) <= len(candidate)


# --- nothing in a file is run


class Payload:
    """What pickle turns into a command."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def torch_file(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def numpy_file(value: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([value], dtype=object), allow_pickle=True)
    return buffer.getvalue()


FORBIDDEN = (
    "pickle.",
    "os.",
    "subprocess.",
    "exec",
    "compile",
    "import",
    "socket.",
    "ctypes.",
    "marshal.",
    "shutil.",
)
HARMLESS = ("os.scandir", "os.listdir")
heard: list[str] | None = None


def listen(event: str, arguments: tuple[Any, ...]) -> None:
    if heard is not None and event.startswith(FORBIDDEN) and event not in HARMLESS:
        heard.append(event)


def events_of(action: Callable[[], object]) -> list[str]:
    """The audit events of the action by which code could come in, or anything but reading happen."""
    global heard
    if not getattr(events_of, "listening", False):
        sys.addaudithook(listen)  # for good: Python has no way to remove one
        events_of.listening = True  # type: ignore[attr-defined]  # a function may carry attributes
    heard = []
    try:
        action()
        return heard
    finally:
        heard = None


def test_the_listener_hears_a_pickle_run(tmp_path):
    events = events_of(lambda: pickle.loads(pickle.dumps(Payload(tmp_path / "run"))))  # noqa: S301  # our own
    assert "pickle.find_class" in events
    assert "os.mkdir" in events
    assert (tmp_path / "run").exists()


@pytest.mark.parametrize("make", [pickle.dumps, torch_file, numpy_file])
@pytest.mark.parametrize("file", ["config.json", "notes.txt", "model.safetensors", "MANIFEST.json"])
def test_a_file_is_never_run(tmp_path, make, file):
    path = write(tmp_path / "gru")
    load(path)  # imports what loading imports
    (path / file).write_bytes(make(Payload(tmp_path / "run")))
    if file != "MANIFEST.json":
        forge(path)

    def refused() -> None:
        with pytest.raises(ModelError):
            load(path)

    assert events_of(refused) == []
    assert not (tmp_path / "run").exists()


def test_loading_is_silent(tmp_path):
    path = write(tmp_path / "gru")
    load(path)
    assert events_of(lambda: load(path)) == []
