"""A report as JSON, as Markdown, and as one page of HTML that holds its pictures."""

import base64
import html as html_module
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from elman.inference.tables import escaped, markdown_table
from elman.reproduce.experiment import Experiment, Measurement, Result

SCHEMA = 1
TITLE = "Published results, measured again"
HEADINGS = ("what", "published", "measured", "verdict", "note")
QUICK = "A quick run: a few steps of small networks, to see that everything works. Its figures mean nothing."


class FinishedExperiment(NamedTuple):
    """An experiment and what it found."""

    experiment: Experiment
    result: Result
    cpu_seconds: float


def document(
    finished: Sequence[FinishedExperiment], *, command: str, quick: bool, environment: Mapping[str, Any]
) -> dict[str, Any]:
    """A report as JSON values, without the numbers of the charts.

    Args:
        finished: the experiments in order.
        command: the command line that was typed.
        quick: whether it was a quick run.
        environment: versions and machine, see `elman.environment`.
    """
    return {
        "schema_version": SCHEMA,
        "command": command,
        "quick": quick,
        "environment": dict(environment),
        "experiments": [_experiment(*each) for each in finished],
    }


def _experiment(experiment: Experiment, result: Result, cpu_seconds: float) -> dict[str, Any]:
    return {
        "name": experiment.name,
        "title": experiment.title,
        "source": experiment.source,
        "cpu_seconds": round(cpu_seconds, 1),
        "figures": [_row(m) for m in result.measurements],
        "lessons": list(result.lessons),
        "texts": [{"heading": heading, "text": text} for heading, text in result.texts],
        "charts": [{"name": chart.name, "title": chart.title} for chart in result.charts],
    }


def _row(m: Measurement) -> dict[str, Any]:
    return {
        "what": m.what,
        "published": None if m.published is None else _number(m.published, m.infinite),
        "claim": m.claim,
        "tolerance": m.tolerance,
        "better": m.better,
        "infinite": m.infinite,
        "measured": [_number(value, m.infinite) for value in m.measured],
        "verdict": m.verdict,
        "headline": m.headline,
        "note": m.note,
        "written": {"published": format_published(m), "measured": format_measured(m)},
    }


def _number(value: float, infinite: str) -> float | str:
    return value if math.isfinite(value) else infinite


def format_published(m: Measurement) -> str:
    """The published figure with its tolerance, or the claim, as text; empty if there is none."""
    if m.published is None:
        return ""
    if math.isinf(m.published):
        return m.infinite
    claim = "" if m.claim == "equals" else f"{m.claim} "
    tolerance = f"{100 * m.tolerance:.2g}%" if m.number_format.endswith("%") else f"{m.tolerance:.2g}"
    within = f" ± {tolerance}" if m.tolerance and m.claim == "equals" else ""
    return f"{claim}{m.published:{m.number_format}}{within}"


def format_measured(m: Measurement) -> str:
    """The median, and the lowest and highest seed if there are several, as text."""
    low, middle, high = (
        format(value, m.number_format) if math.isfinite(value) else m.infinite
        for value in (min(m.measured), m.median, max(m.measured))
    )
    return middle if low == high else f"{middle} ({low}..{high})"


def cells(row: Mapping[str, Any]) -> list[str]:
    """The cells of a table row under `HEADINGS`, from a figure of `document`."""
    verdict = "" if row["verdict"] == "not published" else row["verdict"]
    return [row["what"], row["written"]["published"], row["written"]["measured"], verdict, row["note"]]


def picture_file(experiment: str, chart: str) -> str:
    """The name of the file of a chart.

    Args:
        experiment: the name of the experiment.
        chart: the name of the chart.
    """
    return f"{experiment}-{chart}.png"


