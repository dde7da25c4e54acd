"The whole chain against a server that fails, under kill -9, and with too little money: the artefacts stay the same."
import json, signal, subprocess, sys, textwrap, time
from pathlib import Path

import pytest

import trouter
from support.faulty_server import KINDS, FaultyServer
from support.generator import ScriptedGenerator, encode_words, slipping
from trouter.pool.chat import ChatClient
from trouter.pool.models import CandidateModel, Pool
from trouter.synthesis.format import LLM
from trouter.synthesis.pairs import read_pairs
from trouter.synthesis.synthesize import Settings, synthesize
from trouter.synthesis.taxonomy import Taxonomy

ROOT = str(Path(trouter.__file__).parents[1])
DOMAINS = [dict(name='Cooking', definition='Requests about recipes.'), dict(name='Chess', definition='Requests about positions and plans.')]
SETTINGS = Settings(domains=1, subcategories=3, levels=2, pairs=8, batch=4, quiet=2, rounds=6)
GENERATOR = ScriptedGenerator(variety=30, doubts=.4)
ARTEFACTS = ('taxonomy.json', 'pairs.jsonl', 'journal.jsonl')


def pool_at(url): return Pool([CandidateModel('m', 1., 2., base_url=url, api_key_env='TROUTER_TEST_KEY')])


def run(url, out, settings=SETTINGS, **kw):
    "One synthesis with its client closed; (what it made, the client)."
    with ChatClient(pool_at(url), cache_dir=out/'cache', **dict(max_retries=10, timeout=2., progress=False) | kw) as client:
        return synthesize(DOMAINS, LLM(client, 'm', max_tokens=600), out, settings, encode=encode_words, progress=False), client


def artefacts(out): return {name: (out/name).read_text() for name in ARTEFACTS}
def bill(server): return (server.usage['prompt_tokens'] * 1 + server.usage['completion_tokens'] * 2) / 1e6


@pytest.fixture(scope='module')
def calm(tmp_path_factory):
    "The artefacts of an undisturbed run, and its server."
    out = tmp_path_factory.mktemp('calm')
    with FaultyServer(GENERATOR.answer) as server: made, _ = run(server.url, out)
    assert made.taxonomy.counts() == {'domain': 3, 'subcategory': 9, 'difficulty': 18} and not made.incomplete
    assert len(made.pairs) == len(read_pairs(out/'pairs.jsonl')) > 120 and Taxonomy.read(out/'taxonomy.json') == made.taxonomy
    assert made.figures()['near-duplicates in profiles'] > 0 and any(r['adopted'] for row in made.journal if row['kind'] == 'review' for r in row['rounds'])
    return artefacts(out), server


@pytest.mark.parametrize('seed', range(3))
def test_faults_change_nothing(calm, tmp_path, seed):
    "Three of ten attempts fail, in all ways. The ledger holds exactly what the server answered in full."
    with FaultyServer(GENERATOR.answer, share=.3, seed=seed) as server: _, client = run(server.url, tmp_path)
    assert artefacts(tmp_path) == calm[0] and server.paid == calm[1].paid
    assert set(server.faults) == set(KINDS) and .2 < sum(server.faults.values()) / len(server.requests) < .4
    line = client.ledger.lines['m']
    assert (line['calls'], line['prompt_tokens'], line['completion_tokens']) == (server.answered, server.usage['prompt_tokens'], server.usage['completion_tokens'])
    assert client.ledger.spent == pytest.approx(bill(server))


def test_faults_and_malformed_texts(tmp_path):
    "Replies in broken form are part of what the model says; faults on the way still change nothing."
    made = {}
    for share in (0., .3):
        with FaultyServer(GENERATOR.answer, share=share, seed=7, bad_text=slipping(GENERATOR, .3)) as server: made[share], _ = run(server.url, tmp_path/str(share))
    assert artefacts(tmp_path/'0.0') == artefacts(tmp_path/'0.3')
    figures = made[0.].figures()
    assert figures['malformed replies'] > 5 and figures['rescued'] > .6 * figures['exchanges with a malformed reply'] > 0


def test_what_fails_for_good_is_marked_and_taken_up_again(calm, tmp_path):
    "One node's calls fail: the others are not touched, the cause stands at the node, and the next run mends it."
    with FaultyServer(GENERATOR.answer, kinds=['500'], share=lambda body: 'Divide it into subcategories' in str(body) and 'Chess' in str(body)) as server:
        made, _ = run(server.url, tmp_path, max_retries=0)
        assert made.incomplete == {'chess': 'server'} and made.taxonomy.counts() == {'domain': 3, 'subcategory': 6, 'difficulty': 12}
        assert json.loads((tmp_path/'run.json').read_text())['incomplete'] == made.incomplete
        server.share = 0.
        mended, _ = run(server.url, tmp_path)
    assert not mended.incomplete and artefacts(tmp_path) == calm[0] and server.paid == calm[1].paid


