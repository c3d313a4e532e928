"""The reader of formulas: Python, Unicode and index notation and a part of LaTeX, all by one small grammar.

Nothing of the text is executed. What cannot be read is an error that points at its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from chainrule.derive.formula import Formula, Item, Span, Words
from chainrule.derive.words import (
    LATEX_GREEK,
    LOSSES,
    SUBSCRIPTS,
    SUPERSCRIPTS,
    Names,
    Token,
    Unreadable,
    spelled_out,
    tokens,
)

# fmt: off
FUNCTIONS = {
    name: name for name in (
        "exp", "log", "sqrt", "tanh", "sin", "cos", "abs", "sign", "erf", "square", "cosh", "sinh", "relu", "softmax",
        "where", "maximum", "minimum", "outer", "diag", "ones_like", "zeros_like", "sigmoid", "trace",
    )
} | {
    "ln": "log", "logistic": "sigmoid", "ReLU": "relu", "sgn": "sign", "tr": "trace", "matmul": "@", "dot": "@",
    "multiply": "*", "add": "+", "subtract": "-", "divide": "/", "power": "^",
}
REDUCTIONS = ("sum", "mean", "max", "var", "rowsum", "colsum", "rowmean", "colmean")
RELATIONS = {
    "=": "==", "==": "==", "≠": "!=", "!=": "!=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "≤": "<=", "≥": ">=",
}
ASSIGNS = ("=", "←", "<-", ":=")
IGNORED = {
    "left", "right", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "displaystyle", "limits", "quad", "qquad", "!", ",",
    ";", ":", " ",
}
STYLES = {
    "mathbf", "boldsymbol", "mathrm", "text", "bm", "operatorname", "mathit", "vec", "mathcal", "mathsf", "symbf",
}
MARKS = {"bar": "\u0304", "overline": "\u0304", "hat": "\u0302", "widehat": "\u0302"}
COMMANDS = {
    "cdot": "·", "times": "*", "odot": "⊙", "circ": "⊙", "ast": "*", "sum": "Σ", "partial": "∂", "top": "ᵀ",
    "intercal": "ᵀ", "ne": "≠", "neq": "≠", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "leftarrow": "←", "gets": "←",
    "nabla": "∇", "{": "(", "}": ")", "lbrace": "(", "rbrace": ")", "lbrack": "[", "rbrack": "]", "colon": ":",
}
SIGNS = {"∑": "Σ", "∘": "⊙", "×": "*", "−": "-", "⋅": "·", "∗": "*", "⊤": "ᵀ"}
WORDS = {"if": "if", "for": "if", "else": "else", "otherwise": "otherwise"}
# fmt: on


# ------------------------------------------------------------------------------------------------------------- grammar


AHEAD = 6  # how many words the reader may look ahead


@dataclass(frozen=True)
class Equation:
    """A line: sides that are said to be equal.

    Attributes:
        sides: at least one.
        relation: ``=``, or ``←`` for an update.
        words: how it is written.
        unless: a condition under which it is said, such as i ≠ j; None if there is none.
        defines: a name that is not known yet, where the left side is only that.
    """

    sides: tuple[Formula, ...]
    relation: str
    words: Words
    unless: Formula | None = None
    defines: str | None = None


def read(text: str, names: Names, *, may_define: bool = False) -> Equation:
    """Read one line: ``gw = x.T @ gy``, ``dL/dw_jk = Σ_i ȳ_ik x_ij``.

    Raises:
        Unreadable: with the place.

    >>> equation = read("gw = x.T @ gy", Names({"x": 2, "w": 2, "y": 2}, "y"))
    >>> equation.sides[0].head, equation.sides[0].value, equation.sides[1].head
    ('grad', 'w', '@')
    """
    return Reader(text, names, may_define).equation()


class Reader:
    """Walks over the words of one line."""

    def __init__(self, text: str, names: Names, may_define: bool = False):
        self.text, self.names, self.may_define = text, names, may_define
        found = tokens(text)
        self.tokens = [*found, *found[-1:] * AHEAD]
        self.at = 0
        self.spelling: dict[tuple[str, str], str] = {}
        self.right = False  # is it the right side that is read?
        self.is_code = any(t.text in ("@", "**", "*", ".") for t in self.tokens)
        self.notation = "latex" if "\\" in text else "python" if text.isascii() and "^" not in text else "unicode"

    # words

    @property
    def next(self) -> Token:
        """The word that is read next."""
        return self.tokens[self.at]

    @property
    def sign(self) -> str:
        """The next word as an operator; LaTeX's commands as the signs that they draw."""
        token = self.next
        if token.kind == "name":
            return WORDS.get(token.text, "")
        if token.kind != "sign":
            return ""
        if token.text.startswith("\\"):
            return COMMANDS.get(token.text[1:], token.text)
        return SIGNS.get(token.text, token.text)

    def take(self) -> Token:
        """Go on by one word."""
        token = self.next
        self.at += token.kind != "end"
        self._skip()
        return token

    def _skip(self) -> None:
        while self.next.kind == "sign" and self.next.text.startswith("\\") and self.next.text[1:] in IGNORED:
            closes_nothing = self.next.text[1:] in ("left", "right") and self.tokens[self.at + 1].text == "."
            self.at += 1 + closes_nothing
        if self.next.text == "\\\\":
            self.at += 1

    def took(self, *signs: str) -> bool:
        """Go on if the next word is one of these."""
        found = self.sign in signs
        if found:
            self.take()
        return found

    def expect(self, sign: str) -> Token:
        """Go on by a word that must come now."""
        if self.sign != sign:
            raise self.error(f"expected {sign!r}")
        return self.take()

    def error(self, message: str, at: int | None = None) -> Unreadable:
        """An error at the next word, or at a place."""
        found = self.next.text or "the end"
        after = f", found {found!r}" if message.startswith("expected") and at is None and self.next.text else ""
        after = after or (", found the end" if message.startswith("expected") and at is None else "")
        return Unreadable(self.text, self.next.span[0] if at is None else at, message + after)

    def span_from(self, start: int) -> Span:
        """From a place to the word before the next."""
        end = max((t.span[1] for t in self.tokens[: self.at]), default=start)
        return (start, end)

    # lines

    def equation(self) -> Equation:
        """A whole line."""
        self._skip()
        sides: list[Formula] = []
        relation, defines = "=", None
        name = self._defined()
        if name is not None:
            defines, side = name
            sides.append(side)
            relation = "=" if self.take().text in ("=", ":=") else "←"
            self.right = True
        sides.append(self.cases())
        while self.sign in (*ASSIGNS, "==", "≈"):
            if self.sign in ("←", "<-"):
                relation = "←"
            self.take()
            self.right = True
            sides.append(self.cases())
        unless = self._condition()
        if self.next.kind != "end" and not (self.sign == "." and self.tokens[self.at + 1].kind == "end"):
            raise self.error("expected an operator or the end of the line")
        return Equation(tuple(map(_settled, sides)), relation, self._words(), unless, defines)

    def _condition(self) -> Formula | None:
        """What is said behind the line: ``(i ≠ j)``, ``if i = j``."""
        comma = self.took(",")
        if self.took("if") or comma:
            return self.relation()
        if not self.took("("):
            return None
        condition = self.relation()
        self.expect(")")
        return condition

    def _words(self) -> Words:
        return Words(self.text, self.notation, self.spelling)

    def _defined(self) -> tuple[str, Formula] | None:
        """A new name with letters, where a line may define one."""
        if not self.may_define or self.next.kind != "name":
            return None
        start, spelling = self.at, self.next
        plain = spelled_out(spelling.text)
        base, _, letters = plain.rpartition("_")
        known = self.names.find(plain) or (base and self.names.find(base)) or self._split(plain)
        if known or _differential(plain, self.names) or plain.partition("_")[0] in ("delta", "sum", *FUNCTIONS):
            return None
        self.take()
        items: tuple[Item, ...] = tuple(letters) if base else ()
        items = (*items, *self._subscripts())
        name = base or plain
        if self.sign not in ASSIGNS or not all(isinstance(k, str) and k != ":" for k in items):
            self.at = start
            return None
        side = Formula("entry", (Formula("array", (), name),), items) if items else Formula("array", (), name)
        self.spelling["array", name] = spelling.text[: len(spelling.text) - len(letters) - 1] if base else spelling.text
        return name, replace(side, span=self.span_from(spelling.span[0]))

    def cases(self) -> Formula:
        """``a if i = j else b``, or a sum."""
        start = self.next.span[0]
        x = self.terms()
        before = self.at
        if not self.took("if"):
            return x
        condition = self.relation()
        self.took(",", ";")
        if not self.took("else"):
            self.at = before
            return x
        other = self.terms()
        return Formula("cases", (x, condition, other), span=self.span_from(start))

    def relation(self) -> Formula:
        """``i = j``, ``x > 0``."""
        start = self.next.span[0]
        after = RELATIONS.get(self.tokens[self.at + 1].text) or COMMANDS.get(self.tokens[self.at + 1].text[1:], "")
        left = self._letter() if after in ("==", "!=", "≠") and self._may_be_letter() else self.terms()
        return self._related(left, start) if self.sign in RELATIONS else left

    def _related(self, left: Formula, start: int) -> Formula:
        """The condition whose left side has been read."""
        relation = RELATIONS[self.sign]
        self.take()
        right = self._letter() if relation in ("==", "!=") and self._may_be_letter() else self.terms()
        return Formula("holds", (left, right), relation, self.span_from(start))

    def _may_be_letter(self) -> bool:
        """Is the next word an index, and no array?"""
        return self.next.kind == "name" and len(self.next.text) == 1 and self.next.text not in self.names.arrays

    def _letter(self) -> Formula:
        token = self.take()
        return Formula("letter", (), token.text, token.span)

    # expressions

    def terms(self) -> Formula:
        """Sums and differences."""
        self.took("+")
        start = self.next.span[0]
        x = self.hadamard()
        while self.sign in ("+", "-"):
            sign = self.sign
            self.take()
            x = Formula(sign, (x, self.hadamard()), span=self.span_from(start))
        return x

    def hadamard(self) -> Formula:
        """Elementwise products: they hold less closely than products that are written side by side."""
        start = self.next.span[0]
        x = self.product()
        while self.took("⊙"):
            x = Formula("⊙", (x, self.product()), span=self.span_from(start))
        return x

    def product(self) -> Formula:
        """Products and quotients, from left to right."""
        start = self.next.span[0]
        x = self.signed()
        while True:
            sign = self.sign
            if sign in ("*", "/", "@", "·"):
                self.take()
                x = self._joined(sign, x, self.signed(), start)
            elif self._begins_factor():
                x = self._joined("·", x, self.factor(), start)
            else:
                return x

    def _joined(self, sign: str, x: Formula, y: Formula, start: int) -> Formula:
        span = self.span_from(start)
        if sign == "·" and x.head == "operator":  # ∂/∂x_j of what follows
            return Formula("partial", (y, *x.parts), span=span)
        return Formula(sign, (x, y), span=span)

    def _derivative(self, x: Formula, y: Formula, span: Span) -> Formula:
        """∂y/∂x, or the gradient where the loss is above."""
        by = y.parts[0] if y.parts else None
        if by is None:
            raise self.error("expected what is differentiated by", span[1])
        if not x.parts:
            return Formula("operator", (by,), span=span)
        if x.parts[0].head == "loss" or self._is_loss(x.parts[0]):
            base, items = (by.parts[0], by.value) if by.head == "entry" else (by, None)
            if base.head == "array":
                self.spelling.setdefault(("grad", base.value), self._without_letters(span, items))
                made = Formula("grad", (), base.value, span)
                return made if items is None else Formula("entry", (made,), items, span)
        return Formula("partial", (x.parts[0], by), span=span)

    def _is_loss(self, x: Formula) -> bool:
        """Is it the output, and a single number?"""
        return x.head == "array" and x.value == self.names.output and self.names.arrays[x.value] == 0

    def _without_letters(self, span: Span, items: Sequence[Item] | None) -> str:
        own = self.text[slice(*span)]
        if items and own.endswith("}}"):  # \frac{..}{\partial w_{jk}}: the letters stand inside
            return own[: own.rindex("_")] + "}" if "_" in own else own
        return own[: own.rindex("_")] if items and "_" in own else own

    def signed(self) -> Formula:
        """With a sign in front."""
        start = self.next.span[0]
        if self.took("-"):
            return Formula("neg", (self.signed(),), span=self.span_from(start))
        if self.took("+"):
            return self.signed()
        return self.factor()

    def factor(self) -> Formula:
        """A power, or a derivative: ``∂y/∂x`` is one thing."""
        start, x = self.next.span[0], self.power()
        if x.head != "differential" or self.sign != "/":
            return x
        before = self.at
        self.take()
        y = self.power() if self._begins_factor() else x
        if y.head != "differential" or y is x:
            self.at = before
            return x
        return self._more(self._derivative(x, y, self.span_from(start)), start)

    def _begins_factor(self) -> bool:
        token = self.next
        if token.kind in ("name", "number"):
            return self.sign not in ("if", "else", "otherwise")
        if self.sign in ("(", "[", "Σ", "∂", "∇", "𝟙", "√") or token.text == "{":
            return not (self.sign == "(" and self._is_condition())
        command = token.text[1:] if token.text.startswith("\\") else None
        return command is not None and (
            command
            in ("frac", "dfrac", "tfrac", "sqrt", *STYLES, *MARKS, *LATEX_GREEK, *FUNCTIONS, "mathbb", "mathbbm")
        )

    def _is_condition(self) -> bool:
        """Does a bracket hold ``i ≠ j``, said about the line, and end it?"""
        inner = self.tokens[self.at + 1 : self.at + 5]
        if len(inner) < 4 or inner[3].text != ")" or inner[1].text not in ("=", "≠", "!=", "=="):
            return False
        return self.tokens[self.at + 5].kind == "end" and len(inner[0].text) == 1

    def power(self) -> Formula:
        """What is raised to a power, transposed."""
        start = self.next.span[0]
        x = self.postfix()
        while True:
            if self.took("**"):
                x = Formula("^", (x, self.signed()), span=self.span_from(start))
            elif self.sign == "^":
                self.take()
                x = self._raised(x, start)
            elif self.sign == "ᵀ" or self.next.text == "ᵗ":
                self.take()
                x = self._transposed(x, start)
            elif self.next.kind == "sign" and self.next.text in SUPERSCRIPTS:
                digits = ""
                while self.next.text in SUPERSCRIPTS and self.next.kind == "sign":
                    digits += SUPERSCRIPTS[self.take().text]
                exponent = Formula(
                    "number",
                    (),
                    Fraction(int(digits)),
                    (self.span_from(start)[1] - len(digits), self.span_from(start)[1]),
                )
                x = self._squared(x, exponent, start)
            else:
                break
            x = self._more(x, start)
        return x

    def _raised(self, x: Formula, start: int) -> Formula:
        if self.next.text == "{":
            self.take()
            if self.sign == "ᵀ" or (self.next.text == "T" and "T" not in self.names.arrays):
                self.take()
                self.expect("}")
                return self._transposed(x, start)
            exponent = self.terms()
            self.expect("}")
        elif self.sign == "ᵀ" or (self.next.text == "T" and "T" not in self.names.arrays):
            self.take()
            return self._transposed(x, start)
        elif self.sign in ("-", "("):
            exponent = self.signed()
        else:
            exponent = self.atom()
        return self._squared(x, exponent, start)

    def _squared(self, x: Formula, exponent: Formula, start: int) -> Formula:
        """A power; σ² is the variance where the program has one and no σ."""
        span = self.span_from(start)
        base = x.parts[0] if x.head == "entry" else x
        is_sigma = base.head in ("call", "array") and spelled_out(self.text[slice(*base.span)].strip("\\")) == "sigma"
        variance = self.names.find("var")
        if is_sigma and "sigma" not in self.names.arrays and exponent.value == 2 and variance is not None:
            made = replace(variance, span=span)
            return Formula("entry", (made,), x.value, span) if x.head == "entry" else made
        return Formula("^", (x, exponent), span=span)

    def _transposed(self, x: Formula, start: int) -> Formula:
        span = self.span_from(start)
        if x.head == "number" and x.value == 1:
            return Formula("T", (Formula("ones", span=x.span),), "matrix", span)
        return Formula("T", (x,), "matrix", span)

    def postfix(self) -> Formula:
        """With subscripts, attributes and methods."""
        start = self.next.span[0]
        return self._more(self.atom(), start)

    def _more(self, x: Formula, start: int) -> Formula:
        while True:
            items = self._subscripts()
            if items:
                x = _with_items(x, items, self.span_from(start))
            elif self.sign == "[" and x.head not in ("number", "letter") and not self._iverson():
                x = self._brackets(x, start)
            elif self.sign == "." and self.tokens[self.at + 1].kind == "name":
                self.take()
                x = self._attribute(x, start)
            else:
                return x

    def _iverson(self) -> bool:
        """Is it ``[i = j]`` and not an index?"""
        depth = 0
        for token in self.tokens[self.at :]:
            depth += token.text in "[(" if token.text else 0
            depth -= token.text in "])" if token.text else 0
            if depth <= 0:
                return False
            if depth == 1 and (token.text in ("=", "==", "≠", "!=", "<", ">", "≥", "≤", "<=", ">=")):
                return True
        return False

    def _subscripts(self) -> tuple[Item, ...]:
        """What stands below: ``_{ij}``, ``_i``, ``ᵢⱼ``."""
        items: list[Item] = []
        while self.next.kind == "sign" and self.next.text in SUBSCRIPTS:
            c = SUBSCRIPTS[self.take().text]
            items.append(int(c) if c.isdecimal() else c)
        if items or self.next.text != "_":
            return tuple(items)
        self.take()
        if self.next.text != "{":
            token = self.take()
            if token.kind not in ("name", "number"):
                raise self.error("expected letters of indices", token.span[0])
            return _items(token.text)
        self.take()
        while self.next.text != "}":
            token = self.take()
            if token.kind == "end":
                raise self.error("expected '}'")
            if token.kind in ("name", "number"):
                items += _items(token.text)
            elif token.text.startswith("\\") and token.text[1:] in LATEX_GREEK:
                items.append(token.text[1:])
            elif token.text != ",":
                raise self.error(f"expected letters of indices, found {token.text!r}", token.span[0])
        self.take()
        return tuple(items)

    def _brackets(self, x: Formula, start: int) -> Formula:
        """``x[i, j]``, ``x[:, None]``."""
        self.expect("[")
        items: list[Item] = []
        while self.sign != "]":
            token = self.next
            if self.took(":"):
                items.append(":")
            elif token.text in ("None", "newaxis"):
                self.take()
                items.append(None)
            elif token.text == "np" and self.tokens[self.at + 2].text == "newaxis":
                for _ in range(3):
                    self.take()
                items.append(None)
            elif token.kind == "number" and token.text.isdecimal():
                self.take()
                items.append(int(token.text) + 1)  # on paper, indices are counted from 1
            elif token.kind == "name" and len(token.text.rstrip("'′")) == 1:
                self.take()
                items.append(token.text)
            else:
                raise self.error("expected a letter of an index, a number, ':' or None")
            if not self.took(","):
                break
        self.expect("]")
        return _with_items(x, tuple(items), self.span_from(start))

    def _attribute(self, x: Formula, start: int) -> Formula:
        token = self.take()
        name = token.text
        if name in ("T", "mT"):
            return Formula("T", (x,), "python", self.span_from(start))
        if name == "grad" and x.head == "array":
            self.spelling.setdefault(("grad", x.value), self.text[slice(*self.span_from(start))])
            return Formula("grad", (), x.value, self.span_from(start))
        if name in ("sum", "mean", "max", "var"):
            return self._reduction(name, x, start)
        if name == "dot":
            self.expect("(")
            other = self.terms()
            self.expect(")")
            return Formula("@", (x, other), span=self.span_from(start))
        if name == "transpose":
            self.expect("(")
            self.expect(")")
            return Formula("T", (x,), "python", self.span_from(start))
        if name == "shape" and self.took("["):
            axis = self._integer()
            self.expect("]")
            return Formula("extent", (x,), axis, self.span_from(start))
        if name == "size":
            return Formula("extent", (x,), None, self.span_from(start))
        raise self.error(
            f"{name!r} is not understood; expected T, grad, sum, mean, max, var, dot, shape[k] or size", token.span[0]
        )

    def _integer(self) -> int:
        negative = self.took("-")
        token = self.take()
        if not token.text.isdecimal():
            raise self.error("expected a whole number", token.span[0])
        return -int(token.text) if negative else int(token.text)

    # atoms

    def atom(self) -> Formula:
        """A number, a name, a call, something in brackets."""
        token, sign = self.next, self.sign
        start = token.span[0]
        if token.kind == "number":
            self.take()
            x = Formula("number", (), Fraction(token.text), token.span)
            return self._indicator(start) if token.text == "1" and self.sign == "[" else x
        if sign == "(" or token.text == "{":
            return self._bracketed(")" if sign == "(" else "}")
        if sign == "[":
            return self._indicator(start)
        if sign == "Σ":
            self.take()
            return self._summed(start)
        if sign == "∂" or token.text == "𝟙":
            self.take()
            return self._differential(start) if sign == "∂" else self._indicator(start)
        if sign == "∇":
            return self._nabla()
        if sign == "|":
            self.take()
            x = self.terms()
            self.expect("|")
            return Formula("call", (x,), "abs", self.span_from(start))
        if sign == "√":
            self.take()
            return Formula("call", (self.postfix(),), "sqrt", self.span_from(start))
        if token.kind == "name":
            return self._named()
        if token.text.startswith("\\"):
            return self._command()
        raise self.error("expected a number, a name or a bracket")

    def _bracketed(self, closing: str) -> Formula:
        start = self.take().span[0]
        x = self.relation_or_terms()
        if closing == ")" and self.sign == ",":
            raise self.error("expected ')': a pair is no number")
        self.expect(closing)
        return replace(x, span=self.span_from(start), closed=True)

    def relation_or_terms(self) -> Formula:
        """What stands in brackets: an expression, or a condition that counts as 1 or 0."""
        start = self.next.span[0]
        if self._may_be_letter() and RELATIONS.get(self.tokens[self.at + 1].text) in ("==", "!="):
            return self.relation()
        x = self.cases()
        return self._related(x, start) if self.sign in RELATIONS else x

    def _indicator(self, start: int) -> Formula:
        """``[i = j]``, ``1[x > 0]``."""
        opening = self.next.text
        if self.sign not in ("[", "(") and opening not in ("{", "_"):
            raise self.error("expected '[' and a condition")
        self.took("_")
        closing = {"[": "]", "(": ")"}.get(self.sign, "}")
        self.take()
        x = self.relation()
        self.expect(closing)
        return replace(x, span=self.span_from(start), closed=True)

    def _summed(self, start: int) -> Formula:
        """A sum over letters: of the product that follows."""
        letters, bound, condition = self._range()
        if self.took("^"):
            bound = bound or self._bound()
        body = self.hadamard()
        if condition is not None:
            body = Formula("*", (condition, body), span=body.span)
        parts = (body,) if bound is None else (body, bound)
        return Formula("sum", parts, tuple(letters), self.span_from(start))

    def _range(self) -> tuple[list[str], Formula | None, Formula | None]:
        while self.next.kind == "sign" and self.next.text in SUBSCRIPTS:
            return [str(k) for k in self._subscripts()], None, None
        if self.next.text != "_":
            if self.next.kind == "name" and len(self.next.text) == 1:
                return [self.take().text], None, None
            if self.sign == "[":
                return [str(k) for k in self._brackets(Formula("array"), 0).value], None, None
            raise self.error("expected the index of the sum, as in Σ_i")
        self.take()
        if self.next.text != "{":
            token = self.take()
            return list(token.text), None, None
        self.take()
        letters: list[str] = []
        condition = None
        while self.next.text != "}":
            token = self.take()
            if token.kind == "name":
                letters += [str(k) for k in _items(token.text)]
                relation = self.sign
                if relation in ("≠", "!="):
                    self.take()
                    other = self.take()
                    sides = (
                        Formula("letter", (), token.text, token.span),
                        Formula("letter", (), other.text, other.span),
                    )
                    condition = Formula("holds", sides, "!=", (token.span[0], other.span[1]))
                elif relation == "=":  # from 1: all of them
                    self.take()
                    self.take()
            elif token.text != ",":
                raise self.error("expected letters of indices", token.span[0])
        self.take()
        return letters, None, condition

    def _bound(self) -> Formula:
        if self.next.text == "{":
            return self._bracketed("}")
        return self.atom()

    def _differential(self, start: int) -> Formula:
        """What follows a ∂."""
        if self.next.kind == "end" or self.sign in ("/", "}"):
            return Formula("differential", span=self.span_from(start))
        return Formula("differential", (self.postfix(),), span=self.span_from(start))

    def _nabla(self) -> Formula:
        """``∇_w L``, ``∇w``."""
        start = self.take().span[0]
        if self.next.text == "_":
            self.take()
            braces = self.took("{")
            x = self.postfix()
            if braces:
                self.expect("}")
            if self.next.kind == "name" and self.next.text in LOSSES:
                self.take()
        else:
            x = self.postfix()
        if x.head != "array":
            raise self.error("expected the array that the gradient is taken by", start)
        return Formula("grad", (), x.value, self.span_from(start))

    def _command(self) -> Formula:
        """What begins with a command of LaTeX."""
        token = self.take()
        command, start = token.text[1:], token.span[0]
        if command in ("frac", "dfrac", "tfrac"):
            top, bottom = self._group(), self._group()
            span = self.span_from(start)
            if top.head == bottom.head == "differential":
                return self._derivative(top, bottom, span)
            return Formula("/", (top, bottom), span=span, closed=True)
        if command == "sqrt":
            return Formula("call", (self._group(),), "sqrt", self.span_from(start))
        if command in ("mathbb", "mathbbm"):
            self._group_text()
            return self._indicator(start)
        if command in STYLES:
            word = self._group_text()
            if word.isdecimal():
                return Formula("number", (), Fraction(word), self.span_from(start))
            return self._word(word, start)
        if command in MARKS:
            return self._word(self._marked(MARKS[command]), start)
        prime = "′" * self.took("′")
        if command in LATEX_GREEK:
            return self._word(LATEX_GREEK[command] + prime, start)
        if command in FUNCTIONS:
            return self._called(command + prime, start)
        raise self.error(f"{token.text} is not understood", start)

    def _group(self) -> Formula:
        """``{...}``, or one word."""
        if self.next.text == "{":
            start = self.take().span[0]
            if self.next.text == "d" and self.tokens[self.at + 1].kind == "name":
                self.take()
                x: Formula = Formula("differential", (self.postfix(),))
            elif self.next.text == "d" and self.tokens[self.at + 1].text == "}" and "d" not in self.names.sizes:
                self.take()
                x = Formula("differential")
            else:
                x = self.relation_or_terms()
            self.expect("}")
            return replace(x, span=self.span_from(start), closed=True)
        return self.atom()

    def _group_text(self) -> str:
        if self.next.text != "{":
            return self.take().text
        self.take()
        text = ""
        while self.next.text != "}":
            if self.next.kind == "end":
                raise self.error("expected '}'")
            token = self.take()
            text += LATEX_GREEK.get(token.text[1:], token.text) if token.text.startswith("\\") else token.text
        self.take()
        return text

    def _marked(self, mark: str) -> str:
        token = self.next
        if token.kind == "name" and "_" in token.text:  # \bar w_jk: the letters are not under the bar
            base, _, letters = token.text.partition("_")
            self.tokens[self.at] = Token("name", letters, (token.span[0] + len(base) + 1, token.span[1]))
            self.tokens.insert(self.at, Token("sign", "_", (token.span[0] + len(base), token.span[0] + len(base) + 1)))
            self.tokens.insert(self.at, Token("name", base, (token.span[0], token.span[0] + len(base))))
        text = self._group_text()
        return (LATEX_GREEK.get(text[1:], text) if text.startswith("\\") else text) + mark

    def _named(self) -> Formula:
        token = self.take()
        return self._word(token.text, token.span[0])

    def _word(self, word: str, start: int) -> Formula:
        """What a word means: a name, with letters after an underscore; d before a name; several names side by side."""
        plain = spelled_out(word)
        if word in ("np", "numpy", "math") and self.sign == ".":
            self.take()
            return self._word(self.take().text, start)
        base, _, tail = plain.partition("_")
        if base == "sum" and tail and self.sign != "(":
            return Formula("sum", (self.hadamard(),), tuple(tail), self.span_from(start))
        if base in ("delta", "kron") and "delta" not in self.names.arrays and (tail or self._subscript_follows()):
            items = (*_items(tail), *self._subscripts()) if tail else self._subscripts()
            if len(items) != 2:
                raise self.error("expected two indices of Kronecker's delta", start)
            return Formula("delta", (), items, self.span_from(start))
        if base in ("delta",) and self.sign == "[":
            made = self._brackets(Formula("array", (), "δ"), start)
            return Formula("delta", (), made.value, self.span_from(start))
        called = self._call(word, plain, start)
        if called is not None:
            return called
        return self._letters_split(word, plain, start)

    def _subscript_follows(self) -> bool:
        return self.next.text == "_" or (self.next.text in SUBSCRIPTS and self.next.kind == "sign")

    def _call(self, word: str, plain: str, start: int) -> Formula | None:
        """A function of what follows in brackets."""
        name = plain.rstrip("'′")
        prime = "′" if name != plain else ""
        is_array = self.names.find(plain) is not None and plain in self.names.arrays
        if is_array:
            return None
        if name == "len" and self.sign == "(":
            self.take()
            x = self.terms()
            self.expect(")")
            return Formula("extent", (x,), 0, self.span_from(start))
        if name == "einsum" and self.sign == "(":
            return self._einsum(start)
        if name in REDUCTIONS and self.sign == "(" and not prime:
            return self._reduction_of(name, start)
        if name == "sigma" and "sigma" not in self.names.functions and self.sign == "(":
            name = "sigmoid"
        if (name in FUNCTIONS or name in self.names.functions) and (self.sign in ("(", "[") or prime):
            return self._called(name + prime, start)
        if name == "sigma" and self.names.find("sigma") is None:
            return Formula("call", (), "sigma?", self.span_from(start))
        if plain == "e" and self.sign == "^":
            self.take()
            exponent = (
                self._bracketed("}") if self.next.text == "{" else self.atom() if self.sign != "-" else self.signed()
            )
            exponent = self._more(exponent, start)
            return Formula("call", (exponent,), "exp", self.span_from(start))
        return None

    def _called(self, name: str, start: int) -> Formula:
        """The function with its arguments; ``\\exp x`` without brackets."""
        prime = name.endswith("′")
        known = FUNCTIONS.get(name.rstrip("′"), name.rstrip("′")) + "′" * prime
        if self.sign in ("(", "[") or self.next.text == "{":
            closing = {"(": ")", "[": "]"}.get(self.sign, "}")
            self.take()
            arguments = [self.relation_or_terms()]
            while self.took(","):
                if self.next.kind == "name" and self.tokens[self.at + 1].text == "=":
                    raise self.error(f"{name} takes no such argument")
                arguments.append(self.relation_or_terms())
            self.expect(closing)
        else:
            arguments = [self.power()]
        span = self.span_from(start)
        if known in ("@", "*", "+", "-", "/", "^"):
            if len(arguments) != 2:
                raise self.error(f"{name} takes two arguments", start)
            return Formula(known, tuple(arguments), span=span, closed=True)
        expected = {"where": 3, "maximum": 2, "minimum": 2, "outer": 2}.get(known, 1)
        if len(arguments) != expected:
            raise self.error(f"{name} takes {expected} argument(s), found {len(arguments)}", start)
        return Formula("call", tuple(arguments), known, span)

    def _reduction(self, kind: str, x: Formula, start: int) -> Formula:
        """``x.sum(0, keepdims=True)``; the bracket has not been read."""
        self.expect("(")
        axis, keepdims = self._axes()
        return Formula("reduce", (x,), (kind, axis, keepdims), self.span_from(start))

    def _reduction_of(self, name: str, start: int) -> Formula:
        self.expect("(")
        x = self.relation_or_terms()
        if name.startswith(("row", "col")):
            self.expect(")")
            value = (name[3:], -1 if name.startswith("row") else 0, name.startswith("row"))
            return Formula("reduce", (x,), value, self.span_from(start))
        axis, keepdims = self._axes() if self.took(",") else (None, False)
        if axis is None and not keepdims and self.tokens[self.at - 1].text != ")":
            self.expect(")")
        return Formula("reduce", (x,), (name, axis, keepdims), self.span_from(start))

    def _axes(self) -> tuple[Any, bool]:
        """The arguments of a reduction, up to the closing bracket."""
        axis: int | tuple[int, ...] | None = None
        keepdims = False
        while self.sign != ")":
            word = self.next.text if self.next.kind == "name" else ""
            if word in ("axis", "dim"):
                self.take()
                self.expect("=")
            if word in ("keepdims", "keepdim"):
                self.take()
                self.expect("=")
                keepdims = self.take().text == "True"
            elif self.took("("):
                axes = [self._integer()]
                while self.took(","):
                    if self.sign != ")":
                        axes.append(self._integer())
                self.expect(")")
                axis = tuple(axes)
            elif self.next.text == "None":
                self.take()
            else:
                axis = self._integer()
            if not self.took(","):
                break
        self.expect(")")
        return axis, keepdims

    def _einsum(self, start: int) -> Formula:
        self.expect("(")
        token = self.take()
        if token.kind != "string" or "->" not in token.text:
            raise self.error("expected subscripts such as 'ij,ik->jk'", token.span[0])
        arguments = []
        while self.took(","):
            arguments.append(self.terms())
        self.expect(")")
        subscripts = token.text.strip("'\"").replace(" ", "")
        if subscripts.partition("->")[0].count(",") != len(arguments) - 1:
            raise self.error(f"expected as many arrays as {subscripts!r} has", start)
        return Formula("einsum", tuple(arguments), subscripts, self.span_from(start))

    def _letters_split(self, word: str, plain: str, start: int) -> Formula:
        """A name, perhaps with letters, perhaps with d in front."""
        span = self.span_from(start)
        if word == "None":
            return Formula("none", span=span)
        found = None if self._is_product_with_g(plain) else self._found(plain, word, span)
        if found is not None:
            return found
        parts = self._split(plain)
        if parts is None:
            if len(plain) == 1 and plain == "I":
                return Formula("eye", span=span)
            raise self.error(f"{word!r} is not known; known are the {self.names.known()}", start)
        made: list[Formula] = []
        at = start
        for part in parts:
            length = len(part) if plain == word else 0
            made.append(self._found(part, part, (at, at + length) if length else span))  # type: ignore[arg-type]
            at += length
        x = made[0]
        for other in made[1:-1]:
            x = Formula("·", (x, other), span=(start, other.span[1]))
        if len(made) > 1:  # subscripts and powers that follow belong to the last
            last = self._more(made[-1], made[-1].span[0])
            if self.sign == "^" or self.sign == "ᵀ" or self.next.text in SUPERSCRIPTS:
                last = self._with_power(last)
            x = Formula("·", (x, last), span=self.span_from(start))
        return x

    def _is_product_with_g(self, plain: str) -> bool:
        """Is ``gX`` the product of g and X? On a right side, in mathematics, where X is an input."""
        inner = self.names.find(plain[1:].partition("_")[0])
        is_input = inner is not None and inner.head == "array" and inner.value in self.names.inputs
        return self.right and not self.is_code and plain[0] in "gG" and is_input and plain not in self.names.arrays

    def _with_power(self, x: Formula) -> Formula:
        start = x.span[0]
        if self.sign == "ᵀ":
            self.take()
            return self._transposed(x, start)
        if self.took("^"):
            return self._raised(x, start)
        digits = SUPERSCRIPTS[self.take().text]
        return Formula("^", (x, Formula("number", (), Fraction(int(digits)))), span=self.span_from(start))

    def _found(self, plain: str, word: str, span: Span) -> Formula | None:
        """What one name means, with the letters behind an underscore."""
        differential = _differential(plain, self.names)
        exact = plain in self.names.arrays
        for cut in [len(plain), *[k for k in range(len(plain) - 1, 0, -1) if plain[k] == "_"]]:
            base, items = plain[:cut], _items(plain[cut + 1 :])
            x = self.names.find(base)
            if x is None or (items and not all(isinstance(k, int) or len(str(k).rstrip("'′")) == 1 for k in items)):
                continue
            if (
                x.head == "array"
                and not exact
                and cut == len(plain)
                and differential is not None
                and base not in self.names.arrays
            ):
                break
            own = word if not items else word[: len(word) - (len(plain) - cut)]
            self.spelling.setdefault((x.head, x.value), own)
            x = replace(x, span=span)
            made = Formula("entry", (replace(x, span=(span[0], span[0] + len(own))),), items, span) if items else x
            if differential is not None and x.head != "array":
                return replace(differential, span=span, value=made)
            return made
        return replace(differential, span=span) if differential is not None else None

    def _split(self, plain: str) -> list[str] | None:
        """A word as names side by side: gX is g X."""
        for k in range(1, len(plain)):
            head, tail = plain[:k], plain[k:]
            if self._found(head, head, (0, 0)) is None or head.endswith("_") or tail.startswith("_"):
                continue
            if self._found(tail, tail, (0, 0)) is not None:
                return [head, tail]
            rest = self._split(tail)
            if rest is not None:
                return [head, *rest]
        return None


