"""`chainrule sweep`: many runs of one data set, and which setting did best."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from chainrule.cli import show
from chainrule.cli.options import ConfigCommand, debug_option, examples, given, json_option
from chainrule.errors import UsageError

if TYPE_CHECKING:
    from chainrule.lab.plan import Plan
    from chainrule.lab.sweep import Progress, Setting, Sweep, SweepRun

SHOWN = 20  # settings in a table; runs.csv has all of them
LEADERS = 5  # settings shown while it goes on
FAILURES = 5  # errors shown
HEARTBEAT = 60.0  # seconds between two plain lines where nothing ends


retry_option = click.option(
    "--retry", type=int, default=0, metavar="N", help="Try a run that fails N times more (default: 0)."
)


class SweepCommand(ConfigCommand):
    """The settings of `train`, but for its backend: here that option says where the runs go."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """All options."""
        return [param for param in super().get_params(ctx) if param.name != "backend"]


@click.command(
    cls=SweepCommand,
    epilog=examples(
        "chainrule sweep digits --grid lr=0.001,0.003,0.01 --grid hidden=100,300 --seeds 5 --epochs 10",
        "chainrule sweep mnist --random 20 --range lr=1e-4..1e-1:log --range dropout=0..0.5 --jobs 2",
        "chainrule sweep --file sweep.yaml --dry-run",
        "chainrule sweep cifar10 --grid lr=0.01,0.1 --seeds 3 --backend dask --address tcp://10.0.0.1:8786",
    ),
)
@click.option(
    "--grid",
    multiple=True,
    metavar="NAME=VALUES",
    help="Values to try for a setting, every combination of them: lr=0.001,0.01; with commas in them: 'hidden=9;8,8'.",
)
@click.option("--random", type=int, metavar="N", help="Draw N settings out of the ranges and the grid instead.")
@click.option(
    "--range",
    "ranges",
    multiple=True,
    metavar="NAME=LOW..HIGH",
    help="Range to draw a setting from: dropout=0..0.5, lr=1e-4..1e-1:log.",
)
@click.option(
    "--seeds",
    type=int,
    help="Runs of each setting (default: 1), all with the same seeds: from --seed on, or 0, whatever a preset says.",
)
@click.option(
    "-f", "--file", metavar="FILE", help="Read settings, grid, range, random, seeds from YAML; those here win."
)
@click.option("--sweep-dir", metavar="FOLDER", help="Folder of the sweep (default: one in runs/, named for its plan).")
@click.option("-j", "--jobs", type=int, metavar="N", help="Runs at a time; they share the cores (default: the cores).")
@click.option(
    "--backend",
    "where",
    default="local",
    metavar="local|dask|ray",
    help="Where the runs go: processes here, or a cluster (default: local). A run's own backend: --grid backend=numpy.",
)
@click.option("--address", help="Address of the Dask scheduler or the Ray cluster.")
@retry_option
@click.option("--dry-run", is_flag=True, help="Say what would be run, and do nothing.")
@json_option("settings, their means and runs, and the best")
@debug_option
@click.pass_context
def sweep(
    context: click.Context,
    grid: tuple[str, ...],
    random: int | None,
    ranges: tuple[str, ...],
    seeds: int | None,
    file: str | None,
    sweep_dir: str | None,
    jobs: int | None,
    where: str,
    address: str | None,
    retry: int,
    dry_run: bool,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Run many settings on DATASET, each with the same seeds, and rank them by the validation part.

    Every run is a run folder, as train makes it. The same command again skips the finished ones and goes on with the
    others, so Ctrl-C and crashes lose nothing; more values and more seeds extend a sweep. The test part chooses
    nothing. The exit code is 1 if a run failed.
    """
    from chainrule.cli.progress import View as Downloads
    from chainrule.lab.plan import make_plan
    from chainrule.lab.sweep import look
    from chainrule.lab.sweep import sweep as run

    plan = make_plan(given(parameters), file=file, grid=grid, ranges=ranges, random=random, seeds=seeds)
    out = show.console(stderr=as_json)
    if dry_run:
        found = look(plan, sweep_dir)
        out.print(planned(found), crop=False)
    else:
        _leave_the_file(file, plan, sweep_dir)
        console = show.console(stderr=True)
        with Downloads(console) as downloads:
            view = View(console, before=downloads)
            try:
                with view:
                    found = run(
                        plan,
                        sweep_dir=sweep_dir,
                        jobs=jobs,
                        backend=where,
                        address=address,
                        retry=retry,
                        progress=view,
                        listeners=[downloads],
                    )
            except KeyboardInterrupt:
                view.stopped()
                raise
        out.print(ranking(found), crop=False)
    if as_json:
        show.json_line(asdict(found))
    context.exit(1 if not dry_run and found.count("failed") else 0)


def _leave_the_file(file: str | None, plan: "Plan", sweep_dir: str | None) -> None:
    """Raises `UsageError` if the sweep would write something else over the file that its plan was read from."""
    from chainrule.lab.sweep import folder_of

    written = folder_of(plan.runs(), sweep_dir) / "sweep.yaml"
    if file is None or not written.exists() or not written.samefile(file):
        return
    if written.read_text(encoding="utf-8") != plan.to_yaml():
        raise UsageError(
            f"{file} is where this sweep writes its plan, and would be overwritten: give another --sweep-dir, "
            "or a copy of it as --file"
        )


