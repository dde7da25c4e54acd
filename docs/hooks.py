"""What mkdocs builds the site from: the saved notebooks, the pages and files that they link to, and the API reference.

A page keeps its path in the repository as its source, so links work on the site as they stand in the notebooks, and the strict build complains about a broken one.
"""
import importlib.util, json, os, posixpath, re
from pathlib import Path
from urllib.parse import unquote

import mathjax
from markdown.extensions.toc import slugify
from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url

import api_pages

ROOT = Path(__file__).resolve().parents[1]
ORDER = ['pool', 'synthesis', 'outcomes', 'supervision', 'routing', 'rivals', 'experiments', 'app']   # in which data flows
READING = ['nbs', *ORDER, 'tutorials', 'solutions']
MATHJAX = Path(mathjax.__file__).parent/'static/mathjax/es5'
MATHS_FILES = ['tex-chtml-full.js', *(p.relative_to(MATHJAX).as_posix() for p in sorted(MATHJAX.glob('output/chtml/fonts/woff-v2/*.woff')))]
api = {}   # path of a notebook -> the `ModulePage` of the module that it writes


def load_script(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


readme = load_script(ROOT/'scripts'/'make_readme.py')   # the README and the site show a notebook in the same way


class SourceFile(File):
    "A file of the site that stands for a file of the repository; notebooks are pages, and `nbs/` is no part of the address."
    def is_documentation_page(self): return self.src_uri.endswith(('.ipynb', '.md'))
    def _get_dest_path(self, use_directory_urls=None): return super()._get_dest_path(use_directory_urls).removeprefix('nbs/')
    dest_uri = property(_get_dest_path)


def notebooks():
    "Paths of the notebooks in reading order, the index first; a folder that READING does not name is a mistake."
    paths = [p for p in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts]
    return sorted(paths, key=lambda p: (READING.index(p.parent.name), p.name != 'index.ipynb', p.name))


def title_of(text): return re.search(r'^# (.+)$', text, re.M)[1].strip()


def slugs(markdown):
    "Links to headings, which notebooks write as Jupyter does (`#The-record-table`), as the site writes them (`#the-record-table`)."
    return re.sub(r'(\]\([^)\s#:]*#)([^)\s]+)\)', lambda m: f'{m[1]}{slugify(unquote(m[2]), "-")})', markdown)


def page_of(path):
    "(Markdown, {path: PNG}) of a notebook. Its code cells have anchors, to which the API leads."
    source, pictures = path.relative_to(ROOT).as_posix(), {}
    cells = readme.visible(json.loads(path.read_text(encoding='utf-8')), pictures, f'{path.stem}-{{}}.png', move=slugs, html=True)
    parts = [f'<span id="cell-{cell["id"]}"></span>\n\n' * (cell['cell_type'] == 'code') + text for cell, text in cells]
    module = api[source].module.__name__ if source in api else None
    about = f'Notebook `{source}`' + (f', which writes [`{module}`]({os.path.relpath(api_pages.uri(module), Path(source).parent)})' if module else '')
    if path.name != 'index.ipynb': parts[0] = re.sub(r'^(# .+)$', rf'\1\n\n{about}\n{{ .source data-search-exclude }}', parts[0], count=1, flags=re.M)
    return '\n\n'.join(parts), {posixpath.join(posixpath.dirname(source), name): data for name, data in pictures.items()}


def linked(source, text):
    "Files of the repository to which a page links, as paths from the root."
    for target in re.findall(r'\]\(([^)\s#:]+)', text):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if (ROOT/path).is_file() and not path.endswith('.ipynb'): yield path


def follow(texts):
    "Add to `texts` (source -> Markdown) the Markdown pages that they link to, and those that these link to; return all other files that are linked."
    others, waiting = set(), list(texts)
    while waiting:
        source = waiting.pop(0)
        for path in linked(source, texts[source]):
            if not path.endswith('.md'): others.add(path)
            elif path not in texts:
                texts[path] = (ROOT/path).read_text(encoding='utf-8')
                waiting.append(path)
    return sorted(others)


def sections(sources, titles, folder_of):
    "Pages as entries of the navigation, with a section for each folder; '' stands for no section."
    found = {}
    for source in sources: found.setdefault(folder_of(source), []).append({titles[source]: source})
    return found.pop('', []) + [{folder: entries} for folder, entries in found.items()]


def on_files(files, config):
    "Add all pages, pictures and the maths library; make the navigation."
    modules = api_pages.modules(ORDER)
    exported = {(m.__name__, name) for m in modules for name in m.__all__}
    api.clear()
    api.update((page.notebook, page) for page in (api_pages.ModulePage(m, exported) for m in modules))
    texts, contents = {}, {}
    for path in notebooks():
        texts[path.relative_to(ROOT).as_posix()], pictures = page_of(path)
        contents |= pictures
    guide = list(texts)
    for path in follow(texts): contents[path] = (ROOT/path).read_bytes()
    project = [source for source in texts if source not in guide]
    titles = {source: title_of(text) for source, text in texts.items()} | {'nbs/index.ipynb': 'Home'}
    reference = {api_pages.uri(page.module.__name__): page.text(titles[page.notebook]) for page in api.values()}
    names = {source: Path(source).stem.partition('.')[2] for source in reference}
    first = {'api/index.md': api_pages.contents(api.values(), ORDER)}
    config.nav = [
        {'Notebooks': sections(guide, titles, lambda source: Path(source).parent.name.replace('nbs', ''))},
        {'API': [{'Contents': 'api/index.md'}, *sections(reference, names, lambda source: Path(source).stem.partition('.')[0])]},
        {'Project': sections(project, titles, lambda source: '')},
    ]
    for source, content in {**texts, **first, **reference, **contents}.items(): files.append(SourceFile.generated(config, source, content=content))
    for path in MATHS_FILES: files.append(File.generated(config, f'mathjax/{path}', abs_src_path=str(MATHJAX/path)))
    return files


def on_page_content(html, page, config, files):
    "Link names in prose to the API: those of this notebook's own module, and of other modules those that cannot be taken for a word."
    entries = {}
    for entry in sorted(api.values(), key=lambda entry: entry.notebook == page.file.src_uri):
        own = page.file.src_uri in (entry.notebook, api_pages.uri(entry.module.__name__))
        for name in entry.names:
            if own: entries[name] = entry
            elif re.search(r'[A-Z_.]', name): entries[name] = None if name in entries else entry

    def link(match):
        entry = entries.get(match['name'])
        if not entry: return match[0]
        url = get_relative_url(files.get_file_from_path(api_pages.uri(entry.module.__name__)).url, page.url)
        return f'<a href="{url}#{api_pages.anchor(match["name"])}">{match[0]}</a>'
    return re.sub(r'<(a|pre|h[1-6])\b.*?</\1>|<code>(?P<name>[\w.]+)(?:\(\))?</code>', link, html, flags=re.S)