def _differential(plain: str, names: Names) -> Formula | None:
    """``dY_mn`` as the differential of an entry, where Y is known; its gradient where it is divided by nothing."""
    if not plain.startswith("d") or len(plain) < 2 or plain in names.arrays:
        return None
    rest = plain[1:]
    for cut in [len(rest), *[k for k in range(len(rest) - 1, 0, -1) if rest[k] == "_"]]:
        base = names.find(rest[:cut])
        if base is None and rest[:cut] in LOSSES:
            base = Formula("loss")
        alike = [name for name in names.arrays if name.lower() == rest[:cut].lower()]
        if base is not None and base.head == "size" and len(alike) == 1:
            base = Formula("array", (), alike[0])
        if base is None or base.head not in ("array", "loss"):
            continue
        items = _items(rest[cut + 1 :])
        if not all(isinstance(k, int) or len(str(k).rstrip("'′")) == 1 for k in items):
            continue
        return Formula("differential", (Formula("entry", (base,), items) if items else base,))
    return None


def _items(text: str) -> tuple[Item, ...]:
    """Letters and digits, one index each; a prime belongs to the letter before it."""
    items: list[Item] = []
    for c in text:
        if c in "'′" and items:
            items[-1] = f"{items[-1]}{c}"
        elif c not in "_,":
            items.append(int(c) if c.isdecimal() else c)
    return tuple(items)


def _with_items(x: Formula, items: tuple[Item, ...], span: Span) -> Formula:
    """A subscripted formula; of a differential, what it is of is subscripted."""
    if x.head == "differential" and x.parts:
        inner = _with_items(x.parts[0], items, x.parts[0].span)
        value = _with_items(x.value, items, span) if x.value is not None else None
        return Formula("differential", (inner,), value, span)
    if x.head == "entry" and not any(k is None or k == ":" for k in x.value):
        return Formula("entry", x.parts, (*x.value, *items), span)
    return Formula("entry", (x,), items, span)


def _settled(x: Formula) -> Formula:
    """Differentials that nothing is divided by are gradients: ``dw`` for dL/dw."""
    if x.head == "differential" and x.parts:
        if x.value is not None:
            return replace(x.value, span=x.span)
        inner = x.parts[0]
        base, items = (inner.parts[0], inner.value) if inner.head == "entry" else (inner, None)
        if base.head == "array":
            made = Formula("grad", (), base.value, x.span)
            return made if items is None else Formula("entry", (made,), items, x.span)
    if not x.parts:
        return x
    return replace(x, parts=tuple(map(_settled, x.parts)))
