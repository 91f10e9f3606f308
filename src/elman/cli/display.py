"""What a training shows: its progress on standard error, its result on standard output."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from rich.table import Table
from rich.text import Text

from elman.cli.console import Console
from elman.cli.progress import ProgressDisplay
from elman.data.unknown import unknown_sentence
from elman.errors import ConfigError
from elman.inference.generation import generate
from elman.inference.metrics import METRICS
from elman.models.saving import finite, load
from elman.training.loop import Progress
from elman.training.report import Measuring, pictures
from elman.training.run import Job, Sample, prompts

SCHEMA = 1
ANNOUNCED = 5.0
"""Seconds of measuring from which on they are said."""
CONTINUATION = 300
"""Tokens of the continuation that ends a report."""


class Display(Protocol):
    """Shows a training; the methods are called in this order, `event` many times."""

    def begin(self) -> None:
        """Show what is about to be trained."""

    def event(self, event: Progress | Sample) -> None:
        """Show a training step or a sample."""

    def close(self) -> None:
        """Remove what is redrawn: training is over, whether it succeeded or not."""

    def interrupted(self, path: Path) -> None:
        """Show that a signal ended the training, and how to resume the run at `path`."""

    def scoring(self) -> None:
        """Show that the result is now measured, which may take a while."""

    def measuring(self, event: Measuring) -> None:
        """Show how far that is."""

    def end(self, report: dict[str, Any], pictures: list[Path]) -> None:
        """Show the result.

        Args:
            report: the report of the run, as its report.json.
            pictures: the files that were drawn; empty where matplotlib is missing.
        """


def display(job: Job, *, json: bool, quiet: bool) -> Display:
    """The display of a training.

    Args:
        job: the training.
        json: JSON Lines; `quiet` has no effect then.
        quiet: no progress, the result only.
    """
    return JsonLines(job) if json else TextDisplay(job, quiet=quiet)


class JsonLines:
    """A training as JSON Lines on standard output: a record for each report and each sample, then the result."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def begin(self) -> None:
        """Write the record "begin"."""
        self._write("begin", _facts(self.job) | {"notes": self.job.notes})

    def event(self, event: Progress | Sample) -> None:
        """Write a record "report" or "sample"; other steps have none."""
        if isinstance(event, Sample):
            self._write("sample", {"prompt": event.prompt, "text": event.text})
        elif event.report:
            held_out = event.held_out.perplexity if event.held_out else None
            self._write(
                "report",
                {
                    "step": event.step,
                    "epoch": event.epoch,
                    "fraction": event.fraction,
                    "seconds": event.seconds,
                    "train": event.train,
                    "held_out": held_out,
                    "gradient_norm": event.gradient_norm,
                    "lr": event.lr,
                },
            )

    def close(self) -> None:
        """Nothing is redrawn."""

    def interrupted(self, path: Path) -> None:
        """Write the record "interrupted"."""
        self._write("interrupted", {"run": str(path)})

    def scoring(self) -> None:
        """There is no record for this."""

    def measuring(self, event: Measuring) -> None:
        """Nor for this."""

    def end(self, report: dict[str, Any], pictures: list[Path]) -> None:
        """Write the record "result"."""
        self._write("result", report | {"pictures": [str(p) for p in pictures]})

    def _write(self, kind: str, value: dict[str, Any]) -> None:
        print(json.dumps({"schema_version": SCHEMA, "type": kind} | finite(value), ensure_ascii=False), flush=True)


