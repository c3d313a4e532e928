"""The graph on paper: which nodes share a card, where the cards lie, how the lines between them run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from chainrule.explain.tape import Explanation, Node

WIDTH, HEIGHT = 176.0, 56.0  # of a card
PILL_WIDTH, PILL_HEIGHT, PILL_GAP = 128.0, 30.0, 6.0  # of a leaf beside the card that uses it
REACH = 26.0  # from a card to the pills beside it
GAP_X, GAP_Y = 22.0, 40.0
MARGIN = 16.0
CARDS = 48  # beyond so many nodes, layers share a card

Point = tuple[float, float]


@dataclass
class Card:
    """What is drawn as one box: a node, or the ops of one layer of a large network.

    Attributes:
        label: what stands on it.
        nodes: the nodes that it shows, the last one with its numbers.
        pills: leaves that it alone uses, drawn beside it.
    """

    label: str
    nodes: list[Node]
    pills: list[Card] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Line:
    """What flows from one node to another, as a curve."""

    start: int  # the index of a node
    end: int
    path: str


@dataclass
class Drawing:
    """Cards and lines with their coordinates."""

    cards: list[Card]
    lines: list[Line] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0


def drawing(explanation: Explanation) -> Drawing:
    """The tape laid out from top to bottom: each card below those that it uses, its own parameters beside it.

    >>> from chainrule.explain import explain
    >>> import numpy as np
    >>> found = drawing(explain(lambda x: np.exp(x).sum(), np.ones(3)))
    >>> [(card.label, card.y) for card in found.cards]
    [('x', 16.0), ('np.exp(x)', 112.0), ('sum', 208.0)]
    """
    found = Drawing(_cards(explanation))
    where = {node.index: place for place, card in enumerate(found.cards) for node in card.nodes}
    arrows = {
        (where[edge.node], where[node.index]): None
        for node in explanation.ops
        for edge in node.inputs
        if edge.node in where and where[edge.node] != where[node.index]
    }
    _place(found, list(arrows))
    return found


# ------------------------------------------------------------------------------------------------------------ cards


def _cards(explanation: Explanation) -> list[Card]:
    """A card for each node; in a large network one for each of its larger parts, its parameters inside."""
    if len(explanation.nodes) > CARDS:
        groups = _groups(explanation.ops)
        cards = [Card(label, nodes) for label, nodes in groups]
        holding = {node.index: card for card in cards for node in card.nodes}
        inputs = [Card(node.name, [node]) for node in explanation.nodes if node.kind == "input" and node.value.size > 1]
        for leaf in inputs[1:]:
            holding[explanation.users_of(leaf.nodes[0])[0][0].index].pills.append(leaf)
        return inputs[:1] + cards
    beside = {leaf.index: node.index for node in explanation.ops for leaf in _beside(explanation, node)}
    each = {node.index: Card(node.name, [node]) for node in explanation.nodes}
    for leaf_index, user in beside.items():
        each[user].pills.append(each[leaf_index])
    return [card for index, card in each.items() if index not in beside]


def _beside(explanation: Explanation, node: Node) -> list[Node]:
    """The leaves that one op alone uses, but for what flows through it, its first input."""
    leaves = [source for _, source in explanation.inputs_of(node) if source.op is None]
    own = [leaf for leaf in dict.fromkeys(leaves) if len(explanation.users_of(leaf)) == 1]
    flows = any(source not in own for _, source in explanation.inputs_of(node))
    return own if flows else own[1:]


def _groups(ops: Sequence[Node]) -> list[tuple[str, list[Node]]]:
    """Runs of ops that belong to one part of the network, as small as fits on the page."""
    for depth in range(max(node.module.count(".") for node in ops) + 1, 0, -1):
        keys = [".".join(node.module.split(".")[:depth]) or node.name for node in ops]
        runs = [
            (key, [node for _, node in run])
            for key, run in itertools.groupby(zip(keys, ops, strict=True), key=lambda pair: pair[0])
        ]
        if len(runs) <= CARDS * 2 // 3:
            return runs
    size = math.ceil(len(ops) / (CARDS * 2 // 3))
    parts = [list(ops[i : i + size]) for i in range(0, len(ops), size)]
    return [(f"{part[0].name} …", part) for part in parts]


# ----------------------------------------------------------------------------------------------------------- places


def _place(found: Drawing, arrows: list[tuple[int, int]]) -> None:
    """Coordinates by Sugiyama's method; a line that passes layers goes through a bend in each."""
    import igraph  # type: ignore[import-untyped]

    cards = found.cards
    level = _levels(len(cards), arrows)
    edges: list[tuple[int, int]] = []
    chains: list[list[int]] = []
    for start, end in arrows:
        bends = range(len(level), len(level) + level[end] - level[start] - 1)
        level += range(level[start] + 1, level[end])
        chains.append([start, *bends, end])
        edges += itertools.pairwise(chains[-1])
    graph = igraph.Graph(n=len(level), edges=edges, directed=True)
    beside = REACH + PILL_WIDTH if any(card.pills for card in cards) else 0.0
    layout = graph.layout_sugiyama(layers=level, hgap=WIDTH + beside + GAP_X, maxiter=500)
    tops = _tops(cards, level)
    left = min(float(layout[i][0]) for i in range(len(cards)))
    points = [(float(layout[i][0]) - left + MARGIN + WIDTH / 2, tops[level[i]]) for i in range(len(level))]
    for card, (x, y) in zip(cards, points, strict=False):
        card.x, card.y = x - WIDTH / 2, y
        _place_pills(found, card)
    for (start, end), chain in zip(arrows, chains, strict=True):
        path = _curve([points[i] for i in chain])
        found.lines.append(Line(cards[start].nodes[-1].index, cards[end].nodes[-1].index, path))
    found.width = MARGIN + max(
        *(x for x, _ in points), *(card.x + WIDTH + (beside if card.pills else 0.0) for card in cards)
    )
    found.height = max(y for _, y in points) + HEIGHT + MARGIN


