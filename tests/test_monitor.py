"What the run monitor says of real runs: alive, killed, gone on, out of money; and files that many threads write."
import os, signal, stat, threading, time

import pytest

from support.faulty_server import FaultyServer
from support.scripted_server import ScriptedServer
from test_collect import child, pool_at, run
from test_synthesis import GENERATOR, run as synthesis
from trouter.app.monitor import Monitor, look, look_text, rest_of
from trouter.outcomes.collect import read_lines
from trouter.pool.models import write_atomically


def until(what, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, 'waited in vain'
        time.sleep(.02)
    return found


def test_a_collection_killed_and_gone_on(tmp_path):
    "The figures are those of the server, and the money of both runs adds up."
    with ScriptedServer(lambda n, b: {'delay': .05}) as server:
        process = child(server.url, tmp_path/'run', concurrency=2)
        try: alive = until(lambda: (found := look(tmp_path)).runs and 5 < found.runs[0]['stages'][0].get('done', 0) and found)
        finally: process.send_signal(signal.SIGKILL); process.wait()
        killed = alive.runs[0]
        assert alive.running and killed['what'] == 'collection' and killed['stages'][0]['total'] == 120
        rest = rest_of(killed)
        assert rest['steps'] == 120 - killed['stages'][0]['done'] and rest['seconds'] > 0 and rest['money'] > 0
        dead = look(tmp_path, now=time.time() + 60)
        assert not dead.running and 'INTERRUPTED' in look_text(dead) and dead.damage == []
        run(pool_at(server.url), tmp_path/'run', concurrency=2)
    over = look(tmp_path).runs[0]
    stage = over['stages'][0]
    assert (over['state'], stage['total'], stage['failed'], stage['before'] + stage['done']) == ('finished', 120, 0, 120) and stage['before'] >= killed['stages'][0]['done']
    assert over['paid'] == pytest.approx(sum(line['cost'] for line in read_lines(tmp_path/'run.jsonl'))) and over['spent'] < over['paid']


def test_a_synthesis_out_of_money(tmp_path):
    with FaultyServer(GENERATOR.answer) as server: made, client = synthesis(server.url, tmp_path, budget=.02)
    found = look(tmp_path)
    facts = found.runs[0]
    assert facts['state'] == 'stopped' and 'budget' in facts['why'] and facts['causes']['budget'] > 0
    assert facts['spent'] == pytest.approx(client.budget.spent) and facts['spent'] <= facts['budget'] == .02 and facts['paid'] == pytest.approx(client.ledger.spent)
    assert facts['models']['m']['calls'] == server.answered and [name for name, _ in found.files] == ['taxonomy.json', 'pairs.jsonl'][:len(found.files)]
    assert 'of a budget of 0.02' in look_text(found)


def test_the_monitor_follows_a_run_and_stops(tmp_path):
    monitor = Monitor(tmp_path, every=.1)
    with FaultyServer(GENERATOR.answer, delay=.02) as server:
        thread = threading.Thread(target=synthesis, args=[server.url, tmp_path]); thread.start()
        until(lambda: monitor.found.running)
        thread.join()
    monitor.thread.join(60)
    assert not monitor.thread.is_alive() and monitor.controls['every'].value == 0 and 'synthesis: finished' in monitor.note.value


@pytest.mark.skipif(os.name != 'posix', reason='modes of files')
def test_many_threads_write_and_the_umask_stays(tmp_path):
    before = os.umask(0o027); os.umask(0o027)
    try:
        threads = [threading.Thread(target=lambda i=i: [write_atomically(tmp_path/f'{i}', 'x') for _ in range(50)]) for i in range(8)]
        for t in threads: t.start()
        for t in threads: t.join()
        now = os.umask(0o027)
        assert now == 0o027 and {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {0o640}
    finally: os.umask(before)
