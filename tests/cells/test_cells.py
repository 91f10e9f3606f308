"""Each cell equals a transcription of its equations in scalars, and PyTorch's layer with the same weights."""

import pytest
import torch
from helpers import V, task
from scalar_cells import UNITS, scalar_layer
from torch import Tensor, nn

import elman
from elman.cells import CELLS
from elman.engines import ENGINES, Weights


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_every_cell_is_transcribed_here():
    assert set(CELLS) == set(UNITS)
    for name, cell in CELLS.items():
        assert cell.name == name
        assert len(cell.gates) == UNITS[name][1]


@pytest.mark.parametrize("cell", CELLS)
def test_one_step_equals_the_equations(cell):
    kind, (unit, gates) = CELLS[cell], UNITS[cell]
    B, H = 4, 3
    x, u = normal(B, gates * H, seed=1), normal(B, gates * H, seed=2)
    state = [normal(B, H, seed=3 + i) for i in range(len(kind.states))]
    after = kind.step(x, u, *state)
    assert len(after) == len(kind.states)
    for b in range(B):
        for j in range(H):
            given = [[float(t[b, k * H + j]) for k in range(gates)] for t in (x, u)]
            expected = unit(*given, *(float(s[b, j]) for s in state))
            assert [float(s[b, j]) for s in after] == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_a_layer_equals_the_equations(cell):
    B, T, I, H = 2, 5, 3, 4  # noqa: E741 - the letters of the equations
    kind, gates = CELLS[cell], UNITS[cell][1]
    inputs = normal(B, T, I)
    state = tuple(normal(B, H, seed=1 + i) for i in range(len(kind.states)))
    w = Weights(
        normal(gates * H, I, seed=5), normal(gates * H, H, seed=6), normal(gates * H, seed=7), normal(gates * H, seed=8)
    )
    outputs, last = ENGINES["loop"].run(kind, inputs, state, w)
    lists = {name: t.tolist() for name, t in w._asdict().items()}
    for b in range(B):
        history = scalar_layer(cell, inputs[b].tolist(), [s[b].tolist() for s in state], lists)
        torch.testing.assert_close(outputs[b], torch.tensor([s[0] for s in history], dtype=torch.float64))
        torch.testing.assert_close(torch.stack([s[b] for s in last]), torch.tensor(history[-1], dtype=torch.float64))


@pytest.mark.parametrize("cell", CELLS)
def test_the_derivatives_of_a_step(cell):
    kind = CELLS[cell]
    rows = len(kind.gates) * 3
    arguments = [
        normal(2, rows, seed=1),
        normal(2, rows, seed=2),
        *(normal(2, 3, seed=3 + i) for i in range(len(kind.states))),
    ]
    assert torch.autograd.gradcheck(kind.step, [a.requires_grad_() for a in arguments])


@pytest.mark.parametrize("cell", CELLS)
def test_extreme_values_stay_finite(cell):
    kind = CELLS[cell]
    for size in (-1e4, 1e4):
        x = torch.full((1, len(kind.gates) * 2), size)
        assert all(s.isfinite().all() for s in kind.step(x, x, *(torch.ones(1, 2) for _ in kind.states)))


# --- PyTorch's layers, their weights loaded by renaming

LIBRARY = {
    "elman": lambda layers: nn.RNN(V, 5, layers, batch_first=True),
    "elman-relu": lambda layers: nn.RNN(V, 5, layers, batch_first=True, nonlinearity="relu"),
    "gru": lambda layers: nn.GRU(V, 5, layers, batch_first=True),
    "lstm": lambda layers: nn.LSTM(V, 5, layers, batch_first=True),
}
RENAMED = {"W_x": "weight_ih", "W_h": "weight_hh", "b_x": "bias_ih", "b_h": "bias_hh"}


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_weights_of_torch_nn_load_by_renaming(cell, layers):
    torch.manual_seed(0)
    theirs = LIBRARY[cell](layers).double()
    head = nn.Linear(5, V).double()
    ours = elman.Recurrent(task(), cell=cell, hidden=5, layers=layers, engine="loop").double()
    given = theirs.state_dict()
    state = {f"layers.{k}.{new}": given[f"{old}_l{k}"] for k in range(layers) for new, old in RENAMED.items()}
    state |= {f"layers.{k}.start": ours.stack[k].start for k in range(layers)}
    ours.load_state_dict(state | {"W_q": head.weight, "b_q": head.bias})

    tokens = torch.randint(V, (3, 11))
    first = [normal(layers, 3, 5, seed=9 + i) for i in range(len(CELLS[cell].states))]
    outputs, last = theirs(nn.functional.one_hot(tokens, V).double(), first[0] if len(first) == 1 else tuple(first))
    logits, state = ours(tokens, tuple(s[k] for k in range(layers) for s in first))

    torch.testing.assert_close(logits, head(outputs))
    expected = (last,) if isinstance(last, Tensor) else last
    torch.testing.assert_close(state, tuple(s[k] for k in range(layers) for s in expected))
