"The shipped synthetic set: whole, verified, and scored as its answers deserve."
import json, random, sys
from collections import Counter
from pathlib import Path

import pytest

from trouter.outcomes.collect import default_scorer
from trouter.outcomes.synthetic import BRIEF_FORMS, questions_of, verify_pair
from trouter.synthesis.pairs import read_pairs
from trouter.synthesis.taxonomy import Taxonomy

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT/'scripts'))
from strong_card import card, check_table  # noqa: E402
from strong_set import work_fault  # noqa: E402
import weak_set  # noqa: E402

FOLDER = ROOT/'trouter'/'data'/'strong'
TAXONOMY, PAIRS = Taxonomy.read(FOLDER/'taxonomy.json'), read_pairs(FOLDER/'pairs.jsonl')
SAMPLE = random.Random(0).sample(PAIRS, 150)


def test_the_taxonomy_has_three_full_levels():
    counts = TAXONOMY.counts()
    assert counts['domain'] >= 10 and counts['subcategory'] >= 90 and counts['difficulty'] >= 330
    assert all(n.definition and n.example for n in TAXONOMY.nodes.values())
    assert {TAXONOMY.level(n.id) for n in TAXONOMY.leaves} == {2}


def test_pairs_belong_to_levels_and_differ():
    leaves = {n.id for n in TAXONOMY.leaves}
    assert {p.type_id for p in PAIRS} <= leaves and max(Counter(p.type_id for p in PAIRS).values()) <= 12
    assert min(Counter(p.type_id for p in PAIRS)[n] for n in leaves) >= 8
    assert len({' '.join(p.question.lower().split()) for p in PAIRS}) == len(PAIRS)
    assert not any('{{' in p.question for p in PAIRS if p.answer_type != 'code'), 'a passage was not put in'


def test_right_letters_are_spread():
    letters = Counter(p.answer for p in PAIRS if p.answer_type == 'choice')
    assert all(letters[x] / sum(letters.values()) > .15 for x in 'ABC'), letters


def test_numbers_are_what_their_code_computes():
    works = {row['id']: row['work'] for row in map(json.loads, (FOLDER/'work.jsonl').read_text().splitlines())}
    assert set(works) == {p.id for p in PAIRS if p.answer_type == 'number'}
    faults = {p.id: work_fault(p.answer, works[p.id]) for p in SAMPLE if p.answer_type == 'number'}
    assert faults and not {k: v for k, v in faults.items() if v}


def test_reference_answers_score_one():
    for pair, question in zip(SAMPLE, questions_of(SAMPLE, TAXONOMY, BRIEF_FORMS)):
        assert verify_pair(pair) is None, pair.id
        answer = json.loads(pair.answer)[0] if pair.answer.startswith('["') else f'```python\n{pair.answer}\n```' if pair.answer_type == 'code' else pair.answer
        assert default_scorer(question, answer) == pytest.approx(1), (pair.id, answer)


def test_the_data_card_is_of_this_set():
    assert (FOLDER/'CARD.md').read_text() == card()
    checks = check_table(PAIRS)
    assert sum(c['checked'] for c in checks.values()) >= 300 and not any(c['open'] for c in checks.values())


def test_the_weak_card_is_of_its_set():
    folder = ROOT/'trouter'/'data'/'weak'
    assert (folder/'CARD.md').read_text() == weak_set.card()
    verdicts = [json.loads(line) for line in (folder/'check.jsonl').read_text().splitlines()]
    assert [v['id'] for v in verdicts] == [p.id for p in weak_set.sample(read_pairs(folder/'pairs.jsonl'))] and {v['verdict'] for v in verdicts} <= {'right', 'wrong', 'open', 'other'}
    assert set(Taxonomy.read(folder/'taxonomy.json').nodes) < set(TAXONOMY.nodes)
