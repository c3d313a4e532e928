"""The ops on a screen: the registry as a table; one op with its formulas drawn and the code of its rule."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pygments import token  # type: ignore[import-untyped]
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.style import Style
from rich.syntax import ANSISyntaxTheme, Syntax
from rich.text import Text

from chainrule.cli import formula, show
from chainrule.docstrings import EXAMPLE, HEADING, ROLE, blocks, docstring, summary

if TYPE_CHECKING:
    from chainrule import Op

# The terminal's own colours, and of these the ones that can be read on a dark and on a light background.
CODE_THEME = ANSISyntaxTheme(
    {
        token.Comment: Style(dim=True),
        token.Generic.Prompt: Style(dim=True),
        token.Keyword: Style(color="magenta"),
        token.Operator.Word: Style(color="magenta"),
        token.Name.Decorator: Style(color="magenta"),
        token.Name.Function: Style(color="cyan", bold=True),
        token.String: Style(color="green"),
    }
)


def facts(op: "Op") -> dict[str, Any]:
    """One op as a row of the registry."""
    return {
        "name": op.name,
        "module": op.__module__,
        "signature": f"{op.name}{inspect.signature(op.rule)}",
        "shapes": op.signature.text,
        "summary": summary(op),
    }


def details(op: "Op") -> dict[str, Any]:
    """One op with its docstring, the code of its rule, and what is declared on it, as JSON can hold it."""
    return {
        **facts(op),
        "doc": docstring(op),
        "source": inspect.getsource(op.rule),
        "file": inspect.getsourcefile(op.rule),
        "line": inspect.getsourcelines(op.rule)[1],
        "uses": used(op.rule),
        "textbook": op.textbook is not None,
        "linear": op.linear,
        "kinks": [str(kink) for kink in _kinks(op)],
        "samples": list(_samples(op)),
        "kernels": sorted(filter(None, op.kernels)),
    }


def used(function: Callable) -> dict[str, str]:
    """The source of every function of its module that a function uses, itself or through one of them; by name.

    >>> from chainrule import ops
    >>> list(used(ops.linear.rule)), "_standardise" in used(ops.batch_norm.rule)
    ([], True)
    """
    found: dict[str, str] = {}
    for name in _names_in(function):
        part = function.__globals__.get(name)
        if inspect.isfunction(part) and part.__module__ == function.__module__:
            found |= {name: inspect.getsource(part)} | used(part)
    return found


def _names_in(function: Callable) -> list[str]:
    """Every name in the body of a function, in the order of its source, each once."""
    [parsed] = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(parsed, ast.FunctionDef)
    nodes = [node for part in parsed.body for node in ast.walk(part) if isinstance(node, ast.Name)]
    return list(dict.fromkeys(node.id for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset))))


def called(word: str, ops: Iterable["Op"]) -> list[str]:
    """The ops that go by this word too: as a part of the name, as its initials, or in the sentence about them.

    >>> from chainrule import OPS
    >>> called("mse", OPS.values()), called("bce", OPS.values()), called("expand", OPS.values())
    (['mse_loss'], ['binary_cross_entropy'], ['broadcast_to'])
    """
    found = []
    for op in ops:
        parts = op.name.split("_")
        words = [*parts, "".join(part[0] for part in parts), *re.findall(r"\w+", facts(op)["summary"].lower())]
        if word.lower() in words:
            found.append(op.name)
    return found


def registry(ops: Iterable["Op"]) -> RenderableType:
    """Every op with its shapes and what it does, module by module."""
    tables: list[RenderableType] = []
    for module, members in groupby(map(facts, ops), key=lambda found: found["module"]):
        table = show.table("", "shapes", "")
        table.columns[0].header = Text(module.rpartition(".")[2], "bold not dim")
        table.columns[0].no_wrap = table.columns[1].no_wrap = True
        for found in members:
            table.add_row(Text(found["name"], "cyan"), found["shapes"], _sentence(found["summary"]))
        tables += [table, ""]
    return Group(*tables[:-1])


def page(op: "Op", width: int) -> RenderableType:
    """Everything a reader wants to know about an op, from top to bottom."""
    found = details(op)
    declared = {
        "kinks": "\n".join(found["kinks"]),
        "samples": "\n".join(found["samples"]),
        "textbook": "composed of simpler ops, as an independent witness" if op.textbook else "",
        "kernels": ", ".join(found["kernels"]),
    }
    rest = show.table("", "")
    for name, text in declared.items():
        if text:
            rest.add_row(Text(name, "bold"), text)
    return Group(
        Text.assemble((op.name, "bold cyan"), found["signature"].removeprefix(op.name)),
        Text.assemble(("shapes ", "dim"), found["shapes"], ("   module ", "dim"), found["module"]),
        Text(),
        *_docstring(found["doc"] or "", width),
        Text(),
        Text.assemble(("Rule ", "bold"), (f"{found['file']}:{found['line']}", "dim")),
        _code(_without_docstring(found["source"]), "python"),
        *_parts(found["uses"]),
        Text(),
        rest,
    )


def _parts(uses: dict[str, str]) -> Iterator[RenderableType]:
    """The functions that a rule shares with others of its module."""
    if uses:
        yield Text.assemble("\n", ("Which uses", "bold"))
        yield _code("\n\n\n".join(source.rstrip() for source in uses.values()), "python")


def _kinks(op: "Op") -> Iterator[str]:
    for kink in op.kinks:
        at = ", ".join(f"{name} = {value}" for name, value in zip(op.inputs, kink.inputs, strict=False))
        gives = ", ".join(f"g{name} = {value}" for name, value in zip(op.inputs, kink.gives, strict=False))
        yield f"at {at}{_params(kink.params)}: {gives}"


def _samples(op: "Op") -> Iterator[str]:
    for sample in op.samples:
        shapes = [] if sample.shapes is None else [str(tuple(map(int, s.split()))) for s in sample.shapes.split(",")]
        yield (", ".join(shapes) or "shapes as above") + _params(sample.params)


def _params(params: dict[str, Any]) -> str:
    return "".join(f", {name}={value!r}" for name, value in params.items())


def _code(source: str, language: str) -> Syntax:
    return Syntax(source, language, theme=CODE_THEME, word_wrap=True)


def _without_docstring(source: str) -> str:
    """The code of a function whose docstring is shown elsewhere."""
    lines = textwrap.dedent(source).splitlines()
    function = ast.parse("\n".join(lines)).body[0]
    assert isinstance(function, ast.FunctionDef)
    if ast.get_docstring(function) is not None:
        first = function.body[0]
        del lines[first.lineno - 1 : first.end_lineno]
        if not lines[first.lineno - 1].strip():
            del lines[first.lineno - 1]
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------------ docstrings


def _docstring(doc: str, width: int) -> Iterator[RenderableType]:
    """Paragraphs, headings, drawn formulas and highlighted examples, in the order of the docstring."""
    for block in blocks(doc):
        if block.formula is not None:
            for row in formula.display(block.formula, width - block.indent - 2):
                yield Text(" " * block.indent + row, style="magenta", no_wrap=True, overflow="ignore")
        elif block.text.startswith(EXAMPLE):
            yield _code(textwrap.dedent("\n".join(block.lines)), "pycon")
        elif block.text:
            yield Padding(_sentence(block.text), (0, 0, 0, block.indent), expand=False)
        else:
            yield Text()


def _sentence(text: str) -> Text:
    """Prose with its section name, code and formulas set apart."""
    made = Text()
    if heading := HEADING.match(text):
        made.append(heading[0], style="bold")
        text = text[heading.end() :]
    end = 0
    for role in ROLE.finditer(text):
        made.append(text[end : role.start()])
        if role["math"]:
            made.append(formula.inline(role["math"]), style="magenta")
        else:
            made.append(role["code"] or role["title"], style="cyan" if role["code"] else "italic")
        end = role.end()
    return made.append(text[end:])
