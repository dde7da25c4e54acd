#!/usr/bin/env python
"""Make README.md from nbs/index.ipynb: its prose, code and saved outputs, in order.

    python scripts/make_readme.py             write README.md, and the pictures into nbs/images/
    python scripts/make_readme.py --check     fail unless README.md and the pictures are what the saved notebook gives
    python scripts/make_readme.py --fresh     run the notebook anew as well, and fail unless its text says the same

A cell that begins with `#| hide` is left out; of one with `#| echo: false` only the output is shown. In the fresh run numbers may differ a
little (processors round differently), words may not; pictures are not compared.
"""
import argparse, base64, json, os, re, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK, README, IMAGES = ROOT/'nbs'/'index.ipynb', ROOT/'README.md', 'nbs/images'
NOTE = '<!-- Made from nbs/index.ipynb by scripts/make_readme.py; change it there. -->'
TOLERANCE = .02


def text_of(value): return value if isinstance(value, str) else ''.join(value or [])


def from_root(markdown):
    "Links of the notebook, which stands in nbs/, as links from the root."
    def move(match):
        target = match[1]
        if re.match(r'[a-z]+:|#|/', target): return match[0]
        return f']({Path(os.path.normpath(Path("nbs")/target)).as_posix()})'
    return re.sub(r'\]\(([^)\s]+)\)', move, markdown)


def fence(text, language=''):
    "A code block; its fence is longer than any row of backticks in the text."
    ticks = '`' * max([3, *(len(run) + 1 for run in re.findall('`{3,}', text))])
    return f'{ticks}{language}\n{text.rstrip()}\n{ticks}'


def table_of(html): return re.sub(r'<style.*?</style>|\n\s*(?=\n)', '', html, flags=re.S).strip()


def outputs_of(cell, pictures, picture, move, html):
    "The outputs of a cell as Markdown; PNGs go into `pictures` (path -> bytes)."
    for output in cell.get('outputs', []):
        data = output.get('data', {})
        if output['output_type'] == 'error': sys.exit(f'a cell ended in an error: {output.get("evalue")}')
        if 'image/png' in data:
            path = picture.format(len(pictures) + 1)
            pictures[path] = base64.b64decode(text_of(data['image/png']))
            yield f'![{alt_text(cell)}]({path})'
        elif 'text/markdown' in data: yield move(text_of(data['text/markdown'])).strip()
        elif html and 'text/html' in data: yield table_of(text_of(data['text/html']))
        elif 'text/plain' in data: yield fence(text_of(data['text/plain']), 'text')
        elif output.get('name') == 'stdout': yield fence(text_of(output['text']), 'text')


def alt_text(cell):
    "The picture's description: the directive `#| fig-alt: ...` of its cell."
    found = re.search(r'^#\|\s*fig-alt:\s*(.+)$', text_of(cell['source']), re.M)
    return found[1].strip().strip('"') if found else 'figure'


def visible(
    nb,                                # a notebook as a dict
    pictures,                          # filled on the way: path -> PNG bytes
    picture=f'{IMAGES}/index-{{}}.png',  # where they go, with a place for their number
    move=from_root,                    # what becomes of the links in Markdown
    html=False,                        # tables as HTML, as the docs site wants them, rather than as text
):
    "(cell, its Markdown) of every cell that a reader is to see, in order."
    for cell in nb['cells']:
        source = text_of(cell['source'])
        if cell['cell_type'] == 'markdown': yield cell, move(source).strip()
        if cell['cell_type'] != 'code' or re.match(r'#\|\s*hide\s*$', source, re.M): continue
        code = re.sub(r'^#\|.*\n?', '', source, flags=re.M).strip()
        shown = [fence(code, 'python')] if code and not re.search(r'^#\|\s*echo:\s*false', source, re.M) else []
        shown += outputs_of(cell, pictures, picture, move, html)
        if shown: yield cell, '\n\n'.join(shown)


def convert(nb):
    "(README text, {path: PNG bytes}) of a notebook."
    pictures = {}
    return '\n\n'.join([NOTE, *(text for _, text in visible(nb, pictures))]) + '\n', pictures


def run_anew(path):
    "The notebook with the outputs of a new run, in the folder where it stands."
    from fastcore.nbio import nb2dict, read_nb
    from execnb.shell import CaptureShell
    nb, before = read_nb(path), os.getcwd()
    os.chdir(path.parent)
    try: CaptureShell().run_all(nb, exc_stop=True)
    finally: os.chdir(before)
    return nb2dict(nb)


NUMBER = re.compile(r'(?<![\w.])[-+]?\d+(?:\.\d+)?')


def differences(old, new):
    "Where two texts differ: words exactly, numbers by more than the tolerance."
    words = lambda text: ' '.join(NUMBER.sub('#', text).split())
    if words(old) != words(new):
        pairs = [(a, b) for a, b in zip(old.splitlines(), new.splitlines()) if words(a) != words(b)]
        return [f'{a!r} was {b!r} in the new run' for a, b in pairs[:5]] or ['one text is longer than the other']
    numbers = zip(map(float, NUMBER.findall(old)), map(float, NUMBER.findall(new)))
    return [f'{a} was {b} in the new run' for a, b in numbers if abs(a - b) > TOLERANCE * max(1, abs(a))]


def check():
    "Complaints about README.md and its pictures, against the saved notebook."
    text, pictures = convert(json.loads(NOTEBOOK.read_text(encoding='utf-8')))
    wrong = [] if README.exists() and README.read_text(encoding='utf-8') == text else ['README.md']
    wrong += [path for path, data in pictures.items() if not (ROOT/path).exists() or (ROOT/path).read_bytes() != data]
    wrong += [p.relative_to(ROOT).as_posix() for p in sorted((ROOT/IMAGES).glob('index-*.png')) if p.relative_to(ROOT).as_posix() not in pictures]
    return [f'{w}: is not what nbs/index.ipynb gives; run python scripts/make_readme.py' for w in wrong]


def write():
    "Write README.md and the pictures; remove pictures of an earlier notebook."
    text, pictures = convert(json.loads(NOTEBOOK.read_text(encoding='utf-8')))
    for old in (ROOT/IMAGES).glob('index-*.png'): old.unlink()
    for path, data in pictures.items():
        (ROOT/path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT/path).write_bytes(data)
    README.write_text(text, encoding='utf-8')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--fresh', action='store_true')
    args = parser.parse_args()
    if not args.check and not args.fresh: return write()
    wrong = check()
    if args.fresh: wrong += [f'nbs/index.ipynb: {d}' for d in differences(convert(json.loads(NOTEBOOK.read_text(encoding='utf-8')))[0], convert(run_anew(NOTEBOOK))[0])]
    if wrong: sys.exit('\n'.join(wrong))
    print('README.md is what nbs/index.ipynb gives' + (', also when run anew' if args.fresh else ''))


if __name__ == '__main__': main()
