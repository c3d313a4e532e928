"""Correct backward rules as people write them, and the mistakes that people make in them.

`rules/NAME.py` is a right rule in plain NumPy; `mistakes/NAME.py` says how to check it (`RULE`) and lists edits of its
source that make it wrong (`MISTAKES`), each with the cause that a checker must name.
"""

import importlib
import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
CAUSES = frozenset(
    """sign factor batch-mean-missing batch-mean-twice transposed permuted missing-sum mean-for-sum upstream-ignored
    upstream-twice elementwise-for-jacobian jacobian-transposed path-dropped parameter-missing wrong-saved stale
    overwrite order-swapped missing eps ddof mask shifted in-place nondeterministic dtype""".split()  # noqa: SIM905
)
_count = itertools.count()


@dataclass(frozen=True)
class Rule:
    """A right rule: what of `rules/NAME.py` to check, and on what.

    `target` is an expression in that module: `"linear_forward, linear_backward"`, `"Linear(5, 3)"` (or `"ReLU"`, called
    without arguments), `"rule"`. Inputs are drawn by `shapes`, or by `inputs(rng)`, which returns a tuple of arrays in
    forward's order. `wrt` names the arguments that have a gradient; None means every one that is not of integers.
    """

    name: str
    target: str
    shapes: str | None = None
    inputs: Callable[[np.random.Generator], Any] | None = None
    wrt: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Mistake:
    """An edit of a rule's source, `old` (which occurs there once) to `new`, and the cause that names it.

    `cause` is a tuple only where the edited code is the same function under two names; the first is what a teacher
    would say. `gradient` is a gradient that comes out wrong: an argument of forward or a parameter. `coursework` is the
    place in the write-ups that makes this mistake.
    """

    cause: str | tuple[str, ...]
    gradient: str
    old: str
    new: str
    coursework: str = ""

    def __post_init__(self) -> None:
        assert CAUSES.issuperset(self.causes), self.causes

    @property
    def causes(self) -> tuple[str, ...]:
        """Every accepted cause, the first one first."""
        return (self.cause,) if isinstance(self.cause, str) else self.cause


def planted_rules() -> Iterator[Rule]:
    """Every rule, by name."""
    for path in sorted((HERE / "mistakes").glob("[!_]*.py")):
        yield importlib.import_module(f"{__name__}.mistakes.{path.stem}").RULE


def planted_mistakes(rule: Rule | None = None) -> Iterator[tuple[Rule, Mistake]]:
    """Every planted mistake with its rule, or those of one rule."""
    for each in [rule] if rule else planted_rules():
        for mistake in importlib.import_module(f"{__name__}.mistakes.{each.name}").MISTAKES:
            yield each, mistake


def source(rule: Rule, mistake: Mistake | None = None) -> str:
    """The rule's source, with the mistake in it if one is given."""
    text = (HERE / "rules" / f"{rule.name}.py").read_text(encoding="utf-8")
    if mistake is None:
        return text
    if (count := text.count(mistake.old)) != 1:
        raise ValueError(f"rules/{rule.name}.py has {mistake.old!r} {count} times, a mistake needs it exactly once")
    return text.replace(mistake.old, mistake.new)


def load(rule: Rule, mistake: Mistake | None = None, *, folder: Path | str) -> Any:
    """The target to check, imported afresh from a real file under `folder`: a pair, an instance or a function."""
    name = f"planted_{rule.name}_{next(_count)}"
    path = Path(folder) / f"{name}.py"
    path.write_text(source(rule, mistake), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    target = eval(rule.target, vars(module))
    return target() if isinstance(target, type) else target
