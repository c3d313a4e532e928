"""One op as a page: what its docstring says, its derivation, the code of its rule, an example, the known mistakes."""

import ast
import functools
import inspect
import re
from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np
from house_style import prose, rst
from planted.ops import op_mistakes, source

from chainrule.check import CAUSES, draw
from chainrule.derive import derive
from chainrule.docstrings import summary
from chainrule.engine import Op, Tensor
from chainrule.errors import UsageError
from chainrule.explain import explain
from chainrule.explain.page import page as explain_page

SHAPES = "A letter is a size, wherever it stands; ``...`` are leading axes, which broadcast; ``_`` is any shape."
EXAMPLES = 3  # of a cause, at most


def contents(ops: Iterable[Op]) -> str:
    """All ops, module by module."""
    lines = [*title("Ops"), "Every operation is one function that carries its own derivative.", ""]
    for module, members in groupby(ops, key=lambda op: op.__module__):
        names = list(members)
        lines += [
            *title(module.rpartition(".")[2].capitalize(), "-"),
            (inspect.getmodule(names[0].rule).__doc__ or "").split("\n")[0],
            "",
        ]
        lines += [".. list-table::", "   :widths: 25 30 45", ""]
        for op in names:
            lines += [f"   * - :doc:`{op.name}`", f"     - ``{op.signature.text}``", f"     - {summary(op)}"]
        lines += ["", ".. toctree::", "   :hidden:", "", *[f"   {op.name}" for op in names], ""]
    return "\n".join(lines)


def page(op: Op) -> str:
    """The page of one op."""
    lines = [*title(op.name), f".. py:function:: {op.__module__}.{op.name}{inspect.signature(op.rule)}", ""]
    lines += [f"   {line}" if line else "" for line in rst(op.__doc__ or "")]
    lines += ["", *title("Shapes", "-"), f"``{op.signature.text}``", "", SHAPES, ""]
    lines += [*title("Derived step by step", "-"), *derived(op)]
    lines += [*title("An example with its numbers", "-"), *framed(op)]
    lines += [*title("The rule", "-"), *code(source(op))]
    lines += [*title("Mistakes that the checker names here", "-"), *mistakes(op)]
    return "\n".join(lines)


def derived(op: Op) -> Iterator[str]:
    """What ``chainrule derive`` writes, which it has verified; or why there is nothing to derive."""
    try:
        found = derive(op.name)
    except UsageError as error:
        reason = str(error).partition(": ")[2]
        yield f"There is no derivation: {prose(reason)}."
        return
    yield f"``chainrule derive {op.name} --steps``, in index notation, from the op's definition and not from its rule:"
    yield ""
    yield ".. raw:: html"
    yield ""
    yield from (f"   {line}" for line in inner(found.html(steps=True)).splitlines())
    yield ""


def inner(fragment: str) -> str:
    """Without the name of the op, which stands above."""
    return re.sub(r"<h2>.*?</h2>\n?", "", fragment, count=1)


def framed(op: Op) -> Iterator[str]:
    """The page that :func:`explained` makes, in a frame."""
    if explained(op) is None:
        yield "It has no input with a gradient."
        return
    yield "Forward and backward on small random numbers; the arrow keys step through, a box opens on a click."
    yield ""
    yield ".. raw:: html"
    yield ""
    source = f"../explained/{op.name}.html"
    yield f'   <iframe class="explained" src="{source}" loading="lazy" title="{op.name} explained"></iframe>'
    yield ""


@functools.cache
def explained(op: Op) -> str | None:
    """A page of ``chainrule explain`` on the first of the op's samples that has entries."""
    rng = np.random.default_rng(0)
    drawn = ((sample, draw(op, sample, rng)) for sample in op.samples)
    sample, inputs = next((sample, inputs) for sample, inputs in drawn if all(x.size for x in inputs))
    inputs = [x.round(2) if x.dtype.kind == "f" else x for x in inputs]
    _, pullbacks = op.rule(*inputs, **sample.params)
    pairs = list(zip(inputs, pullbacks, strict=False))
    tensors = [Tensor(x, requires_grad=True) if pull and x.dtype.kind == "f" else x for x, pull in pairs]
    y = op(*tensors, **sample.params)
    if not (isinstance(y, Tensor) and y.requires_grad):
        return None
    names = [f"{op.inputs[0]}[{i}]" for i in range(len(inputs))] if op.variadic else op.inputs
    gy = rng.standard_normal(y.shape).round(2)
    return explain_page(explain(y, names=dict(zip(names, tensors, strict=False)), gy=gy, title=op.name))


def mistakes(op: Op) -> Iterator[str]:
    """By cause, the edits of the rule that the tests plant, and that ``chainrule check`` must name."""
    by_cause: dict[str, list[str]] = {}
    for _, mistake in op_mistakes(op):
        by_cause.setdefault(mistake.causes[0], []).append(wrong_line(source(op, mistake), source(op)))
    if not by_cause:
        yield "None are planted in this rule."
        return
    yield "``chainrule check`` names each of these; the tests plant them in the rule, one at a time."
    yield ""
    yield ".. list-table::"
    yield "   :widths: 35 65"
    yield "   :class: mistakes"
    yield ""
    for cause in [known for known in CAUSES if known in by_cause]:
        lines = list(dict.fromkeys(by_cause[cause]))[:EXAMPLES]
        yield f"   * - :doc:`{cause} </docs/causes/{cause}>`: {CAUSES[cause]}"
        yield from (f"     {'-' if i == 0 else ' '} | ``{line}``" for i, line in enumerate(lines))
    yield ""


def wrong_line(mistaken: str, right: str) -> str:
    """The first line that is not in the right source; of one that is only missing, that line crossed out."""
    before, after = right.splitlines(), mistaken.splitlines()
    new = next((line for line in after if line not in before), None)
    if new is not None:
        return new.strip()
    return "without " + next((line for line in before if after.count(line) < before.count(line)), "").strip()


def code(text: str) -> Iterator[str]:
    """Python, without the docstring that stands above it."""
    tree = ast.parse(text)
    lines = text.splitlines()
    for node in reversed([node for node in tree.body if isinstance(node, ast.FunctionDef)]):
        if ast.get_docstring(node) is not None:
            del lines[node.body[0].lineno - 1 : node.body[0].end_lineno]
    yield ".. code-block:: python"
    yield ""
    yield from (f"   {line}" for line in lines)
    yield ""


def title(text: str, line: str = "=") -> list[str]:
    """A heading."""
    return [text, line * len(text), ""]
