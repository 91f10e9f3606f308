"""Bad input: one line that says what is wrong, the documented exit code, and nothing overwritten."""

import hashlib
import os
import re
import resource
import shutil
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import ENGLISH, TINY, Done, elman, good, one_line, tree, weights

from elman.errors import ConfigError
from elman.forecasting.series import sine

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
BAD_TEXTS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty": (b"", ("empty",)),
    "png": (PNG, ("PNG", "--tokens byte")),
    "elf": (b"\x7fELF\x02\x01" + bytes(200), ("ELF",)),
    "parquet": (b"PAR1" + bytes(200), ("Parquet",)),
    "nul": (b"abc\0" * 200, ("NUL", "offset 3")),
    "latin1": (b"abcdefg caf\xe9 " * 99, ("0xE9", "offset 11", "iconv")),
    "late": ("é".encode() * 200_000 + b"\xff" + b"a" * 50, ("0xFF", "offset 400000")),
    "utf16": ((ENGLISH).encode("utf-16"), ("UTF-16", "iconv")),
    "gzip": (b"\x1f\x8b\x08" + bytes(100), ("gzip",)),
    "one byte": (b"a", ("1 tokens",)),
    "short": (b"abcdefghij", ("9 tokens", "64", "4 rows x 16 steps", "--batch", "--window")),
}
BAD_SETTINGS: dict[str, tuple[int, tuple[str, ...]]] = {
    "--hidden 0": (2, ("hidden", "greater than 0")),
    "--hidden -1": (2, ("--hidden -1: it must be greater than 0",)),
    "--hidden 8.5": (2, ("--hidden", "8.5")),
    "--hidden x": (2, ("--hidden", "x")),
    "--hidden": (2, ("--hidden", "requires an argument")),
    "--hidden 1000000000": (2, ("hidden", "65536")),
    "--hidden 65536 --layers 64": (2, ("parameters", "lower hidden")),
    "--layers 0": (2, ("layers",)),
    "--layers 65": (2, ("layers", "64")),
    "--batch 0": (2, ("batch",)),
    "--batch 10000000": (2, ("batch", "1000000")),
    "--batch 100000": (3, ("tokens", "1,600,000", "--batch")),
    "--window 0": (2, ("window",)),
    "--window 1000000": (3, ("4,000,000", "--window")),
    "--epochs 0": (2, ("epochs",)),
    "--steps 0": (2, ("steps",)),
    "--steps -3": (2, ("steps",)),
    "--minutes -1": (2, ("minutes",)),
    "--minutes 0": (2, ("minutes",)),
    "--minutes nan": (2, ("minutes", "finite")),
    "--minutes inf": (2, ("minutes", "finite")),
    "--lr nan": (2, ("lr", "finite")),
    "--lr inf": (2, ("lr", "finite")),
    "--lr -1": (2, ("lr",)),
    "--clip nan": (2, ("clip",)),
    "--clip -1": (2, ("clip",)),
    "--dropout 1": (2, ("dropout", "less than 1")),
    "--dropout -0.1": (2, ("dropout",)),
    "--seed -1": (2, ("seed",)),
    "--limit 0": (2, ("limit",)),
    "--limit 20": (3, ("18 tokens",)),
    "--cell grru": (2, ("'grru'", "did you mean gru?", "elman, elman-relu, gru, lstm")),
    "--engine warp": (2, ("'warp'", "auto, aten, bptt, loop")),
    "--recipe x": (2, ("'x'", "elman, alone, lecture, notes")),
    "--clean leters": (2, ("'leters'", "letters", "lower-spaces")),
    "--level letter": (2, ("letter", "char", "word", "byte")),
    "--batching shuffled": (2, ("'shuffled'", "sequential", "random", "reference-random")),
    "--device tpu": (2, ("'tpu'", "cpu")),
    "--device nonsense": (2, ("'nonsense'", "cpu")),
    "--hiden 3": (2, ("--hiden", "--hidden")),
    "--config nowhere.toml": (2, ("nowhere.toml",)),
}
BAD_FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "not TOML": ("seed = 1\nhidden =\n", ("c.toml", "line 2")),
    "misspelt": ("hiden = 8", ("c.toml", "'hiden'", "did you mean hidden?")),
    "a table": ("[network]\nhidden = 8", ("'network'",)),
    "wrong type": ('hidden = "many"', ("c.toml", "hidden", "'many'")),
    "no sources": ("sources = []", ("c.toml", "sources")),
    "sources, a string": ('sources = "text.txt"', ("sources",)),
    "tied without an embedding": ("tied = true", ("embedding",)),
    "initialisation": ('init = "x"', ("'x'", "elman, reference, torch")),
    "optimizer": ('optimizer = "adm"', ("'adm'", "adamw")),
    "not a number": ("weight_decay = nan", ("weight_decay", "finite")),
    "reports": ("reports = 0", ("reports",)),
    "held out": ("held_out = 1.5", ("1.5",)),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and a finished run of 10 steps, which no test changes."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "text.txt").write_text(ENGLISH)
    good("train", "text.txt", *TINY, "--lr", "0.003", "--steps", "10", "--run", "r", "-q", folder=folder)
    return folder


