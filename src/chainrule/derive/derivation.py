"""A derivation: what :func:`derive` returns, and how it is written."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chainrule.derive import documents
from chainrule.derive.calculus import Calculus, Chain, Gradient
from chainrule.derive.code import Source
from chainrule.derive.definitions import ALIASES, DEFINITIONS, WITHOUT, Definition, definition_of, program_of
from chainrule.derive.documents import Document, Equations, Paragraph, Row, Title
from chainrule.derive.indices import (
    ONE,
    ZERO,
    Add,
    Delta,
    Entry,
    Expr,
    Index,
    Num,
    Partial,
    Symbol,
    factors_of,
    has,
    mul,
    replaced,
    substitute,
    walk,
)
from chainrule.derive.language import Program, parse, read_shapes
from chainrule.derive.matrix import Axes, MatrixWriter, Node, Product, is_matrix, recognised
from chainrule.derive.notation import LATEX, UNICODE, Unicode, Writer
from chainrule.derive.proof import Prover, Verified
from chainrule.engine import OPS
from chainrule.errors import UsageError


@dataclass
class Derivation:
    """The gradients of an op or of some lines, derived and verified. Made by :func:`derive`.

    Attributes:
        name: the op, or the output of the lines.
        program: what was differentiated.
        gradients: the results, those of what lies between first.
        verified: what they were compared with, and how far apart they were.
        note: what is assumed.
    """

    name: str
    program: Program
    gradients: list[Gradient]
    verified: Verified
    op: str | None = None
    note: str = ""
    _code: Source | None = field(default=None, repr=False)

    # ------------------------------------------------------------------------------------------------------ in print

    def text(self, *, steps: bool = False, width: int = 100) -> str:
        """For a terminal, in Unicode."""
        return documents.as_text(self.document(UNICODE, steps=steps), width)

    def latex(self, *, steps: bool = True) -> str:
        """A LaTeX document that needs amsmath and amssymb."""
        return documents.as_latex(self.document(LATEX, steps=steps))

    def html(self, *, steps: bool = True) -> str:
        """A fragment of HTML with MathML."""
        return documents.as_html(self.document(LATEX, steps=steps))

    def markdown(self, *, steps: bool = True) -> str:
        """Markdown with LaTeX between dollar signs."""
        return documents.as_markdown(self.document(LATEX, steps=steps))

    def json(self) -> dict[str, Any]:
        """For programs: every gradient in matrix and index notation, as LaTeX and as code, with its steps."""
        return {
            "name": self.name,
            "op": self.op,
            "lines": [Row.of(self._statement(s, UNICODE)) for s in self.program.statements],
            "shapes": {name: [_plain(size) for size in shape] for name, shape in self.program.shapes.items()},
            "note": self.note or None,
            "gradients": [self._gradient_json(g) for g in self.gradients],
            "verified": {
                "points": self.verified.points,
                "largest_relative_error": self.verified.error,
                "compared_with": list(self.verified.witnesses),
            },
            "code": self.numpy_code() if self._code else None,
        }

    def _repr_html_(self) -> str:
        return f"<style>{documents.STYLE}</style>{self.html(steps=False)}"

    def _repr_latex_(self) -> str:
        rows = [
            row for item in self.document(LATEX, steps=False).items if isinstance(item, Equations) for row in item.rows
        ]
        lines = r" \\ ".join(f"{row.left} &= {row.right}" for row in rows)
        return rf"$$\begin{{aligned}} {lines} \end{{aligned}}$$"

    # ------------------------------------------------------------------------------------------------------- as code

    def numpy_code(self) -> str:
        """A pair of functions, forward and backward, in NumPy."""
        return self._source().numpy()

    def module_code(self) -> str:
        """A class with ``forward(x)``, ``backward(dout)``, ``params`` and ``grads``, as coursework wants it."""
        return self._source().module()

    def torch_code(self) -> str:
        """A ``torch.autograd.Function``."""
        return self._source().torch()

    def _source(self) -> Source:
        if self._code is None:
            raise UsageError("there is no code for a function that is not given; name a known one in the place of f")
        return self._code

    @property
    def steps(self) -> list[Chain]:
        """Every line of the derivation, in order."""
        return [chain for g in self.gradients for chain in (*g.jacobians, g.chain)]

    def gradient(self, name: str) -> Gradient:
        """The gradient of one input, or of what lies between."""
        return next(g for g in self.gradients if g.name == name)

    # ------------------------------------------------------------------------------------------------------ the parts

    def document(self, style: Unicode, *, steps: bool) -> Document:
        """What is to be written, in a style: the lines, the gradients, the steps, the proof."""
        words: dict[str, None] = {}
        items: list[Title | Paragraph | Equations] = [Title(self.name, 1)]
        items.append(Equations([self._statement(s, style) for s in self.program.statements]))
        items += [Paragraph(line) for line in self._assumptions(style)]
        items.append(Title("Gradients", 2))
        items.append(Equations([row for g in self.gradients for row in self._closed(g, style, words)]))
        if words:
            items.append(Paragraph("; ".join(f"{word}: {MEANING[word]}" for word in words)))
        if steps:
            for g in self.gradients:
                items += self._derived(g, style)
        items.append(Paragraph(self.verified.text, proof=True))
        return Document(items)

    def _assumptions(self, style: Unicode) -> list[str]:
        shapes = ", ".join(f"`{name}`: {_dims(shape)}" for name, shape in self.program.shapes.items())
        output = self.program.output
        incoming = f"¯`{output.name}` is the gradient of the loss with respect to `{output.name}`"
        if not output.at:
            incoming = f"`{output.name}` is the loss itself, so its own gradient is 1"
        lines = [f"Shapes: {shapes}. A bar marks a gradient, which has the shape of its variable; {incoming}."]
        facts = [f"the rows of `{name}` sum to 1" for name in sorted(self.program.one_hot)] if not self.op else []
        for note in (self.note, *facts):
            if note:
                lines.append(f"Assumed: {note}.")
        return lines

    def _statement(self, s: Any, style: Unicode) -> Row:
        writer = Writer(style, s.at)
        node = recognised(s.body, s.at)
        whole = MatrixWriter(style, s.at).text(node) if is_matrix(node) else ""
        return Row(writer.text(s.entry), writer.text(s.body), also=f"{style.name(s.name)} = {whole}" if whole else "")

    def _writer(self, g: Gradient, style: Unicode) -> Writer:
        """With the letters of a final formula: i, j, ... or those of the sizes."""
        free = _free(g.entry)
        if self.program.indexed and len(self.program.output.at) > 2:
            letters = [k.letter.rstrip("′") for k in free]
        else:
            letters = list(self.program.letters(g.shape))
        return Writer(style, free, dict(zip(free, letters, strict=False)))

    def _closed(self, g: Gradient, style: Unicode, words: dict[str, None]) -> list[Row]:
        writer = self._writer(g, style)
        left, right = writer.text(g.entry), writer.text(g.value)
        node = self._node(g)
        if node is None:
            return [Row(left, right, shape=_dims(g.shape))]
        written = MatrixWriter(style, _free(g.entry))
        whole = Row(style.name(g.name, True), written.text(node), shape=_dims(g.shape))
        whole.also = f"{left} = {right}" if g.entry.at else ""
        words |= written.words
        return [whole]

    def _node(self, g: Gradient) -> Node | None:
        node = recognised(g.value, _free(g.entry))
        return node if is_matrix(node) else None

    def matrix(self, g: Gradient, style: Unicode = UNICODE) -> str | None:
        """A gradient in matrix notation, where there is one.

        >>> d = derive("y = x @ w + b", shapes="x: n d, w: d m, b: m")
        >>> d.matrix(d.gradient("w"))
        'xᵀ ȳ'
        """
        node = self._node(g)
        return None if node is None else MatrixWriter(style, _free(g.entry)).text(node)

    def _derived(self, g: Gradient, style: Unicode) -> list[Title | Paragraph | Equations]:
        """The steps of one gradient."""
        items: list[Title | Paragraph | Equations] = [Title(f"The gradient of `{g.name}`", 2)]
        for chain in g.jacobians:
            items.append(Equations(self._rows(chain, style)))
            items += self._cases(chain, style)
        rows = self._rows(g.chain, style)
        node = self._node(g)
        if node is not None and g.entry.at:
            written = MatrixWriter(style, _free(g.entry))
            rows.append(Row(style.name(g.name, True), written.text(node), _recognised_as(node)))
        items.append(Equations(rows))
        return items

    def _rows(self, chain: Chain, style: Unicode) -> list[Row]:
        free = [*_free(chain.left.of), *_free(chain.left.by)] if isinstance(chain.left, Partial) else _free(chain.left)  # type: ignore[arg-type]
        writer = Writer(style, free)
        left = writer.text(chain.left)
        return [Row("" if k else left, writer.text(line.right), line.why) for k, line in enumerate(chain.lines)]

    def _cases(self, chain: Chain, style: Unicode) -> list[Equations]:
        """Where a derivative has a term for equal indices only: the two cases."""
        found = split_cases(chain.result)
        if found is None or not isinstance(chain.left, Partial):
            return []
        (left, right), equal, other = found
        free = [*_free(chain.left.of), *_free(chain.left.by)]
        writer = Writer(style, free)
        i, p = writer.text(left), writer.text(right)
        rest = [f for f in factors_of(chain.result) if isinstance(f, Delta)]
        given = "".join(f", {writer.text(d.left)} = {writer.text(d.right)}" for d in rest)
        equals, differs = (f"{i} {sign} {p}{given}" for sign in (("=", "≠") if style is UNICODE else ("=", r"\ne")))
        return [
            Equations(
                [
                    Row("", writer.text(equal), f"for {_math(equals, style)}"),
                    Row("", writer.text(other), f"for {_math(differs, style)}"),
                ],
                cases=True,
            )
        ]

    def _gradient_json(self, g: Gradient) -> dict[str, Any]:
        writer, tex = self._writer(g, UNICODE), self._writer(g, LATEX)
        node = self._node(g)
        return {
            "of": g.name,
            "input": g.name in self.program.shapes,
            "shape": [_plain(size) for size in g.shape],
            "matrix": self.matrix(g),
            "index": f"{writer.text(g.entry)} = {writer.text(g.value)}",
            "latex": f"{tex.text(g.entry)} = {tex.text(g.value)}"
            if node is None
            else f"{LATEX.name(g.name, True)} = {self.matrix(g, LATEX)}",
            "steps": [
                {"left": rows[0].left, "lines": [{"right": row.right, "why": documents.plain(row.why)} for row in rows]}
                for rows in (self._rows(chain, UNICODE) for chain in (*g.jacobians, g.chain))
            ],
        }


MEANING = {
    "rowsum": "the sum of every row",
    "colsum": "the sum of every column",
    "rowmax": "the largest of every row",
    "colmax": "the largest of every column",
    "sum": "the sum of all entries",
    "max": "the largest entry",
}


def split_cases(x: Expr) -> tuple[tuple[Expr, Expr], Expr, Expr] | None:
    """An expression with a delta among its terms, for equal indices and for others; None if there is no such delta.

    Deltas that are factors of the whole are left out: elsewhere it is 0.
    """
    inner = mul(*[f for f in factors_of(x) if not isinstance(f, Delta)])
    sums = [f for f in factors_of(inner) if isinstance(f, Add) and has(f, Delta)]
    deltas = {d for f in sums for d in walk(f) if isinstance(d, Delta)}
    if len(deltas) != 1:
        return None
    (d,) = deltas
    if not (isinstance(d.left, Index) and isinstance(d.right, Index)):
        return None
    equal = substitute(replaced(inner, {d: ONE}), {d.right: d.left})
    return (d.left, d.right), equal, replaced(inner, {d: ZERO})


def derive(what: str, shapes: str | None = None) -> Derivation:
    """Derive the gradients of an op, or of lines of Python.

    Args:
        what: the name of an op, such as ``"softmax"``; or lines such as ``"y = x @ w + b"``, with NumPy's names.
        shapes: for lines, the sizes of every input, as in ``"x: n d, w: d m, b: m"``; ``const`` after them marks an
            input that wants no gradient, ``one-hot`` a target whose rows sum to 1.

    Raises:
        UserError: the lines are not understood, there is no derivation for the op, or the result is not verified.

    >>> d = derive("softmax")
    >>> d.matrix(d.gradient("x"))
    'y ⊙ (ȳ − rowsum(ȳ ⊙ y))'
    """
    name = what.strip().replace("-", "_")
    if re.fullmatch(r"\w+", name) and shapes is None:
        return _of_op(ALIASES.get(name, name))
    program = Program()
    read_shapes(shapes or "", program)
    parse(what, program)
    return _derived(program, program.output.name, None, None)


def _of_op(name: str) -> Derivation:
    if name in WITHOUT:
        raise UsageError(f"there is no derivation for {name}: {WITHOUT[name]}")
    definition = definition_of(name)
    if definition is None and name in OPS:
        raise UsageError(
            f"there is no derivation for {name}: write its lines, or its definition in derive/definitions.py"
        )
    if definition is None:
        near = difflib.get_close_matches(name, [*DEFINITIONS, *ALIASES, *WITHOUT], n=3, cutoff=0.5)
        hint = f"the nearest: {', '.join(near)}" if near else "expected an op or a line such as 'y = x @ w + b'"
        raise UsageError(f"no such op {name}, {hint}")
    return _derived(program_of(definition), name, name, definition)


def _derived(program: Program, name: str, op: str | None, definition: Definition | None) -> Derivation:
    gradients = Calculus(program).gradients()
    if not gradients:
        raise UsageError("there is no input with a gradient: give the shapes of the inputs (--shapes 'x: n d')")
    with_incoming = gradients if program.output.at else Calculus(program, seed=False).gradients()
    title = f"{name}: the forward pass and its gradients, derived."
    try:
        code = Source(
            program,
            with_incoming,
            title[0].upper() + title[1:],
            _identifier(name),
            definition.sizes if definition else {},
        )
    except UsageError:
        code = None
    proof = Prover(program, gradients, code, op, definition).verified()
    return Derivation(name, program, gradients, proof, op, definition.note if definition else "", code)


def _identifier(name: str) -> str:
    return name if name.isidentifier() else "derived"


def _free(entry: Entry) -> Axes:
    return tuple(k for k in entry.at if isinstance(k, Index))


def _plain(size: Expr) -> str | int:
    return size.name if isinstance(size, Symbol) else int(size.value) if isinstance(size, Num) else "?"


def _dims(shape: Sequence[Expr]) -> str:
    return " × ".join(str(_plain(size)) for size in shape) or "a number"


def _math(text: str, style: Unicode) -> str:
    return text if style is UNICODE else f"${text}$"


def _recognised_as(node: Node) -> str:
    kinds = {type(part) for part in _nodes(node)}
    return "as matrices: a sum over a shared index is a product" if Product in kinds else "for all entries at once"


def _nodes(node: Any) -> list[Any]:
    found = [node]
    for name in ("terms", "above", "below", "left", "right", "arg", "base", "parts"):
        part = getattr(node, name, None)
        parts = part if isinstance(part, tuple) else (part,)
        for each in parts:
            each = each[1] if isinstance(each, tuple) else each
            if each is not None and hasattr(each, "axes"):
                found += _nodes(each)
    return found
