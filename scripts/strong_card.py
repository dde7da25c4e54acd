"""The data card of the shipped synthetic set, from the set itself.

    python scripts/strong_card.py                 # writes trouter/data/strong/CARD.md
    python scripts/strong_card.py --sample DIR    # writes questions for a second check, without their answers, into DIR/questions.jsonl
    python scripts/strong_card.py --compare FILE  # answers of the second check (JSON lines: id, answer) against the set; what differs is printed

The second check: somebody who has not seen the answers solves a fixed sample of the short texts and choices, spread over the levels of difficulty. What differs from the set is
looked at by a third party, who says `set` (the set is right), `check` (the solver is right), `both` (another fair wording) or `unclear` (the question allows more than one answer).
The results stand in trouter/data/strong/second_check.jsonl: id, answer, and verdict where the two differ.
"""
import argparse, hashlib, json, sys
from collections import Counter, defaultdict
from pathlib import Path

from scipy.stats import beta

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from trouter.outcomes.scoring import score  # noqa: E402
from trouter.outcomes.synthetic import BRIEF_FORMS, question_of, query_of  # noqa: E402
from trouter.outcomes.synthetic_sets import DIFFICULTIES, composition, synthetic_folder, synthetic_pairs, synthetic_taxonomy  # noqa: E402
from trouter.pool.models import write_atomically  # noqa: E402

SAMPLE = dict(Trivial=60, Easy=80, Medium=90, Hard=90, Expert=30)
FAULTS = ('check', 'unclear')   # verdicts by which the pair is at fault


def level_of(pair): return pair.type_id.rpartition('/')[2].capitalize()


def sample(pairs):
    "The pairs of the second check: a fixed choice, by the hash of their ids."
    by = defaultdict(list)
    for p in sorted((p for p in pairs if p.answer_type in ('short text', 'choice')), key=lambda p: hashlib.sha256(('check' + p.id).encode()).digest()): by[level_of(p)].append(p)
    return sorted((p for level, n in SAMPLE.items() for p in by[level][:n]), key=lambda p: hashlib.sha256(p.id.encode()).digest())


def agrees(pair, answer):
    "Does the second answer say the same, by the package's own scoring?"
    q = question_of(pair, '', BRIEF_FORMS)
    return score(q.metric, str(answer), q.reference) == 1


def read_check():
    "id -> {'answer', 'verdict'} of the second check."
    path = synthetic_folder('strong')/'second_check.jsonl'
    return {r['id']: r for r in map(json.loads, path.read_text().splitlines())} if path.exists() else {}


def check_table(pairs):
    "Per level: checked, agreed at once, faults of the set, still open."
    by_id, rows = {p.id: p for p in pairs}, defaultdict(Counter)
    for i, r in read_check().items():
        if i not in by_id: continue     # thrown out since
        same = agrees(by_id[i], r['answer'])
        rows[level_of(by_id[i])].update(checked=1, same=same and r.get('verdict') not in FAULTS, fault=r.get('verdict') in FAULTS, open=not same and not r.get('verdict'))
    return {level: rows[level] for level in DIFFICULTIES if level in rows}


def markdown(head, rows): return '\n'.join('| ' + ' | '.join(map(str, row)) + ' |' for row in [head, ['---'] * len(head), *rows])


