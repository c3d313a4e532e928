"""How long `import chainrule` takes, beside `import numpy`, which is most of it, and Python's own start.

Each import runs in a process of its own, interleaved, so that a busy machine slows all alike. The target is a median
under 0.2 s. Run it with `python bench/import_time.py`.
"""

import statistics
import subprocess
import sys
import time

ROUNDS = 15
IMPORTS = {"python alone": "pass", "import numpy": "import numpy", "import chainrule": "import chainrule"}


def seconds(code):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def main():
    for code in IMPORTS.values():  # the first time, files come from the disk
        seconds(code)
    times = {name: [] for name in IMPORTS}
    for _ in range(ROUNDS):
        for name, code in IMPORTS.items():
            times[name].append(seconds(code))
    for name, found in times.items():
        low, middle, high = statistics.quantiles(found)
        print(f"{name:17} {middle * 1000:6.0f} ms   (quartiles {low * 1000:.0f} to {high * 1000:.0f}, n = {ROUNDS})")


if __name__ == "__main__":
    main()
