"""A chat server on 127.0.0.1 whose answers are a pure function of the request, and which fails for a seeded share of the attempts.

    with FaultyServer(ScriptedGenerator().answer, share=.3, seed=1) as server:
        ... server.url ... server.paid ... server.faults ...

Whether an attempt fails, and how, depends on the seed, the request and the number of the attempt at it, never on the order of threads. A request that is
repeated is therefore answered in the end, and the answers are those of a server without faults.
"""
import json, random, select, time
from collections import Counter

from .scripted_server import ScriptedServer

KINDS = ('429', '500', '503',
         'hang',           # nothing comes until the client gives up
         'cut',            # closed before any byte
         'half',           # half of the body, then closed
         'invalid JSON',   # 200, and the body is no JSON
         'no choices')     # 200, and `choices` is empty


def key_of(body) -> str: return json.dumps(body, sort_keys=True)


class FaultyServer(ScriptedServer):
    def __init__(self,
                 answer,           # request body -> text of the correct answer
                 share=0.,         # of the attempts fail; a number, or a function of the request body
                 seed=0,
                 kinds=KINDS,      # the ways to fail
                 retry_after=.05,  # seconds, told with 429
                 hang=30.,         # longest hang
                 delay=0.,         # seconds before a correct answer
                 bad_text=None):   # (body, number of earlier answers to it) -> text to be answered instead, or None
        super().__init__()
        self.text_of, self.share, self.seed, self.kinds, self.retry_after, self.hang, self.delay, self.bad_text = answer, share, seed, kinds, retry_after, hang, delay, bad_text
        self.broken = []
        self.attempts, self.paid, self.faults, self.usage = Counter(), Counter(), Counter(), Counter()  # per request, answered in full per request, per kind, tokens of the full answers

    def draw(self, body):
        "The way in which this attempt fails, or None."
        with self.lock: attempt = self.attempts[key_of(body)]; self.attempts[key_of(body)] += 1
        share = self.share(body) if callable(self.share) else self.share
        rng = random.Random(f'{self.seed} {attempt} {key_of(body)}')
        return rng.choice(self.kinds) if rng.random() < share else None

    def __exit__(self, kind, *_):
        super().__exit__()
        if self.broken and kind is not AssertionError: raise self.broken[0]

    def answer(self, http, n, body):
        "An exception of the given functions ends the test, not only the request."
        try: self.answer_or_fail(http, body)
        except Exception as e:
            self.broken.append(e)
            self.send(http, 400, {'error': {'message': f'the test server: {e!r}'}})

    def answer_or_fail(self, http, body):
        kind = self.draw(body)
        if kind is None: return self.answer_in_full(http, body)
        with self.lock: self.faults[kind] += 1
        whole = json.dumps(self.completion(body, {'text': self.text_of(body)})).encode()
        if kind.isdigit(): self.send(http, int(kind), {'error': {'message': f'fault {kind}'}}, {'Retry-After': str(self.retry_after)} if kind == '429' else {})
        elif kind == 'invalid JSON': self.send(http, 200, whole[:-len(whole) // 3])
        elif kind == 'no choices': self.send(http, 200, json.loads(whole) | {'choices': []})
        else:
            if kind == 'hang': select.select([http.connection], [], [], self.hang)
            if kind == 'half': self.send(http, 200, whole[:len(whole) // 2], {'Content-Length': str(len(whole))})
            http.close_connection = True

    def answer_in_full(self, http, body):
        if self.delay: time.sleep(self.delay)
        key = key_of(body)
        text = self.bad_text(body, self.paid[key]) if self.bad_text else None
        reply = self.completion(body, {'text': self.text_of(body) if text is None else text})
        self.book(key, reply['usage'], 1)  # first, so that nobody can have the answer before it is counted
        if not self.send(http, 200, reply): self.book(key, reply['usage'], -1)

    def book(self, key, usage, sign):
        with self.lock:
            self.answered += sign
            self.paid[key] += sign
            for name, tokens in usage.items(): self.usage[name] += sign * tokens
