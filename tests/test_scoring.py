"Scoring: what a notebook is the wrong place for, that is fuzzing, hostile input and libraries that are not installed."
import json, math, time

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from trouter.outcomes import scoring
from trouter.outcomes.scoring import SCORERS, accepted, choice, contains, exact, extract_choice, extract_number, find_numbers, number, score, token_f1

TEXT = st.text(max_size=200)
CHOICEY = st.lists(st.sampled_from(['A', 'B', '(C)', '**D**', 'I', ' ', '\n', '.', ')', 'answer is', 'Answer:', 'not', 'or', ',', 'option', r'\boxed{B}', '$', 'a', 'dog', '{', '*', '"']), max_size=25).map(' '.join)
NUMBERY = st.lists(st.sampled_from(list('0123456789') + [',', '.', '-', '−', '/', '%', '$', 'e', '^', '10', '×', '½', ' ', 'answer is ', '=', r'\frac{', '}{', '}', r'\boxed{', '####', '\n', '⁻³']), max_size=40).map(''.join)


@settings(max_examples=200, deadline=None)
@given(TEXT | CHOICEY)
def test_extract_choice_never_crashes(text):
    assert extract_choice(text) in (None, *'ABCDEFGHIJ')
    assert extract_choice(text, ['a cat', 'a dog', text]) in (None, 'A', 'B', 'C')
    assert choice(text, 'B') in (0.0, 1.0)


@settings(max_examples=300, deadline=None)
@given(TEXT | NUMBERY)
def test_numbers_never_crash(text):
    assert extract_number(text) is None or len(extract_number(text)) == 2
    assert number(text, '12.5') in (0.0, 1.0)


@settings(max_examples=100, deadline=None)
@given(TEXT | CHOICEY | NUMBERY, TEXT | st.lists(TEXT, min_size=1, max_size=3), st.sampled_from(['exact', 'contains', 'token_f1', 'rouge_l', 'bleu']))
def test_score_in_range(response, reference, metric):
    assert 0 <= score(metric, response, reference) <= 1
    assert score(metric, None, reference) is None
    assert score(metric, '', reference) == 0


@given(st.integers(-10**12, 10**12))
def test_integers_survive_every_writing(i):
    for text in (f'{i}', f'{i:,}', f'The answer is {i:,}.', f'so {i}', rf'\boxed{{{i}}}', f'#### {i:,}', f'**{i}**', f'{i}'.replace('-', '−'), f'{i}.0', f'${i:,}.00'):
        assert number(text, i) == 1.0, text
        assert number(text, str(i + 1)) == 0.0, text


@given(st.floats(-1e12, 1e12, allow_nan=False).filter(lambda x: abs(x) > 1e-9))
def test_floats_survive(x):
    for text in (repr(x), f'{x:.12e}', f'x = {x!r}'):
        assert number(text, repr(x), rel_tol=1e-9) == 1.0, text


@given(st.sampled_from('ABCD'), st.sampled_from(['{}', '({})', '**{}**', '{})', '{}.', 'The answer is {}.', 'The answer is ({}).', 'Answer: {}', '**Answer: {}**', 'Answer: **{}**', '{}: because it is so.', 'The correct answer is **{}**.',
       'I choose option {}.', r'$\boxed{{{}}}$', 'Thinking about A dog.\n\nFinal answer: {}', '{} is correct.', 'Option {} is correct', 'the answer is {}', '{}\n\nExplanation: a cat is no dog.', '"answer": "{}"', '{{"answer": "{}"}}', '{}) A dog']))
def test_a_letter_in_every_dress(letter, dress):
    assert extract_choice(dress.format(letter), letters='ABCD') == letter


@pytest.mark.parametrize('text', ['A dog barks.', 'A or B', 'I am not sure.', 'Either (A) or (B).', 'The answer is not A.', 'A is wrong.', 'apple', '\n', 'The answer is a matter of taste.', "It isn't A.", 'Answer: A dog'])
def test_no_choice(text):
    assert extract_choice(text, letters='ABCD') is None


