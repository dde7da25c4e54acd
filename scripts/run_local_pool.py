#!/usr/bin/env python
"""Ask small local models a file of questions and keep every answer.

    python scripts/run_local_pool.py --questions questions.jsonl --out FOLDER [--models NAME ...] [--parallel-models 2]

Every question is answered once at temperature 0 (sample 0), and those with "samples": n another n times at temperature 0.7 with fixed
seeds. The answers go to FOLDER/<model>.jsonl as they come, with tokens, latency and log-probability, unscored: scoring is done
later from these files, without the models. An interrupted run is started again with the same command and goes on where it was.
When all models are through, FOLDER/responses.jsonl holds all answers. With --have OUTCOMES.parquet, questions that a model has answered
there, word for word the same, are not asked again.

    python scripts/run_local_pool.py --prices --out FOLDER    # on an otherwise idle machine

measures what a token of each model costs in processor time, and writes the pool with these prices to FOLDER/pool.yaml.
"""
import argparse, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from trouter.outcomes.collect import gather, identity, identity_of, plan, read_lines, read_questions  # noqa: E402
from trouter.outcomes.table import Outcomes  # noqa: E402
from trouter.pool.chat import ChatClient  # noqa: E402
from trouter.pool.local import PLAIN_TEMPLATE, few_shot, find_model, measure_cpu_price, serve  # noqa: E402
from trouter.pool.models import Pool, write_atomically, write_pool  # noqa: E402

# the longest first: it starts at once, and the others follow one another beside it
MODELS = ['qwen2.5-coder-1.5b', 'qwen2.5-coder-0.5b', 'gemma-3-270m', 'smollm2-135m']
BASE_MODELS = {'gemma-3-270m'}  # no chat training: asked by examples
SIZES = {'qwen2.5-coder-1.5b': 1.54, 'qwen2.5-coder-0.5b': .49, 'gemma-3-270m': .27, 'smollm2-135m': .135}  # billions of parameters
SHOTS = [('What colour is a ripe banana? Answer with one word.', 'yellow'), ('How many wheels do 3 bicycles have? Answer with the number only.', '6'),
         ('Complete the sentence. Answer with the missing name only. The author of the novel "Emma" is ...', 'Jane Austen')]
CHOICE_SHOTS = [('Which of these is an animal?\nA) table\nB) horse\nC) cloud\nAnswer with the letter of the right option only.', 'B'), ('What comes after Monday?\nA) Tuesday\nB) Friday\nAnswer with the letter of the right option only.', 'A')]
CODE_SHOTS = [('Write a Python function `double(x)` that returns twice the number x.', '\n```python\ndef double(x):\n    return 2 * x\n```')]


def base_prompt(question) -> dict:
    "How a base model is asked: examples and one line for an answer; for code, the text to go on from or an example of a function."
    kind = question.extra.get('answer_type')    # of synthetic questions alone
    if kind:
        asked = question.messages[-1]['content']
        if kind == 'code': return dict(messages=few_shot(asked, CODE_SHOTS) + '\n```python\n', stop=['```', '\nQuestion:'])
        return dict(messages=few_shot(asked, CHOICE_SHOTS if kind == 'choice' else SHOTS), stop=['\n'])
    if question.metric == 'pass@1': return dict(messages=code_start(question.query), stop=['\ndef ', '\nclass ', '\nif __name__', '\nprint(', '\n```', '\n#', '\nassert'])
    return dict(messages=few_shot(question.query, SHOTS), stop=['\n'])


def code_start(query) -> str:
    "The code inside the last code block of a question, without the closing mark; the query itself where there is none."
    parts = query.split('```')
    return query if len(parts) < 3 else parts[-2].removeprefix('python').lstrip('\n').rstrip() + '\n'


def say(*words): print(time.strftime('%H:%M:%S'), *words, flush=True)


def watch(client, name, total, stop, every=60):
    "Say now and then how far a model is."
    start = time.time()
    while not stop.wait(every):
        done = client.ledger.lines.get(name, {}).get('calls', 0)
        if done: say(f'{name}: {done} of {total} calls, {(time.time() - start) / done:.2f} s a call, about {(time.time() - start) / done * (total - done) / 60:.0f} min left')


