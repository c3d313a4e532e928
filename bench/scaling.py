"""Data-parallel training, measured with two processes and reckoned for hundreds: docs/parallel.md's figures.

    python -m bench.scaling            measures (two minutes at most), then writes the page's tables and its picture
    python -m bench.scaling --stored   writes them from bench/results/scaling.json

Measured on one thread for each process: the time of a step at several batch sizes in one process; the exchange of
gradients of several sizes between two processes over this machine's loopback; and steps of two processes, which the
model must foretell.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from chainrule.files import write_atomically
from chainrule.lab.scaling import Link, Step, efficiency, fitted, most_that_pay, step

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "scaling.json"
PAGE = ROOT / "docs" / "parallel.md"
PICTURE = ROOT / "docs" / "images" / "scaling.png"
BEGIN, END = "<!-- python -m bench.scaling writes from here -->", "<!-- to here -->"

# name: (model, settings, shape of a sample, the batch sizes measured, the batch size of a machine in the tables)
WORKS = {
    "perceptron 784-300-10": ("mlp", {"hidden": (300,)}, (784,), (25, 50, 100, 200, 400), 100),
    "perceptron 3072-500x5-10": ("mlp", {"hidden": (500,) * 5}, (3072,), (25, 50, 100, 200), 200),
    "conv net uva-2018": ("convnet-uva-2018", {}, (3, 32, 32), (4, 8, 16, 32), 32),
}
OTHERS = {"conv net vu": "convnet-vu", "conv net uva-2020": "convnet-uva-2020", "ResNet-18": "resnet18"}
SIZES = (0.01, 0.1, 1.0, 10.0, 40.0)  # MB of gradients
LINKS = (Link("1 Gbit/s", 1.25e8, 1e-4), Link("10 Gbit/s", 1.25e9, 5e-5), Link("100 Gbit/s", 1.25e10, 1e-5))
MACHINES = (2, 8, 32, 128, 512)
OVERLAPPED = 1.0
SECONDS = 2.0  # of steps, at each batch size
COLOURS = ("#0072B2", "#D55E00", "#009E73")  # Okabe and Ito's


# ------------------------------------------------------------------------------------------------------- measuring


def measured():
    """Everything that is measured, as it is stored."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder:
        own = Path(folder) / "found.json"
        environment = os.environ | {"CHAINRULE_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        this = ["-m", "bench.scaling", "--process", str(own)]
        subprocess.run([sys.executable, *this], cwd=ROOT, env=environment, check=True)
        one = json.loads(own.read_text())
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *this]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        two = json.loads(own.read_text())
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": platform.platform(),
        "processors": os.cpu_count(),
        "load": round(load, 2),
        "one": one["steps"],
        "two": two["steps"],
        "exchange": two["exchange"],
    }


def process(path):
    """One of one or two processes that are measured; the first writes what it found."""
    from chainrule.train import parallel

    with parallel.joined() as company:
        found = {"steps": {name: steps(name, company) for name in WORKS}}
        if company.size > 1:
            found["exchange"] = [[size, exchange(company, size)] for size in SIZES]
        if company.first:
            path.write_text(json.dumps(found))


def steps(name, company):
    """For each batch size of a process: its size, the median time of a step in seconds, and its quartiles."""
    return [[batch, *_timed(training(name, batch * company.size, company))] for batch in WORKS[name][3]]


def training(name, batch, company):
    """A run of the work on random data, ready for its steps."""
    from chainrule import models
    from chainrule.data import Dataset, Preprocess, Samples
    from chainrule.train import TrainConfig
    from chainrule.train.loop import Training

    model_name, settings, shape, _, _ = WORKS[name]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4 * batch, *shape), dtype=np.float32)
    samples = Samples(x, rng.integers(10, size=len(x)))
    data = Dataset("random", samples, None, samples, tuple("0123456789"), Preprocess.fit("none", x))
    model = models.build(model_name, input_shape=shape, n_classes=10, rng=np.random.default_rng(0), **settings)
    config = TrainConfig(optimizer="sgd", lr=1e-3, batch_size=batch, max_steps=10**6, sampler="wrap")
    made = Training(model, data, config, company)
    made.listeners, made.stop = [], threading.Event()
    return made


