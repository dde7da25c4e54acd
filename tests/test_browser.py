"""The tour and the widgets in JupyterLab in a real browser: acted on by keyboard alone, read as a screen reader would, looked at in both themes. Nothing may leave this machine.
Skipped where Chromium, playwright or jupyterlab is missing, unless TROUTER_BROWSER is set. Screenshots go to $TROUTER_SHOTS, where that is set."""
import importlib.util, os, re, shutil, time
from pathlib import Path

import pytest

from support.lab import browser_program, lab

ROOT = Path(__file__).resolve().parents[1]
there = browser_program() and importlib.util.find_spec('playwright') and importlib.util.find_spec('jupyterlab')
pytestmark = pytest.mark.skipif(not there and not os.environ.get('TROUTER_BROWSER'), reason='Chromium, playwright or jupyterlab is not installed')


@pytest.fixture(scope='module')
def jupyter(tmp_path_factory):
    "JupyterLab on a copy of the notebooks; at the end, no page has asked another machine for anything."
    root = tmp_path_factory.mktemp('lab')
    shutil.copytree(ROOT/'nbs', root/'nbs', ignore=shutil.ignore_patterns('.ipynb_checkpoints'))
    with lab(root/'nbs', tmp_path_factory.mktemp('home')) as running:
        yield running
        assert len(running.requests) > 100 and not running.strangers(), running.strangers()


def shot(widget, name):
    "A screenshot that is not of one colour."
    data = widget.screenshot()
    if os.environ.get('TROUTER_SHOTS'): Path(os.environ['TROUTER_SHOTS'], f'{name}.png').write_bytes(data)
    assert len(data) > 5000, f'{name}: an empty picture'


def says(widget, pattern, timeout=20):
    "Wait until the words below the picture match."
    end, status = time.monotonic() + timeout, widget.get_by_role('status').first
    while time.monotonic() < end:
        if re.search(pattern, words := status.inner_text()): return words
        time.sleep(.02)
    raise AssertionError(f'{pattern!r} was not said in {timeout} s, but {words!r}')


def settled(widget, quiet=1., timeout=30):
    "The words below the picture, once they have stayed the same for `quiet` seconds: every letter is answered by then."
    end, since, status, words = time.monotonic() + timeout, time.monotonic(), widget.get_by_role('status').first, None
    while time.monotonic() < end:
        if (now := status.inner_text()) != words: words, since = now, time.monotonic()
        if time.monotonic() - since > quiet: return words
        time.sleep(.02)
    raise AssertionError(f'the words did not come to rest in {timeout} s; the last were {words!r}')


def reach(nb, widget, role, name, most=80):
    "Press Tab until a control has the focus, as somebody without a mouse would."
    wanted = widget.get_by_role(role, name=name).first.element_handle()
    for _ in range(most):
        if nb.page.evaluate('e => document.activeElement === e', wanted): return
        nb.keys('Tab')
    raise AssertionError(f'{role} {name!r} cannot be reached with the Tab key')


def start(nb, widget):
    "Put the focus on the first control of a widget."
    widget.locator('input, textarea, select, button, [tabindex="0"]').first.focus()


def check_names(widget):
    "Every control has a name that a screen reader can say."
    unnamed = [line.strip() for line in widget.aria_snapshot().splitlines() if re.match(r'\s*- (textbox|combobox|slider|button|checkbox|radio|spinbutton|listbox)\s*(?:\[.*\])?(?::.*)?$', line)]
    assert not unnamed, unnamed


def at_both_ends(nb, widget):
    "Take the slider of the preference from end to end by keyboard; the words at weight 0 and at weight 1."
    start(nb, widget); reach(nb, widget, 'slider', 'Weight of performance')
    nb.keys('Home'); low = says(widget, r'With weight 0(\.00)? on performance')
    nb.keys('End'); return low, says(widget, r'With weight 1(\.00)? on performance')


CONTRAST = '''el => { const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
    let back = el; while (back && /rgba\\(.*, 0\\)|transparent/.test(getComputedStyle(back).backgroundColor)) back = back.parentElement;
    const a = light(getComputedStyle(el).color), b = light(getComputedStyle(back || document.body).backgroundColor); return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); }'''


def check_readable(widget):
    "Words and the ink of the picture stand out from the page: at least 4.5 to 1 (WCAG 2.2, 1.4.3)."
    for selector in ('[role=status]', 'svg[role=img]'):
        assert widget.locator(selector).first.evaluate(CONTRAST) >= 4.5, selector


