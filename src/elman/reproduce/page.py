"""What was measured as JSON, Markdown, and one page of HTML that needs nothing but itself."""

import base64
import html as html_module
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from elman.inference.tables import escaped, markdown_table
from elman.reproduce.experiment import Experiment, Figure, Result

SCHEMA = 1
Entry = tuple[Experiment, Result, float]
HEADINGS = ("what", "published", "measured", "verdict", "note")


def document(entries: Sequence[Entry], *, command: str, quick: bool, environment: Mapping[str, Any]) -> dict[str, Any]:
    """All experiments as JSON values, but for the numbers in the charts."""
    return {
        "schema_version": SCHEMA,
        "command": command,
        "quick": quick,
        "environment": dict(environment),
        "experiments": [_described(*entry) for entry in entries],
    }


def _described(experiment: Experiment, result: Result, cpu_seconds: float) -> dict[str, Any]:
    return {
        "name": experiment.name,
        "title": experiment.title,
        "source": experiment.source,
        "cpu_seconds": round(cpu_seconds, 1),
        "figures": [_row(figure) for figure in result.figures],
        "lessons": list(result.lessons),
        "texts": [{"heading": heading, "text": text} for heading, text in result.texts],
        "charts": [{"name": chart.name, "title": chart.title} for chart in result.charts],
    }


def _row(figure: Figure) -> dict[str, Any]:
    return {
        "what": figure.what,
        "published": None if figure.published is None else _number(figure.published, figure.infinite),
        "claim": figure.claim,
        "tolerance": figure.tolerance,
        "better": figure.better,
        "infinite": figure.infinite,
        "measured": [_number(m, figure.infinite) for m in figure.measured],
        "verdict": figure.verdict,
        "headline": figure.headline,
        "note": figure.note,
        "written": {"published": published(figure), "measured": measured(figure)},
    }


def _number(value: float, infinite: str) -> float | str:
    return value if math.isfinite(value) else infinite


def published(figure: Figure) -> str:
    """What the source says: a number with its tolerance, or a claim."""
    if figure.published is None:
        return ""
    if math.isinf(figure.published):
        return figure.infinite
    claim = "" if figure.claim == "equals" else f"{figure.claim} "
    tolerance = f"{100 * figure.tolerance:.2g}%" if figure.form.endswith("%") else f"{figure.tolerance:.2g}"
    within = f" ± {tolerance}" if figure.tolerance and figure.claim == "equals" else ""
    return f"{claim}{figure.published:{figure.form}}{within}"


def measured(figure: Figure) -> str:
    """The median, and the lowest and highest seed where there are several."""
    low, middle, high = (
        format(value, figure.form) if math.isfinite(value) else figure.infinite
        for value in (min(figure.measured), figure.median, max(figure.measured))
    )
    return middle if low == high else f"{middle} ({low}..{high})"


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row of a table, as text."""
    verdict = "" if row["verdict"] == "not published" else row["verdict"]
    return [row["what"], row["written"]["published"], row["written"]["measured"], verdict, row["note"]]


def markdown(found: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """The whole report; pictures are files beside it."""
    parts = ["# Published results, measured again", *_opening(found)]
    for each in found["experiments"]:
        parts += [f"## {each['name']}: {_md(each['title'])}", f"{_md(each['source'])}; {_minutes(each)}."]
        parts.append(_table(HEADINGS, [cells(row) for row in each["figures"]]))
        parts.append("\n".join(f"- {_md(lesson)}" for lesson in each["lessons"]))
        parts += [
            f"![{_md(c['title'])}]({file})"
            for c in each["charts"]
            if (file := picture_file(each["name"], c["name"])) in pictures
        ]
        parts += [f"{_md(t['heading'])}:\n\n```text\n{t['text']}\n```" for t in each["texts"]]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opening(found: Mapping[str, Any]) -> list[str]:
    e = found["environment"]
    lines = [
        "Beside every figure that a source published stands the same measured here: the median over seeds "
        "(lowest..highest). The verdict follows from the tolerance that is stated.",
        f"`{found['command']}` (elman {e['elman']}, PyTorch {e['torch']}, Python {e['python']}, {e['cores']} cores, "
        f"{e['cpu_capability']}).",
    ]
    return [QUICK, *lines] if found["quick"] else lines


QUICK = "A quick run: a few steps of small networks, to see that everything works. Its figures mean nothing."


def picture_file(experiment: str, chart: str) -> str:
    """The name of the file of a chart."""
    return f"{experiment}-{chart}.png"


def _minutes(each: Mapping[str, Any]) -> str:
    return f"{each['cpu_seconds'] / 60:.1f} CPU minutes"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = ([cell.replace("<", "&lt;") for cell in row] for row in rows)
    return markdown_table([head, *cells], left=len(head)).removesuffix("\n")


def _md(text: str) -> str:
    return escaped(text).replace("<", "&lt;")


STYLE = """
:root { color-scheme: light dark; --ink: #1c2126; --soft: #5b6570; --line: #d9dee3; --page: #fbfbf9; --card: #fff;
  --link: #1d5c99; --good: #22703f; --bad: #a33a22; --plain: #4d5966; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --soft: #a0a9b2; --line: #353c43; --page: #15181b;
  --card: #1c2024; --link: #84b8ea; --good: #7fcf9b; --bad: #f0967e; --plain: #a9b4bf; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0 1rem; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 0 0 .25rem; }
section { border-top: 1px solid var(--line); margin-top: 2.5rem; padding-top: 1.5rem; }
a { color: var(--link); }
.soft, figcaption { color: var(--soft); font-size: .9rem; }
.scroll { overflow-x: auto; margin: 1rem 0; border: 1px solid var(--line); border-radius: 6px;
  background: var(--card); }
.scroll:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .7rem; border-bottom: 1px solid var(--line); }
tr:last-child td, tr:last-child th { border-bottom: 0; }
thead th { color: var(--soft); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 400; min-width: 13rem; }
.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
.note { min-width: 14rem; color: var(--soft); }
.agrees, .better { color: var(--good); font-weight: 600; white-space: nowrap; }
.differs, .falls, .diverged { color: var(--bad); font-weight: 600; white-space: nowrap; }
figure { margin: 1.25rem 0; }
figure img { display: block; width: 100%; max-width: 44rem; height: auto; background: #fff; border-radius: 6px;
  padding: .25rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; padding: .6rem .8rem; margin: .25rem 0 1rem; font-size: .9rem; }
