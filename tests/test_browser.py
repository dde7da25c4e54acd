"""The widgets in JupyterLab in a real browser: run, acted on by keyboard alone, read as a screen reader would, looked at. Skipped where no Chromium or playwright is installed, unless TROUTER_BROWSER is set."""
import importlib.util, os, shutil
from pathlib import Path

import pytest

from support.lab import browser_program, lab

ROOT = Path(__file__).resolve().parents[1]
there = browser_program() and importlib.util.find_spec('playwright') and importlib.util.find_spec('jupyterlab')
pytestmark = pytest.mark.skipif(not there and not os.environ.get('TROUTER_BROWSER'), reason='Chromium, playwright or jupyterlab is not installed')


@pytest.fixture(scope='module')
def jupyter(tmp_path_factory):
    "JupyterLab on a copy of the notebooks."
    root = tmp_path_factory.mktemp('lab')
    shutil.copytree(ROOT/'nbs', root/'nbs', ignore=shutil.ignore_patterns('.ipynb_checkpoints'))
    with lab(root/'nbs', tmp_path_factory.mktemp('home')) as running:
        yield running
        assert running.requests and not running.strangers(), running.strangers()


def test_panel(jupyter, tmp_path):
    with jupyter.notebook('app/02_looks.ipynb') as nb:
        nb.run_all()
        panel = nb.widget('Three candidates')
        print(panel.aria_snapshot()); panel.screenshot(path='/tmp/panel.png')
        print(nb.names(panel))
    with jupyter.notebook('app/02_looks.ipynb', dark=True) as nb:
        nb.run_all()
        nb.widget('Three candidates').screenshot(path='/tmp/panel_dark.png')
