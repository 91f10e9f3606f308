"""The file of `elman compress`: what it holds, what it takes to read it, and checks of both.

    magic, version        7 bytes
    length                8    bytes of the original
    tokens                8    of the model that wrote it
    streams               1    that they were cut into; 0: the original is stored as it is
    body                  8    bytes of what follows the header
    original             16    of the SHA-256 of the original
    model                 8    of the digest of the model
    predictions           8    of the digest of its first predictions: machines that compute otherwise differ there
    made by           1 + m    what computed it, one value a line
    <the body>
    check                 8    of the SHA-256 of all before

Numbers are little-endian. A file that was cut short or changed is refused before anything is decoded.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from elman.errors import ConfigError, DataError, ModelError

MAGIC: Final = b"\x8eelman"
VERSION: Final = 1
MOST_STREAMS: Final = 64
MADE_BY: Final = ("elman", "torch", "numpy", "constriction", "machine", "instruction set", "device")
"""What decides the last bit of a prediction, besides the model."""

_FIELDS: Final = struct.Struct("<6sBQQBQ16s8s8sB")
_CHECK: Final = 8


@dataclass(frozen=True)
class Container:
    """A compressed file, taken apart."""

    length: int
    """Bytes of the original."""
    tokens: int
    streams: int
    """0 where the body is the original."""
    original: bytes
    """16 bytes of its SHA-256."""
    model: bytes
    """8 bytes of the digest of the model that wrote it."""
    predictions: bytes
    """8 bytes of the digest of its first predictions."""
    made_by: tuple[str, ...]
    """The values of `MADE_BY`."""
    body: bytes

    def to_bytes(self) -> bytes:
        """The file."""
        made = "\n".join(self.made_by).encode()[:255]
        sizes = (self.length, self.tokens, self.streams, len(self.body))
        digests = (self.original, self.model, self.predictions)
        whole = _FIELDS.pack(MAGIC, VERSION, *sizes, *digests, len(made)) + made + self.body
        return whole + digest(whole)[:_CHECK]

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "the data") -> "Container":
        """What a file holds; `where` names it in a message.

        Raises:
            DataError: it is no such file, of another version, cut short, or damaged.
        """
        if not data.startswith(MAGIC):
            raise DataError(f"{where}: not a file that elman compressed: give the one that elman compress wrote")
        if data[len(MAGIC) : len(MAGIC) + 1] not in (b"", bytes([VERSION])):
            raise DataError(
                f"{where}: format {data[len(MAGIC)]}, but this elman reads {VERSION}: use the elman that wrote it, or "
                "fetch it again"
            )
        if len(data) < _FIELDS.size:
            raise DataError(f"{where}: cut short, {len(data)} bytes are no whole header: fetch it again")
        _, _, length, tokens, streams, size, original, model, predictions, named = _FIELDS.unpack_from(data)
        start = _FIELDS.size + named
        whole = start + size + _CHECK
        if len(data) < whole:
            raise DataError(
                f"{where}: cut short or damaged, {len(data):,} of {whole:,} bytes are there: fetch it again"
            )
        if digest(data[:-_CHECK])[:_CHECK] != data[-_CHECK:] or len(data) != whole:
            raise DataError(f"{where}: damaged, its checksum does not match: fetch it again")
        made_by = tuple(data[_FIELDS.size : start].decode("utf-8", "replace").split("\n"))
        if streams > MOST_STREAMS or tokens > length:
            raise DataError(
                f"{where}: {tokens:,} tokens in {streams} streams cannot be {length:,} bytes: compress it again"
            )
        return cls(length, tokens, streams, original, model, predictions, made_by, data[start:-_CHECK])

    def check_reader(self, model: bytes, name: str, made_by: tuple[str, ...]) -> None:
        """Refuse to be read by anything but what wrote it.

        Raises:
            ConfigError: another program, machine or device; the message says what differs.
            ModelError: another model.
        """
        if made_by != self.made_by:
            pairs = zip(MADE_BY, self.made_by, made_by, strict=False)
            differ = [f"{what} {there!r:.40}, here {here!r:.40}" for what, there, here in pairs if there != here]
            raise ConfigError(
                f"it was compressed with {'; '.join(differ) or 'other programs'}: predictions differ in their last "
                "bits there, so decompress it where these are the same"
            )
        if model != self.model:
            raise ModelError(
                f"another model than this {name} compressed it, or the same one with other weights: "
                "give the run that compressed it"
            )

    def check_predictions(self, predictions: bytes) -> None:
        """Refuse where the same model predicts something else.

        Raises:
            ConfigError: it does here.
        """
        if predictions != self.predictions:
            raise ConfigError(
                "the model predicts other numbers here than where the file was compressed, as other processors do: "
                "decompress it on that machine, with the same settings of its libraries"
            )

    def checked(self, data: bytes | None) -> bytes:
        """The decoded bytes, if they are the original.

        Raises:
            ConfigError: they are not.
        """
        if data is None or len(data) != self.length or digest(data)[:16] != self.original:
            raise ConfigError(
                "what was decoded is not the original: the model computes otherwise here than where it was compressed; "
                "decompress it on that machine, with the same settings of its libraries"
            )
        return data


def digest(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()
