"""Every engine equals `loop`, the definition: in value and in every gradient, wherever `supports` is true."""

import itertools
from dataclasses import replace

import pytest
import torch
from command import ENGLISH
from engine_cases import FOUR, Problem, Size, assert_near, cast, everything, leaves, make, run
from torch import Tensor

import elman.training.run
from elman.cells import CELLS, Cell
from elman.engines import ENGINES, Weights, choose, native
from elman.errors import ConfigError
from elman.training.config import Config

CPU = torch.device("cpu")
DEVICES = [torch.device(name) for name in ("cpu", "cuda", "mps")]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
PRECISE = {torch.float64, torch.float32}

# What runs where: engine -> (cells, devices, precisions). A row a new engine must add.
SUPPORT = {
    "loop": (FOUR, {"cpu", "cuda", "mps"}, set(DTYPES)),
    "aten": (FOUR, {"cpu", "cuda"}, PRECISE),
    "bptt": (FOUR, {"cpu"}, PRECISE),
    "native": (FOUR if native.INSTRUCTIONS else set(), {"cpu"}, {torch.float32}),
    "native-bfloat16": (FOUR if native.BFLOAT16 else set(), {"cpu"}, {torch.float32}),
}
ROUNDING = {"native-bfloat16"}  # not equal to the loop: see test_native_bfloat16.py
PAIRS = [(e, c) for e, (cells, _, _) in SUPPORT.items() for c in sorted(cells)]
RIVALS = [(e, c) for e, c in PAIRS if e not in {"loop", *ROUNDING}]
DOUBLE = [(e, c) for e, c in PAIRS if torch.float64 in SUPPORT[e][2]]


def test_the_support_matrix_is_the_one_written_here():
    assert set(SUPPORT) == set(ENGINES)
    assert set(CELLS) == FOUR
    for name, cell, device, dtype in itertools.product(ENGINES, CELLS, DEVICES, DTYPES):
        cells, devices, dtypes = SUPPORT[name]
        expected = cell in cells and device.type in devices and dtype in dtypes
        assert ENGINES[name].supports(CELLS[cell], device, dtype) == expected, (name, cell, device, dtype)


@pytest.mark.parametrize("name", SUPPORT)
def test_an_engine_is_given_by_name_or_refused(name):
    for cell, device, dtype in itertools.product(CELLS, DEVICES, DTYPES):
        if ENGINES[name].supports(CELLS[cell], device, dtype):
            assert choose(name, CELLS[cell], device, dtype) is ENGINES[name]
        else:
            with pytest.raises(ConfigError, match=f"{name}.*{cell}.*{device.type}.*{dtype}.*loop"):
                choose(name, CELLS[cell], device, dtype)


def test_an_engine_that_does_not_exist_is_refused():
    with pytest.raises(
        ConfigError, match="no engine 'cudnn': choose one of auto, aten, bptt, loop, native, native-bfloat16"
    ):
        choose("cudnn", CELLS["gru"], CPU, torch.float32)


def test_auto_chooses_one_that_runs_there():
    for cell, device, dtype in itertools.product(CELLS.values(), DEVICES, DTYPES):
        for one_hot, hidden in ((0, 64), (28, 64), (5000, 64)):
            assert choose("auto", cell, device, dtype, one_hot=one_hot, hidden=hidden).supports(cell, device, dtype)


@pytest.mark.parametrize(
    ("cell", "device", "dtype", "one_hot", "expected"),
    [
        ("elman", "cpu", torch.float32, 28, "bptt"),
        ("gru", "cpu", torch.float32, 28, "bptt"),
        ("gru", "cuda", torch.float32, 28, "aten"),
        ("gru", "mps", torch.float32, 28, "loop"),
        ("gru", "cpu", torch.bfloat16, 28, "loop"),
        ("lstm", "cpu", torch.float32, 28, "aten"),
        ("lstm", "cpu", torch.float32, 5000, "bptt"),
        ("lstm", "cpu", torch.float32, 0, "aten"),
    ],
)
def test_what_auto_chooses_without_a_compiled_engine(monkeypatch, cell, device, dtype, one_hot, expected):
    monkeypatch.setattr(native, "INSTRUCTIONS", [])
    assert choose("auto", CELLS[cell], torch.device(device), dtype, one_hot=one_hot, hidden=64).name == expected


