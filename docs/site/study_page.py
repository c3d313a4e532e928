"""The five studies as pages: what each derives, verified as the site is built, and its mistakes, found."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

from op_page import inner, title
from rich.console import Console

from chainrule.cli.answers import reviewed
from chainrule.derive import derive
from chainrule.derive.lines import review
from chainrule.lab.studies import NAMES, study

RESULTS = Path(__file__).parents[1] / "studies"


def contents() -> str:
    """All studies: what a rerun found, where one is kept, and what each has on paper."""
    lines = [
        *title("Studies"),
        "Five course write-ups on backpropagation, done again: what they derive, where they are wrong, and what their",
        "experiments show when they are run with several seeds. ``chainrule study NAME`` does one again.",
        "",
    ]
    names = [name for each in NAMES for name in ([each] * (RESULTS / f"{each}.md").exists() + [f"{each}-on-paper"])]
    return "\n".join([*lines, ".. toctree::", "", *[f"   {name}" for name in names], ""])


def page(name: str) -> str:
    """What one study has on paper."""
    found = study(name)
    lines = [*title(f"{name}, on paper"), *title("What it derives", "-")]
    for each in found.derivations:
        derived = derive(each.program, each.shapes)
        lines += [*title(each.title, "~"), ".. raw:: html", ""]
        lines += [f"   {line}" for line in inner(derived.html(steps=False)).splitlines()]
        lines += ["", f"Step by step: :doc:`/ops/{each.program}`.", ""] if each.shapes is None else [""]
    if found.lines:
        lines += [*title("Lines that are wrong in it", "-")]
        lines += [
            "``chainrule derive ... --answer-file`` reads a derivation line by line. Of lines like the write-up's:",
            "",
        ]
    for text in found.lines:
        lines += [*mistakes(text)]
    return "\n".join(lines)


def mistakes(text: str) -> Iterator[str]:
    """What the checker says to a derivation whose first lines name what it is about."""
    about = dict(re.findall(r"^# (program|shapes): (.*)$", text, re.MULTILINE))
    console = Console(file=io.StringIO(), width=96, color_system=None)
    console.print(reviewed(review(about["program"], text, about.get("shapes"))))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    yield from (".. code-block:: text", "", *[f"   {line}".rstrip() for line in shown.splitlines()], "")
