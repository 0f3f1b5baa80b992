"""Mutants of Python: the syntax tree says where, and the text is edited there, so that everything else stays as it is.

Annotations, docstrings, decorators, imports, `__all__`, texts and what is written to a log are left alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from itertools import pairwise

from mutate.mutant import Edit, Mutant, made

__all__ = ("mutants",)

_COMPARED: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}  # fmt: skip
_COMPUTED: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"), ast.BitOr: ("|", "&"), ast.BitAnd: ("&", "|"),
}  # fmt: skip
_OPPOSITE = {"min": "max", "max": "min", "any": "all", "all": "any"}
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def mutants(file: str, source: str) -> list[Mutant]:
    """Every mutant of the text."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    return made(file, source, finder.edits)


class _Finder(ast.NodeVisitor):
    """Gathers the edits. A method of it visits a kind of node, as `ast` has it."""

    def __init__(self, source: str) -> None:
        self.edits: list[Edit] = []
        self._source = source
        self._lines = source.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))
        self._names: list[str] = []
        self._functions = 0

    def _at(self, line: int, column: int) -> int:
        """The place of a column, which the tree counts in bytes."""
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())

    def _start(self, node: ast.expr | ast.stmt) -> int:
        return self._at(node.lineno, node.col_offset)

    def _end(self, node: ast.expr | ast.stmt) -> int:
        return self._at(node.end_lineno or node.lineno, node.end_col_offset or 0)

    def _text(self, node: ast.expr) -> str:
        return self._source[self._start(node) : self._end(node)]

    def _edit(self, start: int, end: int, new: str, operator: str) -> None:
        self.edits.append(Edit(start, end, new, operator, ".".join(self._names) or "the module"))

    def _replace(self, node: ast.expr | ast.stmt, new: str, operator: str) -> None:
        self._edit(self._start(node), self._end(node), new, operator)

    def _swap(self, left: ast.expr, right: ast.expr, old: str, new: str, operator: str) -> None:
        """Change the operator between two operands."""
        start = self._source.find(old, self._end(left), self._start(right))
        if start >= 0:
            self._edit(start, start + len(old), new, operator)

    # What is left alone

    def visit_Import(self, node: ast.Import) -> None: ...
    def visit_ImportFrom(self, node: ast.ImportFrom) -> None: ...
    def visit_JoinedStr(self, node: ast.JoinedStr) -> None: ...

    def visit_Raise(self, node: ast.Raise) -> None:
        self._drop(node)

    def visit_arg(self, node: ast.arg) -> None: ...

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if self._functions:
            self._drop(node)
        elif _is_about_types(node):
            return
        self.visit(node.value)

    # Names

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._names.append(node.name)
        for one in node.body:
            self.visit(one)
        self._names.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def _function(self, node: _Function) -> None:
        self._names.append(node.name)
        self._functions += 1
        self.visit(node.args)
        body = node.body[1:] if _is_text(node.body[0]) else node.body
        if len(body) > 1:
            start = self._start(body[0])
            self._edit(start, start, f"return\n{' ' * body[0].col_offset}", "return at once")
        for one in node.body:
            self.visit(one)
        self._functions -= 1
        self._names.pop()

    # Statements

    def _drop(self, node: ast.stmt) -> None:
        self._replace(node, "pass", "drop a statement")

    def visit_Expr(self, node: ast.Expr) -> None:
        if _is_text(node) or (isinstance(node.value, ast.Call) and ast.unparse(node.value.func).startswith("_log.")):
            return
        if not isinstance(node.value, ast.Constant):
            self._drop(node)
        self.visit(node.value)

    def visit_Delete(self, node: ast.Delete) -> None:
        self._drop(node)

    def visit_Break(self, node: ast.Break) -> None:
        self._drop(node)

    def visit_Continue(self, node: ast.Continue) -> None:
        self._drop(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._drop(node)
        if type(node.op) in _COMPUTED:
            old, new = _COMPUTED[type(node.op)]
            self._swap(node.target, node.value, f"{old}=", f"{new}=", "arithmetic")
        self.visit(node.value)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is None:
            self._drop(node)
        else:
            self._replace(node.value, "None", "return None")
            self.visit(node.value)

    # Conditions

    def _force(self, test: ast.expr) -> None:
        for value in ("True", "False"):
            self._replace(test, value, "force a condition")

    def visit_If(self, node: ast.If) -> None:
        self._force(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._force(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self._replace(node.test, "False", "force a condition")
        if not isinstance(node.test, ast.Constant):
            self.visit(node.test)
        for one in node.body:
            self.visit(one)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._force(test)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for (left, right), kind in zip(pairwise([node.left, *node.comparators]), node.ops, strict=True):
            old, new = _COMPARED[type(kind)]
            self._swap(left, right, old, new, "comparison")
        for one in (node.left, *node.comparators):
            if not _is_none(one):
                self.visit(one)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in pairwise(node.values):
            self._swap(left, right, old, new, "and/or")
        for one in node.values:
            self._replace(one, str(old == "and"), "drop a condition")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._replace(node, self._text(node.operand), "drop a not")
        elif isinstance(node.op, ast.USub):
            self._replace(node, self._text(node.operand), "arithmetic")
        self.visit(node.operand)

    # Values

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in _COMPUTED:
            old, new = _COMPUTED[type(node.op)]
            self._swap(node.left, node.right, old, new, "arithmetic")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._replace(node, str(not value), "constant")
        elif isinstance(value, int | float):
            for other in (value + 1, value - 1):
                self._replace(node, repr(other) if other >= 0 else f"({other!r})", "constant")
        elif value is None:
            self._replace(node, "0", "constant")

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in _OPPOSITE:
            self._replace(node.func, _OPPOSITE[node.func.id], "opposite function")
            if len(node.args) > 1:
                for one in node.args:
                    self._replace(node, self._text(one), "one of the arguments")
        for keyword in node.keywords:
            self.visit(keyword.value)
        for one in (node.func, *node.args):
            self.visit(one)

    def visit_Tuple(self, node: ast.Tuple) -> None:
        self._sequence(node)

    def visit_List(self, node: ast.List) -> None:
        self._sequence(node)

    def visit_Set(self, node: ast.Set) -> None:
        self._sequence(node)

    def _sequence(self, node: ast.Tuple | ast.List | ast.Set) -> None:
        self._elements(node.elts, [(self._start(one), self._end(one)) for one in node.elts])
        self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        spans = [
            (self._start(key) if key is not None else self._source.rfind("**", 0, self._start(value)), self._end(value))
            for key, value in zip(node.keys, node.values, strict=True)
        ]
        self._elements(node.values, spans)
        for value in node.values:
            self.visit(value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)
        if not isinstance(node.slice, ast.Tuple):  # a key of several parts, or a type
            self.visit(node.slice)

    def _elements(self, elements: Sequence[ast.expr], spans: Sequence[tuple[int, int]]) -> None:
        """Drop each element of several, with the comma behind it or before it."""
        if len(elements) < 2:
            return
        behind = self._source[spans[-1][1] :].lstrip().startswith(",")
        alone = "" if behind else ","  # what makes a tuple of the only element that is left
        (first, start), (end, last) = spans[0], spans[-1]
        if len(elements) == 2:
            self._edit(first, last, f"{self._source[end:last]}{alone}", "drop an element")
            self._edit(start, last, alone, "drop an element")
            return
        for (start, _), (following, _) in pairwise(spans):
            self._edit(start, following, "", "drop an element")
        self._edit(spans[-2][1], last, "", "drop an element")


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_about_types(node: ast.Assign) -> bool:
    """Whether a module names its exports, a type or a type variable here."""
    if any(isinstance(one, ast.Name) and one.id.startswith("__") for one in node.targets):
        return True
    if isinstance(node.value, ast.Call):
        return ast.unparse(node.value.func) in {"TypeVar", "ParamSpec", "NewType"}
    if isinstance(node.value, ast.Subscript | ast.BinOp):
        names = list(_words(node.value))
        return bool(names) and all(not name.isupper() for name in names)
    return False


def _words(node: ast.expr) -> Iterator[str]:
    return (one.id for one in ast.walk(node) if isinstance(one, ast.Name))