def markdown(found: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """A report as Markdown; its pictures are files beside it.

    Args:
        found: the report as `document` gives it.
        pictures: PNG by file name.
    """
    parts = [f"# {TITLE}", *_opening(found)]
    for each in found["experiments"]:
        parts += [f"## {each['name']}: {_md(each['title'])}", f"{_md(each['source'])}; {_minutes(each)}."]
        parts.append(_table(HEADINGS, [cells(row) for row in each["figures"]]))
        parts.append("\n".join(f"- {_md(lesson)}" for lesson in each["lessons"]))
        parts += [f"![{_md(title)}]({file})" for file, title in _pictures(each, pictures)]
        parts += [f"{_md(t['heading'])}:\n\n```text\n{t['text']}\n```" for t in each["texts"]]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opening(found: Mapping[str, Any]) -> list[str]:
    e = found["environment"]
    lines = [
        "Each figure that a source published is measured again here: the median over seeds (lowest..highest). "
        "The verdict follows from the tolerance that is given.",
        f"`{found['command']}` (elman {e['elman']}, PyTorch {e['torch']}, Python {e['python']}, {e['cores']} cores, "
        f"{e['cpu_capability']}).",
    ]
    return [QUICK, *lines] if found["quick"] else lines


def _pictures(each: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    """The file and the title of each chart that was drawn."""
    for chart in each["charts"]:
        if (file := picture_file(each["name"], chart["name"])) in pictures:
            yield file, chart["title"]


def _minutes(each: Mapping[str, Any]) -> str:
    return f"{each['cpu_seconds'] / 60:.1f} CPU minutes"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = ([cell.replace("<", "&lt;") for cell in row] for row in rows)
    return markdown_table([head, *cells], left=len(head)).removesuffix("\n")


def _md(text: str) -> str:
    return escaped(text).replace("<", "&lt;")


STYLE = """
:root { color-scheme: light dark; }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; font: 16px/1.5 system-ui, sans-serif; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #8884; }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
"""


def html(found: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """A report as one page of HTML, without scripts or anything that is fetched.

    Args:
        found: the report as `document` gives it.
        pictures: PNG by file name.
    """
    body = [f"<h1>{TITLE}</h1>", *(f"<p>{_h(text)}</p>" for text in _opening(found))]
    headlines = [
        [f'<a href="#{_h(each["name"])}">{_h(each["name"])}</a>', *map(_h, cells(row)[:-1])]
        for each in found["experiments"]
        for row in each["figures"]
        if row["headline"]
    ]
    if headlines:
        body += ["<h2>Summary</h2>", _html_table(["experiment", *HEADINGS[:-1]], headlines)]
    body += [_section(each, pictures) for each in found["experiments"]]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{TITLE}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _section(each: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    parts = [
        f'<section id="{_h(each["name"])}">',
        f"<h2>{_h(each['name'])}: {_h(each['title'])}</h2>",
        f"<p>{_h(each['source'])}; {_minutes(each)}.</p>",
        "<ul>" + "".join(f"<li>{_h(lesson)}</li>" for lesson in each["lessons"]) + "</ul>",
    ]
    for file, title in _pictures(each, pictures):
        data = base64.b64encode(pictures[file]).decode()
        image = f'<img src="data:image/png;base64,{data}" alt="{_h(title)}">'
        parts.append(f"<figure>{image}<figcaption>{_h(title)}</figcaption></figure>")
    parts.append(_html_table(HEADINGS, [[*map(_h, cells(row))] for row in each["figures"]]))
    parts += [f"<p>{_h(t['heading'])}:</p><pre>{_h(t['text'])}</pre>" for t in each["texts"]]
    return "\n".join([*parts, "</section>"])


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of HTML cells that scrolls sideways where it does not fit."""
    lines = [
        "".join(f"<th>{name}</th>" for name in head),
        *("".join(f"<td>{cell}</td>" for cell in row) for row in rows),
    ]
    return '<div class="scroll"><table>' + "".join(f"<tr>{line}</tr>" for line in lines) + "</table></div>"


def _h(text: str) -> str:
    return html_module.escape(text)
