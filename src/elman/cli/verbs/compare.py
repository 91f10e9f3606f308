"""`elman compare`: many models, the same held-out tokens, one table."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from elman.cli.flags import flags, given, number, resolve
from elman.cli.folders import result_folder
from elman.cli.options import Json, Quiet
from elman.cli.signals import Stop
from elman.cli.verbs import forecast
from elman.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from elman.comparison.result import Comparison
    from elman.comparison.shared import Tell, TrainingStep

    Events = Callable[[Callable[[], bool], Tell], Iterator[TrainingStep | Comparison]]
    """Makes what a comparison yields, given whether to stop, and what is told of the measuring."""

ORDER = 2
EXAMPLES = """Examples:
  elman compare book.txt                    # n-gram, mlp, elman, gru, lstm
  elman compare book.txt --models 3-gram,gru,lstm --seeds 3 --epochs 5
  elman compare sine --models ridge-128,gru --seeds 3     # forecasters
  elman compare runs/a runs/b               # on the held-out text they share
  elman compare runs/a runs/words --on other.txt    # in bits per character
Models: N-gram, ngram (chooses N), laplace-N, witten-bell-N, mlp, bag (5 tokens,
order lost), elman, elman-relu, gru, lstm; NAME-reversed reads the text from its
end. Always beside them: uniform, unigram, xz and bz2. Other settings: --config,
as for elman train. A series (sine, a CSV or Parquet file) is compared as elman
forecast does."""

FLAGS = (
    "tokens", "normalize", "limit", "held_out", "hidden", "dropout", "device",
    "batch", "window", "lr", "epochs", "steps", "minutes",
)  # fmt: skip
Settings = flags("Settings", FLAGS)
NOTHING = Settings()


def command(
    *sources: Annotated[str, Parameter(help="A text to learn from as for elman train, or runs.")],
    models: Annotated[
        list[str] | None, Parameter(help="Names with commas between them, or one a flag [default: see the examples].")
    ] = None,
    seeds: Annotated[int | None, number("Train each network so often [default: 1].", least=1)] = None,
    on: Annotated[str | None, Parameter(help="Score runs on this text instead of their held-out text.")] = None,
    settings: Annotated[Settings, Parameter(name="*")] = NOTHING,  # type: ignore[valid-type]  # from Config
    config: Annotated[Path | None, Parameter(help="TOML file with settings.")] = None,
    out: Annotated[
        Path | None, Parameter(help="New folder of comparison.json, .md and .png [default: runs/NAME-compare-N].")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Train models on a text, or take runs, and score all on the same held-out tokens."""
    changes = given(settings)
    if len(sources) == 1 and _is_series(sources[0]):
        return _series(sources[0], models, seeds, changes, out, on or config, json=json, quiet=quiet)
    runs = [s for s in sources if _is_run(s)]
    if runs and len(runs) < len(sources):
        text = next(s for s in sources if s not in runs)
        raise ConfigError(f"{runs[0]!r} is a run and {text!r} is a text: compare runs (on a text: --on), or models")
    if runs:
        asked = {"models": models, "seeds": seeds, "config": config} | changes
        _refuse_for_runs(asked)
        names: Sequence[str] = runs
        events = _of_runs(runs, on, changes)
    elif on is not None:
        raise ConfigError("--on gives a text to score runs on, and no run was given: give runs, or leave out --on")
    else:
        settled = resolve(changes | ({"sources": list(sources)} if sources else {}), config)
        chosen = [name.strip() for each in models or [] for name in each.split(",") if name.strip()]
        names = settled.sources
        events = _of_models(settled, chosen, seeds or 1)
    with result_folder(out, names, "compare", flag="--out") as folder:
        return _compare(events, folder, json=json, quiet=quiet)


def _is_series(name: str) -> bool:
    """Whether a source is numbers over time rather than text."""
    from elman.forecasting.table import is_table

    return name == "sine" or is_table(name)


def _series(
    source: str,
    models: list[str] | None,
    seeds: int | None,
    changes: dict[str, Any],
    out: Path | None,
    odd: object,
    *,
    json: bool,
    quiet: bool,
) -> int:
    """Forecasters instead of models of text."""
    held_out = changes.pop("held_out", None)
    if changes or odd is not None:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in changes) or "--on and --config"
        raise ConfigError(f"{source!r} is a series of numbers: leave out {options}, and see elman forecast --help")
    with result_folder(out, [source], "compare", flag="--out") as folder:
        return forecast.command(
            source, model=models, held_out=held_out, seeds=seeds or 1, run=folder, json=json, quiet=quiet
        )


def _is_run(name: str) -> bool:
    """Whether a folder is a run or a saved model rather than one of texts."""
    return any((Path(name) / mark).exists() for mark in ("checkpoints", "MANIFEST.json", "model.json"))


def _refuse_for_runs(asked: dict[str, Any]) -> None:
    """Runs are what they are: only where they are computed can be chosen."""
    odd = [name for name, value in asked.items() if value is not None and name != "device"]
    if odd:
        raise ConfigError(f"runs are compared without further training: leave out --{odd[0].replace('_', '-')}")


def _of_models(settled: Any, models: Sequence[str], seeds: int) -> "Events":
    """The events of trainings."""
    import elman.reproduce  # noqa: F401 - registers the batchings of published programs
    from elman.comparison.specs import DEFAULT
    from elman.comparison.trained import compare_steps
    from elman.training.run import read_data

    chosen = models or DEFAULT
    return lambda stop, tell: compare_steps(
        read_data(settled), chosen, seeds=seeds, config=settled, stop=stop, tell=tell
    )


def _of_runs(runs: Sequence[str], on: str | None, changes: dict[str, Any]) -> "Events":
    """The events of runs that are scored; a signal ends it between two of them."""
    from elman.comparison.saved import compare_runs
    from elman.environment import device_for

    device = device_for(changes.get("device", "auto"))
    paths, sources = [Path(run) for run in runs], [on] if on is not None else []
    return lambda stop, tell: compare_runs(paths, sources=sources, device=device, stop=stop, tell=tell)


def _compare(events: "Events", out: Path, *, json: bool, quiet: bool) -> int:
    from elman.cli.comparison_table import ComparisonDisplay
    from elman.comparison.result import Comparison

    display = ComparisonDisplay(out, quiet=quiet)
    with Stop(immediate=True) as stop:
        try:
            for event in stop.between(events(stop.requested, display.measuring)):
                stop.immediate = False  # from here on there is a result
                if isinstance(event, Comparison):
                    display.measured(event)
                else:
                    display.training(event)
        finally:
            display.close()
    display.end(json=json)
    return 128 + stop.signal if stop.signal and not display.complete else 0
