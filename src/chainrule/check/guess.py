"""Inputs for code whose author declared none: shapes guessed from the names of the arguments, and tried."""

from __future__ import annotations

import inspect
import itertools
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.check.adapters import as_target
from chainrule.check.discover import Item
from chainrule.check.probes import Prober
from chainrule.check.shapes import SIZES, draw, normal, parse, positive
from chainrule.check.target import Target, Unusable
from chainrule.engine import Op

TRIALS = 2000  # combinations of shapes that are tried, the most plausible first
SECONDS = 10.0  # and no longer than this
FEASIBLE = 20  # of those with which forward runs, so many are compared
HOPELESS = (SystemExit, MemoryError, RecursionError, NameError, ImportError, NotImplementedError, OSError, EOFError)

# What an argument is, by its name; underscores and digits do not count. A pattern is a whole name in lower case.
KINDS = {
    "input": "x|inputs?|features|data|logits|scores|z|pred(s|iction|ictions)?|probs|yhat|xs",
    "image": "images?|imgs?",
    "recurrent": "w[a-z]?h|whh|u[a-z]",
    "weight": "w|weights?|kernels?|filters?|theta|u|w[a-z]{1,3}",
    "bias": "b|bias(es)?|b[a-z]",
    "scale": "gamma|beta|scale|shift|gain|g",
    "target": "t|y|targets?|labels?|ytrue|onehot",
    "mask": "mask|keep",
    "state": "h|hprev|prevh|hidden|state|c|cprev|prevc",
    "query": "q|query|queries",
    "key": "k|keys?",
    "value": "v|values?",
    "index": "idx|index|indices|ids|tokens|words",
    "table": "table|embeddings?|emb",
    "scalar": "temperature|tau|temp",
}
# The shapes that each may have, the most plausible first. The letters: n examples, d features, m outputs, c channels,
# f filters, t and s steps, e values. Images have numbers, large enough for a kernel of 3 or a stride of 2.
IMAGES = ("n c 4 6", "n c 6 8")
SHAPES = {
    "input": ("n d", *IMAGES, "n t d"),
    "image": IMAGES,
    "recurrent": ("m m", "d m"),
    "weight": ("d m", "m d", "d", "f c 3 3"),
    "bias": ("m", "1 m", "f", "d", "1 1", "1", ""),
    "scale": ("d", "1 d", "m", "c", "c 1 1", "1 c 1 1", ""),
    "target": ("n d", "n in d", "n", "n 1", *IMAGES, ""),
    "mask": ("n d", *IMAGES, "n t d"),
    "state": ("n m",),
    "query": ("n t d",),
    "key": ("n s d",),
    "value": ("n s e",),
    "index": ("n t in v", "n in v", "t in v"),
    "table": ("v d",),
    "scalar": ("", "n"),
    "unknown": (),
}
ANY = ("n d", "d m", "m d", "d", "m", "", "1", "n", "d d", "d 1")  # after those, and where the name tells nothing
SHARED = {"weight", "recurrent", "bias", "scale"}
NARROW = ("bias", "scale", "scalar", "query", "key", "value")  # but not for these, nor for the first argument
# What belongs together: attention, images, with groups of channels, signals, gates side by side (LSTM).
GATES = {"state": "n 5", "weight": "d 20", "recurrent": "5 20", "bias": "20"}
THEMES: tuple[dict[str, str], ...] = (
    {},
    {"query": "t d", "key": "s d", "value": "s e"},
    {"query": "n t d", "key": "n t d", "value": "n t d"},
    {"query": "t d", "key": "t d", "value": "t d"},
    {"query": "n 2 t d", "key": "n 2 s d", "value": "n 2 s e"},
    {"input": "n c 4 6", "weight": "f c 3 3", "bias": "f", "scale": "c", "target": "n c 4 6", "mask": "n c 4 6"},
    {"input": "n 6 4 5", "scale": "6", "weight": "6 3 3", "bias": "6"},
    {"input": "n 6 4 5", "scale": "1 6 1 1"},
    {"input": "n c 8", "weight": "f c 3", "bias": "f", "scale": "c"},
    {"input": "n t d"},
    {"input": "n d", **GATES},
    {"input": "n t d", **GATES},
)
# Then the single shapes are combined; these come late, for with them more runs by chance: examples in columns, one
# example alone.
LATE = (
    {"input": "d n", "weight": "m d", "bias": "m 1", "scale": "d 1", "target": "d n", "state": "m n"},
    {"input": "d", "weight": "m d", "bias": "m", "target": "d", "state": "m"},
)
EARLY = 300  # combinations before those
LAYERS = ("d", "m", "p", "q", "r")  # the sizes between numbered weights: x: n d, w1: d m, b1: m, w2: m p

