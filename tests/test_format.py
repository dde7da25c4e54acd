"Replies in every state of disorder: nothing crashes, what can be used is used, and what comes out is always valid."
import json, random, re

import pytest
from hypothesis import given, settings, strategies as st

from support.generator import KEY, SLIPS, ScriptedGenerator
from trouter.outcomes.synthetic import query_of, verify_pair
from trouter.synthesis.format import Field, clean_text, describe, parse
from trouter.synthesis.generator import as_text, tidy_children
from trouter.synthesis.pairs import Pair, item_fault, pair_of, read_pairs, text_of, write_pairs
from trouter.synthesis.prompts import PROMPTS, TASK_TYPE
from trouter.synthesis.taxonomy import LEVELS, Taxonomy

FORMS = sorted({(p.marker, p.fields) for p in PROMPTS.values()}, key=lambda f: f[0])
PROFILE = 'Domain: Mathematics. Requests about numbers.\nSubcategory: Ranking Owls. Requests about order.'
SET = as_text([dict(name='Easy', definition='one step'), dict(name='Hard', definition='many steps')])
VALUES = dict(description='a shop', existing=SET, profile=PROFILE, most=5, level='difficulty', items=SET, level_rules='- none', reason='too vague', set_a=SET, set_b=SET, batch=4, asked='')
REPLIES = {name: [ScriptedGenerator(seed=s).answer(dict(messages=p.messages(**VALUES))) for s in range(4)] for name, p in PROMPTS.items()}
BASE = Taxonomy([]).with_children(None, [dict(name='Mathematics', definition='Numbers.')]).with_children('mathematics', [dict(name='Owls', definition='Order.')])


# ---- what must hold for every reply

def check_value(value, f: Field):
    assert value and value == value.strip() and len(value) <= f.longest and clean_text(value) == value
    assert value in f.choices or not f.choices
    assert '\n' not in value or not f.one_line


def check_types(items):
    "Task types on each level: a taxonomy that survives the way to the disk."
    for level, parent in zip(LEVELS, (None, 'mathematics', 'mathematics/owls')):
        there = {n.name.casefold() for n in BASE.children(parent)}
        taxonomy = BASE.with_children(parent, [i for i in tidy_children(items, level) if i['name'].casefold() not in there])
        assert Taxonomy.from_dict(json.loads(json.dumps(taxonomy.to_dict(), ensure_ascii=False).encode())) == taxonomy
        assert all(taxonomy.find(taxonomy.path(id)).id == id and taxonomy.profile(id) for id in taxonomy)


def check_pairs(items):
    for item in items:
        if fault := item_fault(item): assert '\n' not in fault; continue
        pair = pair_of(item, 'mathematics/owls#1.1', 'mathematics/owls', 1)
        assert Pair.from_dict(json.loads(json.dumps(pair.to_dict(), ensure_ascii=False).encode())) == pair
        assert text_of(pair) and query_of(pair)
        if pair.answer_type != 'code': assert (verify_pair(pair) or '').count('\n') == 0


def check_reply(text) -> int:
    "One reply through every parser; the number of items that came out."
    n = 0
    for marker, fields in FORMS:
        parsed, cut, by_name = parse(text, marker, fields), parse(text, marker, fields, finished=False), {f.name: f for f in fields}
        assert (parsed.items or parsed.faults) and all('\n' not in fault and len(fault) < 1000 for fault in parsed.faults)
        assert cut.items in (parsed.items, parsed.items[:-1])
        for item in parsed.items:
            assert {f.name for f in fields if f.required} <= set(item) <= set(by_name)
            for name, value in item.items(): check_value(value, by_name[name])
        if marker == 'ITEM': check_types(parsed.items)
        if marker == 'PAIR': check_pairs(parsed.items)
        n += len(parsed.items)
    return n


# ---- ten thousand replies

STRANGE = ['\x00', '\x07', '\x1b[31m', '\x85', '\u2028', '\u200b', '\u202e', '\ufeff', '\ufffe', '\ud800', '\udfff', '\ud83d', '🙂', '👩‍👩‍👧', 'שלום', 'ß', 'İ', 'ﬁ', '①', '\r', '\x0b', '\x0c', '\t', '\xa0', '/', '{}', '%s', '\\']
TOKENS = STRANGE + ['###', '##', '# ', '### ITEM', '### PAIR', '### END', '### VERDICT', '### CHOICE', 'END', '```', '```python\n', '**', '- ', '1. ', '> ', '|', ':', ' ', '\n', '\n\n', '<think>', '</think>', 'yes', 'no', 'A', 'B) two', 'number', 'choice', 'code', 'short text', 'N/A', '...', '<text>',
                    'Easy', 'hard level', 'a/b', '42', 'assert f(1) == 2', 'def f(x): return x', *(f'{f.key}:' for _, fields in FORMS for f in fields), *(f.key.lower() for _, fields in FORMS for f in fields)]


