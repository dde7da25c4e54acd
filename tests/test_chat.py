"""The chat client against a real HTTP server that misbehaves on request."""
import asyncio, json, os, sqlite3, threading, time, warnings

import pytest

from support.faulty_server import KINDS, FaultyServer
from support.scripted_server import ScriptedServer
from trouter.pool.chat import BudgetExceeded, ChatClient, ChatError, Reply, Request, open_cache, worst_cost, body_of
from trouter.pool.models import CandidateModel, MissingPrice, Pool

KEY_ENV = 'TROUTER_TEST_KEY'


def pool_at(url, **kw): return Pool([CandidateModel('m', 1., 2., base_url=url, api_key_env=KEY_ENV, **kw)])


def error_of(script=None, key=None, timeout=5., retries=0, **kw):
    "The ChatError of one call."
    with ScriptedServer(script, key) as server, ChatClient(pool_at(server.url), max_retries=retries, timeout=timeout) as client:
        with pytest.raises(ChatError) as caught: client.chat('m', 'hello', max_tokens=5, **kw)
    assert '\n' not in str(caught.value) and str(caught.value).startswith('m at http://127.0.0.1')
    return caught.value


# ---- a normal call

def test_answer_usage_logprob_and_cost():
    with ScriptedServer() as server, ChatClient(pool_at(server.url)) as client:
        r = client.chat('m', 'one two three', max_tokens=50)
    assert r.text.startswith('answer ') and r.text.endswith('שלום 🙂')
    assert (r.prompt_tokens, r.completion_tokens, r.tokens_source) == (10, 4, 'usage')
    assert r.cost == pytest.approx((10 * 1 + 4 * 2) / 1e6) and r.logprob == -.5 and r.finish_reason == 'stop' and not r.cached and r.latency_s > 0
    assert server.requests[0] == {'model': 'm', 'messages': [{'role': 'user', 'content': 'one two three'}], 'max_tokens': 50, 'temperature': 0, 'logprobs': True}


def test_unknown_keywords_are_sent_and_sample_is_not():
    with ScriptedServer() as server, ChatClient(pool_at(server.url)) as client:
        client.chat('m', 'x', max_tokens=5, seed=3, stop=['\n'], sample=4, top_logprobs=1, temperature=.7)
    body = server.requests[0]
    assert body['top_logprobs'] == 1 and body['seed'] == 3 and body['stop'] == ['\n'] and body['temperature'] == .7 and 'sample' not in body


@pytest.mark.parametrize('text', ['', ' ', '🙂' * 50, 'שלום עולם, مرحبا بالعالم', 'a\u202eb\u0000c\n"{}\\', 'x' * 100_000, '日本語' * 1000])
def test_texts_of_all_kinds_arrive_as_they_are(text, tmp_path):
    with ScriptedServer() as server:
        with ChatClient(pool_at(server.url), cache_dir=tmp_path, budget=10.) as client:
            first = client.chat('m', text, max_tokens=5)
        with ChatClient(pool_at(server.url), cache_dir=tmp_path) as client: second = client.chat('m', text, max_tokens=5)
    assert server.requests[0]['messages'][0]['content'] == text and len(server.requests) == 1
    assert second.cached and second.text == first.text


def test_half_a_surrogate_pair_is_one_clear_error():
    with ScriptedServer() as server, ChatClient(pool_at(server.url)) as client:
        with pytest.raises(ChatError, match='cannot be sent as UTF-8') as caught: client.chat('m', 'a \ud83d b', max_tokens=5)
        assert caught.value.cause == 'text' and not server.requests


def test_missing_usage_is_estimated():
    with ScriptedServer(lambda n, b: {'usage': None, 'text': 'abcdefgh'}) as server, ChatClient(pool_at(server.url)) as client:
        r = client.chat('m', 'x' * 40, max_tokens=5)
    assert (r.prompt_tokens, r.completion_tokens, r.tokens_source) == (10, 2, 'estimated')


# ---- errors

