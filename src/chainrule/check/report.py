"""What a diagnosis says: a finding for every gradient, and the report that holds them."""

from __future__ import annotations

import html
import textwrap
from dataclasses import asdict, dataclass, field
from typing import Any

from chainrule.check.causes import CAUSES

ORDER = {"wrong": 0, "inconclusive": 1, "correct": 2}
SURE = {"proved": 0, "likely": 1, "unknown": 2}


@dataclass
class Finding:
    """What was found about one gradient, or about one misbehaviour of the code.

    Attributes:
        name: the input or parameter; ``"forward"`` or ``"backward"`` where it is about the function.
        status: ``"correct"``, ``"wrong"`` or ``"inconclusive"``.
        cause: a code of :data:`CAUSES`; None where the gradient is right.
        confidence: ``"proved"``: reproduced at every point and with two sets of sizes; ``"likely"``: with one set of
            sizes, or another cause would explain the same numbers; ``"unknown"``: no cause was found.
        where: the entry, the line of the user's code.
        evidence: what was seen.
        fix: the repair, one line where possible.
    """

    name: str
    status: str
    cause: str | None = None
    confidence: str = "proved"
    where: str = ""
    evidence: str = ""
    fix: str = ""

    def __str__(self) -> str:
        head = f"{self.name}: {self.cause or 'right'}"
        if self.status == "inconclusive":
            head += " (inconclusive)"
        elif self.cause and self.confidence != "proved":
            head += f" ({self.confidence})" if self.cause != "unknown" else ""
        lines = [head]
        if self.cause:
            lines.append(_indented("", CAUSES[self.cause]))
        lines += [_indented(label, text) for label, text in self.parts()]
        return "\n".join(lines)

    def parts(self) -> list[tuple[str, str]]:
        """Evidence, place and repair, those that there are, with a word in front."""
        labelled = (("seen", self.evidence), ("where", self.where), ("repair", self.fix))
        return [(label, text) for label, text in labelled if text]


@dataclass
class GradReport:
    """The verdict on a backward pass.

    Attributes:
        name: what was checked.
        status: ``"correct"``, ``"wrong"``, or ``"inconclusive"``.
        findings: one for each gradient, the worst first; misbehaviour such as a modified input has its own.
        notes: how it was probed, conventions, what a probe could not have seen.
    """

    name: str
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.findings.sort(key=lambda f: (ORDER[f.status], SURE[f.confidence]))

    @property
    def status(self) -> str:
        """The worst that was found."""
        return min((f.status for f in self.findings), key=lambda s: ORDER[s], default="inconclusive")

    def __bool__(self) -> bool:
        return self.status == "correct"

    def to_dict(self) -> dict[str, Any]:
        """All of it as numbers, texts and lists, ready for JSON."""
        return {
            "name": self.name,
            "status": self.status,
            "findings": [asdict(f) for f in self.findings],
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        judged = [f for f in self.findings if f.cause]
        right = [f.name for f in self.findings if not f.cause]
        lines = [f"{self.name}: {self.status}", *(textwrap.indent(str(f), "  ") for f in judged)]
        if right:
            lines.append(f"  right: {', '.join(right)}")
        return "\n".join(lines + [_indented("note", note, margin="  ") for note in self.notes])

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        colour = {"correct": "#1a7f37", "wrong": "#cf222e", "inconclusive": "#9a6700"}
        rows = []
        for f in self.findings:
            detail = "".join(
                f"<div><span style='opacity:.6'>{label}</span> <span style='white-space:pre-wrap'>{html.escape(text)}"
                "</span></div>"
                for label, text in f.parts()
            )
            cause = f"<b>{html.escape(f.cause)}</b><br>{html.escape(CAUSES[f.cause])}" if f.cause else "right"
            rows.append(
                f"<tr><td style='text-align:left;vertical-align:top'><code>{html.escape(f.name)}</code></td>"
                f"<td style='text-align:left;vertical-align:top;color:{colour[f.status]}'>{cause}</td>"
                f"<td style='text-align:left'>{detail}</td></tr>"
            )
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return (
            f"<div><b>{html.escape(self.name)}</b>: <b style='color:{colour[self.status]}'>{self.status}</b>"
            f"<table>{''.join(rows)}</table>" + (f"<ul>{notes}</ul>" if notes else "") + "</div>"
        )


def _indented(label: str, text: str, margin: str = "    ") -> str:
    """Text under a label, wrapped; its own line breaks are kept."""
    first = f"{margin}{label:<8}" if label else margin
    rest = " " * len(first)
    wrapped = [
        textwrap.wrap(line, 110, subsequent_indent="  ", break_long_words=False, replace_whitespace=False) or [""]
        for line in text.splitlines()
    ]
    lines = [part for line in wrapped for part in line]
    return "\n".join((first if i == 0 else rest) + line for i, line in enumerate(lines))