def on_lines(change):
    "A mutation of the list of lines."
    def mutation(text, draw):
        lines = text.split('\n')
        change(lines, draw.randrange(len(lines)), draw)
        return '\n'.join(lines)
    return mutation


def put_in(text, draw, what):
    at = draw.randint(0, len(text))
    return text[:at] + what + text[at:]


def swap(lines, i, draw): j = draw.randrange(len(lines)); lines[i], lines[j] = lines[j], lines[i]


MUTATIONS = [
    on_lines(lambda lines, i, draw: lines.pop(i)), on_lines(lambda lines, i, draw: lines.insert(i, lines[i])), on_lines(swap), on_lines(lambda lines, i, draw: lines.__setitem__(i, lines[i].swapcase())),
    on_lines(lambda lines, i, draw: lines.__setitem__(i, f'{draw.choice(["**", "- ", "> ", "1. ", "| ", "`", "    ", "#### "])}{lines[i]}{draw.choice(["", "**", " |", "`", ":"])}')),
    on_lines(lambda lines, i, draw: lines.__setitem__(i, lines[i] * draw.randint(2, 200))), on_lines(lambda lines, i, draw: lines.insert(i, draw.choice(['### ITEM', '### PAIR', '### END', '### VERDICT', '### CHOICE', '```', '---']))),
    lambda text, draw: text[:draw.randint(0, len(text))], lambda text, draw: text[draw.randint(0, len(text)):],
    lambda text, draw: put_in(text, draw, draw.choice(STRANGE)), lambda text, draw: put_in(text, draw, draw.choice(TOKENS)), lambda text, draw: put_in(text, draw, 'x' * draw.choice([100, 5000, 50_000])),
    lambda text, draw: put_in(text, draw, draw.choice(REPLIES[draw.choice(list(REPLIES))])), lambda text, draw: text + text,
    lambda text, draw: re.sub(r':', draw.choice(['', ' :', '::', '：', ' -', '=']), text, count=draw.randint(1, 9)), lambda text, draw: KEY.sub(lambda m: m[0].title(), text),
    *(lambda text, draw, slip=slip: slip(text) for slip in SLIPS.values()),
]


def disorder(number: int) -> str:
    "A reply: seven of ten are mutated, the others are a soup of tokens."
    draw = random.Random(number)
    if number % 10 >= 7: return ''.join(draw.choice(TOKENS) + draw.choice(['', ' ', '\n']) for _ in range(draw.randint(0, 120)))
    text = draw.choice(REPLIES[draw.choice(list(REPLIES))])
    for _ in range(draw.randint(1, 6)): text = draw.choice(MUTATIONS)(text, draw) if text else draw.choice(TOKENS)
    return text[:200_000]


@pytest.mark.parametrize('start', range(0, 10_000, 1000))
def test_ten_thousand_replies(start):
    rescued = [check_reply(disorder(number)) for number in range(start, start + 1000)]
    assert sum(n > 0 for n in rescued) > 400  # or the replies would be too broken to test anything


@settings(max_examples=300, deadline=None)
@given(st.text() | st.lists(st.sampled_from(TOKENS) | st.text(max_size=8)).map(''.join) | st.text(st.characters(), max_size=50).map(lambda t: f'### ITEM\nNAME: {t}\nDEFINITION: {t}\n### END'))
def test_any_text(text): check_reply(text)


@settings(max_examples=300, deadline=None)
@given(*[st.text(st.characters(), min_size=1, max_size=40)] * 4, st.sampled_from(['number', 'choice', 'short text', 'code', 'long text']))
def test_any_values_of_a_pair(question, answer, options, tests, kind):
    check_reply(f'### PAIR\nQUESTION: {question}\nTYPE: {kind}\nOPTIONS: A) {options}\nB) {answer}\nANSWER: {answer}\nTESTS: assert f({tests})\n### END')


