"From domains to a router with the commands, as processes, against a scripted endpoint over HTTP."
import json, os, subprocess, sys
from pathlib import Path

import pytest

import trouter
from support.generator import ScriptedGenerator
from support.scripted_server import ScriptedServer

ROOT, GENERATOR = Path(trouter.__file__).parents[1], ScriptedGenerator(variety=40)
DOMAINS = 'domains:\n- name: Cooking\n  definition: Requests about recipes.\n- name: Chess\n  definition: Requests about positions and plans.\n'
SIZE = '--more-domains 0 --subcategories 3 --levels 2 --pairs 6 --batch 6 --rounds 2 --quiet 1'.split()


def command(*argv, cwd):
    done = subprocess.run([sys.executable, '-m', 'trouter', *map(str, argv)], capture_output=True, text=True, cwd=cwd, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    return done.returncode, done.stdout, done.stderr


def script(n, body):
    "The generator writes; the candidates answer: the large one with a number, the small one with a word."
    if body['model'] == 'writer': return {'text': GENERATOR.answer(body)}
    return {'text': 'Answer: 7' if body['model'] == 'large' else 'perhaps'}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "A folder after `synthesize` and `collect`, with what the commands printed."
    out, said = tmp_path_factory.mktemp('chain'), {}
    (out/'domains.yaml').write_text(DOMAINS)
    with ScriptedServer(script) as server:
        model = ['--model', 'writer', '--base-url', server.url, '--input-price', '1', '--output-price', '2', '--budget', '5', '--max-tokens', '2000']
        said['dry'] = command('synthesize', 'domains.yaml', *model, *SIZE, '--out', 'cold', '--dry-run', cwd=out); said['asked by the dry run'] = len(server.requests)
        said['synthesize'] = command('synthesize', 'domains.yaml', *model, *SIZE, '--out', 'cold', cwd=out); said['asked'] = len(server.requests)
        said['again'] = command('synthesize', 'domains.yaml', *model, *SIZE, '--out', 'cold', cwd=out); said['asked again'] = len(server.requests) - said['asked']
        (out/'pool.yaml').write_text(''.join(['models:\n'] + [f'- {{name: {n}, base_url: "{server.url}", input_price: {p}, output_price: {p}}}\n' for n, p in (('large', 5), ('small', 1))]))
        said['collect'] = command('collect', 'cold', '--pool', 'pool.yaml', cwd=out)
    said['train'] = command('train', 'cold', '--out', 'router', cwd=out)
    return out, said


def test_dry_run_asks_nothing(folder):
    code, printed, _ = folder[1]['dry']
    assert code == 0 and folder[1]['asked by the dry run'] == 0 and not (folder[0]/'none').exists()
    assert 'money (USD)' in printed and 'Chess' in printed and '===== pairs, version' in printed


def test_synthesize(folder):
    out, said = folder
    code, printed, err = said['synthesize']
    assert code == 0, err
    facts, ledger = (json.loads((out/'cold'/name).read_text()) for name in ('run.json', 'ledger.json'))
    assert facts['figures']['difficulty'] == 12 and facts['figures']['pairs'] > 60 and not facts['incomplete']
    assert ledger['this run']['writer']['calls'] == 0 and ledger['all runs']['writer']['replies'] == said['asked'] and ledger['all runs']['writer']['money'] > 0   # the second run found all of it
    assert said['again'][0] == 0 and said['asked again'] == 0
    page = (out/'cold'/'report.html').read_text()
    assert 'Cooking' in page and 'src="http' not in page


def test_collect_train_route(folder):
    out, said = folder
    assert said['collect'][0] == 0, said['collect'][2]
    assert said['train'][0] == 0, said['train'][2]
    code, printed, err = command('route', 'How long must an egg boil?', '--router', 'router', '--json', cwd=out)
    [decision] = json.loads(printed)
    assert code == 0 and decision['model'] in ('large', 'small') and decision['task_types'][0][0].startswith(('Cooking/', 'Chess/'))


@pytest.mark.parametrize('argv, says', [
    (['synthesize', 'none.yaml', '--model', 'm', '--out', 'x'], 'none.yaml: no such file'),
    (['synthesize', 'domains.yaml', '--model', 'm', '--out', 'x', '--budget', '1'], 'prices'),
    (['synthesize', 'domains.yaml', '--model', 'm', '--out', 'domains.yaml'], 'is a file'),
    (['synthesize', 'domains.yaml', '--model', 'm', '--out', 'x', '--levels', '0'], 'levels must be at least 1'),
    (['collect', 'nothing', '--pool', 'pool.yaml'], 'no taxonomy.json'),
    (['collect', 'cold', '--pool', 'pool.yaml', '--judge', 'nobody'], 'nobody'),
    (['train', 'nothing', '--out', 'r'], 'nothing'),
])
def test_mistakes_are_one_line(folder, argv, says):
    code, printed, err = command(*argv, cwd=folder[0])
    assert code == 2 and printed == '' and says in err and err.strip().count('\n') == 0, err
