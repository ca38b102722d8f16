"""Mutants of a module: its text with one operator, number, condition, argument or statement changed.

A mutant is known by the statement that it changes, not by a line number, so that what is known of it outlives changes
elsewhere in the file.
"""

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

OPERATORS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
NAMES = {
    "min": "max", "max": "min", "any": "all", "all": "any", "floor": "ceil", "ceil": "floor", "zeros": "ones",
    "minimum": "maximum", "maximum": "minimum", "argmax": "argmin", "argmin": "argmax", "new_zeros": "new_ones",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change to a module.

    Attributes:
        path: of the module, from the root of the project.
        statement: that is changed; of a compound one the line that opens it.
        change: what is written there in place of what.
        repeat: how many equal changes to equal statements stand above it in the module.
        lines: of the statement, first and last, numbered from 1.
        at_import: whether it runs when the module is imported, in no test.
        source: of the whole module with the change.
    """

    path: str
    statement: str
    change: str
    repeat: int
    lines: tuple[int, int]
    at_import: bool
    source: str

    @property
    def key(self) -> str:
        """What it is known by."""
        return " | ".join([self.path, self.statement, self.change, str(self.repeat)])


def mutants(path: str, source: str) -> list[Mutant]:
    """All mutants of a module, in the order of its text."""
    tree = ast.parse(source)
    text = source.encode()  # the columns of a syntax tree count bytes
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    results, counts = [], Counter[tuple[str, str]]()
    for statement, at_import in _statements(tree):
        first, last = _first_line(statement), _last_line(statement)
        shown = _shown(statement)
        for node, replacement in _changes(statement):
            begin = starts[node.lineno - 1] + node.col_offset
            end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
            before = " ".join(text[begin:end].decode().split())
            change = f"{before} → {replacement}"
            changed = (text[:begin] + _fitting(node, replacement).encode() + text[end:]).decode()
            results.append(Mutant(path, shown, change, counts[shown, change], (first, last), at_import, changed))
            counts[shown, change] += 1
    return results


def _fitting(node: ast.stmt | ast.expr, replacement: str) -> str:
    """With brackets around an expression, which its surroundings might otherwise take apart."""
    return f"({replacement})" if isinstance(node, ast.expr) and not isinstance(node, ast.Constant) else replacement


def _statements(tree: ast.AST, at_import: bool = True) -> Iterator[tuple[ast.stmt, bool]]:
    """Every statement but imports and docstrings, and whether it runs when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt) and not isinstance(node, (ast.Import, ast.ImportFrom)) and not _is_text(node):
            yield node, at_import
        if not isinstance(node, ast.expr):
            yield from _statements(node, at_import and not isinstance(node, ast.FunctionDef))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _shown(statement: ast.stmt) -> str:
    """A simple statement in one line; of a compound one what opens it."""
    if not hasattr(statement, "body"):
        return " ".join(ast.unparse(statement).split())
    alone = copy.copy(statement)
    for name in ("body", "orelse", "handlers", "finalbody", "decorator_list"):
        if hasattr(alone, name):
            setattr(alone, name, [ast.Pass()] if name in ("body", "finalbody") else [])
    return ast.unparse(alone).splitlines()[0]


def _first_line(statement: ast.stmt) -> int:
    """Of what a statement says, with its decorators: a function counts as run from the first of them on."""
    return min([statement.lineno, *(node.lineno for node in getattr(statement, "decorator_list", ()))])


def _last_line(statement: ast.stmt) -> int:
    """Of what a statement says by itself, without the ones inside it."""
    body = getattr(statement, "body", None)
    if body is None:
        return statement.end_lineno or statement.lineno
    return max(statement.lineno, body[0].lineno - 1 if body[0].lineno > statement.lineno else statement.lineno)


def _changes(statement: ast.stmt) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    """Parts of a statement and what to write in their place."""
    if isinstance(statement, (ast.AugAssign, ast.Raise)) or (
        isinstance(statement, ast.Expr) and not isinstance(statement.value, ast.Yield)
    ):
        yield statement, "pass"
    if isinstance(statement, ast.Continue):
        yield statement, "break"
    if isinstance(statement, ast.Break):
        yield statement, "continue"
    if isinstance(statement, ast.AugAssign):
        for other in OPERATORS.get(type(statement.op), ()):
            yield statement, _unparsed(statement, op=other())
    if isinstance(statement, (ast.If, ast.While)):
        yield statement.test, f"not ({ast.unparse(statement.test)})"
    for part in _expressions(statement):
        for changed in _changed(part):
            yield part, changed


def _expressions(statement: ast.stmt) -> Iterator[ast.expr]:
    """All expressions of a statement itself, but annotations, decorators and what stands in texts or errors."""
    if isinstance(statement, ast.Raise):
        return
    for name, value in ast.iter_fields(statement):
        if name in ("annotation", "returns", "decorator_list", "bases", "body", "orelse", "handlers", "finalbody"):
            continue
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)) and name != "args":
            continue
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.arguments):
                for default in [*part.defaults, *part.kw_defaults]:
                    if default is not None:
                        yield from _within(default)
            elif isinstance(part, ast.AST):
                yield from _within(part)


def _within(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.JoinedStr):
        return
    if isinstance(node, ast.expr):
        yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.keyword) and child.arg == "strict"):  # of lengths that always agree
            yield from _within(child)


def _changed(node: ast.expr) -> Iterator[str]:
    """What else an expression might be."""
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            for other in OPERATORS.get(type(operator), ()):
                yield _unparsed(node, ops=[*node.ops[:i], other(), *node.ops[i + 1 :]])
    elif isinstance(node, (ast.BinOp, ast.BoolOp)):
        for other in OPERATORS.get(type(node.op), ()):
            yield _unparsed(node, op=other())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        if not isinstance(node.operand, ast.Constant):  # which is changed by itself
            yield ast.unparse(node.operand)
    elif isinstance(node, ast.IfExp):
        yield _unparsed(node, body=node.orelse, orelse=node.body)
    elif isinstance(node, ast.Constant):
        yield from _other_constant(node.value)
    elif isinstance(node, ast.Call):
        yield from _other_call(node)


def _other_constant(value: object) -> Iterator[str]:
    if isinstance(value, bool):
        yield repr(not value)
    elif isinstance(value, int):
        yield repr(value + 1)
    elif isinstance(value, float):
        yield repr(value * 2 + 1)


def _other_call(node: ast.Call) -> Iterator[str]:
    """Another function of the same kind; one keyword less."""
    if isinstance(node.func, ast.Name) and node.func.id in NAMES:
        yield _unparsed(node, func=ast.Name(NAMES[node.func.id]))
    elif isinstance(node.func, ast.Attribute) and node.func.attr in NAMES:
        yield _unparsed(node, func=ast.Attribute(node.func.value, NAMES[node.func.attr]))
    for i, keyword in enumerate(node.keywords):
        if keyword.arg != "strict":
            yield _unparsed(node, keywords=[*node.keywords[:i], *node.keywords[i + 1 :]])


def _unparsed(node: ast.stmt | ast.expr, **fields: object) -> str:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return ast.unparse(changed)
