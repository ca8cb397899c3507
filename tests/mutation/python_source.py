"""Mutants of a Python file: the smallest changes that an absent-minded author could make.

What is changed: comparisons, arithmetic, `and`/`or`, `not`, conditions, numbers, `True`/`False`, names and keys in
quotes, `min`/`max`, `any`/`all`; a value that is assigned or returned becomes None; a call for its effect, a `raise`
and a `del` are left out; `break` and `continue` change places.

What is not: what cannot change a run (annotations, aliases of types, docstrings, imports, `__all__`,
`if TYPE_CHECKING`, the type in a `cast`), decorators, and texts for people (whatever has a space, f-strings, what is
logged, an option's `metavar`).
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

from tests.mutation.mutant import Mutant

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any"}
TYPES = {"Callable", "dict", "list", "npt.NDArray", "tuple", "type"}
SHOWN = 90  # characters of a change, on each side
LOGS = {"log", "_log", "logger", "_logger", "logging", "warnings"}


def mutants_of(path: str, source: bytes) -> list[Mutant]:
    """All mutants of the file `path`, in the order of their places."""
    visitor = _Visitor(path, source)
    visitor.visit(ast.parse(source))
    return sorted(visitor.found, key=lambda mutant: (mutant.start, mutant.end, mutant.text))


class _Visitor(ast.NodeVisitor):
    def __init__(self, path: str, source: bytes) -> None:
        self.found: list[Mutant] = []
        self._path, self._source = path, source
        self._lines = [0]
        for line in source.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))
        self._scopes: list[tuple[str, bool]] = []  # a name, and whether it is a function

    # Scopes and what is left alone

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in (*node.bases, *node.keywords):
            self.visit(base)
        self._inside(node.name, False, node.body)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(default)
        self._inside(node.name, True, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def _inside(self, name: str, is_function: bool, body: list[ast.stmt]) -> None:
        self._scopes.append((name, is_function))
        for statement in body:
            self.visit(statement)
        self._scopes.pop()

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """A text for people; and Python before 3.12 does not know the places of what is in it."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self._assigned(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets):
            for target in node.targets:
                self.visit(target)
            self._assigned(node.value)

    def _assigned(self, value: ast.expr) -> None:
        if _is_type(value):
            return
        if not isinstance(value, ast.Constant):
            self._replace(value, ast.Constant(None))
        self.visit(value)

    # Statements

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return
        if isinstance(node.value, ast.Call):
            if _first_name(node.value.func) in LOGS:
                return
            self._replace(node, ast.Pass())
        self.visit(node.value)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value and not isinstance(node.value, ast.Constant):
            self._replace(node.value, ast.Constant(None))
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self._replace(node, ast.Pass())
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        self._replace(node, ast.Pass())

    def visit_Break(self, node: ast.Break) -> None:
        self._replace(node, ast.Continue())

    def visit_Continue(self, node: ast.Continue) -> None:
        self._replace(node, ast.Break())

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._replace(node, _with(node, op=ARITHMETIC[type(node.op)]()))
        self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        if _first_name(node.test) == "TYPE_CHECKING":
            return
        self._condition(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._condition(node)

    def visit_While(self, node: ast.While) -> None:
        self._condition(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for condition in node.ifs:
            self._negate(condition)
        self.generic_visit(node)

    def _condition(self, node: ast.If | ast.IfExp | ast.While) -> None:
        self._negate(node.test)
        self.generic_visit(node)

    def _negate(self, test: ast.expr) -> None:
        """Unless another mutant does it: that of a `not`, a constant, or `==`, `is` and `in`."""
        if isinstance(test, ast.Constant) or (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)):
            return
        if (
            isinstance(test, ast.Compare)
            and len(test.ops) == 1
            and isinstance(test.ops[0], (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn))
        ):
            return
        self._replace(test, ast.UnaryOp(ast.Not(), test))

    # Expressions

    def visit_Compare(self, node: ast.Compare) -> None:
        for place, operator in enumerate(node.ops):
            operators = list(node.ops)
            operators[place] = COMPARISONS[type(operator)]()
            self._replace(node, _with(node, ops=operators))
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in ARITHMETIC:
            self._replace(node, _with(node, op=ARITHMETIC[type(node.op)]()))
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self._replace(node, _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And()))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, (ast.Not, ast.USub)):
            self._replace(node, node.operand)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = _first_name(node.func)
        if name == "cast":
            self.visit(node.args[1])
            return
        if name in SWAPPED and isinstance(node.func, ast.Name):
            self._replace(node.func, ast.Name(SWAPPED[name]))
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg != "metavar":
            self.visit(node.value)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._replace(node, ast.Constant(not value))
        elif isinstance(value, int):
            self._replace(node, ast.Constant(value + 1))
        elif isinstance(value, float):
            self._replace(node, ast.Constant(value * 2 if value else 1.0))
        elif isinstance(value, str) and " " not in value:
            self._replace(node, ast.Constant("XX" + value))
        elif isinstance(value, bytes) and b" " not in value:
            self._replace(node, ast.Constant(b"XX" + value))

    def _replace(self, old: ast.expr | ast.stmt, new: ast.expr | ast.stmt) -> None:
        assert old.end_lineno is not None and old.end_col_offset is not None
        start = self._lines[old.lineno - 1] + old.col_offset
        end = self._lines[old.end_lineno - 1] + old.end_col_offset
        text = ast.unparse(new)
        places = [place for place, (_, is_function) in enumerate(self._scopes, 1) if is_function]
        function = ".".join(name for name, _ in self._scopes[: places[-1]]) if places else ""
        if isinstance(new, ast.expr) and not isinstance(new, (ast.Constant, ast.Name)):
            text = f"({text})"
        change = f"{_short(ast.unparse(old))} ─► {_short(ast.unparse(new))}"
        self.found.append(Mutant(self._path, old.lineno, old.col_offset + 1, start, end, text, function, change))


def _is_type(value: ast.expr) -> bool:
    """What an alias of a type stands for, such as ``tuple[int, str]``, and a type variable."""
    if isinstance(value, ast.Subscript):
        return ast.unparse(value.value) in TYPES
    return isinstance(value, ast.Call) and ast.unparse(value.func) == "TypeVar"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}…"


def _with(node: ast.AST, **fields: object) -> ast.expr:
    """A copy of `node` with other fields."""
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed  # type: ignore[return-value]


def _first_name(node: ast.AST) -> str:
    """`a` of ``a``, ``a.b`` and ``a.b().c``; of ``self.a``, too, and of anything else nothing."""
    names: list[str] = []
    while isinstance(node, (ast.Attribute, ast.Call)):
        if isinstance(node, ast.Attribute):
            names.append(node.attr)
        node = node.value if isinstance(node, ast.Attribute) else node.func
    if isinstance(node, ast.Name):
        names.append(node.id)
    return next((name for name in reversed(names) if name not in ("self", "typing")), "")


def functions_of(source: bytes) -> Iterator[tuple[str, ast.stmt]]:
    """Every function's qualified name and the first statement of its body behind the docstring."""

    def inside(nodes: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.stmt]]:
        for node in nodes:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                name = f"{prefix}{node.name}"
                if not isinstance(node, ast.ClassDef):
                    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
                    if body:
                        yield name, body[0]
                yield from inside(node.body, f"{name}.")
            else:
                for field in ("body", "orelse", "finalbody", "handlers"):
                    yield from inside(getattr(node, field, []), prefix)

    yield from inside(ast.parse(source).body, "")
