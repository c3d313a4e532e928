"""Formulas on a terminal: what is drawn, where it is broken, what happens to what cannot be drawn."""

import pytest
from rich.cells import cell_len

from chainrule.cli import formula


@pytest.mark.parametrize(
    ("latex", "drawn"),
    [
        (r"y_i = a_i b_i", "yᵢ = aᵢbᵢ"),
        (r"\bar X = \bar Y W", "X̄ = ȲW"),
        (r"X^\top", "Xᵀ"),
        (r"\log x", "log x"),
        (r"\operatorname{diag}(x)", "diag(x)"),
        (r"\delta_{ij}", "δᵢⱼ"),
        (r"x \le 0", "x ≤ 0"),
        (r"\frac{a}{b}", r"\frac{a}{b}"),
        (r"\nosuchcommand{x}", r"\nosuchcommand{x}"),
    ],
)
def test_inline(latex, drawn):
    assert formula.inline(latex) == drawn


def test_lines_and_alignment_marks():
    assert formula.display(r"a &= b \\ c &= d", 40) == [" a = b", " c = d"]


def test_an_environment_is_drawn_in_one_piece():
    rows = formula.display(r"y &= \begin{cases} x & x > 0 \\ 0 & x \le 0 \end{cases} \\ z &= 1", 40)
    assert rows == ["     ⎧x  x > 0", " y = ⎩0  x ≤ 0", " z = 1"]


def test_a_wide_formula_is_broken_between_clauses_then_before_relations():
    latex = r"a = b = c, \qquad d = e"
    assert formula.display(latex, 40) == [" a = b = c,    d = e"]
    assert formula.display(latex, 15) == [" a = b = c,", "     d = e"]
    assert formula.display(latex, 10) == [" a = b", "      = c,", "     d = e"]


def test_nothing_is_broken_inside_braces():
    assert formula.display(r"x_{i=j} y", 4) == formula.display(r"x_{i=j} y", 40)


def test_a_formula_that_cannot_be_drawn_stays_as_it_is():
    assert formula.display(r"\nosuchcommand{x} = 1", 80) == [r"\nosuchcommand{x} = 1"]


@pytest.mark.parametrize("width", [40, 60])
def test_long_sums_fit(width):
    latex = r"\bar x_{ij} = \sum_{nm} \bar y_{nm} \sum_d w_{md} = \sum_m \bar y_{im} w_{mj} = (\bar Y W)_{ij}"
    assert max(map(cell_len, formula.display(latex, width))) <= width