def test_inspector(jupyter):
    with jupyter.notebook('app/03_inspector.ipynb') as nb:
        nb.run_all()
        widget = nb.widget('What kind of question is this?')
        check_names(widget); check_readable(widget)
        start(nb, widget); reach(nb, widget, 'textbox', 'Query')
        nb.keys('Control+a'); nb.page.keyboard.type('Translate good morning into Frenc')
        says(widget, 'Looks like'); before = settled(widget); began = time.monotonic()
        nb.keys('h')
        while widget.get_by_role('status').first.inner_text() == before and time.monotonic() - began < 10: time.sleep(.005)
        took = time.monotonic() - began
        assert took < 2, f'{took:.2f} s from the key to the new words'
        words = settled(widget)
        assert re.search(r'(?s)Looks like .*%.*Then .*%', words), words
        assert widget.locator('svg[role=img]').first.get_attribute('aria-label').split('.')[0] in words.replace('\n', ' ')
        print(f'\n{took * 1e3:.0f} ms from the key to the new words in the browser: {words.splitlines()[0][:100]}')
        shot(widget, 'inspector')
        nb.keys('Control+a', 'Delete'); says(widget, 'Type a query')


def test_explorer(jupyter):
    with jupyter.notebook('app/04_explorer.ipynb') as nb:
        nb.run_all()
        widget = nb.widget('Which model, and why?')
        check_names(widget)
        start(nb, widget); reach(nb, widget, 'slider', 'Weight of performance')
        says(widget, 'With weight 0.50')
        nb.keys('ArrowRight'); says(widget, 'With weight 0.51')
        cheap, good = at_both_ends(nb, widget)
        chosen = lambda words: re.search(r'on performance: (\S+),', words)[1]
        assert 'flips' in good and chosen(cheap) != chosen(good)
        shot(widget, 'explorer')


def test_tradeoff(jupyter):
    with jupyter.notebook('app/05_tradeoff.ipynb') as nb:
        nb.run_all()
        widget = nb.widget('What does performance cost?')
        check_names(widget)
        low, high = at_both_ends(nb, widget)
        performance = lambda words: float(re.search(r'oracle: .*performance ([\d.]+)', words)[1])
        assert performance(high) > performance(low)
        shot(widget, 'tradeoff')


def test_taxonomy_browser(jupyter):
    with jupyter.notebook('app/06_browser.ipynb') as nb:
        nb.run_all()
        widget = nb.widget('Edit the open node')
        check_names(widget)
        start(nb, widget); reach(nb, widget, 'button', re.compile('Mathematics'), most=120)
        nb.keys('Enter'); says(widget, r'Open: Mathematics\s')
        reach(nb, widget, 'button', 'prune this node', most=200); nb.keys('Enter')
        widget.get_by_text('This takes Mathematics out of the taxonomy').wait_for()
        reach(nb, widget, 'button', 'yes, prune it'); nb.keys('Space')
        widget.get_by_text('Mathematics was pruned').wait_for()
        assert widget.get_by_role('button', name=re.compile('Mathematics')).count() == 0
        reach(nb, widget, 'button', 'undo the last edit'); nb.keys('Enter')
        widget.get_by_role('button', name=re.compile('Mathematics')).first.wait_for()
        shot(widget, 'browser')


def test_run_monitor(jupyter):
    with jupyter.notebook('app/07_monitor.ipynb') as nb:
        nb.run_all()
        widget = nb.widget('Run monitor')
        check_names(widget)
        start(nb, widget); reach(nb, widget, 'button', 'look now')
        before = says(widget, r'finished \d+ \w+ ago')
        time.sleep(1.5); nb.keys('Enter')
        assert says(widget, rf'^(?!{re.escape(before)}$)', 10) != before, 'the button looked, and the words stayed'   # how long ago it was has changed
        shot(widget, 'monitor')


def test_tour_in_the_dark(jupyter):
    with jupyter.notebook('00_tour.ipynb', dark=True) as nb:
        nb.run_all()
        inspector, explorer = nb.widget('What kind of question is this?'), nb.widget('Which model, and why?')
        for widget in (inspector, explorer): check_names(widget); check_readable(widget)
        start(nb, inspector); reach(nb, inspector, 'textbox', 'Query')
        nb.keys('Control+a'); nb.page.keyboard.type('Write a poem about the sea')
        says(inspector, 'Looks like Creative Writing'); shot(inspector, 'tour-inspector')
        start(nb, explorer); reach(nb, explorer, 'slider', 'Weight of performance'); nb.keys('Home')
        says(explorer, 'With weight 0.00'); shot(explorer, 'tour-explorer')
