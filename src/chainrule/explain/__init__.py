"""A network's tape with its real numbers: forward, then backward, as text, LaTeX, JSON, or a page to step through."""

from chainrule.explain.tape import Edge, Explanation, Node, Table, explain

__all__ = ["Edge", "Explanation", "Node", "Table", "explain"]