# Arguments that are no arrays. Sizes of a layer's constructor are distinct, and none is a size of an input.
LAYER_SIZES = (5, 7, 2, 6, 8)
CONSTANTS: dict[str, Any] = {
    **dict.fromkeys(("eps", "epsilon"), 1e-5),
    **dict.fromkeys(("momentum", "rho"), 0.9),
    **dict.fromkeys(("slope", "negative_slope", "alpha", "lr", "learning_rate", "lambda_", "lam", "reg"), 0.1),
    **dict.fromkeys(("p", "rate", "dropout", "keep_prob", "drop_prob"), 0.5),
    **dict.fromkeys(("stride", "pad", "padding", "dilation", "groups"), 1),
    **dict.fromkeys(("axis", "dim"), -1),
    **dict.fromkeys(("pool", "pool_size", "pool_height", "pool_width"), 2),
    **dict.fromkeys(("kernel_size", "filter_size", "ksize"), 3),
    **dict.fromkeys(("train", "training", "is_training"), True),
    "mode": "train",
    "seed": 0,
    "delta": 1.0,
    "conv_param": {"stride": 1, "pad": 1},
    "pool_param": {"pool_height": 2, "pool_width": 2, "stride": 2},
    "bn_param": {"mode": "train"},
    "ln_param": {},
    "gn_param": {},
}
# As an argument of a function these may be arrays; of a constructor they are numbers.
KEPT_BY_FUNCTIONS = ("p", "pool", "alpha")


@dataclass
class Prepared:
    """What :func:`chainrule.check.diagnose` is called with.

    Attributes:
        target: the thing; an object where the item was a class.
        shapes: of its inputs, as text; None where ``inputs`` draws them all by itself.
        inputs: a factory of inputs; None where ``shapes`` is enough.
        guessed: were the shapes guessed?
    """

    target: Any
    shapes: str | None = None
    inputs: Callable | None = None
    guessed: bool = False


def prepared(item: Item, shapes: str | None = None) -> Prepared:
    """The inputs as given, or else as the author declared them, or else guessed.

    Raises:
        Unusable: a class could not be made into an object, or forward runs with no shapes that were tried.
    """
    target = made(item.target) if item.make else item.target
    if shapes is None and item.inputs is not None:
        return Prepared(target, inputs=item.inputs)
    if shapes is None and item.shapes is None:
        return Prepared(target) if isinstance(target, Op) else guess(target, item.name)
    return Prepared(target, shapes or item.shapes)


