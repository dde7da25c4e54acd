"Every notebook runs from top to bottom."
import os
from pathlib import Path

import pytest
from nbdev.test import test_nb as run_notebook

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)


@pytest.mark.skipif(bool(os.environ.get('TROUTER_NOTEBOOKS_DONE')), reason='nbdev-test has just run them')
@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.relative_to(ROOT/'nbs').as_posix())
def test_notebook(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    ok, seconds = run_notebook(path, basepath=ROOT)
    assert ok, f'{path.name}: a cell failed; nbdev-test {path.relative_to(ROOT)} shows which'
