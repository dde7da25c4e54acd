"""The shipped synthetic set: from texts that were written in the form of the pair prompt, to pairs and questions.

    python scripts/strong_set.py check SOURCES --out trouter/data/strong --only mathematics/03     # say what is wrong, write nothing
    python scripts/strong_set.py build SOURCES --out trouter/data/strong          # pairs.jsonl, work.jsonl
    python scripts/strong_set.py questions trouter/data/strong --out questions.jsonl   # what scripts/run_local_pool.py reads

The taxonomy stands in --out/taxonomy.json. SOURCES/<id of a domain>/NN-<name>.txt holds the pairs of its subcategory number NN (01, 02, ...):

    == PASSAGE harbour
    a text that {{harbour}} in a question stands for
    == LEVEL Easy
    ### PAIR
    QUESTION: ...
    TYPE: number
    ANSWER: 42
    WORK: 6 * 7
    ### END

The items are read by the package's own parser, and WORK is Python whose last line computes a number anew. Every pair is verified: code against its tests, numbers against
their WORK, choices and short texts for their form; then near-duplicates (cosine above 0.9, in a profile and across all of them) are thrown out. What is wrong is printed, and
`build` takes only what is right. Pairs that stand in --out and whose subcategory has no text in SOURCES are kept.
"""
import argparse, ast, hashlib, json, re, sys, textwrap
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from trouter.outcomes.sandbox import run_tests  # noqa: E402
from trouter.outcomes.scoring import extract_number
from trouter.outcomes.synthetic import BRIEF_FORMS, questions_of, verify_pair
from trouter.pool.models import write_atomically
from trouter.routing.encoder import Encoder
from trouter.synthesis.format import Field, blocks, clean_text, read_item
from trouter.synthesis.pairs import PairError, duplicates_across, item_fault, pair_of, read_pairs, text_of, write_pairs
from trouter.synthesis.prompts import PAIR
from trouter.synthesis.taxonomy import Taxonomy

FIELDS = (*PAIR, Field('WORK', required=False, longest=4000))


def sections(text):
    "The passages and the levels of a file, by name."
    found = {'PASSAGE': {}, 'LEVEL': {}}
    for part in re.split(r'^== ', text, flags=re.M)[1:]:
        head, _, body = part.partition('\n')
        kind, _, name = head.partition(' ')
        if kind not in found: raise ValueError(f'unknown section {head!r}')
        found[kind][name.strip()] = body.strip('\n')
    return found['PASSAGE'], found['LEVEL']


def program_of(work):
    "WORK as a function `work()`. Raises `ValueError`."
    try: tree = ast.parse(textwrap.dedent(work))
    except SyntaxError as e: raise ValueError(f'WORK is not Python: {e}') from None
    if not tree.body or not isinstance(tree.body[-1], ast.Expr): raise ValueError('the last line of WORK must be an expression')
    last = ast.unparse(tree.body.pop().value)
    return 'def work():\n' + textwrap.indent(ast.unparse(tree), '    ') + f'\n    return ({last})\n'


def work_fault(answer, work):
    "What is wrong with a number that WORK should give; as many decimals count as the answer has."
    if not work: return 'WORK is missing'
    try: code = program_of(work)
    except ValueError as e: return str(e)
    value, _ = extract_number(answer)
    m = re.fullmatch(r'-?\d+\.(\d+)', answer.strip())
    slack = max(1e-6 * abs(float(value)), .5000001 * 10 ** -len(m[1]) if m else 0)
    result = run_tests(code, f'assert abs(float(work()) - ({value.numerator} / {value.denominator})) <= {slack!r}', 'work', timeout=20)
    return None if result.passed else f'WORK does not give {answer}: {result.reason}'


def pairs_of_file(file, subcategory, taxonomy, say):
    "[(pair, work)] of one file, verified."
    passages, levels = sections(clean_text(file.read_text()))
    known = {n.name: n.id for n in taxonomy.children(subcategory)}
    for name in set(levels) - set(known): say(f'{file}: unknown level {name!r}; known: {", ".join(known)}')
    found = []
    for name, type_id in known.items():
        for i, block in enumerate(blocks(levels.get(name, ''), 'PAIR', FIELDS, False), start=1):
            item, faults = read_item(block, FIELDS)
            work, label = item.pop('work', None), f'{file.parent.name}/{file.name}, {name} {i} ({item.get("question", "")[:50]!r})'
            try:
                if faults: raise ValueError('; '.join(faults))
                item['question'] = re.sub(r'\{\{(\w[\w -]*)\}\}', lambda m: passages[m[1]] if m[1] in passages else m[0], item['question'])
                if fault := item_fault(item): raise ValueError(fault)
                pair = pair_of(item, f'{type_id}#1.{i}', type_id, 1)
                if fault := verify_pair(pair) or (work_fault(pair.answer, work) if pair.answer_type == 'number' else None): raise ValueError(fault)
            except ValueError as e: say(f'{label}: {e}'); continue
            found.append((pair, work))
    return found


