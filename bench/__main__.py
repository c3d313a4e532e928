"""How fast chainrule is, beside other libraries on this machine.

reports:
  speed      the time of a step, training and inference, beside every peer (the default)
  start      from the start of the process to the first step, with warm and cold kernels
  growth     how the step time grows with batch, width and depth
  kernels    every kernel on its op's samples: its error beside its time and its rule's
  products   which part of the uva-tuned step is matrix products, and how fast these are
  wall       wall time to 97.5 % on MNIST (CHAINRULE_DATA names the folder of the data)
"""

import argparse
import difflib
import io
import json
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import growth, kernels, products, report, start, wall
from bench.engines import ENGINES, PEERS
from bench.measure import Settings, measure
from bench.picture import figure
from bench.processes import EngineError
from bench.works import INFER, TRAIN, WORKS, chosen
from chainrule.errors import UserError
from chainrule.files import naming_the_file, write_atomically

REPORTS = ("speed", "start", "growth", "kernels", "products", "wall")
PICTURE = Path(__file__).parent / "results" / "speed.png"
EXAMPLES = """examples:
  python -m bench --quick --work vu-2023,norm
  python -m bench --work uva --peers torch,jax --json rows.json
  python -m bench --threads 1 --picture one-thread.png
  python -m bench start --work uva
"""
EXPLAINED = """\
Time of a step in ms: median and quartiles of the rounds. "× chainrule" is a peer's time over chainrule's: above 1, \
chainrule is faster.
Inputs and labels are random; all engines start with the same weights and see the same batches. "apart": the largest \
difference of losses
(before 20 steps and after), logits, gradients or parameters from the median of the engines, relative to the largest.
"""


def parsed(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    by_comma = lambda text: [name for name in text.split(",") if name]
    groups, peers = list(dict.fromkeys(work.group for work in WORKS)), [name for name in ENGINES if name != "chainrule"]
    all_works = f"{', '.join(groups[:7])},\n{', '.join(groups[7:])}"
    add("report", nargs="?", choices=REPORTS, default="speed", metavar="REPORT", help=f"one of {', '.join(REPORTS)}")
    add("--work", action="extend", type=by_comma, default=[], metavar="NAMES", help=f"only these, of\n{all_works}")
    all_peers = f"beside chainrule, of\n{', '.join(peers)}\n(default: all but chainrule-numpy, which has no kernels)"
    add("--peers", type=by_comma, default=PEERS, metavar="NAMES", help=all_peers)
    add("--phase", choices=(TRAIN, INFER), help="only this phase (default: both)")
    add("--quick", action="store_true", help="3 rounds of 0.1 s instead of 7 of 0.2 s")
    add("--threads", type=int, default=report.available(), metavar="N", help="of every library (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write what was measured as a list of rows")
    add("--picture", type=Path, default=PICTURE, metavar="FILE", help="PNG of the speeds (bench/results/speed.png)")
    given = parser.parse_args(arguments)
    try:
        given.works = chosen(given.work)
    except KeyError as error:
        parser.error(f"no work is called {error.args[0]!r}{_nearest(error.args[0], groups)}")
    for name in given.peers:
        if name not in peers:
            parser.error(f"no peer is called {name!r}{_nearest(name, peers)}")
    if not 1 <= given.threads <= report.available():
        parser.error(f"--threads is {given.threads}, expected 1 to {report.available()}, the processors here")
    return given


def _nearest(word, known):
    near = difflib.get_close_matches(word, known, n=1)
    return f", the nearest is {near[0]!r}" if near else f", expected some of: {', '.join(known)}"


def main(arguments=None):
    given = parsed(arguments)
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    settings = Settings(3, 0.1, given.threads) if given.quick else Settings(threads=given.threads)
    console.print(report.machine(given.threads), highlight=False, soft_wrap=True)
    rows = {
        "speed": _speed,
        "start": _start,
        "growth": _growth,
        "kernels": _kernels,
        "products": _products,
        "wall": _wall,
    }[given.report](console, given, settings)
    if given.json:
        _save(given.json, json.dumps(rows, indent=1).encode())


def _speed(console, given, settings):
    console.print(EXPLAINED, highlight=False, style="dim", soft_wrap=True)
    tasks = [(work, phase) for work in given.works for phase in work.phases if given.phase in (None, phase)]
    everything, versions = [], {}
    for (work, phase), tell in _with_progress(console, tasks):
        found = measure(work, phase, ["chainrule", *given.peers], settings, tell)
        everything.append(found)
        versions |= found.versions
        console.print(report.table(found))
        for text, style in report.remarks(found):
            console.print(text, style=style, highlight=False, soft_wrap=True)
        console.print()
    console.print(report.summary(everything))
    busiest = max(found.others for found in everything)
    if busiest > report.BUSY:
        said = f"other processes kept up to {busiest:.1f} processors busy: measure again on an idle machine"
        console.print(said, style="bold yellow", highlight=False)
    libraries = sorted({f"{said['version']} ({said['threads'] or '?'} threads)" for said in versions.values()})
    console.print("\n" + ", ".join(libraries), highlight=False, soft_wrap=True)
    content = io.BytesIO()
    made = figure(everything, f"{report.machine(given.threads)}\n{', '.join(libraries)}")
    made.savefig(content, format="png", dpi=150)
    _save(given.picture, content.getvalue())
    console.print(f"picture: {given.picture}", highlight=False, soft_wrap=True)
    return [row for found in everything for row in report.rows(found)]


def _start(console, given, settings):
    works = [work for work in given.works if work.kind != "op"] if given.work else chosen(start.WORKS)
    for _, tell in _with_progress(console, ["start"]):
        rows = start.measured(works, settings, tell)
    console.print(start.table(rows))
    return rows


def _growth(console, given, settings):
    for _, tell in _with_progress(console, ["growth"]):
        rows = growth.measured(settings, tell)
    console.print(growth.table(rows))
    return rows


def _kernels(console, given, settings):
    for _, tell in _with_progress(console, ["kernels"]):
        rows = kernels.measured(settings, tell)
    console.print(kernels.table(rows))
    return rows


def _products(console, given, settings):
    found = products.measured(settings)
    console.print(products.text(found), soft_wrap=True)
    return [found]


def _wall(console, given, settings):
    for _, tell in _with_progress(console, ["wall"]):
        rows = wall.measured(settings, tell)
    console.print(wall.table(rows))
    return rows


def _with_progress(console, tasks):
    """Each task, and a function that shows what is being done. The bar is drawn then only, not by a thread."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
        bar = progress.add_task("", total=len(tasks))
        for task in tasks:
            label = f"{task[0].name}, {task[1]}: " if isinstance(task, tuple) else ""
            yield task, lambda text: progress.update(bar, description=label + text, refresh=True)  # noqa: B023
            progress.advance(bar)


def _save(path, content):
    with naming_the_file(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the processes of the engines are ended too
    try:
        main()
    except (UserError, EngineError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