@pytest.mark.skipif(not native.INSTRUCTIONS, reason="built without a compiler")
@pytest.mark.parametrize("cell", sorted(FOUR))
def test_auto_takes_the_compiled_engine_where_it_is_exact(cell):
    assert choose("auto", CELLS[cell], CPU, torch.float32, one_hot=28, hidden=64).name == "native"


@pytest.mark.parametrize(("rank", "expected"), [(None, False), (-1, False), (99, True)])
def test_a_new_engine_joins_the_choice_by_its_own_priority(monkeypatch, rank, expected):
    """Its file is all that is needed; without a rank, or on a device that it does not support, it is not chosen."""
    monkeypatch.setattr(native, "BFLOAT16", list(native.INSTRUCTIONS))
    before = choose("auto", CELLS["gru"], CPU, torch.float32)

    class New(ENGINES["loop"]):
        name = "new"

        @staticmethod
        def supports(cell, device, dtype):
            return device.type == "cpu"

        @staticmethod
        def priority(cell, *, one_hot, hidden):
            return rank

    try:
        assert (choose("auto", CELLS["gru"], CPU, torch.float32) is New) == expected
        assert choose("auto", CELLS["gru"], torch.device("cuda"), torch.float32).name == "aten"
        assert choose("new", CELLS["gru"], CPU, torch.float32) is New
    finally:
        del ENGINES["new"]
    assert choose("auto", CELLS["gru"], CPU, torch.float32) is before


@pytest.mark.parametrize("cell", sorted(FOUR))
def test_what_was_not_built_is_refused_by_name(monkeypatch, cell):
    monkeypatch.setattr(native, "INSTRUCTIONS", [])
    with pytest.raises(ConfigError, match="native"):
        choose("native", CELLS[cell], CPU, torch.float32)


def test_a_run_without_the_compiled_engine_notes_why(monkeypatch, tmp_path):
    (tmp_path / "t.txt").write_text(ENGLISH, encoding="utf-8")
    for module in (native, elman.training.run):
        monkeypatch.setattr(module, "INSTRUCTIONS", [])
    config = Config(sources=(str(tmp_path / "t.txt"),), hidden=4, steps=1, device="cpu")
    job = elman.training.run.begin(tmp_path / "run", config)
    assert job.notes == [
        "engine 'bptt' is used; the compiled engine 'native' is faster: install a C++ compiler, then elman again"
    ]
    mogrified = replace(config, embedding=4, mogrifier=2)  # which no compiler would help
    assert elman.training.run.begin(tmp_path / "mogrified", mogrified).notes == []


def test_a_new_cell_runs_in_the_loop():
    class Sum(Cell):
        name, gates, states = "sum", "h", "h"

        @staticmethod
        def step(x, u, *state):
            return (x + u + state[0],)

    try:
        assert choose("auto", Sum, CPU, torch.float32).name == "loop"
        problem = make("sum", Size(2, 3, 4, 2))
        outputs, (last,) = run("loop", "sum", problem)
        torch.testing.assert_close(outputs[:, -1], last)
    finally:
        del CELLS["sum"]


SIZES = [
    Size(1, 1, 1, 1),
    Size(1, 36, 3, 1),
    Size(3, 2, 4, 7),
    Size(33, 1, 5, 7),
    Size(33, 36, 2, 7),
    Size(3, 36, 28, 63),
    Size(1, 2, 9, 63),
]


def suited(engine: str, problem: Problem) -> Problem:
    """The problem in the best precision that the engine has."""
    return problem if torch.float64 in SUPPORT[engine][2] else cast(problem, torch.float32)