@pytest.fixture
def copy(home: Path, tmp_path: Path) -> Path:
    """A run that a test may damage; it still reads the text of `home`."""
    return Path(shutil.copytree(home / "r", tmp_path / "copy"))


def refused(done: Done, code: int, *words: str) -> str:
    message = one_line(done)
    assert done.code == code, message
    assert all(word in message for word in words), message
    return message


# --- texts


@pytest.mark.parametrize("verb", ["train", "data", "stats"])
@pytest.mark.parametrize("kind", BAD_TEXTS)
def test_a_text_that_cannot_be_used(verb: str, kind: str, tmp_path: Path) -> None:
    contents, words = BAD_TEXTS[kind]
    if kind == "short" and verb != "train":
        pytest.skip("short texts can be looked at")
    (tmp_path / "t.txt").write_bytes(contents)
    before = tree(tmp_path)
    more = [*TINY, "--run", "r"] if verb == "train" else []
    refused(elman(verb, "t.txt", *more, folder=tmp_path), 3, *words)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("missing.txt", ("missing.txt", "no such file")),
        ("nowhere", ("'nowhere'", "human-numbers, python-docs, time-machine")),
        ("time-machin", ("did you mean time-machine",)),
        ("none/*.txt", ("no file matches",)),
        ("hollow", ("without files",)),
        ("dangling.txt", ("broken link",)),
        ("-", ("standard input", "empty")),
        ("/dev/zero", ("/dev/zero", "a device")),
    ],
)
def test_a_source_that_is_not_there(source: str, words: tuple[str, ...], home: Path, tmp_path: Path) -> None:
    (tmp_path / "hollow").mkdir()
    (tmp_path / "dangling.txt").symlink_to("nothing")
    for call in (
        ["train", source, "--run", "run"],
        ["data", source],
        ["stats", source],
        ["evaluate", home / "r", source],
    ):
        refused(elman(*call, folder=tmp_path), 3, *words)
    assert not (tmp_path / "run").exists()


def test_binary_at_level_byte_is_welcome(tmp_path: Path) -> None:
    (tmp_path / "t.png").write_bytes(PNG * 4)
    assert good("data", "t.png", "--level", "byte", "--json", folder=tmp_path).json["symbols"] == 256


