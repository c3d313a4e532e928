"""How the user's functions are called: what they are given, what they return, and what they raise."""

from __future__ import annotations

import functools
import inspect
import linecache
import os
import re
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np

from chainrule.check.points import looks_like_target
from chainrule.check.target import Unusable
from chainrule.engine import Tensor
from chainrule.errors import UsageError

# fmt: off
UPSTREAM = frozenset({  # what people call the gradient coming in
    "gy", "dy", "dout", "dz", "da", "dl", "dloss", "d", "g", "gout", "grad", "grads", "gradient", "gradients", "delta",
    "grad_output", "grad_outputs", "grad_out", "output_grad", "out_grad", "upstream", "upstream_grad", "dvalues",
    "cotangent", "ct", "seed", "error", "err", "accum_grad", "top_diff", "next_grad", "previous_partial_gradient",
})
SAVED = frozenset({  # and what forward saved
    "cache", "caches", "saved", "save", "ctx", "context", "state", "residual", "residuals", "res", "memory", "memo",
    "stash", "store", "stored", "kept", "aux", "intermediates", "activations",
})
OUTPUTS = frozenset({"y", "out", "output", "outputs", "result", "y_hat", "probs", "p"})
# How the gradient of x is spelled; the first is a dictionary's key.
SPELLINGS = (
    "{}", "d{}", "g{}", "d_{}", "g_{}", "grad_{}", "{}_grad", "grad{}", "{}grad", "dJd{}", "dLd{}", "dJ_d{}", "dL_d{}",
    "{}_gradient", "gradient_{}", "delta_{}", "{}_bar",
)
# fmt: on
MANY = 8  # so many inputs of a forward(*xs) have names


# ------------------------------------------------------------------------------------------------ running user code


@contextmanager
def running(stage: str, code: Mapping[str, FunctionType]) -> Iterator[None]:
    """Whatever the user's code raises becomes Unusable, with the user's own line.

    Args:
        stage: ``"forward"`` or ``"backward"``.
        code: the user's functions.
    """
    try:
        yield
    except Unusable:
        raise
    except (Exception, SystemExit) as err:
        message = f"{stage} raised {type(err).__name__}" + (f": {err}" if str(err) else "")
        raise Unusable(stage, message, _line_of(err, code) or defined(code.get(stage)), err) from err


def _line_of(err: BaseException, code: Mapping[str, FunctionType]) -> str:
    """The innermost line of the user's that raised this."""
    own = {function.__code__.co_filename for function in code.values()}
    found, tb = "", err.__traceback__
    while tb is not None:
        file = tb.tb_frame.f_code.co_filename
        if file in own or not _is_library(file):
            found = _line(file, tb.tb_lineno)
        tb = tb.tb_next
    return found


@functools.cache
def _is_library(file: str) -> bool:
    folders = [sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    inside = tuple(os.path.join(folder, "") for folder in (*folders, str(Path(__file__).parents[1])))
    return file.startswith((*inside, "<frozen", "<__array_function__"))


def _line(file: str, number: int) -> str:
    text = linecache.getline(file, number).strip()
    return f"{Path(file).name}, line {number}" + (f": {text}" if text else "")


def defined(function: FunctionType | None) -> str:
    """The line where a function begins; empty where it is not known."""
    return _line(function.__code__.co_filename, function.__code__.co_firstlineno) if function else ""


def returning(function: FunctionType | None) -> str:
    """The line of a function's last ``return``, or where it begins."""
    if function is None:
        return ""
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError):
        return defined(function)
    numbers = [first + i for i, line in enumerate(lines) if re.match(r"\s*return\b", line)]
    return _line(function.__code__.co_filename, numbers[-1]) if numbers else defined(function)


def plain(function: Any) -> FunctionType | None:
    """The Python function behind a method, a static method or a decorator; None if there is none."""
    function = inspect.unwrap(getattr(function, "__func__", function))
    return function if isinstance(function, FunctionType) else None


