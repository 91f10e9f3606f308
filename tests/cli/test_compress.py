"""`elman compress` and `elman decompress`: files in, the same files out, figures that add up, clear refusals."""

import bz2
import lzma
import shutil
from pathlib import Path

import pytest
from command import ENGLISH, TINY, elman, good, one_line, program, tree

from elman.cli import progress
from elman.inference import compression as coding

pytest.importorskip("constriction", reason='needs the "compress" extra')


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and a run of 60 steps on it, which no test changes."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "text.txt").write_text(ENGLISH)
    good("train", "text.txt", *TINY, "--steps", "60", "--lr", "0.03", "--run", "r", "-q", folder=folder)
    good("compress", "text.txt", "--run", "r", folder=folder)
    return folder


@pytest.fixture
def here(home: Path, tmp_path: Path) -> Path:
    """The text in a folder of its own."""
    shutil.copy(home / "text.txt", tmp_path)
    return tmp_path


@pytest.mark.parametrize("model", ["r", "r/ngram"])
def test_a_file_comes_back_in_another_process(model: str, home: Path, here: Path) -> None:
    found = good("compress", "text.txt", "--run", home / model, "--json", folder=here).json
    small = here / "text.txt.elman"
    assert found["compressed_bytes"] == small.stat().st_size < found["bytes"] == len(ENGLISH)
    (here / "text.txt").unlink()
    done = program("decompress", small, "--run", home / model, cwd=here)
    out, err = done.communicate()
    assert done.returncode == 0, err
    assert all(line.startswith("decompressing ") for line in err.splitlines()), err  # where it is slow
    assert (
        out == f"{small.stat().st_size:,} -> {len(ENGLISH):,} bytes, identical to the original\n{here / 'text.txt'}\n"
    )
    assert (here / "text.txt").read_text() == ENGLISH
    assert sorted(p.name for p in here.iterdir()) == ["text.txt", "text.txt.elman"]


@pytest.mark.parametrize(
    "data", [b"", b"x", b"\xef\xbb\xbfShe saw\r\n\0\xff the \xe2\x80\xa6 lamp.\r\n", bytes(range(256)) * 3]
)
def test_any_file_comes_back(data: bytes, home: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(data)
    good("compress", "f", "--run", home / "r", "--output", "small", folder=tmp_path)
    good("decompress", "small", "--run", home / "r", "--output", "again", folder=tmp_path)
    assert (tmp_path / "again").read_bytes() == data


def test_the_figures_add_up(home: Path, here: Path) -> None:
    found = good("compress", "text.txt", "--run", home / "r", "--json", folder=here).json
    scored = good("evaluate", home / "r", "text.txt", "--json", folder=here).json
    bits = scored["bits_per_character"] * len(ENGLISH)
    assert found["model_bits"] == pytest.approx(bits, rel=1e-5)
    assert found["other_bits"] == 0
    body = 8 * (found["compressed_bytes"] - found["header_bytes"])
    assert body == pytest.approx(bits, rel=5e-3)
    assert found["coding_bits"] == pytest.approx(body - found["model_bits"], abs=1e-6)
    assert found["bits_per_character"] == 8 * found["compressed_bytes"] / len(ENGLISH)
    assert (found["tokens"], found["characters"], found["streams"], found["stored"]) == (*[len(ENGLISH)] * 2, 1, False)
    assert found["xz_bytes"] == len(lzma.compress(ENGLISH.encode(), preset=9 | lzma.PRESET_EXTREME))
    assert found["bz2_bytes"] == len(bz2.compress(ENGLISH.encode(), 9))


def test_what_is_printed_is_what_was_measured(home: Path, here: Path) -> None:
    out = good("compress", "text.txt", "--run", home / "r", folder=here).out
    found = good("compress", "text.txt", "--run", home / "r", "--output", "x", "--json", folder=here).json
    rows = {line[:20].strip(): line[20:] for line in out.splitlines()[:-1]}
    assert rows["bytes"].startswith(f"{len(ENGLISH):,} -> {found['compressed_bytes']:,} (")
    assert float(rows["bits per character"].split(",")[0]) == pytest.approx(found["bits_per_character"], abs=1e-4)
    parts = [float(rows[name].split()[0]) for name in ("the model", "other", "coding", "header")]
    assert sum(parts) == pytest.approx(found["bits_per_character"], abs=3e-4)
    assert parts[0] == pytest.approx(found["model_bits"] / len(ENGLISH), abs=1e-4)
    assert rows["xz"].startswith(f"{found['xz_bytes']:,} bytes, ")
    assert out.splitlines()[-1] == "text.txt.elman"


def test_what_would_grow_is_stored_and_said_to_be(home: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(range(256)))
    out = good("compress", "f", "--run", home / "r", folder=tmp_path).out
    assert "Stored without compression: with this model the file would become longer.\n" in out
    (tmp_path / "e").write_bytes(b"")
    found = good("compress", "e", "--run", home / "r", "--json", folder=tmp_path).json
    assert (found["bytes"], found["stored"], found["bits_per_character"]) == (0, True, None)


def test_a_long_file_shows_how_far_it_is(home: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    lines = good("compress", "text.txt", "--run", home / "r", folder=here).err.splitlines()
    assert lines[-1] == f"compressing text.txt: {len(ENGLISH):,} of {len(ENGLISH):,} tokens"
    (here / "text.txt").unlink()
    assert (
        "decompressing text.txt.elman: 1 of"
        in good("decompress", "text.txt.elman", "--run", home / "r", folder=here).err
    )


# --- refusals: one line, the exit code, and nothing written


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("compress gone.txt --run r", 3, ("'gone.txt': no such file",)),
        ("compress r --run r --output x", 3, ("'r': not a regular file",)),
        ("compress text.txt --run nowhere --output x", 4, ("no run or model at 'nowhere'",)),
        ("compress text.txt --output x", 2, ("--run",)),
        ("compress text.txt --run r", 2, ("'text.txt.elman' exists already", "--output")),
        ("compress text.txt --run r --output r", 2, ("'r' exists already",)),
        ("compress text.txt --run r --output no/x", 2, ("no folder 'no'",)),
        ("decompress text.txt.elman --run r", 2, ("'text.txt' exists already",)),
        ("decompress text.txt --run r", 2, ("does not end in .elman", "--output")),
        ("decompress text.txt --run r --output x", 3, ("'text.txt': not a file that elman compressed",)),
        ("decompress gone.elman --run r", 3, ("'gone.elman': no such file",)),
        (
            "decompress text.txt.elman --run r/ngram --output x",
            4,
            ("compressed with another model", "-gram: give the run"),
        ),
    ],
)
def test_refusals(arguments: str, code: int, words: tuple[str, ...], home: Path) -> None:
    before = tree(home)
    done = elman(*arguments.split(), folder=home)
    message = one_line(done)
    assert (done.code, done.out) == (code, ""), message
    assert all(word in message for word in words), message
    assert tree(home) == before


