"""The networks of Howard and Thomas 2019 and their protocols: against PyTorch's layers and one prediction at a time."""

import numpy as np
import pytest
import torch
from helpers import V, shaken, task, tiny, tokens
from torch import nn

from elman.data.batches import IGNORE
from elman.reproduce.course import BatchNormRecurrent, score
from elman.reproduce.experiments.counting import COPYING, SMALL, STAGES, TWO

IDS = tokens(53, seed=3)


def predicted(model, read):
    """The probabilities after the last of what is read from a fresh state."""
    with torch.no_grad():
        return torch.softmax(model(torch.tensor([read]), model.initial(1))[0][0, -1].double(), -1).numpy()


@pytest.mark.parametrize(("protocol", "steps"), [("carried", 4), ("carried", 1), ("reset", 7), ("last", 5)])
def test_each_way_of_scoring_is_one_prediction_at_a_time(protocol, steps):
    model, nats, right = tiny(cell="gru"), [], []
    text = [0, *IDS.tolist()]
    begins = [i * 53 // steps for i in range(steps)] if protocol == "carried" else list(range(0, 53, steps))
    for t in range(53):
        begin = max(b for b in begins if b <= t)
        p = predicted(model, text[begin : t + 1])
        if protocol != "last" or t - begin == steps - 1:
            nats.append(-np.log(p[IDS[t]]))
            right.append(p.argmax() == IDS[t])
    cost, accuracy = score(model, IDS, protocol, steps)
    assert cost == pytest.approx(np.mean(nats), rel=1e-5)
    assert accuracy == pytest.approx(np.mean(right))


def normed(**settings):
    return shaken(BatchNormRecurrent(task(), hidden=5, cell="elman", **settings)).double()


def test_batch_norm_stands_between_state_and_output():
    """While it learns by the batch's statistics, then by those it remembers: as `nn.BatchNorm1d` has it."""
    model, x = normed(), torch.from_numpy(tokens(24).astype(np.int64)).view(4, 6)
    layer = nn.BatchNorm1d(5).double()
    layer.load_state_dict(model.norm.state_dict())
    h = torch.stack([model(x[:, : t + 1], model.initial(4))[1][0] for t in range(6)])
    model.norm.load_state_dict(layer.state_dict())  # as before those six
    logits, _ = model(x, model.initial(4))
    expected = layer(h.flatten(0, 1)).unflatten(0, (6, 4)).transpose(0, 1) @ model.W_q.t() + model.b_q
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(model.norm.running_mean, layer.running_mean)
    with torch.inference_mode():
        found = model(x, model.initial(4))[0]
        again = layer.eval()(h.flatten(0, 1)).unflatten(0, (6, 4)).transpose(0, 1) @ model.W_q.t() + model.b_q
    torch.testing.assert_close(found, again)
    assert not torch.allclose(found, logits)


def test_the_last_token_alone_is_learnt_where_it_is_asked_for():
    model, x = normed(last=True), torch.from_numpy(tokens(12).astype(np.int64)).view(4, 3)
    targets = torch.tensor([[1, 2, 3], [1, 2, 4], [1, 2, IGNORE], [5, 5, 5]])
    cost, _ = model.loss(x, targets, model.initial(4))
    other = targets.clone()
    other[:, :2] = 6
    assert torch.equal(model.loss(x, other, model.initial(4))[0], cost)
    other[0, 2] = 1
    assert not torch.equal(model.loss(x, other, model.initial(4))[0], cost)


def test_the_stages_are_the_networks_of_their_sources():
    parameters = {name: BatchNormRecurrent(task(), **STAGES[name]["model"]).parameter_count() for name in (TWO, SMALL)}
    for (name, count), (hidden, layers) in zip(parameters.items(), ((64, 2), (56, 1)), strict=True):
        gru = sum(p.numel() for p in nn.GRU(hidden, hidden, layers).parameters())
        assert count == gru + V * hidden + hidden * V + V + 2 * hidden, name
    assert STAGES[COPYING]["model"]["copy_window"] == 16
