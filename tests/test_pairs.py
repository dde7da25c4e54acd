"""Pairs: files, broken lines, fuzz, and the generator against scripted clients."""
import hashlib, json, math, threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from support.scripted_server import ScriptedServer
from trouter.outcomes.collect import check_metrics, default_scorer
from trouter.outcomes.synthetic import question_of, questions_of, verify_pair
from trouter.pool.chat import BudgetExceeded, ChatClient, ChatError, Reply
from trouter.pool.models import CandidateModel, Pool
from trouter.synthesis.format import LLM
from trouter.synthesis.pairs import (ANSWER_TYPES, Deduplicator, Pair, PairError, ProfileRun, Sieve, duplicates_across, function_name, generate_pairs, item_fault, letter_of, pair_of,
                                     plot_yield, read_options, read_pairs, text_of, write_pairs)
from trouter.synthesis.taxonomy import Taxonomy

EASY = 'maths/arithmetic/easy'
quick = settings(deadline=None, max_examples=150)


def taxonomy():
    t = Taxonomy([]).with_children(None, [dict(name='Maths', definition='To be computed.')])
    t = t.with_children('maths', [dict(name='Arithmetic', definition='Whole numbers.')])
    return t.with_children('maths/arithmetic', [dict(name='Easy', definition='One step.')])


def unit(seed, d=64):
    v = np.random.default_rng(int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:8], 'big')).normal(size=d)
    return v / np.linalg.norm(v)


def encode(texts):
    "Texts with the same first three words ('about topic 7 ...') are nearly alike (0.95 and more), others are not."
    rows = np.array([unit(' '.join(t.split()[:3])) + .1 * unit(t) for t in texts], np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def item(topic, wording=0): return f'### PAIR\nQUESTION: about topic {topic} in wording {wording}\nTYPE: number\nANSWER: {topic}\n### END\n'


class Scripted:
    "A client whose reply to call k of a profile (told by the seed) is `write(k)`, a text or an error."
    def __init__(self, write): self.write, self.prompts = write, []
    def chat(self, model, messages, seed=0, **_):
        self.prompts.append(messages)
        text = self.write(seed)
        if isinstance(text, Exception): raise text
        return Reply(text, 1, 1, 'estimated', 0., 0., None, 'stop', False, model)


def fresh(k): return ''.join(item(8 * k + i) for i in range(8))
def generate(write, n=40, **kw):
    client = Scripted(write)
    return generate_pairs(LLM(client, 'm'), taxonomy(), EASY, n, encode=encode, **kw), client


# ---- files

texts = st.text(st.characters(exclude_categories=['Cs']), min_size=1).filter(str.strip)
extras = {'number': st.just({}), 'short text': st.just({}), 'long text': st.just({}),
          'choice': st.fixed_dictionaries({'options': st.dictionaries(texts, texts, min_size=1, max_size=4)}), 'code': st.fixed_dictionaries({'tests': texts, 'function': texts})}


@st.composite
def pairs(draw, kinds=ANSWER_TYPES):
    kind = draw(st.sampled_from(kinds))
    answer, rest = draw(texts), draw(extras[kind])
    if kind == 'choice' and draw(st.booleans()):
        rest = dict(options=dict(zip('ABCD', rest['options'].values())))
        answer = draw(st.sampled_from(sorted(rest['options'])))
    return Pair(draw(texts), EASY, draw(texts), answer, kind, call=draw(st.integers(0, 99)), similarity=draw(st.floats(-1, 1)), **rest)


@given(st.lists(pairs(), max_size=4, unique_by=lambda p: p.id))
@settings(quick, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(tmp_path, some):
    write_pairs(tmp_path/'pairs.jsonl', some)
    assert read_pairs(tmp_path/'pairs.jsonl') == some


def good(i=1, **kw): return dict(id=f'{EASY}#1.{i}', type_id=EASY, question='2 + 2?', answer='4', answer_type='number') | kw


@pytest.mark.parametrize('line,complaint', [
    ('{"id": ', 'line 2: not JSON'), ('[' * 100_000, 'line 2: not JSON'), ('7', 'line 2: a pair is an object'), ('{}', "line 2: the key 'id' is missing"), (json.dumps(good(1)), 'line 2: the id .* stands twice'),
    (json.dumps(good(2, answer='')), 'line 2: answer must be a text that is not empty'), (json.dumps(good(2, answer=4)), 'line 2: answer must be a text'), (json.dumps(good(2, answer_type='essay')), 'line 2: answer_type must be one of number'),
    (json.dumps(good(2, answer_type='choice')), 'line 2: options must be'), (json.dumps(good(2, options={'A': 'x'})), 'line 2: options must be left out for number'), (json.dumps(good(2, answer_type='code')), 'line 2: tests must be given for code'),
    (json.dumps(good(2, similarity=math.nan)), 'line 2: similarity must be a number'), (json.dumps(good(2, call='1')), 'line 2: call must be a whole number'), (json.dumps(good(2, mood='glad')), "line 2: unknown key 'mood'")])
def test_a_broken_line_is_named(tmp_path, line, complaint):
    file = tmp_path/'pairs.jsonl'
    file.write_text(json.dumps(good()) + '\n' + line + '\n')
    with pytest.raises(PairError, match=complaint) as e: read_pairs(file)
    assert '\n' not in str(e.value) and str(file) in str(e.value) and len(str(e.value)) < 400


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(PairError, match='no such file'): read_pairs(tmp_path/'pairs.jsonl')
    (tmp_path/'latin').write_bytes('caf\xe9'.encode('latin-1'))
    with pytest.raises(PairError, match='not UTF-8'): read_pairs(tmp_path/'latin')


def test_half_a_character_is_written_as_a_question_mark(tmp_path):
    write_pairs(tmp_path/'pairs.jsonl', [Pair.from_dict(good(question='a \ud83d b\u2028c'))])
    assert read_pairs(tmp_path/'pairs.jsonl')[0].question == 'a ? b\u2028c'


# ---- fuzz: nothing but ValueError

json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3), max_leaves=8)


