"""What people write in cells: functions of every kind, each with a check that it runs elsewhere as here.

``assert_equal(f, *args)`` holds a run on a worker against one here; ``assert_value(f, value)``, against a
value.
"""

CELLS = {
    "globals and helpers": """
        K = 5
        def g(x): return x + K
        def f(x): return g(x) * 2
        assert_equal(f, 1)
    """,
    "recursion": """
        def f(n): return 1 if n < 2 else n * f(n - 1)
        assert_equal(f, 6)
    """,
    "functions that call one another": """
        def even(n): return n == 0 or odd(n - 1)
        def odd(n): return n != 0 and even(n - 1)
        def f(n): return even(n)
        assert_equal(f, 7)
    """,
    "lambdas and nested functions": """
        scale = lambda x: x * 10
        def f(x):
            def inner(y): return scale(y) + x
            return inner(1)
        assert_equal(f, 2)
    """,
    "a closure": """
        def make(data, label):
            def f(i): return label, data[i]
            return f
        f = make([1, 2, 3], "n")
        assert_equal(f, 2)
    """,
    "closures that share a variable": """
        def make():
            n = 0
            def bump():
                nonlocal n
                n += 1
            def read(): return n
            return bump, read
        bump, read = make()
        def f():
            bump(); bump()
            return read()
        assert_value(f, 2)
    """,
    "closures that share a captured variable": """
        def make():
            seen = []
            def add(x): seen.append(x)
            def read(): return seen
            return add, read
        add, read = make()
        def f():
            add(1)
            return read()
        assert_value(f, [1])
    """,
    "a nested function that calls itself": """
        def make():
            def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
            return fib
        f = make()
        assert_equal(f, 10)
    """,
    "defaults and keyword defaults": """
        def f(a, b=2, *rest, c=3, **more): return a, b, rest, c, more
        assert_equal(f, 1)
        assert_equal(f, 1, 5, 6, c=7, d=8)
    """,
    "a decorator": """
        import functools
        def twice(function):
            @functools.wraps(function)
            def wrapper(*args): return function(*args) * 2
            return wrapper
        @twice
        def f(x):
            "doc"
            return x + 1
        assert_equal(f, 1)
    """,
    "a generic decorator": """
        from collections.abc import Callable
        from functools import wraps
        from typing import NewType, ParamSpec, TypeVar
        P = ParamSpec("P")
        T = TypeVar("T")
        UserId = NewType("UserId", int)
        def same(function: Callable[P, T]) -> Callable[P, T]:
            @wraps(function)
            def wrapper(*args: P.args, **kwargs: P.kwargs) -> T: return function(*args, **kwargs)
            return wrapper
        @same
        def f(x: UserId) -> UserId: return UserId(same(lambda y: y + 1)(x))
        assert_equal(f, 1)
    """,
    "functools.partial and lru_cache": """
        import functools
        def power(base, n): return base ** n
        square = functools.partial(power, n=2)
        @functools.cache
        def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
        @functools.lru_cache(maxsize=3, typed=True)
        def half(n): return n / 2
        def f(x): return square(x), fib(20), half(x), half.cache_parameters()
        assert_equal(f, 3)
    """,
    "functools.singledispatch": """
        import functools
        @functools.singledispatch
        def show(x): return "any"
        @show.register
        def _(x: int): return "int"
        def f(x): return show(x), show("s")
        assert_equal(f, 3)
    """,
    "dataclasses": """
        import dataclasses
        @dataclasses.dataclass(frozen=True)
        class Point:
            x: int
            tags: list = dataclasses.field(default_factory=list)
            y: int = 2
        def f(p):
            assert isinstance(p, Point)
            assert dataclasses.fields(Point)[0].default is dataclasses.MISSING
            return dataclasses.replace(p, x=p.x + 1), Point(1), dataclasses.asdict(p)
        assert_equal(f, Point(1))
    """,
    "enums": """
        import enum
        class Color(enum.Enum):
            RED = 1
            BLUE = 2
            def other(self): return Color.BLUE if self is Color.RED else Color.RED
        class Flag(enum.IntFlag):
            A = 1
            B = 2
        def f(c, g): return c.other(), c is Color.RED, g | Flag.B
        assert_equal(f, Color.RED, Flag.A)
    """,
    "named tuples": """
        import collections, typing
        class Pair(typing.NamedTuple):
            a: int
            b: int = 2
            def total(self): return self.a + self.b
        Other = collections.namedtuple("Other", "u v")
        def f(p): return p.total(), Pair(5), Other(1, 2), p._replace(a=9)
        assert_equal(f, Pair(3))
    """,
    "classes with super, properties and class attributes": """
        class Base:
            rate = 0.5
            def __init__(self, x): self.x = x
            @property
            def scaled(self): return self.x * self.rate
            @classmethod
            def make(cls): return cls(1)
            @staticmethod
            def name(): return "base"
        class Child(Base):
            __slots__ = ("extra",)
            def __init__(self, x):
                super().__init__(x)
                self.extra = K
            def __eq__(self, other): return isinstance(other, Child) and self.key() == other.key()
            def key(self): return self.x, self.extra
        K = 3
        def f(c): return c.scaled, Child.make(), c.name(), isinstance(c, Base), c
        assert_equal(f, Child(4))
    """,
    "abstract and generic classes": """
        import abc
        from typing import Generic, TypeVar
        T = TypeVar("T")
        class Shape(abc.ABC):
            @abc.abstractmethod
            def area(self): ...
        class Box(Shape, Generic[T]):
            def __init__(self, item: T): self.item = item
            def area(self): return self.item * 2
        def f(x):
            try: Shape()
            except TypeError: return Box[int](x).area(), isinstance(Box(1), Shape)
        assert_equal(f, 3)
    """,
    "a class made inside of a function reads globals in its body": """
        K = 4
        def f():
            class A:
                k = K
            return A.k
        assert_equal(f)
    """,
    "generators": """
        def numbers(n):
            for i in range(n): yield i * K
        K = 3
        def f(n): return list(numbers(n)), sum(x * K for x in range(n))
        assert_equal(f, 4)
    """,
    "async functions": """
        import asyncio
        async def double(x):
            await asyncio.sleep(0)
            return x * 2
        async def main(x): return await asyncio.gather(double(x), double(x + 1))
        def f(x): return asyncio.run(main(x))
        assert_equal(f, 2)
    """,
    "from __future__ import annotations": """
        from __future__ import annotations
        import dataclasses
        @dataclasses.dataclass
        class Node:
            value: int
            next: Node | None = None
        def f(n: Node) -> Node: return Node(n.value + 1, n)
        assert_equal(f, Node(1))
    """,
    "a global statement": """
        counter = 10
        def f():
            global counter, fresh
            counter += 1
            fresh = counter
            return fresh
        assert_value(f, 11)
        assert_value(f, 11)
    """,
    "sentinels": """
        MISSING = object()
        class _Unset:
            def __repr__(self): return "UNSET"
        UNSET = _Unset()
        def f(a=MISSING, b=UNSET): return a is MISSING, b is UNSET
        assert_equal(f)
    """,
    "submodules of packages": """
        import concurrent.futures, xml.dom.minidom
        import os.path as path
        def f(): return concurrent.futures.Future.__name__, xml.dom.minidom.__name__, path.join("a", "b")
        assert_equal(f)
    """,
    "functions and instances in containers": """
        class Op:
            def __init__(self, k): self.k = k
            def __call__(self, x): return x + self.k * K
        K = 2
        def inc(x): return x + K
        OPS = {"inc": inc, "lambda": lambda x: x * K, "op": Op(5)}
        def f(x):
            assert OPS["inc"](0) == K
            return [op(x) for op in OPS.values()]
        assert_equal(f, 1)
    """,
    "arguments that are functions": """
        K = 2
        def helper(x): return x * K
        def f(function, x): return function(x), [g(x) for g in (function, lambda y: helper(y) + 1)]
        assert_equal(f, helper, 4)
        assert_equal(f, lambda x: helper(x) + K, 4)
    """,
    "names missing here are missing there": """
        def f():
            try: return nothing
            except NameError as error: return str(error)
        assert_equal(f)
    """,
    "builtins covered by a global": """
        def f(x): return max(x)
        assert_value(f, 3, [1, 3])
        def max(x): return "mine"
        assert_value(f, "mine", [1, 3])
        del max
        assert_value(f, 3, [1, 3])
    """,
    "what IPython puts in the place of a builtin stays here": """
        from IPython.core.interactiveshell import _modified_open as open
        def f(x):
            import sys
            with open("/dev/null") as file: return x or ("IPython" in sys.modules, file.read())
        assert_value(f, (False, ""), 0)
    """,
    "a function has the attributes that it had": """
        def f(x: int = 3) -> str:
            "doc"
            return f.__module__, f.__name__, f.__qualname__, f.__doc__, f.__annotations__, f.mark, __name__
        f.mark = 1
        assert_equal(f)
    """,
}
