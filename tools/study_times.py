"""Write down how long the trainings of full reruns took: `python tools/study_times.py [RUNS]`.

Reads the folders runs/study-NAME (or RUNS/study-NAME) and writes src/chainrule/lab/studies/times.json: seconds of one
core for each finished run, by the hash of its config. `chainrule study` says by it how long the rest will take.
"""

import json
import sys
from pathlib import Path

from chainrule.files import write_atomically
from chainrule.lab.studies import NAMES, study
from chainrule.lab.study import planned

TIMES = Path(__file__).parents[1] / "src" / "chainrule" / "lab" / "studies" / "times.json"


def main(runs: Path) -> None:
    """Keep what is known of trainings that are still planned, and add what the folders show."""
    known = json.loads(TIMES.read_text(encoding="utf-8"))
    found = {}
    for name in NAMES:
        plans = [plan for each in study(name).experiments for plan in planned(each, quick=False)]
        for key in (run.key for plan in plans for run in plan.runs()):
            result = runs / f"study-{name}" / key / "result.json"
            if result.exists():
                found[key] = round(json.loads(result.read_text())["seconds"] * threads(result.parent), 1)
            elif key in known:
                found[key] = known[key]
    write_atomically(TIMES, (json.dumps(found, indent=0) + "\n").encode())


def threads(run_dir: Path) -> int:
    """Those that the run had."""
    stored = json.loads((run_dir / "environment.json").read_text())
    return stored.get("threads") or int(stored["variables"].get("CHAINRULE_NUM_THREADS", stored["cpus"]))


if __name__ == "__main__":
    main(Path(*sys.argv[1:] or ["runs"]))
