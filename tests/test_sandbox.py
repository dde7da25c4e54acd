"The sandbox under attack: all layers, the kernel's layers alone, Python's layer alone."
import concurrent.futures, json, os, shutil, subprocess, sys, textwrap, time

import pytest
from hypothesis import given, settings, strategies as st

from trouter.outcomes import sandbox
from trouter.outcomes.sandbox import SandboxUnavailable, extract_code, fenced_blocks, pass_at_1, pass_at_k, run_tests, join_tests

linux = pytest.mark.skipif(sys.platform != 'linux', reason='kernel layers exist on Linux only')
KERNEL = ('limits', 'files', 'syscalls')


def kernel_holds():
    return set(KERNEL) <= set(run_tests('x = 1', 'assert x').protection)


ATTACKS = {
    'loop': 'while True: pass',
    'loop that catches': 'while True:\n    try:\n        while True: pass\n    except BaseException: pass',
    'sleep': 'import time; time.sleep(60)',
    'big number': '10 ** 10 ** 10',
    'memory': 'x = bytearray(4 << 30)',
    'slow memory': 'x = []\nwhile True: x.append(bytes(1 << 20))',
    'fork bomb': 'import os\nwhile True: os.fork()',
    'thread bomb': 'import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()',
    'process pool': 'import multiprocessing as m\nm.Process(target=print).start()',
    'shell': 'import os; assert os.system("true") == 0',
    'subprocess': 'import subprocess; subprocess.run(["/bin/true"], check=True)',
    'exec': 'import os; os.execv("/bin/true", ["true"])',
    'tcp': 'import socket; socket.create_connection(("127.0.0.1", 9), timeout=1)',
    'dns': 'import socket; socket.getaddrinfo("example.com", 80)',
    'http': 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:9/", timeout=1)',
    'listen': 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()',
    'write up': 'open("../escaped.txt", "w").write("x")',
    'read passwd': 'open("/etc/passwd").read()',
    'list home': 'import os; assert os.listdir(os.sep)',
    'symlink': 'import os; os.symlink("/etc/passwd", "p"); open("p").read()',
    'remove': 'import os; os.remove(os.__file__)',
    'big file': 'f = open("big", "wb")\nfor _ in range(64): f.write(bytes(1 << 20)); f.flush()',
    'ctypes': 'import ctypes; ctypes.CDLL(None)',
    'kill parent': 'import os, signal; os.kill(os.getppid(), signal.SIGKILL)',
    'kill group': 'import os, signal; os.killpg(0, 9)',
    'exit': 'import sys; sys.exit(0)',
    'raise SystemExit': 'raise SystemExit',
    '_exit': 'import os; os._exit(0)',
    'abort': 'import os; os.abort()',
    'recursion': 'def f(): f()\nf()',
    'crash': 'import sys; sys.setrecursionlimit(10**9)\ndef f(n): return f(n + 1)\nf(0)',
    'surrogate': 'x = "\ud800"\nassert False',
    'null': 'x = 1\0',
    'exit in a test double': 'class E(BaseException): pass\nraise E',
}


@pytest.mark.parametrize('name', ATTACKS)
def test_attacks_fail_in_time(name):
    if sys.platform != 'linux' and 'memory' in name: pytest.skip('no reliable memory limit here')
    start = time.perf_counter()
    r = run_tests(ATTACKS[name], 'assert True', timeout=1.0)
    assert not r.passed and r.reason and '\n' not in r.reason
    assert time.perf_counter() - start < 15


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    import tempfile
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    for name in ('write up', 'fork bomb', 'big file', 'sleep'): run_tests(ATTACKS[name], 'assert True', timeout=.5)
    run_tests('import os\nos.makedirs("a/b"); open("a/b/c", "w").write("x")', 'assert True')
    assert list(tmp_path.iterdir()) == []
    if sys.platform == 'linux' and shutil.which('ps'):
        children = subprocess.run(['ps', '-o', 'args=', '--ppid', str(os.getpid())], capture_output=True, text=True).stdout
        assert 'child_main' not in children


