"""The notebooks run, and give what they are kept with."""

import base64
import importlib.util
import json
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "examples" / "notebooks"
SAID = {  # published, or found by the tests of the parts that a notebook shows
    "backprop-by-hand": [
        "loss = 0.6931471806",
        "[-0.4404  0.4404]",
        "gc = [-0.5  0.5]",
        "ours: correct",
        "gk.sum(axis=0)",
    ],
    "find-the-mistake": [
        *("elementwise-for-jacobian", "batch-mean-twice", "path-dropped", "<b>sign</b>", "False"),
        *("softmax: correct", "the same losses: True", "repair: ∂y_i/∂x_i = -y_i^2 + y_i"),
    ],
    "a-study": ["Nothing is called better", "No difference is shown between A and B", "C is better than D"],
}
LARGEST = 60_000  # bytes of a picture
PATH = re.compile(r"(?<![\w.])/(home|root|tmp|usr|var|work|Users)/")


def kept(name):
    return json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))


def outputs(notebook):
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def text_of(output):
    """What there is to read: printed text, formulas, tables; nothing for a picture."""
    data = {"text/plain": output["text"]} if output["output_type"] == "stream" else output["data"]
    return "".join("".join(text) for form, text in data.items() if form.startswith("text/"))


def pictures(notebook):
    """The cells that show a picture, with the picture."""
    return [
        (cell, base64.b64decode("".join(output["data"]["image/png"])))
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]


def without_pictures(notebook):
    for output in outputs(notebook):
        if "image/png" in output.get("data", {}):
            output["data"]["image/png"] = "a picture"
    return notebook


def test_no_notebook_is_left_out():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == SAID.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", SAID)
def test_a_notebook_gives_what_it_is_kept_with(name, tmp_path):
    """But for the pictures, whose bytes depend on the versions of what draws them."""
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "tools" / "notebooks.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    nbformat.write(tool.executed(NOTEBOOKS / f"{name}.ipynb"), tmp_path / "executed.ipynb")
    executed = json.loads((tmp_path / "executed.ipynb").read_text(encoding="utf-8"))
    before, after = without_pictures(kept(name)), without_pictures(executed)
    assert [pair for pair in zip(before.pop("cells"), after.pop("cells"), strict=True) if pair[0] != pair[1]] == []
    assert before == after


@pytest.mark.parametrize("name", SAID)
def test_what_is_kept_can_be_read_by_everyone(name):
    notebook = kept(name)
    said = "\n".join(map(text_of, outputs(notebook)))
    assert [words for words in SAID[name] if words not in said] == []
    kinds = {(output["output_type"], output.get("name")) for output in outputs(notebook)}
    assert kinds.isdisjoint({("error", None), ("stream", "stderr")})
    assert PATH.search(json.dumps(notebook)) is None
    assert pictures(notebook)
    assert [len(picture) for _, picture in pictures(notebook) if len(picture) > LARGEST] == []
    assert [cell["id"] for cell, _ in pictures(notebook) if not cell["metadata"].get("mystnb", {}).get("image")] == []


@pytest.mark.parametrize("name", SAID)
def test_links_lead_somewhere(name):
    text = "".join("".join(cell["source"]) for cell in kept(name)["cells"] if cell["cell_type"] == "markdown")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert [target for target in targets if not (NOTEBOOKS / target).exists()] == []
