"The harness: its figures against direct computation, and its manners with odd data and odd routers."
import json, math
from dataclasses import replace

import numpy as np
import pytest

from test_rivals import LetterEncoder, world
from trouter.experiments import evaluate as module
from trouter.experiments.evaluate import (ROUTERS, EvaluationError, Report, evaluate, interval, make_router, mean_std, name_routers, noise_of, plain, recognition, remembered,
                                          split_and_scale)
from trouter.outcomes.utility import PREFERENCES, CostScale, Preference, realised
from trouter.rivals.baselines import Cheapest, Random
from trouter.rivals.learned import KNN, MetricRouter, Ridge
from trouter.routing.router import MetricPredictor, Prediction, Router

EVERY = [r for r in ROUTERS if r not in ('trouter', 'metric')]


def run(arrays, routers, **settings):
    return evaluate(arrays, routers, **{'seeds': 2, 'encoder': LetterEncoder(), 'progress': False, 'resamples': 200, **settings})


@pytest.fixture(scope='module')
def report(): return run(world(n=150), [*EVERY, MetricRouter(hidden=8, epochs=2)], seeds=3)


def test_json_schema(report):
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert set(data) == {'routers', 'settings', 'noise'} and set(data['routers']) == {*EVERY, 'metric'}
    for name, row in data['routers'].items():
        for key in ('utility_sum', 'gap_closed'): assert set(row[key]) == {'mean', 'std'}
        for key in ('utility', 'performance', 'cost', 'cost_currency'):
            assert set(row[key]) == set(PREFERENCES) and all(set(v) == {'mean', 'std'} for v in row[key].values())
        assert set(row['interval']) == {'mean', 'low', 'high'} and row['interval']['low'] <= row['interval']['mean'] <= row['interval']['high']
        assert all(math.isclose(sum(shares.values()), 1) and list(shares) == ['cheap-1B', 'mid-8B', 'dear-70B'] for shares in row['calls'].values())
        assert row['fit_seconds'] >= 0 and row['ms_per_query'] >= 0
        assert ('nauc' in row) == (name != 'reachable-oracle') and ('recognition_top1' in row) == (name == 'static')
    s = data['settings']
    assert (s['cost_scale'], s['seeds'], s['pool'], s['n'], s['left_out'], s['currency'], s['fractions']) == ('pool', [0, 1, 2], ['cheap-1B', 'mid-8B', 'dear-70B'], 150, 0, 'USD', [.7, .1, .2])
    assert s['encoder'] == 'LetterEncoder' and s['version'] and s['date'] and s['skipped'] == {}


def test_figures_agree_with_direct_computation(report):
    arrays, sums = world(n=150), []
    for seed in range(3):
        train, valid, test = arrays.split((.7, .1, .2), seed)
        scale = CostScale.fit(train, 'pool')
        train, test = scale.apply(train), scale.apply(test)
        router = KNN(LetterEncoder()).fit(train)
        sums.append([realised(test, router.choose(test.queries, p), p)['utility'].mean() for p in PREFERENCES.values()])
    row = report.routers['knn']
    assert np.allclose([row['utility'][p]['mean'] for p in PREFERENCES], np.mean(sums, 0)) and np.allclose([row['utility'][p]['std'] for p in PREFERENCES], np.std(sums, 0))
    assert math.isclose(row['utility_sum']['mean'], np.sum(sums, 1).mean()) and math.isclose(row['utility_sum']['std'], np.sum(sums, 1).std())
    single, oracle = (report.routers[n]['utility_sum']['mean'] for n in ('best-single', 'oracle'))
    assert math.isclose(row['gap_closed']['mean'], (row['utility_sum']['mean'] - single) / (oracle - single))


def test_oracle_on_top_and_sorted(report):
    sums = [row['utility_sum']['mean'] for row in report.routers.values()]
    assert next(iter(report.routers)) == 'oracle' and sums == sorted(sums, reverse=True)
    assert report.routers['oracle']['gap_closed'] == {'mean': 1., 'std': 0.} and report.routers['best-single']['gap_closed'] == {'mean': 0., 'std': 0.}


def test_table_and_repr_and_plot(report):
    table = report.table()
    assert list(table.index) == list(report.routers) and table['utility sum'].notna().all() and 'vs trouter mean' not in table
    assert '150 queries' in repr(report) and 're-runs' in repr(report)
    assert np.allclose(report.calls('balanced').sum(axis=1), 1)
    import matplotlib
    matplotlib.use('Agg')
    figure = report.plot()
    assert len(figure.axes) == 2
    matplotlib.pyplot.close(figure)


