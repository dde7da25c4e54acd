"The command line as a process: help, exit codes, one line for a mistake, decisions for odd queries, JSON for programs."
import csv, json, os, re, signal, subprocess, sys, time
from pathlib import Path

import numpy as np
import pytest

import trouter

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ['demo', 'reproduce', 'train', 'route', 'evaluate', 'inspect', 'bench']
ENV = {**os.environ, 'HF_HUB_OFFLINE': '1', 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT), 'COLUMNS': '200'}


def run(*argv, stdin='', **env):
    "(exit code, stdout, stderr) of a command line."
    done = subprocess.run([sys.executable, '-m', 'trouter', *map(str, argv)], input=stdin.encode(), capture_output=True, env={**ENV, **env}, timeout=300)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def write_folder(folder, n=90, seed=0):
    "A tiny import folder: three tasks, two models; the dear one is better at sums alone."
    folder.mkdir()
    rng, rows = np.random.default_rng(seed), []
    kinds = {'sums': 'What is {a} plus {b}?', 'colours': 'Which colour do you get from paint number {a} and paint number {b}?', 'names': 'Name city number {a} of country {b}.'}
    queries = [(f'q{i}', kind, kinds[kind].format(a=rng.integers(1000), b=rng.integers(1000))) for i in range(n) for kind in [list(kinds)[i % 3]]]
    for qid, kind, _ in queries:
        for model in ('small', 'large'):
            p = .9 if model == 'large' or kind != 'sums' else .1
            rows.append([qid, model, int(rng.random() < p), rng.integers(10, 40), rng.integers(5, 60), 'made up'])
    write(folder/'queries.csv', ['query_id', 'task', 'query', 'colour_of_paper'], [[q, kind, text, 'white'] for q, kind, text in queries])
    write(folder/'outcomes.csv', ['query_id', 'model', 'score', 'prompt_tokens', 'completion_tokens', 'remark'], rows)
    write(folder/'models.csv', ['model', 'usd_per_1m_input', 'usd_per_1m_output', 'shoe_size'], [['small', .1, .1, 40], ['large', 2, 2, 45]])
    return folder


def write(path, head, rows):
    with open(path, 'w', newline='', encoding='utf-8') as f: csv.writer(f).writerows([head, *rows])


@pytest.fixture(scope='module')
def data(tmp_path_factory): return write_folder(tmp_path_factory.mktemp('cli')/'data')


@pytest.fixture(scope='module')
def router(data):
    out = data.parent/'router'
    code, printed, err = run('train', data, '--out', out)
    assert code == 0, err
    assert 'gap closed' in printed and {f.name for f in out.iterdir()} == {'config.json', 'weights.safetensors'}
    return out


# ------------------------------------------------------------- help

@pytest.mark.parametrize('command', COMMANDS)
def test_help(command):
    code, out, err = run(command, '--help')
    assert (code, err) == (0, '')
    assert f'usage: trouter {command}' in out and f'Example:\n  trouter {command}' in out


def test_help_lists_every_command():
    code, out, err = run('--help')
    assert (code, err) == (0, '') and all(re.search(rf'^\s+{c}\s', out, re.M) for c in COMMANDS)


def test_version(): assert run('--version') == (0, f'trouter {trouter.__version__}\n', '')


def test_help_answers_at_once():
    times = []
    for _ in range(5):
        started = time.perf_counter(); run('--help'); times.append(time.perf_counter() - started)
    bare = min(timed_start() for _ in range(3))
    assert min(times) < .5 + bare, f'{min(times):.2f} s, of which a bare interpreter takes {bare:.2f} s'


def timed_start():
    started = time.perf_counter()
    subprocess.run([sys.executable, '-c', ''], env=ENV)
    return time.perf_counter() - started


# ------------------------------------------------------------- mistakes

def mistake(*argv, says, stdin=''):
    code, out, err = run(*argv, stdin=stdin)
    assert (code, out, err.count('\n')) == (2, '', 1), f'exit code {code}, stderr:\n{err}'
    assert says in err and 'Traceback' not in err, err


