"""The process in which a user's function is imported and explained: started by `chainrule.explain.apart`."""

from __future__ import annotations

import difflib
import inspect
import json
import sys
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from chainrule.check.discover import load
from chainrule.check.shapes import SIZES, draw, normal, parse
from chainrule.check.worker import Worker, limit_memory, run
from chainrule.errors import UsageError, UserError
from chainrule.explain.tape import explain


class Explainer(Worker):
    """One job: a file, the function to explain in it, its inputs, the limits, and where the tape goes."""

    def work(self) -> None:
        """Import the file, run the function, write the tape."""
        limit_memory(self.job["memory"])
        self.limit_time()
        try:
            module = load(self.path)
        except BaseException as error:  # SystemExit, too
            self.fail(error, imported=False)
            return
        limit_memory(self.job["memory"])  # what the file has imported is not counted
        self.limit_time()
        try:
            function = chosen(module, self.job["name"])
            inputs = inputs_of(function, self.job["shapes"], self.job["seed"])
            found = explain(function, *inputs, title=f"{self.path.name}: {function.__name__}")
            found.save(Path(self.job["tape"]))
        except UsageError as error:
            self.tell("usage", message=str(error))
        except UserError as error:
            self.tell("failed", what=str(error))
        except BaseException as error:
            self.fail(error, imported=False)
        else:
            self.tell("done")


def chosen(module: ModuleType, name: str | None) -> FunctionType:
    """The function of this name, or the only one that the file defines.

    Raises:
        UsageError: there is none, or there are several.
    """
    functions = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, FunctionType) and value.__module__ == module.__name__ and not key.startswith("_")
    }
    file = Path(str(module.__file__)).name
    if not functions:
        raise UsageError(f"no function to explain in {file}: expected one that takes arrays and returns an array")
    if name is None and len(functions) > 1:
        raise UsageError(f"{file} has several functions, choose one as {file}:NAME ({', '.join(functions)})")
    name = name or next(iter(functions))
    if name not in functions:
        nearest = difflib.get_close_matches(name, functions, n=1, cutoff=0)[0]
        raise UsageError(f"no function {name} in {file}, the nearest is {nearest} (all: {', '.join(functions)})")
    return functions[name]


def inputs_of(function: FunctionType, shapes: str | None, seed: int) -> list[Any]:
    """Random arrays of these shapes; for what they leave out, the default values of the arguments.

    Raises:
        UsageError: an argument has neither, or the shapes are not for this function.

    >>> def f(x, w=[1.0, 2.0]): return x @ w
    >>> [np.shape(x) for x in inputs_of(f, "3 2", 0)]
    [(3, 2), (2,)]
    """
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    arguments = [p for p in inspect.signature(function).parameters.values() if p.kind in kinds]
    parts = parse(shapes) if shapes else []
    names = [part.name or (arguments[i].name if i < len(arguments) else "") for i, part in enumerate(parts)]
    known = [argument.name for argument in arguments]
    if wrong := [name or f"input {i + 1}" for i, name in enumerate(names) if name not in known]:
        raise UsageError(f"--shapes is for {', '.join(wrong)}, but {function.__name__} takes {', '.join(known)}")
    given = dict(zip(names, draw(parts, np.random.default_rng(seed), SIZES[0], normal), strict=True))
    found = []
    for argument in arguments:
        if argument.name in given:
            found.append(given[argument.name])
        elif argument.default is not argument.empty:
            found.append(argument.default)
        else:
            example = f'--shapes "{", ".join(f"{name}: 3 4" for name in known)}"'
            raise UsageError(
                f"{function.__name__}: {argument.name} has neither a shape nor a default value; expected {example}"
            )
    return found


if __name__ == "__main__":
    run(Explainer(json.loads(sys.argv[1])))  # the job as JSON