@pytest.mark.parametrize('status, cause, words', [(401, 'key', KEY_ENV), (403, 'key', KEY_ENV), (404, 'not found', '/v1'), (400, 'status 400', 'refused the request'),
                                                  (422, 'status 422', 'see its message'), (429, 'rate limit', 'lower `concurrency`'), (500, 'server', 'try again later'), (503, 'server', 'try again later')])
def test_status_becomes_one_line_with_cause_and_advice(status, cause, words):
    e = error_of(lambda n, b: {'status': status, 'message': 'because\nof something'})
    assert e.cause == cause and words in str(e) and 'because of something' in str(e)


def test_wrong_key(monkeypatch):
    monkeypatch.setenv(KEY_ENV, 'wrong')
    assert error_of(key='right').cause == 'key'
    monkeypatch.setenv(KEY_ENV, 'right')
    with ScriptedServer(key='right') as server, ChatClient(pool_at(server.url)) as client: assert client.chat('m', 'x', max_tokens=5).text


def test_the_key_stands_in_no_message(monkeypatch):
    monkeypatch.setenv(KEY_ENV, 'sk-very-secret')
    assert 'secret' not in str(error_of(key='right'))


def test_dead_server_hang_up_and_timeout():
    with ScriptedServer() as server: url = server.url
    with ChatClient(pool_at(url), max_retries=0) as client, pytest.raises(ChatError, match='cannot be reached') as caught: client.chat('m', 'x')
    assert caught.value.cause == 'connection'
    assert error_of(lambda n, b: {'hang_up': True}).cause == 'cut off'
    start = time.monotonic()
    assert error_of(lambda n, b: {'delay': 3}, timeout=.3).cause == 'timeout' and time.monotonic() - start < 3.5


@pytest.mark.parametrize('body', [b'<html>hello</html>', b'{"choices": [', b'[]', b'null', b'{}', b'{"choices": []}', b'{"choices": null}', b'{"choices": [{}]}', b'{"choices": [{"message": null}]}', b'\xff\xfe', b''])
def test_malformed_replies(body):
    e = error_of(lambda n, b: {'body': body})
    assert e.cause == 'malformed' and 'chat endpoint' in str(e)


def test_html_page_as_html():
    assert error_of(lambda n, b: {'body': b'<html>login</html>', 'headers': {'Content-Type': 'text/html'}}).cause == 'malformed'


def test_no_answer_is_never_an_empty_answer():
    "An answer that is empty is a Reply; a failure is an exception."
    with ScriptedServer(lambda n, b: {'text': ''}) as server, ChatClient(pool_at(server.url)) as client: assert client.chat('m', 'x', max_tokens=5).text == ''


def test_endpoint_without_logprobs_is_asked_again_without():
    script = lambda n, b: {'status': 400, 'message': 'logprobs is not supported'} if 'logprobs' in b else {}
    with ScriptedServer(script) as server, ChatClient(pool_at(server.url)) as client:
        assert client.chat('m', 'x', max_tokens=5).logprob is None
        client.chat('m', 'y', max_tokens=5)
    assert ['logprobs' in b for b in server.requests] == [True, False, False]


# ---- retries

def test_retry_after_is_respected():
    script = lambda n, b: {'status': 429, 'headers': {'Retry-After': '1.5'}} if n == 0 else {}
    with ScriptedServer(script) as server, ChatClient(pool_at(server.url)) as client: client.chat('m', 'x', max_tokens=5)
    assert len(server.times) == 2 and 1.5 <= server.times[1] - server.times[0] < 2.5


def test_errors_that_pass_are_retried_and_wrong_keys_are_not():
    script = lambda n, b: [{'status': 500, 'headers': {'retry-after-ms': '20'}}, {'hang_up': True}, {}][n]
    with ScriptedServer(script) as server, ChatClient(pool_at(server.url)) as client: assert client.chat('m', 'x', max_tokens=5).text
    assert len(server.requests) == 3
    with ScriptedServer(lambda n, b: {'status': 401}) as server, ChatClient(pool_at(server.url), max_retries=3) as client:
        with pytest.raises(ChatError): client.chat('m', 'x', max_tokens=5)
    assert len(server.requests) == 1