def card():
    "The text of CARD.md."
    pairs, taxonomy, checks = synthetic_pairs('strong'), synthetic_taxonomy('strong'), check_table(synthetic_pairs('strong'))
    made, counts, kinds = composition(pairs, taxonomy), taxonomy.counts(), Counter(p.answer_type for p in pairs)
    per_level = Counter(p.type_id for p in pairs)
    works = {r['id']: r['work'] for r in map(json.loads, (synthetic_folder('strong')/'work.jsonl').read_text().splitlines())}
    plain = sum(works[p.id].strip() == p.answer.strip() for p in pairs if p.answer_type == 'number')
    total = sum(checks.values(), Counter())
    upper = float(beta.ppf(.975, total['fault'] + 1, total['checked'] - total['fault'])) if total['checked'] else 1.
    rows = [[level, c['checked'], c['same'], c['checked'] - c['same'] - c['fault'] - c['open'], c['fault'], f'{c["fault"] / c["checked"]:.1%}'] for level, c in {**checks, 'all': total}.items() if c['checked']]
    return f'''# Data card: the synthetic set `strong`

{len(pairs)} question-answer pairs for {counts['difficulty']} difficulty levels of {counts['subcategory']} subcategories in {counts['domain']} domains; {min(per_level[n.id] for n in taxonomy.leaves)} to {max(per_level.values())} pairs a level.

## Where it comes from

Taxonomy and pairs were written by a strong language model (of the Claude family) that worked on this package, in many parallel conversations, by the instructions in `INSTRUCTIONS.md`. No human wrote or checked a pair. The writers of the pairs saw the definitions of the taxonomy and these instructions, and neither the real test questions nor any other data set; the definitions
of the ten domains were written by an author who knew the test questions, so the domains fit them better than a stranger's would. The matching of real labels to task types (`real_labels.json`) was made later, by the same author, for evaluation alone.
Six domains are the paper's seeds; language and translation, science, logical reasoning, and business and office work were added. The set has the licence of the package, Apache-2.0.

{markdown(['domain', *made.columns], [[name, *row] for name, row in zip(made.index, made.values.tolist())])}

## What was checked by machine

- {kinds['number']} numbers were computed anew by Python code, which is in `work.jsonl`. For {plain} of them, read off a text or plain facts, the code is the number itself; there the check is none.
- {kinds['code']} functions were run against their tests in the sandbox.
- {kinds['choice']} choices and {kinds['short text']} short texts were checked for their form.
- No two pairs have a similarity above 0.9, inside a level or across levels; questions on one long passage, which the encoder cannot tell apart, are held against each other by their words.

## The second check

{total['checked']} short texts and choices, spread over the levels of difficulty by `scripts/strong_card.py --sample`, were solved a second time from the question alone, by the same kind of model in new conversations. Where the two answers differed, the pair was judged once more: the set is right, another wording is as fair (it counts as right), or the pair is at fault, because
its answer is wrong or its question allows another one. Faults that were found were repaired, so the rate speaks of the pairs that were not looked at: {upper:.1%} is the upper end of its 95% interval over all levels (Clopper and Pearson). A model that checks its own kind shares its blind spots: the true rate may be higher.

{markdown(['level', 'checked', 'same answer', 'set right or wording', 'pair at fault', 'error rate'], rows)}

## Answers

Four local models (Qwen2.5-Coder-1.5B and 0.5B, Gemma-3-270M, SmolLM2-135M) answered every question once at temperature 0, and 300 questions another three times at 0.7: `outcomes.parquet`, by `scripts/run_local_pool.py` and `scripts/make_shipped.py`. What the largest of them said as judge of 100 long answers stands in `long_judge.jsonl`, by `scripts/judge_long.py`.

## Known weaknesses

- Some short texts name their possible answers in the question, so that guessing pays; labels of a given set, true and false, left and right.
- A short text has a list of accepted wordings; fair ones are missing from some of them, and partial overlap earns partial credit (token F1).
- Token F1 ignores case, punctuation and articles, so it cannot see errors in these.
- {kinds['long text']} long texts have one reference answer each, and a poem or a plan has many good answers; how far their scores can be trusted was measured on 100 cases, see the notebook on the synthetic sets.
- The levels are the writers' judgement; the measured order of difficulty is in the same notebook.
'''


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--sample', type=Path, metavar='DIR'); p.add_argument('--compare', type=Path, metavar='FILE')
    a = p.parse_args()
    pairs = synthetic_pairs('strong')
    if a.sample:
        a.sample.mkdir(parents=True, exist_ok=True)
        write_atomically(a.sample/'questions.jsonl', ''.join(json.dumps(dict(id=q.id, type=q.answer_type, question=query_of(q)), ensure_ascii=False) + '\n' for q in sample(pairs)))
        return print(f'{len(sample(pairs))} questions: {a.sample/"questions.jsonl"}')
    if a.compare:
        by_id = {q.id: q for q in pairs}
        for r in map(json.loads, a.compare.read_text().splitlines()):
            if not agrees(by_id[r['id']], r['answer']): print(json.dumps(dict(id=r['id'], question=query_of(by_id[r['id']]), set=by_id[r['id']].answer, check=r['answer']), ensure_ascii=False))
        return
    write_atomically(synthetic_folder('strong')/'CARD.md', card())
    print(f'written: {synthetic_folder("strong")/"CARD.md"}')


if __name__ == '__main__': main()
