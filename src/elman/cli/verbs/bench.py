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
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    from elman.cli.console import Stream
    from elman.comparison.training_steps import benchmark_steps

    console = Stream(stderr=True, quiet=quiet, highlight=False)
    for shape in shapes:
        words = f"{shape.cell}, {shape.hidden} units"
        if not console.is_terminal:
            console.print(f"{words}: {rounds} rounds", markup=False, soft_wrap=True)
        columns = (BarColumn(bar_width=12), TextColumn("{task.description}", markup=False))
        bar = Bar(*columns, console=console, transient=True, disable=not console.is_terminal)
        with bar:
            task = bar.add_task(f"{words}: warming up", total=rounds)
            for found in benchmark_steps(shape, threads=threads, rounds=rounds):
                measured, benchmark = len(next(iter(found.rates.values()))), found
                bar.update(task, completed=measured, description=f"{words}: round {measured} of {rounds}")
        yield benchmark


def _print(benchmark: "Benchmark") -> None:
    from elman.cli.console import Stream
    from elman.comparison.benchmark import verdict

    out = Stream(highlight=False)
    shape = benchmark.shape
    out.print(
        f"{shape.cell}, {shape.hidden} units, {shape.vocab} symbols, {shape.batch} rows of {shape.window} steps\n",
        markup=False,
        soft_wrap=True,
    )
    out.width = max(out.width, 80)  # a figure that is cut is a wrong figure
    out.print(_table(benchmark))
    out.print(
        f"\nMedians and quartiles of {benchmark.rounds} rounds. %: of the flops of large matrix products here.\n",
        *verdict(benchmark),
        "",
        sep="\n",
        markup=False,
        soft_wrap=True,
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