def test_retries_end():
    with ScriptedServer(lambda n, b: {'status': 503, 'headers': {'retry-after-ms': '10'}}) as server, ChatClient(pool_at(server.url), max_retries=2) as client:
        with pytest.raises(ChatError): client.chat('m', 'x', max_tokens=5)
    assert len(server.requests) == 3


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_of_fault_is_survived(kind):
    "Two attempts fail, the third is answered: one answer is paid and booked."
    with FaultyServer(lambda body: 'hello', share=1., kinds=[kind]) as server:
        draw, server.draw = server.draw, lambda body: draw(body) if sum(server.faults.values()) < 2 else None
        with ChatClient(pool_at(server.url), max_retries=2, timeout=1.) as client:
            start = time.monotonic()
            assert client.chat('m', 'x', max_tokens=5).text == 'hello'
            assert client.ledger.lines['m']['calls'] == server.answered == 1 and server.faults == {kind: 2}
            assert time.monotonic() - start < 6


@pytest.mark.parametrize('kind, owed', [('429', False), ('500', False), ('hang', True), ('cut', True), ('half', True), ('invalid JSON', True), ('no choices', True)])
def test_what_may_be_billed_stays_reserved(kind, owed):
    with FaultyServer(lambda body: 'hello', share=1., kinds=[kind]) as server, ChatClient(pool_at(server.url), budget=1., max_retries=0, timeout=.5) as client:
        with pytest.raises(ChatError): client.chat('m', 'x', max_tokens=5)
        worst = worst_cost(body_of(Request('m', 'x', max_tokens=5), client.pool['m']), client.pool['m'])
        assert client.budget.lost == (worst if owed else 0) and client.budget.reserved == client.ledger.spent == 0


def test_repeating_malformed_replies_stops_at_the_budget():
    with FaultyServer(lambda body: 'hello', share=1., kinds=['no choices']) as server:
        worst = worst_cost(body_of(Request('m', 'x', max_tokens=5), pool_at(server.url)['m']), pool_at(server.url)['m'])
        with ChatClient(pool_at(server.url), budget=2.5 * worst, max_retries=5) as client, pytest.raises(BudgetExceeded): client.chat('m', 'x', max_tokens=5)
    assert len(server.requests) == 2


def test_a_share_of_faults_changes_no_answer():
    "Thirty in a hundred attempts fail in all ways at once."
    requests = [Request('m', f'q{i}', max_tokens=5) for i in range(60)]
    with FaultyServer(lambda body: f"re: {body['messages'][0]['content']}", share=.3, seed=3) as server:
        with ChatClient(pool_at(server.url), max_retries=10, timeout=1., concurrency=16, progress=False) as client: replies = client.chat_many(requests)
        assert [r.text for r in replies] == [f're: q{i}' for i in range(60)]
        line = client.ledger.lines['m']
        assert line['calls'] == server.answered == 60 and set(server.paid.values()) == {1} and len(server.faults) >= 6
        assert all(line[name] == server.usage[name] for name in ('prompt_tokens', 'completion_tokens'))


# ---- concurrency, order, cache

def test_concurrency_is_bounded_and_order_is_kept():
    with ScriptedServer(lambda n, b: {'delay': .05 if n % 2 else .01}) as server, ChatClient(pool_at(server.url), concurrency=3, progress=False) as client:
        requests = [Request('m', f'q{i}', max_tokens=5) for i in range(30)]
        replies = client.chat_many(requests)
        assert server.most_under_way == 3
        again = [client.chat('m', f'q{i}', max_tokens=5).text for i in range(3)]
    assert [r.text for r in replies[:3]] == again and all(isinstance(r, Reply) for r in replies)


def test_equal_requests_at_the_same_time_are_paid_once(tmp_path):
    with ScriptedServer(lambda n, b: {'delay': .1}) as server, ChatClient(pool_at(server.url), cache_dir=tmp_path, progress=False) as client:
        replies = client.chat_many([Request('m', 'same', max_tokens=5)] * 6)
        assert len(server.requests) == 1 and sum(r.cached for r in replies) == 5
        assert client.ledger.lines['m']['calls'] == 1 and client.ledger.lines['m']['cached'] == 5


