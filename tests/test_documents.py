"""Every Python block in the documents runs, top to bottom, in one namespace per document."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from chainrule import OPS
from chainrule.check import draw, gradcheck
from chainrule.cli import main

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN_HERE = [
    d for d in DOCUMENTS if d.parent.name != "causes" and d.name != "checking.md"
]  # see test_check_documents.py


def run(document):
    """The names that a document's blocks leave behind; a line number in an error is that of the document."""
    text = document.read_text()
    names = {"__name__": document.stem}
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        above = text[: block.start(1)].count("\n")
        exec(compile("\n" * above + block.group(1), str(document), "exec"), names)
    return names


@pytest.fixture
def _registry_as_it_was():
    before = dict(OPS)
    yield
    OPS.clear()
    OPS.update(before)


@pytest.mark.usefixtures("_registry_as_it_was")
@pytest.mark.parametrize("document", RUN_HERE, ids=lambda d: d.name)
def test_python_blocks_run(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(document)


@pytest.mark.usefixtures("_registry_as_it_was")
def test_the_op_that_contributing_shows_is_right():
    op = run(ROOT / "CONTRIBUTING.md")["softsign"]
    for sample in op.samples:
        inputs = draw(op, sample, np.random.default_rng(0))
        assert gradcheck(op, inputs, rtol=1e-8)
        np.testing.assert_allclose(op(*inputs), op.textbook(*inputs), rtol=1e-14)


def samples():
    """What the documents show after `$ chainrule derive` or `explain`: the command, what follows it."""
    for document in DOCUMENTS:
        for block in re.finditer(
            r"^    \$ chainrule (.*)\n((?:    (?!\$).*\n|\n)+)", document.read_text(), re.MULTILINE
        ):
            command = shlex.split(block[1])
            if command[0] in ("derive", "explain") and "--answer-file" not in command:
                yield pytest.param(command, block[2], id=f"{document.name}: {block[1]}")


SAMPLES = list(samples())
assert len(SAMPLES) >= 5, "where have they gone?"


@pytest.mark.parametrize(("command", "shown"), SAMPLES)
def test_what_the_documents_show_of_a_command_is_its_output(command, shown, capsys):
    with pytest.raises(SystemExit):
        main(command)
    printed = flowing(capsys.readouterr().out)
    for line in shown.replace("...", "").splitlines():
        assert flowing(line) in printed


def flowing(text):
    """Wrapped anywhere, and without the largest error, which is another one on another machine."""
    return re.sub(r"relative error \S+", "relative error", " ".join(text.split()))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_links_to_files_lead_somewhere(document):
    text = re.sub(r"`[^`\n]+`", "", document.read_text())  # code may have brackets side by side, too
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (document.parent / target).exists(), target
