"""Where a template reads its row, found in its syntax tree before it is compiled.

Owns the filters that are put in, by name: places in lists are looked at before they are used, and a
test for a value is told from a decision by it. What they do is `study.language.prompts.filters`'
affair.

    {% if hint %}Hint: {{hint}}{% endif %}      asks whether there is something to print
    {% if label %}Yes{% else %}No{% endif %}    decides, so a row without a label is skipped
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError

from study.language.prompts.missing import is_no_label

SEPARATOR = "|||"
# no identifiers of the template language, so no template can name them
LOOP, ITEM, BOUND = "the loop", "the item", "the bound"
ASKED, DECIDES, COMPARED, ANSWER = "is asked for", "decides", "is compared", "is the answer"
_PATH = (nodes.Name, nodes.Getattr, nodes.Getitem)
_WORDS = (nodes.Filter, nodes.Call)
_SET = (nodes.Macro, nodes.Assign, nodes.AssignBlock, nodes.CallBlock, nodes.FilterBlock)
_NONE: Any = object()


def guarded(tree: nodes.Template, *, choices: bool) -> nodes.Template:
    """The tree with its guards. choices: whether the text is that of the answers to choose from,
    and not a prompt with its answer after the separator.
    """
    names = {each.name for each in tree.find_all(nodes.Name) if each.ctx != "load"}
    _Guard(choices=choices, own=names).children(tree)
    return tree


def known_columns(tree: nodes.Template) -> frozenset[str]:
    """Names of columns and fields that the template compares with -1, so knows what that means."""
    names: set[str] = set()
    for each in tree.find_all(nodes.Compare):
        sides = [each.expr, *(operand.expr for operand in each.ops)]
        if any(is_no_label(item) for side in sides for item in _items(_constant(side))):
            names.update(name for side in sides for name in _names(side))
    return frozenset(names)


class _Guard:
    """One pass in the template's order. own: names that the template sets."""

    def __init__(self, *, choices: bool, own: set[str]) -> None:
        self._choices, self._own = choices, own
        # whether what comes next decides about an answer
        self._answer = choices

    def children(self, node: nodes.Node) -> None:
        for name, value in node.iter_fields():
            if isinstance(value, list):
                setattr(node, name, [self._any(each) for each in value])
            else:
                setattr(node, name, self._any(value))

    def _any(self, node: Any) -> Any:
        match node:
            case nodes.TemplateData():
                self._answer = self._answer or SEPARATOR in node.data
            case nodes.If():
                self._if(node, last=not node.elif_ and not node.else_)
            case nodes.CondExpr():
                asks = not (self._answer and node.expr2) and self._asks(node.test, node.expr1)
                self.children(node)
                node.test = _filter(node.test, ASKED) if asks else self._decision(node.test)
            case nodes.Output():
                node.nodes = [self._printed(each) for each in node.nodes]
            case nodes.For():
                if node.recursive:
                    raise SecurityError("a recursive loop in a template")
                self.children(node)
                node.iter = _filter(node.iter, LOOP)
            case _ if isinstance(node, _SET):
                # what is set now may be printed in the answer
                before, self._answer = self._answer, True
                self.children(node)
                self._answer = before
            case nodes.And() | nodes.Or():
                self.children(node)
                node.left, node.right = self._decision(node.left), self._decision(node.right)
            case nodes.Not():
                self.children(node)
                node.node = self._decision(node.node)
            case nodes.Compare():
                return self._compare(node)
            case nodes.Getitem():
                return self._item(node)
            case nodes.Node():
                self.children(node)
        return node

    def _printed(self, node: Any) -> Any:
        of_row = self._is_of_row(node)
        node = self._any(node)
        return _filter(node, ANSWER) if of_row and self._answer and not self._choices else node

    def _if(self, node: Any, *, last: bool) -> None:
        inside = any(SEPARATOR in each.data for each in node.find_all(nodes.TemplateData))
        asks = (last or not self._answer) and not inside and self._asks(node.test, *node.body)
        test = self._any(node.test)
        node.test = _filter(test, ASKED) if asks else self._decision(test)
        before, after = self._answer, self._answer
        for branch in (node.body, node.elif_, node.else_):
            for place, each in enumerate(branch):
                if branch is node.elif_:
                    self._answer = before
                    self._if(each, last=False)
                    after = after or self._answer
                else:
                    branch[place] = self._any(each)
            after, self._answer = after or self._answer, before
        self._answer = after

    def _asks(self, test: Any, *body: nodes.Node) -> bool:
        """Whether the body uses the value that is tested, and sets nothing by it."""
        found = [each for part in body for each in (part, *part.find_all(nodes.Node))]
        return (
            isinstance(test, _PATH)
            and test in found
            and not any(isinstance(each, _SET) for each in found)
        )

    def _decision(self, test: Any) -> Any:
        return _filter(test, DECIDES) if self._answer and self._is_of_row(test) else test

    def _is_of_row(self, node: nodes.Node) -> bool:
        base = node
        while isinstance(base, (nodes.Getattr, nodes.Getitem)) or (
            isinstance(base, nodes.Filter) and base.name in (ITEM, COMPARED)
        ):
            base = base.node
        return isinstance(base, nodes.Name) and base.name not in self._own

    def _compare(self, node: nodes.Compare) -> nodes.Compare:
        sides = [node.expr, *(each.expr for each in node.ops)]
        others = tuple(
            item
            for each in sides
            if (found := _constant(each)) is not _NONE
            for item in _items(found)
        )
        of_row = [self._is_of_row(_bare(each)) for each in sides]
        self.children(node)
        orders = any(each.op not in ("eq", "ne", "in", "notin") for each in node.ops)
        for holder, is_of_row in zip((node, *node.ops), of_row, strict=True):
            if is_of_row and not orders:
                holder.expr = _filter(
                    holder.expr, COMPARED, nodes.Const(others), nodes.Const(self._answer)
                )
        return node

    def _item(self, node: nodes.Getitem) -> nodes.Expr:
        self.children(node)
        if node.ctx != "load":
            return node
        if isinstance(node.arg, nodes.Slice):
            for name in ("start", "stop", "step"):
                bound = getattr(node.arg, name)
                if bound is not None and _constant(bound) is _NONE:
                    setattr(node.arg, name, _filter(bound, BOUND))
            return node
        if _constant(node.arg) is not _NONE:
            return node  # a place that the template itself names may count from the end
        return _filter(node.node, ITEM, node.arg)


def _filter(node: Any, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)


def _constant(node: nodes.Node) -> Any:
    """The value of literals, `_NONE` where the node is none."""
    match node:
        case nodes.Const():
            return node.value
        case nodes.Neg() if isinstance(found := _constant(node.node), int | float):
            return -found
        case nodes.List() | nodes.Tuple():
            found = [_constant(each) for each in node.items]
            return _NONE if _NONE in found else found
        case _:
            return _NONE


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif value is not _NONE:
        yield value


def _bare(node: nodes.Node) -> nodes.Node:
    """What filters and methods of a text are applied to: `label` of `(label | int)`."""
    while isinstance(node, nodes.Filter) and node.node is not None:
        node = node.node
    return node


def _names(node: nodes.Node) -> Iterator[str]:
    match _bare(node):
        case nodes.Name(name=name) | nodes.Getattr(attr=name):
            yield name
        case nodes.Getitem(node=inner, arg=nodes.Const(value=str(name))):
            yield name
        case nodes.Getitem(node=inner):
            yield from _names(inner)
