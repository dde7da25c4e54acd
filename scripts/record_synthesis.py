"""Run the whole synthesis with a small real model, and record its replies for the notebooks and the tests.

    python scripts/record_synthesis.py --out RUN [--threads 2]

Serves Qwen2.5-Coder-1.5B-Instruct (see scripts/fetch_models.py) on 127.0.0.1, writes taxonomy and pairs for the two domains of
nbs/synthesis/recorded/domains.yaml into RUN; then 16 pairs each for one domain, one of its subcategories and one of its difficulty levels (how the yield
depends on the level); then has the four local models answer all pairs. Replies and outcomes are kept in nbs/synthesis/recorded. After an interruption the
same command goes on.
"""
import argparse, json, sys, time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from run_local_pool import BASE_MODELS, MODELS, base_prompt
from trouter.app.chain import collect_folder
from trouter.outcomes.shipped import load_shipped
from trouter.outcomes.table import Outcomes
from trouter.outcomes.synthetic import verify_pair
from trouter.pool.chat import ChatClient
from trouter.pool.local import PLAIN_TEMPLATE, find_model, serve
from trouter.pool.models import Pool, read_pool
from trouter.pool.recorded import save_replies
from trouter.routing.encoder import Encoder
from trouter.synthesis.format import LLM
from trouter.synthesis.pairs import generate_pairs
from trouter.synthesis.synthesize import Settings, synthesize

HERE = Path(__file__).resolve().parents[1]/'nbs'/'synthesis'/'recorded'
MODEL, PORT = 'qwen2.5-coder-1.5b', 8199


def yields_by_level(llm, taxonomy):
    "Profiles of three levels along one branch: a domain, its first subcategory, the first level of that."
    domain = taxonomy.at(0)[0]
    branch = [domain.id, taxonomy.children(domain.id)[0].id, taxonomy.children(taxonomy.children(domain.id)[0].id)[0].id]
    return [generate_pairs(llm, taxonomy, node, 16, 8, encode=Encoder(progress=False).encode, verify=verify_pair, most_calls=4) for node in branch]


def answers(a):
    "All four local models answer the pairs."
    prices = {m.name: m for m in load_shipped().pool}
    with ExitStack() as stack:
        servers = [stack.enter_context(serve(find_model(n), n, threads=a.threads, context=2048, chat_template=PLAIN_TEMPLATE if n in BASE_MODELS else None)) for n in MODELS]
        pool = Pool(replace(prices[s.name], base_url=s.base_url, model_id=s.name, api_key_env='TROUTER_LOCAL_KEY') for s in servers)
        collect_folder(a.out, pool, concurrency=1, timeout=600, prompt=lambda q, m: base_prompt(q) if m.name in BASE_MODELS else {})
    outcomes = Outcomes.read(a.out/'outcomes.parquet')
    Outcomes(outcomes.records, Pool(prices[m.name] for m in outcomes.pool)).write(HERE/'outcomes.parquet')     # without the addresses of this machine


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--out', type=Path, required=True, help='folder of the run')
    p.add_argument('--threads', type=int, default=1); p.add_argument('--parallel', type=int, default=2, help='replies written at a time')
    a = p.parse_args()
    path = find_model(MODEL)
    if path is None: sys.exit(f'{MODEL}.gguf is not there; run scripts/fetch_models.py first')
    pool = read_pool(HERE/'pool.yaml')
    settings = Settings(**json.loads((HERE/'settings.json').read_text()))
    started = time.monotonic()
    with serve(path, MODEL, port=PORT, threads=a.threads, parallel=a.parallel, context=6144), ChatClient(pool, a.out/'cache', concurrency=a.parallel, timeout=900) as client:
        run = synthesize(HERE/'domains.yaml', LLM(client, MODEL, max_tokens=1600), a.out, settings, encode=Encoder(progress=False).encode, verify=verify_pair)
        profiles = yields_by_level(LLM(client, MODEL, max_tokens=1600), run.taxonomy)
    save_replies(a.out/'cache', HERE/'replies.jsonl')
    for r in profiles: print(r)
    answers(a)
    print(json.dumps(run.figures(), indent=1)); print(run.taxonomy.tree()); print(f'{time.monotonic() - started:.0f} s of this call')


if __name__ == '__main__': main()
