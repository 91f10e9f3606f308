"""Any bytes as input give their text, or one line that says what is wrong and what to do."""

import codecs
import gzip
import io
import os
import random
import re
import sys
import zlib
from pathlib import Path

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from elman.data import files as read
from elman.data.files import byte_chunks, text_chunks
from elman.errors import ConfigError, DataError, StorageError

SCRIPTS = "naïve 時間旅行者 東京 🙂 e\u0301 \u202eabc\u202c\r\nΩ\n"


def text(*paths, **options):
    return "".join(text_chunks(paths, **options))


def refused(path, content, error=DataError, **options):
    """The message with which the content is refused as text: one line that names the file."""
    path.write_bytes(content)
    with pytest.raises(error) as caught:
        text(path, **options)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    return message


# Every encoded length at every cut: the oracle is decoding the whole at once.
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), st.integers(1, 9))
@example("a" * 15 + SCRIPTS, 1)
def test_chunk_edges_do_not_show(tmp_path_factory, content, size):
    path = tmp_path_factory.getbasetemp() / "edges.txt"
    path.write_bytes(content.encode())
    if expected := content.encode().decode("utf-8-sig"):
        assert text(path, size=size) == expected
    assert b"".join(byte_chunks([path], size=size)) == content.encode()


@given(st.binary(min_size=1), st.integers(1, 5))
def test_replaced_bytes_do_not_depend_on_chunks_either(tmp_path_factory, content, size):
    path = tmp_path_factory.getbasetemp() / "replaced.txt"
    content = b"a plain beginning " + content.replace(b"\0", b"")
    path.write_bytes(content)
    assert text(path, size=size, errors="replace") == content.decode("utf-8", "replace")


@pytest.mark.parametrize("shift", range(-3, 4))
def test_a_character_across_the_edge_of_a_real_chunk(tmp_path, shift):
    path = tmp_path / "long.txt"
    content = "a" * (read.CHUNK + shift) + "🙂時" * 3
    path.write_text(content, encoding="utf-8")
    assert text(path) == content


def test_every_kind_of_character_stays_as_it_is(tmp_path):
    path = tmp_path / "scripts.txt"
    content = SCRIPTS + "e" + "\u0301" * 10_000 + "\r\n\r" + "é"
    path.write_bytes(content.encode())
    assert text(path) == content


