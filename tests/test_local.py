"""Local models: the errors need nothing; what is marked `model` needs xllamacpp and the smallest model."""
import importlib.util, json, os, signal, subprocess, sys, time, urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trouter.pool import local
from trouter.pool.chat import ChatClient, Request
from trouter.pool.local import PLAIN_TEMPLATE, LocalModelError, check_gguf, few_shot, find_model, fit_cpu_price, serve
from trouter.pool.models import Pool

HERE = importlib.util.find_spec('xllamacpp') is not None and find_model('smollm2-135m') is not None
needs_model = [pytest.mark.model, pytest.mark.skipif(not HERE, reason='no xllamacpp or no smollm2-135m.gguf; see scripts/fetch_models.py')]


def running(pid):
    try: return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] not in 'ZX'
    except FileNotFoundError: return False


def test_find_model_in_a_named_folder(tmp_path, monkeypatch):
    (tmp_path/'mine.gguf').write_bytes(b'GGUF')
    monkeypatch.setenv('TROUTER_MODELS', str(tmp_path))
    assert find_model('mine') == tmp_path/'mine.gguf' and find_model('yours') is None


def test_files_that_are_no_models(tmp_path):
    with pytest.raises(LocalModelError, match='no such file'): serve(tmp_path/'none.gguf', 'x')
    (tmp_path/'page.gguf').write_text('<html>')
    with pytest.raises(LocalModelError, match='not a GGUF file'): serve(tmp_path/'page.gguf', 'x')
    with pytest.raises(LocalModelError, match='no such file'): check_gguf(tmp_path)


def test_without_xllamacpp_the_message_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path/'m.gguf').write_bytes(b'GGUF')
    monkeypatch.delenv('TROUTER_LLAMA_SERVER', raising=False)
    real = importlib.util.find_spec
    monkeypatch.setattr(local.importlib.util, 'find_spec', lambda name: None if name == 'xllamacpp' else real(name))
    with pytest.raises(LocalModelError, match=r'pip install "trouter\[local\]"'): serve(tmp_path/'m.gguf', 'm')


@pytest.mark.skipif(importlib.util.find_spec('xllamacpp') is None, reason='no xllamacpp')
def test_a_server_that_dies_leaves_its_last_words(tmp_path):
    (tmp_path/'torn.gguf').write_bytes(b'GGUF' + bytes(100))
    with pytest.raises(LocalModelError, match='torn: the server ended with code .* last words: .+') as caught: serve(tmp_path/'torn.gguf', 'torn', timeout=60)
    assert '\n' not in str(caught.value)


def test_few_shot_and_price():
    assert few_shot('Q?', [('a', 'b')]) == 'Question: a\nAnswer: b\n\nQuestion: Q?\nAnswer:'
    assert fit_cpu_price([1, 0], [0, 1], [.001, .002]) == pytest.approx((1e6, 2e6))


STAND_IN = """#!{python}
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(json.dumps(dict(pid=os.getpid(), arguments=sys.argv[1:])).encode())
http.server.HTTPServer(('127.0.0.1', int(sys.argv[sys.argv.index('--port') + 1])), Handler).serve_forever()
"""


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='ends with its parent on Linux alone')
@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGKILL])
def test_a_llama_server_of_ones_own_runs_with_the_same_settings_and_ends_with_us(tmp_path, monkeypatch, how):
    (tmp_path/'m.gguf').write_bytes(b'GGUF')
    program = tmp_path/'llama-server'
    program.write_text(STAND_IN.format(python=sys.executable)); program.chmod(0o755)
    monkeypatch.setenv('TROUTER_LLAMA_SERVER', str(program))
    with serve(tmp_path/'m.gguf', 'mine', threads=2, parallel=3, context=512, chat_template='T') as server:
        told = json.loads(urllib.request.urlopen(server.base_url.removesuffix('/v1') + '/props').read())
        given = dict(zip(told['arguments'], told['arguments'][1:]))
        expected = {'--model': str(tmp_path/'m.gguf'), '--alias': 'mine', '--threads': '2', '--parallel': '3', '--ctx-size': '1536', '--chat-template': 'T'}
        assert {k: given[k] for k in expected} == expected and told['pid'] != server.process.pid and server.cpu_seconds() > 0
        server.process.send_signal(how); server.process.wait()
        end = time.monotonic() + 5
        while running(told['pid']) and time.monotonic() < end: time.sleep(.05)
        assert not running(told['pid'])


@pytest.fixture(scope='module')
def server():
    with serve(find_model('smollm2-135m'), 'smollm2-135m') as server: yield server


class TestLive:
    pytestmark = needs_model

    def test_answers_with_usage_and_logprob(self, server):
        with ChatClient(Pool([server.candidate])) as client: reply = client.chat('smollm2-135m', 'What is the capital of Italy?', max_tokens=12)
        assert reply.text and reply.tokens_source == 'usage' and 0 < reply.completion_tokens <= 12 and reply.logprob < 0 and reply.finish_reason in ('stop', 'length')

    def test_strange_texts(self, server):
        with ChatClient(Pool([server.candidate]), progress=False, max_retries=0) as client:
            results = client.chat_many([Request('smollm2-135m', t, max_tokens=2) for t in ('', '🙂🙂', 'שלום עולם')])
            assert all(hasattr(r, 'text') for r in results), results
            too_long = client.chat_many([Request('smollm2-135m', 'word ' * 20_000, max_tokens=2)])[0]
        assert too_long.cause == 'status 400' and 'context' in str(too_long) and server.alive

    def test_stop_ends_the_child(self):
        server = serve(find_model('smollm2-135m'), 'again')
        assert running(server.process.pid) and server.cpu_seconds() > 0
        server.stop(); server.stop()
        assert not running(server.process.pid)

    def test_a_server_started_in_a_thread_outlives_the_thread(self):
        with ThreadPoolExecutor(1) as pool: server = pool.submit(serve, find_model('smollm2-135m'), 'threaded').result()
        time.sleep(1.5)
        with server: assert server.alive

    @pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGTERM])
    def test_the_child_dies_with_its_parent(self, how):
        code = f"import time; from trouter.pool.local import *; s = serve({str(find_model('smollm2-135m'))!r}, 'x'); print(s.process.pid, flush=True); time.sleep(60)"
        root = str(Path(local.__file__).parents[2])
        parent = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True, env=os.environ | {'PYTHONPATH': root})
        pid = int(parent.stdout.readline())
        assert running(pid)
        parent.send_signal(how); parent.wait(); parent.stdout.close()
        end = time.monotonic() + 5
        while running(pid) and time.monotonic() < end: time.sleep(.05)
        assert not running(pid)

    def test_plain_template_passes_the_prompt_on(self):
        with serve(find_model('smollm2-135m'), 'plain', chat_template=PLAIN_TEMPLATE) as server, ChatClient(Pool([server.candidate])) as client:
            short = client.chat('plain', 'One two three', max_tokens=1).prompt_tokens
        assert short <= 5
