"""What a cell defines and reads, found in its syntax tree without running it.

Two questions are asked here.  ``%%task`` asks which functions a cell defines at top level, and has
them decorated.  ``%%submit`` asks which names the cell takes from the notebook: those that it may read
before it has bound them itself.  A name that is surely bound first (``with open(p) as file:
file.read()``) stays behind even if the notebook has one like it: it may be large, stale, or not
picklable.  In doubt a name counts as read: one value too many travels, but none is missing.

Scopes are Python's own business (``symtable``); the order of statements is followed here.
"""

import ast
import copy
import symtable
from collections.abc import Iterable, Sequence

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.Module) -> list[str]:
    """Names of the functions that a cell defines at top level, in order, each once."""
    return list(dict.fromkeys(node.name for node in tree.body if isinstance(node, FunctionNode)))


def decorate(tree: ast.Module, names: Iterable[str], decorator: ast.expr) -> None:
    """Put ``decorator`` outermost on the top-level functions of these names, in place.

    Line numbers stay as they are: a function still starts at its ``def`` or its first own decorator.
    """
    wanted = set(names)
    for node in tree.body:
        if isinstance(node, FunctionNode) and node.name in wanted:
            line = min([node.lineno, *(own.lineno for own in node.decorator_list)])
            node.decorator_list.insert(0, _at(decorator, line, node.col_offset))


def globals_read(body: Sequence[ast.stmt]) -> list[str]:
    """Names that module-level statements may take from outside, builtins included, in order of reading."""
    reads = _Reads()
    reads.run(body)
    return list(reads.needed)


def never_bound(body: Sequence[ast.stmt], names: Iterable[str]) -> set[str]:
    """Those names that no statement of a cell can bind."""
    bound: set[str] = set()
    for node in (node for statement in body for node in ast.walk(statement)):
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            return set()
        bound |= _targets(node) | _bound_by(node)
    return set(names) - bound


