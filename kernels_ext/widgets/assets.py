"""The pages' code, as anywidget wants it: one ES module and one style sheet for each widget.

The modules in static/ import one another; anywidget loads each widget's module from a blob, where relative
imports lead nowhere.  So the imported modules are put in front, each once, and the words import and export
taken away.
"""

import re
from functools import cache
from pathlib import Path

STATIC = Path(__file__).parent.parent / "static"

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w.]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const)\b)", re.MULTILINE)


@cache
def module(name: str) -> str:
    """The ES module static/NAME with all that it imports; its default export stays."""
    return "\n".join(_part(part) for part in _in_order(name))


@cache
def style() -> str:
    """The style sheet of all widgets."""
    return (STATIC / "nbqueue.css").read_text(encoding="utf-8")


def _in_order(name: str) -> list[str]:
    """Names of the modules that ``name`` needs and its own, each after what it imports."""
    names = [needed for imported in _IMPORT.findall(_source(name)) for needed in _in_order(imported)]
    return list(dict.fromkeys([*names, name]))


def _part(name: str) -> str:
    return _EXPORT.sub("", _IMPORT.sub("", _source(name)))


def _source(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")
