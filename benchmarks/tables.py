"""Make results/README.md, and the verdicts in docs/measured.md, of the JSON files: `python benchmarks/tables.py`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from side_by_side import RESULTS, read

from elman.reproduce.page import HEADINGS, HOW, RULE, cells, explanation, verdict_table

HEAD = """# Measured

Made by `python benchmarks/tables.py` of the JSON files in this folder; medians, and quartiles in brackets. What is
measured, and how, is said in [the page above](../README.md) and at the top of each script.
"""
BESIDE = ("textbook's loop", "JAX", "autocast")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; figures are set to the right."""
    marks = ["---" if any(_is_word(row[i]) for row in rows) else "---:" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in (head, marks, *rows))


def _is_word(cell: object) -> bool:
    return isinstance(cell, str) and bool(cell) and not cell[0].isdigit()


def origin(document: Mapping[str, Any]) -> str:
    """What made the figures, and where."""
    e = document["environment"]
    where = f"{e['cores']} cores, {e['cpu_capability']}, Python {e['python']}, PyTorch {e['torch']}"
    return f"`{document['command']}` ({where})"


def ratio(found: Mapping[str, float]) -> str:
    return f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def percent(found: Mapping[str, float] | None) -> str:
    return "" if found is None else f"{100 * found['median']:.0f} %"


def training(document: Mapping[str, Any]) -> Iterator[str]:
    """Every row, with what stands beside elman in it."""
    rows = document["result"]
    beside = [name for name in BESIDE if any(name in row for row in rows)]
    head = ["threads", "V", "cell", "H", "engine", "tokens/s", "x plain PyTorch", "share", "plain's share", *beside]
    lines = []
    for row in rows:
        ours, plain = row["elman"], row["plain PyTorch"]
        others = [f"{row[name]['ratio']['median']:.2f}" if name in row else "" for name in beside]
        figures = [f"{ours['per_second']['median']:,.0f}", ratio(ours["ratio"])]
        shares = [percent(way.get("share")) for way in (ours, plain)]
        lines.append([row["threads"], row["V"], row["cell"], row["H"], row["engine"], *figures, *shares, *others])
    yield "B = 32, T = 35, clipped, SGD. Shares are of what a large float32 matrix product reaches in the same rounds"
    yield "on as many threads" + (f"; {', '.join(beside)}: x plain PyTorch." if beside else ".")
    yield ""
    yield table(head, lines)


def kernels(document: Mapping[str, Any]) -> Iterator[str]:
    """GF/s and shares, and whether the goal is reached."""
    result = document["result"]
    goal, lines, least = result["goal"], [], 1.0
    for row in result["rows"]:
        cells = [row["cell"], row["H"]]
        for name in ("forward", "backward"):
            found = row[name]
            low, high = (100 * found["share"][end] for end in ("low", "high"))
            share = f"{percent(found['share'])} ({low:.0f} to {high:.0f})"
            cells += [f"{found['per_second']['median'] / 1e9:.1f}", share]
            if row["H"] == goal["H"]:
                least = min(least, found["share"]["median"])
        lines.append([*cells, f"{row['matrix product']['median'] / 1e9:.1f}"])
    reached = "reached" if least >= goal["share"] else "not reached"
    yield f"The recurrence on one thread ({result['instructions']}), B = 32, T = 35: GF/s, and the share of what a"
    yield f"large matrix product reaches. The goal is {100 * goal['share']:.0f} % at H = {goal['H']}; the lowest there"
    yield f"is {100 * least:.0f} %: {reached}."
    yield ""
    yield table(["cell", "H", "forward", "share", "backward", "share", "matrix product"], lines)


def generating(document: Mapping[str, Any]) -> Iterator[str]:
    """A line a way, whatever else tells the rows apart."""
    facts, lines = [], []
    for row in document["result"]:
        ways = {name: found for name, found in row.items() if isinstance(found, dict) and "per_second" in found}
        told = {name: value for name, value in row.items() if name not in ways and not isinstance(value, dict | list)}
        facts = facts or list(told)
        reference = next(name for name, found in ways.items() if set(found["ratio"].values()) == {1.0})
        for name, found in ways.items():
            times = "" if name == reference else f"{ratio(found['ratio'])} x {reference}"
            lines.append([*(told.get(f, "") for f in facts), name, f"{found['per_second']['median']:,.0f}", times])
    yield "Characters a second."
    yield ""
    yield table([*facts, "way", "characters/s", "against"], lines)