def made(kind: type) -> Any:
    """An object of a class: constructor arguments without a default are sizes, or what their names say.

    Raises:
        Unusable: its constructor wants something else.

    >>> class Linear:
    ...     def __init__(self, n_in, n_out):
    ...         self.W = np.ones((n_in, n_out))
    >>> made(Linear).W.shape
    (5, 7)
    """
    sizes = iter(LAYER_SIZES)
    wanted = [
        p
        for p in inspect.signature(kind).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    arguments = {p.name: _constructed(p.name, sizes) for p in wanted}
    try:
        positional = [arguments[p.name] for p in wanted if p.kind is not p.KEYWORD_ONLY]
        return kind(*positional, **{p.name: arguments[p.name] for p in wanted if p.kind is p.KEYWORD_ONLY})
    except Exception as error:
        call = f"{kind.__name__}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"
        raise Unusable(
            "forward",
            f"{call} raises {type(error).__name__}: {error}; make an object in the file, "
            f"such as layer = {kind.__name__}(...), and check that",
        ) from error


def _constructed(name: str, sizes: Iterator[int]) -> Any:
    if name in ("rng", "generator", "random_state"):
        return np.random.default_rng(0)
    return CONSTANTS[name] if name in CONSTANTS else next(sizes, 9)


def guess(target: Any, name: str) -> Prepared:
    """Shapes with which forward runs, at two sets of sizes, and gives finite numbers.

    The first that do are taken; of those that differ in the layout only, the first for which backward returns gradients
    in the shapes of the inputs.

    Raises:
        Unusable: forward runs with none; its error at the most plausible ones.

    >>> def linear(x, w, b):
    ...     return x @ w.T + b, lambda gy: (gy @ w, gy.T @ x, gy.sum(0))
    >>> guess(linear, "linear").shapes
    'x: n d, w: m d, b: m'
    """
    checked = as_target(target, name=name)
    trial = _Trial(checked, {n: CONSTANTS[n] for n in _required(checked) if _is_constant(n)})
    wanted = [n for n in _required(checked) if n not in trial.constants]
    feasible: list[str] = []
    end = time.monotonic() + SECONDS
    for shapes in _plausible(wanted, checked):
        if time.monotonic() > end or len(feasible) == FEASIBLE:
            break
        if trial.runs(shapes):
            feasible.append(shapes)
            if trial.comparable(shapes, feasible[0]) and trial.consistent(shapes):
                return trial.prepared(target, shapes)
    if not feasible:
        hint = ", ".join(f"{argument}: ..." for argument in wanted)
        message = f'forward ran with no input shapes that were tried, pass them: --shapes "{hint}"; {trial.first_error}'
        raise Unusable("forward", message, trial.error.where if trial.error else "")
    return trial.prepared(target, feasible[0])


# -------------------------------------------------------------------------------------------------------- candidates


def _required(target: Target) -> list[str]:
    """The arguments of forward that have no default, or None, which may stand for an array."""
    forward = target.code.get("forward")
    known = inspect.signature(forward).parameters if forward else {}
    return [n for n in target.arguments if n not in known or known[n].default in (inspect.Parameter.empty, None)]


def _is_constant(name: str) -> bool:
    return name in CONSTANTS and name not in KEPT_BY_FUNCTIONS


def _plausible(names: Sequence[str], target: Target) -> Iterator[str]:
    """Shapes for all arguments, as text, the most plausible first."""
    sizes = sorted({size for x in target.parameters.values() for size in x.shape if size > 1})
    own = [shape for size in sizes for shape in (f"n {size}", f"n {size} 4 6", f"n t {size}")]
    kinds = _kinds(names)
    candidates = [list(dict.fromkeys((*own, *_candidates(name, kinds[name], name == names[0])))) for name in names]
    ranked = (
        [c[rank] for c, rank in zip(candidates, ranks, strict=True)] for ranks in _ranked([len(c) for c in candidates])
    )

    def themed(themes: Sequence[Mapping[str, str]]) -> Iterator[list[str]]:
        for theme in themes:
            yield [theme.get(kinds[name], c[0]) for name, c in zip(names, candidates, strict=True)]

    products = themed(LATE) if names and kinds[names[0]] == "weight" else ()  # W x + b, with columns
    ordered = (
        products,
        themed(THEMES),
        itertools.islice(ranked, EARLY),
        themed(LATE),
        itertools.islice(ranked, TRIALS),
    )
    tried = set()
    for shapes in itertools.chain.from_iterable(ordered):
        text = ", ".join(f"{name}: {shape}".strip() for name, shape in zip(names, shapes, strict=True))
        if text not in tried:
            tried.add(text)
            yield text


def _kinds(names: Sequence[str]) -> dict[str, str]:
    """What each argument is. Some names mean something only beside others."""
    kinds = {name: _kind(name) for name in names}
    present = set(kinds.values())
    for name, kind in kinds.items():
        lone = kind in ("query", "key", "value") and not {"query", "key", "value"} <= present
        pair = any(name in both and both <= set(names) for both in ({"a", "b"}, {"A", "B"}))
        cell = name.lower() == "c" and list(kinds.values()).count("state") > 1
        if lone or pair or (name.lower() == "c" and not cell):
            kinds[name] = "unknown"
        elif kind == "recurrent" and "state" not in present:
            kinds[name] = "weight"
    first = names[0] if names else ""
    if kinds.get(first) in ("unknown", "bias", "scale", "target", "state", "mask"):
        kinds[first] = "input"
    return kinds


def _kind(name: str) -> str:
    word = re.sub(r"[_\d]", "", name.lower())
    if name in ("A", "T"):
        return {"A": "weight", "T": "scalar"}[name]
    return next((kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, word)), "unknown")


def _candidates(name: str, kind: str, first: bool) -> tuple[str, ...]:
    """Shapes that an argument may have, the most plausible first; those of numbered layers fit onto each other."""
    digits = re.findall(r"\d+", name)
    layer = int(digits[0]) if digits else 0
    if 0 < layer < len(LAYERS) and kind in ("weight", "bias"):
        before, after = LAYERS[layer - 1], LAYERS[layer]
        return (f"{before} {after}", f"{after} {before}") if kind == "weight" else (after, f"1 {after}")
    return SHAPES[kind] if first or kind in NARROW else (*SHAPES[kind], *ANY)


