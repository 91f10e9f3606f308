"""`elman bench`: which engine is the fastest on this machine, and whether "auto" takes it."""

import json as json_module
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from elman.cli.flags import number, numbers
from elman.cli.options import Json, Quiet

if TYPE_CHECKING:
    from rich.table import Table

    from elman.comparison.benchmark import Shape, SpeedBenchmark

MIN_WIDTH = 80  # columns: a figure that is cut is a wrong figure
ORDER = 12
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
    json: Json = False,
    quiet: Quiet = False,
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


def _measured(shape: "Shape", threads: list[int] | None, rounds: int, *, quiet: bool) -> "SpeedBenchmark":
    """The benchmark when all rounds are over; a bar on a terminal, else a line, on standard error."""
    from elman.cli.progress import ProgressDisplay
    from elman.comparison.training_steps import benchmark_steps

    name = f"{shape.cell}, {shape.hidden} units"
    with ProgressDisplay(quiet=quiet) as progress:
        if not progress.console.is_terminal:
            progress.print(f"{name}: {rounds} rounds")
        progress.update(0, f"{name}: warming up")
        for benchmark in benchmark_steps(shape, threads=threads, rounds=rounds):
            status = f"{name}: round {benchmark.completed} of {rounds}"
            progress.update(benchmark.completed / rounds, status)
    return benchmark


def _print(benchmark: "SpeedBenchmark") -> None:
    from elman.cli.console import Console

    out = Console(min_width=MIN_WIDTH)
    shape = benchmark.shape
    out.print_lines(
        f"{shape.cell}, {shape.hidden} units, {shape.vocab} symbols, {shape.batch} rows of {shape.window} steps\n"
    )
    out.print(_table(benchmark))
    out.print_lines(
        f"\nMedians and quartiles of {benchmark.rounds} rounds. %: of the flops of large matrix products here.\n",
        *benchmark.verdict,
    )


def _table(benchmark: "SpeedBenchmark") -> "Table":
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
