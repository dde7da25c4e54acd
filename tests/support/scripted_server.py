"""A real HTTP server on 127.0.0.1 that speaks the chat part of the OpenAI protocol and misbehaves on request.

    with ScriptedServer(lambda n, body: {'status': 429, 'headers': {'Retry-After': '1'}} if n == 0 else {}) as server:
        ... server.url ... server.requests ...

The script gets the number of the request (from 0) and its body, and returns what to do differently from a normal answer:
`status`, `headers`, `body` (a dict, or raw bytes), `delay` (seconds), `hang_up` (close without an answer), `text`, `usage`.
"""
import hashlib, json, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def answer_to(body) -> str:
    "The same answer to the same request, with all kinds of characters in it."
    text = json.dumps([body['messages'], body.get('seed'), body.get('temperature'), body['model']], sort_keys=True)
    return f'answer {hashlib.sha256(text.encode()).hexdigest()[:8]} שלום 🙂'


class ScriptedServer:
    def __init__(self, script=None, key=None):
        self.script, self.key = script or (lambda n, body: {}), key
        self.requests, self.answered, self.times, self.under_way, self.most_under_way = [], 0, [], 0, 0
        self.lock = threading.Lock()

    def __enter__(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'
            def do_POST(self): outer.handle(self)
            def log_message(self, *_): pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128
            def handle_error(self, *_): pass  # a client that went away

        self.server = Server(('127.0.0.1', 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={'poll_interval': .02}, daemon=True).start()
        self.url = f'http://127.0.0.1:{self.server.server_port}/v1'
        return self

    def __exit__(self, *_):
        self.server.shutdown(); self.server.server_close()

    def handle(self, http):
        raw = http.rfile.read(int(http.headers['Content-Length']))
        body = json.loads(raw)
        with self.lock:
            n = len(self.requests)
            self.requests.append(body); self.times.append(time.monotonic())
            self.under_way += 1; self.most_under_way = max(self.most_under_way, self.under_way)
        try: self.answer(http, n, body)
        finally:
            with self.lock: self.under_way -= 1

    def answer(self, http, n, body):
        if self.key is not None and http.headers.get('Authorization') != f'Bearer {self.key}':
            return self.send(http, 401, {'error': {'message': 'Incorrect API key provided', 'type': 'invalid_request_error'}})
        act = self.script(n, body)
        if act.get('delay'): time.sleep(act['delay'])
        if act.get('hang_up'):
            http.close_connection = True
            return http.connection.close()
        status = act.get('status', 200)
        default = self.completion(body, act) if status == 200 else {'error': {'message': act.get('message', f'status {status}')}}
        if self.send(http, status, act.get('body', default), act.get('headers', {})) and status == 200:
            with self.lock: self.answered += 1

    def completion(self, body, act):
        text = act.get('text', answer_to(body))
        words = sum(len(str(m['content']).split()) for m in body['messages'])
        usage = act.get('usage', {'prompt_tokens': words + 7, 'completion_tokens': min(len(text.split()), body.get('max_tokens', 10**6)), 'total_tokens': words + 7 + len(text.split())})
        choice = {'index': 0, 'finish_reason': 'stop', 'message': {'role': 'assistant', 'content': text}}
        if body.get('logprobs'): choice['logprobs'] = {'content': [{'token': t, 'logprob': -.5, 'bytes': None, 'top_logprobs': []} for t in text.split()]}
        out = {'id': 'chatcmpl-1', 'object': 'chat.completion', 'created': 0, 'model': body['model'], 'choices': [choice]}
        return out if usage is None else out | {'usage': usage}

    def send(self, http, status, data, headers={}):
        payload = data if isinstance(data, bytes) else json.dumps(data).encode()
        try:
            http.send_response(status)
            for key, value in {'Content-Type': 'application/json', 'Content-Length': str(len(payload)), **headers}.items(): http.send_header(key, value)
            http.end_headers(); http.wfile.write(payload)
            return True
        except OSError: return False
