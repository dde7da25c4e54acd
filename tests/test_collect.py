"""Collection against a real HTTP server: killed, resumed, without disk, without key, without money."""
import errno, json, os, signal, subprocess, sys, textwrap, time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from support.scripted_server import ScriptedServer
import trouter
from trouter.outcomes import collect as module
from trouter.outcomes.collect import CollectError, Question, appender, collect, plan, read_lines, read_questions, rescore
from trouter.outcomes.table import Outcomes
from trouter.pool.chat import ChatClient
from trouter.pool.models import CandidateModel, Pool

ROOT = str(Path(trouter.__file__).parents[1])
N = 40


def pool_at(url, names=('a', 'b'), **kw): return Pool([CandidateModel(n, 1., 2., base_url=url, api_key_env='TROUTER_TEST_KEY', **kw) for n in names])
def questions(n=N): return [Question(f'q{i}', f'question {i} שאלה 🙂', 'task/sub', 'answer', max_tokens=10, samples=2 if i % 4 == 0 else 0) for i in range(n)]
def scorer(q, response): return float(int(response.split()[1], 16) % 2)
def quiet(line): pass
def run(pool, out, qs=None, client=None, **kw): return collect(qs or questions(), pool, out, client=client, scorer=kw.pop('scorer', scorer), show=kw.pop('show', quiet), **kw)


def table(outcomes):
    "The records without what differs between two runs of the same calls."
    return outcomes.records.drop(columns=['latency_s', 'date']).sort_values(['query_id', 'model', 'sample']).reset_index(drop=True)


CHILD = textwrap.dedent('''
    import sys
    sys.path[:0] = [{root!r}, {tests!r}]
    from test_collect import pool_at, run
    run(pool_at({url!r}), {out!r}, concurrency={concurrency})
''')


def child(url, out, concurrency):
    code = CHILD.format(root=ROOT, tests=str(Path(__file__).parent), url=url, out=str(out), concurrency=concurrency)
    return subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def key(body): return json.dumps(body, sort_keys=True)