def test_choice_takes_option_texts_and_their_letters():
    assert extract_choice('A dog', ['A cat', 'A dog']) == 'B'
    assert extract_choice('It is Paris, Texas.', {'a': 'Paris', 'b': 'Paris, Texas'}) == 'B'
    assert choice('(b)', ['A', 'B']) == 1.0
    assert choice('D', 'B', choices=['x', 'y']) == 0.0


@pytest.mark.parametrize('text', ['9' * 50000, '9,' * 20000, '1/' * 20000, '1 ' * 20000, '(' * 50000, '*' * 50000, 'A,' * 20000, 'A or ' * 9000, 'answer is ' * 6000, 'the answer ' * 6000, ' ' * 50000, '\n' * 50000, r'\frac{' * 9000,
    r'\boxed{' * 9000, '10^' * 20000, '- ' * 20000, '$ ' * 20000, 'a' * 50000, '10 ' * 20000, '1.' * 20000, '"A' * 20000, '_A' * 20000, '```' * 9000, 'answer:' + ' ' * 50000, '-' + ' ' * 50000])
def test_no_input_takes_long(text):
    start = time.perf_counter()
    extract_choice(text); extract_number(text); score('contains', text, 'x'); score('token_f1', text, 'x'); score('exact', text, 'x')
    assert time.perf_counter() - start < 3


def test_absurd_numbers_are_no_numbers():
    assert find_numbers('1e99999999') == [] and find_numbers('10^99999999999') == [] and find_numbers('9' * 5000) == []
    assert find_numbers('1/0') == []


@pytest.mark.parametrize('text, want', [('−3', -3), ('-1/2', -.5), ('50%', .5), ('5 - 3 = 2', 2), ('range 3–5', 5), ('1.5e-3', .0015), ('the answer is $\\frac{-3}{4}$', -.75), ('The answer is: 1 234', 1), ('x = -7', -7), ('(-7)', -7), ('answer: "18"', 18), ('3 1/4', 3.25)])
def test_number_readings(text, want):
    assert number(text, want, rel_tol=1e-9) == 1.0, (text, extract_number(text))


def test_references():
    assert accepted(np.array(['a', 'b'])) == ['a', 'b']
    assert accepted(np.float64(2.5)) == ['2.5']
    assert accepted('[not json') == ['[not json']
    assert accepted('["a"') == ['["a"']
    assert accepted('[' * 100000)  # a reference that would exhaust the JSON reader's stack stays a text
    for bad in (None, math.nan, [], [None]):
        for metric in ('exact', 'number', 'choice', 'token_f1', 'contains'):
            with pytest.raises(ValueError, match='reference is empty'): score(metric, 'x', bad)
    assert score('exact', math.nan, 'x') is None
    assert exact(5, 5) == 1.0 and contains('in 1984', [1984]) == 1.0 and token_f1('x', json.dumps(['y', 'x'])) == 1.0


def test_errors_name_the_thing():
    with pytest.raises(ValueError, match="unknown metric 'f1'; known: bleu"): score('f1', 'x', 'x')
    with pytest.raises(ValueError, match="'Paris' names no option letter"): choice('B', 'Paris')
    with pytest.raises(ValueError, match="'none' holds no number"): number('3', 'none')
    for metric in ('number', 'choice'):
        with pytest.raises(ValueError): score(metric, 'x', 'z z')


def test_missing_library(monkeypatch):
    import sys
    monkeypatch.setitem(sys.modules, 'sacrebleu', None)
    monkeypatch.setitem(sys.modules, 'rouge_score', None); monkeypatch.setitem(sys.modules, 'rouge_score.rouge_scorer', None)
    scoring._rouge_scorer.cache_clear()
    for metric in ('bleu', 'rouge_l'):
        with pytest.raises(ImportError, match=r'pip install "trouter\[text\]"'): score(metric, 'x', 'x')


def test_a_metric_out_of_range_is_refused(monkeypatch):
    monkeypatch.setitem(SCORERS, 'wild', lambda response, reference: 7)
    with pytest.raises(ValueError, match='outside'): score('wild', 'x', 'x')


def test_pass_at_1_is_registered():
    assert score('pass@1', '```python\ndef f(x): return x + 1\n```', ['assert f(1) == 2']) == 1.0
    assert score('pass@1', 'def f(x): return x', ['assert f(1) == 2']) == 0.0
    assert score('pass@1', None, ['assert True']) is None