def calls_to(body: Sequence[ast.stmt], name: str) -> list[int]:
    """Lines on which the function ``name`` is called."""
    nodes = (node for statement in body for node in ast.walk(statement))
    calls = (node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
    return sorted({call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == name})


def _at(expression: ast.expr, line: int, column: int) -> ast.expr:
    """A copy of an expression that stands at one place of another source."""
    moved = copy.deepcopy(expression)
    for node in ast.walk(moved):
        if isinstance(node, ast.expr | ast.keyword):
            node.lineno = node.end_lineno = line
            node.col_offset = node.end_col_offset = column
    return moved


class _Reads(ast.NodeVisitor):
    """Follows statements in order, and notes names that are read while they may still be unbound."""

    def __init__(self) -> None:
        self.needed: dict[str, None] = {}  # a dict keeps the order
        self.bound: set[str] = set()

    def run(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            self.visit(statement)

    def generic_visit(self, node: ast.AST) -> None:
        """A simple statement: its expressions are read, then its targets are bound."""
        self._read(node)
        self.bound |= _targets(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        self._read(node)
        self.bound -= _names(node, ast.Del)

    def visit_FunctionDef(self, node: FunctionNode | ast.ClassDef) -> None:
        """A body of a function runs later: when the name of the definition is bound already."""
        now, later = _global_reads(node)
        self._need(now)
        self.bound.add(node.name)
        self._need(later)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - ast says how it is called
    visit_ClassDef = visit_FunctionDef  # noqa: N815 - ast says how it is called

    def visit_If(self, node: ast.If) -> None:
        self._read(node.test)
        self.bound = self._branch(node.body) & self._branch(node.orelse)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        """The body may never run, so what it binds does not count afterwards."""
        self._read(node.iter)
        self._branch([_assignment(node.target), *node.body])
        self._branch(node.orelse)

    visit_AsyncFor = visit_For  # noqa: N815 - ast says how it is called

    def visit_While(self, node: ast.While) -> None:
        self._read(node.test)
        self._branch(node.body)
        self._branch(node.orelse)

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self._read(item.context_expr)
            if item.optional_vars is not None:
                self.visit(_assignment(item.optional_vars))
        self.run(node.body)

    visit_AsyncWith = visit_With  # noqa: N815 - ast says how it is called

    def visit_Try(self, node: "ast.Try | ast.TryStar") -> None:
        ends = [self._branch([*node.body, *node.orelse])]
        for handler in node.handlers:
            if handler.type is not None:
                self._read(handler.type)
            ends.append(self._branch(handler.body, {handler.name} if handler.name else set()))
        after = set.intersection(*ends) - {handler.name or "" for handler in node.handlers}
        self.run(node.finalbody)
        self.bound |= after

    visit_TryStar = visit_Try  # noqa: N815 - ast says how it is called

    def visit_Match(self, node: ast.Match) -> None:
        self._read(node.subject)
        for case in node.cases:
            captured = _captures(case.pattern)
            self._read_case(case, captured)
            self._branch(case.body, captured)

    def _branch(self, body: Sequence[ast.stmt], bound: Iterable[str] = ()) -> set[str]:
        """Follow statements that may not run; returns what is bound when they did."""
        before, self.bound = self.bound, self.bound | set(bound)
        self.run(body)
        after, self.bound = self.bound, before
        return after

    def _read_case(self, case: ast.match_case, captured: set[str]) -> None:
        for node in ast.walk(case.pattern):
            if isinstance(node, ast.MatchValue):
                self._read(node.value)
            elif isinstance(node, ast.MatchClass):
                self._read(node.cls)
        if case.guard is not None:
            now, later = _global_reads(case.guard)
            self._need((now | later) - captured)

    def _read(self, node: ast.AST) -> None:
        now, later = _global_reads(node)
        self._need(now | later)

    def _need(self, names: set[str]) -> None:
        self.needed.update(dict.fromkeys(sorted(names - self.bound)))


def _global_reads(node: ast.AST) -> tuple[set[str], set[str]]:
    """Globals that a node reads: those at once, and those in functions that it defines."""
    # symtable leaves out what is both read and bound by one operation
    augmented = (part.target for part in ast.walk(node) if isinstance(part, ast.AugAssign))
    updated = _names(node, ast.Del).union(*(_names(target, ast.Store) for target in augmented))
    now: set[str] = set()
    later: set[str] = set()
    tables = [symtable.symtable(ast.unparse(node), "<cell>", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        found = later if table.get_type() == "function" else now
        found.update(s.get_name() for s in table.get_symbols() if _reads_global(s, table, updated))
    return now, later


def _reads_global(symbol: symtable.Symbol, table: symtable.SymbolTable, updated: set[str]) -> bool:
    if not (symbol.is_referenced() or symbol.get_name() in updated):
        return False
    # in the body of a class a name that is bound there may still be read from outside before
    return symbol.is_global() or table.get_type() in ("module", "class")


def _bound_by(node: ast.AST) -> set[str]:
    """Names that a part of a statement binds by itself, in whatever scope."""
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Store) else set()
    if isinstance(node, ast.pattern):
        return _captures(node)
    if isinstance(node, FunctionNode | ast.ClassDef | ast.ExceptHandler):
        return {node.name} if node.name else set()
    return set()


def _assignment(target: ast.expr) -> ast.stmt:
    """What ``for`` and ``with`` do to their targets."""
    return ast.Assign(targets=[target], value=ast.Constant(None), lineno=target.lineno)


def _targets(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.AnnAssign) and node.value is None:
        return set()
    if isinstance(node, ast.AnnAssign | ast.AugAssign):
        return _names(node.target, ast.Store)
    if isinstance(node, ast.Assign):
        return {name for target in node.targets for name in _names(target, ast.Store)}
    return set()


def _names(node: ast.AST, context: type[ast.expr_context]) -> set[str]:
    names = (part for part in ast.walk(node) if isinstance(part, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, context)}


def _captures(pattern: ast.pattern) -> set[str]:
    """Names that a pattern of ``match`` binds."""
    parts = list(ast.walk(pattern))
    names = {part.name for part in parts if isinstance(part, ast.MatchAs | ast.MatchStar) and part.name}
    return names | {part.rest for part in parts if isinstance(part, ast.MatchMapping) and part.rest}