@pytest.mark.parametrize('text', [None, '', '\n' * 100_000, '#' * 200_000, '### ITEM\n' * 20_000, 'NAME: a\n' * 20_000, 'NAME: ' + ' ' * 200_000, '*' * 100 + 'NAME:' * 40_000, ('- ' * 100 + '\n') * 1000, '### ITEM\nNAME: ' + '```\n' * 50_000,
                                  'QUESTION: q\nTYPE: choice\nANSWER: x\nOPTIONS: ' + '(' * 100_000, 'QUESTION: q\nTYPE: choice\nANSWER: x\nOPTIONS:\n' + ' ' * 100_000, 'QUESTION: q\nTYPE: code\nANSWER: ```\n' + '\n' * 100_000, 'QUESTION: q\nTYPE: number\nANSWER: ' + '1' * 7000], ids=range(14))
def test_long_replies_are_read_in_time(text):
    "Nothing in the patterns takes more than linear time."
    import time
    start = time.perf_counter()
    for marker, fields in FORMS:
        for item in parse(text, marker, fields).items: marker == 'PAIR' and item_fault(item)
    assert time.perf_counter() - start < 5


def test_files_of_what_came_through(tmp_path):
    "From disorder to the files that the chain writes, and back."
    texts = [disorder(number) for number in range(2000)]
    items = [i for t in texts for i in parse(t, 'ITEM', TASK_TYPE).items]
    taxonomy = Taxonomy([]).with_children(None, tidy_children(items, 'domain'))
    taxonomy.write(tmp_path/'taxonomy.json')
    assert Taxonomy.read(tmp_path/'taxonomy.json') == taxonomy and len(taxonomy) > 50
    p = PROMPTS['pairs']
    pairs = [pair_of(i, f'd#1.{n}', 'd', 1) for n, i in enumerate(i for t in texts for i in parse(t, p.marker, p.fields).items if not item_fault(i))]
    write_pairs(tmp_path/'pairs.jsonl', pairs)
    assert read_pairs(tmp_path/'pairs.jsonl') == pairs and len(pairs) > 100


# ---- the slips of small models, and what is rescued

@pytest.mark.parametrize('slip', [s for s in SLIPS if s not in ('cut in the middle', 'no answer at all', 'nothing')])
@pytest.mark.parametrize('name', PROMPTS)
def test_these_slips_lose_nothing(name, slip):
    p = PROMPTS[name]
    for reply in REPLIES[name]:
        clean = parse(reply, p.marker, p.fields)
        assert clean.items and not clean.faults and parse(SLIPS[slip](reply), p.marker, p.fields) == clean


@pytest.mark.parametrize('name', PROMPTS)
def test_a_reply_that_was_cut_keeps_its_whole_items(name):
    p = PROMPTS[name]
    for reply in REPLIES[name]:
        whole = parse(reply, p.marker, p.fields).items
        for cut in range(0, len(reply), 7):
            assert parse(reply[:cut], p.marker, p.fields, finished=False).items == whole[:reply[:cut].count('### END')]


GOOD = [dict(name='Algebra', definition='Equations.')]
TYPES = [
    ('the values on lines of their own', '### ITEM\nNAME:\nAlgebra\nDEFINITION:\nEquations.\n### END', GOOD),
    ('a definition of several lines', '### ITEM\nNAME: Algebra\nDEFINITION: Equations,\nalso with NAMES of unknowns:\nx and y.\n### END', [dict(name='Algebra', definition='Equations,\nalso with NAMES of unknowns:\nx and y.')]),
    ('a word after the marker', '### ITEM 1:\nNAME: Algebra\nDEFINITION: Equations.\n### END OF ITEM', GOOD),
    ('quotes and stars around the name', '### ITEM\nNAME: **"Algebra"**\nDEFINITION: Equations.\n### END', GOOD),
    ('a numbered list of keys', '1. NAME: Algebra\n2. DEFINITION: Equations.', GOOD),
    ('headings as keys', '### NAME: Algebra\n### DEFINITION: Equations.', GOOD),
    ('thoughts before the answer', '<think>\nMaybe algebra?\n</think>\n### ITEM\nNAME: Algebra\nDEFINITION: Equations.\n### END', GOOD),
    ('placeholders left in', '### ITEM\nNAME: Algebra\nDEFINITION: Equations.\nEXAMPLE: <one request that belongs here>\n### END', GOOD),
    ('a key that nobody asked for becomes text', '### ITEM\nNAME: Algebra\nDEFINITION: Equations.\nLEVEL: high\n### END', [dict(name='Algebra', definition='Equations.\nLEVEL: high')]),
    ('one item without a definition', '### ITEM\nNAME: Sets\n### END\n### ITEM\nNAME: Algebra\nDEFINITION: Equations.\n### END', GOOD),
    ('a name that is a sentence', f'### ITEM\nNAME: {"very " * 20}long\nDEFINITION: x\n### END\n### ITEM\nNAME: Algebra\nDEFINITION: Equations.\n### END', GOOD),
    ('JSON', '[{"name": "Algebra", "definition": "Equations."}]', []),
]


