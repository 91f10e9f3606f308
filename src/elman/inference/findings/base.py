"""What a finding is, and how names are listed in one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["problem", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """A statement about figures, and the rule that it follows from.

    Args:
        rule: the name of the rule.
        severity: "problem": what was measured should not be used; "warning": something to know or to change before it
            is; "note": a result.
        sentence: the statement in plain English.
        figures: the numbers that it follows from, by name.
    """

    rule: str
    severity: Severity
    sentence: str
    figures: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; infinite figures are still in it."""
        return {**vars(self), "figures": dict(self.figures)}


def sentences(findings: Iterable[Finding]) -> list[str]:
    """The statements alone."""
    return [finding.sentence for finding in findings]


def listed(names: Iterable[str]) -> str:
    """Names in a sentence.

    Example:
        >>> listed(["gru", "lstm", "mlp"])
        'gru, lstm and mlp'
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def verb(names: Sequence[str], one: str, several: str) -> str:
    """The form of a verb that agrees with the number of names.

    Args:
        names: its subjects.
        one: the form for one of them.
        several: the form for more.
    """
    return one if len(names) == 1 else several
