"""Tables in Markdown."""

from collections.abc import Sequence


def markdown_table(rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    r"""A table in Markdown: a line a row, each ended by a newline.

    Args:
        rows: the headings, then the cells of each row as text; bars and backslashes are escaped.
        left: how many of the first columns are aligned to the left; the others are aligned to the right.

    Example:
        >>> print(markdown_table([["model", "perplexity"], ["a|b", "4.10"]]), end="")
        | model | perplexity |
        | --- | ---: |
        | a\|b | 4.10 |
    """
    head, *body = rows
    rule = ["---"] * min(left, len(head)) + ["---:"] * max(0, len(head) - left)
    lines = ([escaped(cell) for cell in head], rule, *([escaped(cell) for cell in row] for row in body))
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def escaped(text: str) -> str:
    r"""Text that Markdown does not read as the end of a table's cell.

    Example:
        >>> print(escaped("a|b"))
        a\|b
    """
    return text.replace("\\", "\\\\").replace("|", "\\|")
