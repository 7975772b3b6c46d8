"""A symbol's JSON as nodes that refer to each other, to be rewritten without MXNet."""
from __future__ import annotations

import ast
import dataclasses
import json
from typing import Any


@dataclasses.dataclass(eq=False)  # a node is itself, not its contents
class Node:
    """An operator, or a variable (`op` null); `inputs` are pairs of a node and one output of it."""
    op: str
    name: str
    attrs: dict[str, str]
    inputs: list[tuple[Node, int]]
    extra: dict  # what else its JSON holds, such as the subgraphs of a fused operator

    def attr(self, name: str, default: Any) -> Any:
        """An attribute as a Python value: a number, a bool, a tuple, or else a string."""
        try:
            return ast.literal_eval(self.attrs.get(name, repr(default)))
        except (ValueError, SyntaxError):
            return self.attrs[name]


class Graph:
    """The nodes that the outputs `heads`, pairs of a node and its output, depend on.

    The third number of an input or output in the JSON, which counts changes to an array, is left
    out; MXNet knows it.
    """

    def __init__(self, content: bytes):
        graph = json.loads(content)
        nodes: list[Node] = []
        for node in graph['nodes']:
            inputs = [(nodes[source[0]], source[1]) for source in node['inputs']]
            extra = {key: value for key, value in node.items()
                     if key not in ('op', 'name', 'attrs', 'inputs')}
            nodes.append(Node(node['op'], node['name'], dict(node.get('attrs', {})), inputs, extra))
        self.heads = [(nodes[head[0]], head[1]) for head in graph['heads']]
        self._attrs = graph.get('attrs', {})

    def nodes(self) -> list[Node]:
        """All nodes, each behind those it reads."""
        order: list[Node] = []
        seen: set[Node] = set()
        stack = [(node, False) for node, _ in reversed(self.heads)]
        while stack:  # not recursive: a network is deeper than Python's stack
            node, done = stack.pop()
            if done:
                order.append(node)
            elif node not in seen:
                seen.add(node)
                stack.append((node, True))
                stack.extend((source, False) for source, _ in reversed(node.inputs)
                             if source not in seen)
        return order

    def readers(self) -> dict[Node, list[tuple[Node | None, int]]]:
        """{node: [(reader, index of the input)]}; an output of the graph is read by None."""
        found: dict[Node, list] = {node: [] for node in self.nodes()}
        for node in list(found):
            for index, (source, _) in enumerate(node.inputs):
                found[source].append((node, index))
        for index, (node, _) in enumerate(self.heads):
            found[node].append((None, index))
        return found

    def replace(self, old: Node, new: Node) -> None:
        """Let everything that reads output 0 of `old` read output 0 of `new`."""
        for node in self.nodes():
            node.inputs = [(new, 0) if source == (old, 0) else source for source in node.inputs]
        self.heads = [(new, 0) if head == (old, 0) else head for head in self.heads]

    def to_bytes(self) -> bytes:
        """The JSON that MXNet reads."""
        nodes = self.nodes()
        number = {node: i for i, node in enumerate(nodes)}

        def numbered(outputs: list) -> list:
            return [[number[node], output, 0] for node, output in outputs]

        entries = [{'op': node.op, 'name': node.name,
                    **({'attrs': node.attrs} if node.attrs else {}),
                    'inputs': numbered(node.inputs), **node.extra} for node in nodes]
        variables = [i for i, node in enumerate(nodes) if node.op == 'null']
        return json.dumps({'nodes': entries, 'arg_nodes': variables, 'heads': numbered(self.heads),
                           'attrs': self._attrs}, indent=2).encode()