def test_a_damaged_file_is_refused_before_the_model_is_read(home: Path, tmp_path: Path) -> None:
    blob = (home / "text.txt.elman").read_bytes()
    for name, data, words in (
        ("cut.elman", blob[:-9], "cut short or damaged"),
        ("bit.elman", blob[:200] + bytes([blob[200] ^ 4]) + blob[201:], "checksum does not match"),
    ):
        (tmp_path / name).write_bytes(data)
        done = elman("decompress", name, "--run", "nowhere", folder=tmp_path)
        assert (done.code, done.out) == (3, "")
        assert one_line(done).startswith(f"'{name}': ")
        assert words in done.err
        assert not (tmp_path / name.removesuffix(".elman")).exists()


def test_another_machine_is_refused_by_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(home)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "ALTIVEC")
    done = elman("decompress", "text.txt.elman", "--run", "r", "--output", "x", folder=home)
    assert done.code == 2
    assert "instruction set" in one_line(done)
    assert "here 'ALTIVEC'" in done.err
    assert tree(home) == before


@pytest.mark.parametrize(
    "arguments", ["compress text.txt --run r --output x", "decompress text.txt.elman --run r --output x"]
)
def test_an_interrupt_leaves_nothing(arguments: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = tree(home)
    monkeypatch.setattr(coding.EscapeCoder, "__init__", interrupted)
    done = elman(*arguments.split(), folder=home)
    assert (done.code, done.out, done.err) == (130, "", "elman: interrupted\n")
    assert tree(home) == before


def test_a_result_that_is_not_the_original_is_not_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(home)
    monkeypatch.setattr(coding, "START", 1)
    monkeypatch.setattr(coding, "prediction_digest", lambda *_: (home / "text.txt.elman").read_bytes()[56:64])
    done = elman("decompress", "text.txt.elman", "--run", "r", "--output", "x", folder=home)
    assert done.code == 2
    assert "what was decoded is not the original" in one_line(done)
    assert tree(home) == before