def test_right_and_wrong():
    good = 'def add(a, b):\n    return a + b'
    check = 'def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(-1, 1) == 0'
    assert run_tests(good, check, 'add').passed
    assert run_tests(good, ['assert add(1, 2) == 3']).passed
    bad = run_tests('def add(a, b):\n    return a - b', check, 'add')
    assert not bad.passed and 'candidate(1, 2) == 3' in bad.reason
    assert 'NameError' in run_tests('def sum2(a, b): return a + b', check, 'add').reason
    assert run_tests('', check, 'add').reason == 'no code'
    assert 'SyntaxError' in run_tests('def add(', check, 'add').reason
    assert 'ModuleNotFoundError' in run_tests('import no_such_package_at_all', check, 'add').reason


def test_check_must_be_called():
    "A check function without the name to call it with would test nothing; with the name it is called."
    assert not run_tests('def f(x): return 1', 'def check(candidate):\n    assert candidate(1) == 2', 'f').passed


def test_main_guard_does_not_run():
    assert run_tests('def f(): return 1\nif __name__ == "__main__": raise SystemExit', 'assert f() == 1').passed


@pytest.mark.parametrize('code', [
    'import sys; sys.exit(0)', 'import os; os._exit(0)', 'import atexit, os; atexit.register(os._exit, 0); raise SystemExit(0)',
    'def f(): raise SystemExit(0)', 'def f():\n    import os; os._exit(0)', 'print("passed" * 100); print("[\\"limits\\"]"); raise SystemExit',
    'import os\nfor fd in range(1, 60):\n    try: os.write(fd, b"passed\\n")\n    except OSError: pass\nos._exit(0)',
    'import sys\nsys.excepthook = print\nimport builtins\nbuiltins.exec = lambda *a: None\nbuiltins.map = lambda *a: []\ndef f(): return 0',
    'class AssertionError(BaseException): pass\nimport builtins; builtins.AssertionError = AssertionError\ndef f(): return 0',
    'import os; os.write = lambda *a: None\ndef f(): return 0',
    'import threading, os\ndef late():\n    os._exit(0)\nthreading.Thread(target=late).start()\nimport time; time.sleep(1)',
    '__builtins__["abs"] = lambda x: 0\n__builtins__["all"] = lambda x: True\ndef f(): return 0',
])
def test_pass_cannot_be_had_by_leaving_or_printing(code):
    assert not run_tests(code, ['assert all([abs(f() - 1) < 1e-9])'], timeout=2).passed


FORGER = textwrap.dedent('''
    import sys, os, re, gc
    found = set()
    def look(frame):
        while frame:
            for place in (frame.f_locals, frame.f_globals, getattr(frame, "f_builtins", {})):
                found.update(re.findall("[0-9a-f]{32}", repr(place)))
            found.update(re.findall("[0-9a-f]{32}", repr(frame.f_code.co_consts)))
            frame = frame.f_back
    look(sys._getframe())
    try: open("/etc/passwd")
    except Exception as e:
        tb = e.__traceback__
        while tb: look(tb.tb_frame); tb = tb.tb_next
    for f in (gc.get_objects, lambda: gc.get_referrers(found), lambda: gc.get_referents(sys._getframe()), sys._current_frames, lambda: open("/proc/self/mem", "rb").read(1),
              lambda: open("/proc/self/maps").read(), lambda: sys.stdin.read(), lambda: os.environ):
        try: found.update(re.findall("[0-9a-f]{32}", repr(f())))
        except Exception as e: pass
    def f():
        look(sys._getframe())
        for fd in range(3, 60):
            try: os.write(fd, " ".join(found).encode())
            except OSError: pass
        return 0
    print("found", len(found))
''')


def test_the_token_cannot_be_found():
    r = run_tests(FORGER, 'assert f() == 1', timeout=5)
    assert not r.passed and 'found 0' in r.output


def test_keys_in_the_environment(monkeypatch):
    monkeypatch.setenv('SOME_API_KEY', 'sk-demo-1234567890')
    code = 'import os\nseen = dict(os.environ)\nfor pid in (os.getppid(), "self"):\n    try: seen[pid] = open(f"/proc/{pid}/environ").read()\n    except OSError: pass'
    r = run_tests(code, 'assert "sk-demo" not in repr(seen) and "SOME_API_KEY" not in seen')
    assert r.passed, r.reason


def test_huge_output_is_bounded_and_harmless():
    r = run_tests('import sys\nfor _ in range(3000): print("x" * 10000)\nprint("end", file=sys.stderr)', 'assert True', timeout=20)
    assert r.passed and len(r.output) <= 8192
    r = run_tests('while True: print("x" * 100000)', 'assert True', timeout=1)
    assert not r.passed and 'timeout' in r.reason and len(r.output) <= 8192