def test_no_command(): mistake(says='COMMAND')
def test_unknown_command(): mistake('fly', says="'fly'")
def test_unknown_option(data): mistake('evaluate', data, '--colour', says='--colour')
def test_missing_folder(tmp_path): mistake('evaluate', tmp_path/'nowhere', says='nowhere')
def test_missing_file(tmp_path): mistake('train', tmp_path/'no.parquet', '--out', tmp_path/'r', says='no such file')
def test_empty_folder(tmp_path): mistake('evaluate', tmp_path, says='queries.csv')
def test_unknown_model(data): mistake('evaluate', data, '--pool', 'small,gpt-0', says="unknown model 'gpt-0'")
def test_model_twice(data): mistake('evaluate', data, '--pool', 'small,small', says="'small' stands twice")
def test_unknown_router(data): mistake('evaluate', data, '--routers', 'knn,magic', says="unknown router 'magic'")
def test_no_seeds(data): mistake('evaluate', data, '--seeds', '0', says='at least 1')
def test_bad_scale(data): mistake('evaluate', data, '--cost-scale', 'galaxy', says='galaxy')
def test_too_few_queries(data): mistake('evaluate', data, '--limit', '1', '--routers', 'random', says='queries')
def test_empty_query(router): mistake('route', '', '--router', router, says='empty')
def test_blank_query(router): mistake('route', 'fine', ' \n ', '--router', router, says='query 1 is empty')
def test_empty_stdin(router): mistake('route', '-', '--router', router, says='empty')
def test_no_lines(router): mistake('route', '-', '--lines', '--router', router, stdin='\n\n', says='no query')
def test_bad_preference(router): mistake('route', 'Hello', '--router', router, '--preference', 'greedy', says="unknown preference 'greedy'")
def test_weights_that_do_not_sum(router): mistake('route', 'Hello', '--router', router, '--preference', '.3,.3', says='sum to 1')
def test_no_router_there(tmp_path): mistake('route', 'Hello', '--router', tmp_path, says='no saved router here')
def test_unknown_type(router): mistake('inspect', router, '--type', 'cooking', says="unknown task type 'cooking'")


def test_out_is_a_file(data, tmp_path):
    (tmp_path/'file').write_text('')
    mistake('train', data, '--out', tmp_path/'file', says='is a file')


def broken(data, tmp_path, name, change):
    folder = tmp_path/'broken'
    folder.mkdir()
    for f in data.iterdir():
        lines = f.read_text().splitlines()
        if f.name == name: lines = change(lines)
        (folder/f.name).write_text('\n'.join(lines) + '\n')
    return folder


def test_broken_line(data, tmp_path):
    mistake('evaluate', broken(data, tmp_path, 'outcomes.csv', lambda rows: rows[:4] + [rows[4] + ',one,too,many'] + rows[5:]), says='line 5')


def test_score_that_is_no_number(data, tmp_path):
    mistake('evaluate', broken(data, tmp_path, 'outcomes.csv', lambda rows: rows[:6] + ['q3,small,good,1,1,'] + rows[7:]), says='outcomes.csv, line 7')


def test_score_out_of_range(data, tmp_path):
    mistake('inspect', broken(data, tmp_path, 'outcomes.csv', lambda rows: rows[:6] + ['q3,small,7,1,1,'] + rows[7:]), says='[0, 1]')


def test_price_missing(data, tmp_path):
    folder = broken(data, tmp_path, 'models.csv', lambda rows: [rows[0], rows[1], 'large,,,'])
    mistake('evaluate', folder, '--routers', 'random', says='large')
    code, out, err = run('evaluate', folder, '--routers', 'random', '--seeds', '1', '--quality-only')
    assert code == 0, err


def damaged(router, tmp_path, name, change):
    folder = tmp_path/'damaged'
    folder.mkdir()
    for f in router.iterdir(): (folder/f.name).write_bytes(change(f.read_bytes()) if f.name == name else f.read_bytes())
    return folder


def test_damaged_weights(router, tmp_path): mistake('route', 'Hello', '--router', damaged(router, tmp_path, 'weights.safetensors', lambda b: b[:-1] + b'x'), says='damaged')
def test_torn_config(router, tmp_path): mistake('route', 'Hello', '--router', damaged(router, tmp_path, 'config.json', lambda b: b[:50]), says='config.json: damaged')