@pytest.mark.parametrize('concurrency', [1, 4])
def test_kill_9_in_the_middle_then_resume(tmp_path, concurrency):
    """The same table as an undisturbed run. No answer that arrived is asked for again; calls under way at a kill may be, at most `concurrency` per kill."""
    with ScriptedServer(lambda n, b: {'delay': .02}) as calm:
        expected = table(run(pool_at(calm.url), tmp_path/'calm', concurrency=concurrency))
        planned = Counter(key(b) for b in calm.requests)
    total, kills = len(calm.requests), 0
    with ScriptedServer(lambda n, b: {'delay': .02}) as server:
        for goal in (total // 4, total // 2, 3 * total // 4):
            process = child(server.url, tmp_path/'killed', concurrency)
            while len(server.requests) < goal and process.poll() is None: time.sleep(.002)
            assert process.poll() is None, 'the child ended before it was killed'
            process.send_signal(signal.SIGKILL); process.wait(); kills += 1
            time.sleep(.1)  # let the server end the calls that were under way
        lines = len(read_lines(tmp_path/'killed.jsonl', repair=False))
        assert 0 < lines < total
        outcomes = run(pool_at(server.url), tmp_path/'killed', concurrency=concurrency)
        repeated = len(server.requests) - total
    pd.testing.assert_frame_equal(table(outcomes), expected)
    pd.testing.assert_frame_equal(table(Outcomes.read(tmp_path/'killed.parquet')), expected)
    print(f'{total} calls, {kills} kills, concurrency {concurrency}: {repeated} calls repeated')
    seen = Counter(key(b) for b in server.requests)
    assert set(seen) == set(planned)
    assert 0 <= repeated <= kills * concurrency, f'{repeated} calls were repeated after {kills} kills at concurrency {concurrency}'


def test_answers_in_the_cache_are_not_asked_again_when_the_file_is_lost(tmp_path):
    "What a kill between the cache and the file leaves behind."
    with ScriptedServer() as server:
        first = run(pool_at(server.url), tmp_path/'run')
        asked = len(server.requests)
        lines = (tmp_path/'run.jsonl').read_bytes().splitlines(keepends=True)
        (tmp_path/'run.jsonl').write_bytes(b''.join(lines[:7]) + lines[7][:20])
        second = run(pool_at(server.url), tmp_path/'run')
    assert len(server.requests) == asked
    pd.testing.assert_frame_equal(table(first), table(second))


def test_every_byte_at_which_a_line_can_tear(tmp_path):
    file, line = tmp_path/'x.jsonl', json.dumps({'query_id': 'é🙂', 'n': 1}) + '\n'
    for cut in range(len(line.encode())):
        file.write_bytes((line * 2).encode() + line.encode()[:cut])
        assert len(read_lines(file)) == 2 and file.read_bytes() == (line * 2).encode()


def test_another_port_pays_nothing_again(tmp_path):
    with ScriptedServer() as one: run(pool_at(one.url), tmp_path/'run')
    with ScriptedServer() as two:
        run(pool_at(two.url), tmp_path/'run')
        assert not two.requests


def test_plan_and_records(tmp_path):
    with ScriptedServer() as server: outcomes = run(pool_at(server.url), tmp_path/'run', samples=1)
    r = outcomes.records
    assert Counter(r['sample']) == {0: 2 * N, 1: 2 * N // 4, 2: 2 * N // 4}
    assert set(r.loc[r['sample'] == 0, 'temperature']) == {0.} and set(r.loc[r['sample'] > 0, 'temperature']) == {.7}
    assert r['logprob'].eq(-.5).all() and r['tokens_source'].eq('usage').all() and r['finish_reason'].eq('stop').all()
    assert r['cost'].notna().all() and r['latency_s'].gt(0).all() and r['date'].str.startswith('20').all()
    assert r['response'].str.endswith('שלום 🙂').all() and outcomes.pool['a'].input_price == 1.
    order = [(b['messages'][0]['content'], b['model']) for b in server.requests if b['messages'][0]['content'].startswith('question 0 ')]
    assert order.count(order[0]) == 3


# ---- trouble

def test_failures_are_reported_kept_out_and_tried_again(tmp_path):
    said = []
    script = lambda n, b: {'status': 422, 'message': 'too odd'} if b['messages'][0]['content'].startswith('question 7 ') else {}
    with ScriptedServer(script) as server: first = run(pool_at(server.url), tmp_path/'run', show=said.append)
    assert len(first) == 2 * N + 4 * N // 4 - 2 and 'q7' not in set(first.records['query_id'])
    assert said[-1] == 'not answered, tried again at the next run: 2 x status 422' and any('too odd' in line for line in said)
    with ScriptedServer() as server:
        second = run(pool_at(server.url), tmp_path/'run')
        assert len(server.requests) == 2
    assert len(second) == len(first) + 2


def test_wrong_key_gives_up_soon_and_says_why(tmp_path):
    said = []
    with ScriptedServer(key='right') as server, pytest.raises(CollectError, match='no call was answered'):
        run(pool_at(server.url), tmp_path/'run', show=said.append, concurrency=2, patience=5)
    assert len(server.requests) <= 2 * 5 + 4 and any('the key was refused; check the environment variable TROUTER_TEST_KEY' in line for line in said) and any('given up' in line for line in said)
    assert read_lines(tmp_path/'run.jsonl') == []


def test_one_dead_server_does_not_stop_the_other(tmp_path):
    with ScriptedServer() as dead: pass
    said = []
    with ScriptedServer() as server:
        pool = Pool([*pool_at(server.url, ['alive']), *pool_at(dead.url, ['dead'])])
        with ChatClient(pool, max_retries=0, progress=False) as client: outcomes = run(pool, tmp_path/'run', client=client, show=said.append, patience=3)
    assert outcomes.models == ['alive'] and len(outcomes) == N + 2 * N // 4
    assert any('cannot be reached' in line for line in said) and 'dead given up' in said[-1]


def test_budget_stops_before_it_is_passed_and_the_rest_comes_later(tmp_path):
    said = []
    with ScriptedServer() as server:
        pool = pool_at(server.url)
        budget = .0012  # about half of what all calls cost
        partial = run(pool, tmp_path/'run', budget=budget, concurrency=4, show=said.append)
        true_cost = sum(pool[b['model']].cost(len(b['messages'][0]['content'].split()) + 7, 4) for b in server.requests)
        assert true_cost <= budget and 0 < len(partial) == len(server.requests) < 2 * N and 'budget' in said[-1]
        full = run(pool, tmp_path/'run')
        assert len(server.requests) == len(full) == 2 * N + N


def test_full_disk(tmp_path, monkeypatch):
    "The write fails after part of a line; what was written stays valid, and the run goes on when there is room."
    real, room = os.write, [6000]
    def limited(handle, data):
        if not data.startswith(b'{"query_id"'): return real(handle, data)
        if room[0] <= 0: raise OSError(errno.ENOSPC, 'No space left on device')
        n = real(handle, data[:room[0]]); room[0] -= n
        return n
    with ScriptedServer() as server:
        with monkeypatch.context() as m:
            m.setattr(module.os, 'write', limited)
            with pytest.raises(CollectError, match='the disk is full; make room and start again: what was written stays valid'): run(pool_at(server.url), tmp_path/'run')
        data = (tmp_path/'run.jsonl').read_bytes()
        assert data.endswith(b'\n') and 0 < len(data) <= 6000 and all(json.loads(line) for line in data.splitlines())
        outcomes = run(pool_at(server.url), tmp_path/'run')
    assert len(outcomes) == 2 * N + N and len(server.requests) <= 2 * N + N + 8


def test_file_size_limit_of_the_system(tmp_path):
    "The same with the kernel's own refusal: a limit on the size of files, in a child process."
    code = textwrap.dedent(f'''
        import resource, signal, sys
        sys.path[:0] = [{ROOT!r}, {str(Path(__file__).parent)!r}]
        from test_collect import pool_at, run
        from trouter.pool.chat import ChatClient
        pool = pool_at(sys.argv[1])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        try: run(pool, {str(tmp_path/'run')!r}, client=ChatClient(pool, progress=False))
        except Exception as e: print(type(e).__name__, e)
    ''')
    with ScriptedServer() as server:
        done = subprocess.run([sys.executable, '-c', code, server.url], capture_output=True, text=True, timeout=60)
        assert done.stdout.startswith('CollectError ') and 'disk is full' in done.stdout, done.stderr[-500:]
        kept = read_lines(tmp_path/'run.jsonl', repair=False)
        assert 0 < len(kept) and (tmp_path/'run.jsonl').stat().st_size <= 5000
        assert len(run(pool_at(server.url), tmp_path/'run')) == 3 * N


def test_two_collections_on_one_file(tmp_path):
    with appender(tmp_path/'run.jsonl'), ScriptedServer() as server, pytest.raises(CollectError, match='another collection'): run(pool_at(server.url), tmp_path/'run')
    assert not server.requests


def test_damage_in_the_middle_of_the_file_is_named(tmp_path):
    (tmp_path/'run.jsonl').write_text('{"a": 1}\nnonsense\n{"a": 2}\n')
    with ScriptedServer() as server, pytest.raises(CollectError, match='line 2: not a whole record'): run(pool_at(server.url), tmp_path/'run')
    assert not server.requests


def test_a_scorer_that_fails_loses_no_answer(tmp_path):
    def bad(q, response):
        if q.query_id == 'q3': raise RuntimeError('oh no')
        return 1.
    with ScriptedServer() as server, pytest.warns(UserWarning, match='q3: the answer is kept without a score: RuntimeError: oh no'):
        outcomes = run(pool_at(server.url), tmp_path/'run', scorer=bad)
    assert outcomes.records.set_index('query_id').loc['q3', 'score'].isna().all() and len(outcomes) == 3 * N
    again = rescore(read_lines(tmp_path/'run.jsonl'), questions(), lambda q, r: .5)
    assert {r['score'] for r in again} == {.5}


def test_strange_texts(tmp_path):
    qs = [Question('long', 'x' * 100_000, reference='r', max_tokens=5), Question('emoji', '🙂👩‍👩‍👧', reference='r', max_tokens=5), Question('rtl', 'مرحبا \u202e abc', reference='r', max_tokens=5),
          Question('lines', 'a\u2028b\x85c\r\nd', reference='r', max_tokens=5)]
    with ScriptedServer(lambda n, b: {'text': 'out\u2028put\x85\r\n "{}' }) as server:
        outcomes = run(pool_at(server.url), tmp_path/'run', qs, scorer=None)
        again = run(pool_at(server.url), tmp_path/'run', qs, scorer=None)
        assert len(server.requests) == 8
    assert outcomes.records['response'].eq('out\u2028put\x85\r\n "{}').all() and len(again) == 8
    with pytest.raises(CollectError, match='empty: the query is empty'): plan([Question('empty', '')], pool_at('http://127.0.0.1:1/v1'))


def test_default_scorer_knows_the_metrics(tmp_path):
    qs = [Question('number', '2+2?', reference='4', metric='number', max_tokens=5), Question('text', 'capital?', reference=['Rome', 'Roma'], metric='contains', max_tokens=5)]
    with ScriptedServer(lambda n, b: {'text': 'It is 4.' if '2+2' in str(b['messages']) else 'Roma!'}) as server:
        outcomes = collect(qs, pool_at(server.url), tmp_path/'run', show=quiet)
    assert outcomes.records['score'].eq(1.).all()


def test_read_questions(tmp_path):
    file = tmp_path/'q.jsonl'
    row = dict(query_id='a', query='x', task='t', subtask='s', level=None, reference_answer=['1', '2'], metric='exact', max_tokens=9, samples=3, source='own')
    file.write_text(json.dumps(row) + '\n\n')
    q, = read_questions(file)
    assert (q.task_type, q.reference, q.samples, q.extra) == ('t/s', ['1', '2'], 3, {'source': 'own'})
    for bad, words in (('{', 'line 1: not JSON'), ('[]', 'line 1: a question needs'), ('{"query_id": "a"}', 'line 1: a question needs')):
        file.write_text(bad + '\n')
        with pytest.raises(CollectError, match=words): read_questions(file)