def hybrid(document: Mapping[str, Any]) -> Iterator[str]:
    """Training, sampling, and the growth of counting."""
    found = document["result"]
    for what, unit, column in (("training", "tokens", "threads"), ("sampling", "tokens", "streams")):
        head = ["text", "V", column, f"GRU alone, {unit}/s", f"with experts, {unit}/s", "ratio"]
        yield f"{what.capitalize()}:\n"
        yield table(head, [_beside(row, column) for row in found[what]]) + "\n"
    yield "Counting source code, on one thread; memory beside what the program and the text take:\n"
    head = ["MB", "tokens", "folds", "CPU s", "tables, MB", "peak, MB"]
    yield table(head, [_grown(row) for row in found["growth"]])


def _beside(row: Mapping[str, Any], column: str) -> list[object]:
    rates = [f"{row[way]['per_second']['median']:,.0f}" for way in ("GRU alone", "hybrid")]
    return [row["text"], f"{row['V']:,}", row[column], *rates, ratio(row["hybrid"]["ratio"])]


def _grown(row: Mapping[str, Any]) -> list[object]:
    more = row["peak_bytes"] - row["peak_bytes_before"]
    return [
        f"{row['megabytes']:g}", f"{row['tokens']:,}", row["folds"], f"{row['cpu_seconds']:.1f}",
        f"{row['tables_bytes'] / 1e6:,.0f}", f"{more / 1e6:,.0f}",
    ]  # fmt: skip


def scaling(document: Mapping[str, Any]) -> Iterator[str]:
    """The picture, and how many times plain PyTorch elman is as each variable varies."""
    rows = document["result"]
    yield "![tokens a second against units, rows, steps and threads](scaling.png)"
    yield ""
    yield "elman, x plain PyTorch, as one of them varies; the others are H = 256, B = 32, T = 35, one thread; V = 28."
    for variable in dict.fromkeys(row["varies"] for row in rows):
        found = [row for row in rows if row["varies"] == variable]
        values = sorted({row[variable] for row in found})
        times = {(row["cell"], row[variable]): f"{row['elman']['ratio']['median']:.2f}" for row in found}
        cells = dict.fromkeys(row["cell"] for row in found)
        yield ""
        yield table([variable, *values], [[cell, *(times.get((cell, v), "") for v in values)] for cell in cells])


def agreement(document: Mapping[str, Any]) -> Iterator[str]:
    """Twelve texts: what `evaluate` says and what `compress` writes."""
    head = ["script", "level", "V", "unknown", "evaluate", "of which tokens", "compress", "difference", "xz -9e"]
    yield "Bits per character of held-out text. The compressed file without its header of 120 bytes, beside"
    yield "the bits of `elman evaluate`, which hold the spelling of unknown symbols and the spaces between words."
    yield ""
    yield table(head, [_agreement(row) for row in document["result"]])


def _agreement(row: Mapping[str, Any]) -> list[str]:
    xz = 8 * row["xz_bytes"] / (8 * row["body_bytes"] / row["compress"])
    figures = [f"{row[name]:.3f}" for name in ("evaluate", "tokens_alone", "compress")]
    unknown, difference = f"{row['unknown']:.2%}", f"{row['difference']:+.2%}"
    return [row["script"], row["level"], f"{row['V']:,}", unknown, *figures, difference, f"{xz:.3f}"]


def small_text(document: Mapping[str, Any]) -> Iterator[str]:
    """Bits a character: medians over the seeds, lowest and highest, and CPU seconds."""
    rows = document["result"]
    texts = list(dict.fromkeys(row["text"] for row in rows))
    lines = []
    for model in dict.fromkeys(row["model"] for row in rows):
        line = [model]
        for text in texts:
            found = [row for row in rows if (row["text"], row["model"]) == (text, model)]
            line += [
                _seeds([row["bits"] for row in found]),
                _seeds([r["dynamic_bits"] for r in found if "dynamic_bits" in r]),
            ]
            line += [_most([row.get("with_dynamic_cpu_seconds") for row in found])]
        lines.append(line)
    yield "The Time Machine, 90 % to learn from, the last 10 % scored once; `letters`: letters and blanks, `none`: the"
    yield "file as it is. At rest, and learning from what was scored; CPU seconds of everything, of the slowest seed."
    yield ""
    yield table(
        ["bits a character", *(f"{text}, {what}" for text in texts for what in ("at rest", "learning", "CPU s"))], lines
    )