def test_newer_format(router, tmp_path):
    mistake('route', 'Hello', '--router', damaged(router, tmp_path, 'config.json', lambda b: re.sub(rb'"format_version": \d+', b'"format_version": 99', b)), says='newer')


def test_missing_weights(router, tmp_path):
    folder = damaged(router, tmp_path, '', None)
    (folder/'weights.safetensors').unlink()
    mistake('inspect', folder, says='missing')


def test_debug_shows_the_traceback(tmp_path):
    code, out, err = run('inspect', tmp_path/'nowhere', '--debug')
    assert code != 0 and 'Traceback' in err and 'nowhere' in err


# ------------------------------------------------------------- odd but valid queries

ODD = {'emoji': '🦆🦆🦆 how many ducks? 👩‍👩‍👧‍👦', 'right to left': 'كم يساوي خمسة زائد سبعة؟ \u202eabc', 'long': 'What is 1 plus 1? ' * 5556, 'one letter': '?', 'control': 'a\tb\x07\r\nc\x1b[31m',
       'html': '<script>alert(1)</script>', 'many lines': 'x\n' * 300}


def test_odd_queries(router):
    assert len(ODD['long']) > 100_000
    code, out, err = run('route', *ODD.values(), '--router', router, '--json')
    assert code == 0, err
    decisions = json.loads(out)
    assert [d['query'] for d in decisions] == list(ODD.values())
    for d in decisions:
        assert d['model'] in ('small', 'large') and d['runner_up'] in ('small', 'large') and np.isfinite(d['utility']) and d['margin'] >= 0
        assert {c['model'] for c in d['candidates']} == {'small', 'large'}


def test_odd_queries_as_text(router):
    for env in ({}, {'PYTHONIOENCODING': 'ascii', 'PYTHONUTF8': '0', 'LC_ALL': 'C', 'PYTHONCOERCECLOCALE': '0'}):
        code, out, err = run('route', ODD['emoji'], ODD['right to left'], '--router', router, **env)
        assert code == 0 and out.count('-> ') == 2, err


def test_bytes_that_are_no_text(router):
    done = subprocess.run([sys.executable, '-m', 'trouter', 'route', b'caf\xe9 \xff', '--router', str(router), '--json'], capture_output=True, env=ENV)
    assert done.returncode == 0 and json.loads(done.stdout)[0]['model'] in ('small', 'large'), done.stderr.decode()


def test_stdin(router):
    text = 'What is 2 plus 3?\nAnd 4 plus 4?\n'
    one, lines = (json.loads(run('route', '-', *more, '--router', router, '--json', stdin=text)[1]) for more in ([], ['--lines']))
    assert [d['query'] for d in one] == [text.strip()] and [d['query'] for d in lines] == text.strip().split('\n')


def test_the_preference_matters(router):
    model = lambda p: json.loads(run('route', 'What is 512 plus 77?', '--router', router, '--json', '--preference', p)[1])[0]
    cheap, good = model('0'), model('1')
    assert cheap['model'] == 'small' and good['model'] == 'large'
    assert good['task_types'] == [] or good['task_types'][0][0] == 'sums'


# ------------------------------------------------------------- what programs read

