"""SpeedBenchmark of whole training steps on this machine: every engine and plain PyTorch, interleaved in one run."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.arguments import checked
from elman.cells import CELLS
from elman.comparison.benchmark import SQUARE, Shape, SpeedBenchmark
from elman.comparison.timing import Work, lasting, measure_rounds, threaded
from elman.config import TrainSettings
from elman.data.batches import Batching, Rows, even_windows, gather
from elman.data.vocab import Vocab
from elman.engines import ENGINES
from elman.environment import same_threads
from elman.errors import ConfigError
from elman.inference.findings.benchmark import PLAIN, Variant
from elman.models.recurrent import Recurrent
from elman.models.task import TextTask
from elman.training.loop import TrainState, train

PRODUCT = "matrix product"
MOST_THREADS = 1024
SECONDS = 0.1
"""Seconds that a variant works in each round."""


class EvenWindows(Batching):
    """Whole windows alone, so that every step does the same work."""

    name, fresh_state = "even-windows", False

    @staticmethod
    def rows(n: int, batch: int, window: int, rng: np.random.Generator) -> Iterator[Rows]:  # noqa: ARG004
        """The batches of one epoch, the same in each."""
        return even_windows(n, batch, window)


class PlainPyTorch(nn.Module):
    """A network of PyTorch's own layers on one-hot vectors, as in Zhang et al. 2021, section 8.6.

    Args:
        shape: its sizes.
    """

    LAYERS: ClassVar[Mapping[str, Callable[[int, int], nn.Module]]] = {
        "elman": nn.RNN,
        "elman-relu": lambda inputs, hidden: nn.RNN(inputs, hidden, nonlinearity="relu"),
        "gru": nn.GRU,
        "lstm": nn.LSTM,
    }

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.size = shape.vocab
        self.rnn = self.LAYERS[shape.cell](shape.vocab, shape.hidden)
        self.linear = nn.Linear(shape.hidden, shape.vocab)

    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Logits and the new state.

        Args:
            inputs: (B, T) token ids.
            state: as PyTorch's layer returns it; None: zeros.

        Returns:
            Logits (T*B, V), and the state after the last input.
        """
        x = F.one_hot(inputs.T, self.size).to(torch.float32)
        y, state = self.rnn(x, state)
        return self.linear(y.reshape(-1, y.shape[-1])), state