def assert_equal(engine: str, cell: str, problem: Problem) -> None:
    """In double precision to the last digits or so; in single precision eight times as far as the loop at most."""
    if torch.float64 not in SUPPORT[engine][2]:
        assert_near(engine, cell, suited(engine, problem))
        return
    expected = everything("loop", cell, problem)
    found = everything(engine, cell, problem)
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-11, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"B{s.B}-T{s.T}-I{s.I}-H{s.H}")
@pytest.mark.parametrize("ids", [False, True], ids=["features", "ids"])
@pytest.mark.parametrize(("engine", "cell"), RIVALS)
def test_values_and_every_gradient_equal_the_loop(engine, cell, ids, size):
    assert_equal(engine, cell, make(cell, size, ids=ids))


@pytest.mark.parametrize("ids", [False, True], ids=["features", "ids"])
@pytest.mark.parametrize(("engine", "cell"), RIVALS)
def test_column_major_weights_change_nothing(engine, cell, ids):
    assert_equal(engine, cell, make(cell, Size(3, 5, 4, 7), ids=ids, column_major=True))


@pytest.mark.parametrize(("engine", "cell"), RIVALS)
def test_strided_inputs_states_and_weights_change_nothing(engine, cell):
    """Every second row or column of something larger, and a state that is one row seen many times."""
    problem = suited(engine, make(cell, Size(3, 5, 4, 7)))
    wide = Problem(
        problem.inputs.repeat_interleave(2, 2)[..., ::2],
        tuple(s[:1].expand(3, -1) for s in problem.state),
        Weights(
            *(
                w.repeat_interleave(2, 1)[:, ::2] if w.dim() > 1 else w.repeat_interleave(2)[::2]
                for w in problem.weights
            )
        ),
    )
    assert not wide.inputs.is_contiguous()
    assert not wide.weights.W_h.is_contiguous()
    assert_equal(engine, cell, wide)


@pytest.fixture
def poisoned_memory():
    """PyTorch fills memory that nobody has written with NaN."""
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.empty(3).isnan().all()
    assert torch.zeros(2, 2).new_empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("ids", [False, True], ids=["features", "ids"])
@pytest.mark.parametrize(("engine", "cell"), RIVALS)
def test_memory_that_nobody_wrote_is_never_read(engine, cell, ids):
    for size in (Size(1, 1, 2, 1), Size(3, 4, 5, 7)):
        problem = suited(engine, make(cell, size, ids=ids))
        assert all(t.isfinite().all() for t in everything(engine, cell, problem).values())
        assert_equal(engine, cell, problem)


@pytest.mark.parametrize("size", [Size(3, 36, 28, 63), Size(33, 36, 5, 7), Size(1, 2, 3, 7)])
@pytest.mark.parametrize("ids", [False, True], ids=["features", "ids"])
@pytest.mark.parametrize(("engine", "cell"), RIVALS)
def test_single_precision_is_at_most_eight_times_as_far_from_the_truth_as_the_loop(engine, cell, ids, size):
    assert_near(engine, cell, cast(make(cell, size, ids=ids), torch.float32))


@pytest.mark.parametrize(("engine", "cell"), DOUBLE)
def test_gradients_agree_with_finite_differences(engine, cell):
    problem = make(cell, Size(2, 3, 2, 3))
    n = len(problem.state)

    def function(inputs, *rest):
        outputs, last = ENGINES[engine].run(CELLS[cell], inputs, rest[:n], Weights(*rest[n:]))
        return outputs, *last

    assert torch.autograd.gradcheck(function, (problem.inputs, *problem.state, *problem.weights))


@pytest.mark.parametrize("result", ["outputs", "state"])
@pytest.mark.parametrize(("engine", "cell"), RIVALS)
def test_a_gradient_of_one_result_alone(engine, cell, result):
    """A loss on the outputs only, as in training, or on the last state only."""
    problem = suited(engine, make(cell, Size(3, 4, 2, 5)))
    named = leaves(cell, problem)

    def gradients(name: str) -> tuple[Tensor, ...]:
        outputs, last = run(name, cell, problem)
        loss = outputs.square().sum() if result == "outputs" else last[-1].square().sum()
        return torch.autograd.grad(loss, list(named.values()))

    torch.testing.assert_close(gradients(engine), gradients("loop"))


