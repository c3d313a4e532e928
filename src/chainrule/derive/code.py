"""Gradients as code: a NumPy pair of forward and backward, a coursework module, a torch.autograd.Function."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chainrule.derive.calculus import Gradient
from chainrule.derive.evaluate import UNKNOWN
from chainrule.derive.indices import Symbol
from chainrule.derive.language import Program
from chainrule.derive.matrix import NUMPY, TORCH, Coder, Dialect, recognised
from chainrule.errors import UsageError

TAKEN = '''
def taken(array, axis, index):
    """The entries of an array along an axis at these places, 0 where there is none."""
    size = array.shape[axis]
    found = np.take(array, np.clip(index, 0, size - 1), axis)
    inside = (index >= 0) & (index < size)
    return np.where(inside.reshape(inside.shape + (1,) * (array.ndim - axis - 1)), found, OUTSIDE)
'''
TAKEN_TORCH = '''
def taken(array, axis, index):
    """The entries of an array along an axis at these places, 0 where there is none."""
    size = array.shape[axis]
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    found = array.index_select(axis, index.clamp(0, size - 1).flatten()).reshape(before + index.shape + after)
    inside = (index >= 0) & (index < size)
    return torch.where(inside.reshape(inside.shape + (1,) * len(after)), found, OUTSIDE)
'''
WITHIN = '''
def within(index, size):
    """1 where an index is one of an axis of this size, else 0."""
    return (index >= 0) & (index < size)
'''
ERF = """
erf = np.vectorize(math.erf, otypes=[float])
"""
PARAMETER = re.compile(r"(w|u|b|c|weight|bias|gamma|beta|theta|W|U|V|B)\d*")
RESERVED = {"np", "torch", "math", "taken", "within", "erf", "self", "ctx", "cache", "dout"}


@dataclass
class Body:
    """The lines of both directions, and what they need from outside.

    Attributes:
        forward: lines that compute the output.
        backward: lines that compute the gradients.
        saved: names that forward hands to backward.
        needs: helper functions.
    """

    forward: list[str]
    backward: list[str]
    saved: list[str]
    needs: dict[str, None]
    extremes: bool


@dataclass
class Source:
    """What the code is made of.

    Attributes:
        program: the lines.
        gradients: those of cuts first, in the order in which they are used, all with the incoming gradient as a factor.
        outputs: sizes of the output that are not those of an input, in Python.
        title: what it is, for a docstring.
        name: of functions and, capitalised, of classes.
    """

    program: Program
    gradients: Sequence[Gradient]
    title: str
    name: str
    outputs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Find names that do not clash."""
        program = self.program
        self.shapes = {**program.shapes, **{s.name: s.shape for s in program.statements}}
        symbols = {size.name for shape in self.shapes.values() for size in shape if isinstance(size, Symbol)}
        self.sizes = {name: f"{name}_size" for name in symbols - program.symbols.keys() if name in self.shapes}
        unknown = [name for s in program.statements for name in UNKNOWN if f"Fn(name='{name}'" in repr(s.body)]
        if unknown:
            raise UsageError(f"there is no code for {unknown[0]}(x), a function that is not given; name a known one")

    def body(self, dialect: Dialect, incoming: str) -> Body:
        """Forward and backward in one dialect."""
        coder = Coder(self.shapes, self.sizes, {self.program.output.name: incoming}, dialect)
        coder.like = self.inputs[0]
        for s in self.program.statements:
            coder.lines.append(f"{s.name} = {coder.code(recognised(s.body, s.at), s.at, s.shape)}")
        forward, coder.lines = coder.lines, []
        forward = [*self._size_lines(coder.used, self.program.shapes), *forward]
        coder.used, coder.read, coder.like = {}, {}, incoming
        for g in self.gradients:
            at = g.entry.at
            coder.lines.append(f"g{g.name} = {coder.code(recognised(g.value, at), at, g.shape)}")  # type: ignore[arg-type]
        backward, used = coder.lines, coder.used
        read = [name for name in self.shapes if name in coder.read]
        sizes = {n: None for n in used if n not in self.program.symbols}
        shaped = {name: self.shapes[name] for name in self.program.shapes}
        saved = [*read, *(n for n in self.program.symbols if n in self._closure(used))]
        from_saved = {name: shape for name, shape in self.shapes.items() if name in read}
        missing = [
            n
            for n in self._closure(sizes)
            if n not in self._known(from_saved) and n not in self.outputs and n not in self.program.symbols
        ]
        for name in missing:
            owner = next((key for key, shape in shaped.items() if Symbol(name) in shape), None)
            if owner is not None and owner not in saved:
                saved.insert(0, owner)
                from_saved[owner] = shaped[owner]
        backward = [*self._size_lines(used, from_saved), *backward]
        extremes = any(".max(" in line or ".amax(" in line for line in forward)
        return Body(forward, backward, saved, coder.needs, extremes)

    def _known(self, shapes: Mapping[str, Sequence]) -> set[str]:
        return {size.name for shape in shapes.values() for size in shape if isinstance(size, Symbol)}

    def _closure(self, used: Iterable[str]) -> dict[str, None]:
        """Sizes with those that they are computed from."""
        found = dict.fromkeys(used)
        for name in list(found):
            if name in self.outputs:
                found |= dict.fromkeys(w for w in re.findall(r"[A-Za-z_]\w*", self.outputs[name]))
        return found

    def _size_lines(self, used: Iterable[str], shapes: Mapping[str, Sequence]) -> list[str]:
        """Lines that find out the sizes that are used."""
        wanted = [name for name in self._closure(used) if name not in self.program.symbols]
        lines: list[str] = []
        for array, shape in shapes.items():
            own = [size.name if isinstance(size, Symbol) else None for size in shape]
            new = [name for name in dict.fromkeys(own) if name in wanted]
            if not new or (len(new) < len(own) and not set(new) - self._found(lines)):
                continue
            new = [name for name in new if name not in self._found(lines)]
            if not new:
                continue
            if len(new) > 1 and len(set(own)) == len(own):
                names = (self.sizes.get(n, n) if n in new else "_" for n in own)
                lines.append(f"{', '.join(names)} = {array}.shape")
            else:
                lines += [f"{self.sizes.get(n, n)} = {array}.shape[{own.index(n)}]" for n in new]
        known = self._found(lines)
        for name in wanted:
            if name in self.outputs and self.sizes.get(name, name) not in known:
                text = re.sub(r"[A-Za-z_]\w*", lambda m: self.sizes.get(m[0], m[0]), self.outputs[name])
                lines.append(f"{self.sizes.get(name, name)} = {text}")
        return lines

    def _found(self, lines: Iterable[str]) -> set[str]:
        back = {code: name for name, code in self.sizes.items()}
        return {back.get(n.strip(), n.strip()) for line in lines for n in line.partition(" =")[0].split(",")}

    # -------------------------------------------------------------------------------------------------- whole programs

    @property
    def inputs(self) -> list[str]:
        """The arguments of forward."""
        return list(self.program.shapes)

    def _settings(self) -> str:
        return "".join(f", {name}={_number(value)}" for name, value in self.program.symbols.items())

    def _returned(self, inputs: Iterable[str]) -> str:
        found = {g.name for g in self.gradients}
        return ", ".join(f"g{name}" if name in found else "None" for name in inputs)

    def _incoming(self) -> str:
        inner = {f"g{g.name}" for g in self.gradients}
        return "gy" if "gy" not in inner else f"g{self.program.output.name}"

    def _head(self, body: Body, library: str, dialect: Dialect) -> str:
        spelled = "erf" in body.needs or any("math." in line for line in (*body.forward, *body.backward))
        maths = "import math\n\n" if spelled else ""
        helpers = ""
        if "taken" in body.needs:
            outside = f"-{dialect.module}.inf" if body.extremes else "0"
            text = TAKEN if dialect is NUMPY else TAKEN_TORCH
            helpers += "\n" + text.replace("OUTSIDE", outside).replace(
                "0 where there is none", f"{outside.replace('np.', '').replace('torch.', '')} where there is none"
            )
        helpers += "\n" + WITHIN if "within" in body.needs else ""
        helpers += ERF if "erf" in body.needs else ""
        return f'"""{self.title}"""\n\n{maths}{library}\n{helpers}'

    def numpy(self) -> str:
        """A pair of functions."""
        body = self.body(NUMPY, self._incoming())
        saved = ", ".join(body.saved) + ("," if len(body.saved) == 1 else "")
        unpacked = [f"{saved} = cache" if len(body.saved) > 1 else f"({saved}) = cache"] if body.saved else []
        return (
            self._head(body, "import numpy as np", NUMPY)
            + f"\n\ndef {self.name}_forward({', '.join(self.inputs)}{self._settings()}):\n"
            + _indented([*body.forward, f"return {self.program.output.name}, ({saved})"])
            + f"\n\ndef {self.name}_backward({self._incoming()}, cache):\n"
            + _indented([*unpacked, *body.backward, f"return {self._returned(self.inputs)}"])
            + f"\n\n{self.name}_forward.shapes = {self._shapes()}  # for chainrule check\n"
        )

    def parameters(self) -> list[str]:
        """Inputs that a module keeps: weights and biases."""
        inputs = [name for name in self.inputs if name not in self.program.constants]
        return [name for name in inputs[1:] if PARAMETER.fullmatch(name) and inputs[0] != "a"]

    def module(self) -> str:
        """A coursework module: forward(x), backward(dout), params and grads."""
        body = self.body(NUMPY, "dout")
        kept = self.parameters()
        given = [name for name in self.inputs if name not in kept]
        settings = list(self.program.symbols)
        unpacked = [f"{name} = self.params[{_quoted(name)}]" for name in kept] + [
            f"{name} = self.{name}" for name in settings
        ]
        sizes = list(dict.fromkeys(size.name for n in kept for size in self.shapes[n] if isinstance(size, Symbol)))
        random = any(len(self.shapes[name]) > 1 for name in kept)
        start = ["rng = rng or np.random.default_rng()"] if random else []
        start += [
            f"self.params = {{{', '.join(f'{_quoted(n)}: {self._initial(n)}' for n in kept)}}}",
            "self.grads = {}",
        ]
        start = (start if kept else []) + [f"self.{name} = {name}" for name in settings]
        arguments = "".join(f", {self.sizes.get(n, n)}" for n in sizes) + ", rng=None" * random + self._settings()
        saved = ", ".join(body.saved) + ("," if len(body.saved) == 1 else "")
        restored = [f"{saved} = self.cache" if len(body.saved) > 1 else f"({saved}) = self.cache"] if body.saved else []
        stored = [f"self.grads[{_quoted(name)}] = g{name}" for name in kept]
        constructor = f"\n    def __init__(self{arguments}):\n" + _indented(start, 2)
        gradients = [name for name in given if name not in self.program.constants]
        return (
            self._head(body, "import numpy as np", NUMPY)
            + f'\n\nclass {_capitalised(self.name)}:\n    """{self.title}"""\n'
            + (constructor if start else "")
            + f"\n    def forward(self, {', '.join(given)}):\n"
            + _indented([*unpacked, *body.forward, f"self.cache = ({saved})", f"return {self.program.output.name}"], 2)
            + "\n    def backward(self, dout):\n"
            + _indented([*restored, *body.backward, *stored, f"return {self._returned(gradients)}"], 2)
        )

    def _initial(self, name: str) -> str:
        """Small random numbers for matrices, ones for scales, zeros for biases."""
        sizes = [self.sizes.get(s.name, s.name) if isinstance(s, Symbol) else str(s.value) for s in self.shapes[name]]  # type: ignore[union-attr]
        if len(sizes) > 1:
            return f"0.01 * rng.standard_normal(({', '.join(sizes)}))"
        kind = "ones" if name.startswith("gamma") else "zeros"
        return f"np.{kind}({sizes[0] if sizes else '()'})"

    def _shapes(self) -> str:
        """The inputs' shapes as ``chainrule check`` reads them."""
        parts = []
        for name, shape in self.program.shapes.items():
            sizes = [s.name if isinstance(s, Symbol) else str(s.value) for s in shape]  # type: ignore[union-attr]
            parts.append(f"{name}: {' '.join(sizes)}".rstrip())
        return '"' + ", ".join(parts) + '"'

    def torch(self) -> str:
        """A torch.autograd.Function."""
        body = self.body(TORCH, self._incoming())
        arrays = [name for name in body.saved if name not in self.program.symbols]
        settings = [name for name in body.saved if name in self.program.symbols]
        save = [f"ctx.save_for_backward({', '.join(arrays)})"] if arrays else []
        save += [f"ctx.{name} = {name}" for name in settings]
        restore = [f"{', '.join(arrays)}{',' if len(arrays) == 1 else ''} = ctx.saved_tensors"] if arrays else []
        if len(arrays) == 1:
            restore = [f"({arrays[0]},) = ctx.saved_tensors"]
        restore += [f"{name} = ctx.{name}" for name in settings]
        nothing = "".join(", None" for _ in self.program.symbols)
        return (
            self._head(body, "import torch", TORCH)
            + f'\n\nclass {_capitalised(self.name)}(torch.autograd.Function):\n    """{self.title}"""\n'
            + f"\n    shapes = {self._shapes()}  # for chainrule check\n"
            + f"\n    @staticmethod\n    def forward(ctx, {', '.join(self.inputs)}{self._settings()}):\n"
            + _indented([*body.forward, *save, f"return {self.program.output.name}"], 2)
            + f"\n    @staticmethod\n    def backward(ctx, {self._incoming()}):\n"
            + _indented([*restore, *body.backward, f"return {self._returned(self.inputs)}{nothing}"], 2)
        )


def _indented(lines: Iterable[str], depth: int = 1) -> str:
    return "".join(f"{'    ' * depth}{line}\n" for line in lines)


def _capitalised(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _quoted(name: str) -> str:
    return f'"{name}"'


def _number(value: float) -> str:
    return f"{value!r}"