def batches(shape: Shape) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets, (B, T) int64 each, without end; gathered beforehand, so that this is not timed."""
    ids = shape.ids()
    rows = even_windows(len(ids), shape.batch, shape.window)
    found = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in (gather(ids, row) for row in rows)]
    while True:
        yield from found


def plain_step(shape: Shape, *, bfloat16: bool = False) -> Work:
    """A step of plain PyTorch: forward, backward, clip, SGD.

    Args:
        shape: what is trained.
        bfloat16: whether it runs under `torch.autocast` to bfloat16.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = PlainPyTorch(shape)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    text = batches(shape)
    state: Any = None

    def step() -> float:
        nonlocal state
        inputs, targets = next(text)
        if state is not None:
            state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits, state = net(inputs, state)
            loss = F.cross_entropy(logits, targets.T.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return shape.tokens

    return step


def elman_model(shape: Shape, engine: str = "auto") -> Recurrent:
    """A network of elman.

    Args:
        shape: its sizes.
        engine: what runs it.
    """
    vocab = Vocab([f"w{i}" for i in range(shape.vocab - 1)], level="word")
    return Recurrent(TextTask(vocab), cell=shape.cell, hidden=shape.hidden, engine=engine)


def elman_step(shape: Shape, engine: str = "auto") -> Work:
    """A step of elman's own training loop, with everything else that the loop does in one.

    Args:
        shape: what is trained.
        engine: what runs it.
    """
    model = elman_model(shape, engine)
    settings = TrainSettings(
        batching="even-windows", batch=shape.batch, window=shape.window, optimizer="sgd", lr=0.1,
        schedule="constant", steps=10**9, num_reports=1,
    )  # fmt: skip
    run = train(model, shape.ids(), training=TrainState.begin(model, settings))
    return lambda: next(run).tokens


def product(size: int = SQUARE) -> Work:
    """A product of two square matrices in single precision; its work is in flops."""
    a, b = (torch.linspace(-1, 1, size * size).reshape(size, size).roll(k) for k in (0, 1))
    out = torch.empty_like(a)

    def work() -> float:
        torch.mm(a, b, out=out)
        return 2 * size**3

    return work


def steps_of(shape: Shape) -> dict[str, Work]:
    """A training step by name: of plain PyTorch, and of each engine that supports the cell here."""
    cell, cpu = CELLS[shape.cell], torch.device("cpu")
    engines = [name for name, e in sorted(ENGINES.items()) if e.supports(cell, cpu, torch.float32)]
    plain = {PLAIN: plain_step(shape)} if shape.cell in PlainPyTorch.LAYERS else {}
    return plain | {name: elman_step(shape, name) for name in engines}


def threads_here() -> list[int]:
    """One thread, and as many as PyTorch takes; where that is one, as many as this process may use."""
    default = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return sorted({1, default if default > 1 else cores})


@checked
def benchmark_steps(
    shape: Shape, *, threads: Sequence[int] | None = None, rounds: int = 11, seconds: float = SECONDS
) -> Iterator[SpeedBenchmark]:
    """Measure every engine and plain PyTorch, yielding the benchmark so far after every round.

    Args:
        shape: what is trained.
        threads: the numbers of threads to try; None: one, and all.
        rounds: how often every variant is measured.
        seconds: how long each measurement lasts, of at least one step.

    Raises:
        ConfigError: no rounds, or a number of threads that no machine has.
    """
    counts = sorted(set(threads_here() if threads is None else threads))
    if rounds < 1:
        raise ConfigError(f"rounds {rounds}: it must be at least 1")
    if not counts or counts[0] < 1 or counts[-1] > MOST_THREADS:
        raise ConfigError(f"threads {counts}: each must be 1 to {MOST_THREADS}")
    return _measure(shape, counts, rounds, seconds)


def _measure(shape: Shape, counts: Sequence[int], rounds: int, seconds: float) -> Iterator[SpeedBenchmark]:
    default = torch.get_num_threads()
    auto = elman_model(shape).engine_name
    with same_threads():
        works = {PRODUCT: product()} | steps_of(shape)
        variants = {
            Variant(n, t): threaded(lasting(threaded(w, t), seconds), t) for t in counts for n, w in works.items()
        }
        rates: dict[Variant, tuple[float, ...]] = dict.fromkeys(variants, ())
        for found in measure_rounds(variants, rounds):
            rates = {variant: (*rates[variant], rate) for variant, rate in found.items()}
            products = {v.threads: r for v, r in rates.items() if v.name == PRODUCT}
            trained = {v: r for v, r in rates.items() if v.name != PRODUCT}
            yield SpeedBenchmark(shape, auto, default, rounds, trained, products)


@checked
def benchmark_speed(
    cell: str = "gru", *, hidden: int = 256, vocab: int = 28, batch: int = 32, window: int = 35, **options: Any
) -> SpeedBenchmark:
    """SpeedBenchmark every engine and plain PyTorch on this machine, training one shape.

    Args:
        cell: as for `Shape`.
        hidden: as for `Shape`.
        vocab: as for `Shape`.
        batch: as for `Shape`.
        window: as for `Shape`.
        **options: `threads`, `rounds` and `seconds` of `benchmark_steps`.

    Raises:
        ConfigError: an unknown cell, or sizes, rounds or threads that cannot be.

    Example:
        >>> import elman
        >>> found = elman.benchmark_speed("gru", hidden=4, batch=2, window=3, threads=[1], rounds=1, seconds=0)
        >>> sorted({"aten", "bptt", "loop", "plain PyTorch"} - set(found.best))
        []
    """
    *_, last = benchmark_steps(Shape(cell, hidden, vocab, batch, window), **options)
    return last
