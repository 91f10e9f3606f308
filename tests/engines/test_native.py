"""The compiled engine: every instruction set, thread counts, what is not finite, and memory that is its own."""

import pytest
import torch
from engine_cases import BUILDS, FOUR, Size, assert_near, cast, everything, make

from elman.engines import native

pytestmark = pytest.mark.skipif(not native.INSTRUCTIONS, reason="elman was built without a compiler")


@pytest.fixture(params=BUILDS)
def build(request, monkeypatch):
    """Each instruction set that was built and runs here."""
    monkeypatch.setattr(native, "INSTRUCTIONS", [request.param])
    return request.param


SIZES = [Size(B, T, 5, H) for B in (1, 3, 33) for T in (1, 2, 36) for H in (1, 7, 63, 100)]


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("ids", [False, True], ids=["features", "ids"])
@pytest.mark.parametrize("cell", sorted(FOUR))
def test_every_build_is_as_near_to_the_truth_as_the_loop(cell, ids):
    for size in SIZES:
        assert_near("native", cell, cast(make(cell, size, ids=ids), torch.float32))


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("cell", sorted(FOUR))
def test_threads_change_no_bit(cell):
    problem = cast(make(cell, Size(33, 12, 40, 65), ids=True), torch.float32)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(everything("native", cell, problem))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for name, value in found[0].items():
            assert torch.equal(other[name], value), name


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("cell", sorted(FOUR))
def test_what_is_not_finite_is_not_hidden(cell):
    """NaN in one row of the batch reaches its outputs and gradients, and no other row."""
    problem = cast(make(cell, Size(4, 3, 2, 9)), torch.float32)
    with torch.no_grad():
        problem.inputs[2, 1, 0] = float("nan")
    found = everything("native", cell, problem)
    assert found["outputs"][2, 1:].isnan().all()
    assert found["outputs"][2, 0].isfinite().all()
    assert found["outputs"][[0, 1, 3]].isfinite().all()
    assert found["d_W_h"].isnan().any()


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_pre_activations_that_saturate_every_gate_stay_finite(cell):
    """Far outside of what float32 can raise e to: outputs of -1, 0 or 1, and gradients that are numbers."""
    problem = cast(make(cell, Size(3, 4, 2, 9)), torch.float32)
    with torch.no_grad():
        problem.inputs.mul_(1e6)
    found = everything("native", cell, problem)
    assert all(t.isfinite().all() for t in found.values())
    expected = everything("loop", cell, problem)
    torch.testing.assert_close(found["outputs"], expected["outputs"], rtol=1e-5, atol=1e-5)


def test_a_call_for_another_processor_is_refused():
    with pytest.raises(ValueError, match="does not run the instruction set sve"):
        native.MODULE.run_layer("sve", 0, False, {})