@given(json_values | st.dictionaries(st.sampled_from(list(Pair.__dataclass_fields__)) | st.text(max_size=3), json_values | st.sampled_from(ANSWER_TYPES), max_size=10))
@quick
def test_any_dictionary_is_a_pair_or_a_value_error(data):
    try: pair = Pair.from_dict(data)
    except ValueError as e: assert '\n' not in str(e) and len(str(e)) < 300
    else: assert Pair.from_dict(pair.to_dict()) == pair


@given(pairs(kinds=('number', 'choice', 'short text', 'long text')), texts)
@quick
def test_a_verified_pair_can_be_asked_and_scored(pair, response):
    fault = verify_pair(pair)
    if fault: assert '\n' not in fault and len(fault) < 300
    else:
        question = question_of(pair, 'Maths/Arithmetic/Easy')
        check_metrics([question])
        assert 0 <= default_scorer(question, response) <= 1


@given(pairs(kinds=('code',)), st.sampled_from(['', 'assert f(1) == 1', 'assert f(1) ==', 'assert f(\x00)', 'import os; assert f(os.getpid())']))
@settings(quick, max_examples=40)
def test_any_code_is_verified_or_faulted(pair, tests):
    if tests: pair = Pair.from_dict(pair.to_dict() | dict(tests=tests, function='f'))
    fault = verify_pair(pair)
    assert fault and '\n' not in fault


@given(st.fixed_dictionaries(dict(question=texts, answer=texts, type=st.sampled_from(ANSWER_TYPES)), optional=dict(options=st.text(), tests=st.text(), function=st.text())))
@quick
def test_any_item_is_a_pair_or_a_fault(data):
    fault = item_fault(data)
    if fault: assert '\n' not in fault
    else: assert Pair.from_dict(pair_of(data, 'x#1.1', 'x').to_dict()).question == data['question']


@given(st.text(), st.text())
def test_readers_of_details_never_fail(a, b): read_options(a), letter_of(a, read_options(b)), function_name(a, b)


# ---- details

def test_options_and_letters():
    assert read_options('A) 51\n(b). -53\n - C: 57,\nor more\n**D.** 59') == {'A': '51', 'B': '-53', 'C': '57,\nor more', 'D': '59'}
    assert read_options('A) vitamin C B) an A: C) none') == {'A': 'vitamin C', 'B': 'an A:', 'C': 'none'} and read_options('B) x C) y') == {}
    assert [letter_of(a, {'A': 'red', 'B': 'blue'}) for a in ('B', 'b)', '(b) blue', 'Blue', 'B: blue', 'green', 'a red one')] == ['B', 'B', 'B', 'B', 'B', 'green', 'a red one']
    assert [function_name(said, 'x = 1\nassert not is_odd(2)') for said in ('add', '`add`', 'def add(a, b):', 'add(a)', '')] == ['add'] * 4 + ['is_odd']


