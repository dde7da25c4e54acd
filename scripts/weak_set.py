"""The weak synthetic set: pairs for a part of the shipped taxonomy, written by a small local model with the chain as it stands.

    python scripts/weak_set.py --work RUN [--parallel 2]
    python scripts/weak_set.py --sample FILE    # writes the pairs to be read for the check into FILE
    python scripts/weak_set.py --card           # writes trouter/data/weak/CARD.md from the set and its check

Serves Qwen2.5-Coder-1.5B-Instruct (scripts/fetch_models.py), has it write 8 pairs for every difficulty level of the subcategories in PART, and puts taxonomy.json, pairs.jsonl and run.json
into trouter/data/weak. The answers of the candidates are collected as for the strong set (scripts/make_shipped.py). After an interruption the same command goes on.

The check: two pairs a level, chosen by the hash of their ids, are read by a strong LLM as the candidates see them, which says of each `right`, `wrong` (the answer), `open` (the question cannot be answered, or allows other answers as well) or `other` (not of its task type). The verdicts stand in trouter/data/weak/check.jsonl: id, verdict, reason.
"""
import argparse, hashlib, json, shutil, sys, time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from trouter.outcomes.synthetic import query_of, verify_pair  # noqa: E402
from trouter.outcomes.synthetic_sets import composition, synthetic_folder, synthetic_pairs, synthetic_taxonomy  # noqa: E402
from trouter.pool.chat import ChatClient  # noqa: E402
from trouter.pool.local import find_model, serve  # noqa: E402
from trouter.pool.models import Pool, write_atomically  # noqa: E402
from trouter.routing.encoder import Encoder  # noqa: E402
from trouter.synthesis.format import LLM  # noqa: E402
from trouter.synthesis.synthesize import Settings, synthesize  # noqa: E402
from trouter.synthesis.taxonomy import Taxonomy  # noqa: E402

MODEL, PORT = 'qwen2.5-coder-1.5b', 8195
PART = {   # subcategories: some of each domain, so that the part covers what the whole covers; enough that sixty levels keep all their pairs
    'mathematics': (1, 2, 4, 5, 7), 'commonsense-knowledge': (1, 2, 7), 'programming': (1, 5), 'language-and-translation': (1, 2), 'science': (1, 3, 6),
    'logical-reasoning': (2, 3, 6), 'reading-comprehension': (1, 6, 7), 'business-and-office-work': (4, 5), 'creative-writing': (4,), 'long-context-understanding': (1,)}


def part_of(taxonomy):
    "The taxonomy without the subcategories that are not in PART."
    wanted = {taxonomy.children(d)[k - 1].id for d, numbers in PART.items() for k in numbers}
    keep = {a.id for s in wanted for a in taxonomy.ancestors(s)} | {i for s in wanted for i in taxonomy.branch_ids(s)}
    return Taxonomy([n for n in taxonomy.nodes.values() if n.id in keep], 'A part of the taxonomy of the strong set, for pairs by a weak writer.')


def sample(pairs, each=2):
    "The pairs that are read for the check: `each` of every level, by the hash of their ids."
    by = {}
    for p in sorted(pairs, key=lambda p: hashlib.sha256(('check' + p.id).encode()).digest()): by.setdefault(p.type_id, []).append(p)
    return [p for level in sorted(by) for p in by[level][:each]]


def card():
    "The text of CARD.md."
    pairs, taxonomy, run = synthetic_pairs('weak'), synthetic_taxonomy('weak'), json.loads((synthetic_folder('weak')/'run.json').read_text())
    per_level, made = Counter(p.type_id for p in pairs), composition(pairs, taxonomy)
    table = lambda head, rows: '\n'.join('| ' + ' | '.join(map(str, row)) + ' |' for row in [head, ['---'] * len(head), *rows])
    verdicts = Counter(json.loads(line)['verdict'] for line in (synthetic_folder('weak')/'check.jsonl').open())
    total = sum(verdicts.values())
    return f'''# Data card: the synthetic set `weak`

{len(pairs)} question-answer pairs for {len(per_level)} difficulty levels, a part of the taxonomy of the set `strong`; {sum(n >= 8 for n in per_level.values())} levels still have all 8 pairs that were asked for; the others ran out of calls, or lost pairs as near-copies of pairs of other levels.

## Where it comes from

The pairs were written by Qwen2.5-Coder-1.5B-Instruct ({run.get("model", MODEL)}, 4-bit GGUF) on one or two processor cores, with the chain of this package as it stands: `python scripts/weak_set.py`. Nobody corrected them. The set is a foil: what the cold start is worth when the generator is small. The licence is that of the package, Apache-2.0; the model's licence is Apache-2.0.

{table(['domain', *made.columns], [[name, *row] for name, row in zip(made.index, made.values.tolist())])}

## What was checked

- Form, by the package: letters of choices, tests of code, near-copies above 0.9. What is missing was not filled up.
- {total} pairs, two a level, were read by a strong language model: {', '.join(f'{verdicts[v]} {v} ({verdicts[v] / total:.0%})' for v in ('right', 'wrong', 'open', 'other'))}. *Open* is a question that cannot be answered or allows other answers as well, *other* one that is not of its task type. The verdicts stand in `check.jsonl`; nothing was removed.

## Known weaknesses

Those of the writer: wrong answers, questions that lack what they ask about, levels of difficulty that differ in name only. Do not use the set for anything but comparison.
'''


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--work', type=Path, help='folder of the run'); p.add_argument('--parallel', type=int, default=1, help='replies written at a time'); p.add_argument('--threads', type=int, default=1, help='processor threads'); p.add_argument('--pairs', type=int, default=8)
    p.add_argument('--sample', type=Path, metavar='FILE'); p.add_argument('--card', action='store_true')
    a = p.parse_args()
    if a.card: return write_atomically(synthetic_folder('weak')/'CARD.md', card())
    if a.sample: return write_atomically(a.sample, ''.join(json.dumps(dict(id=q.id, question=query_of(q), answer=q.answer, answer_type=q.answer_type), ensure_ascii=False) + '\n' for q in sample(synthetic_pairs('weak'))))
    if a.work is None: p.error('--work is needed')
    path, out, taxonomy = find_model(MODEL), ROOT/'trouter'/'data'/'weak', part_of(synthetic_taxonomy('strong'))
    if path is None: sys.exit(f'{MODEL}.gguf is not there; run scripts/fetch_models.py first')
    print(repr(taxonomy), flush=True)
    started = time.monotonic()
    with serve(path, MODEL, port=PORT, threads=a.threads, parallel=a.parallel, context=6144) as server, ChatClient(Pool([server.candidate]), a.work/'cache', concurrency=a.parallel, timeout=900) as client:
        run = synthesize(taxonomy, LLM(client, MODEL, max_tokens=1600), a.work, Settings(pairs=a.pairs), encode=Encoder(progress=False).encode, verify=verify_pair)
    out.mkdir(parents=True, exist_ok=True)
    for name in ('taxonomy.json', 'pairs.jsonl', 'run.json'): shutil.copyfile(a.work/name, out/name)
    print(json.dumps(run.figures(), indent=1)); print(f'{time.monotonic() - started:.0f} s of this call')


if __name__ == '__main__': main()
