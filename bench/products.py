"""Which part of the uva-tuned step is matrix products, and how fast these are.

    python -m bench.products ROUNDS SECONDS      what the process of chainrule does; prints one line of JSON

The products of the step (forward, gradients of the weights, gradients of the inputs but for the first layer's) are
taken alone, into arrays that exist, in the same process and in turns with the whole step.
"""

import json
import statistics
import sys
import tempfile
import time
from itertools import cycle, pairwise
from pathlib import Path

from bench.processes import REST, last_line
from bench.works import TRAIN, chosen

SHARE, GFLOPS = 0.85, 400.0  # the targets


def measured(settings):
    """Milliseconds of the step and of its products, their share, and their rate."""
    return last_line(["bench.products", str(settings.rounds), str(settings.turn)], settings.threads)


def text(found):
    """One line for people."""
    return (
        f"uva-tuned step {found['step_ms']:.2f} ms, its matrix products {found['products_ms']:.2f} ms: "
        f"{found['share']:.0%} (target {SHARE:.0%}) at {found['gflops']:.0f} GFLOP/s (target {GFLOPS:.0f})"
    )


def main(rounds, seconds):
    from bench import task
    from bench.engines import chainrule as engine

    (work,) = chosen(["uva-tuned"])
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder:
        task.write(Path(folder), work, TRAIN)
        step, batches = engine.prepare(task.read(folder), "")
    batches = cycle(batches)
    whole = lambda: step(*next(batches))
    products, count = _products(work)
    times = {whole: [], products: []}
    for run in times:
        run()
    k = 1 + int(float(seconds) / _seconds(whole, 1))
    for _ in range(int(rounds)):
        for run, found in times.items():
            time.sleep(REST)
            run()
            found.append(_seconds(run, k))
    of_step, of_products = (statistics.median(found) for found in times.values())
    found = {"step_ms": 1e3 * of_step, "products_ms": 1e3 * of_products, "share": of_products / of_step}
    print(json.dumps(found | {"gflops": 2e-9 * count / of_products}))


def _products(work):
    """A function that takes all products of a step, and how many multiplications these are."""
    import numpy as np

    from chainrule.kernels.linear import product

    batch = work.shapes[0][0]
    new = lambda *shape: np.ones(shape, np.float32)
    tasks = []
    for i, (n_in, n_out) in enumerate(pairwise(work.widths)):
        x, weight, gy = new(batch, n_in), new(n_out, n_in), new(batch, n_out)
        tasks += [(x, weight.T, new(batch, n_out)), (gy.T, x, new(n_out, n_in))]
        if i:
            tasks.append((gy, weight, new(batch, n_in)))

    def products():
        for a, b, out in tasks:
            product(a, b, out)

    return products, sum(a.size * b.shape[1] for a, b, _ in tasks)


def _seconds(run, k):
    began = time.perf_counter()
    for _ in range(k):
        run()
    return (time.perf_counter() - began) / k


if __name__ == "__main__":
    main(*sys.argv[1:])