def test_evaluate(data, tmp_path):
    out = tmp_path/'report.json'
    names = 'trouter,knn,static,random,best-single,oracle'
    code, printed, err = run('evaluate', data, '--routers', names, '--seeds', '2', '--json', out)
    assert code == 0, err
    report = json.loads(out.read_text())
    assert set(report) >= {'routers', 'settings'} and set(report['routers']) == set(names.split(','))
    for name, r in report['routers'].items():
        assert name in printed
        assert set(r['utility_sum']) >= {'mean', 'std'} and all(np.isfinite(r['utility_sum'][k]) for k in ('mean', 'std'))
        for key in ('utility', 'performance', 'cost'):
            assert set(r[key]) == {'cost-first', 'balanced', 'performance-first'} and all(np.isfinite(v['mean']) for v in r[key].values())
        total = sum(v['mean'] for v in r['utility'].values())
        assert abs(total - r['utility_sum']['mean']) < 1e-6
        if name != 'trouter': assert r['difference_to_trouter']['low'] <= r['difference_to_trouter']['mean'] <= r['difference_to_trouter']['high']
    best = report['routers']['oracle']['utility_sum']['mean']
    assert all(r['utility_sum']['mean'] <= best + 1e-9 for r in report['routers'].values())
    assert abs(report['routers']['oracle']['gap_closed']['mean'] - 1) < 1e-9 and abs(report['routers']['best-single']['gap_closed']['mean']) < 1e-9
    assert report['settings']['pool'] == ['small', 'large'] and report['settings']['cost_scale'] == 'pool'


def test_evaluate_json_on_stdout(data):
    code, out, err = run('evaluate', data, '--routers', 'cheapest,oracle', '--seeds', '1', '--pool', 'large,small', '--cost-scale', 'task', '--json', '-')
    assert code == 0 and json.loads(out)['settings']['pool'] == ['large', 'small'], err


def test_every_router(data):
    from trouter.app.cli import _ROUTERS
    code, out, err = run('evaluate', data, '--seeds', '1', '--json', '-')
    assert code == 0 and set(json.loads(out)['routers']) == set(_ROUTERS.split(',')), err


def test_quality_only(data):
    code, out, err = run('evaluate', data, '--routers', 'trouter,oracle', '--seeds', '1', '--quality-only')
    assert code == 0 and 'quality only' in out, err


def test_incomplete_queries_are_counted(data, tmp_path):
    folder = broken(data, tmp_path, 'outcomes.csv', lambda rows: rows[:1] + rows[3:-1])
    code, out, err = run('evaluate', folder, '--routers', 'random', '--seeds', '1', '--json', '-')
    assert code == 0 and json.loads(out)['settings']['left_out'] == 1, err


def test_parquet(data, tmp_path):
    from trouter.outcomes.table import Outcomes
    Outcomes.read(data).write(tmp_path/'data.parquet')
    code, out, err = run('inspect', tmp_path/'data.parquet', '--json')
    facts = json.loads(out)
    assert code == 0 and facts['queries'] == 90 and set(facts['models']) == {'small', 'large'} and set(facts['task_types']) == {'sums', 'colours', 'names'}
    (tmp_path/'data.parquet').write_bytes((tmp_path/'data.parquet').read_bytes()[:500])
    mistake('inspect', tmp_path/'data.parquet', says='truncated')


def test_inspect_router(router):
    code, out, err = run('inspect', router, '--json', '--type', 'sums')
    facts = json.loads(out)
    assert code == 0 and facts['task_types'] == ['colours', 'names', 'sums'] and [m['name'] for m in facts['models']] == ['small', 'large'] and facts['scale']['kind'] == 'pool'
    cells = {c['model']: c for c in facts['cells']['sums']}
    assert cells['large']['performance'] > cells['small']['performance'] and cells['large']['cost'] > cells['small']['cost']
    code, out, err = run('inspect', router)
    assert code == 0 and 'sums' in out and 'large' in out


def test_training_twice_gives_the_same_router(data, router, tmp_path):
    assert run('train', data, '--out', tmp_path/'again')[0] == 0
    assert all((tmp_path/'again'/f.name).read_bytes() == f.read_bytes() for f in router.iterdir())


# ------------------------------------------------------------- signals and pipes

def test_interrupt():
    p = subprocess.Popen([sys.executable, '-m', 'trouter', 'demo'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV,
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))   # a process in the background inherits SIGINT ignored
    assert p.stderr.readline()   # the command has started
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    assert p.returncode == 130 and b'Traceback' not in err and b'interrupted' in err, err.decode()


def test_reader_that_leaves(data):
    p = subprocess.Popen([sys.executable, '-m', 'trouter', 'inspect', str(data)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV)
    p.stdout.close()
    err = p.stderr.read()
    p.wait(timeout=60)
    assert b'Traceback' not in err and b'Exception ignored' not in err, err.decode()