def _ranked(lengths: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """All choices of one rank below each length, by increasing sum.

    >>> list(_ranked([2, 2]))
    [(0, 0), (0, 1), (1, 0), (1, 1)]
    """
    for total in range(sum(lengths) - len(lengths) + 1):
        yield from _ranks(lengths, total)


def _ranks(lengths: Sequence[int], total: int) -> Iterator[tuple[int, ...]]:
    if not lengths:
        if total == 0:
            yield ()
        return
    for rank in range(min(lengths[0] - 1, total) + 1):
        for rest in _ranks(lengths[1:], total - rank):
            yield (rank, *rest)


# ------------------------------------------------------------------------------------------------------------- trials


class _Trial:
    """Runs a target with inputs of guessed shapes; keeps the first error, that of the most plausible ones."""

    def __init__(self, target: Target, constants: dict[str, Any]):
        self.target, self.constants = target, constants
        self.prober = Prober(target, seed=0)
        self.error: Unusable | None = None
        self.first_error = "it gives no finite numbers"
        self.sampler: dict[str, Callable] = {}

    def runs(self, shapes: str) -> bool:
        """Does forward run at two sets of sizes, with finite numbers?

        Raises:
            Unusable: it raised what other shapes do not mend.
        """
        for sampler in (normal, positive):
            try:
                outputs = [self.prober.forward(self.values(shapes, sizes, sampler))[0] for sizes in SIZES[:2]]
            except Unusable as error:
                if isinstance(error.error, HOPELESS):
                    raise
                if self.error is None:
                    self.error, self.first_error = error, f"with {shapes} it says: {error}"
                return False
            if all(np.all(np.isfinite(y)) and y.size for part in outputs for y in part):
                self.sampler[shapes] = sampler
                return True
        return False

    def comparable(self, shapes: str, first: str) -> bool:
        """May these shapes take the place of the first, if backward returns gradients in these?

        Not where something is shared by all examples: with a bias for each of them, or with a single example, a sum
        that backward lacks would not be missed. And labels do not take the place of numbers.
        """
        these, those = parse(shapes), parse(first)
        kinds = _kinds([part.name or "" for part in these])
        products = kinds.get(these[0].name or "") == "weight"  # W x: columns, or one example alone; x shows which
        shared = self.target.parameters or not SHARED.isdisjoint(kinds.values())
        alike = [("n" in a.axes) == ("n" in b.axes) for a, b in zip(these, those, strict=True)]
        numbers = [a.classes == b.classes for a, b in zip(these, those, strict=True)]
        return all(numbers) and (products or not shared or all(alike))

    def consistent(self, shapes: str) -> bool:
        """Does backward run, and return gradients in the shapes of the inputs?"""
        values = self.values(shapes, SIZES[0], self.sampler[shapes])
        try:
            y, single = self.prober.forward(values)
            found = self.prober.gradients(values, [np.ones(part.shape) for part in y], single)
        except Unusable:
            return False
        return all(g is None or np.shape(g) == np.shape(values[name]) for name, g in found.items() if name in values)

    def values(self, shapes: str, sizes: Sequence[int], sampler: Callable) -> dict[str, Any]:
        """Inputs of these shapes, the constants, and the parameters as they are."""
        return {**self.draw(shapes, np.random.default_rng(0), sizes, sampler), **self.target.parameters}

    def draw(self, shapes: str, rng: np.random.Generator, sizes: Sequence[int], sampler: Callable) -> dict[str, Any]:
        """The inputs by name, in the order of forward's arguments."""
        parts = parse(shapes)
        named = {p.name: x for p, x in zip(parts, draw(parts, rng, sizes, sampler), strict=True)} | self.constants
        return {name: named[name] for name in self.target.arguments if name in named}

    def prepared(self, target: Any, shapes: str) -> Prepared:
        """These shapes for a diagnosis; where there are constants beside them, a factory draws both."""
        if not self.constants:
            return Prepared(target, shapes, guessed=True)
        return Prepared(
            target,
            shapes,
            lambda rng: self.draw(shapes, rng, SIZES[rng.integers(2)], self.sampler[shapes]),
            guessed=True,
        )
