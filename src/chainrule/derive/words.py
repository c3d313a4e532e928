"""The words of formulas: what a name may mean, whatever the notation, and the text cut into words."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

from chainrule.derive.formula import Formula, Span
from chainrule.errors import UserError

LETTERS = "αβγδζηθικλμνξπρστυφχψω"
GREEK = {c: unicodedata.name(c).rpartition(" ")[2].lower().replace("lamda", "lambda") for c in LETTERS}
GREEK |= {c.upper(): name.capitalize() for c, name in GREEK.items() if c.upper() in "ΓΔΘΛΞΦΨΩ"}
GREEK |= {"ε": "eps", "ϵ": "eps", "ϕ": "phi", "ℓ": "L"}
LATEX_GREEK = {name: name for name in GREEK.values()} | {
    "epsilon": "eps",
    "varepsilon": "eps",
    "varphi": "phi",
    "ell": "L",
}
SUBSCRIPTS = dict(zip("ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ₀₁₂₃₄₅₆₇₈₉", "aehijklmnoprstuvx0123456789", strict=True))
SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", strict=True))
LOSSES = ("L", "J", "loss", "Loss", "C", "E")
UPSTREAM = ("g", "G", "dout", "gout", "upstream", "grad_output", "grad_out", "gy", "dy", "dY")
LEARNING_RATES = ("eta", "lr", "alpha", "learning_rate")
BATCH = ("B", "N", "n", "m", "M", "batch", "batch_size")
ALSO = (
    ("mu", "mean", "m"),
    ("var", "variance", "sigma2", "v"),
    ("std", "sigma", "s", "sd"),
    ("xhat", "x_hat", "xn", "x_norm"),
)


class Unreadable(UserError):  # noqa: N818
    """A formula that cannot be read; the message quotes it with a caret under the place."""

    exit_code = 2

    def __init__(self, text: str, at: int, message: str):
        at = min(at, len(text))
        width = sum(not unicodedata.combining(c) for c in text[:at])
        super().__init__(f"{message}\n    {text}\n    {' ' * width}^")
        self.text, self.at, self.reason = text, at, message


# -------------------------------------------------------------------------------------------------------------- names


@dataclass
class Names:
    """What a formula may speak of.

    Attributes:
        arrays: how many axes each array of the program has.
        output: the last of them.
        sizes: letters of the shapes.
        batch: the size that B stands for, if there is one.
        symbols: hyper-parameters.
        functions: functions that the program uses without saying which they are.
        inputs: the arrays that nothing in the program defines.
        aliases: other names of arrays, such as those of an op's arguments.
    """

    arrays: dict[str, int]
    output: str
    sizes: set[str] = field(default_factory=set)
    batch: str | None = None
    symbols: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    inputs: set[str] = field(default_factory=set)
    aliases: dict[str, str] = field(default_factory=dict)

    def find(self, spelling: str) -> Formula | None:
        """What a name means; None if nothing."""
        plain = spelled_out(spelling)
        for word in dict.fromkeys((spelling, plain)):
            if word in self.arrays:
                return Formula("array", (), word)
        if plain in self.aliases:
            return Formula("array", (), self.aliases[plain])
        for word in dict.fromkeys((plain, plain.replace("_", ""))):
            owners = [name for name in (*self.arrays, *self.aliases) if word in _gradients(name)]
            if owners:
                return Formula("grad", (), self.aliases.get(owners[-1], owners[-1]))
        if plain in UPSTREAM:
            return Formula("grad", (), self.output)
        if plain == "lambda" and "lam" in self.symbols:  # a keyword of Python
            return Formula("size", (), "lam")
        if plain in self.symbols or plain == "pi":
            return Formula("size", (), "π" if plain == "pi" else plain)
        if plain in self.sizes:
            return Formula("size", (), plain)
        vectors = all(axes < 2 for name, axes in self.arrays.items() if name.lower() == plain.lower())
        if plain in BATCH and plain.isupper() and self.batch and vectors:
            return Formula("size", (), self.batch)
        alike = [name for name in self.arrays if name.lower() == plain.lower()]
        alike = alike or [name for group in ALSO if plain in group for name in group if name in self.arrays]
        if len(alike) == 1:
            return Formula("array", (), alike[0])
        owners = [name for name in self.arrays if plain.lower() in {s.lower() for s in _gradients(name)}]
        if len(owners) == 1:
            return Formula("grad", (), owners[0])
        if plain in BATCH and self.batch:
            return Formula("size", (), self.batch)
        if plain in LEARNING_RATES:
            return Formula("free", (), plain)
        return Formula("loss") if plain in LOSSES else None

    def known(self) -> str:
        """The names, for a message."""
        gradients = ", ".join(f"g{name}" for name in self.arrays)
        sizes = ", ".join(sorted(self.sizes))
        return f"arrays {', '.join(self.arrays)}; gradients {gradients}" + (f"; sizes {sizes}" if sizes else "")


def _gradients(name: str) -> set[str]:
    """The ways to write the gradient of an array as one word."""
    made = {
        f"g{name}",
        f"d{name}",
        f"grad_{name}",
        f"{name}_grad",
        f"{name}_bar",
        f"{name}bar",
        f"bar_{name}",
        f"{name}̄",
    }
    return (
        made
        | {f"d{loss}d{name}" for loss in LOSSES}
        | {f"d{loss}_d{name}" for loss in LOSSES}
        | {f"∇{name}", f"g_{name}"}
    )


def spelled_out(spelling: str) -> str:
    """Greek letters by name, hats by word: x̂ is xhat, μ is mu."""
    plain = unicodedata.normalize("NFD", spelling).replace("̅", "̄")
    plain = plain.replace("̂", "hat")
    return "".join(GREEK.get(c, c) for c in plain)


# -------------------------------------------------------------------------------------------------------------- tokens


@dataclass(frozen=True)
class Token:
    """A word of a formula."""

    kind: str  # name, number, sign, string, end
    text: str
    span: Span


def tokens(text: str) -> list[Token]:
    """The words of a formula, LaTeX's commands among them.

    >>> [token.text for token in tokens(r"dL/dw_jk = \\sum_i g_{ik}")]
    ['dL', '/', 'dw_jk', '=', '\\\\sum', '_', 'i', 'g', '_', '{', 'ik', '}', '']
    """
    found: list[Token] = []
    at = 0
    while at < len(text):
        c = text[at]
        end = at + 1
        kind = "sign"
        if c.isspace() or c in "&$":
            at += 1
            continue
        if c == "\\":
            while end < len(text) and text[end].isalpha() and text[end].isascii():
                end += 1
            end = max(end, at + 2)
        elif c.isdecimal() or (c == "." and text[end : end + 1].isdecimal()):
            kind, end = "number", _number_end(text, at)
        elif _begins_name(c):
            kind, end = "name", _name_end(text, at)
        elif c in "'′" and found and found[-1].span[1] == at:
            kind = "sign"
        elif c in "'\"":
            end = text.find(c, at + 1) + 1
            if not end:
                raise Unreadable(text, at, "a quotation mark that is not closed")
            kind = "string"
        elif text[at : at + 2] in ("**", "<=", ">=", "!=", "==", "<-", ":="):
            end = at + 2
        word = "′" if text[at:end] == "'" else text[at:end]
        found.append(Token(kind, word, (at, end)))
        at = end
    return [*found, Token("end", "", (len(text), len(text)))]


def _begins_name(c: str) -> bool:
    return c.isalpha() and c not in SUBSCRIPTS and c not in "ΣᵀᵗΠ"


def _name_end(text: str, at: int) -> int:
    end = at + 1
    while end < len(text):
        c = text[end]
        if (
            unicodedata.combining(c)
            or c in "'′"
            or (c.isalnum() and c not in SUBSCRIPTS and c not in SUPERSCRIPTS and c not in "Σᵀᵗ")
        ) or (c == "_" and text[end + 1 : end + 2].isalnum()):
            end += 1
        else:
            break
    return end


def _number_end(text: str, at: int) -> int:
    end = at
    while end < len(text) and (text[end].isdecimal() or text[end] == "."):
        end += 1
    if text[end : end + 1] in ("e", "E"):
        after = end + 1 + (text[end + 1 : end + 2] in ("-", "+"))
        if text[after : after + 1].isdecimal():
            while after < len(text) and text[after].isdecimal():
                after += 1
            return after
    return end