@pytest.mark.parametrize('text, items', [(text, items) for _, text, items in TYPES], ids=[name for name, *_ in TYPES])
def test_slips_in_task_types(text, items):
    parsed = parse(text, 'ITEM', TASK_TYPE)
    assert parsed.items == items and bool(parsed.faults) == (text.count('NAME') - text.count('NAMES') != len(items) or not items)


PAIRS = [
    ('the option said in words', 'QUESTION: Prime?\nTYPE: Choice\nOPTIONS: A) 51\nB) 53\nANSWER: 53', ('choice', 'B')),
    ('the option with its text', 'QUESTION: Prime?\nTYPE: choice.\nOPTIONS:\n- a. 51\n- b. 53\nANSWER: **b) 53**', ('choice', 'B')),
    ('a remark after the type', 'QUESTION: 1 + 1?\nTYPE: number (integer)\nANSWER: 2', ('number', '2')),
    ('a type with an underscore', 'QUESTION: Capital of Italy?\nTYPE: short_text\nANSWER: Rome', ('short text', 'Rome')),
    ('code in a fence', 'QUESTION: Twice?\nTYPE: code\nANSWER:\n```python\ndef f(x): return 2 * x\n```\nFUNCTION: f(x)\nTESTS:\n```\nassert f(1) == 2\n```', ('code', 'def f(x): return 2 * x')),
    ('code without the name of its function', 'QUESTION: Twice?\nTYPE: code\nANSWER: def f(x): return 2 * x\nTESTS: assert f(1) == 2', ('code', 'def f(x): return 2 * x')),
    ('keys in another order', 'QUESTION: 1 + 1?\nANSWER: 2\nTYPE: number', ('number', '2')),
    ('options that do not belong', 'QUESTION: 1 + 1?\nTYPE: number\nOPTIONS: N/A\nANSWER: 2\nTESTS: none', ('number', '2')),
    ('a choice without options', 'QUESTION: Prime?\nTYPE: choice\nANSWER: B', 'a choice needs OPTIONS'),
    ('code without tests', 'QUESTION: Twice?\nTYPE: code\nANSWER: def f(x): return 2 * x', 'code needs TESTS'),
    ('a type of its own', 'QUESTION: Why?\nTYPE: essay\nANSWER: So.', 'TYPE must be one of'),
    ('no answer', 'QUESTION: Why?\nTYPE: long text\nANSWER:', 'ANSWER is missing'),
]


@pytest.mark.parametrize('text, expected', [(text, expected) for _, text, expected in PAIRS], ids=[name for name, *_ in PAIRS])
def test_slips_in_pairs(text, expected):
    p = PROMPTS['pairs']
    parsed = parse(f'### PAIR\n{text}\n### END', p.marker, p.fields)
    faults = parsed.faults + [fault for i in parsed.items if (fault := item_fault(i))]
    if isinstance(expected, str): assert len(faults) == 1 and expected in faults[0]
    else:
        pair = pair_of(parsed.items[0], 'd#1.1', 'd')
        assert not faults and (pair.answer_type, pair.answer) == expected
        if pair.answer_type == 'code': assert (pair.function, pair.tests) == ('f', 'assert f(1) == 2')


@pytest.mark.parametrize('text, verdict', [('### VERDICT\nREVISE: No.\n### END', 'no'), ('REVISE: **Yes**, the first two overlap', 'yes'), ('verdict:\nrevise: NO', 'no'), ('### VERDICT\nREVISE: yes or no\n### END', None), ('### VERDICT\nREVISE: perhaps\n### END', None), ('No revision is needed.', None)])
def test_slips_in_verdicts(text, verdict):
    p = PROMPTS['review']
    assert [i['revise'] for i in parse(text, p.marker, p.fields).items] == ([] if verdict is None else [verdict])


@pytest.mark.parametrize('name', PROMPTS)
def test_a_form_that_is_handed_back_holds_no_item(name):
    p = PROMPTS[name]
    assert parse(describe(p.marker, p.fields), p.marker, p.fields).items == []