def other_texts(document: Mapping[str, Any]) -> Iterator[str]:
    """Held-out perplexities of the default, beside its bounds."""
    yield "`elman train FILE` with no more flags, held-out perplexity."
    yield ""
    head = [
        "text",
        "tokens",
        "uniform",
        "unigram",
        "n-gram",
        "xz -9e",
        "elman train",
        "bits a character",
        "epochs",
        "s",
    ]
    lines = []
    for row in document["result"]:
        uniform, unigram, ngram, xz, ours = row["perplexity"].values()
        figures = [f"{value:.2f}" for value in (uniform, unigram, ngram, xz, ours)]
        rest = [f"{row['bits_per_character']:.3f}", f"{row['epochs']:.1f}", f"{row['seconds']:.0f}"]
        lines.append([row["text"], f"{row['training_tokens']:,}", *figures, *rest])
    yield table(head, lines)


def _seeds(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.3f}" if values else ""
    return f"{median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def _most(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{max(known):.0f}" if known else ""


def without(document: Mapping[str, Any]) -> Iterator[str]:
    """What each lever is worth."""
    rows = [row for row in document["result"] if "lever" in row]
    whole = rows[0]
    yield "The end of the training part of the book, `letters`, one seed, half as many epochs: bits a character."
    yield ""
    lines = [
        [row["lever"], f"{row['bits']:.3f}", f"{row['bits'] - whole['bits']:+.3f}", f"{row['cpu_seconds']:.0f}"]
        for row in rows
    ]
    yield table(
        [{"alone": "network alone", "hybrid": "network with n-gram"}[whole["model"]], "at rest", "change", "CPU s"],
        lines,
    )


def reproduced(document: Mapping[str, Any]) -> Iterator[str]:
    """Every figure of every experiment beside its reference, and why it does not agree where it does not."""
    yield HOW
    yield ""
    yield RULE
    yield ""
    head, *rows = verdict_table(document)
    yield table(head, rows)
    for each in document["experiments"]:
        yield ""
        yield f"**{each['name']}**, {each['source']}; {each['cpu_seconds'] / 60:.1f} CPU minutes."
        yield ""
        yield table(HEADINGS[:-1], [_figure(row) for row in each["figures"]])
        reasons: dict[str, list[str]] = {}
        for row in each["figures"]:
            if reason := explanation(row):
                reasons.setdefault(reason, []).append(row["what"].replace("|", "\\|"))
        if reasons:
            yield ""
        for reason, of in reasons.items():
            yield f"- {'; '.join(of)}: *{reason}*."
    if code := document["code_sha256"]:
        yield ""
        yield f"SHA-256 of the code that measured: `{code}`."


def _figure(row: Mapping[str, Any]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in cells(row)[:-1]]


BEGIN, END = "<!-- made by benchmarks/tables.py -->\n", "<!-- end -->"
MEASURED = Path(__file__).parents[1] / "docs" / "measured.md"


def with_verdicts(page: str, document: Mapping[str, Any]) -> str:
    """A page with the verdicts and the headlines of `elman reproduce` between its two marks.

    Args:
        page: the page.
        document: what `elman reproduce` wrote.
    """
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    head, *rows = verdict_table(document)
    headlines = [
        [each["name"], *_figure(row)]
        for each in document["experiments"]
        for row in each["figures"]
        if row["headline"] and row["kind"]
    ]
    tables = (table(head, rows), table(["experiment", *HEADINGS[:-1]], headlines))
    return before + BEGIN + "\n\n".join(tables) + "\n" + END + after


SECTIONS: dict[str, tuple[str, Callable[[Mapping[str, Any]], Iterator[str]]]] = {
    "training": ("The whole training step", training),
    "kernels": ("The native engine alone", kernels),
    "scaling": ("As sizes vary", scaling),
    "generating": ("Generating", generating),
    "hybrid": ("With counted experts", hybrid),
    "agreement": ("What `evaluate` says and what `compress` writes", agreement),
    "small_text": ("The best models of a small text", small_text),
    "other_texts": ("Texts that nothing was chosen on", other_texts),
    "small_text_hybrid": ("The network with n-gram without each lever", without),
    "small_text_alone": ("The network alone without, and with, each lever", without),
    "reproduce": ("Published results, measured again", reproduced),
}


def make() -> str:
    """The page."""
    parts = [HEAD]
    for name, (title, section) in SECTIONS.items():
        if not (RESULTS / f"{name}.json").exists():
            continue  # it was not measured yet
        document = read(name)
        parts.append("\n".join([f"## {title}", "", *section(document), "", origin(document), ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    (RESULTS / "README.md").write_text(make(), encoding="utf-8")
    if (RESULTS / "reproduce.json").exists():
        page = MEASURED.read_text(encoding="utf-8")
        MEASURED.write_text(with_verdicts(page, read("reproduce")), encoding="utf-8")