def functions(**found: Any) -> dict[str, FunctionType]:
    """Those of these that are Python functions."""
    return {stage: function for stage, f in found.items() if (function := plain(f)) is not None}


def parameters(function: Any) -> list[inspect.Parameter]:
    """A function's parameters.

    Raises:
        UsageError: it has none that can be read, as some functions written in C.
    """
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise UsageError(
            f"{name_of(function)} has no signature to read: pass a Python function that calls it"
        ) from None


def arguments(function: Any, skip: int = 0) -> tuple[str, ...]:
    """The names of a function's inputs, without the first ``skip``.

    >>> arguments(lambda ctx, x, *w: None, skip=1)[:3]
    ('x', 'w[0]', 'w[1]')
    """
    names: list[str] = []
    for p in parameters(function)[skip:]:
        if p.kind is p.VAR_POSITIONAL:
            names += [f"{p.name}[{i}]" for i in range(MANY)]
        elif p.kind is not p.VAR_KEYWORD and not (p.kind is p.KEYWORD_ONLY and p.default is not p.empty):
            names.append(p.name)
    return tuple(names)


def called(function: Callable, given: Mapping[str, Any], *before: Any, **settings: Any) -> Any:
    """The function of these inputs, those in order by position, the others by name."""
    positional, by_name, gap = list(before), dict(settings), False
    for p in parameters(function)[len(before) :]:
        if p.kind is p.VAR_POSITIONAL:
            positional += [x for name, x in given.items() if name.startswith(f"{p.name}[")]
        elif p.name not in given:
            gap = True
        elif gap or p.kind is p.KEYWORD_ONLY:
            by_name[p.name] = given[p.name]
        else:
            positional.append(given[p.name])
    return function(*positional, **by_name)


def name_of(function: Any) -> str:
    """``affine`` for ``affine_forward``."""
    function = getattr(function, "func", function)  # of a functools.partial
    name = getattr(function, "__name__", type(function).__name__)
    return re.sub(r"_?forward_?", "", name).strip("_") or name if name != "<lambda>" else "function"


def arraylike(x: Any) -> bool:
    """Is this an array, of whatever library, or a number?"""
    return hasattr(x, "shape") or isinstance(x, (int, float, complex))


# ---------------------------------------------------------------------------------------------- gradients and inputs


def spelled(name: str) -> list[str]:
    """The names that the gradient of ``name`` goes by.

    >>> spelled("W")[:4]
    ['W', 'dW', 'gW', 'd_W']
    """
    return [spelling.format(name) for spelling in SPELLINGS]


def matched(
    result: Any, given: Mapping[str, Any], names: Sequence[str], code: Mapping[str, FunctionType]
) -> dict[str, Any]:
    """What backward returned, by the names of the inputs it belongs to.

    Args:
        result: one gradient, a tuple or list of them, or a dictionary.
        given: forward's inputs, by name.
        names: all inputs of forward, those not given too.
        code: the user's functions, for the line where it was returned.

    Raises:
        Unusable: there are more or fewer gradients than inputs, or a key that is none.
    """
    if result is None:
        return {}
    if isinstance(result, Mapping):
        return _by_key(result, names, code)
    floats = [
        n for n, x in given.items() if isinstance(x, Tensor) or (arraylike(x) and np.asarray(x).dtype.kind == "f")
    ]
    arrays = [n for n in floats if np.ndim(given[n]) or not isinstance(given[n], float)]
    wanted = [n for n in arrays if not looks_like_target(n)]
    parts = list(result) if isinstance(result, (tuple, list)) else [result]
    but_y = [n for n in wanted if n != "y"]  # y stands for the targets where forward takes it
    for candidate in (list(given), floats, arrays, wanted, list(names), but_y):
        if len(candidate) == len(parts):
            return dict(zip(candidate, parts, strict=True))
    rest = parts[len(given) :]
    if rest and all(part is None for part in rest):  # None for settings, as torch wants it
        return dict(zip(given, parts, strict=False))
    returned = "one gradient" if len(parts) == 1 else f"{len(parts)} gradients"
    inputs = "one input" if len(given) == 1 else f"{len(given)} inputs"
    without = sorted(set(given) - set(wanted), key=list(given).index)
    left_out = f" ({', '.join(without)} may be left out)" if without and wanted else ""
    raise Unusable(
        "backward",
        f"backward returned {returned}, forward has {inputs}: {', '.join(given)}{left_out}; return one gradient for "
        "each, in the same order, None where there is none",
        returning(code.get("backward")),
    )


