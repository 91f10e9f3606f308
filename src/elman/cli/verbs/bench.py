"""`elman bench`: which engine is the fastest on this machine, and whether "auto" takes it."""

import json as json_module
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from elman.cli.flags import number, numbers
from elman.cli.options import Json, Quiet

if TYPE_CHECKING:
    from rich.table import Table

    from elman.comparison.benchmark import Benchmark, Shape

MIN_WIDTH = 80  # columns: a figure that is cut is a wrong figure
ORDER = 12
EXAMPLES = """Examples:
  elman bench                          # a GRU of 256 units, half a minute
  elman bench --cell lstm --hidden 128 512 --vocab 1000
  elman bench --batch 1 --window 100 --threads 1 --json
Every way to train takes its turn in every round: elman's engines, and plain
PyTorch (one-hot vectors, its own layer, SGD). Ratios are of the same round."""


def command(
    *,
    cell: Annotated[
        list[str] | None,
        Parameter(negative="", consume_multiple=1, help="Recurrent cells, one race each [default: gru]."),
    ] = None,
    hidden: Annotated[list[int] | None, numbers("Hidden units, one race each [default: 256].", least=1)] = None,
    vocab: Annotated[int, number("Symbols.", least=2)] = 28,
    batch: Annotated[int, number("Rows of a batch.", least=1)] = 32,
    window: Annotated[int, number("Steps of a window.", least=1)] = 35,
    threads: Annotated[list[int] | None, numbers("Numbers of threads to try [default: one, and all].", least=1)] = None,
    rounds: Annotated[int, number("Turns of every way.", least=1)] = 11,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Measure whole training steps here: every engine beside plain PyTorch, and who is the fastest."""
    from elman.comparison.benchmark import Shape
    from elman.environment import environment

    shapes = [Shape(c, h, vocab, batch, window) for c in cell or ["gru"] for h in hidden or [256]]
    facts = environment()
    races = []
    for benchmark in _races(shapes, threads, rounds, quiet=quiet):
        races.append(benchmark.document())
        if not json:
            _print(benchmark)
    if json:
        print(json_module.dumps({"schema_version": 1, "environment": facts, "races": races}, allow_nan=False))
    return 0


def _races(shapes: "list[Shape]", threads: list[int] | None, rounds: int, *, quiet: bool) -> "Iterator[Benchmark]":
    """Each shape's race when it is over; a bar on a terminal, else a line a shape, on standard error."""
    from elman.cli.progress import ProgressDisplay
    from elman.comparison.training_steps import benchmark_steps

    for shape in shapes:
        name = f"{shape.cell}, {shape.hidden} units"
        with ProgressDisplay(quiet=quiet) as progress:
            if not progress.console.is_terminal:
                progress.print(f"{name}: {rounds} rounds")
            progress.update(0, f"{name}: warming up")
            for found in benchmark_steps(shape, threads=threads, rounds=rounds):
                measured, benchmark = len(next(iter(found.rates.values()))), found
                progress.update(measured / rounds, f"{name}: round {measured} of {rounds}")
        yield benchmark


def _print(benchmark: "Benchmark") -> None:
    from elman.cli.console import Console
    from elman.comparison.benchmark import verdict

    out = Console(min_width=MIN_WIDTH)
    shape = benchmark.shape
    out.print_lines(
        f"{shape.cell}, {shape.hidden} units, {shape.vocab} symbols, {shape.batch} rows of {shape.window} steps\n"
    )
    out.print(_table(benchmark))
    out.print_lines(
        f"\nMedians and quartiles of {benchmark.rounds} rounds. %: of the flops of large matrix products here.\n",
        *verdict(benchmark),
        "",
    )


def _table(benchmark: "Benchmark") -> "Table":
    """A row a way, the fastest first."""
    from rich.table import Table

    from elman.comparison.benchmark import PLAIN, Variant

    table = Table(box=None, pad_edge=False)
    table.add_column("engine")
    for name in ("threads", "tokens/s", "low", "high", "x plain PyTorch", "%"):
        table.add_column(name, justify="right")
    for way in sorted(benchmark.rates, key=lambda way: -benchmark.rate(way).median):
        plain = Variant(PLAIN, way.threads)
        times = benchmark.ratio(way, plain).written() if plain in benchmark.rates and way != plain else ""
        rates = (f"{rate:,.0f}" for rate in benchmark.rate(way))
        table.add_row(way.name, str(way.threads), *rates, times, f"{100 * benchmark.share(way).median:.0f}")
    return table
