"""Execute the notebooks of examples/notebooks from an empty folder, and save them as they are kept in the repository.

What would differ from one execution to the next is left out: times, versions, what the editor noted. Of the forms in
which an output can be shown one is kept, the first of `FORMS`: it is drawn wherever notebooks are read, also where
MathML and scripts are taken out, as on GitHub.

Usage: python tools/notebooks.py [FOLDER], where FOLDER gets the executed notebooks; without it they are replaced.
"""

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).parents[1] / "examples" / "notebooks"
FORMS = ("image/png", "text/latex", "text/html", "text/plain")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
OWN = "mystnb"  # a cell's metadata that people write: what a picture shows, in words
SECONDS = 600  # for a cell, before something is held to be wrong


def main(folder: Path) -> None:
    """Execute all notebooks, and write them to the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        nbformat.write(executed(path), folder / path.name)


def executed(path: Path) -> NotebookNode:
    """The notebook with the outputs of a new execution; raises `nbclient.exceptions.CellExecutionError`."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        where = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=SECONDS, record_timing=False, coalesce_streams=True, resources=where).execute()
    return kept(notebook)


def kept(notebook: NotebookNode) -> NotebookNode:
    """The notebook without what is not kept."""
    notebook.metadata = NotebookNode(METADATA)
    for cell in notebook.cells:
        cell.metadata = NotebookNode({name: value for name, value in cell.metadata.items() if name == OWN})
        for output in cell.get("outputs", []):
            if "data" in output:
                form = next(form for form in FORMS if form in output.data)
                output.data, output.metadata = NotebookNode({form: output.data[form]}), NotebookNode()
    return notebook


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else NOTEBOOKS)
