"""The weak synthetic set: pairs for a part of the shipped taxonomy, written by a small local model with the chain as it stands.

    python scripts/weak_set.py --work RUN [--parallel 2]

Serves Qwen2.5-Coder-1.5B-Instruct (scripts/fetch_models.py), has it write 8 pairs for every difficulty level of the subcategories in PART, and puts taxonomy.json, pairs.jsonl and run.json
into trouter/data/weak. The answers of the candidates are collected as for the strong set (scripts/make_shipped.py). After an interruption the same command goes on.
"""
import argparse, json, shutil, sys, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from trouter.outcomes.synthetic import verify_pair  # noqa: E402
from trouter.outcomes.synthetic_sets import synthetic_taxonomy  # noqa: E402
from trouter.pool.chat import ChatClient  # noqa: E402
from trouter.pool.local import find_model, serve  # noqa: E402
from trouter.pool.models import Pool  # noqa: E402
from trouter.routing.encoder import Encoder  # noqa: E402
from trouter.synthesis.format import LLM  # noqa: E402
from trouter.synthesis.synthesize import Settings, synthesize  # noqa: E402
from trouter.synthesis.taxonomy import Taxonomy  # noqa: E402

MODEL, PORT = 'qwen2.5-coder-1.5b', 8195
PART = {   # subcategories: two of each domain, so that the part covers what the whole covers
    'mathematics': (1, 4), 'commonsense-knowledge': (1, 2), 'programming': (1, 5), 'language-and-translation': (1, 2), 'science': (1, 3),
    'logical-reasoning': (2, 3), 'reading-comprehension': (1, 7), 'business-and-office-work': (4, 5), 'creative-writing': (4,), 'long-context-understanding': (1,)}


def part_of(taxonomy):
    "The taxonomy without the subcategories that are not in PART."
    wanted = {taxonomy.children(d)[k - 1].id for d, numbers in PART.items() for k in numbers}
    keep = {a.id for s in wanted for a in taxonomy.ancestors(s)} | {i for s in wanted for i in taxonomy.branch_ids(s)}
    return Taxonomy([n for n in taxonomy.nodes.values() if n.id in keep], 'A part of the taxonomy of the strong set, for pairs by a weak writer.')


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--work', type=Path, required=True, help='folder of the run'); p.add_argument('--parallel', type=int, default=1, help='replies written at a time'); p.add_argument('--pairs', type=int, default=8)
    a = p.parse_args()
    path, out, taxonomy = find_model(MODEL), ROOT/'trouter'/'data'/'weak', part_of(synthetic_taxonomy('strong'))
    if path is None: sys.exit(f'{MODEL}.gguf is not there; run scripts/fetch_models.py first')
    print(repr(taxonomy), flush=True)
    started = time.monotonic()
    with serve(path, MODEL, port=PORT, parallel=a.parallel, context=6144) as server, ChatClient(Pool([server.candidate]), a.work/'cache', concurrency=a.parallel, timeout=900) as client:
        run = synthesize(taxonomy, LLM(client, MODEL, max_tokens=1600), a.work, Settings(pairs=a.pairs), encode=Encoder(progress=False).encode, verify=verify_pair)
    out.mkdir(parents=True, exist_ok=True)
    for name in ('taxonomy.json', 'pairs.jsonl', 'run.json'): shutil.copyfile(a.work/name, out/name)
    print(json.dumps(run.figures(), indent=1)); print(f'{time.monotonic() - started:.0f} s of this call')


if __name__ == '__main__': main()
