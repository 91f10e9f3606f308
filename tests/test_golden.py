"""What earlier versions wrote, later ones read: runs, saved models and compressed files, with the same figures."""

import json
import tarfile
from pathlib import Path

import pytest
from command import good

import elman
from elman.engines.native import INSTRUCTIONS
from elman.environment import environment
from elman.errors import ConfigError
from elman.storage.checkpoints import Checkpoints
from elman.training.run import resume

ARCHIVES = sorted((Path(__file__).parent / "golden").glob("v*.tar.xz"))
MODELS = (
    "gru",
    "lstm-2",
    "elman-words",
    "relu-bytes-random",
    "reverse",
    "mlp",
    "experts",
    "copy",
    "options",
    "gru/ngram",
)
RESUMABLE = ("numbers", "numbers-experts")
COMPRESSED = ("gru", "mlp", "elman-words", "reverse", "experts", "copy", "gru/ngram")
SAME_MACHINE = 1e-9
COMPILED_EXPERTS = 1e-6  # whose sums are rounded in another order than by numpy in 0.1
OTHER_MACHINE = 1e-4  # of nats: float32 products of another instruction set, over 500 tokens


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def golden(request, tmp_path_factory):
    """The folder of one version."""
    folder = tmp_path_factory.mktemp("golden")
    with tarfile.open(request.param) as archive:
        archive.extractall(folder, filter="data")
    return folder / request.param.name.removesuffix(".tar.xz")


@pytest.fixture(scope="module")
def expected(golden):
    """What that version measured."""
    return json.loads((golden / "expected.json").read_text(encoding="utf-8"))


def same_programs(expected) -> bool:
    """Whether the libraries, the compiled engine and the instruction set are those that wrote the folder."""
    here = environment()
    return bool(INSTRUCTIONS) and all(here[name] == value for name, value in expected["made_by"].items())


def test_there_is_a_golden_folder():
    assert ARCHIVES


def check(golden, expected, name, *, of=None, sources=("other.txt",)):
    wanted = expected[name] if of is None else expected[name][of]
    same = COMPILED_EXPERTS if "experts" in name else SAME_MACHINE
    tolerance = same if same_programs(expected) else OTHER_MACHINE
    for protocol in ("carried", "reset"):
        texts = [golden / source for source in sources]
        found = good("evaluate", golden / name, *texts, "--protocol", protocol, "--json").json
        assert found["nats"] == pytest.approx(wanted[protocol]["nats"], rel=tolerance)
        for key in ("tokens", "unknown"):
            assert found[key] == wanted[protocol][key]
        if texts and name != "elman-words":  # 0.1 counted one space between all words
            assert [found["characters"], found["bytes"]] == [wanted[protocol][key] for key in ("characters", "bytes")]
        if texts:
            assert found["bytes"] == sum(text.stat().st_size for text in texts)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_evaluates_the_same(golden, expected, name):
    check(golden, expected, name)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "reverse"])
def test_a_model_generates_the_same(golden, expected, name):
    if not same_programs(expected):
        pytest.skip("other libraries or another instruction set than those that wrote it: a draw may differ")
    written = good("generate", golden / name, "the", "--length", 40, "--seed", 5, "--temperature", 0.5).out
    assert written == expected[name]["generated"]


@pytest.mark.parametrize("name", RESUMABLE)
def test_a_run_scores_its_own_text_and_goes_on(golden, expected, name, tmp_path):
    check(golden, expected, name, sources=())
    good("train", "--resume", golden / name, "--steps", 36, "-q")
    check(golden, expected, name, of="resumed", sources=())


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_compressed_file_comes_back(golden, expected, name, tmp_path):
    if not same_programs(expected):
        pytest.skip("other libraries or another instruction set than those that wrote it: refused with the reason")
    blob = (golden / f"{name.replace('/', '-')}.elman").read_bytes()
    assert elman.decompress(elman.load(golden / name), blob) == (golden / "other.txt").read_bytes()


def test_a_run_with_a_setting_that_was_removed_is_used_but_not_resumed(golden, tmp_path):
    """A checkpoint whose settings hold an average of the weights: that is what its model has."""
    run = golden / "numbers"
    saved = Checkpoints(run / "checkpoints").latest()
    files = {name: saved.read(name) for name in saved.listed}
    facts = json.loads(files["training.json"])
    facts["config"]["average"] = 0.99
    files["training.json"] = json.dumps(facts).encode()
    Checkpoints(tmp_path / "run" / "checkpoints").save(24, files)
    assert good("evaluate", tmp_path / "run", "--json").json["tokens"] > 0
    with pytest.raises(ConfigError, match=r"was trained with average 0\.99"):
        resume(tmp_path / "run", {})