def test_samples_are_different_entries(tmp_path):
    with ScriptedServer() as server, ChatClient(pool_at(server.url), cache_dir=tmp_path) as client:
        for _ in range(2):
            for sample in range(3): client.chat('m', 'x', max_tokens=5, temperature=.7, sample=sample)
    assert len(server.requests) == 3


def test_failed_calls_are_not_cached(tmp_path):
    with ScriptedServer(lambda n, b: {'status': 400} if n == 0 else {}) as server, ChatClient(pool_at(server.url), cache_dir=tmp_path) as client:
        with pytest.raises(ChatError): client.chat('m', 'x', max_tokens=5)
        assert client.chat('m', 'x', max_tokens=5).cached is False


def test_cache_holds_text_alone(tmp_path):
    with ScriptedServer() as server, ChatClient(pool_at(server.url), cache_dir=tmp_path) as client: client.chat('m', 'x' * 200_000, max_tokens=5, stop=['🙂'])
    rows = sqlite3.connect(tmp_path/'cache.db').execute('select mode, raw, typeof(key), typeof(value), filename from Cache').fetchall()
    assert rows == [(1, 1, 'text', 'text', None)]
    assert not [f for f in tmp_path.rglob('*') if f.is_file() and not f.name.startswith('cache.db')]


def test_a_planted_pickle_is_not_opened(tmp_path):
    import pickle
    class Evil:
        def __reduce__(self): return (os.mkdir, (str(tmp_path/'owned'),))
    request = Request('m', 'x', max_tokens=5)
    with ScriptedServer() as server:
        pool = pool_at(server.url)
        from trouter.pool.chat import request_key
        with open_cache(tmp_path/'c') as cache: cache[request_key(request, pool['m'])] = 'text'
        with sqlite3.connect(tmp_path/'c'/'cache.db') as db: db.execute('update Cache set mode = 4, value = ?', (pickle.dumps(Evil()),))
        with ChatClient(pool, cache_dir=tmp_path/'c', progress=False) as client, pytest.raises(ValueError, match='refused'): client.chat_many([request])
    assert not (tmp_path/'owned').exists()


def test_a_cache_that_cannot_be_written_loses_no_answer(tmp_path, monkeypatch):
    with ScriptedServer() as server, ChatClient(pool_at(server.url), cache_dir=tmp_path) as client:
        def full(*_, **__): raise sqlite3.OperationalError('database or disk is full')
        monkeypatch.setattr(client.cache, 'set', full)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter('always')
            assert client.chat('m', 'x', max_tokens=5).text
        assert any('could not be kept' in str(w.message) for w in seen)


# ---- budget

@pytest.mark.parametrize('concurrency', [1, 8])
def test_budget_is_never_passed(concurrency):
    price = dict(input_price=10., output_price=1000.)
    with ScriptedServer(lambda n, b: {'delay': .01, 'usage': {'prompt_tokens': 50, 'completion_tokens': b['max_tokens'], 'total_tokens': 0}}) as server:
        pool = Pool([CandidateModel('m', **price, base_url=server.url, api_key_env=KEY_ENV)])
        request = Request('m', 'hello', max_tokens=100)
        one, worst = pool['m'].cost(50, 100), worst_cost(body_of(request, pool['m']), pool['m'])
        budget = 10 * one + .5 * worst
        with ChatClient(pool, budget=budget, concurrency=concurrency, progress=False) as client:
            results = client.chat_many([Request('m', f'hello {i:02d}', max_tokens=100) for i in range(40)])
            billed = server.answered * one
            assert billed <= budget and client.ledger.spent == pytest.approx(billed) and abs(client.budget.reserved) < 1e-9
            assert len(server.requests) == server.answered == sum(isinstance(r, Reply) for r in results)
            assert all(isinstance(r, (Reply, BudgetExceeded)) for r in results)
            assert budget - billed < worst_cost(body_of(Request('m', 'hello 00', max_tokens=100), pool['m']), pool['m'])  # it stopped only because the next call did not fit
    text = str([r for r in results if isinstance(r, BudgetExceeded)][0])
    assert 'budget' in text and 'spent' in text and 'next call' in text and '\n' not in text