def _timed(run):
    from chainrule.engine import using

    run.model.train()
    times = []
    with using("cpu"):
        run._step()  # compiles
        run._step()
        until = run.company.from_first(lambda: None) or time.perf_counter() + SECONDS
        while not run.company.sum(np.array([time.perf_counter() > until and len(times) > 8], float))[0]:
            began = time.perf_counter()
            run._step()
            times.append(time.perf_counter() - began)
    low, middle, high = statistics.quantiles(times, n=4)
    return middle, low, high


def exchange(company, size):
    """Seconds for the gradients of one parameter of `size` MB: filled, summed over two processes, handed back."""
    from chainrule.engine import Parameter
    from chainrule.train.parallel import Exchange

    parameter = Parameter(np.zeros(round(size * 1e6 / 4), np.float32))
    gradient, sums = np.ones_like(parameter.value), Exchange(company, [parameter], [])
    times = []
    for _ in range(40):
        parameter.grad = gradient
        company.sum(np.zeros(1))  # both are ready
        began = time.perf_counter()
        sums.gradients(0.5)
        times.append(time.perf_counter() - began)
    return statistics.median(times[5:])


# ------------------------------------------------------------------------------------------------------- reckoning


def works(stored):
    """The measured works, and the spread of a step's time: from the quartiles, as of a log-normal."""
    found, spreads = {}, []
    for name, (model, settings, shape, _, _) in WORKS.items():
        rows = stored["one"][name]
        found[name] = fitted(name, parameters(model, settings, shape), *zip(*(row[:2] for row in rows), strict=True))
        spreads += [np.log(high / low) / 1.349 for _, _, low, high in rows]
    return found, float(np.median(spreads))


def parameters(model, settings, shape):
    from chainrule import models

    built = models.build(model, input_shape=shape, n_classes=10, rng=np.random.default_rng(0), **settings)
    return sum(parameter.size for parameter in built.parameters())


def loopback(stored):
    """The link between two processes here: at p = 2 the model's exchange is 2 l + M / B."""
    sizes, seconds = zip(*stored["exchange"], strict=True)
    line = fitted("", 0, [1e6 * size for size in sizes], seconds)
    return Link("loopback", 1 / line.per_sample, line.fixed / 2)


def tables(stored):
    """What stands between the markers of the page."""
    found, spread = works(stored)
    here = loopback(stored)
    lines = [
        f"Measured on {stored['date']}: {stored['processors']} processors, load {stored['load']} before it began, one "
        f"thread for each process. Between two processes here the exchange of gradients takes "
        f"{2e6 * here.latency:.0f} µs and {1e9 / here.bandwidth:.2f} ms for every MB, copies into and out of the "
        f"buckets included. The quartiles of a step's time are those of a spread s of {100 * spread:.1f} %.",
        "",
        "| network | parameters | gradients, in float32 | c₀ + c₁ b, one thread |",
        "|---|---|---|---|",
    ]
    for name, work in found.items():
        line = f"{1e3 * work.fixed:.2f} ms + {1e3 * work.per_sample:.3g} ms · b"
        lines.append(f"| {name} | {work.parameters:,} | {work.bytes / 1e6:.2f} MB | {line} |")
    for name, model in OTHERS.items():
        count = parameters(model, {}, (3, 32, 32))
        lines.append(f"| {name} | {count:,} | {4e-6 * count:.2f} MB | |")
    lines += [
        "",
        "The model against two processes here (milliseconds a step, b samples in each process):",
        "",
        "| network | b | one process | two: the model | two: measured |",
        "|---|---|---|---|---|",
    ]
    for name, work in found.items():
        for (batch, alone, *_), (_, both, *_) in zip(stored["one"][name], stored["two"][name], strict=True):
            told = step(work, here, machines=2, batch=batch, spread=spread).total
            lines.append(f"| {name} | {batch} | {1e3 * alone:.2f} | {1e3 * told:.2f} | {1e3 * both:.2f} |")
    lines += [
        "",
        "Efficiency with more machines, each with b samples of its own (samples a second over machines times those of "
        "one), and with the exchange hidden under backward (f = 1):",
        "",
        f"| network | b | link | {' | '.join(f'p = {p}' for p in MACHINES)} |",
        f"|---|---|---|{'---|' * len(MACHINES)}",
    ]
    for name, work in found.items():
        batch = WORKS[name][4]
        for link in LINKS:
            shares = []
            for p in MACHINES:
                now, hidden = (
                    efficiency(work, link, machines=p, batch=batch, spread=spread, overlap=f) for f in (0, OVERLAPPED)
                )
                shares.append(f"{100 * now:.0f} % ({100 * hidden:.0f} %)")
            lines.append(f"| {name} | {batch} | {link.name} | {' | '.join(shares)} |")
    lines += [
        "",
        "The same batch shared ever finer: the most machines (powers of 2) of which half are worth their place:",
        "",
        f"| network | global batch | {' | '.join(link.name for link in LINKS)} |",
        f"|---|---|{'---|' * len(LINKS)}",
    ]
    for name, work in found.items():
        for samples in (256, 4096):
            counts = [
                " ".join(
                    f"{most_that_pay(work, link, samples=samples, spread=spread, overlap=f):,}"
                    if not f
                    else f"({most_that_pay(work, link, samples=samples, spread=spread, overlap=f):,})"
                    for f in (0, OVERLAPPED)
                )
                for link in LINKS
            ]
            lines.append(f"| {name} | {samples:,} | {' | '.join(counts)} |")
    return "\n".join(lines)