class TextDisplay:
    """A training as text: progress, reports and samples on standard error, the result on standard output."""

    def __init__(self, job: Job, *, quiet: bool) -> None:
        self.job = job
        self.progress = ProgressDisplay(quiet=quiet)
        self.status = StatusLine()
        self._announced = False

    def begin(self) -> None:
        """Print the text, the network and the coverage of an epoch."""
        facts = _facts(self.job)
        self.progress.print(
            f"{facts['source']}: {facts['training_tokens']:,} training and {facts['held_out_tokens']:,} held-out "
            f"tokens, {facts['vocabulary']} symbols",
            f"{facts['cell']} {facts['hidden']}, {facts['parameters']:,} parameters, engine {facts['engine']} on "
            f"{facts['device']}; {facts['coverage']}",
            *self.job.notes,
        )
        if self.job.model.has_counts and not self.job.training.step:
            self.progress.update(None, "counting n-grams of the training text")

    def event(self, event: Progress | Sample) -> None:
        """Print a report or a sample, and show where the training is."""
        if isinstance(event, Sample):
            self._sample(event)
            return
        status = self.status.text(event)
        if event.report:
            self.progress.print(status)
        self.progress.update(event.fraction, status)
        if event.done:
            self.progress.close()

    def _sample(self, sample: Sample) -> None:
        text = Text.assemble("  ", (sample.prompt, "bold"), sample.text, no_wrap=True, overflow="ellipsis")
        self.progress.print(Text(" ", spans=[]).join(text.split("\n")))

    def close(self) -> None:
        """Remove the bar."""
        self.progress.close()

    def interrupted(self, path: Path) -> None:
        """Print the command that resumes the run."""
        self.progress.print(f"saved; go on with: elman train --resume {path}")

    def scoring(self) -> None:
        """Print what is now measured."""
        self.progress.print("trained and saved; measuring it beside its bounds")

    def measuring(self, event: Measuring) -> None:
        """Print once how long it takes if that is long, and show the stage with its share."""
        if not self._announced and event.seconds > ANNOUNCED:
            share = event.seconds / max(event.seconds + self.job.training.seconds, 1e-9)
            self.progress.print(f"measuring takes about {event.seconds:.0f} s, {share:.0%} of the whole")
            self._announced = True
        self.progress.update(event.overall, f"{event.stage}: {event.fraction:.0%}")

    def end(self, report: dict[str, Any], pictures: list[Path]) -> None:
        """Print the table, the verdict, a continuation, and the names of the files."""
        out = Console()
        print_report(out, report)
        for prompt, text in () if report["interrupted"] else _continuation(self.job):
            out.print(Text.assemble("\n", (prompt, "bold"), text, "\n"), soft_wrap=True)
        names = ", ".join(p.name for p in pictures)
        out.print_lines(f"{report['run']}" + (f" ({names})" if names else ""))
        if not pictures and not report["interrupted"]:
            self.progress.print('no pictures: pip install "elman[plot]" draws them')


class StatusLine:
    """Where a training is, in one line that fits a terminal."""

    def __init__(self) -> None:
        self._held_out = ""

    def text(self, event: Progress) -> str:
        """Share done, epoch, perplexities, tokens per second and seconds left."""
        if event.held_out:
            self._held_out = f", held-out {event.held_out.perplexity:.2f}"
        train = event.train if event.train is not None else event.perplexity
        left = event.seconds * (1 - event.fraction) / max(event.fraction, 1e-9)
        return (
            f"{event.fraction:4.0%}  epoch {event.epoch:.1f}  train {train:.2f}{self._held_out}  "
            f"{event.rate:,.0f} tokens/s  {left:.0f} s left"
        )


def _facts(job: Job) -> dict[str, Any]:
    model, corpus = job.model, job.corpus
    return {
        "run": str(job.path),
        "source": corpus.source,
        "training_tokens": len(corpus.train.ids),
        "held_out_tokens": len(corpus.held_out.ids) if corpus.held_out else 0,
        "vocabulary": len(corpus.vocab),
        "cell": model.name,
        "hidden": "+".join(map(str, model.widths)),
        "parameters": model.parameter_count(),
        "engine": model.engine_name,
        "device": str(model.device),
        "coverage": f"{'the first' if job.config.initial_window else 'an'} epoch covers {job.coverage}",
    }


