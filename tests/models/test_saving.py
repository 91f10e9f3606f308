"""A saved model is the same model; anything else is refused before memory is asked for, and no code is run."""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import V, copying, hybrid, task, tiny, tokens
from torch.utils._python_dispatch import TorchDispatchMode

import elman
from elman.errors import ConfigError, ModelError
from elman.models.saving import identity, load_counts, model_files, open_saved
from elman.storage.checkpoints import Checkpoints
from elman.storage.folder import read_folder, write_folder

KINDS = {
    "elman": {"cell": "elman"},
    "lstm-widths": {"cell": "lstm", "hidden": [3, 6], "dropout": 0.25},
    "noisy": {"cell": "gru", "embedding": 5, "input_dropout": 0.25, "recurrent_dropout": 0.5},
    "tied": {"cell": "gru", "embedding": 5, "tied": True, "init": "torch"},
    "parts": {"cell": "gru", "embedding": 4, "layer_norm": True, "residual": True, "mogrifier": 3},
    "learned": {"cell": "elman-relu", "layers": 2, "learn_initial_state": True, "init": "reference"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_round_trip_changes_no_bit(tmp_path, kind):
    model = tiny(**KINDS[kind])
    with torch.no_grad():
        model.b_q[0] = -0.0
    elman.save(model, tmp_path / "m", np.arange(V))
    again = elman.load(tmp_path / "m")
    assert again.settings() == model.settings()
    assert again.task.vocab == model.task.vocab
    assert again.task.normalize == model.task.normalize
    for name, t in model.state_dict().items():
        assert again.state_dict()[name].numpy().tobytes() == t.numpy().tobytes(), name
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in model.parameters()]
    assert elman.evaluate(again, tokens(50)) == elman.evaluate(model, tokens(50))
    assert load_counts(read_folder(tmp_path / "m"), V).tolist() == list(range(V))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("make", [lambda: tiny(**KINDS["tied"]), lambda: hybrid(task()), lambda: copying(task())])
def test_a_model_of_another_precision_comes_back_in_it(tmp_path, make, dtype):
    model = make().to(dtype)
    elman.save(model, tmp_path / "m")
    again = elman.load(tmp_path / "m")
    assert {t.dtype for t in again.parameters()} == {dtype}
    for name, t in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], t), name
    if dtype == torch.float64:
        assert elman.evaluate(again, tokens(50)) == elman.evaluate(model, tokens(50))
    described = json.loads((tmp_path / "m" / "model.json").read_text())
    assert described["dtype"] == str(dtype).removeprefix("torch.")
    elman.save(again.float(), tmp_path / "float")
    assert "dtype" not in json.loads((tmp_path / "float" / "model.json").read_text())  # as every version reads it