def test_deduplicator_doubles_and_finds_the_nearest():
    rng, found = np.random.default_rng(0), Deduplicator()
    v = rng.normal(size=(500, 8)).astype(np.float32); v /= np.linalg.norm(v, axis=1, keepdims=True)
    assert [a.tolist() for a in found.nearest(v[:2])] == [[0, 0], [-1, -1]]
    sizes, start = set(), 0
    while start < 500:
        step = int(rng.integers(1, 30)); found.add(v[start:start + step]); start += step
        sizes.add(len(found._matrix))
    sizes = sorted(sizes)
    assert len(found) == 500 and all(b >= 2 * a for a, b in zip(sizes, sizes[1:])) and sizes[-1] < 1000
    s, i = found.nearest(v)
    assert (i == np.arange(500)).all() and np.allclose(s, 1, atol=1e-6) and found.vectors.dtype == np.float32


@pytest.mark.parametrize('block', [1, 3, 50, 10_000])
@pytest.mark.parametrize('d', [2, 3, 6])
def test_duplicates_across_is_the_plain_rule(block, d):
    v = np.random.default_rng(d).normal(size=(300, d)).astype(np.float32); v /= np.linalg.norm(v, axis=1, keepdims=True)
    stays, expected = [], []
    for j in range(len(v)):
        s, i = max(((float(v[i] @ v[j]), i) for i in stays), default=(0., -1))
        if s > .9: expected.append((i, j, s))
        else: stays.append(j)
    found = duplicates_across(v, .9, block)
    assert [f[1] for f in found] == [e[1] for e in expected] and np.allclose([f[2] for f in found], [e[2] for e in expected], atol=1e-5)
    assert all(np.isclose(v[i] @ v[j], s, atol=1e-5) and i in stays for i, j, s in found)


# ---- the generator

def test_it_reaches_n_and_asks_no_more():
    run, client = generate(fresh)
    assert run.complete and not run.saturated and run.cause is None and len(run.pairs) == 40 and len(client.prompts) == 5
    assert [(y['call'], y['asked'], y['parsed'], y['kept']) for y in run.yields] == [(k, 8, 8, 8) for k in range(1, 6)]
    assert len({p.id for p in run.pairs}) == 40 and run.pairs[9].id == f'{EASY}#2.2' and run.vectors.shape == (40, 64) and len(run.exchanges) == 5
    assert generate(fresh, n=20)[0].yields[-1]['kept'] == 4


def test_near_duplicates_go_and_say_of_what():
    run, client = generate(lambda k: fresh(1) if k == 1 else ''.join(item(8 * (k - 1) + i, wording=k) for i in range(4, 12)), n=16)
    assert run.complete and [y['kept'] for y in run.yields] == [8, 4, 4] and len(run.discarded) == 4
    assert all(d['similarity'] > .9 for d in run.discarded) and run.discarded[0]['why'] == f'too similar to {EASY}#1.5'
    s = run.vectors @ run.vectors.T; np.fill_diagonal(s, 0)
    assert s.max() <= .9 and all(p.similarity <= .9 for p in run.pairs)


def test_it_saturates_and_says_so():
    run, client = generate(lambda k: ''.join(item(i, wording=k) for i in range(8)))
    assert run.saturated and not run.complete and len(run.pairs) == 8 and len(client.prompts) == 4
    assert str(run) == f'{EASY}: 8 of 40 pairs (calls 4, near-duplicates 24, unfit 0); ended early: the last calls brought only near-duplicates of what is there'


@pytest.mark.parametrize('write,kw,cause,calls', [
    (lambda k: 'no idea', {}, 'format', 9), (lambda k: fresh(k), dict(verify=lambda p: 'bad'), 'rejected', 3), (lambda k: item(8 * k) + item(8 * k + 1) + item(8 * k + 2) + item(8 * k + 3), dict(most_calls=4), 'calls', 4),
    (lambda k: BudgetExceeded('no money') if k == 3 else fresh(k), {}, 'budget', 3), (lambda k: ChatError('no answer', 'timeout') if k == 2 else fresh(k), {}, 'timeout', 2)])
def test_why_it_ended(write, kw, cause, calls):
    run, client = generate(write, **kw)
    assert run.cause == cause and not run.complete and not run.saturated and len(client.prompts) == calls and 'ended early' in str(run)