def test_repeatable():
    one, two = (run(world(n=80), ['knn', 'random', 'ridge']).to_dict() for _ in range(2))
    for data in (one, two):
        for row in data['routers'].values(): row.pop('fit_seconds'); row.pop('ms_per_query')
    assert one == two


def test_scale_is_fitted_on_training_alone():
    arrays = world(n=100)
    train, valid, test = arrays.split((.7, .1, .2), 0)
    dear = arrays.cost.copy()
    dear[arrays.query_ids.index(test.query_ids[0])] *= 1e6
    a, b = (split_and_scale(x, (.7, .1, .2), 0, 'pool') for x in (arrays, replace(arrays, cost=dear)))
    assert a[0].scale == b[0].scale and np.array_equal(a[0].normalised_cost, b[0].normalised_cost) and b[2].normalised_cost.max() > 1e3


def test_difference_is_paired_with_trouter(monkeypatch):
    class Stand(KNN):
        name = 'trouter'
        types = ()
    report = run(world(n=100), [Stand, 'knn', 'random'])
    assert report.routers['knn']['difference_to_trouter'] == {'mean': 0., 'low': 0., 'high': 0.} and 'difference_to_trouter' not in report.routers['trouter']
    d = report.routers['random']['difference_to_trouter']
    assert math.isclose(d['mean'], report.routers['random']['utility_sum']['mean'] - report.routers['trouter']['utility_sum']['mean'], abs_tol=1e-9)
    assert 'vs trouter low' in report.table()


def test_reference_points_are_always_there():
    assert set(run(world(n=60), 'random').routers) == {'random', 'best-single', 'oracle'}


def test_own_routers_names_and_instances():
    report = run(world(n=80), {'knn-1': KNN(k=1), 'knn-20': KNN(k=20), 'a class': Ridge})
    assert set(report.routers) == {'knn-1', 'knn-20', 'a class', 'best-single', 'oracle'}
    with pytest.raises(ValueError, match="'knn' stands twice"): run(world(n=60), ['knn', KNN(k=3)])
    with pytest.raises(ValueError, match="unknown router 'magic'"): run(world(n=60), ['magic'])


def test_instances_are_copied_not_fitted():
    mine = KNN(k=3)
    run(world(n=60), [mine])
    assert not hasattr(mine, 'E') and mine.encoder is None and mine.seed == 0


def test_every_router_gets_the_seed():
    seen = []
    class Watch(Random):
        name = 'watch'
        def _fit(self, train, valid): seen.append((self.seed, len(train), valid is not None))
    run(world(n=60), [Watch], seeds=[4, 9])
    assert [s for s, *_ in seen] == [4, 9]


def test_no_validation_part():
    assert run(world(n=60), ['knn', 'ridge'], fractions=(.8, 0., .2)).settings['fractions'] == [.8, 0., .2]


@pytest.mark.parametrize('scale', ['pool', 'task'])
def test_no_types(scale):
    report = run(world(n=60, types=False), ['static', 'static-true', 'knn'], cost_scale=scale)
    assert set(report.settings['skipped']) == {'static', 'static-true'} and 'no task types' in repr(report)


def test_quality_only():
    report = run(world(n=60, cost=False), ['knn', 'cheapest', 'adaptive', 'reachable-oracle'])
    assert report.settings['mode'] == 'quality only' and report.settings['cost_scale'] is None and set(report.settings['skipped']) == {'adaptive'}
    row = report.routers['knn']
    assert not {'cost', 'cost_currency', 'nauc'} & set(row) and set(row['utility']) == {'quality'} and row['utility_sum'] == row['performance']['quality']
    assert 'quality only' in repr(report) and len(report.plot().axes) == 1
    json.dumps(report.to_dict(), allow_nan=False)


def test_pool_of_one():
    report = run(world(n=60, models=['only-1B']), [r for r in EVERY])
    assert all(row['gap_closed']['mean'] is None for row in report.routers.values())
    assert len({round(row['utility_sum']['mean'], 9) for n, row in report.routers.items()}) == 1
    json.dumps(report.to_dict(), allow_nan=False)


def test_single_samples():
    report = run(world(n=60, S=1), ['reachable-oracle', 'random'])
    assert report.noise is None and 'one sample' in report.settings['skipped']['reachable-oracle']


def test_queries_left_out_are_counted():
    assert run(replace(world(n=60), left_out=7), ['random']).settings['left_out'] == 7


def test_too_few_queries():
    with pytest.raises(ValueError, match='more queries are needed'): run(world(n=60).take([0, 1]), ['random'])
    with pytest.raises(ValueError, match='at least one split'): run(world(n=60), ['random'], seeds=0)


def broken(method, result):
    return type('Broken', (MetricPredictor,), {'name': 'broken', 'needs_encoder': False, method: result})