def print_report(console: Console, report: dict[str, Any]) -> None:
    """The figures beside their bounds, as a table, and the verdict."""
    table = Table(box=None, pad_edge=False, title_justify="left")
    for name in ("perplexity", *report["figures"]):
        table.add_column(name, justify="left" if name == "perplexity" else "right")
    columns = list(report["figures"].values())
    for bound in columns[0][0]["baselines"] if columns else ():
        table.add_row(bound, *(f"{scores[0]['baselines'][bound]:.2f}" for scores in columns))
    if report["xz"]:
        found_by_xz = (report["xz"].get(name) for name in report["figures"])
        table.add_row("xz -9e", *("" if value is None else f"{value:.2f}" for value in found_by_xz))
    for score in max(columns, key=len, default=()):
        label = f"{report['cell']}, state carried" if score["protocol"] == "carried" else _reset(report, score)
        found = ([s["perplexity"] for s in scores if s["protocol"] == score["protocol"]] for scores in columns)
        table.add_row(label, *("".join(f"{perplexity:.2f}" for perplexity in each) for each in found))
    for name, metric in METRICS.items():
        if columns and metric.in_tables and name != "perplexity":
            figures = (scores[0].get(name) for scores in columns)
            cells = ("" if figure is None else format(figure, metric.form) for figure in figures)
            table.add_row(f"{metric.words}, carried", *cells)
        if compressed := report.get(f"xz_{name}"):
            cells = (format(compressed[part], metric.form) if part in compressed else "" for part in report["figures"])
            table.add_row(f"{metric.words}, xz -9e", *cells)
    if columns:
        console.print(table)
    for line in _remarks(report):
        console.print(line, markup=False, soft_wrap=True)


def _reset(report: dict[str, Any], score: dict[str, Any]) -> str:
    return f"{report['cell']}, state reset every {score['window']}"


def _remarks(report: dict[str, Any]) -> list[str]:
    remarks = []
    if report["training_perplexity"] is not None:
        floor = f"; the lowest possible in this batching is {report['floor']:.3f}" if report["floor"] else ""
        remarks.append(
            f"While training (weights still change): perplexity {report['training_perplexity']:.3f} in the last "
            f"epoch{floor}."
        )
    if report["tokens_per_second"]:
        remarks.append(
            f"{report['steps']:,} steps, {report['epochs']:.1f} epochs, {report['seconds']:.0f} s: "
            f"{report['tokens_per_second']:,.0f} tokens/s on {report['device']}, engine {report['engine']}."
        )
    remarks += [
        f"Scored: the first {report['figures'][name][0]['tokens']:,} {name} tokens; elman evaluate scores them all."
        for name, whole in report["scored_whole"].items()
        if not whole and name != "train"
    ]
    if "train" in report["figures"] and not report["scored_whole"]["train"]:
        remarks.append(f"Scored of the training text: the first {report['figures']['train'][0]['tokens']:,} tokens.")
    if report["not_measured"]:
        why = "interrupted" if report["interrupted"] else "no time was left in the budget of minutes"
        remarks.append(
            f"Not measured ({why}): {', '.join(report['not_measured'])}. elman evaluate {report['run']} scores the "
            f"held-out part; elman train --resume {report['run']} measures the rest."
        )
    remarks.append(f"The weights are those of {report['checkpoint']}{report['kept']}.")
    remarks += [
        unknown_sentence(name, summary, has_unknown=report["unknown_symbol"])
        for name, summary in report["unknown_symbols"].items()
        if summary["tokens"]
    ]
    return [*remarks, *report["verdict"]]


def _continuation(job: Job) -> Iterator[tuple[str, str]]:
    """The first prompt of a run, if it has one, and how its model continues it."""
    for prompt in prompts(job)[:1]:
        model = load(job.path, engine=job.config.engine)
        temperature, seed = job.config.sample_temperature, job.config.seed
        yield prompt, "".join(generate(model, prompt, CONTINUATION, temperature=temperature, seed=seed))


def draw_pictures(path: Path) -> list[Path]:
    """The pictures of the run at `path`, or none where matplotlib is missing."""
    return drawn_if_possible(lambda: pictures(path))


def drawn_if_possible(draw: Callable[[], list[Path]]) -> list[Path]:
    """The files that `draw` draws, or none where matplotlib is missing."""
    try:
        return draw()
    except ConfigError:
        return []
