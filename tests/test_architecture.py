"""The house: who may import whom, how long the core may be, and that it runs on NumPy alone."""

import ast
import importlib.metadata
import io
import itertools
import re
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest

import chainrule

ROOT = Path(chainrule.__file__).parent

# What each part may import of the others. Arrows go one way: a part imports only parts on its right.
ALLOWED = {
    "errors": set(),
    "processor": {"errors"},
    "files": {"errors"},
    "docstrings": set(),
    "engine": {"docstrings", "errors"},
    "ops": {"engine", "errors"},
    "nn": {"engine", "ops", "errors"},
    "optim": {"errors"},
    "data": {"files", "errors"},
    "models": {"engine", "ops", "nn", "errors"},
    "kernels": {"engine", "ops", "nn", "optim", "processor", "errors"},
    "check": {"engine", "ops", "nn", "processor", "errors"},
    "interop": {"engine", "ops", "nn", "optim", "models", "files", "errors"},
    "train": {"engine", "ops", "nn", "optim", "data", "models", "interop", "files", "processor", "errors"},
    "mathml": {"docstrings"},
    "latex": set(),
    "derive": {"engine", "ops", "check", "mathml", "errors"},
    "explain": {"mathml", "latex", "docstrings", "engine", "ops", "nn", "models", "check", "errors"},
    "lab": {
        "engine",
        "ops",
        "nn",
        "optim",
        "data",
        "models",
        "interop",
        "train",
        "check",
        "derive",
        "explain",
        "mathml",
        "latex",
        "processor",
        "files",
        "errors",
    },
    "cli": {
        *("engine", "ops", "nn", "optim", "data", "models", "check", "interop", "train", "lab", "derive", "explain"),
        *("kernels", "docstrings", "processor", "files", "errors"),
    },
}
CORE = ("engine", "ops", "nn", "optim")
CORE_BUDGET = 2500
# Images and sequences: read when they are needed, and beside the core, not in it.
FAMILIES = ("windows", "conv", "pool", "norm", "recurrent", "attention", "embedding")
FAMILIES_BUDGET = 1500
FILES = [p for p in sorted(ROOT.rglob("*.py")) if p.parent != ROOT or p.stem in ALLOWED]


def part_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path):
    """Every module that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parts_imported(path):
    """The parts of chainrule that a file imports."""
    for name in imported(path):
        if name.startswith("chainrule."):
            first = name.split(".")[1]
            if first == "__version__":
                continue
            public = getattr(chainrule, first, None)  # a name of the package counts for the part it comes from
            yield first if first in ALLOWED else getattr(public, "__module__", "chainrule.engine").split(".")[1]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_go_one_way(path):
    part = part_of(path)
    wrong = set(parts_imported(path)) - ALLOWED[part] - {part}
    assert not wrong, f"{part} must not import {', '.join(sorted(wrong))}"


def test_every_part_is_in_the_table():
    assert {part_of(p) for p in ROOT.rglob("*.py")} - {"__init__", "__main__"} <= ALLOWED.keys()


def test_what_is_imported_is_declared():
    """By the package itself, not only by one that needs it too. What `dev` and `bench` install is not the users'."""
    project = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text())["project"]
    extras = [
        project["optional-dependencies"][name] for name in project["optional-dependencies"].keys() - {"dev", "bench"}
    ]
    declared = {re.match(r"[\w.-]+", each)[0].lower() for each in itertools.chain(project["dependencies"], *extras)}
    distributions = importlib.metadata.packages_distributions()
    theirs = {"pytest", "jax"}  # the plugin runs in the user's pytest, functions of JAX come with the user's JAX
    names = {name.partition(".")[0] for path in ROOT.rglob("*.py") for name in imported(path)} - theirs
    third = {
        name: distributions[name]
        for name in names - set(sys.stdlib_module_names) - {"chainrule"}
        if name in distributions
    }
    assert len(third) > 15
    assert [name for name, ours in third.items() if not {each.lower() for each in ours} & declared] == []


@pytest.mark.parametrize("part", ["data", "optim"])
def test_data_and_optim_know_nothing_of_the_engine(part):
    files = [p for p in FILES if part_of(p) == part]
    assert files
    assert not any(name.split(".")[1] in CORE for p in files for name in imported(p) if name.startswith("chainrule."))


def test_only_cli_prints_and_cli_does_not_differentiate():
    for path in FILES:
        called = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = {each.id for each in called if isinstance(each, ast.Name)}
        methods = {each.attr for each in called if isinstance(each, ast.Attribute)}
        if part_of(path) != "cli":
            assert "print" not in names, path
        else:
            assert not (names | methods) & {"backward", "grad", "jacobian", "hessian", "hvp"}, path


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_hierarchy_deeper_than_one(path):
    """A class derives from at most one class of ours, and that one from none of ours."""
    ours = {}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                ours[node.name] = [b.id for b in node.bases if isinstance(b, ast.Name)]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            for base in (b.id for b in node.bases if isinstance(b, ast.Name) and b.id in ours):
                grand = [b for b in ours[base] if b in ours]
                assert not grand, f"{node.name} < {base} < {grand}"


def test_no_utils():
    assert not [p for p in ROOT.rglob("*.py") if p.stem in ("utils", "util", "helpers", "misc", "common")]


def lines_of_code(path):
    """Lines that hold code: no blank lines, comments or docstrings."""
    source = path.read_text()
    docstrings = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False):
            first = node.body[0]
            docstrings.update(range(first.lineno, first.end_lineno + 1))
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


@pytest.mark.parametrize(("budget", "in_family"), [(CORE_BUDGET, False), (FAMILIES_BUDGET, True)])
def test_the_core_fits_in_an_afternoon_and_the_families_beside_it_in_another(budget, in_family):
    counted = [p for p in FILES if part_of(p) in CORE and (p.stem in FAMILIES) == in_family]
    lines = {str(p.relative_to(ROOT)): lines_of_code(p) for p in counted}
    assert 0 < sum(lines.values()) < budget, lines


BLOCKED = """
import sys, importlib.abc
allowed = {"numpy", "chainrule", *sys.stdlib_module_names}
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in allowed:
            raise ImportError(f"blocked: {name}")
sys.meta_path.insert(0, Block())
import numpy as np
from chainrule import Tensor, check, grad, nn, ops, optim
rng = np.random.default_rng(0)
model = nn.Sequential(nn.Linear(4, 8, rng=rng), nn.Tanh(), nn.Linear(8, 3, rng=rng))
loss_of, optimizer = nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.05)
x = rng.standard_normal((30, 4)).astype(np.float32)
target = x[:, :3].argmax(1)
for step in range(100):
    optimizer.zero_grad()
    loss = loss_of(model(x), target)
    loss.backward()
    optimizer.step()
assert loss.item() < 0.2, loss
assert check.gradcheck(ops.softmax, [rng.standard_normal((2, 3))])
print("ran on numpy alone")
"""


def test_the_core_runs_with_everything_but_numpy_blocked():
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{BLOCKED}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "ran on numpy alone", done.stderr


def test_import_loads_numpy_and_nothing_else_of_weight():
    """What makes an import slow is what it loads; its time is measured in bench/."""
    code = "import sys; import numpy; before = set(sys.modules); import chainrule; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded - set(sys.stdlib_module_names) == {"chainrule"}
    parts = {name.split(".")[1] for name in done.stdout.split() if name.startswith("chainrule.")}
    assert parts <= {"docstrings", "processor", "engine", "ops", "errors", "nn", "optim"}
