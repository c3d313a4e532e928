"""The process in which a user's file is imported and checked: started by `chainrule.check.isolate`, one job each.

It tells what it does as lines of JSON on what was its standard output; whatever the user's code prints goes elsewhere.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from chainrule.check.diagnose import diagnose
from chainrule.check.discover import Item, discover, load, pick, skipped
from chainrule.check.guess import prepared
from chainrule.check.isolate import place
from chainrule.check.report import Finding, GradReport
from chainrule.check.target import Unusable
from chainrule.errors import UsageError

HOUSE = str(Path(__file__).parent)
NO_LIMIT = "this system sets no memory limit, so none was in force"


class Worker:
    """One job: a file, what to check in it, and the limits."""

    def __init__(self, job: dict[str, Any]):
        self.job = job
        self.path = Path(job["file"])
        self.events = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # print and everything below it
        self.faults = open(job["faults"], "w")  # noqa: SIM115  open until the process ends
        faulthandler.enable(self.faults)

    def tell(self, event: str, **details: Any) -> None:
        """Send one event, after what the user's code has printed so far."""
        with contextlib.suppress(Exception):  # it may have put anything in the place of sys.stdout
            sys.stdout.flush()
        self.events.write(json.dumps({"event": event, **details}) + "\n")
        self.events.flush()

    def work(self) -> None:
        """Import the file, check what is asked for."""
        limited = limit_memory(self.job["memory"])
        self.limit_time()
        try:
            module = load(self.path)
        except BaseException as error:  # SystemExit, too
            self.fail(error, imported=False)
            return
        limit_memory(self.job["memory"])  # what the file has imported is not counted
        try:
            items = pick(discover(module), self.job["name"], self.path.name)
            if self.job["shapes"] and len(items) > 1:
                names = ", ".join(item.name for item in items)
                raise UsageError(
                    f"--shapes is for one thing, add its name to the file: {self.path.name}:NAME ({names})"
                )
        except UsageError as error:
            self.tell("usage", message=str(error))
            return
        notes = ([] if limited else [NO_LIMIT]) + ([] if self.job["name"] else skipped(module))
        self.tell("items", names=[item.name for item in items], notes=notes)
        for item in items:
            if self.job["only"] is None or item.name in self.job["only"]:
                self.limit_time()
                self.tell("item", name=item.name)
                if not self.check(item):
                    return
        self.tell("done")

    def check(self, item: Item) -> bool:
        """Tell the verdict on one thing; False where it could not be reached and the process is to be given up."""
        try:
            self.tell("report", report=_report(item, self.job["shapes"], self.job["seed"]))
        except UsageError as error:
            if self.job["shapes"]:
                self.tell("usage", message=str(error))
            else:
                self.tell("failed", what=str(error))
            return False
        except BaseException as error:
            self.fail(error)
            return False
        return True

    def fail(self, error: BaseException, *, imported: bool = True) -> None:
        """Tell what the user's code has raised, and from which of its lines."""
        match error:
            case SystemExit():
                what = f"it left Python: {type(error).__name__}({error.code!r}), from sys.exit or the like"
            case SyntaxError(lineno=int(line)):
                where = f"{Path(error.filename or self.path).name}, line {line}: {(error.text or '').strip()}"
                self.tell("failed", what=f"{type(error).__name__}: {error.msg}", where=where)
                return
            case MemoryError():
                what = f"MemoryError: {error} (the limit is {self.job['memory']} MiB, --memory)"
            case _:
                what = f"{type(error).__name__}: {error}"
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(self.path.resolve()) and frame.lineno]
        if lines:
            self.tell("failed", what=what, where=place(self.path.resolve(), lines[-1]))
        elif imported:
            last = frames[-1]
            self.tell("failed", what=f"the checker failed: {what}", where=place(Path(last.filename), last.lineno or 0))
        else:
            self.tell("failed", what=what)

    def limit_time(self) -> None:
        """From now on: then the process ends itself, whatever it is at, and its traceback tells where it was."""
        faulthandler.dump_traceback_later(self.job["timeout"], exit=True, file=self.faults)


def _report(item: Item, shapes: str | None, seed: int) -> dict[str, Any]:
    """Diagnose one thing, on inputs as declared or guessed."""
    try:
        ready = prepared(item, shapes)
    except Unusable as error:
        finding = Finding("inputs", "inconclusive", "unusable", "unknown", error.where, str(error))
        return {**GradReport(item.name, [finding]).to_dict(), "shapes": None, "guessed": True}
    shapes = None if ready.inputs else ready.shapes
    found = diagnose(ready.target, ready.inputs, shapes=shapes, name=item.name, seed=seed)
    return {**found.to_dict(), "shapes": ready.shapes, "guessed": ready.guessed}


def limit_memory(mebibytes: int) -> bool:
    """Allow so much beyond what the process has now; False where the system cannot."""
    try:
        import resource

        present = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        wanted = present + mebibytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is expected here, and leaves no file
    except (ImportError, OSError, ValueError):
        return False
    return True


def _leave_to_the_parent(frame: FrameType, event: str, argument: Any) -> None:
    """A profiler for a process that the user's code has forked: where it comes back to the checker, it ends.

    Otherwise every such process would check on, and fork again.
    """
    if frame.f_code.co_filename.startswith(HOUSE):
        os._exit(0)


def run(worker: Worker) -> None:
    """Do a job and end, whatever threads the user's code has left."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: sys.setprofile(_leave_to_the_parent))
    worker.work()
    os._exit(0)


if __name__ == "__main__":
    run(Worker(json.loads(sys.argv[1])))  # the job as JSON
