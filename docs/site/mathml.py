"""Formulas of the site as MathML, by the same code as on other pages of chainrule."""

from chainrule import mathml


def _inline(translator, node):
    translator.body.append(mathml.inline(node.astext()))
    raise _done()


def _display(translator, node):
    translator.body.append(f'<div class="math">{mathml.display(node.astext())}</div>')
    raise _done()


def _done():
    from docutils.nodes import SkipNode

    return SkipNode()


def setup(app):
    """What Sphinx calls."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