@given(
    st.integers(0, 40),
    st.sampled_from([b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xc0\xaf", b"\xe6\x99"]),
    st.integers(1, 7),
)
def test_the_first_bad_byte_is_named_with_its_offset(tmp_path_factory, before, bad, size):
    path = tmp_path_factory.getbasetemp() / "bad.txt"
    content = ("é" * before).encode() + b"plain" + bad
    with pytest.raises(UnicodeDecodeError) as whole:
        content.decode("utf-8")
    message = refused(path, content, size=size)
    assert f"offset {whole.value.start}:" in message
    assert f"0x{content[whole.value.start]:02X}" in message
    assert "--tokens byte" in message
    assert b"".join(byte_chunks([path], size=size)) == content


def test_offsets_count_the_byte_order_mark(tmp_path):
    assert "offset 5:" in refused(tmp_path / "mark.txt", codecs.BOM_UTF8 + b"ab\xff")


def test_one_leading_byte_order_mark_goes(tmp_path):
    path = tmp_path / "mark.txt"
    path.write_bytes(codecs.BOM_UTF8 * 2 + b"ab")
    assert text(path) == "\ufeffab"
    assert text(path, path) == "\ufeffab\n\ufeffab"
    path.write_text("a" * 16 + "\ufeffb", encoding="utf-8")
    assert text(path, size=1) == "a" * 16 + "\ufeffb"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_other_unicode_encodings_are_named_with_the_way_out(tmp_path, encoding):
    message = refused(tmp_path / "wide.txt", "hello world".encode(encoding))
    assert f"iconv -f {encoding} -t utf-8" in message


def test_utf16_without_a_mark_is_a_nul(tmp_path):
    message = refused(tmp_path / "wide.txt", "hello".encode("utf-16-le"))
    assert "NUL byte at offset 1" in message
    assert "utf-16" in message


def test_nul_is_found_wherever_it_is(tmp_path):
    content = "é".encode() * 100 + b"\0"
    assert "NUL byte at offset 200" in refused(tmp_path / "nul.txt", content, size=7)
    assert b"".join(byte_chunks([tmp_path / "nul.txt"])) == content


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (Path(sys.executable).read_bytes()[:4096], "ELF") if sys.platform == "linux" else (b"\x7fELF\2", "ELF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "PNG"),
        (b"PK\x03\x04" + bytes(40), "ZIP"),
        (b"PAR1" + bytes(40) + b"PAR1", "Parquet"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (gzip.compress(b"text", mtime=0), "gzip"),
        (zstandard.compress(b"text"), "Zstandard"),
    ],
)
def test_binary_files_are_refused_as_text_and_read_as_bytes(tmp_path, content, kind):
    message = refused(tmp_path / "file.txt", content)
    assert kind in message
    assert refused(tmp_path / "file.txt", content, size=1) == message
    assert "--tokens byte" in message
    assert b"".join(byte_chunks([tmp_path / "file.txt"])) == content


def test_an_empty_file_is_refused_but_may_stand_beside_another(tmp_path):
    empty, full = tmp_path / "empty.txt", tmp_path / "full.txt"
    full.write_text("a")
    assert "empty" in refused(empty, b"")
    assert text(empty, full) == "a"
    refused(empty, codecs.BOM_UTF8)
    with pytest.raises(DataError):
        list(byte_chunks([full.with_name("empty.gz")]))


def test_a_missing_path_is_refused(tmp_path):
    for path, word in ((tmp_path / "none.txt", "no such"), (tmp_path / "*.csv", "no file matches")):
        with pytest.raises(DataError, match=word) as caught:
            text(path)
        assert path.name in str(caught.value)
    with pytest.raises(DataError, match="without files"):
        text(tmp_path)
    with pytest.raises(ConfigError):
        text()


def test_a_name_with_odd_characters_stays_on_one_line(tmp_path):
    with pytest.raises(DataError) as caught:
        text(tmp_path / "a\nb\udce4")
    assert "\n" not in str(caught.value)
    str(caught.value).encode()
    with pytest.raises(DataError):
        text("nul\0inside")


def test_a_folder_is_its_files_sorted_and_hidden_ones_stay_out(tmp_path):
    for name in ("b.txt", "a/z.txt", "a/.secret", ".git/config", "a.txt", ".hidden"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"<{name}>")
    assert text(tmp_path) == "<a/z.txt>\n<a.txt>\n<b.txt>"
    assert text(tmp_path / "b.txt", tmp_path / "a") == "<b.txt>\n<a/z.txt>"
    assert text(f"{tmp_path}/**/*.txt") == "<a/z.txt>\n<a.txt>\n<b.txt>"
    assert text(f"{tmp_path}/[ab].txt") == "<a.txt>\n<b.txt>"


def test_a_file_whose_name_looks_like_a_pattern(tmp_path):
    (tmp_path / "[a].txt").write_text("pattern")
    (tmp_path / "a.txt").write_text("a")
    assert text(tmp_path / "[a].txt") == "pattern"


def test_broken_links_are_named(tmp_path):
    (tmp_path / "link.txt").symlink_to(tmp_path / "gone.txt")
    for path in (tmp_path / "link.txt", tmp_path):
        with pytest.raises(DataError, match=r"link\.txt.*broken link"):
            text(path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_no_permission_is_a_storage_error(tmp_path):
    path = tmp_path / "secret.txt"
    path.write_text("a")
    path.chmod(0)
    with pytest.raises(StorageError, match=r"secret\.txt.*permission"):
        text(path)


@pytest.mark.parametrize(
    ("failure", "word"),
    [(PermissionError(13, "denied"), "permission"), (OSError(5, "Input/output error"), "Input")],
)
def test_a_disk_that_fails_is_a_storage_error(tmp_path, monkeypatch, failure, word):
    path = tmp_path / "text.txt"
    path.write_text("a")

    def fail(*_):
        raise failure

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(StorageError, match=rf"text\.txt.*{word}"):
        text(path)


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SCRIPTS.encode())))
    assert text("-", size=3) == SCRIPTS
    assert not sys.stdin.buffer.closed
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError, match="standard input"):
        text("-")


