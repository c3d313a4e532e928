"""The documents of the checker: their code runs, the report they show is the one that is printed, each repair is right.

``python tests/test_check_documents.py --write`` puts the reports that are printed now into the documents.
"""

import contextlib
import re
import runpy
import sys
import tempfile
from pathlib import Path
from unittest import mock

import pytest

from chainrule.check import CAUSES

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = {cause: DOCS / "causes" / f"{cause}.md" for cause in CAUSES}
DOCUMENTS = [DOCS / "checking.md", *PAGES.values()]
CODE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
SHOWN = re.compile(r"^```text\n(.*?)^```", re.DOTALL | re.MULTILINE)


def run(blocks, name):
    """The names that code leaves behind, run as a file of the current folder, so that reports know its lines."""
    file = Path(f"{name.replace('-', '_')}.py")
    file.write_text("\n\n".join(blocks))
    return runpy.run_path(str(file))


def report_of(document):
    """The report that a document's first block makes; with the clock stopped, as no search may end early here."""
    with mock.patch("time.monotonic", return_value=0.0):
        return run(CODE.findall(document.read_text())[:1], document.stem)["report"]


def test_every_cause_has_a_page_and_every_page_a_cause():
    assert sorted((DOCS / "causes").iterdir()) == sorted(PAGES.values())


@pytest.mark.parametrize("cause", CAUSES)
def test_a_page_has_its_parts_in_order(cause):
    lines = PAGES[cause].read_text().splitlines()
    assert lines[0] == f"# {cause}: {CAUSES[cause]}"
    parts = [line for line in lines if line.startswith(("## ", "```")) and line != "```"]
    assert parts[:4] == ["```python", "```text", "## Why it is wrong", "## The repair"]
    assert parts[-1] == "## What it could be confused with"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.stem)
def test_the_report_that_is_shown_is_the_one_that_is_printed(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = report_of(document)
    assert SHOWN.findall(document.read_text()) == [f"{report}\n"]
    assert report.findings[0].cause == document.stem or document not in PAGES.values()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.stem)
def test_all_of_the_code_runs(document, tmp_path, monkeypatch):
    """A page's repair ends in an assertion."""
    monkeypatch.chdir(tmp_path)
    blocks = CODE.findall(document.read_text())
    assert len(blocks) > 1
    assert "assert diagnose(" in blocks[-1]
    run(blocks, document.stem)


def test_the_guide_lists_every_cause():
    row = re.compile(r"^\| \[`(.*?)`\]\(causes/(.*?)\.md\) \| (.*) \|$", re.MULTILINE)
    listed = row.findall((DOCS / "checking.md").read_text())
    assert listed == [(cause, cause, mistake) for cause, mistake in CAUSES.items()]


def write():
    """Put the reports that are printed now into the documents."""
    for document in DOCUMENTS:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            shown = f"```text\n{report_of(document)}\n```"
        document.write_text(SHOWN.sub(shown.replace("\\", r"\\"), document.read_text()))


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/test_check_documents.py --write")
    write()