def test_a_node_that_is_never_answered_in_form(tmp_path):
    with FaultyServer(GENERATOR.answer, bad_text=lambda body, n: 'I would rather not.' if 'into levels of difficulty. The' in str(body) and 'Translating' in str(body) else None) as server: made, _ = run(server.url, tmp_path)
    assert set(made.incomplete.values()) == {'format'} and len(made.incomplete) == 3 and all('translating' in node for node in made.incomplete)
    assert made.taxonomy.counts()['difficulty'] == 12 and {p.type_id for p in made.pairs} == {n.id for n in made.taxonomy.at(2)}


def test_a_writer_with_little_to_say_stops_nothing(tmp_path):
    "Every node runs out of new pairs, many in a row: no call has failed, so every node is still tried."
    with FaultyServer(ScriptedGenerator(variety=2).answer) as server: made, _ = run(server.url, tmp_path)
    nodes = {n.id for n in made.taxonomy.at(2)}
    assert len(nodes) > 10 and made.incomplete == dict.fromkeys(made.incomplete, 'saturated') and set(made.incomplete) == nodes
    assert {row['node'] for row in made.journal if row['kind'] == 'profile'} == nodes and json.loads((tmp_path/'run.json').read_text())['halted'] is None


# ---- kill -9

CHILD = textwrap.dedent('''
    import sys
    from pathlib import Path
    sys.path[:0] = [{root!r}, {tests!r}]
    from test_synthesis import run
    run({url!r}, Path({out!r}), concurrency={concurrency})
''')


@pytest.mark.parametrize('concurrency, share', [(1, 0.), (4, .3)])
def test_kill_9_then_the_same_command(calm, tmp_path, concurrency, share):
    "The same artefacts. No answered request is asked again, except those that were under way at a kill."
    expected, quiet = calm
    with FaultyServer(GENERATOR.answer, share=share, delay=.02) as server:
        code = CHILD.format(root=ROOT, tests=str(Path(__file__).parent), url=server.url, out=str(tmp_path), concurrency=concurrency)
        for part in (.15, .5, .85):
            process = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while len(server.paid) < part * len(quiet.paid) and process.poll() is None: time.sleep(.002)
            assert process.poll() is None, 'the child ended before it was killed'
            process.send_signal(signal.SIGKILL); process.wait()
            time.sleep(.1)  # let the server end the calls that were under way
        run(server.url, tmp_path, concurrency=concurrency)
    assert artefacts(tmp_path) == expected
    repeated = server.paid - quiet.paid
    assert set(server.paid) == set(quiet.paid) and sum(repeated.values()) <= 3 * concurrency, repeated


# ---- money

@pytest.mark.parametrize('share', [0., .3])
def test_the_budget_is_not_passed_and_more_money_ends_the_same(calm, tmp_path, share):
    expected, quiet = calm
    budget = .5 * bill(quiet)
    with FaultyServer(GENERATOR.answer, share=share, seed=1) as server:
        made, client = run(server.url, tmp_path, budget=budget)
        assert .05 * budget < bill(server) <= budget and client.ledger.spent == pytest.approx(bill(server)) and client.budget.spent <= budget * (1 + 1e-9)
        assert made.incomplete and set(made.incomplete.values()) == {'budget'} and json.loads((tmp_path/'run.json').read_text())['halted'] == 'budget'
        assert Taxonomy.read(tmp_path/'taxonomy.json') == made.taxonomy and len(read_pairs(tmp_path/'pairs.jsonl')) == len(made.pairs)
        before = bill(server)
        again, client = run(server.url, tmp_path, budget=100.)
        assert client.ledger.spent == pytest.approx(bill(server) - before) and client.ledger.lines['m']['cached'] > 0
    assert not again.incomplete and artefacts(tmp_path) == expected and server.paid == quiet.paid


def test_a_second_run_asks_nothing(tmp_path):
    with FaultyServer(GENERATOR.answer) as server:
        run(server.url, tmp_path)
        first, asked = artefacts(tmp_path), len(server.requests)
        _, client = run(server.url, tmp_path)
        assert len(server.requests) == asked and artefacts(tmp_path) == first and client.ledger.spent == 0
