"""Check a file in a process of its own, with limits: what the user's code does there, it cannot do here."""

from __future__ import annotations

import contextlib
import json
import linecache
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from chainrule.check.report import ORDER, Finding, GradReport
from chainrule.errors import UsageError
from chainrule.processor import OTHER_THREADS

STARTUP = 60.0  # seconds that the interpreter may take to be ready; it takes half a second
GRACE = 3.0  # seconds after the time limit until the process, which should have ended itself, is killed
KEPT = 4096  # bytes of what the user's code printed, the last ones
SHOWN, WIDTH = 5, 100  # so many lines of them are shown, so many characters of a line
ONE_THREAD = dict.fromkeys(OTHER_THREADS, "1")

GUESSED = (
    "shapes marked (guessed) are only those with which forward runs; a layer that is meant for others is to be checked "
    "with --shapes"
)

Progress = Callable[[str, int, int], None]  # (what is checked now, its number, how many there are)


@dataclass
class FileReport:
    """The verdicts on all that was checked in a file.

    Attributes:
        file: as it was given.
        items: a report for each thing, as :meth:`chainrule.check.GradReport.to_dict` gives it, with the ``shapes`` of
            its inputs and whether they were ``guessed``.
        notes: what holds for all of them.
        interrupted: was Ctrl-C pressed?
    """

    file: str
    items: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def status(self) -> str:
        """The worst of all.

        >>> FileReport("nn.py", [{"status": "correct"}, {"status": "wrong"}, {"status": "inconclusive"}]).status
        'wrong'
        """
        return min((item["status"] for item in self.items), key=lambda status: ORDER[status], default="inconclusive")

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {"file": self.file, "status": self.status, "items": self.items, "notes": self.notes}


def check_file(
    path: Path,
    name: str | None = None,
    *,
    shapes: str | None = None,
    seed: int = 0,
    timeout: float = 60.0,
    memory: int = 4096,
    progress: Progress = lambda name, number, total: None,
) -> FileReport:
    """Check what is found in a file, or the one thing of this name, each within the limits.

    Args:
        path: the Python file.
        name: what to check in it; None for all.
        shapes: of the inputs, where one thing is checked; None to use those that the file declares, or to guess.
        seed: of the random inputs.
        timeout: seconds for importing the file, and for each thing.
        memory: MiB that the file's code may use, beyond those that Python and NumPy take.
        progress: called as each thing begins.

    Raises:
        UsageError: no such name, nothing to check, shapes that do not fit.
    """
    if not path.is_file() or path.suffix != ".py":
        raise UsageError(f"{path} is no Python file" if path.exists() else f"no such file: {path}")
    report = FileReport(str(path))
    job = {"file": str(path), "name": name, "shapes": shapes, "seed": seed, "timeout": timeout, "memory": memory}
    todo: list[str] = []
    again = False
    try:
        while todo or not again:
            with Child({**job, "only": todo if again else None}) as child:
                _attend(child, report, todo, progress, again)
            again = True
    except KeyboardInterrupt:
        report.interrupted = True
        report.items += [_failed(item, "interrupted with Ctrl-C before it was checked") for item in todo]
    if any(item["guessed"] and item["shapes"] and item["status"] != "correct" for item in report.items):
        report.notes.append(GUESSED)
    return report


def _attend(child: Child, report: FileReport, todo: list[str], progress: Progress, again: bool) -> None:
    """Put what a process tells into the report, and take what is judged off the list; the first process makes it."""
    current = f"import {Path(report.file).name}"
    before = list(todo)
    for event in child.events():
        match event["event"]:
            case "usage":
                raise UsageError(event["message"])
            case "items":
                if not again:
                    todo += event["names"]
                    report.notes += event["notes"]
                current = ""
            case "item":
                current, child.printed = event["name"], b""
                done = len(report.items)
                progress(current, done + 1, done + len(todo))
            case "report":
                report.items.append(_with_output(event["report"], child))
                todo.remove(current)
                current = ""
            case "failed" if current:
                report.items.append(_failed(current, event["what"], event.get("where", ""), child.said()))
                if current in todo:
                    todo.remove(current)
    if again and todo == before:  # the file is another one when it is imported again
        report.items += [_failed(name, "not found when the file was imported again") for name in todo]
        todo.clear()


def _with_output(report: dict[str, Any], child: Child) -> dict[str, Any]:
    """A report, with what the code has printed where the code failed: it may say why."""
    failed = any(finding["cause"] == "unusable" for finding in report["findings"])
    return {**report, "notes": [*report["notes"], *(child.said() if failed else [])]}