class View:
    """A sweep as it goes: a live table, or plain lines where there is no terminal.

    `before` shows what comes first, the downloads; it is closed when the sweep begins.
    """

    def __init__(self, console: Console, *, before: AbstractContextManager | None = None):
        self.console, self.before = console, before
        self._sweep: Sweep | None = None
        self._told: set[str] = set()  # keys of the runs that have ended, as plain lines
        self._shown = time.monotonic()
        self._live = Live(console=console, transient=True, refresh_per_second=4)

    def __enter__(self) -> "View":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live.is_started:
            self._live.stop()

    def __call__(self, progress: "Progress") -> None:
        """Show how far it is."""
        first, self._sweep = self._sweep is None, progress.sweep
        if first:
            self._begin(progress.sweep)
        if self.console.is_terminal:
            self._live.update(_live(progress))
        else:
            self._plain(progress)

    def stopped(self) -> None:
        """Say how to go on after Ctrl-C."""
        if self._sweep is not None:
            folder = self._sweep.sweep_dir
            command = f"chainrule sweep --file {folder}/sweep.yaml --sweep-dir {folder}"
            self.console.print("stopped; everything is saved, the same command goes on, or")
            self.console.print(Text(f"  {command}", "cyan"), soft_wrap=True)

    def _begin(self, found: "Sweep") -> None:
        if self.before is not None:
            self.before.__exit__(None, None, None)
        ended = [run for run in found.runs if run.state in ("finished", "failed")]
        self._told = {run.key for run in ended}
        skipped = f", {len(ended)} of them ended before" * bool(ended)
        self.console.print(f"{_size(found)}{skipped}, in", soft_wrap=True)
        self.console.print(Text(f"  {found.sweep_dir}"), soft_wrap=True)
        if self.console.is_terminal:
            self._live.start()

    def _plain(self, progress: "Progress") -> None:
        found = progress.sweep
        ended = [
            (setting, run)
            for setting in found.settings
            for run in setting.runs
            if run.state in ("finished", "failed") and run.key not in self._told
        ]
        for setting, run in ended:
            self._told.add(run.key)
            self._say(f"{_count(progress)}  {_name(setting, run)}: {_outcome(found, run)}{_left(progress)}")
        if time.monotonic() - self._shown >= HEARTBEAT:
            self._say(f"{_count(progress)}  {len(progress.running)} running{_left(progress)}")

    def _say(self, line: str) -> None:
        self._shown = time.monotonic()
        self.console.print(Text(line), soft_wrap=True)


def _live(progress: "Progress") -> RenderableType:
    """All runs as one bar, those in progress with theirs, and the settings that lead so far."""
    found = progress.sweep
    parts: list[RenderableType] = []
    ended = found.count("finished") + found.count("failed")
    whole = Table.grid(padding=(0, 2))
    failed = Text(f"{found.count('failed')} failed", "red") if found.count("failed") else ""
    bar = ProgressBar(total=len(found.runs), completed=ended, width=40, style="dim", complete_style="cyan")
    whole.add_row(f"{_count(progress)} runs", bar, _left(progress).removeprefix("; "), failed)
    parts += ["", whole]
    if progress.running:
        running = show.table("", "", "", ">validation")
        for run in progress.running:
            bar = ProgressBar(total=run.total_steps, completed=run.step, width=20, style="dim", complete_style="cyan")
            accuracy = "" if run.val_accuracy is None else show.percent(run.val_accuracy)
            steps = f"step {run.step:,}/{run.total_steps:,}"
            running.add_row(f"{_described(run.values)}  seed {run.seed}", bar, steps, accuracy)
        parts += ["", running]
    leaders = [setting for setting in found.settings if setting.n][:LEADERS]
    if leaders:
        parts += ["", Text("So far", "bold"), _table(found, leaders)]
    return Group(*parts)


def ranking(found: "Sweep") -> RenderableType:
    """The settings, the best first; what to know about them; what failed; what to do next."""
    remarks = [Padding(Text.assemble(("! ", "bold magenta"), remark.text), (1, 0, 0, 0)) for remark in found.remarks]
    more = len(found.settings) - SHOWN
    best = "No setting has all its runs finished."
    following: list[RenderableType] = []
    if found.best is not None:
        score = _score(found, found.best)
        test = "" if found.best_test_accuracy is None else f", test accuracy {show.percent(found.best_test_accuracy)}"
        means = f" (means over {found.best.n} seeds)" if found.best.n > 1 else " (one seed)"
        best = f"Chosen: {_described(found.best.values)}: {found.chosen_by} {score}{test}{means}"
        evaluate = f"chainrule evaluate {found.best.runs[0].run_dir}"
        following = [Text("\nNext:", "bold"), show.unbroken(f"  {evaluate}", "cyan")]
    return Group(
        "",
        _table(found, found.settings[:SHOWN]),
        *([Text(f"and {more} more, in runs.csv", "dim")] if more > 0 else []),
        Text(
            f"Means over n seeds, sorted by {found.chosen_by}. The test part chose nothing; it is shown for the best "
            "setting alone.",
            "dim",
        ),
        Text(f"\n{best}", "bold"),
        *remarks,
        *_failures(found),
        "\nEvery run's folder is in",
        show.unbroken(f"  {found.sweep_dir}"),
        *following,
    )