def read_sources(sources, taxonomy, only, say):
    "([(pair, work)], ids of the subcategories that were read)."
    rows, done = [], set()
    for domain in taxonomy.at(0):
        for number, subcategory in enumerate(taxonomy.children(domain.id), start=1):
            if only and not any(f'{domain.id}/{number:02d}'.startswith(o) for o in only): continue
            for file in sorted((sources/domain.id).glob(f'{number:02d}-*.txt')): rows += pairs_of_file(file, subcategory.id, taxonomy, say); done.add(subcategory.id)
    return rows, done


def same_passage(a, b):
    "Two different questions on one long text? The encoder reads 256 tokens alone and cannot tell them apart."
    return a.question.split() != b.question.split() and max(len(p.question.split()) for p in (a, b)) > 250


def distinct(rows, say):
    "The rows without near-duplicates."
    gone = set()
    for stays, goes, similarity in duplicates_across(Encoder(progress=False).encode([text_of(p) for p, _ in rows]), .9) if rows else []:
        if same_passage(rows[stays][0], rows[goes][0]): continue
        gone.add(goes); say(f'near-duplicate ({similarity:.3f}) thrown out: {rows[goes][0].id} {rows[goes][0].question[:60]!r}, of {rows[stays][0].id} {rows[stays][0].question[:60]!r}')
    return [r for i, r in enumerate(rows) if i not in gone]


def check(sources, out, only, say=print):
    "Say what is wrong, and how many good pairs each level has."
    taxonomy = Taxonomy.read(out/'taxonomy.json')
    rows, done = read_sources(sources, taxonomy, only, say)
    rows = distinct(rows, say)
    for subcategory in done:
        for node in taxonomy.children(subcategory):
            mine = [p for p, _ in rows if p.type_id == node.id]
            words = sorted(len(p.question.split()) for p in mine) or [0]
            say(f'{taxonomy.path(node.id)}: {len(mine)} good {dict(Counter(p.answer_type for p in mine))}, right letters {"".join(sorted(p.answer for p in mine if p.answer_type == "choice")) or "-"}, words {words[0]} to {words[-1]}')


def build(sources, out, say=print):
    "Read, verify, de-duplicate and write."
    taxonomy = Taxonomy.read(out/'taxonomy.json')
    rows, done = read_sources(sources, taxonomy, None, say)
    if (out/'pairs.jsonl').exists():
        works = {w['id']: w['work'] for w in map(json.loads, (out/'work.jsonl').read_text().splitlines())}
        rows += [(p, works.get(p.id)) for p in read_pairs(out/'pairs.jsonl') if taxonomy.parent(p.type_id).id not in done]
    order = {n.id: i for i, n in enumerate(taxonomy.leaves)}
    rows = distinct(sorted(rows, key=lambda r: (order[r[0].type_id], int(r[0].id.rpartition('.')[2]))), say)
    write_pairs(out/'pairs.jsonl', [p for p, _ in rows])
    write_atomically(out/'work.jsonl', ''.join(json.dumps(dict(id=p.id, work=w), ensure_ascii=False) + '\n' for p, w in rows if p.answer_type == 'number'))
    per_node = Counter(p.type_id for p, _ in rows)
    say(f'{taxonomy!r}: {len(rows)} pairs; nodes with fewer than 8: {sum(per_node[n.id] < 8 for n in taxonomy.leaves)}; types: {dict(Counter(p.answer_type for p, _ in rows))}')


def ask_order(pairs):
    "The first pairs of all levels before the second ones; questions on one long passage one after the other, so that a server that remembers the last prompt reads it once."
    place, groups = Counter(), {}
    for i, p in enumerate(pairs):
        place[p.type_id] += 1
        passage = p.question[:200] if len(p.question.split()) > 250 else p.id
        groups.setdefault(passage, (place[p.type_id], i, []))[2].append(p)
    return [p for _, _, group in sorted(groups.values(), key=lambda g: g[:2]) for p in group]


def questions(folder, out, sampled, draws):
    "The questions as JSON lines; a fixed choice of them, by the hash of their ids, is to be answered more than once."
    taxonomy, pairs = Taxonomy.read(folder/'taxonomy.json'), read_pairs(folder/'pairs.jsonl')
    chosen = set(sorted((p.id for p in pairs), key=lambda i: hashlib.sha256(i.encode()).digest())[:sampled])
    asked = [replace(q, samples=draws - 1 if q.query_id in chosen else 0) for q in questions_of(ask_order(pairs), taxonomy, BRIEF_FORMS)]
    write_atomically(out, ''.join(json.dumps({k: v for k, v in (asdict(q) | q.extra).items() if v is not None and k != 'extra'}, ensure_ascii=False) + '\n' for q in asked))
    print(f'{len(asked)} questions, {sum(1 + q.samples for q in asked)} answers of each model: {out}')


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('what', choices=('check', 'build', 'questions')); p.add_argument('source', type=Path); p.add_argument('--out', type=Path, required=True)
    p.add_argument('--only', nargs='+', help='for check: a domain, or a domain with the number of a subcategory')
    p.add_argument('--sampled', type=int, default=300, help='questions that get more than one answer'); p.add_argument('--draws', type=int, default=3, help='answers to each of these')
    a = p.parse_args()
    if a.what == 'check': check(a.source, a.out, a.only)
    elif a.what == 'build': build(a.source, a.out)
    else: questions(a.source, a.out, a.sampled, a.draws)


if __name__ == '__main__': main()