@pytest.mark.parametrize(("engine", "cell"), RIVALS)
def test_frozen_weights_and_a_state_without_gradient(engine, cell):
    """Only the input map learns: all else is a constant."""
    problem = suited(engine, make(cell, Size(3, 4, 2, 5), ids=True))
    fixed = Problem(
        problem.inputs,
        tuple(s.detach() for s in problem.state),
        Weights(problem.weights.W_x, *(w.detach() for w in problem.weights[1:])),
    )
    found, expected = (
        torch.autograd.grad(run(name, cell, fixed)[0].square().sum(), fixed.weights.W_x) for name in (engine, "loop")
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("engine", "cell"), PAIRS)
def test_nothing_that_is_passed_in_is_changed(engine, cell):
    problem = suited(engine, make(cell, Size(3, 4, 2, 5)))
    kept = {name: t.detach().clone() for name, t in leaves(cell, problem).items()}
    everything(engine, cell, problem)
    with torch.inference_mode():
        run(engine, cell, problem)
    torch.testing.assert_close({n: t.detach() for n, t in leaves(cell, problem).items()}, kept, rtol=0, atol=0)


@pytest.mark.parametrize(("engine", "cell"), PAIRS)
def test_gradients_that_are_passed_in_are_not_changed(engine, cell):
    problem = suited(engine, make(cell, Size(3, 4, 2, 5)))
    outputs, last = run(engine, cell, problem)
    given = [torch.ones_like(r) for r in (outputs, *last)]
    torch.autograd.grad([outputs, *last], list(leaves(cell, problem).values()), given)
    assert all((o == 1).all() for o in given)


@pytest.mark.parametrize(("engine", "cell"), PAIRS)
def test_shapes_and_the_layout_of_the_outputs(engine, cell):
    B, T, _, H = size = Size(3, 4, 2, 5)
    outputs, last = run(engine, cell, suited(engine, make(cell, size, ids=True)))
    assert outputs.shape == (B, T, H)
    assert outputs.transpose(0, 1).is_contiguous()
    assert [s.shape for s in last] == [(B, H)] * len(CELLS[cell].states)
    torch.testing.assert_close(outputs[:, -1], last[0], rtol=0, atol=0)


@pytest.mark.parametrize(("engine", "cell"), PAIRS)
def test_a_state_lives_apart_from_the_outputs(engine, cell):
    """Changing the outputs afterwards must not change the state that goes on."""
    with torch.no_grad():
        outputs, last = run(engine, cell, suited(engine, make(cell, Size(3, 4, 2, 5))))
        kept = tuple(s.clone() for s in last)
        outputs.zero_()
        torch.testing.assert_close(last, kept, rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("settings", [{}, {"embedding": 5, "layers": 2}, {"learn_initial_state": True}])
@pytest.mark.parametrize(("engine", "cell"), [("aten", cell) for cell in sorted(FOUR)] + [("loop", "gru")])
def test_on_a_gpu_losses_and_gradients_are_those_of_the_loop_on_a_cpu(engine, cell, settings, monkeypatch):
    """In float32: cuDNN rounds operands to TF32, of 10 bits, unless it is told not to."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    task = elman.TextTask(elman.Vocab.chars("abcdefg"))
    inputs = torch.randint(0, 8, (3, 9), generator=torch.Generator().manual_seed(0))
    found = []
    for name, device, dtype in (("loop", "cpu", torch.float64), (engine, "cuda", torch.float32)):
        model = elman.Recurrent(task, cell=cell, hidden=6, engine=name, **settings).to(device, dtype)
        here = inputs.to(device)
        nats, state = model.loss(here[:, :-1], here[:, 1:], model.initial(3))
        nats.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        found.append([t.detach().cpu().double().numpy() for t in (nats, *state, *gradients)])
    for one, other in zip(*found, strict=True):
        assert other == pytest.approx(one, abs=1e-4 * (1 + abs(one).max()))