def _by_key(result: Mapping, names: Sequence[str], code: Mapping[str, FunctionType]) -> dict[str, Any]:
    keys = {spelling: name for name in reversed(names) for spelling in spelled(name)} | {name: name for name in names}
    unknown = [key for key in result if key not in keys]
    if unknown:
        raise Unusable(
            "backward",
            f"backward returned a gradient called {', '.join(map(repr, unknown))}, which is none of forward's inputs: "
            f"{', '.join(names)}; call the gradient of {names[0]} {spelled(names[0])[1]!r}",
            returning(code.get("backward")),
        )
    return {keys[key]: g for key, g in result.items()}


# ------------------------------------------------------------------------------------- (forward, backward) functions


class Context:
    """What a forward written for ``ctx`` saves things on: any attribute, and ``save_for_backward``.

    >>> ctx = Context()
    >>> ctx.save_for_backward(1, 2)
    >>> ctx.saved_tensors
    (1, 2)
    """

    saved_tensors: tuple = ()
    needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *values: Any) -> None:
        """Keep these for ``saved_tensors``."""
        self.saved_tensors = values

    @property
    def saved_values(self) -> tuple:
        """The same as ``saved_tensors``."""
        return self.saved_tensors

    saved_arrays = saved_variables = saved_values


class Protocol:
    """How a forward and its backward work together: what backward's parameters stand for.

    Attributes:
        roles: of each of backward's parameters: ``"gy"``, ``"input"``, ``"saved"`` or, for ``*rest``, ``"rest"``.
    """

    def __init__(self, forward: Any, backward: Any, inputs: Sequence[str]):
        code = getattr(plain(forward), "__code__", None)
        own = set(code.co_varnames + code.co_cellvars) - set(inputs) if code else set()  # forward's local variables
        incoming = {spelling for local in own for spelling in spelled(local)[1:]}
        self.own, self.where = own, defined(plain(backward))
        self.defaults = {p.name: p.default for p in parameters(forward) if p.default is not p.empty}
        self.handed: dict[str, Any] = {}  # inputs that forward returned beside its output
        self.roles: dict[str, str] = {}
        undecided = []
        for p in parameters(backward):
            if p.kind is p.VAR_POSITIONAL:
                self.roles[p.name] = "rest"
            elif p.kind is p.VAR_KEYWORD:
                continue
            elif p.name in inputs:
                self.roles[p.name] = "input"
            elif p.name in SAVED:
                self.roles[p.name] = "saved"
            elif p.name not in own and (p.name.lower().rstrip("_0123456789") in UPSTREAM or p.name in incoming):
                self.roles[p.name] = "gy"
            elif p.default is p.empty:
                self.roles[p.name] = "saved"
                undecided.append(p.name)
        if "gy" not in self.roles.values():
            if undecided and not (len(undecided) == len(inputs) == len(self.roles) > 1):
                self.roles[undecided[0]] = "gy"
            elif len(self.roles) == 1 and self.names("saved") == []:
                self.roles = dict.fromkeys(self.roles, "gy")

    def names(self, role: str) -> list[str]:
        """Backward's parameters of this role."""
        return [name for name, r in self.roles.items() if r == role]

    def split(self, returned: Any, given: Mapping[str, Any]) -> tuple[Any, list[Any]]:
        """What forward returned, taken apart: the output, and what backward is to be given."""
        if not isinstance(returned, tuple):
            return (tuple(returned) if isinstance(returned, list) else returned), []
        incoming, saved = len(self.names("gy")), len(self.names("saved"))
        y, last = returned[0], returned[-1]
        if saved == 0:
            wanted = {name: given.get(name, self.defaults.get(name)) for name in self.names("input")}
            if incoming == 1 and any(part is x for part in returned[1:] for x in given.values()):
                return y, []  # an input is saved, and backward asks for it by its name
            if incoming == 1 and len(wanted) == len(returned) - 1 and all(map(_same, wanted.values(), returned[1:])):
                self.handed = dict(zip(wanted, returned[1:], strict=True))  # so are copies of inputs, and settings
                return y, []
            if all(arraylike(part) for part in returned):
                return returned, []
            rest = list(last) if self.names("rest") and isinstance(last, (tuple, list)) else []
            return _single(returned[:-1]), rest
        if len(returned) == 2 and saved == 1:
            return (tuple(y) if isinstance(y, list) else y), [last]
        if len(returned) == 2 and isinstance(last, (tuple, list)) and len(last) == saved:
            return y, list(last)
        if len(returned) == incoming + saved:
            return _single(returned[:incoming]), list(returned[incoming:])
        if saved == 1:
            return _single(returned[:-1]), [last]
        return returned, []

    def supply(self, gy: Any, y: Any, saved: Sequence[Any], given: Mapping[str, Any]) -> list[Any]:
        """Backward's arguments.

        Raises:
            Unusable: there is nothing to give for one of them.
        """
        if not self.names("gy") and np.size(gy) != 1:
            raise Unusable(
                "backward", "backward takes no gradient coming in, and the output is not a single number", self.where
            )
        if len(self.roles) == 1 and np.ndim(gy) == 0:
            name = next(iter(self.roles))
            if name in given and np.ndim(given[name]) > 0:
                self.roles[name] = "input"  # a loss of one input: its backward is not given gy, which is a number
        incoming = list(gy) if isinstance(gy, tuple) and len(self.names("gy")) == len(gy) else [gy]
        saved = list(saved) or self._unsaved(y, given)
        values = []
        for name, role in self.roles.items():
            if role == "rest":
                values += saved or list(given.values())
            elif role == "input":
                if name in self.handed or name in given:
                    values.append(self.handed.get(name, given.get(name)))
            elif not (source := incoming if role == "gy" else saved):
                raise Unusable(
                    "backward",
                    f"backward wants {name}, and forward returned nothing for it: return (y, cache) from forward and "
                    "take (gy, cache) in backward, or give backward's parameters the names of forward's inputs",
                    self.where,
                )
            else:
                values.append(source.pop(0))
        return values

    def _unsaved(self, y: Any, given: Mapping[str, Any]) -> list[Any]:
        """For parameters that forward returned nothing for: its output, or its inputs in order."""
        wanted = self.names("saved")
        if len(wanted) == 1 and (wanted[0] in OUTPUTS or wanted[0] in self.own or len(given) > 1):
            return [y]
        if len(wanted) == len(given):
            return list(given.values())
        return [*given.values(), y] if len(wanted) == len(given) + 1 else []


def _same(x: Any, saved: Any) -> bool:
    """Is what forward saved this input: a copy, a reshaped one, one in another number type?"""
    x, saved = (np.asarray(getattr(a, "value", a)) for a in (x, saved))
    comparable = x.size == saved.size and x.dtype.kind in "fiub" and saved.dtype.kind in "fiub"
    return comparable and np.allclose(x.ravel(), saved.ravel(), equal_nan=True)


def _single(parts: tuple) -> Any:
    return parts[0] if len(parts) == 1 else parts


def times(gradients: dict[str, Any], gy: Any, protocol: Protocol) -> dict[str, Any]:
    """The gradients; times ``gy`` where backward takes none, as a loss's does."""
    if protocol.names("gy"):
        return gradients
    return {name: g if g is None else np.asarray(g) * np.reshape(gy, ()) for name, g in gradients.items()}
