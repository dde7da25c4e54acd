"""Have a local model choose among the local models for every shipped question, and keep its choices.

    python scripts/prompt_llm.py --out trouter/data/local/prompt_llm.parquet [--parallel 8]

Qwen2.5-Coder-1.5B is the selector (scripts/fetch_models.py); each of the shipped questions is asked at the three preferences, once with the candidates from cheap to dear and once with them shuffled. What stands in
--out is not asked again, so that the work can be done in parts (--minutes). Seconds per reply mean little with --parallel; the cost of the selector is counted by its tokens.
"""
import argparse, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from trouter.outcomes.shipped import load_shipped
from trouter.outcomes.utility import PREFERENCES
from trouter.pool.chat import ChatClient
from trouter.pool.local import find_model, serve
from trouter.pool.models import Pool
from trouter.rivals.prompt import PromptLLM

SELECTOR, PORT = 'qwen2.5-coder-1.5b', 8197


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--out', type=Path, required=True); p.add_argument('--cache', type=Path, help='folder of the replies, so that a run that was killed loses nothing')
    p.add_argument('--threads', type=int, default=1); p.add_argument('--parallel', type=int, default=1, help='questions asked side by side'); p.add_argument('--minutes', type=float, default=1e9, help='stop after this time')
    a = p.parse_args()
    path = find_model(SELECTOR)
    if path is None: sys.exit(f'{SELECTOR}.gguf is not there; run scripts/fetch_models.py first')
    train = load_shipped().arrays(samples='first')
    started = time.monotonic()
    with serve(path, SELECTOR, port=PORT, threads=a.threads, parallel=a.parallel) as server, ChatClient(Pool([server.candidate]), a.cache, concurrency=a.parallel, timeout=600, progress=False) as client:
        asked = pd.read_parquet(a.out).to_dict('records') if a.out.exists() else []
        for shuffle in (False, True):
            router, known = PromptLLM(client, SELECTOR, shuffle).fit(train), {r['query'] for r in asked if r['shuffled'] == shuffle}
            todo = [q for q in dict.fromkeys(train.queries) if q not in known]
            def ask(query):
                if time.monotonic() - started < 60 * a.minutes: [router.ask(query, p) for p in PREFERENCES.values()]
            with ThreadPoolExecutor(a.parallel) as workers: list(tqdm(workers.map(ask, todo), total=len(todo), desc='shuffled' if shuffle else 'by price'))
            asked += router.asked
    table = pd.DataFrame(asked)
    table.to_parquet(a.out, index=False)
    print(table.groupby(['shuffled', 'preference']).agg(understood=('understood', 'mean'), prompt_tokens=('prompt_tokens', 'mean'), completion_tokens=('completion_tokens', 'mean'), latency_s=('latency_s', 'mean')))
    print(table.groupby(['shuffled', 'preference', 'model']).size().unstack(fill_value=0)); print(f'{time.monotonic() - started:.0f} s of this call')


if __name__ == '__main__': main()
