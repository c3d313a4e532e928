"""The page of every cause: its example runs, the report it shows is the one that is printed, its repair is right.

``python tests/test_check_documents.py --write`` puts the reports that are printed now into the pages.
"""

import contextlib
import re
import runpy
import sys
import tempfile
from pathlib import Path

import pytest

from chainrule.check import CAUSES

PAGES = Path(__file__).resolve().parent.parent / "docs" / "causes"
SHOWN = re.compile(r"^```text\n(.*?)^```", re.DOTALL | re.MULTILINE)


def page(cause):
    return (PAGES / f"{cause}.md").read_text()


def run(cause, *, repaired=False):
    """The names that a page's example leaves behind, run as a file of this folder, so that its report knows the lines."""
    blocks = re.findall(r"^```python\n(.*?)^```", page(cause), re.DOTALL | re.MULTILINE)
    file = Path(f"{cause.replace('-', '_')}.py")
    file.write_text("\n\n".join(blocks if repaired else blocks[:1]))
    return runpy.run_path(str(file))


def test_every_cause_has_a_page_and_every_page_a_cause():
    assert sorted(file.stem for file in PAGES.glob("*.md")) == sorted(CAUSES)


@pytest.mark.parametrize("cause", CAUSES)
def test_a_page_has_its_sections_in_order(cause):
    lines = page(cause).splitlines()
    assert lines[0] == f"# {cause}: {CAUSES[cause]}"
    assert [line for line in lines if line.startswith(("## ", "```"))][:5] == ["```python", "```", "```text", "```", "## Why it is wrong"]
    assert [line for line in lines if line.startswith("## ")] == [
        "## Why it is wrong",
        "## The repair",
        "## What it could be confused with",
    ]


@pytest.mark.parametrize("cause", CAUSES)
def test_the_example_is_named_and_its_report_is_the_one_that_is_shown(cause, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = run(cause)["report"]
    assert report.findings[0].cause == cause
    assert SHOWN.findall(page(cause)) == [f"{report}\n"]


@pytest.mark.parametrize("cause", CAUSES)
def test_the_repair_is_right(cause, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(cause, repaired=True)  # ends in an assertion


def write():
    """Put the reports that are printed now into the pages."""
    for file in sorted(PAGES.glob("*.md")):
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            report = run(file.stem)["report"]
        file.write_text(SHOWN.sub(lambda _, report=report: f"```text\n{report}\n```", page(file.stem)))


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/test_check_documents.py --write")
    write()
