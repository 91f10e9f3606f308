"""The file of `elman compress`: its layout, and the checks of the file, of its reader and of the result.

    magic, version        7 bytes
    length                8    bytes of the original
    tokens                8    of the model that wrote it
    streams               1    that they were cut into; 0: the original is stored as it is
    body                  8    bytes of what follows the header
    original             16    of the SHA-256 of the original
    model                 8    of the digest of the model
    predictions           8    of the digest of its first predictions, which differ on other processors
    platform          1 + m    the programs and the machine that computed it, one value a line
    <the body>
    check                 8    of the SHA-256 of all before

Numbers are little-endian. A file that was cut short or changed is refused before anything is decoded.
"""

import hashlib
import struct
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from elman.errors import ConfigError, DataError, ModelError

MAGIC: Final = b"\x8eelman"
VERSION: Final = 2
"""Of what is written: a vocabulary without `<unk>` passes over tokens that it lacks. In version 1 they are token 0."""
MARKED: Final = 3
"""The version of a text with a byte order mark before it, which is no token. In version 2 it is one."""
VERSIONS: Final = (1, VERSION, MARKED)
MAX_STREAMS: Final = 64
PLATFORM: Final = ("elman", "torch", "numpy", "constriction", "machine", "instruction set", "device", "numerics")
"""What the last bits of a prediction depend on, besides the model."""

_FIELDS: Final = struct.Struct("<6sBQQBQ16s8s8sB")
_CHECK: Final = 8


@dataclass(frozen=True)
class Container:
    """A compressed file, taken apart."""

    length: int
    """Bytes of the original."""
    tokens: int
    """Tokens of the original."""
    streams: int
    """Streams that they were cut into; 0 where the body is the original."""
    original_digest: bytes
    """16 bytes of its SHA-256."""
    model_digest: bytes
    """8 bytes that identify the model that wrote it."""
    prediction_digest: bytes
    """8 bytes that identify its first predictions."""
    platform: tuple[str, ...]
    """The values of `PLATFORM`."""
    body: bytes
    version: int = VERSION

    def to_bytes(self) -> bytes:
        """The file."""
        platform = "\n".join(self.platform).encode()[:255]
        sizes = (self.length, self.tokens, self.streams, len(self.body))
        digests = (self.original_digest, self.model_digest, self.prediction_digest)
        data = _FIELDS.pack(MAGIC, self.version, *sizes, *digests, len(platform)) + platform + self.body
        return data + sha256(data)[:_CHECK]

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "the data") -> "Container":
        """Take a compressed file apart.

        Args:
            data: the file.
            where: its name, for messages.

        Returns:
            Its contents; nothing was decoded yet.

        Raises:
            DataError: it was not written by `elman compress`, has another version, is cut short, or damaged.
        """
        if not data.startswith(MAGIC):
            raise DataError(f"{where}: not a file that elman compressed: give one that elman compress wrote")
        if data[len(MAGIC) : len(MAGIC) + 1] not in (b"", *(bytes([version]) for version in VERSIONS)):
            raise DataError(
                f"{where}: format {data[len(MAGIC)]}, but this elman reads {VERSIONS[0]} to {VERSIONS[-1]}: "
                "use the version of elman that wrote it, or copy or download it again"
            )
        if len(data) < _FIELDS.size:
            raise DataError(f"{where}: cut short, {len(data)} bytes are less than a header: copy or download it again")
        _, version, length, tokens, streams, size, original, model, predictions, platform_size = _FIELDS.unpack_from(
            data
        )
        start = _FIELDS.size + platform_size
        total = start + size + _CHECK
        if len(data) < total:
            raise DataError(
                f"{where}: cut short or damaged, {len(data):,} of {total:,} bytes are there: copy or download it again"
            )
        if sha256(data[:-_CHECK])[:_CHECK] != data[-_CHECK:] or len(data) != total:
            raise DataError(f"{where}: damaged, its checksum does not match: copy or download it again")
        platform = tuple(data[_FIELDS.size : start].decode("utf-8", "replace").split("\n"))
        if streams > MAX_STREAMS or tokens > length:
            raise DataError(
                f"{where}: {tokens:,} tokens in {streams} streams cannot be {length:,} bytes: compress it again"
            )
        return cls(length, tokens, streams, original, model, predictions, platform, data[start:-_CHECK], version)

    def check_reader(self, model_digest: bytes, name: str, platform: tuple[str, ...]) -> None:
        """Refuse another model or another machine than those that wrote the file.

        Args:
            model_digest: 8 bytes that identify the model of the reader.
            name: of that model, for messages.
            platform: the values of `PLATFORM` of the reader.

        Raises:
            ConfigError: another program, machine or device; the message names what differs.
            ModelError: another model.
        """
        if platform != self.platform:
            values = zip_longest(PLATFORM, self.platform, platform, fillvalue="")
            differ = [f"{what} {there!r:.40}, here {here!r:.40}" for what, there, here in values if there != here]
            raise ConfigError(
                f"this file was compressed with {'; '.join(differ) or 'other programs'}: predictions have other "
                "last digits there, so decompress it where these are the same"
            )
        if model_digest != self.model_digest:
            raise ModelError(
                f"this file was compressed with another model, or with other weights of this {name}: "
                "give the run that compressed it"
            )

    def check_predictions(self, prediction_digest: bytes) -> None:
        """Refuse a machine on which the same model predicts other numbers.

        Args:
            prediction_digest: 8 bytes that identify the first predictions of the reader.

        Raises:
            ConfigError: they differ.
        """
        if prediction_digest != self.prediction_digest:
            raise ConfigError(
                "the model predicts other numbers here than where the file was compressed, as other processors do: "
                "decompress it on that machine, with the same settings of its libraries"
            )

    def check_original(self, data: bytes | None) -> bytes:
        """The decoded bytes, if they are the original.

        Args:
            data: the decoded bytes; None where decoding failed.

        Returns:
            The same bytes.

        Raises:
            ConfigError: they are not the original.
        """
        if data is None or len(data) != self.length or sha256(data)[:16] != self.original_digest:
            raise ConfigError(
                "what was decoded is not the original: the model computes other numbers here than where it was "
                "compressed; decompress it on that machine, with the same settings of its libraries"
            )
        return data


def sha256(data: bytes) -> bytes:
    """The SHA-256 of bytes, 32 bytes."""
    return hashlib.sha256(data).digest()
