"""`elman bench`: which engine is the fastest on this machine, and whether "auto" takes it."""

import json as json_module
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from elman.cli.flags import number, numbers

if TYPE_CHECKING:
    from rich.table import Table

    from elman.comparison.benchmark import Benchmark, Shape

EXAMPLES = """Examples:
  elman bench                          # a GRU of 256 units, half a minute
  elman bench --cell lstm --hidden 512 --vocab 1000
  elman bench --batch 1 --window 100 --threads 1 --json
Every round measures whole training steps of all elman's engines and of plain
PyTorch (one-hot vectors, its own layer, SGD). Ratios are of the same round."""


def command(
    *,
    cell: Annotated[str, Parameter(help="Recurrent cell.")] = "gru",
    hidden: Annotated[int, number("Hidden units.", least=1)] = 256,
    vocab: Annotated[int, number("Symbols.", least=2)] = 28,
    batch: Annotated[int, number("Rows of a batch.", least=1)] = 32,
    window: Annotated[int, number("Steps of a window.", least=1)] = 35,
    threads: Annotated[list[int] | None, numbers("Numbers of threads to try [default: one, and all].", least=1)] = None,
    rounds: Annotated[int, number("Measurements of each engine.", least=1)] = 11,
    json: Annotated[bool, Parameter(negative="", show_default=False, help="Print one JSON document.")] = False,
    quiet: Annotated[
        bool, Parameter(name=["--quiet", "-q"], negative="", show_default=False, help="No progress.")
    ] = False,
) -> int:
    """Measure training steps on this machine: every engine beside plain PyTorch, and which one is the fastest."""
    from elman.comparison.benchmark import Shape
    from elman.environment import environment

    benchmark = _measured(Shape(cell, hidden, vocab, batch, window), threads, rounds, quiet=quiet)
    if json:
        facts = {"schema_version": 2, "environment": environment()}
        print(json_module.dumps(facts | benchmark.to_dict(), allow_nan=False))
    else:
        _print(benchmark)
    return 0


def _measured(shape: "Shape", threads: list[int] | None, rounds: int, *, quiet: bool) -> "Benchmark":
    """The benchmark when all rounds are over; a bar on a terminal, else a line, on standard error."""
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    from elman.cli.console import Stream
    from elman.comparison.training_steps import benchmark_steps

    console = Stream(stderr=True, quiet=quiet, highlight=False)
    words = f"{shape.cell}, {shape.hidden} units"
    if not console.is_terminal:
        console.print(f"{words}: {rounds} rounds", markup=False, soft_wrap=True)
    columns = (BarColumn(bar_width=12), TextColumn("{task.description}", markup=False))
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{words}: warming up", total=rounds)
        for benchmark in benchmark_steps(shape, threads=threads, rounds=rounds):
            bar.update(
                task, completed=benchmark.completed, description=f"{words}: round {benchmark.completed} of {rounds}"
            )
    return benchmark


def _print(benchmark: "Benchmark") -> None:
    from elman.cli.console import Stream

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
        *benchmark.verdict,
        sep="\n",
        markup=False,
        soft_wrap=True,
    )


def _table(benchmark: "Benchmark") -> "Table":
    """Every engine on every number of threads, the fastest first."""
    from rich.table import Table

    from elman.inference.findings.benchmark import PLAIN, Variant

    table = Table(box=None, pad_edge=False)
    table.add_column("engine")
    for name in ("threads", "tokens/s", "low", "high", "x plain PyTorch", "%"):
        table.add_column(name, justify="right")
    for variant in sorted(benchmark.rates, key=lambda variant: -benchmark.rate(variant).median):
        plain = Variant(PLAIN, variant.threads)
        times = benchmark.ratio(variant, plain).written() if plain in benchmark.rates and variant != plain else ""
        rates = (f"{rate:,.0f}" for rate in benchmark.rate(variant))
        share = f"{100 * benchmark.share(variant).median:.0f}"
        table.add_row(variant.name, str(variant.threads), *rates, times, share)
    return table