def planned(found: "Sweep") -> RenderableType:
    """What would be run: every setting with its seeds, and how far each is."""
    states = ("finished", "failed", "begun", "new")
    rows = show.table(*_headings(found), *(f">{state}" for state in states))
    for setting in found.settings:
        counts = [sum(run.state == state for run in setting.runs) for state in states]
        rows.add_row(*_values(setting), *(str(count) if count else "" for count in counts))
    seeds = f"seeds {found.seeds[0]} to {found.seeds[-1]}" if len(found.seeds) > 1 else f"seed {found.seeds[0]}"
    total = ", ".join(f"{found.count(state)} {state}" for state in states if found.count(state))
    return Group(rows, f"\n{_size(found)}, {seeds}: {total}, in", show.unbroken(f"  {found.sweep_dir}"))


def _table(found: "Sweep", settings: "Sequence[Setting]") -> Table:
    measure = "validation accuracy" if found.chosen_by == "validation accuracy" else "training loss"
    second = [">validation loss"] if found.chosen_by == "validation accuracy" else []
    rows = show.table(*_headings(found), f">{measure}", *second, ">n", ">time a run", "")
    for setting in settings:
        loss = "" if setting.val_loss is None else f"{setting.val_loss:.4f}"
        failed = Text(f"{setting.failed} failed", "red") if setting.failed else ""
        rows.add_row(
            *_values(setting),
            _score(found, setting),
            *([loss] if second else []),
            str(setting.n),
            "" if setting.seconds is None else f"{setting.seconds:.1f} s",
            failed,
            style="bold" if setting is found.best else "",
        )
    return rows


def _headings(found: "Sweep") -> list[str]:
    """A column for each setting that varies, numbers flush right."""
    headings = []
    for name in found.varied:
        numbers = all(isinstance(setting.values[name], int | float) for setting in found.settings)
        headings.append(">" * numbers + name.replace("_", "-"))
    return headings or ["setting"]


def _values(setting: "Setting") -> list[str]:
    from chainrule.lab.plan import in_short

    return [in_short(value) for value in setting.values.values()] or ["as given"]


def _described(values: dict[str, Any]) -> str:
    from chainrule.lab.plan import described

    return described(values)


def _score(found: "Sweep", setting: "Setting | SweepRun") -> str:
    if found.chosen_by == "validation accuracy":
        return "" if setting.val_accuracy is None else show.percent(setting.val_accuracy)
    return "" if setting.train_loss is None else f"{setting.train_loss:.4f}"


def _failures(found: "Sweep") -> Iterator[RenderableType]:
    """Of each setting with failed runs the first one's error."""
    lacking = [setting for setting in found.settings if setting.failed]
    if not lacking:
        return
    yield Text(f"\n{_of(found.count('failed'), 'run')} failed; --retry 1 tries again:", "bold red")
    for setting in lacking[:FAILURES]:
        failed = [run for run in setting.runs if run.state == "failed"]
        seeds = f"seed{'s' * (len(failed) > 1)} {', '.join(str(run.seed) for run in failed)}"
        yield Text.assemble((f"{_described(setting.values)} {seeds}: ", "bold"), failed[0].error or "")
        yield show.unbroken(f"  {failed[0].log_dir}/error.txt", "dim")
    if len(lacking) > FAILURES:
        yield Text(f"and {_of(len(lacking) - FAILURES, 'setting')} more, in runs.csv", "dim")


def _name(setting: "Setting", run: "SweepRun") -> str:
    return f"{_described(setting.values)} seed {run.seed}"


def _outcome(found: "Sweep", run: "SweepRun") -> str:
    return f"failed: {run.error}" if run.state == "failed" else f"{found.chosen_by} {_score(found, run)}"


def _size(found: "Sweep") -> str:
    settings, seeds = len(found.settings), len(found.seeds)
    return f"{found.dataset}: {_of(settings, 'setting')} x {_of(seeds, 'seed')}, {_of(settings * seeds, 'run')}"


def _of(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"


def _count(progress: "Progress") -> str:
    found = progress.sweep
    return f"{found.count('finished') + found.count('failed'):{len(str(len(found.runs)))}}/{len(found.runs)}"


def _left(progress: "Progress") -> str:
    """The time left in round figures: it is a guess, from runs that may take longer or shorter than the others."""
    seconds = progress.seconds_left
    if not seconds:
        return ""
    if seconds < 100:
        return f"; about {seconds:.0f} s left"
    minutes = seconds / 60
    return f"; about {minutes:.0f} min left" if minutes < 100 else f"; about {minutes / 60:.1f} h left"
