"JupyterLab with a browser in front of it, both on this machine only, for the tests of the widgets."
import json, os, re, secrets, shutil, subprocess, sys, time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
# what Chromium would otherwise ask its makers about, and no name but this machine's is ever looked up
QUIET = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1']
SILENT = ['--LabApp.news_url=None', '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate', '--LabApp.expose_app_in_browser=True', '--LabApp.extension_manager=readonly']


def browser_program() -> str | None:
    "Path of an installed Chromium, or None."
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


class Server:
    "A running JupyterLab whose files are in `root`; address and token come from what it writes about itself."

    def __init__(self, root: Path, home: Path):
        folders = {f'JUPYTER_{k}_DIR': str(home/k.lower()) for k in ('CONFIG', 'RUNTIME', 'DATA')} | {'IPYTHONDIR': str(home/'ipython'), 'JUPYTERLAB_WORKSPACES_DIR': str(home/'workspaces'), 'JUPYTERLAB_SETTINGS_DIR': str(home/'settings')}
        self.token, self.log = secrets.token_hex(16), home/'server.log'
        home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', '--ip=127.0.0.1', '--port=0', f'--IdentityProvider.token={self.token}', f'--ServerApp.root_dir={root}', *SILENT]
        with self.log.open('w') as log: self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **folders, 'MPLBACKEND': 'module://matplotlib_inline.backend_inline'})
        self.url = self._address(home/'runtime')

    def _address(self, runtime, patience=60):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if self.process.poll() is not None: break
            for file in runtime.glob('jpserver-*.json'):
                try: return json.loads(file.read_text())['url']
                except (ValueError, KeyError): pass    # half written
            time.sleep(.1)
        self.process.kill()
        raise RuntimeError(f'JupyterLab did not start:\n{self.log.read_text()[-2000:]}')

    def close(self):
        self.process.terminate()
        try: self.process.wait(20)
        except subprocess.TimeoutExpired: self.process.kill(); self.process.wait()


@contextmanager
def lab(root: Path, home: Path):
    "A `Lab`: JupyterLab and a browser; both are ended afterwards."
    from playwright.sync_api import sync_playwright
    server = Server(root, home)
    try:
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=browser_program(), args=QUIET)
            try: yield Lab(server, browser)
            finally: browser.close()
    finally: server.close()


class Lab:
    "Opens notebooks, and keeps the address of every request that the pages make."
    def __init__(self, server, browser): self.server, self.browser, self.requests = server, browser, []

    @contextmanager
    def notebook(self, path: str, dark=False, size=(1400, 1800)):
        "The page of a notebook with its kernel ready; `path` is relative to the server's folder. The kernel is ended afterwards."
        context = self.browser.new_context(viewport={'width': size[0], 'height': size[1]}, reduced_motion='reduce')
        context.on('request', lambda r: self.requests.append(r.url))
        page = context.new_page()
        try:
            page.goto(f'{self.server.url}doc/tree/{quote(path)}?token={self.server.token}&reset')
            page.wait_for_function('window.jupyterapp && window.jupyterapp.shell.currentWidget && window.jupyterapp.shell.currentWidget.sessionContext', timeout=60_000)
            page.evaluate('async () => { const w = window.jupyterapp.shell.currentWidget; await w.context.ready; await w.sessionContext.ready; }')
            if dark: page.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"); page.wait_for_selector('body[data-jp-theme-light="false"]', state='attached')
            yield Page(page)
        finally:
            page.evaluate("async () => { await window.jupyterapp.serviceManager.sessions.shutdownAll(); }")
            context.close()

    def strangers(self) -> list:
        "Addresses of requests that did not go to this machine."
        return [u for u in self.requests if urlsplit(u).scheme not in ('data', 'blob') and urlsplit(u).hostname != '127.0.0.1']


class Page:
    "A notebook in the browser."
    def __init__(self, page): self.page = page

    def run_all(self, timeout=120):
        "Run every cell from the top and wait; an error in a cell is raised with its text."
        self.page.set_default_timeout(timeout * 1000)
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        faults = self.page.evaluate('''() => { const cells = window.jupyterapp.shell.currentWidget.content.model.sharedModel.toJSON().cells;
            return cells.flatMap(c => (c.outputs || []).filter(o => o.output_type === 'error').map(o => o.ename + ': ' + o.evalue)); }''')
        assert not faults, faults
        self.page.set_default_timeout(20_000)

    def widget(self, words: str):
        "The last widget on the page that holds these words, once it is there."
        found = self.page.locator('.jp-OutputArea-output .jupyter-widgets.widget-vbox, .jp-OutputArea-output .jupyter-widgets.widget-box').filter(has_text=re.compile(re.escape(words))).first
        found.scroll_into_view_if_needed()
        return found

    def keys(self, *names):
        "Press keys, one after another."
        for name in names: self.page.keyboard.press(name)

    def names(self, within) -> list:
        "The accessible name of every control in a widget: what a screen reader calls it."
        snapshot = within.aria_snapshot()
        return re.findall(r'- (?:textbox|combobox|slider|button|checkbox|radio|spinbutton|listbox)(?: "([^"]*)")?', snapshot)
