"""What a training shows: progress on standard error, the result on standard output."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from elman.cli.console import Stream
from elman.errors import ConfigError
from elman.inference.generation import generate
from elman.models.saving import finite, load
from elman.training.loop import Progress
from elman.training.report import pictures
from elman.training.run import Job, Sample, prompts

SCHEMA = 1
PLAIN_SECONDS = 10.0  # between lines, where nothing can be redrawn
CONTINUATION = 300


class Display(Protocol):
    """Shows a training."""

    def begin(self) -> None:
        """What is about to be trained."""

    def event(self, event: Progress | Sample) -> None:
        """A step or a sample."""

    def interrupted(self, path: Path) -> None:
        """A signal ended it; everything is saved."""

    def close(self) -> None:
        """Training is over, however it ended: leave the terminal as it was."""

    def scoring(self) -> None:
        """The result is about to be measured, which may take a while."""

    def end(self, report: dict[str, Any], drawn: list[Path]) -> None:
        """The result."""


def display(job: Job, *, json: bool, quiet: bool) -> Display:
    """The display that fits: JSON Lines, a live bar, or plain lines."""
    if json:
        return Lines(job)
    console = Stream(stderr=True, quiet=quiet, highlight=False)
    return Live(job, console) if console.is_terminal and not quiet else Plain(job, console)


class Lines:
    """JSON Lines on standard output: a record a report, then the result."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def begin(self) -> None:
        """A record of what begins."""
        self._write("begin", _facts(self.job))

    def event(self, event: Progress | Sample) -> None:
        """A record a report and a sample."""
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
        """Nothing to leave."""

    def scoring(self) -> None:
        """No record."""

    def interrupted(self, path: Path) -> None:
        """A record that it was interrupted."""
        self._write("interrupted", {"run": str(path)})

    def end(self, report: dict[str, Any], drawn: list[Path]) -> None:
        """The report."""
        self._write("result", report | {"pictures": [str(p) for p in drawn]})

    def _write(self, kind: str, value: dict[str, Any]) -> None:
        print(json.dumps({"schema_version": SCHEMA, "type": kind} | finite(value), ensure_ascii=False), flush=True)


class Plain:
    """Lines on standard error: one a report, and one at least each ten seconds."""

    def __init__(self, job: Job, console: Console) -> None:
        self.job, self.console = job, console
        self.words = Line()
        self.last = time.monotonic()

    def begin(self) -> None:
        """What is about to be trained, on what, how."""
        facts = _facts(self.job)
        self.console.print(
            f"{facts['source']}: {facts['training_tokens']:,} training and {facts['held_out_tokens']:,} held-out "
            f"tokens, {facts['vocabulary']} symbols",
            f"{facts['cell']} {facts['hidden']}, {facts['parameters']:,} parameters, engine {facts['engine']} on "
            f"{facts['device']}; {facts['coverage']}",
            *self.job.notes,
            sep="\n",
            markup=False,
            soft_wrap=True,
        )

    def event(self, event: Progress | Sample) -> None:
        """A line where one is due."""
        if isinstance(event, Sample):
            self.sample(event)
            return
        if event.report or time.monotonic() - self.last > PLAIN_SECONDS:
            self.last = time.monotonic()
            self.line(event)

    def line(self, event: Progress) -> None:
        """Where the run is."""
        self.console.print(self.words.words(event), markup=False, soft_wrap=True)

    def sample(self, sample: Sample) -> None:
        """What the model writes now."""
        text = Text.assemble("  ", (sample.prompt, "bold"), sample.text, no_wrap=True, overflow="ellipsis")
        self.console.print(Text(" ", spans=[]).join(text.split("\n")))

    def close(self) -> None:
        """Nothing to leave."""

    def scoring(self) -> None:
        """That it is done, and what is left to wait for."""
        self.console.print("trained and saved; scoring by two protocols, and counting n-grams to compare", markup=False)

    def interrupted(self, path: Path) -> None:
        """How to go on."""
        self.console.print(f"saved; go on with: elman train --resume {path}", markup=False, soft_wrap=True)

    def end(self, report: dict[str, Any], drawn: list[Path]) -> None:
        """The table, the verdict, a continuation, and where everything is."""
        out = Stream(highlight=False)
        print_report(out, report)
        for prompt, text in _continuation(self.job):
            out.print(Text.assemble("\n", (prompt, "bold"), text, "\n"), soft_wrap=True)
        where = ", ".join(p.name for p in drawn)
        out.print(f"{report['run']}" + (f" ({where})" if where else ""), markup=False, soft_wrap=True)
        if not drawn:
            self.console.print('no pictures: pip install "elman[plot]" draws them', markup=False)