@pytest.mark.parametrize('router, message', [
    (broken('_fit', lambda self, t, v: 1 / 0), 'ZeroDivisionError'),
    (broken('predict', lambda self, q: Prediction(np.full((len(q), 3), np.nan), None)), 'not a finite number'),
    (broken('predict', lambda self, q: Prediction(np.zeros((2, 3)), None)), 'one column number per query'),
    (broken('choose', lambda self, q, p: np.full(len(q), 99)), 'one column number per query')])
def test_a_router_that_fails_names_itself(router, message):
    with pytest.raises(EvaluationError, match=f"router 'broken' failed on split 0: .*{message}"): run(world(n=60), ['random', router])


def test_gap_is_over_the_queries_that_were_judged():
    def ran(utility): return [{'by': {'p': {**dict.fromkeys(('utility', 'performance', 'cost', 'currency'), np.array(utility)), 'calls': {'m': 1.}}}, 'nauc': None, 'top1': None, 'rule': None, 'fit_seconds': 0., 'ms_per_query': 0.}]
    row = module._row_of(ran([1., np.nan]), ran([0., 50.]), ran([2., 99.]), ['p'], ['m'])
    assert row['gap_closed'] == {'mean': .5, 'std': 0.} and row['utility_sum']['mean'] == 1.


def test_predictions_are_computed_once():
    calls = []
    class Count(KNN):
        name = 'count'
        def predict(self, queries):
            calls.append(len(queries))
            return super().predict(queries)
    run(world(n=60), [Count], seeds=1)
    assert len(calls) == 1
    router = Count(LetterEncoder()).fit(split_and_scale(world(n=60), (.7, .1, .2), 0, 'pool')[0])
    with remembered(router): assert 'predict' in vars(router)
    assert 'predict' not in vars(router)


def test_routers_see_texts():
    class Length(MetricPredictor):
        name, needs_encoder = 'length', False
        def predict(self, queries):
            assert all(isinstance(q, str) for q in queries)
            return Prediction(np.zeros((len(queries), 3)), np.zeros((len(queries), 3)))
    assert 'length' in run(world(n=60), [Length]).routers


def test_recognition_counts_unseen_types_as_missed():
    class Says(Router):
        types = ['a/x', 'a/y']
        def posterior(self, queries): return np.tile([.9, .1], (len(queries), 1))
    test = replace(world(n=4), task_types=['a/x', 'a/y', 'never seen', None])
    assert recognition(Says(), test) == pytest.approx(1 / 3) and recognition(Random(), test) is None


def test_interval_resamples_queries():
    runs = [{'by': {'p': {'utility': np.random.default_rng(1).normal(size=50)}}}] * 2
    once, twice = interval(runs[:1], [np.arange(50)], resamples=500), interval(runs, [np.arange(50)] * 2, resamples=500)
    assert twice == pytest.approx(once)
    nothing = [{'by': {'p': {'utility': np.full(5, np.nan)}}}]
    assert interval(nothing, [np.arange(5)]) == {'mean': None, 'low': None, 'high': None}


def test_plain():
    assert plain({'a': np.float32(.5), 1: [np.nan, np.int64(3), math.inf], 'b': (None, True)}) == {'a': .5, '1': [None, 3, None], 'b': [None, True]}
    assert mean_std([None, 1., 3.]) == {'mean': 2., 'std': 1.} and mean_std([None, math.nan]) is None


def test_noise_only_where_answers_repeat():
    noise = noise_of(world(n=60), PREFERENCES, 'pool')
    assert 0 < noise['flip_rate']['cells'] < 1 and set(noise['reachable_oracle']) == set(PREFERENCES)
    assert noise_of(world(n=60, S=1), PREFERENCES, 'pool') is None


def test_make_router():
    for name in EVERY: assert make_router(name, seed=5).seed == 5 and make_router(name).name == name
    assert make_router('knn', k=7).k == 7
    for name in ('', 'TRouter', 'trouter:best', 'knn:5'):
        with pytest.raises(ValueError, match='unknown router'): make_router(name)
    assert list(name_routers(['oracle'])) == ['oracle', 'best-single']


def test_every_trouter_form():
    pytest.importorskip('trouter.routing.trouter')
    for form in module.FORMS: assert make_router(f'trouter:{form}').form == form


def test_what_a_router_learns_in_one_split_is_not_known_in_the_next():
    class Hoarder(Cheapest):
        name = 'hoarder'
        def __init__(self, encoder=None, seed=0): super().__init__(encoder, seed); self.seen = []
        def _fit(self, train, valid):
            assert not self.seen, 'something was left from another split'
            self.seen += train.queries; super()._fit(train, valid)
    assert 'hoarder' in run(world(n=80), [Hoarder()], seeds=3).routers
