"""Synthesis at the paper's size: 447 profiles x 40 pairs, written by a client that answers at once. Run with `pytest -m slow tests/test_scale.py -s`."""
import json, os, subprocess, sys, textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]

CHILD = textwrap.dedent('''
    import hashlib, json, random, re, time
    import numpy as np
    from trouter.pool.chat import Reply
    from trouter.synthesis.format import LLM
    from trouter.synthesis.pairs import duplicates_across, generate_pairs, read_pairs, write_pairs
    from trouter.synthesis.taxonomy import Taxonomy

    SHAPE = [5] * 35 + [4] * 68          # levels of each of 103 subcategories: 447 in all
    WORDS = 'river table engine letter window garden market number circle system history planet border silver bottle forest doctor ticket signal corner'.split()

    class AtOnce:
        "Writes eight pairs about the profile that it is shown; one in ten repeats an earlier one."
        def chat(self, model, messages, seed=0, **_):
            node = re.search(r'Kind (\\d+-\\d+)', messages[-1]['content'])[1]
            draw, text = random.Random(f'{node} {seed}'), []
            for i in range(8):
                call, k = (seed, i) if seed == 1 or draw.random() > .1 else (1, draw.randrange(8))
                words = ' '.join(random.Random(f'{node} {call} {k}').choices(WORDS, k=30))
                text.append(f'### PAIR\\nQUESTION: {words}, {node} {call} {k}?\\nTYPE: number\\nANSWER: {call * k}\\n### END')
            return Reply('\\n'.join(text), 500, 400, 'usage', .01, 0., None, 'stop', False, model)

    class Hashed:
        "A fixed random unit vector for each text; adds up the time it takes."
        seconds = processor = 0.
        def __call__(self, texts):
            started, cpu = time.perf_counter(), time.process_time()
            rows = np.stack([np.random.default_rng(int.from_bytes(hashlib.sha256(t.encode()).digest()[:8], 'big')).normal(size=384) for t in texts])
            rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
            self.seconds += time.perf_counter() - started; self.processor += time.process_time() - cpu
            return rows

    taxonomy = Taxonomy([]).with_children(None, [dict(name=f'Domain {d}', definition='A field.') for d in range(10)])
    domains = [n.id for n in taxonomy.at(0)]
    for d in domains: taxonomy = taxonomy.with_children(d, [dict(name=f'Sub {s}', definition='A kind of task.') for s in range(103) if domains[s % 10] == d])
    for s, (node, levels) in enumerate(zip(taxonomy.at(1), SHAPE)): taxonomy = taxonomy.with_children(node.id, [dict(name=f'Level {k}', definition=f'Kind {s}-{k} of request.') for k in range(levels)])

    encode, llm, runs, own = Hashed(), LLM(AtOnce(), 'at-once'), [], []
    started = time.perf_counter()
    for leaf in taxonomy.leaves:
        before = time.process_time() - encode.processor
        runs.append(generate_pairs(llm, taxonomy, leaf.id, n=40, batch=8, encode=encode))
        own.append(time.process_time() - encode.processor - before)     # processor time without embedding
    written = time.perf_counter() - started
    pairs, vectors = [p for r in runs for p in r.pairs], np.concatenate([r.vectors for r in runs])
    vectors[-100:] = vectors[:100]       # a hundred pairs that repeat those of another profile
    begun = time.perf_counter(); across = duplicates_across(vectors, .9); passing = time.perf_counter() - begun
    begun = time.perf_counter(); write_pairs('pairs.jsonl', pairs); assert read_pairs('pairs.jsonl') == pairs; filing = time.perf_counter() - begun

    tenth = len(own) // 10
    peak = int(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]) / 1024
    print(json.dumps(dict(profiles=len(runs), complete=sum(r.complete for r in runs), pairs=len(pairs), discarded=sum(len(r.discarded) for r in runs), across=len(across), calls=sum(len(r.yields) for r in runs),
                          embedding_s=encode.seconds, generating_s=written - encode.seconds, across_s=passing, filing_s=filing, peak_mb=peak,
                          first_tenth_us=1e6 * np.median(own[:tenth]) / 40, last_tenth_us=1e6 * np.median(own[-tenth:]) / 40)))
''')


def test_the_papers_number_of_pairs(tmp_path):
    "17,880 pairs: time without embedding, peak memory, and the cost of a pair in the first and the last tenth of the profiles."
    if not Path('/proc/self/status').exists(): pytest.skip('needs /proc to read the peak memory')
    done = subprocess.run([sys.executable, '-c', CHILD], cwd=tmp_path, env=dict(os.environ, PYTHONPATH=str(ROOT)), capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    print('\n' + '\n'.join(f'{k:16} {v:,.1f}' if isinstance(v, float) else f'{k:16} {v:,}' for k, v in found.items()))
    assert found['profiles'] == found['complete'] == 447 and found['pairs'] == 17_880 and found['discarded'] > 500 and found['across'] == 100
    assert found['generating_s'] + found['across_s'] + found['filing_s'] < 600
    assert found['peak_mb'] < 2000
    assert found['last_tenth_us'] <= 1.5 * found['first_tenth_us']


CHAIN = textwrap.dedent('''
    import json, re, sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from support.generator import ScriptedGenerator, encode_words, full_size
    from support.scripted_server import ScriptedServer
    from trouter.pool.chat import ChatClient
    from trouter.pool.models import CandidateModel, Pool
    from trouter.synthesis.format import LLM
    from trouter.synthesis.report import write_report
    from trouter.synthesis.synthesize import synthesize

    generator, out = ScriptedGenerator(levels=full_size, shared=0, wrong=0), Path('run')
    with ScriptedServer(lambda n, body: {'text': generator.answer(body)}) as server:
        with ChatClient(Pool([CandidateModel('m', 2, 8, base_url=server.url)]), out/'cache', budget=100, progress=False) as client:
            started = time.perf_counter()
            made = synthesize('seed', LLM(client, 'm', max_tokens=4000), out, encode=encode_words, progress=False)
            seconds = time.perf_counter() - started
        asked = len(server.requests)
    write_report(out)
    peak = int(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]) / 1024
    print(json.dumps(dict(made.figures(), requests=asked, seconds=seconds, embedding_s=made.seconds['embedding'], across_s=made.seconds['duplicates across profiles'], spent=client.ledger.spent, peak_mb=peak)))
''')


def test_the_whole_chain_at_the_papers_size(tmp_path):
    "The full setting with its defaults, over HTTP, from an endpoint that answers at once; the server runs in the same process and counts in time and memory."
    if not Path('/proc/self/status').exists(): pytest.skip('needs /proc to read the peak memory')
    done = subprocess.run([sys.executable, '-c', CHAIN, str(ROOT/'tests')], cwd=tmp_path, env=dict(os.environ, PYTHONPATH=str(ROOT)), capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    print('\n' + '\n'.join(f'{k:34} {v:,.1f}' if isinstance(v, float) else f'{k:34} {v:,}' for k, v in found.items()))
    assert (found['domain'], found['difficulty']) == (10, 447) and found['pairs'] + found['near-duplicates across profiles'] == 17_880 and found['incomplete nodes'] == 0
    assert found['calls'] == found['requests']
    assert found['seconds'] - found['embedding_s'] < 600 and found['peak_mb'] < 2000