def run(name, questions, args):
    "Serve one model, ask it everything that is missing, end it."
    base = name in BASE_MODELS
    with serve(find_model(name), name, context=args.context, parallel=args.slots, chat_template=PLAIN_TEMPLATE if base else None) as server:
        questions = [q for q in questions if (name, q.query_id, q.query) not in args.answered]
        pool, stop, out = Pool([server.candidate]), threading.Event(), args.out/f'{name}.jsonl'
        calls = plan(questions, pool, prompt=(lambda q, m: base_prompt(q)) if base else None, seed=args.seed, extra={'top_logprobs': 1, 'cache_prompt': True})
        with ChatClient(pool, concurrency=args.slots, timeout=600, progress=False) as client:
            done = {identity_of(r) for r in read_lines(out, repair=False)}
            left = sum(identity(c, pool) not in done for c in calls)
            threading.Thread(target=watch, args=(client, name, left, stop), daemon=True).start()
            try: records = gather(calls, pool, out, client, scorer=None, show=lambda line: say(f'{name}: {line}'))
            finally: stop.set()
    say(f'{name}: {len(records)} of {len(calls)} answers are there')


def write_prices(args):
    "Measure the processor time per token of each model, one after another, and write the pool."
    candidates = []
    for name in args.models:
        with serve(find_model(name), name) as server: p_in, p_out = measure_cpu_price(server, repeats=3)
        say(f'{name}: {p_in / 1e6:.2f} CPU ms per prompt token, {p_out / 1e6:.2f} per token written')
        candidates.append(replace(server.candidate, input_price=round(p_in, -3), output_price=round(p_out, -3), price_date=date.today().isoformat(), size=SIZES.get(name),
                                  price_source='processor time per 10^6 tokens, one thread, measured', base_url=None, model_id=None))
    write_pool(Pool(candidates), args.out/'pool.yaml')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--questions', type=Path, help='JSON lines: query_id, query, metric, max_tokens, samples, ...')
    parser.add_argument('--out', type=Path, required=True, help='folder of the answers')
    parser.add_argument('--models', nargs='+', default=MODELS, metavar='NAME')
    parser.add_argument('--parallel-models', type=int, default=1, help='models that run at the same time, one processor core each')
    parser.add_argument('--slots', type=int, default=1, help='questions that a model answers side by side on its core: faster, but seconds per answer then mean little')
    parser.add_argument('--context', type=int, default=4096, help='tokens of prompt and answer together')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--have', type=Path, help='outcomes that need not be asked for again')
    parser.add_argument('--limit', type=int, help='only the first N questions of the file')
    parser.add_argument('--prices', action='store_true', help='measure prices, ask nothing')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    missing = [name for name in args.models if find_model(name) is None]
    if missing: parser.error(f'model not found: {", ".join(missing)}; run scripts/fetch_models.py')
    if args.prices: return write_prices(args)
    if args.questions is None: parser.error('--questions is needed')
    questions = read_questions(args.questions)[:args.limit]
    args.answered = set(Outcomes.read(args.have).records[['model', 'query_id', 'query']].itertuples(index=False, name=None)) if args.have and args.have.exists() else set()
    say(f'{len(questions)} questions, {len(questions) + sum(q.samples for q in questions)} calls to each of: {", ".join(args.models)}')
    with ThreadPoolExecutor(args.parallel_models) as workers:
        jobs = {name: workers.submit(run, name, questions, args) for name in args.models}
    failed = {name: job.exception() for name, job in jobs.items() if job.exception()}
    for name, error in failed.items(): say(f'{name}: {error}')
    files = [args.out/f'{name}.jsonl' for name in args.models]
    write_atomically(args.out/'responses.jsonl', b''.join(f.read_bytes() for f in files if f.exists()))
    say(f'all answers: {args.out/"responses.jsonl"}')
    sys.exit(1 if failed else 0)


if __name__ == '__main__': main()
