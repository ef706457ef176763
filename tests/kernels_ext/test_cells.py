"""What a cell defines and reads, from its text alone."""

import ast

import pytest

from kernels_ext import cells


def read(source: str) -> set[str]:
    return set(cells.globals_read(ast.parse(source).body))


def test_functions_are_those_at_top_level_each_once():
    parts = [
        "def f(): 1",
        "async def g(): 1",
        "class C:\n  def m(self): 1",
        "if 1:\n  def h(): 1",
        "def f(): 2",
    ]
    assert cells.functions(ast.parse("\n".join(parts))) == ["f", "g"]


def test_decorating_leaves_line_numbers_and_other_functions_alone():
    tree = ast.parse("def plain(x):\n    return x\n\n@staticmethod\ndef f(x):\n    return 1 / x\n")
    cells.decorate(tree, ["f"], ast.parse("wrap", mode="eval").body)
    seen = []
    namespace = {"wrap": lambda function: seen.append(function) or function}
    exec(compile(tree, "<cell>", "exec"), namespace)
    assert [type(found) for found in seen] == [staticmethod]
    assert seen[0].__wrapped__.__code__.co_firstlineno == 4


def test_one_decorator_may_go_to_several_functions():
    tree = ast.parse("def f(): pass\n\n\ndef g(): pass")
    cells.decorate(tree, ["f", "g"], ast.parse("wrap(a=(1, 2))", mode="eval").body)
    assert [node.decorator_list[0].lineno for node in tree.body] == [1, 4]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("a + b.c[d]", {"a", "b", "d"}),
        ("total += step", {"total", "step"}),
        ("del table", {"table"}),
        ("await fetch(url)", {"fetch", "url"}),
        ("f'{value!r:{width}}'", {"value", "width"}),
        ("[x + k for x in data]", {"k", "data"}),
        ("lambda x: x + k", {"k"}),
        ("x: Table = load()", {"Table", "load"}),
        ("data[key] = value", {"data", "key", "value"}),
        ("model.rate = 1", {"model"}),
        ("[(y := a) for a in b]", {"b"}),
        ("async with lock as held:\n    held.x\n    other", {"lock", "other"}),
    ],
)
def test_what_an_expression_reads(source, names):
    assert read(source) == names


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("x = 1\nx + 1", set()),
        ("x = x + 1", {"x"}),
        ("import numpy as np\nnp.ones(3)", set()),
        ("import a.b\na.b.c", set()),
        ("from m import n\nn()", set()),
        ("a, (b, *c) = 1, (2, 3)\na + b + c", set()),
        ("with open(p) as file:\n    text = file.read()\ntext", {"open", "p"}),
        ("for i in items:\n    i", {"items"}),
        ("for i in items:\n    pass\ni", {"items", "i"}),
        ("for i in items:\n    last = i\nlast", {"items", "last"}),
        ("if flag:\n    x = 1\nelse:\n    x = 2\nx", {"flag"}),
        ("if flag:\n    x = 1\nx", {"flag", "x"}),
        ("while n:\n    m = n", {"n"}),
        ("x = 1\ndel x\nx", {"x"}),
        ("x: int\nx", {"int", "x"}),
        ("try:\n    import a\nexcept ImportError:\n    a = None\na", {"ImportError"}),
        ("try:\n    x = f()\nexcept E as e:\n    print(e)\nx", {"f", "E", "print", "x"}),
        ("try:\n    y = f()\nfinally:\n    x = 1\nx", {"f"}),
        ("try:\n    x = f()\nexcept* E as e:\n    x = e\nx", {"f", "E"}),
        ("match p:\n  case Point(x=0, y=[h, *t]) if h > k:\n    t", {"p", "Point", "k"}),
        ("match p:\n  case {'a': K.b, **rest}:\n    rest", {"p", "K"}),
    ],
)
def test_a_name_that_is_surely_bound_first_is_not_read(source, names):
    assert read(source) == names


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(x=d):\n    return f(x + g)", {"d", "g"}),
        ("def f():\n    x = 1\n    x += 1\n    return x", set()),
        ("def f():\n    global n\n    n += 1", {"n"}),
        ("@deco\ndef f(x: T) -> R:\n    return x", {"deco", "T", "R"}),
        ("class A(B):\n    y = y\n    def m(self):\n        return A, h", {"B", "y", "h"}),
        ("def f():\n    def g():\n        return k\n    return g", {"k"}),
        ("async def f():\n    return await g()", {"g"}),
        ("def f():\n    return later\nlater = 1", {"later"}),
    ],
)
def test_bodies_of_functions_are_read_with_their_definition(source, names):
    assert read(source) == names


def test_calls_are_found_by_line():
    assert cells.calls_to(ast.parse("x = 1\nf(g())\n\nf(f())").body, "f") == [2, 4]


@pytest.mark.parametrize(
    "source",
    [
        "x = 1",
        "x: int = 1",
        "import x",
        "import x.y",
        "from m import x",
        "from m import *",
        "def x(): pass",
        "class x: pass",
        "for x in y: pass",
        "with a as x: pass",
        "(x := 1)",
        "try: pass\nexcept E as x: pass",
        "match p:\n    case [x]: pass",
        "match p:\n    case {**x}: pass",
        "def f():\n    global x\n    x = 1",
    ],
)
def test_a_cell_that_can_bind_a_name_is_seen_to(source):
    assert cells.never_bound(ast.parse(source).body, ["x", "z"]) in ({"z"}, set())
    assert "x" not in cells.never_bound(ast.parse(source).body, ["x"])


def test_a_name_that_a_cell_only_reads_is_never_bound():
    assert cells.never_bound(ast.parse("x + 1\nx.y = 2\nx[0] = 3").body, ["x"]) == {"x"}