def test_the_file_is_never_read_whole(tmp_path, monkeypatch):
    path = tmp_path / "line.txt"
    path.write_bytes(b"x" * (4 * read.CHUNK))
    assert max(map(len, text_chunks([path]))) <= read.CHUNK
    pieces = text_chunks([path])
    assert len(next(pieces)) + len(next(pieces)) < 3 * read.CHUNK


COMPRESS = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor(write_checksum=True).compress}


@pytest.mark.parametrize("suffix", COMPRESS)
class TestCompressed:
    CONTENT = (SCRIPTS * 500).encode() + random.Random(0).randbytes(20_000).hex().encode()

    def packed(self, suffix, content=CONTENT):
        return COMPRESS[suffix](content)

    def test_is_read_like_the_file_itself(self, tmp_path, suffix):
        path = tmp_path / f"a.txt{suffix.upper()}"
        path.write_bytes(self.packed(suffix))
        assert text(path, size=4099) == self.CONTENT.decode()
        assert b"".join(byte_chunks([path])) == self.CONTENT

    def test_members_are_joined(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(self.packed(suffix) + self.packed(suffix, b"") + self.packed(suffix, b"end"))
        assert text(path) == self.CONTENT.decode() + "end"

    def test_cut_short_is_refused_at_every_length(self, tmp_path, suffix):
        whole = self.packed(suffix)
        for length in (*range(1, 40), len(whole) // 2, len(whole) - 9, len(whole) - 1):
            refused(tmp_path / f"a{suffix}", whole[:length])
        assert "short" in refused(tmp_path / f"a{suffix}", whole[:-1])

    def test_a_flipped_bit_is_refused(self, tmp_path, suffix):
        whole = bytearray(self.packed(suffix, b"a short text without redundancy: 8231"))
        for place in (0, 1, len(whole) // 2, len(whole) - 1):
            damaged = whole.copy()
            damaged[place] ^= 0x40
            refused(tmp_path / f"a{suffix}", bytes(damaged))

    def test_what_is_no_such_file_and_what_trails_are_refused(self, tmp_path, suffix):
        assert "not" in refused(tmp_path / f"a{suffix}", b"plain text")
        refused(tmp_path / f"a{suffix}", self.packed(suffix) + b"garbage after the end")

    def test_offsets_are_those_of_the_text(self, tmp_path, suffix):
        assert "offset 9:" in refused(tmp_path / f"a{suffix}", self.packed(suffix, b"plain one\xff"))

    def test_a_bomb_is_stopped_while_it_unfolds(self, tmp_path, suffix, monkeypatch):
        monkeypatch.setattr(read, "FREE_BYTES", 1 << 20)
        path = tmp_path / f"bomb{suffix}"
        path.write_bytes(self.packed(suffix, bytes(64 << 20)))
        sizes = []
        with pytest.raises(DataError, match="200 times") as caught:
            sizes.extend(map(len, byte_chunks([path])))
        assert path.name in str(caught.value)
        assert sum(sizes) < 40 << 20

    def test_a_dense_text_may_be_long_and_a_small_one_dense(self, tmp_path, suffix, monkeypatch):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(self.packed(suffix, b"a" * (1 << 20)))
        assert len(text(path)) == 1 << 20
        monkeypatch.setattr(read, "FREE_BYTES", 1 << 10)
        path.write_bytes(self.packed(suffix))
        assert len(text(path)) == len(self.CONTENT.decode())


def test_zstandard_skippable_frames_and_windows(tmp_path):
    path = tmp_path / "a.zst"
    skippable = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    path.write_bytes(skippable + zstandard.compress(b"text") + skippable)
    assert text(path) == "text"
    window_1_gib = bytes.fromhex("28b52ffd") + bytes([0x00, (30 - 10) << 3]) + bytes.fromhex("010000")
    assert "window" in refused(path, window_1_gib)


def test_zstandard_missing_names_the_package(tmp_path, monkeypatch):
    path = tmp_path / "a.zst"
    path.write_bytes(zstandard.compress(b"text"))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    if sys.version_info < (3, 14):
        with pytest.raises(ConfigError, match=re.escape('pip install "elman[data]"')):
            text(path)


def test_a_raw_deflate_stream_is_not_gzip(tmp_path):
    refused(tmp_path / "a.gz", zlib.compress(b"text"))
