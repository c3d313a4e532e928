"""Explain a function of a user's file, which is run in a process of its own, with limits, as `chainrule check` does."""

from __future__ import annotations

import tempfile
from pathlib import Path

from chainrule.check.isolate import Child
from chainrule.errors import UsageError, UserError
from chainrule.explain.tape import Explanation, restored


def explain_file(
    path: Path,
    name: str | None = None,
    *,
    shapes: str | None = None,
    seed: int = 0,
    timeout: float = 60.0,
    memory: int = 4096,
) -> Explanation:
    """The tape of a function in a Python file.

    Args:
        path: the Python file.
        name: the function; may be left out if the file has only one.
        shapes: of the function's inputs, as in ``"n d, d m"``; an input with a default value needs none.
        seed: of the random inputs.
        timeout: seconds for importing the file, and for running the function.
        memory: MiB that the file's code may use, beyond those that Python and NumPy take.

    Raises:
        UsageError: no such file, function or shapes.
        UserError: the function fails, or returns nothing that was made from its inputs.
    """
    if not path.is_file() or path.suffix != ".py":
        raise UsageError(f"{path} is no Python file" if path.exists() else f"no such file: {path}")
    with tempfile.TemporaryDirectory(prefix="chainrule-") as folder:
        tape = Path(folder) / "tape.npz"
        job = {"file": str(path), "name": name, "shapes": shapes, "seed": seed, "timeout": timeout, "memory": memory}
        failed = None
        with Child({**job, "tape": str(tape)}, worker="chainrule.explain.worker") as child:
            for event in child.events():
                match event["event"]:
                    case "usage":
                        raise UsageError(event["message"])
                    case "failed":
                        failed = failed or event
        if failed:  # now that the process has ended, all that it printed has been read
            where = f"{failed['where']}: " if failed.get("where") else ""
            raise UserError("; ".join([f"{where}{failed['what']}", *child.said()]))
        return restored(tape)