def test_weights_of_several_precisions_are_not_saved(tmp_path):
    model = tiny(layers=2)
    model.layers[0].double()
    with pytest.raises(ConfigError, match=r"float32 and float64: make them one with model\.float"):
        elman.save(model, tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("dtype", ["int8", "float8", 32, None, ["float32"]])
def test_a_precision_that_there_is_not_is_refused(tmp_path, dtype):
    files = model_files(tiny(), np.zeros(V, np.int64))
    described = json.loads(files["model.json"]) | {"dtype": dtype}
    write_folder(tmp_path / "m", files | {"model.json": json.dumps(described).encode()})
    with pytest.raises(ModelError, match="dtype is"):
        elman.load(tmp_path / "m")


def test_the_layout_that_makes_tokens_fast_comes_back_too(tmp_path):
    elman.save(tiny(), tmp_path / "m")
    assert elman.load(tmp_path / "m").stack[0].W_x.t().is_contiguous()


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_every_level_of_vocabulary_is_saved(tmp_path, level):
    vocab = {
        "char": elman.Vocab.chars("東京 naïve 🙂\n\x00", unknown=False),
        "word": elman.Vocab.words("naïve 東京 , one\n"),
        "byte": elman.Vocab.bytes(),
    }[level]
    model = elman.Recurrent(elman.TextTask(vocab, "lower"), hidden=2)
    elman.save(model, tmp_path / "m")
    again = elman.load(tmp_path / "m")
    assert again.task.vocab == vocab
    assert again.task.normalize == "lower"


def test_the_engine_is_chosen_when_loading(tmp_path):
    elman.save(tiny(), tmp_path / "m")
    assert elman.load(tmp_path / "m", engine="loop").engine.name == "loop"
    with pytest.raises(ConfigError, match="no engine 'warp'"):
        elman.load(tmp_path / "m", engine="warp")


def test_an_existing_folder_is_not_overwritten(tmp_path):
    elman.save(tiny(), tmp_path / "m")
    with pytest.raises(ConfigError, match="exists already"):
        elman.save(tiny(), tmp_path / "m")


def test_a_run_is_loaded_at_its_best_or_its_newest_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    models = [tiny() for _ in range(3)]
    for step, (model, best) in enumerate(zip(models, (False, True, False), strict=True), 1):
        with torch.no_grad():
            model.b_q.fill_(step)
        checkpoints.save(step, model_files(model, np.zeros(V, np.int64)), best=best)
    assert elman.load(tmp_path / "run").b_q[0] == 2
    (checkpoints.root / "BEST").unlink()
    assert elman.load(tmp_path / "run").b_q[0] == 3
    assert open_saved(tmp_path / "run").path.name == "step-000003"
    assert elman.load(checkpoints.root / "step-000002").b_q[0] == 2


# --- refusals


class Memory(TorchDispatchMode):
    """Remembers the largest tensor that any operation made outside of the device of shapes alone."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for t in made if isinstance(made, tuple) else (made,):
            if isinstance(t, torch.Tensor) and t.device.type != "meta":
                self.largest = max(self.largest, t.numel())
        return made


def tampered(path: Path, **changes: object) -> Path:
    """A saved model whose model.json says something else, with a manifest that agrees."""
    files = model_files(tiny(), np.zeros(V, np.int64))
    description = json.loads(files["model.json"]) | changes
    description = {k: v for k, v in description.items() if v is not ...}
    write_folder(path, files | {"model.json": json.dumps(description).encode()})
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden": [10**9]},
        {"hidden": [10**30]},
        {"hidden": [20_000]},  # a gigabyte, were it made
        {"hidden": [5, 20_000]},
        {"hidden": [5] * 65},
        {"hidden": []},
        {"hidden": [0]},
        {"hidden": [-5]},
        {"hidden": [5.0]},
        {"hidden": ["5"]},
        {"hidden": [True]},
        {"hidden": None},
        {"embedding": 10**9},
        {"embedding": 10**6},
        {"embedding": -1},
        {"embedding": "8"},
        {"cell": "transformer"},
        {"cell": 7},
        {"cell": "../gru"},
        {"dropout": 1.0},
        {"dropout": -0.5},
        {"dropout": "nan"},
        {"tied": True},
        {"tied": 1},
        {"learn_initial_state": "yes"},
        {"init": "os.system"},
        {"clean": "rm -rf"},
        {"format": 2},
        {"format": True},
        {"model": "ngram"},
        {"layers": -1},
        {"code": "print(1)"},
        {"hidden": ...},
        {"format": ...},
        {"cell": "lstm"},
        {"hidden": [6]},
        {"hidden": [5, 5]},
        {"embedding": 5},
    ],
    ids=str,
)
def test_a_description_that_cannot_be_true_is_refused_before_memory_is_asked_for(tmp_path, changes):
    path = tampered(tmp_path / "m", **changes)
    with Memory() as memory, pytest.raises(ModelError) as caught:
        elman.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert memory.largest < 1000


@pytest.mark.parametrize(
    "forge",
    [
        lambda w: {k: t for k, t in w.items() if k != "keys.2"},
        lambda w: w | {"keys.2": w["keys.2"].flip(0)},
        lambda w: w | {"times.2": w["times.2"].double()},
        lambda w: w | {"times.2": w["times.2"] * 0},
        lambda w: w | {"keys.3": w["keys.2"]},
        lambda w: w | {"keys.1": w["keys.1"][:-1]},
    ],
)
def test_forged_counts_are_refused(tmp_path, forge):
    model = elman.NGram.fit(task(), tokens(200), order=2)
    files = model_files(model, np.zeros(V, np.int64))
    write_folder(tmp_path / "good", files)
    assert elman.load(tmp_path / "good").order == 2
    write_folder(tmp_path / "bad", files | {"model.safetensors": forge(model.tensors())})
    with pytest.raises(ModelError, match="counts"):
        elman.load(tmp_path / "bad")


@pytest.mark.parametrize("text", [b"[]", b"null", b"3", b'"model"', b"{}", b"", b"{", b'{"format": NaN}'])
def test_a_description_that_is_no_object_is_refused(tmp_path, text):
    write_folder(tmp_path / "m", model_files(tiny(), np.zeros(V, np.int64)) | {"model.json": text})
    with pytest.raises(ModelError):
        elman.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda w: w | {"b_q": torch.zeros(V + 1)}, "b_q"),
        (lambda w: w | {"b_q": torch.zeros(V, dtype=torch.float64)}, "float64"),
        (lambda w: w | {"extra": torch.zeros(1)}, "unknown"),
        (lambda w: {k: t for k, t in w.items() if k != "W_q"}, "missing"),
        (lambda w: w | {"W_q": w["W_q"].t()}, "W_q"),
        (lambda w: w | {"W_q": torch.full_like(w["W_q"], float("nan"))}, "W_q holds NaN or infinity"),
        (lambda w: w | {"b_q": torch.full_like(w["b_q"], float("inf"))}, "b_q holds NaN or infinity"),
    ],
)
def test_weights_that_do_not_fit_the_description_are_refused(tmp_path, change, told):
    files = model_files(tiny(), np.zeros(V, np.int64))
    write_folder(tmp_path / "m", files | {"model.safetensors": change(dict(files["model.safetensors"]))})
    with pytest.raises(ModelError, match=told):
        elman.load(tmp_path / "m")


def test_a_vocabulary_of_another_size_is_refused(tmp_path):
    files = model_files(tiny(), np.zeros(V, np.int64))
    other = elman.Vocab.chars("abcdefg").to_json().encode()
    write_folder(tmp_path / "m", files | {"vocab.json": other})
    with pytest.raises(ModelError):
        elman.load(tmp_path / "m")


def test_nothing_there_is_refused(tmp_path):
    (tmp_path / "runs" / "b" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ModelError, match=r"runs' is a folder of runs, not a run: give one of them: .*runs/b"):
        elman.load(tmp_path / "runs")
    with pytest.raises(ModelError, match="no run or model"):
        elman.load(tmp_path / "m")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ModelError, match="no checkpoint yet: wait for the first one"):
        elman.load(tmp_path / "run")


# --- no code from a file

EVENTS: list[str] | None = None
DANGEROUS = ("pickle.", "os.system", "os.exec", "os.posix_spawn", "subprocess.", "socket.", "exec", "compile", "import")


def listen(event: str, _: object) -> None:
    if EVENTS is not None and event.startswith(DANGEROUS):
        EVENTS.append(event)


sys.addaudithook(listen)


class Payload:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of a model ran')",)


@pytest.mark.parametrize("name", [None, "model.safetensors", "counts.safetensors", "model.json", "vocab.json"])
def test_loading_runs_nothing(tmp_path, name):
    global EVENTS
    files = model_files(tiny(), np.zeros(V, np.int64))
    if name:
        files[name] = pickle.dumps(Payload())
    write_folder(tmp_path / "m", files)
    elman.save(tiny(), tmp_path / "warm-up")
    elman.load(tmp_path / "warm-up")  # so that whatever is imported on the way is there already
    EVENTS = []
    try:
        if name in (None, "counts.safetensors"):
            model = elman.load(tmp_path / "m")
            assert isinstance(model, elman.Recurrent)
        else:
            with pytest.raises(ModelError):
                elman.load(tmp_path / "m")
        heard = EVENTS
    finally:
        EVENTS = None
    assert heard == []
    if name == "counts.safetensors":
        with pytest.raises(ModelError):
            load_counts(read_folder(tmp_path / "m"), V)


def test_the_audit_hears_a_pickle():
    global EVENTS
    EVENTS = []
    try:
        with pytest.raises(SystemExit):
            pickle.loads(pickle.dumps(Payload()))  # noqa: S301 - to see that the alarm works
        assert "exec" in EVENTS
    finally:
        EVENTS = None


def test_the_files_are_what_the_page_says(tmp_path):
    elman.save(elman.Recurrent(task(), hidden=2), tmp_path / "m")
    names = {p.name for p in (tmp_path / "m").iterdir()}
    assert names == {"model.json", "vocab.json", "model.safetensors", "counts.safetensors", "MANIFEST.json"}


def test_a_model_from_before_there_was_such_dropout_has_none(tmp_path):
    """Two settings came later: a folder without them is as good as ever."""
    elman.save(tiny(), tmp_path / "m")
    saved = open_saved(tmp_path / "m")
    facts = json.loads(saved.files["model.json"])
    assert facts.pop("input_dropout") == facts.pop("recurrent_dropout") == 0
    files = {**saved.files, "model.json": json.dumps(facts).encode()}
    write_folder(tmp_path / "old", files)
    assert not elman.load(tmp_path / "old").has_dropout


# --- networks in networks


def test_a_held_network_whose_settings_are_of_the_wrong_kind_is_refused(tmp_path):
    """The strict reading of a folder holds for the network inside too: "true" is no truth value."""
    elman.save(elman.CopyHead(tiny(), copy_window=4), tmp_path / "m")
    files = {name: (tmp_path / "m" / name).read_bytes() for name in read_folder(tmp_path / "m").listed}
    described = json.loads(files["model.json"])
    for name, bad in {"tied": "false", "hidden": "5", "dropout": "0.5"}.items():
        files["model.json"] = json.dumps(described | {name: bad}).encode()
        write_folder(tmp_path / name, files)
        with pytest.raises(ModelError, match=name):
            elman.load(tmp_path / name)


def test_a_stack_of_absurd_depth_is_refused_before_it_is_built():
    with pytest.raises(ConfigError, match="hidden"):
        elman.Recurrent(task(), hidden=[2] * 65)
    assert elman.Recurrent(task(), hidden=[2] * 64).widths == [2] * 64


def test_names_that_would_be_saved_as_one_are_refused(tmp_path):
    model = elman.CopyHead(tiny(), copy_window=4)
    model.b_q = torch.nn.Parameter(torch.zeros(V))  # the network that it holds has a b_q
    with pytest.raises(ConfigError, match="rename one"):
        elman.save(model, tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("make", [elman.CopyHead, elman.Hybrid])
def test_a_wrapper_holds_a_recurrent_network_and_none_that_belongs_outside(make):
    with pytest.raises(ConfigError, match="cannot hold"):
        make(elman.MLP(task(), hidden=3))
    with pytest.raises(ConfigError, match="cannot hold"):
        make(elman.CopyHead(tiny()))


def test_a_model_with_a_setting_that_was_removed_keeps_its_digest(tmp_path):
    """Compressed files name the settings of their model, `token_noise` among them."""
    elman.save(tiny(), tmp_path / "m")
    files = {name: (tmp_path / "m" / name).read_bytes() for name in read_folder(tmp_path / "m").listed}
    described = json.loads(files["model.json"])
    plain = identity(elman.load(tmp_path / "m"))
    assert "('token_noise', 0.0)" in plain
    for noise in (0.0, 0.1):
        files["model.json"] = json.dumps(described | {"token_noise": noise}).encode()
        write_folder(tmp_path / str(noise), files)
        wanted = plain.replace("('token_noise', 0.0)", f"('token_noise', {noise})")
        assert identity(elman.load(tmp_path / str(noise))) == wanted