@pytest.mark.parametrize('code', [
    'import threading\nt = threading.Thread(target=print); t.start(); t.join()', 'import asyncio\nasync def f(): await asyncio.sleep(0); return 1\nassert asyncio.run(f()) == 1',
    'from concurrent.futures import ThreadPoolExecutor as T\nwith T(2) as t: assert list(t.map(abs, [-1])) == [1]',
    'open("x", "w").write("1"); assert open("x").read() == "1"\nimport os; os.makedirs("d/e"); os.rename("x", "d/x"); os.remove("d/x")', 'import tempfile\nwith tempfile.TemporaryDirectory() as d: open(d + "/x", "w").write("x")',
    'import re, json, math, random, hashlib, datetime, zoneinfo, decimal, fractions, statistics, itertools, functools, collections, heapq, bisect, string, typing, enum, copy, unittest, logging, sqlite3, csv, uuid\nassert uuid.uuid4()',
    'from collections import namedtuple\nP = namedtuple("P", "x")\nfrom pickle import dumps, loads\nfrom dataclasses import dataclass\n@dataclass\nclass D: x: int\nassert loads(dumps(D(1))) == D(1)',
    'def f(n): return 0 if n == 0 else 1 + f(n - 1)\nassert f(2500) == 2500', 'print("\\ud800")' if False else 'print("ünïcödé")',
    'import warnings; warnings.warn("x")', 'import sys; sys.stdout.write("x"); sys.stdout = None', 'import time; t = time.time(); time.sleep(.01)', 'from __future__ import annotations\ndef f(x: Unknown): pass',
])
def test_ordinary_code_works(code):
    r = run_tests(code, 'assert True', timeout=20)
    assert r.passed, r.reason


# The same attacks with Python's own hook taken out: is there a wall behind the seat belt?
def audit_guard(roots, folder): return lambda event, args: None


RAW = '''
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def refused(result): assert result == -1 and ctypes.get_errno() in (1, 13, 38), (result, ctypes.get_errno())
{}
'''


def enter_namespace(libc, uid, gid): return False      # as in a container that forbids user namespaces


@pytest.fixture(params=['namespace', 'no namespace'])
def no_hook(request, monkeypatch):
    if sys.platform != 'linux' or not kernel_holds(): pytest.skip('the kernel layers are not available here')
    monkeypatch.setattr(sandbox, 'audit_guard', audit_guard)
    if request.param == 'no namespace': monkeypatch.setattr(sandbox, 'enter_namespace', enter_namespace)
    monkeypatch.setattr(sandbox, 'CHILD_PROGRAM', sandbox.child_program())


@linux
@pytest.mark.parametrize('name', [n for n in ATTACKS if n not in ('ctypes',)])
def test_attacks_without_the_hook(no_hook, name):
    code = ATTACKS[name]
    if name == 'symlink': code = code.replace('open("p").read()', 'assert open("p").read()')
    r = run_tests(code, 'assert True', timeout=1.0)
    assert not r.passed and 'sandbox forbids' not in r.reason


@linux
@pytest.mark.parametrize('line', ['refused(libc.fork())', 'refused(libc.vfork())', 'refused(libc.socket(2, 1, 0))', 'refused(libc.socket(1, 1, 0))', 'refused(libc.kill(os.getppid(), 0))', 'refused(libc.open(b"/etc/passwd", 0))', 'refused(libc.open(b"/proc/self/mem", 2))',
    'refused(libc.open(f"/proc/{os.getppid()}/environ".encode(), 0))', 'refused(libc.open(b"/tmp/escaped", 0o101, 0o600))', 'refused(libc.unlink(os.__file__.encode()))', 'refused(libc.unshare(0x10000000))', 'refused(libc.ptrace(16, os.getppid(), 0, 0))',
    'refused(libc.execv(b"/bin/true", (ctypes.c_char_p * 2)(b"true")))', 'refused(libc.mount(b"x", b".", b"tmpfs", 0, None))', 'refused(libc.syscall(425, 1, None))', 'refused(libc.setsid())'])
def test_raw_calls_without_the_hook(no_hook, line):
    if line.startswith('refused(libc.vfork'): line = 'refused(libc.syscall(58))'
    r = run_tests(RAW.format(line), 'assert True', timeout=2.0)
    assert r.passed, r.reason


