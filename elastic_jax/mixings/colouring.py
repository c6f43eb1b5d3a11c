"""Colours of edges: a graph split into matchings."""

from __future__ import annotations

import networkx
import numpy as np


def edge_colours(adjacency: np.ndarray) -> list[list[tuple[int, int]]]:
    """The edges in as few matchings as are found: pairs (i, j), i < j, no worker twice in one.

    A complete graph gets the round-robin tournament, n - 1 rounds for an even n and n for an odd one; other graphs the
    best of the greedy colourings of their line graph, at least the largest degree.
    """
    n = len(adjacency)
    if adjacency.sum() == n * (n - 1):
        return _tournament(n)
    graph = networkx.from_numpy_array(np.asarray(adjacency, int))
    line = networkx.line_graph(graph)
    strategies = ("DSATUR", "largest_first", "smallest_last", "connected_sequential_bfs")
    colourings = [networkx.greedy_color(line, strategy=strategy) for strategy in strategies]
    best = min(colourings, key=lambda colouring: len(set(colouring.values())))
    found: dict[int, list[tuple[int, int]]] = {}
    for edge, colour in sorted(best.items()):
        i, j = sorted(edge)
        found.setdefault(colour, []).append((int(i), int(j)))
    return [found[colour] for colour in sorted(found)]


def _tournament(num_players: int) -> list[list[tuple[int, int]]]:
    """Everybody meets everybody: one stays, the others go around; with an odd number one has a rest in each round."""
    players = list(range(num_players + num_players % 2))
    rounds = []
    for _ in range(len(players) - 1):
        half = len(players) // 2
        couples = zip(players[:half], reversed(players[half:]), strict=True)
        rounds.append(sorted((min(pair), max(pair)) for pair in couples if max(pair) < num_players))
        players = [players[0], players[-1], *players[1:-1]]
    return [matching for matching in rounds if matching]