def page(text, stored):
    """The page with its tables as these measurements give them."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{tables(stored)}\n\n{END}{rest.split(END)[1]}"


def figure(stored):
    """Left the efficiency over the number of machines, right what a step of the conv net consists of."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from chainrule.train.pictures import INK, STYLE

    found, spread = works(stored)
    link = LINKS[1]
    with mpl.rc_context(STYLE):
        made = Figure(figsize=(12, 5.2), layout="constrained")
        title = f"Data-parallel training over {link.name}, as the model has it ({stored['date']}'s measurements)"
        made.suptitle(title, x=0.01, ha="left", fontsize=12.5, fontweight="bold")
        left, right = made.subplots(1, 2, width_ratios=(1.25, 1))
        machines = 2 ** np.arange(11)
        for colour, (name, work) in zip(COLOURS, found.items(), strict=True):
            batch = WORKS[name][4]
            for f, dashes in ((0.0, "-"), (OVERLAPPED, "--")):
                shares = [
                    100 * efficiency(work, link, machines=int(p), batch=batch, spread=spread, overlap=f)
                    for p in machines
                ]
                label = f"{name}, {batch} samples each" if not f else None
                left.plot(machines, shares, dashes, color=colour, lw=2, label=label)
        left.plot([], [], "--", color=INK, label="with the exchange hidden under backward")
        left.set(xlabel="machines", ylabel="efficiency, %", ylim=(0, 105), xlim=(1, 1024))
        left.set_xscale("log", base=2)
        left.set_xticks([1, 4, 16, 64, 256, 1024], ["1", "4", "16", "64", "256", "1,024"])
        left.set_title("Samples a second, of machines times those of one")
        left.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
        _bars(right, found["conv net uva-2018"], link, spread)
    return made


def _bars(axes, work, link, spread):
    counts = (1, *MACHINES)
    taken = [step(work, link, machines=p, batch=32, spread=spread) for p in counts]
    base = np.zeros(len(counts))
    for part, colour, label in zip(Step.__dataclass_fields__, ("#0072B2", "#E69F00", "#D55E00"), (
        "computing", "waiting for the slowest", "exchanging"), strict=True):  # fmt: skip
        heights = np.array([1e3 * getattr(each, part) for each in taken])
        axes.bar([f"{p:,}" for p in counts], heights, bottom=base, color=colour, width=0.65, label=label)
        base += heights
    axes.set(xlabel="machines", ylabel="ms", ylim=(0, 1.05 * base.max()))
    axes.set_title(f"A step of conv net uva-2018 ({work.bytes / 1e6:.0f} MB), 32 samples each")
    axes.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(axis="x", visible=False)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m bench.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stored", action="store_true", help="measure nothing: write from what is stored")
    parser.add_argument("--process", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.process:
        process(given.process)
        return
    from chainrule.train.pictures import save_figure

    if not given.stored:
        write_atomically(RESULTS, (json.dumps(measured(), indent=1) + "\n").encode())
    stored = json.loads(RESULTS.read_text())
    write_atomically(PAGE, page(PAGE.read_text(), stored).encode())
    save_figure(figure(stored), PICTURE)
    print(f"wrote {PAGE.relative_to(ROOT)} and {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