def _tops(cards: list[Card], level: list[int]) -> list[float]:
    """The upper edge of the cards of each level: pills that are higher than a card need room above and below it."""
    more = [0.0] * (max(level) + 1)
    for card, at in zip(cards, level, strict=False):
        more[at] = max(more[at], (_stack(card) - HEIGHT - GAP_Y / 2) / 2)
    tops, y = [], MARGIN
    for room in more:
        tops.append(y + room)
        y += HEIGHT + GAP_Y + 2 * room
    return tops


def _stack(card: Card) -> float:
    return len(card.pills) * (PILL_HEIGHT + PILL_GAP) - PILL_GAP


def _place_pills(found: Drawing, card: Card) -> None:
    x, middle = card.x + WIDTH, card.y + HEIGHT / 2
    y = middle - _stack(card) / 2
    for pill in card.pills:
        pill.x, pill.y = x + REACH, y
        at, to = y + PILL_HEIGHT / 2, middle + (y + PILL_HEIGHT / 2 - middle) * 0.4
        bend = x + REACH / 2
        path = f"M{x + REACH:.1f} {at:.1f}C{bend:.1f} {at:.1f} {bend:.1f} {to:.1f} {x:.1f} {to:.1f}"
        found.lines.append(Line(pill.nodes[-1].index, card.nodes[-1].index, path))
        y += PILL_HEIGHT + PILL_GAP


def _levels(count: int, arrows: list[tuple[int, int]]) -> list[int]:
    """How deep each card lies: below all that it uses, and what uses nothing just above its first user."""
    level = [0] * count
    users: dict[int, list[int]] = {}
    used = {end for _, end in arrows}
    for start, end in sorted(arrows, key=lambda arrow: arrow[1]):
        level[end] = max(level[end], level[start] + 1)
        users.setdefault(start, []).append(end)
    for card in range(count):
        if card not in used and card in users:
            level[card] = min(level[user] for user in users[card]) - 1
    return level


def _curve(points: Sequence[Point]) -> str:
    """From the lower edge of the first card to the upper edge of the last, upright at both ends and at each bend."""
    (x, y), *inner, (end_x, end_y) = points
    stops: list[Point] = [(x, y + HEIGHT)]
    for bend_x, bend_y in inner:
        stops += [(bend_x, bend_y), (bend_x, bend_y + HEIGHT)]
    stops.append((end_x, end_y))
    return f"M{stops[0][0]:.1f} {stops[0][1]:.1f}" + "".join(_segments(stops))


def _segments(stops: Sequence[Point]) -> Iterator[str]:
    for (x, y), (to_x, to_y) in itertools.pairwise(stops):
        middle = (y + to_y) / 2
        straight = abs(x - to_x) < 0.05
        yield (
            f"L{to_x:.1f} {to_y:.1f}"
            if straight
            else f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"
        )