def test_a_reply_that_can_be_partly_used_is():
    "Half a batch is enough; below that the faults are named and the rest is asked for."
    broken = '### PAIR\nQUESTION: which?\nTYPE: choice\nANSWER: A\n### END\n'
    run, client = generate(lambda k: ''.join(item(8 * k + i) for i in range(5)) + 3 * broken, n=10)
    assert run.complete and len(client.prompts) == 2
    replies = iter([item(1) + broken, ''.join(item(i) for i in range(2, 9))])
    run, client = generate(lambda k: next(replies), n=8)
    assert run.complete and len(client.prompts) == 2 and 'a choice needs OPTIONS' in client.prompts[1][-1]['content'] and run.exchanges[0].unusable == 1 and run.exchanges[0].complete


def test_the_writer_sees_what_came_up_last_and_prompts_do_not_grow():
    run, client = generate(fresh, n=80)
    lengths = [len(p[-1]['content']) for p in client.prompts]
    assert max(lengths[3:]) - min(lengths[3:]) < 100 and 'about topic 8 ' in client.prompts[1][-1]['content']
    sieve = Sieve(ProfileRun(EASY, 9), encode)
    sieve.take([Pair(f'{i}', EASY, f'about topic {t} in wording {i}', '1', 'number') for i, t in enumerate([1, 2, 3, 1])])
    assert [q.split()[2] for q in sieve.shown(2)] == ['3', '1'] and sieve.shown(0) == []


def test_any_level_has_a_profile():
    for id in ('maths', 'maths/arithmetic', EASY):
        run = generate_pairs(LLM(Scripted(fresh), 'm'), taxonomy(), id, 8, encode=encode)
        assert run.complete and {p.type_id for p in run.pairs} == {id}
    with pytest.raises(ValueError, match='maths/magic'): generate_pairs(LLM(Scripted(fresh), 'm'), taxonomy(), 'maths/magic', 8, encode=encode)


def test_many_profiles_at_once_give_what_one_after_the_other_gives():
    from concurrent.futures import ThreadPoolExecutor
    ids = ['maths', 'maths/arithmetic', EASY] * 4
    llm, work = LLM(Scripted(fresh), 'm'), lambda id: generate_pairs(llm, taxonomy(), id, 40, encode=encode).pairs
    with ThreadPoolExecutor(6) as threads: assert list(threads.map(work, ids)) == [work(id) for id in ids]


def test_a_run_that_was_cut_off_goes_on_and_pays_nothing_twice(tmp_path):
    "Against a real server and the client's cache on disk: the endpoint fails from the third call on, then is back."
    up = threading.Event()
    def script(n, body): return dict(text=''.join(item(8 * (body['seed'] // 2) + i, body['seed']) for i in range(8))) if n < 2 or up.is_set() else dict(status=500)
    with ScriptedServer(script) as server:
        pool = Pool([CandidateModel('m', 1., 2., base_url=server.url, api_key_env='TROUTER_TEST_KEY')])
        def run(cache):
            with ChatClient(pool, cache, max_retries=0, progress=False) as client: return generate_pairs(LLM(client, 'm'), taxonomy(), EASY, 24, encode=encode), client
        first, _ = run(tmp_path/'cache')
        assert first.cause and not first.complete and server.answered == 2
        up.set()
        second, client = run(tmp_path/'cache')
        asked = server.answered
        calm, _ = run(tmp_path/'other')
        third, _ = run(tmp_path/'cache')
        assert second.complete and second.pairs == calm.pairs == third.pairs and second.discarded == calm.discarded and second.pairs[:len(first.pairs)] == first.pairs
        assert asked == len(second.yields) and server.answered == 2 * asked


def test_yields_are_drawn():
    import matplotlib; matplotlib.use('agg')
    runs = [generate(fresh)[0], generate(lambda k: ''.join(item(i) for i in range(8)))[0]]
    ax = plot_yield({'difficulty': runs, 'domain': runs[1]})
    assert [l.get_ydata()[-1] for l in ax.lines] == [40, 8, 8, 40] and [t.get_text() for t in ax.get_legend().get_texts()] == ['difficulty', 'domain', 'all kept']


def test_questions_of_pairs():
    made = questions_of([Pair.from_dict(good()), Pair.from_dict(good(2, answer_type='code', answer='def f(): return 4', tests='assert f() == 4', function='f'))], taxonomy())
    assert [q.task_type for q in made] == ['Maths/Arithmetic/Easy'] * 2 and [q.metric for q in made] == ['number', 'pass@1']
    assert default_scorer(made[1], '```python\ndef f(): return 4\n```') == 1 and default_scorer(made[1], 'def f(): return 5') == 0
    assert 'step by step' not in made[0].query and 'step by step' in made[0].messages[0]['content']