def test_budget_waits_for_reserves_instead_of_refusing():
    "Two calls that fit one after the other, but not with both reserves at once."
    with ScriptedServer(lambda n, b: {'delay': .1, 'usage': {'prompt_tokens': 1, 'completion_tokens': 1, 'total_tokens': 2}}) as server:
        pool = pool_at(server.url)
        worst = worst_cost(body_of(Request('m', 'q0', max_tokens=1000), pool['m']), pool['m'])
        with ChatClient(pool, budget=1.5 * worst, concurrency=4, progress=False) as client:
            results = client.chat_many([Request('m', f'q{i}', max_tokens=1000) for i in range(4)])
    assert all(isinstance(r, Reply) for r in results) and server.most_under_way == 1


def test_budget_needs_prices_and_a_bound():
    with ScriptedServer() as server:
        unpriced = Pool([CandidateModel('u', base_url=server.url, api_key_env=KEY_ENV)])
        with ChatClient(unpriced, budget=1.) as client, pytest.raises(MissingPrice, match='^u: '): client.chat('u', 'x', max_tokens=5)
        with ChatClient(pool_at(server.url), budget=1.) as client, pytest.raises(ValueError, match='max_tokens'): client.chat('m', 'x')
        with ChatClient(pool_at(server.url, max_tokens=10), budget=1.) as client: assert client.chat('m', 'x').text
        mixed = Pool([CandidateModel('a', 1., 1.), CandidateModel('b', 1., 1., currency='EUR')])
        with pytest.raises(ValueError, match='mixes currencies'): ChatClient(mixed, budget=1.)
    assert len(server.requests) == 1


def test_a_call_that_timed_out_stays_reserved():
    with ScriptedServer(lambda n, b: {'delay': 1}) as server:
        with ChatClient(pool_at(server.url), budget=1., timeout=.2, max_retries=0) as client:
            with pytest.raises(ChatError): client.chat('m', 'x', max_tokens=5)
            assert client.budget.lost > 0 and client.ledger.spent == 0
    with ScriptedServer(lambda n, b: {'status': 401}) as server, ChatClient(pool_at(server.url), budget=1.) as client:
        with pytest.raises(ChatError): client.chat('m', 'x', max_tokens=5)
        assert client.budget.lost == 0 and client.budget.reserved == 0


# ---- threads and loops

def test_works_inside_a_running_loop_and_from_several_threads():
    with ScriptedServer() as server, ChatClient(pool_at(server.url), progress=False) as client:
        async def inside(): return client.chat('m', 'sync in async', max_tokens=5), await client.achat('m', 'async', max_tokens=5), client.chat_many([Request('m', 'x', max_tokens=5)])
        assert all(asyncio.run(inside()))
        seen = []
        threads = [threading.Thread(target=lambda i=i: seen.append(client.chat('m', f't{i}', max_tokens=5).text)) for i in range(8)]
        for t in threads: t.start()
        for t in threads: t.join()
        assert len(seen) == 8


def test_breaking_off_a_stream_ends_its_calls():
    with ScriptedServer(lambda n, b: {'delay': .05}) as server, ChatClient(pool_at(server.url), concurrency=2, progress=False) as client:
        for _ in client.chat_stream(Request('m', f'{i}', max_tokens=5) for i in range(1000)): break
        time.sleep(.3)
        assert len(server.requests) <= 5
        assert client.chat('m', 'still alive', max_tokens=5).text


def test_a_bad_setting_is_named():
    pool = pool_at('http://127.0.0.1:1/v1')
    for bad in (dict(concurrency=0), dict(budget=-1), dict(timeout=0), dict(max_retries=-1)):
        with pytest.raises(ValueError, match=next(iter(bad))): ChatClient(pool, **bad)
    with ChatClient(pool) as client:
        with pytest.raises(ValueError, match="unknown model 'nobody'"): client.chat('nobody', 'x')
        with pytest.raises(ValueError, match="'n' cannot be used"): client.chat('m', 'x', n=2)
