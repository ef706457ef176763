"""Where an application is defined, and modules with tasks of it."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from nbqueue.exceptions import ConfigurationError


def import_related(
    packages: Iterable[str] | Callable[[], Iterable[str]] | None, related_name: str | None
) -> None:
    """Import ``PACKAGE.related_name`` of each package that has it; None: the packages themselves."""
    found = _installed_apps() if packages is None else packages() if callable(packages) else packages
    for package in found:
        importlib.import_module(package)
        if related_name is None:
            continue
        name = f"{package}.{related_name}"
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)


def _installed_apps() -> Iterable[str]:
    settings = sys.modules.get("django.conf")
    if settings is None:
        raise ConfigurationError("autodiscover_tasks() without packages is for Django, which is not loaded")
    return [config.name for config in importlib.import_module("django.apps").apps.get_app_configs()]


def place_of(app: Any) -> tuple[str, str]:
    """``MODULE:NAME`` of an application, and a folder that has to be on the path for it, or "".

    Raises
    ------
    ConfigurationError
        It is no variable of any module, so that other processes could not import it.
    """
    main = sys.modules["__main__"]
    modules = [main, *(module for module in list(sys.modules.values()) if module is not main)]
    for module in modules:
        if module.__name__.startswith(f"{__package__}."):
            continue  # where we keep the current one, say
        members = vars(module) if isinstance(module, ModuleType) else {}
        attribute = next((name for name, value in list(members.items()) if value is app), None)
        if attribute is not None:
            name, folder = _name_and_folder(module)
            return f"{name}:{attribute}", folder
    raise ConfigurationError("workers import the application: it has to be a variable of a module")


def _name_and_folder(module: ModuleType) -> tuple[str, str]:
    """Under which name others import a module, and from which folder if it was run as a script."""
    if module.__name__ != "__main__":
        return module.__name__, ""
    spec = getattr(module, "__spec__", None)
    if spec is not None:  # python -m proj.celery
        return spec.name.removesuffix(".__main__"), ""
    file = getattr(module, "__file__", None)
    if not file:
        raise ConfigurationError(
            "workers import the application: it has to stand in a file, not in a notebook"
        )
    path = Path(file).resolve()
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts), str(folder)
