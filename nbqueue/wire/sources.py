"""The lines of a notebook's cells and of local files, wherever a traceback is shown.

``linecache`` is where Python and IPython look for them; what came from elsewhere is put there.
"""

import linecache

#: file name → what people call it ("Cell In[3]"); the notebook's side fills it in for its cells,
#: definitions carry it to the workers
shown_names: dict[str, str] = {}
#: characters past which a source does not travel
_LONGEST = 500_000


def source_of(filename: str) -> tuple[str, str] | None:
    """The text of a file or cell, and what it is called; None if there is none, or too much of it."""
    text = "".join(linecache.getlines(filename))
    return (text, shown_names.get(filename, filename)) if 0 < len(text) <= _LONGEST else None


def remember(sources: dict[str, tuple[str, str]]) -> None:
    """Make sources known that came from elsewhere; what this process has itself is left as it is."""
    for filename, (text, shown) in sources.items():
        if shown != filename:
            shown_names.setdefault(filename, shown)
        if not linecache.getlines(filename):
            linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)


def is_remembered(filename: str) -> bool:
    """Whether only linecache has it: a cell, or what :func:`remember` put there."""
    entry = linecache.cache.get(filename)
    return entry is not None and len(entry) > 1 and entry[1] is None
