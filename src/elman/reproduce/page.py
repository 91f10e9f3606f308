"""A report as JSON, as Markdown, and as one page of HTML that holds its pictures."""

import base64
import html as html_module
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from elman.inference.tables import escaped, markdown_table
from elman.reproduce.experiment import KINDS, PRINTED, READ_OFF, Experiment, Measurement, Result, count_verdicts

SCHEMA = 2
TITLE = "Published results, measured again"
HEADINGS = ("what", "reference", "kind", "measured", "runs", "verdict", "note")
VERDICTS = ("agrees", "better", "inconclusive", "differs", "falls short", "diverged")
FEW = 3
"""Runs below which a median says little."""
HOW = (
    "A reference is what a source published (a figure, or a claim in words), what an earlier run of this program or of "
    "the source's found and nobody published, or what follows from a definition. Beside it stands the median of the "
    "runs here, or their mean where the reference is a mean (lowest..highest)."
)
RULE = (
    "agrees: the median is within the tolerance, which comes from the source and never from what was measured: where "
    f"nothing else is said, {PRINTED}. "
    "inconclusive: the median is outside, but the runs reach the tolerance or lie on both sides of it. better, falls "
    "short, differs: every run is outside. A claim agrees if it holds in every run, is inconclusive if in some. The "
    f"median of fewer than {FEW} runs of a training shows no more than those runs; counts need one."
)
QUICK = "A quick run: a few steps of small networks, to see that everything works. Its figures mean nothing."


class FinishedExperiment(NamedTuple):
    """An experiment and what it found."""

    experiment: Experiment
    result: Result
    cpu_seconds: float


def document(
    finished: Sequence[FinishedExperiment], *, command: str, quick: bool, environment: Mapping[str, Any], code: str
) -> dict[str, Any]:
    """A report as JSON values, without the numbers of the charts.

    Args:
        finished: the experiments in order.
        command: the command line that was typed.
        quick: whether it was a quick run.
        environment: versions and machine, see `elman.environment`.
        code: the digest of the code that measured, see `elman.reproduce.trials.code_digest`.
    """
    experiments = [_experiment(*each) for each in finished]
    return {
        "schema_version": SCHEMA,
        "command": command,
        "quick": quick,
        "environment": dict(environment),
        "code_sha256": code,
        "verdicts": count_verdicts(row for each in experiments for row in each["figures"]),
        "experiments": experiments,
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
        "kind": m.kind,
        "published": _reference(m.published, m),
        "earlier_run": _reference(m.earlier_run, m),
        "definition": _reference(m.definition, m),
        "claim": m.claim,
        "tolerance": m.tolerance,
        "tolerance_from": m.tolerance_from,
        "better": m.better,
        "infinite": m.infinite,
        "statistic": m.statistic,
        "measured": [_number(value, m.infinite) for value in m.measured],
        "verdict": m.verdict,
        "headline": m.headline,
        "note": m.note,
        "explained": m.explained,
        "written": {"reference": format_reference(m), "measured": format_measured(m)},
    }


def _reference(value: float | None, m: Measurement) -> float | str | None:
    return None if value is None else _number(value, m.infinite)


def _number(value: float, infinite: str) -> float | str:
    return value if math.isfinite(value) else infinite


def format_reference(m: Measurement) -> str:
    """The reference with its tolerance, or the claim, as text; empty if there is none."""
    if m.reference is None:
        return ""
    if math.isinf(m.reference):
        return m.infinite
    claim = "" if m.claim == "equals" else f"{m.claim} "
    tolerance = f"{100 * m.tolerance:.2g}%" if m.number_format.endswith("%") else f"{m.tolerance:.2g}"
    within = f" ± {tolerance}" if m.tolerance else ""
    return f"{claim}{m.reference:{_digits(m)}}{within}"


def _digits(m: Measurement) -> str:
    """The format of a reference: where half a unit of its last digit is the tolerance, with as many digits."""
    kind = m.number_format[-1]
    if m.tolerance_from not in {PRINTED, READ_OFF} or kind not in "f%":
        return m.number_format
    return f".{max(0, round(-math.log10(2 * m.tolerance)) - (2 if kind == '%' else 0))}{kind}"


def format_measured(m: Measurement) -> str:
    """The median or mean, and the lowest and highest run if there are several, as text."""
    low, middle, high = (
        format(value, m.number_format) if math.isfinite(value) else m.infinite
        for value in (min(m.measured), m.middle, max(m.measured))
    )
    mean = "mean " if m.statistic == "mean" and len(m.measured) > 1 else ""
    return middle if low == high else f"{mean}{middle} ({low}..{high})"


def cells(row: Mapping[str, Any]) -> list[str]:
    """The cells of a table row under `HEADINGS`, from a figure of `document`."""
    written, verdict = row["written"], row["verdict"]
    source = "" if row["tolerance_from"] == PRINTED else row["tolerance_from"]
    reasons = [row["note"], f"tolerance: {source}" if source else "", explanation(row)]
    return [
        row["what"],
        written["reference"],
        row["kind"],
        written["measured"],
        str(len(row["measured"])),
        verdict if row["kind"] else "",
        "; ".join(reason for reason in reasons if reason),
    ]


def explanation(row: Mapping[str, Any]) -> str:
    """Why a figure does not agree; empty if it does, or if there is nothing to agree with."""
    return str(row["explained"]) if row["kind"] and row["verdict"] != "agrees" else ""


def verdict_table(found: Mapping[str, Any]) -> list[list[str]]:
    """How many figures of a report have each verdict: a heading and a line for each kind of reference.

    Args:
        found: the report as `document` gives it.
    """
    counts = found["verdicts"]
    used = [verdict for verdict in VERDICTS if any(verdict in of for of in counts.values())]
    return [
        ["kind", "figures", *used],
        *(
            [kind, str(sum(counts[kind].values())), *(str(counts[kind].get(verdict, 0)) for verdict in used)]
            for kind in KINDS
            if kind in counts
        ),
    ]


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
    if found["verdicts"]:
        head, *rows = verdict_table(found)
        parts.append(_table(head, rows))
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
        HOW,
        RULE,
        f"`{found['command']}` (elman {e['elman']}, PyTorch {e['torch']}, Python {e['python']}, {e['cores']} cores, "
        f"{e['cpu_capability']}; code {found['code_sha256'][:12]}).",
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
    if found["verdicts"]:
        head, *rows = verdict_table(found)
        body.append(_html_table(head, rows))
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
