"""docs/explain/from-celery.md names what there is: names can be found, links lead somewhere."""

import importlib
import re
from pathlib import Path

import pytest

import nbqueue
from nbqueue import App
from nbqueue.cli import celery_words
from nbqueue.cli.main import COMMANDS
from nbqueue.client.elsewhere import OF_APPS
from nbqueue.settings import canonical

PAGE = Path(__file__).parents[2] / "docs" / "explain" / "from-celery.md"
TEXT = PAGE.read_text("utf-8")
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith(("| Celery |", "| --- "))
]
#: what is said to be here
OURS = " ".join(row[1] for row in ROWS)


def test_each_row_has_what_it_is_in_celery_here_and_why() -> None:
    assert len(ROWS) > 60
    assert [row for row in ROWS if len(row) != 3 or not row[0] or not row[1]] == []


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", TEXT))))
def test_links_lead_to_a_heading_of_a_page(link: str) -> None:
    page, _, anchor = link.partition("#")
    text = (PAGE.parent / page).read_text("utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert not anchor or anchor in slugs


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`nbqueue\.(\w+(?:\.\w+)*)", OURS))))
def test_what_is_said_to_be_in_the_package_is_there(name: str) -> None:
    module, _, attribute = f"nbqueue.{name}".rpartition(".")
    assert hasattr(importlib.import_module(module) if module != "nbqueue" else nbqueue, attribute)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`app\.(\w+)", OURS))))
def test_what_is_said_to_be_of_an_application_is_there(name: str) -> None:
    assert hasattr(App("from celery"), name)


@pytest.mark.parametrize("module", re.findall(r"`\.([a-z.]+)`", ROWS[0][0]))
def test_modules_have_celerys_names(module: str) -> None:
    importlib.import_module(f"nbqueue.{module}")


def test_commands_and_parts_that_are_not_here_are_listed() -> None:
    assert [name for name in celery_words.COMMANDS if f"`{name}`" not in TEXT and name != "help"] == []
    assert [
        name for name in re.findall(r"`app\.(amqp|pool|loader|steps|Worker)`", TEXT) if name not in OF_APPS
    ] == []


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`nbqueue (\w+)", TEXT))))
def test_commands_that_are_named_are_there(command: str) -> None:
    assert command in COMMANDS


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:task|result|worker|beat)_\w+)`", OURS))))
def test_settings_that_are_named_are_there(name: str) -> None:
    assert canonical(name)
