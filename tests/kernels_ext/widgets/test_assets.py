"""The modules that pages load."""

import re
import shutil
import subprocess

import pytest

from kernels_ext.widgets.assets import STATIC, module, style
from kernels_ext.widgets.messages import KINDS


@pytest.mark.parametrize("name", ["result.js", "grid.js"])
def test_a_module_stands_alone_and_exports_its_widget(name):
    source = module(name)
    assert re.search(r"^import ", source, re.MULTILINE) is None
    assert re.findall(r"^export \w+", source, re.MULTILINE) == ["export default"]


@pytest.mark.parametrize("name", ["result.js", "grid.js"])
def test_a_module_has_each_part_once(name):
    assert module(name).count("class Terminal") == 1


@pytest.mark.parametrize("name", ["result.js", "grid.js"])
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_a_module_is_valid(name, tmp_path):
    path = tmp_path / "widget.mjs"
    path.write_text(module(name))
    subprocess.run(["node", "--check", path], check=True)


def test_nothing_that_a_task_says_is_parsed_as_html():
    for path in STATIC.glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", path.read_text()), (
            path
        )


def test_nothing_is_loaded_from_elsewhere():
    for path in STATIC.iterdir():
        # a namespace is a name, not an address
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, path


def test_page_and_kernel_agree_on_the_codes_of_kinds():
    [listed] = re.findall(r"KINDS = \[(.*)\]", (STATIC / "kinds.js").read_text())
    assert tuple(re.findall(r'"(\w+)"', listed)) == KINDS


def test_the_style_knows_all_kinds():
    for kind in KINDS:
        assert f"--nbq-{kind}:" in style()