code { overflow-wrap: anywhere; }
@media (max-width: 40rem) { main { padding: 1rem .75rem 3rem; } th, td { padding: .35rem .3rem; }
  tbody th { min-width: 6.5rem; } table { font-size: .85rem; } .number, .falls { white-space: normal; } }
.quick { border-left: 4px solid var(--bad); padding-left: .8rem; }
"""


def html(found: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """The whole report as one page: no script, nothing fetched, pictures inlined."""
    title = "Published results, measured again"
    opening = [f'<p class="{"quick" if text == QUICK else "soft"}">{_code(text)}</p>' for text in _opening(found)]
    body = [f"<h1>{title}</h1>", *opening, *_summary(found), *(_section(e, pictures) for e in found["experiments"])]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n"
    )


def _summary(found: Mapping[str, Any]) -> Iterator[str]:
    """The headlines, each a link to its experiment."""
    rows = [(e["name"], row) for e in found["experiments"] for row in e["figures"] if row["headline"]]
    if rows:
        yield "<h2>Summary</h2>"
        yield _html_table("Summary", [_html_row(row, link=name, note=False) for name, row in rows], HEADINGS[:-1])


def _section(each: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    name = _h(each["name"])
    parts = [
        f'<section id="{name}">',
        f"<h2>{name}: {_h(each['title'])}</h2>",
        f'<p class="soft">{_h(each["source"])}; {_minutes(each)}. <code>elman reproduce {name}</code></p>',
        "<ul>" + "".join(f"<li>{_h(lesson)}</li>" for lesson in each["lessons"]) + "</ul>",
    ]
    for chart in each["charts"]:
        if (file := picture_file(each["name"], chart["name"])) in pictures:
            data, alt = base64.b64encode(pictures[file]).decode(), _h(chart["title"])
            image = f'<img src="data:image/png;base64,{data}" alt="{alt}">'
            parts.append(f"<figure>{image}<figcaption>{alt}</figcaption></figure>")
    parts.append(_html_table(f"Figures of {each['name']}", [_html_row(row) for row in each["figures"]], HEADINGS))
    parts += [f"<p>{_h(t['heading'])}:</p><pre>{_h(t['text'])}</pre>" for t in each["texts"]]
    return "\n".join([*parts, "</section>"])


def _html_table(label: str, rows: Sequence[str], head: Sequence[str]) -> str:
    """A table that scrolls sideways where it does not fit, by keyboard too."""
    columns = "".join(f'<th scope="col">{name}</th>' for name in head)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_h(label)}"><table>'
        f"<thead><tr>{columns}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _html_row(row: Mapping[str, Any], *, link: str = "", note: bool = True) -> str:
    what, published, measured, verdict, remark = (_h(cell) for cell in cells(row))
    first = f'<a href="#{_h(link)}">{_h(link)}</a>: {what}' if link else what
    kind = verdict.split(" ")[0]
    measured = measured.replace("..", "..<wbr>")  # a range may go on in the next line, a number does not
    return (
        f'<tr><th scope="row">{first}</th><td class="number">{published}</td><td class="number">{measured}</td>'
        f'<td class="{kind}">{verdict}</td>' + (f'<td class="note">{remark}</td>' if note else "") + "</tr>"
    )


def _h(text: str) -> str:
    return html_module.escape(text)


def _code(text: str) -> str:
    """Escaped, with what stands between backquotes as code."""
    pieces = _h(text).split("`")
    return "".join(f"<code>{piece}</code>" if i % 2 else piece for i, piece in enumerate(pieces))
