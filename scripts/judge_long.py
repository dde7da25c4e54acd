#!/usr/bin/env python
"""Have a local model judge the hundred long answers that were graded by reading, to see how far such a judge can be trusted.

    python scripts/judge_long.py --work FOLDER [--parallel 8]

Qwen2.5-Coder-1.5B (scripts/fetch_models.py) gives each answer in trouter/data/strong/long_grades.jsonl a grade with the package's own judge, once with the reference answer and once without. The grades go to trouter/data/strong/long_judge.jsonl:
query_id, model, with_reference (true or false), score in [0, 1] or null where no verdict could be read, the number of attempts, and the judge's first reply. What was asked before is taken from the cache in --work.
"""
import argparse, json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm.auto import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from trouter.outcomes.judge import Judge, judge_messages  # noqa: E402
from trouter.outcomes.synthetic_sets import load_synthetic, long_grades, synthetic_folder  # noqa: E402
from trouter.pool.chat import ChatClient  # noqa: E402
from trouter.pool.local import find_model, serve  # noqa: E402
from trouter.pool.models import Pool, write_atomically  # noqa: E402

JUDGE, PORT = 'qwen2.5-coder-1.5b', 8199


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--work', type=Path, required=True, help='folder of the cache'); p.add_argument('--parallel', type=int, default=1, help='verdicts written side by side')
    a, path = p.parse_args(), find_model(JUDGE)
    if path is None: sys.exit(f'{JUDGE}.gguf is not there; run scripts/fetch_models.py first')
    records = load_synthetic('strong').records
    answers = records[records['sample'] == 0].set_index(['query_id', 'model'])[['query', 'response', 'reference']]
    graded = [(g.query_id, g.model) for g in long_grades().itertuples()]
    with serve(path, JUDGE, port=PORT, context=8192, parallel=a.parallel) as server, ChatClient(Pool([server.candidate]), a.work, concurrency=a.parallel, timeout=900, progress=False) as client:
        judge = Judge(client, JUDGE, attempts=2, max_tokens=200, limit=6000)
        def grade(case):
            (query_id, model), with_reference = case
            row = answers.loc[query_id, model]
            case = row['query'], row['response'], row['reference'] if with_reference else None
            verdict = judge.score(*case)
            first = client.chat(JUDGE, judge_messages(*case, judge.limit), **judge.kw).text if case[1].strip() else ''   # asked before: from the cache
            return {'query_id': query_id, 'model': model, 'with_reference': with_reference, 'score': verdict.score, 'attempts': verdict.attempts, 'reply': first}
        cases = [(g, with_reference) for with_reference in (True, False) for g in graded]
        with ThreadPoolExecutor(a.parallel) as workers: out = list(tqdm(workers.map(grade, cases), total=len(cases), desc='judging'))
    write_atomically(synthetic_folder('strong')/'long_judge.jsonl', ''.join(json.dumps(r) + '\n' for r in out))
    print(f'{len(out)} verdicts, {sum(r["score"] is None for r in out)} of them unreadable')


if __name__ == '__main__': main()