class Live(Plain):
    """A bar that is redrawn."""

    def __init__(self, job: Job, console: Console) -> None:
        super().__init__(job, console)
        columns = (BarColumn(bar_width=12), TextColumn("{task.description}", markup=False))
        self.bar = Bar(*columns, console=console, transient=True, refresh_per_second=4)
        self.task = self.bar.add_task("", total=1.0)

    def event(self, event: Progress | Sample) -> None:
        """Redraw; samples and reports stay above the bar."""
        self.bar.start()
        super().event(event)
        if isinstance(event, Progress):
            if time.monotonic() - self.shown > 0.2 or event.done:
                self.shown = time.monotonic()
                self.bar.update(self.task, completed=event.fraction, description=self.words.words(event))
            if event.done:
                self.bar.stop()

    shown = 0.0

    def line(self, event: Progress) -> None:
        """Only reports stay."""
        if event.report:
            super().line(event)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.bar.stop()


class Line:
    """Where a run is, in one line that fits a terminal."""

    def __init__(self) -> None:
        self.held_out = ""

    def words(self, event: Progress) -> str:
        """How far, how good, how fast, how long."""
        if event.held_out:
            self.held_out = f", held-out {event.held_out.perplexity:.2f}"
        train = event.train if event.train is not None else event.perplexity
        left = event.seconds * (1 - event.fraction) / max(event.fraction, 1e-9)
        return (
            f"{event.fraction:4.0%}  epoch {event.epoch:.1f}  train {train:.2f}{self.held_out}  "
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
        "coverage": f"{'the first' if job.config.first_window else 'an'} epoch covers {job.coverage}",
    }


def print_report(console: Console, report: dict[str, Any]) -> None:
    """The figures beside their bounds, as a table, and the verdict."""
    table = Table(box=None, pad_edge=False, title_justify="left")
    for name in ("perplexity", *report["figures"]):
        table.add_column(name, justify="left" if name == "perplexity" else "right")
    columns = list(report["figures"].values())
    for bound in columns[0][0]["baselines"]:
        table.add_row(bound, *(f"{scores[0]['baselines'][bound]:.2f}" for scores in columns))
    table.add_row("xz -9e", *(f"{value:.2f}" for value in report["xz"].values()))
    for i, score in enumerate(columns[0]):
        label = f"{report['cell']}, state carried" if score["protocol"] == "carried" else _reset(report, score)
        table.add_row(label, *(f"{scores[i]['perplexity']:.2f}" for scores in columns))
    bits = (f"{scores[0]['bits_per_character']:.3f}" for scores in columns)
    table.add_row("bits per character, carried", *bits)
    console.print(table)
    for line in _remarks(report):
        console.print(line, markup=False, soft_wrap=True)


def _reset(report: dict[str, Any], score: dict[str, Any]) -> str:
    return f"{report['cell']}, state reset every {score['window']}"


def _remarks(report: dict[str, Any]) -> list[str]:
    remarks = []
    if report["training_perplexity"] is not None:
        floor = f"; the floor of this protocol is {report['floor']:.3f}" if report["floor"] else ""
        remarks.append(f"While training: perplexity {report['training_perplexity']:.3f} in the last epoch{floor}.")
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
    unknown = {name: scores[0]["unknown"] for name, scores in report["figures"].items() if scores[0]["unknown"]}
    remarks.append(f"The weights are those of {report['checkpoint']}{report['kept']}.")
    fate = "unknown, scored as <unk>" if report["unknown_symbol"] else "unknown, and left out: there is no <unk>"
    remarks += [f"{count:,} {name} tokens are {fate}." for name, count in unknown.items()]
    return [*remarks, *report["verdict"]]


def _continuation(job: Job) -> Iterator[tuple[str, str]]:
    """The first prompt, if there is one, and what the run's model makes of it."""
    for prompt in prompts(job)[:1]:
        model = load(job.path, engine=job.config.engine)
        temperature, seed = job.config.sample_temperature, job.config.seed
        yield prompt, "".join(generate(model, prompt, CONTINUATION, temperature=temperature, seed=seed))


def draw_pictures(path: Path) -> list[Path]:
    """The pictures of a run, or none where matplotlib is missing."""
    return drawn_if_possible(lambda: pictures(path))


def drawn_if_possible(draw: Callable[[], list[Path]]) -> list[Path]:
    """The pictures that are drawn, or none where matplotlib is missing."""
    try:
        return draw()
    except ConfigError:
        return []
