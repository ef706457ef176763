"""Widgets are legible in JupyterLab's light and dark themes."""

import pytest

from tests.browser.jupyter import Notebook

CELL = """%%task
def divide(x):
    print("dividing by \\x1b[34mzero\\x1b[0m")
    return x / 0
"""
SET_THEME = """async theme => {
    await jupyterapp.commands.execute('apputils:change-theme', {theme});
    const light = String(!theme.includes('Dark'));
    const splash = () => document.getElementById('jupyterlab-splash');
    while (document.body.dataset.jpThemeLight !== light || splash()) await new Promise(requestAnimationFrame);
}"""
#: the contrast (WCAG 2) of each element's colour with what is behind it
CONTRASTS = """elements => {
    const pen = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const painted = colors => {
        pen.clearRect(0, 0, 1, 1);
        for (const color of colors) { pen.fillStyle = color; pen.fillRect(0, 0, 1, 1); }
        return pen.getImageData(0, 0, 1, 1).data;
    };
    const luminance = ([r, g, b]) => [r, g, b]
        .map(part => part / 255)
        .map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
    const backdrop = element => {
        const found = [];
        for (let at = element; at; at = at.parentElement) found.unshift(getComputedStyle(at).backgroundColor);
        return found;
    };
    return elements.map(element => {
        const behind = backdrop(element);
        const a = luminance(painted(behind));
        const b = luminance(painted([...behind, getComputedStyle(element).color]));
        return [element.textContent, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    });
}"""


@pytest.fixture(scope="module")
def notebook(server, page):
    notebook = Notebook(server, page, "JupyterLab", "themes.ipynb")
    notebook.run("%load_ext nbqueue")
    notebook.run(CELL)
    return notebook


@pytest.fixture(scope="module")
def cells(notebook):
    failed = notebook.run("divide.delay(1)")
    grid = notebook.run("fits = divide.map(range(60))\nfits")
    failed.card.get_by_label("Traceback").wait_for()
    grid.card.get_by_role("button", name="60 failed").wait_for()
    return [failed, grid]


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_text_stands_out(notebook, cells, page, shot, theme):
    page.evaluate(SET_THEME, theme)
    texts = ".nbq-chip span, .nbq-name, .nbq-id, .nbq-notes, .nbq-pace, .nbq-text, .nbq-text span, .nbq-entry"
    for cell in cells:
        contrasts = cell.card.locator(texts).evaluate_all(CONTRASTS)
        assert len(contrasts) > 4
        # 3 is for what is coloured, large or beside the point; plain text has much more
        assert [(text, round(value, 1)) for text, value in contrasts if text.strip() and value < 3] == []
    shot(theme)
