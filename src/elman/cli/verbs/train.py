"""`elman train`: learn from a text."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from elman.cli.flags import flags, given, help_of, resolve, unused
from elman.cli.folders import result_folder
from elman.cli.options import Json, Quiet, Switch
from elman.cli.signals import Stop, Stopped
from elman.config import to_toml
from elman.errors import ConfigError
from elman.training.config import Config

if TYPE_CHECKING:
    from elman.training.run import Job

ORDER = 1
EXAMPLES = """Examples:
  elman train book.txt                          # the best for its size, at most 5 minutes
  elman train book.txt --minutes 10 --run runs/book
  elman train time-machine --recipe lecture     # Smola and Li 2019
  elman train --resume runs/book --minutes 20   # go on
Settings without a flag (embedding, optimizer, schedule, mogrifier, ...) go into a TOML file for --config;
--print-config prints them all. Also read: ELMAN_HIDDEN=512 and the like, and ./elman.toml."""

FLAGS = (
    "recipe", "tokens", "normalize", "limit", "reverse",
    "model", "cell", "hidden", "layers", "dropout", "ngram_experts", "copy_window", "engine", "device",
    "batching", "batch", "window", "lr", "clip",
    "epochs", "steps", "minutes", "seed",
)  # fmt: skip
Settings = flags("Settings", FLAGS)
NOTHING = Settings()


def command(
    *sources: Annotated[str, Parameter(help=help_of("sources"))],
    settings: Annotated[Settings, Parameter(name="*")] = NOTHING,  # type: ignore[valid-type]  # from Config
    run: Annotated[Path | None, Parameter(help="New folder of the run [default: runs/SOURCE-CELL-N].")] = None,
    resume: Annotated[Path | None, Parameter(help="Go on with the run in this folder.")] = None,
    config: Annotated[Path | None, Parameter(help="TOML file with settings.")] = None,
    print_config: Annotated[Switch, Parameter(help="Print all settings as TOML and stop.")] = False,
    json: Annotated[Json, Parameter(help="Print JSON Lines: a record for each report, then the result.")] = False,
    quiet: Quiet = False,
) -> int:
    """Train a recurrent network on a text, and measure it beside its bounds."""
    changes: dict[str, Any] = given(settings)
    if sources:
        changes["sources"] = list(sources)
    if resume is not None and (run is not None or config is not None):
        raise ConfigError("--resume takes its settings from the run: leave out --run and --config")
    if print_config:
        sys.stdout.write(to_toml((resolve(changes, config) if resume is None else _of_run(resume, changes)).values()))
        return 0
    # Settings are checked before PyTorch is imported: a misspelt one need not cost two seconds.
    settled = None if resume is not None else resolve(changes, config)
    return _train(settled, run, resume, changes, json=json, quiet=quiet)


def _of_run(path: Path, changes: dict[str, Any]) -> Config:
    """The settings with which a run would go on."""
    import elman.reproduce  # noqa: F401 - registers the batchings of published programs
    from elman.training.run import resumed_config

    return resumed_config(path, changes)


def _train(
    settled: Config | None,
    run: Path | None,
    resume: Path | None,
    changes: dict[str, Any],
    *,
    json: bool,
    quiet: bool,
) -> int:
    import elman.reproduce  # noqa: F401 - registers the batchings of published programs
    from elman.training import run as runs

    if settled is None:
        assert resume is not None  # noqa: S101 - either there are settings or there is a run to resume
        job = runs.resume(resume, changes)
        job.notes += unused(job.config)
        return _execute(job, json=json, quiet=quiet)
    # A folder that is named may hold what an earlier run left that ended early: `begin` looks into it.
    place = nullcontext(run) if run else result_folder(None, settled.sources, settled.network_name)
    with place as path, runs.no_empty_run(path):
        return _execute(runs.begin(path, settled), json=json, quiet=quiet)


def _execute(job: "Job", *, json: bool, quiet: bool) -> int:
    """Train the job to its end, and print the result."""
    from elman.cli import display
    from elman.training import run as runs
    from elman.training.report import conclude

    with job.lock:  # until all is written
        show = display.display(job, json=json, quiet=quiet)
        with Stop() as stop:
            show.begin()
            try:
                for event in runs.execute(job, stop.requested, stop.at_once()):
                    show.event(event)
            except Stopped:  # while it counted: the run is as it was saved
                pass
            finally:
                show.close()
            if stop.signal:
                show.interrupted(job.path)
                return 128 + stop.signal
            show.scoring()
            try:
                report = conclude(job, show.measuring, stop.at_once())
            finally:
                show.close()
            show.end(report, [] if stop.signal else display.draw_pictures(job.path))
            return 128 + stop.signal if stop.signal else 0
