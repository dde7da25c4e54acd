#!/usr/bin/env python
"""Say where the outputs of notebooks that have just been run differ from those that are committed.

    nbdev-test --n-workers 2 --save && python scripts/compare_outputs.py
    python scripts/compare_outputs.py --restore      # and put the committed notebooks back

Text is compared word by word, numbers may differ a little (processors round differently), pictures have to be there and are not looked at. A cell whose figures hang on the machine (seconds, ports) begins with
`#| measured`: of its output only the words count. One whose words change too (what is installed, how far a thread got) begins with `#| varies`, and is passed over.
"""
import argparse, json, re, subprocess, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from make_readme import NUMBER, ROOT, differences, text_of  # noqa: E402

ADDRESS = re.compile(r'0x[0-9a-f]{6,}')


def says(cell, directive): return re.search(rf'^#\|\s*{directive}\s*$', text_of(cell['source']), re.M) is not None


def said_by(cell):
    "What a cell shows, as (kind, text): its printed text in one piece, and of each display its text and whether there is a picture."
    outputs = cell.get('outputs', [])
    yield 'printed', ''.join(text_of(o['text']) for o in outputs if o['output_type'] == 'stream' and o.get('name') == 'stdout')
    for o in outputs:
        data = o.get('data', {})
        picture = 'image/png' in data
        kind = next((k for k in ('text/markdown', 'text/plain') if k in data), '')
        # the text that stands for a picture says no more than its size
        if data: yield 'picture' if picture else kind, '' if picture else ADDRESS.sub('0x0', text_of(data.get(kind, '')))


def faults(old: dict, new: dict):
    "The differences between two runs of a notebook: lines that begin with the number of the cell."
    cells = [[c for c in nb['cells'] if c['cell_type'] == 'code'] for nb in (old, new)]
    if len(cells[0]) != len(cells[1]): return [f'{len(cells[0])} code cells, {len(cells[1])} in the new run']
    found = []
    for i, (a, b) in enumerate(zip(*cells)):
        if says(a, 'varies'): continue
        before, after = list(said_by(a)), list(said_by(b))
        if [k for k, _ in before] != [k for k, _ in after]: found.append(f'code cell {i}: shows {[k for k, _ in before]}, {[k for k, _ in after]} in the new run'); continue
        blur = (lambda t: ' '.join(NUMBER.sub('0', t).split())) if says(a, 'measured') else (lambda t: t)
        found += [f'code cell {i}: {d}' for (_, x), (_, y) in zip(before, after) for d in differences(blur(x), blur(y))]
    return found


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('notebooks', nargs='*', help='paths from the root; all by default'); p.add_argument('--restore', action='store_true')
    a = p.parse_args()
    git = lambda *args: subprocess.run(['git', *args], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names, wrong = a.notebooks or git('ls-files', 'nbs/*.ipynb').split('\n')[:-1], []
    for name in names: wrong += [f'{name}, {f}' for f in faults(json.loads(git('show', f'HEAD:{name}')), json.loads((ROOT/name).read_text(encoding='utf-8')))]
    if a.restore: git('checkout', '--', 'nbs')
    if wrong: sys.exit('\n'.join([*wrong, f'{len(wrong)} differences: run the notebook with nbdev-test --save and commit it, or mark the cell with #| measured']))
    print(f'{len(names)} notebooks show what they showed when they were committed')


if __name__ == '__main__': main()