def test_a_text_of_one_symbol_is_learnt_to_perplexity_one(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a" * 2000)
    (tmp_path / "c.toml").write_text("unknown = false\n")
    call = ["train", "t.txt", *TINY, "--steps", "3", "--config", "c.toml", "--run", "r", "-q"]
    assert good(*call, folder=tmp_path).out
    found = good("evaluate", "r", "--json", folder=tmp_path).json
    assert (found["perplexity"], found["nats"]) == (1.0, 0.0)
    assert found["baselines"] == {"uniform": 1.0, "unigram": 1.0, "1-gram": 1.0}
    assert good("generate", "r", "a", "--length", "5", folder=tmp_path).out == "aaaaaa\n"


def test_prompts_of_the_samples_are_read_before_a_folder_is_made(home: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('prompts = ["Ω"]', encoding="utf-8")
    call = ["train", home / "text.txt", *TINY, "--steps", "2", "--config", "c.toml", "--run", "r"]
    refused(elman(*call, folder=tmp_path), 3, "'Ω'")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("content", [None, b"not the book"])
def test_a_download_that_cannot_be(content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("ELMAN_OFFLINE", "1")
    path = tmp_path / "timemachine.txt"
    words = ["ELMAN_OFFLINE", "save the book yourself", "090b5e7e70c295757f55df93cb0a180b9691891a"]
    if content:
        path.write_bytes(content)
        words = [hashlib.sha1(content, usedforsecurity=False).hexdigest(), "delete the file"]
    for call in (["train", "time-machine", "--run", tmp_path / "r"], ["data", "time-machine"]):
        refused(elman(*call), 3, str(path), *words)
    assert {p.name for p in tmp_path.iterdir()} == ({"timemachine.txt"} if content else set())


# --- settings


@pytest.mark.parametrize("flags", BAD_SETTINGS)
def test_a_setting_that_cannot_be(flags: str, home: Path) -> None:
    code, words = BAD_SETTINGS[flags]
    given = flags.split()
    tiny = [word for pair in zip(TINY[::2], TINY[1::2], strict=True) if pair[0] not in given for word in pair]
    before = tree(home)
    refused(elman("train", "text.txt", "--run", "new", *tiny, *given, folder=home), code, *words)
    assert tree(home) == before


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_configuration_file_that_cannot_be(kind: str, home: Path, tmp_path: Path) -> None:
    content, words = BAD_FILES[kind]
    (tmp_path / "c.toml").write_text(content)
    source = [] if "sources" in content else [home / "text.txt"]
    refused(elman("train", *source, "--config", "c.toml", "--run", "new", folder=tmp_path), 2, *words)
    assert {p.name for p in tmp_path.iterdir()} == {"c.toml"}


def test_a_variable_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_HIDDEN", "many")
    refused(elman("train", "--print-config"), 2, "environment", "hidden", "'many'")


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("frobnicate", 2, ("frobnicate", "train, compare, evaluate, generate, rollout, forecast, reproduce")),
        ("evaluate", 2, ("requires an argument",)),
        ("evaluate r --limit -5", 2, ("--limit", ">= 1")),
        ("evaluate r --limit 0", 2, ("--limit", ">= 1")),
        ("evaluate r --protocol reset --window 0", 2, ("--window", ">= 1")),
        ("evaluate r --protocol best", 2, ("best", "carried", "reset")),
        ("evaluate r --engine warp", 2, ("'warp'", "auto, aten, bptt, loop")),
        ("evaluate r --device nonsense", 2, ("'nonsense'",)),
        ("evaluate r --clean lower", 2, ("--clean",)),
        ("evaluate r --per-token text.txt", 2, ("text.txt", "exists already")),
        ("evaluate r --per-token none/tokens.tsv", 74, ("none/tokens.tsv",)),
        ("generate r He --temperature -1", 2, ("temperature", "0 or more")),
        ("generate r He --temperature nan", 2, ("temperature",)),
        ("generate r He --temperature inf", 2, ("temperature",)),
        ("generate r He --top-k 0", 2, ("--top-k", ">= 1")),
        ("generate r He --top-p 0", 2, ("top_p",)),
        ("generate r He --top-p 1.5", 2, ("top_p",)),
        ("generate r He --length -1", 2, ("--length", ">= 0")),
        ("generate r He --length 1.5", 2, ("--length", "1.5")),
        ("generate r He --length 1e3", 2, ("--length is '1e3': give a whole number",)),
        ("train text.txt --hidden wide", 2, ("--hidden is 'wide': give a whole number",)),
        ("train text.txt --minutes soon", 2, ("--minutes is 'soon': give a number",)),
        ("train text.txt --weight-decay 0.1", 2, ("--weight-decay", "--config", "weight_decay")),
        ("generate r He --samples 0", 2, ("--samples", ">= 1")),
        ("generate r He --seed -1", 2, ("--seed", ">= 0")),
        ("generate r He --lenght 5", 2, ("--lenght", "--length")),
        ("generate r -", 3, ("standard input", "empty")),
        ("data text.txt --limit 0", 2, ("--limit", ">= 1")),
        ("data text.txt --clean leters", 2, ("'leters'", "letters")),
        ("data --level letter", 2, ("letter", "char")),
    ],
)
def test_a_call_that_cannot_be(call: str, code: int, words: tuple[str, ...], home: Path) -> None:
    before = tree(home)
    done = elman(*call.split(), folder=home)
    refused(done, code, *words)
    assert not done.out
    assert tree(home) == before


def test_an_unseen_prompt_from_standard_input_in_another_encoding(home: Path) -> None:
    refused(elman("generate", "r", "-", folder=home, stdin=b"caf\xe9"), 3, "standard input", "offset 3")


# --- run folders


def test_an_existing_run_is_not_touched(home: Path) -> None:
    before = tree(home)
    refused(elman("train", "text.txt", *TINY, "--run", "r", folder=home), 2, "'r'", "exists already", "--resume r")
    refused(elman("train", "text.txt", *TINY, "--run", "text.txt", folder=home), 2, "exists already")
    assert tree(home) == before


@pytest.mark.parametrize("place", ["text.txt/r", "x" * 300, "a\0b", "/proc/elman/r"])
def test_a_place_that_no_run_can_have(place: str, home: Path) -> None:
    before = tree(home)
    done = elman("train", "text.txt", *TINY, "--steps", "1", "--run", place, folder=home)
    assert place[:40].replace("\0", "\\x00") in one_line(done)
    assert done.code == (2 if "\0" in place else 74)
    assert tree(home) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_place(home: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    refused(elman("train", home / "text.txt", *TINY, "--run", "r", folder=tmp_path), 74, "'r'")


@pytest.mark.parametrize("name", ["line\nbreak", "emoji 🎉", "-r", "%s {x} [bold]"])
def test_an_odd_name_of_a_run_is_only_a_name(name: str, home: Path, tmp_path: Path) -> None:
    call = ["train", home / "text.txt", *TINY, "--steps", "1", f"--run={name}", "-q"]
    assert good(*call, folder=tmp_path).out
    refused(elman(*call, folder=tmp_path), 2, "exists already")
    assert good("evaluate", f"--run={name}", "--json", folder=tmp_path).json["model"] == name


def newest(run: Path) -> Path:
    return sorted((run / "checkpoints").glob("step-*"))[-1]


def every(run: Path, name: str) -> Iterator[Path]:
    """That file of every checkpoint, so that there is no whole one to fall back to."""
    yield from (run / "checkpoints").glob(f"step-*/{name}")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    path.write_bytes(bytes(data))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def replace_by_nothing(run: Path) -> None:
    shutil.rmtree(run)
    run.mkdir()


def replace_by_a_foreign_model(run: Path) -> None:
    replace_by_nothing(run)
    (run / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def replace_by_a_file(run: Path) -> None:
    shutil.rmtree(run)
    run.write_text("a file")


FILE_DAMAGE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a bit of the weights": ("model.safetensors", flip),
    "a bit of the vocabulary": ("vocab.json", flip),
    "weights cut short": ("model.safetensors", cut),
    "weights gone": ("model.safetensors", Path.unlink),
    "no manifest": ("MANIFEST.json", Path.unlink),
    "a manifest cut short": ("MANIFEST.json", cut),
}
FOLDER_DAMAGE: dict[str, Callable[[Path], None]] = {
    "no checkpoints": lambda run: shutil.rmtree(run / "checkpoints"),
    "an empty folder": replace_by_nothing,
    "foreign": replace_by_a_foreign_model,
    "gone": shutil.rmtree,
    "a file": replace_by_a_file,
}


def damage(run: Path, kind: str) -> None:
    if kind in FOLDER_DAMAGE:
        FOLDER_DAMAGE[kind](run)
        return
    name, spoil = FILE_DAMAGE[kind]
    for path in every(run, name):
        spoil(path)


@pytest.mark.parametrize("kind", [*FILE_DAMAGE, *FOLDER_DAMAGE])
def test_a_damaged_or_foreign_run_is_refused(kind: str, copy: Path) -> None:
    damage(copy, kind)
    before = tree(copy.parent)
    for call in (["evaluate", copy], ["generate", copy, "He"], ["train", "--resume", copy, "--steps", "12"]):
        done = elman(*call)
        refused(done, 4, str(copy))
        assert not done.out
    assert tree(copy.parent) == before


def test_a_damaged_newest_checkpoint_leaves_the_one_before(copy: Path) -> None:
    flip(newest(copy) / "training.safetensors")
    done = good("train", "--resume", copy, "--steps", "12")
    assert "SHA-256" in done.err
    assert newest(copy).name == "step-000012"


def test_damaged_records_beside_the_checkpoints(copy: Path) -> None:
    (copy / "env.json").write_text("{")
    (copy / "config.toml").write_text("hidden = ")
    good("evaluate", copy)
    good("train", "--resume", copy, "-q")
    flip(copy / "metrics.jsonl")
    (copy / "metrics.jsonl").write_bytes(b"\xff\xff" + (copy / "metrics.jsonl").read_bytes()[2:])
    refused(elman("train", "--resume", copy, "-q"), 4, "metrics.jsonl")


# --- resume


def test_a_finished_run_says_its_result_again(copy: Path) -> None:
    checkpoint = weights(copy)
    again = good("train", "--resume", copy, "-q")
    assert "unigram" in again.out
    assert weights(copy) == checkpoint


def test_a_run_that_goes_on_says_which_standing_settings_it_does_not_use(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elman.toml").write_text('hidden = 9\nlr = 0.25\nlimit = 5\nrecipe = "alone"\n', encoding="utf-8")
    monkeypatch.setenv("ELMAN_LR", "0.5")
    monkeypatch.setenv("ELMAN_STEPS", "7")
    monkeypatch.setenv("ELMAN_BATCH", "4")
    notes = good("train", "--resume", copy, "--steps", "11", "--json", "-q", folder=tmp_path).lines[0]["notes"]
    assert [line for line in notes if "is not used" in line] == [
        "environment: lr = 0.5 is not used: the run goes on with 0.003",
        "environment: steps = 7 is not used: the run goes on with 11",
        "elman.toml: hidden = 9 is not used: the run goes on with 8",
        "elman.toml: limit = 5 is not used: the run goes on without",
    ]


def test_the_configuration_of_a_run_that_goes_on_is_its_own(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "elman.toml").write_text("hidden = 9\n", encoding="utf-8")
    before = tree(copy)
    printed = good("train", "--resume", copy, "--steps", "77", "--print-config", folder=tmp_path).out
    own = tomllib.loads((copy / "config.toml").read_text(encoding="utf-8"))
    assert tomllib.loads(printed) == own | {"steps": 77}
    refused(elman("train", "--resume", copy, "--hidden", "9", "--print-config"), 2, "hidden is 8 in the run")
    refused(elman("train", "--resume", tmp_path, "--print-config"), 4, "no checkpoint")
    assert tree(copy) == before


def test_a_seed_that_is_too_large_is_called_that(home: Path) -> None:
    for seed in (2**63, 2**64, 10**50):
        refused(elman("train", "text.txt", *TINY, "--seed", seed, folder=home), 2, f"--seed {seed}", str(2**63))
        refused(elman("forecast", "sine", "--model", "mean-2", "--seed", seed, folder=home), 2, "seed", str(2**63))
    with pytest.raises(ConfigError, match=f"seed is {2**64}, and must be below {2**63}"):
        sine(seed=2**64)


def test_only_a_budget_may_change(copy: Path, home: Path) -> None:
    before = tree(copy)
    call = ["train", "--resume", copy, "--hidden", "9", "--lr", "0.5", "--steps", "20"]
    refused(elman(*call), 2, "hidden is 8 in the run and 9 here", "lr is 0.003 in the run and 0.5 here")
    refused(elman("train", "other.txt", "--resume", copy, folder=home), 2, "sources", "other.txt")
    refused(elman("train", "--resume", copy, "--run", "x"), 2, "--run")
    refused(elman("train", "--resume", copy, "--config", copy / "config.toml"), 2, "--config")
    assert tree(copy) == before
    good("train", home / "text.txt", "--resume", copy, "--hidden", "8", "--steps", "12", "-q")
    assert newest(copy).name == "step-000012"


@pytest.mark.parametrize("change", ["swapped", "longer", "gone"])
def test_a_text_that_changed_is_noticed(change: str, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(ENGLISH)
    good("train", "text.txt", *TINY, "--steps", "1", "--run", "r", "-q", folder=tmp_path)
    if change == "gone":
        text.unlink()
    else:  # the same symbols as often in the first case, so that the vocabulary does not change
        text.write_text({"swapped": ENGLISH[:-2] + "\n.", "longer": ENGLISH * 2}[change])
    before = tree(tmp_path)
    for call in (["evaluate", "r"], ["train", "--resume", "r", "--steps", "3"]):
        refused(elman(*call, folder=tmp_path), 3, "text.txt" if change == "gone" else "restore it")
    assert tree(tmp_path) == before


# --- the disk, and numbers that go wrong


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a full disk: no file can grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_room_for_a_checkpoint_leaves_the_one_before(home: Path, tmp_path: Path) -> None:
    small = ["--hidden", "32", "--batch", "4", "--window", "16", "--steps", "10", "--run", "r", "-q"]
    good("train", home / "text.txt", *small, folder=tmp_path)
    largest = max(path.stat().st_size for path in (tmp_path / "r" / "checkpoints").rglob("*"))
    other = shutil.copytree(tmp_path / "r", tmp_path / "other")
    before = tree(tmp_path / "r" / "checkpoints")
    for size in (100, 10_000, largest - 1):
        with files_of_at_most(size):
            done = elman("train", "--resume", "r", "--steps", "20", "-q", folder=tmp_path)
        refused(done, 74, "make room")
        assert tree(tmp_path / "r" / "checkpoints") == before
    for run in ("r", other):
        good("train", "--resume", run, "--steps", "20", "-q", folder=tmp_path)
    assert weights(tmp_path / "r") == weights(other)


@pytest.mark.parametrize("cell", ["gru", "elman-relu"])
def test_a_run_that_diverges_names_the_step_and_the_way_back(cell: str, home: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('optimizer = "sgd"\nlr = 1e6\nclip = 0.0\nreports = 2')
    call = ["train", home / "text.txt", *TINY, "--cell", cell, "--steps", "30", "--config", "c.toml", "--run", "r"]
    message = refused(elman(*call, "-q", folder=tmp_path), 5, "diverged at step", "a lower lr", "step-000000")
    assert int(message.split("step ")[1].split(":")[0]) < 10
    assert sane(good("evaluate", "r", "--json", folder=tmp_path))


def test_a_last_step_that_diverges_is_noticed_without_a_held_out_text(home: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('optimizer = "sgd"\nlr = 1e6\nheld_out = 0\nschedule = "constant"')
    call = ["train", home / "text.txt", *TINY, "--steps", "1", "--config", "c.toml", "--run", "r", "-q"]
    refused(elman(*call, folder=tmp_path), 5, "diverged", "infinite perplexity", "a lower lr")


def sane(done: Done) -> bool:
    return 1 < float(done.json["perplexity"]) < 100


def test_memory_that_is_not_there_is_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: can't allocate memory: 8 GB\nmore"
        )

    monkeypatch.setattr("elman.inference.evaluation.score_batches", full)
    refused(elman("evaluate", "r", folder=home), 1, "out of memory", "--hidden", "--batch")


def test_a_fault_of_ours_is_one_line_and_whole_with_debug(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object) -> None:
        raise KeyError("a\nb")

    monkeypatch.setattr("elman.inference.evaluation.score_batches", fault)
    done = elman("evaluate", "r", folder=home)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert done.err.startswith("elman: unexpected KeyError")
    assert "--debug" in done.err
    with pytest.raises(KeyError):
        elman("evaluate", "r", "--debug", folder=home)
    monkeypatch.setenv("ELMAN_DEBUG", "1")
    with pytest.raises(KeyError):
        elman("evaluate", "r", folder=home)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.csv"], 3, "no such file"),
        (["gap.csv"], 3, "--missing previous, linear or skip"),
        (["gap.csv", "--missing", "skip", "--horizon", "9"], 3, "a horizon of 9 steps cannot be measured"),
        (["gap.csv", "--missing", "skip", "--model", "rigde"], 2, "did you mean ridge"),
        (["gap.csv", "--columns", "z"], 2, "there is no column 'z'"),
        (["gap.csv", "--missing", "guess"], 2, "guess"),
        (["gap.csv", "--horizon", "1.5"], 2, "1.5"),
        (["sine", "--columns", "y"], 2, "'sine' is one series without columns"),
        (["sine", "--missing", "skip", "--date-format", "%d"], 2, "leave out --date-format and --missing"),
        (["sine", "--run", "."], 2, "exists already"),
        (["same.csv"], 3, "nothing to predict"),
        (["words.csv"], 3, "no column is numeric"),
        (["two.csv"], 3, "cannot be split"),
        (["gap.csv", "--missing", "skip", "--model", ","], 2, "no model was named"),
        (["gap.csv", "--missing", "skip", "--held-out", "9"], 3, "-2 for training|set --held-out lower"),
        (["gap.csv", "--missing", "skip", "--held-out", "0.01"], 3, "set --held-out higher"),
        (["sine", "--season", "1000000000"], 2, "give a --season of 1 to 100,000"),
        (["first.csv"], 3, "y: all of its 16 training values are 1, so there is nothing to predict"),
        (["latin.csv"], 3, "give a CSV in UTF-8, or Parquet"),
    ],
)
def test_a_series_that_cannot_be_forecast(tmp_path, arguments, code, message):
    (tmp_path / "gap.csv").write_text("y\n1\n2\n\n4\n".replace("\n\n", "\n \n") + "5\n7\n1\n3\n", encoding="utf-8")
    (tmp_path / "same.csv").write_text("y\n1\n1\n1\n", encoding="utf-8")
    (tmp_path / "words.csv").write_text("y\na\nb\nc\n", encoding="utf-8")
    (tmp_path / "first.csv").write_text("y\n" + "1\n" * 16 + "2\n3\n4\n5\n", encoding="utf-8")
    (tmp_path / "latin.csv").write_bytes(b"y\n1\n\xff\n")
    (tmp_path / "two.csv").write_text("y\n1\n2\n", encoding="utf-8")
    done = elman("forecast", *arguments, "-q", folder=tmp_path)
    assert done.code == code, done.err
    assert re.search(message, one_line(done))
