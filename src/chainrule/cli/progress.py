"""A run as it goes: downloads and events on live bars, or as plain lines where there is no terminal."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from chainrule.cli.show import percent
from chainrule.train import events, parallel

REFRESH = 0.1  # seconds between two updates of the bar: a step may take only some microseconds
HEARTBEAT = 10.0  # seconds between two plain lines about steps


class View:
    """A listener that shows a run. It is a context manager, so that an error leaves the terminal as it was."""

    def __init__(self, console: Console):
        self.console = console
        live = console.is_terminal
        self._interval = REFRESH if live else HEARTBEAT
        self._shown = time.monotonic()
        self._files: dict[str, TaskID] = {}
        self._downloads = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(style="dim", complete_style="cyan", finished_style="green"),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not live,
        )
        self._steps = Progress(
            TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=None, style="dim", complete_style="cyan"),
            TextColumn("{task.description}", markup=False),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console,
            transient=True,
            expand=True,
            disable=not live,
        )

    def __enter__(self) -> "View":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._downloads.stop()
        self._steps.stop()

    def __call__(self, event: events.Event) -> None:
        """Show what has happened."""
        match event:
            case events.Downloading():
                self._downloading(event)
            case events.Remark() if not self._steps.tasks:  # later ones stand in the result
                self._say(f"! {event.text}", "magenta")
            case events.Started():
                self._started(event)
            case events.StepDone():
                self._step_done(event)
            case events.Evaluated():
                self._evaluated(event)
            case events.Interrupted():
                self._steps.stop()
                self._say(f"stopped after step {event.step:,}; everything is saved, go on with")
                self._say(f"  {parallel.command()} train --resume {self._run_dir}", "cyan")
            case events.Finished():
                self._steps.stop()

    def _downloading(self, event: events.Downloading) -> None:
        if event.file not in self._files:
            self._downloads.start()
            self._files[event.file] = self._downloads.add_task(event.file)
            if not self.console.is_terminal:
                self._say(f"downloading {event.file}" + (f" ({event.total / 1e6:.1f} MB)" if event.total else ""))
        self._downloads.update(self._files[event.file], completed=event.done, total=event.total)

    def _started(self, event: events.Started) -> None:
        self._downloads.stop()
        self._run_dir = event.run_dir
        config, validation = event.config, event.validation_samples
        parts = f"{event.train_samples:,} training, {f'{validation:,}' if validation else 'no'} validation"
        self._say(f"{config.dataset}: {parts}, {event.test_samples:,} test samples")
        trained = f" ({event.trained_parameters:,} trained)" * (event.trained_parameters < event.parameters)
        self._say(
            f"{config.model}: {event.parameters:,} parameters{trained}; "
            f"{config.optimizer}, learning rate {config.lr:g}; "
            f"{event.total_steps:,} steps of {config.batch_size} samples"
            + (f", shared by {parallel.size()} processes" if parallel.size() > 1 else "")
        )
        if event.step:
            self._say(f"going on after step {event.step:,}")
        headings = f"\n{'epoch':>7} {'step':>7} {'train loss':>11} {'accuracy':>9}"
        self._say(headings + f" {'val loss':>11} {'accuracy':>9}" * bool(validation), "dim")
        self._accuracy = ""
        self._task = self._steps.add_task("", total=event.total_steps, completed=event.step)
        self._steps.start()

    def _step_done(self, event: events.StepDone) -> None:
        now = time.monotonic()
        if now - self._shown < self._interval:
            return
        self._shown = now
        task = self._steps.tasks[0]
        speed = f"  {task.speed:6,.{0 if task.speed >= 10 else 1}f} steps/s" if task.speed else ""
        status = f"loss {event.loss:.4f}{self._accuracy}{speed}"
        self._steps.update(self._task, completed=event.step, description=status)
        if not self.console.is_terminal:
            self._say(f"step {event.step:,}/{task.total:,.0f}  {status}", "dim")

    def _evaluated(self, event: events.Evaluated) -> None:
        if not self.console.is_terminal:
            self._shown = time.monotonic()  # this line is a sign of life too
        line = Text(f"{event.epoch:7.1f} {event.step:7,}")
        for measure in filter(None, (event.train, event.validation)):
            line.append(f" {measure.loss:11.4f} {percent(measure.accuracy):>9}")
        if event.best:
            line.append("  best", "green")
        self._say(line)
        self._accuracy = f"  val {percent(event.validation.accuracy, 1)}" if event.validation else ""
        self._steps.update(self._task, completed=event.step)

    def _say(self, line: str | Text, style: str = "") -> None:
        self.console.print(line, style=style, soft_wrap=True)