def _failed(name: str, what: str, where: str = "", notes: Sequence[str] = ()) -> dict[str, Any]:
    """The report on what could not be checked."""
    finding = Finding("code", "inconclusive", "unusable", "proved", where, what)
    return {**GradReport(name, [finding], list(notes)).to_dict(), "shapes": None, "guessed": False}


class Child:
    """The process in which the user's code runs; when the context is left, it and all it started are ended.

    It is the module ``worker`` that runs there: one that makes a :class:`chainrule.check.worker.Worker` of the job.
    """

    def __init__(self, job: Mapping[str, Any], worker: str = "chainrule.check.worker"):
        self.job, self.worker = job, worker
        self.printed = b""

    def __enter__(self) -> Child:
        self.faults = tempfile.NamedTemporaryFile(prefix="chainrule-", suffix=".faults")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", self.worker, json.dumps({**self.job, "faults": self.faults.name})],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # no bytecode: a file that was changed within a second, to the same length, would be run as it was before
            env={**os.environ, **ONE_THREAD, "PYTHONFAULTHANDLER": "", "PYTHONDONTWRITEBYTECODE": "1"},
            start_new_session=True,
        )
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        readers = ((self._read_events, self.process.stdout), (self._read_output, self.process.stderr))
        self.readers = [threading.Thread(target=read, args=(pipe,), daemon=True) for read, pipe in readers]
        for thread in self.readers:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._kill()
        self.process.wait()
        for thread in self.readers:
            thread.join(timeout=1)  # a process that has left the group may hold the pipe open
        self.faults.close()

    def events(self) -> Iterator[dict[str, Any]]:
        """What the process tells; if it ends before its work is done, the last event is a failure that says why."""
        allowed = STARTUP
        last = time.monotonic()
        while True:
            try:
                line = self._lines.get(timeout=0.05)
            except queue.Empty:
                if time.monotonic() - last > allowed:
                    self._kill()
                    yield {"event": "failed", "what": self._too_long()}
                    return
                if self.process.poll() is None or not self._lines.empty():
                    continue
                line = None  # ended, though a process that it started still holds the pipe open
            if line is None:
                self.process.wait()
                yield {"event": "failed", **self._why_it_ended()}
                return
            event = json.loads(line)
            if event["event"] == "done":
                return
            last, allowed = time.monotonic(), self.job["timeout"] + GRACE
            yield event
            if event["event"] == "failed":
                return

    def said(self) -> list[str]:
        """The end of what the user's code has printed, as a note."""
        lines = self.printed.decode(errors="replace").splitlines()[-SHOWN:]
        short = [line if len(line) <= WIDTH else line[: WIDTH - 4] + " ..." for line in lines]
        return ["\n".join(["the last that it printed:", *short])] if lines else []

    def _read_events(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                self._lines.put(line)
        self._lines.put(None)

    def _read_output(self, pipe: IO[bytes]) -> None:
        with pipe:
            while part := os.read(pipe.fileno(), 1 << 16):
                self.printed = (self.printed + part)[-KEPT:]

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all of the group have ended already
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()

    def _too_long(self) -> str:
        return f"not done after {self.job['timeout']:g} s, the time limit (--timeout)"

    def _why_it_ended(self) -> dict[str, str]:
        code = self.process.returncode
        trace = Path(self.faults.name).read_text(errors="replace")
        where = self._line_in(trace)
        if trace.startswith("Timeout"):
            return {"what": self._too_long(), "where": where}
        if code >= 0:
            return {"what": f"the process was ended with exit code {code}, by os._exit or the like", "where": where}
        if code == -signal.SIGKILL:
            return {"what": "the process was killed; perhaps the machine ran out of memory", "where": where}
        return {"what": f"the process crashed: {signal.strsignal(-code) or f'signal {-code}'}", "where": where}

    def _line_in(self, trace: str) -> str:
        """The innermost line of the user's file in a traceback of faulthandler's."""
        path = Path(self.job["file"]).resolve()
        name = str(path).encode("ascii", "backslashreplace").decode()
        match = re.search(rf'^  File "{re.escape(name)}", line (\d+) in ', trace, re.MULTILINE)
        return place(path, int(match[1])) if match else ""


def place(path: Path, line: int) -> str:
    """A line of the user's file, as reports name it.

    >>> place(Path(__file__), 1).partition(":")[0]
    'isolate.py, line 1'
    """
    return f"{path.name}, line {line}: {linecache.getline(str(path), line).strip()}"
