"""Build the documentation site: `python docs/site/build.py [FOLDER]`, or `make docs`.

The documents are those of the repository, in their places, so that their links stay as they are; the pages of the
ops and of the modules are written from the docstrings. Every warning is an error.
"""

import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(Path(__file__).parent)]

COPIED = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "docs/**/*.md", "docs/**/*.png", "docs/**/*.svg",
          "bench/LOG.md", "bench/results/*.png", "src/chainrule/data/NOTICE.md"]  # fmt: skip
NOTEBOOKS = ["backprop-by-hand", "find-the-mistake", "a-study"]
MODULES = {
    "engine": ["chainrule"],
    "layers": ["chainrule.nn", "chainrule.nn.init"],
    "optimizers": ["chainrule.optim"],
    "checker": ["chainrule.check"],
    "derive": ["chainrule.derive"],
    "explain": ["chainrule.explain"],
}


def main(folder: Path) -> None:
    """Write the sources to ``folder/source`` and the site to ``folder/html``."""
    from sphinx.cmd.build import main as sphinx

    source, site = folder / "source", folder / "html"
    shutil.rmtree(source, ignore_errors=True)
    for path in (path for pattern in COPIED for path in sorted(ROOT.glob(pattern))):
        place = source / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    write(source, notebooks())
    write(source, pages())
    options = ["--fail-on-warning", "--keep-going", "--quiet", "--fresh-env", "--jobs", "auto"]
    failed = sphinx([*options, "-b", "html", "-c", str(Path(__file__).parent), str(source), str(site)])
    write(site, explained())
    sys.exit(failed)


def write(folder: Path, files: Iterable[tuple[str, str]]) -> None:
    """Write files, given by their places in the folder and their texts."""
    for name, text in files:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")


def explained() -> Iterator[tuple[str, str]]:
    """The pages that the ops' pages show in a frame."""
    import op_page

    from chainrule.engine import OPS

    return ((f"explained/{op.name}.html", page) for op in OPS.values() if (page := op_page.explained(op)))


def notebooks() -> Iterator[tuple[str, str]]:
    """The notebooks as they are kept, with formulas that the site aligns by itself."""
    for name in NOTEBOOKS:
        place = f"examples/notebooks/{name}.ipynb"
        yield place, re.sub(r"\\\\(begin|end)\{aligned\}", "", (ROOT / place).read_text(encoding="utf-8"))


def pages() -> Iterator[tuple[str, str]]:
    """Every generated page: its place and its text."""
    import op_page
    import study_page

    from chainrule.engine import OPS

    yield "index.md", index()
    yield "docs/studies/index.rst", study_page.contents()
    for name in study_page.NAMES:
        yield f"docs/studies/{name}-on-paper.rst", study_page.page(name)
    yield "ops/index.rst", op_page.contents(OPS.values())
    for op in OPS.values():
        yield f"ops/{op.name}.rst", op_page.page(op)
    for name, modules in MODULES.items():
        yield f"api/{name}.rst", api(name, modules)
    yield "docs/causes/index.md", causes()


def index() -> str:
    """The first page: the README, and the table of contents beside it."""
    parts = {
        "Guide": [
            "docs/derive",
            "docs/answers",
            "docs/checking",
            "docs/explain",
            "docs/training",
            "docs/weights",
            "docs/sweep",
            "docs/report",
            "docs/study",
            "docs/sklearn",
            "docs/engines",
            "docs/speed",
            "docs/parallel",
        ],
        "Notebooks": [f"examples/notebooks/{name}" for name in NOTEBOOKS],
        "Reference": ["ops/index", "docs/causes/index", *(f"api/{name}" for name in MODULES)],
        "Studies": ["docs/studies/index"],
        "Carrying on": ["CONTRIBUTING", "docs/design", "bench/LOG", "CHANGELOG", "Notice <src/chainrule/data/NOTICE>"],
    }
    trees = [toctree(there, caption) for caption, names in parts.items() if (there := [n for n in names if _exists(n)])]
    return "\n".join([*trees, "```{include} README.md", "```", ""])


def _exists(name: str) -> bool:
    return (
        name.startswith(("ops/", "api/", "docs/causes/", "docs/studies/", "examples/", "Notice"))
        or (ROOT / f"{name}.md").exists()
    )


def toctree(names: Iterable[str], caption: str) -> str:
    """A part of the table of contents, in Markdown."""
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", *names, "```", ""])


def causes() -> str:
    """The mistakes that the checker knows, each with a page."""
    from chainrule.check import CAUSES

    rows = [f"| [`{cause}`]({cause}.md) | {meaning} |" for cause, meaning in CAUSES.items()]
    lines = [
        "# Causes",
        "",
        "What `chainrule check` calls a mistake by, and what each means.",
        "",
        "| cause | |",
        "|---|---|",
        *rows,
    ]
    return "\n".join([*lines, "", "```{toctree}", ":hidden:", *CAUSES, "```", ""])


def api(name: str, modules: Iterable[str]) -> str:
    """The public names of some modules, from their docstrings."""
    title = f"{name.capitalize()}"
    lines = [title, "=" * len(title), ""]
    for module in modules:
        lines += [f".. automodule:: {module}"]
        if hasattr(import_module(module), "__all__"):
            lines += ["   :imported-members:", "   :exclude-members: Parameter" if module != "chainrule" else ""]
        lines += [""]
    return "\n".join(lines)


if __name__ == "__main__":
    main(Path(*sys.argv[1:] or [ROOT / "build" / "docs"]))