@linux
def test_the_ram_disk_is_full_soon(no_hook):
    if 'namespace' not in run_tests('x = 1', 'assert x').protection: pytest.skip('no user namespaces here')
    code = 'n = 0\ntry:\n    while n < 400:\n        open(f"f{n}", "wb").write(bytes(1 << 19)); n += 1\nexcept OSError as e: print(e)\nprint("files", n)'
    r = run_tests(code, 'assert n < 32', timeout=10)
    assert r.passed, (r.reason, r.output)


# A system without any kernel layer, played by a child that believes it is on another one.
@pytest.fixture
def hook_only(monkeypatch):
    program = sandbox.CHILD_PROGRAM
    assert "sys.platform == 'linux'" in program
    monkeypatch.setattr(sandbox, 'CHILD_PROGRAM', program.replace("sys.platform == 'linux'", "sys.platform == 'elsewhere'"))


@pytest.mark.filterwarnings('ignore:sandbox')
@pytest.mark.parametrize('name', [n for n in ATTACKS if n != 'crash'])
def test_attacks_with_the_hook_only(hook_only, name):
    if name == 'thread bomb': pytest.skip('bounded by the memory limit only')
    assert not run_tests(ATTACKS[name], 'assert True', timeout=1.0).passed


def test_weak_protection_is_said_and_can_be_refused(hook_only):
    with pytest.warns(RuntimeWarning, match='not enforced by the kernel'): r = run_tests('x = 1', 'assert x')
    assert r.passed and 'files' not in r.protection
    with pytest.raises(SandboxUnavailable, match='files'): run_tests('open("ran", "w")', 'assert True', require=('files',))


def test_bad_arguments():
    with pytest.raises(ValueError, match='no tests'): run_tests('x', '')
    with pytest.raises(ValueError, match='not valid Python'): run_tests('x', 'assert (')
    with pytest.raises(ValueError, match='not the name'): run_tests('x', 'assert x', 'a b')
    with pytest.raises(ValueError, match='known: limits'): run_tests('x', 'assert x', require=('x',))
    with pytest.raises(ValueError, match='positive'): run_tests('x', 'assert x', memory_mb=0)


@linux
def test_a_sandbox_that_cannot_start_is_no_wrong_answer():
    with pytest.raises(SandboxUnavailable, match='did not start'): run_tests('x = 1', 'assert x', memory_mb=1)


def test_many_at_once():
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda i: run_tests(f'def f(): return {i}', [f'assert f() == {i if i % 2 else -1}']), range(12)))
    assert [r.passed for r in results] == [bool(i % 2) for i in range(12)]


def test_same_verdict_every_time():
    "The hash seed is fixed, so that code which depends on set order does not flip."
    code = 'order = list({"a", "b", "c", "d", "e", "f"})\nprint(order)'
    assert len({run_tests(code, 'assert order').output for _ in range(3)}) == 1


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300) | st.lists(st.sampled_from(['```', '```python', '\n', 'def f(x):', '    return x', ' ', 'x = 1', '"""']), max_size=20).map('\n'.join), st.sampled_from([None, 'def f(x):\n    "doc"\n']), st.sampled_from([None, 'f']))
def test_extract_code_never_crashes(reply, prompt, entry):
    assert isinstance(extract_code(reply, prompt, entry), str)
    assert all(len(b) == 2 for b in fenced_blocks(reply))


@given(st.integers(1, 30), st.data())
def test_pass_at_k_is_a_probability(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    assert 0 <= pass_at_k(n, c, k) <= 1
    assert k == n or pass_at_k(n, c, k) <= pass_at_k(n, c, k + 1) + 1e-12


def test_pass_at_1_forms():
    spec = dict(tests='def check(candidate):\n    assert candidate([1, 2]) == 3', entry_point='f', prompt='from typing import List\n\ndef f(a: List[int]) -> int:\n    """Sum."""\n')
    for reply in ('    return sum(a)', 'return sum(a)', '```python\ndef f(a: List[int]):\n    return sum(a)\n```', '```\n    return sum(a)\n```'):
        assert pass_at_1(reply, spec) == 1.0, reply
        assert pass_at_1(reply, json.dumps(spec)) == 1.0
    assert pass_at_1('return 0', spec) == 0.0
    assert pass_at_1('def f(a): return sum(a)', json.dumps(['assert f([1]) == 1'])) == 1.0
    with pytest.raises(ValueError, match="'tests'"): pass_at_1('x', {})
    assert join_tests(['assert 1'], 'f').endswith('\nf\n')
