"Rivals: what the notebooks are the wrong place for, that is odd pools, ties, missing data and files."
from dataclasses import replace

import numpy as np
import pytest

from trouter.outcomes.table import OutcomeArrays
from trouter.outcomes.utility import PREFERENCES, CostScale, Preference, best_single, oracle_choice, realised
from trouter.pool.models import CandidateModel, Pool
from trouter.rivals import baselines, learned
from trouter.rivals.baselines import (Adaptive, BestSingle, Cheapest, Dearest, Largest, Oracle, Random, ReachableOracle, Smallest, StaticTable, TrueTable, Unsuitable,
                                      adaptive_position, deepest_known, flip_rate, hashed_uniform, reachable_oracle, reachable_outcomes, size_in_name)
from trouter.rivals.learned import KNN, MetricRouter, Ridge
from trouter.routing.router import Router, RouterFileError, load_router

BALANCED = PREFERENCES['balanced']
TYPES = ['a/x', 'a/y', 'b']


class LetterEncoder:
    "Counts of letters: a vector per text without any model."
    model_name = None
    def encode(self, texts):
        rows = np.array([[t.count(c) for c in 'abcdefghij '] for t in texts], np.float32) + .1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def world(n=120, models=('cheap-1B', 'mid-8B', 'dear-70B'), S=3, seed=0, types=True, cost=True):
    rng = np.random.default_rng(seed)
    M, y = len(models), rng.integers(3, size=n)
    skill = np.linspace(.3, .9, M) * np.array([1., .8, .5])[y][:, None] + .05
    samples = (rng.random((n, M, S)) < skill[..., None]).astype(float)
    queries = [f'{"adg"[k] * rng.integers(3, 9)} {"behcfij"[rng.integers(7)]} number {i}' for i, k in enumerate(y)]
    price = np.geomspace(.1, 10, M)
    pool = Pool([CandidateModel(m, p, 2 * p) for m, p in zip(models, price)])
    return OutcomeArrays([f'q{i}' for i in range(n)], queries, [TYPES[k] if types else None for k in y], list(models), samples.mean(2),
                         rng.lognormal(0, .2, (n, M)) * price * 1e-5 if cost else None, samples if S > 1 else None, pool)


def parts(arrays, kind='pool', seed=0):
    train, valid, test = arrays.split((.6, .2, .2), seed)
    if arrays.cost is None: return train, valid, test
    scale = CostScale.fit(train, kind)
    return tuple(scale.apply(a) for a in (train, valid, test))


def small_metric(encoder=None, seed=0): return MetricRouter(encoder, seed, hidden=8, epochs=3)


SAVED = [Random, Cheapest, Dearest, Smallest, Largest, Adaptive, BestSingle, StaticTable, TrueTable, KNN, Ridge, small_metric]
HINDSIGHT = [Oracle, ReachableOracle]


@pytest.mark.parametrize('make', SAVED)
@pytest.mark.parametrize('kind', ['pool', 'task'])
def test_save_and_load(make, kind, tmp_path):
    train, valid, test = parts(world(), kind)
    router = make(encoder=LetterEncoder(), seed=3).fit(train, valid)
    router.save(tmp_path/'r')
    again = load_router(tmp_path/'r', encoder=LetterEncoder())
    assert (again.models, again.name, again.seed, again.with_cost) == (router.models, router.name, 3, True)
    for r in (router, again): r.reveal(test)
    for p in [*PREFERENCES.values(), Preference(.37, .63)]:
        assert np.array_equal(again.scores(test.queries, p), router.scores(test.queries, p))
        assert np.array_equal(again.choose(test.queries, p), router.choose(test.queries, p))
    assert [d.to_dict() for d in again.route(test.queries, 'balanced')] == [d.to_dict() for d in router.route(test.queries, 'balanced')]


@pytest.mark.parametrize('make', HINDSIGHT)
def test_hindsight_is_not_saved(make, tmp_path):
    with pytest.raises(ValueError, match='cannot be saved'): make().fit(parts(world())[0]).save(tmp_path/'r')
    assert not (tmp_path/'r').exists()


@pytest.mark.parametrize('make', [KNN, Ridge, small_metric, StaticTable])
def test_weights_of_another_router_are_refused(make, tmp_path):
    train, valid, _ = parts(world())
    make(encoder=LetterEncoder()).fit(train, valid).save(tmp_path/'r')
    BestSingle().fit(train).save(tmp_path/'other')
    (tmp_path/'r'/'weights.safetensors').write_bytes((tmp_path/'other'/'weights.safetensors').read_bytes())
    with pytest.raises(RouterFileError, match='weights.safetensors'): load_router(tmp_path/'r')


@pytest.mark.parametrize('make', [*SAVED, Oracle])
@pytest.mark.parametrize('M', [1, 2, 7])
def test_pools_of_every_size(make, M):
    arrays = world(models=[f'm{i}-{i + 1}B' for i in range(M)])
    train, valid, test = parts(arrays)
    router = make(encoder=LetterEncoder()).fit(train, valid)
    router.reveal(test)
    for p in PREFERENCES.values():
        s, c = router.scores(test.queries, p), router.choose(test.queries, p)
        assert s.shape == (len(test), M) and np.isfinite(s).all()
        assert c.shape == (len(test),) and c.min() >= 0 and c.max() < M


@pytest.mark.parametrize('make', [*SAVED, Oracle])
def test_one_training_record(make):
    train, valid, test = parts(world())
    router = make(encoder=LetterEncoder()).fit(train.take([0]))
    router.reveal(test)
    assert router.choose(test.queries, BALANCED).shape == (len(test),)


@pytest.mark.parametrize('make', [KNN, Ridge, small_metric, StaticTable, BestSingle])
def test_quality_only(make, tmp_path):
    train, valid, test = parts(world(cost=False))
    router = make(encoder=LetterEncoder()).fit(train, valid)
    assert router.predict(test.queries).cost is None
    assert np.array_equal(router.scores(test.queries, PREFERENCES['cost-first']), router.scores(test.queries, PREFERENCES['performance-first']))
    router.save(tmp_path/'r')
    assert load_router(tmp_path/'r', LetterEncoder()).predict(test.queries).cost is None


@pytest.mark.parametrize('make', [KNN, Ridge, small_metric])
def test_no_queries_no_answers(make):
    train, valid, _ = parts(world())
    router = make(encoder=LetterEncoder()).fit(train, valid)
    assert router.predict([]).performance.shape == (0, 3) and router.route([]) == []


@pytest.mark.parametrize('make', [KNN, Ridge, small_metric, StaticTable])
def test_embeddings_stand_for_texts(make):
    train, valid, test = parts(world())
    router = make(encoder=LetterEncoder()).fit(train, valid)
    assert np.allclose(router.scores(LetterEncoder().encode(test.queries), BALANCED), router.scores(test.queries, BALANCED))


def test_same_seed_same_router():
    train, valid, test = parts(world())
    one, two, other = (small_metric(LetterEncoder(), s).fit(train, valid).predict(test.queries).performance for s in (1, 1, 2))
    assert np.array_equal(one, two) and not np.array_equal(one, other)


def test_oracle_is_an_upper_bound():
    train, valid, test = parts(world(), 'task')
    for p in PREFERENCES.values():
        oracle = Oracle().fit(train); oracle.reveal(test)
        top = realised(test, oracle.choose(test.queries, p), p)['utility']
        assert np.allclose(top, realised(test, oracle_choice(test.performance, test.normalised_cost, p), p)['utility'])
        for make in SAVED:
            router = make(encoder=LetterEncoder()).fit(train, valid); router.reveal(test)
            assert (realised(test, router.choose(test.queries, p), p)['utility'] <= top + 1e-12).all()


def test_best_single_looks_at_training_only():
    train, _, test = parts(world())
    flipped = replace(test, performance=1 - test.performance)
    for p in PREFERENCES.values():
        router = BestSingle().fit(train); router.reveal(flipped)
        assert set(router.choose(flipped.queries, p)) == {best_single(train, p)}


def test_ties_go_to_the_cheaper():
    arrays = world(models=['dear', 'cheap'], cost=False)
    same = replace(arrays, performance=np.ones((len(arrays), 2)), cost=np.tile([2e-3, 1e-3], (len(arrays), 1)))
    train, _, test = parts(same)
    for router in (BestSingle(), TrueTable(), Oracle(), KNN(LetterEncoder()), Ridge(LetterEncoder())):
        router.fit(train); router.reveal(test)
        assert set(router.choose(test.queries, Preference(1., 0.))) == {1}, router.name


def test_cheap_is_what_was_paid_not_what_is_listed():
    arrays = world(models=['talks-much', 'terse'])
    train = parts(replace(arrays, cost=arrays.cost[:, ::-1].copy()))[0]
    assert Cheapest().fit(train).model_for(BALANCED) == 1 and Dearest().fit(train).model_for(BALANCED) == 0
    assert Adaptive().fit(train).model_for(PREFERENCES['cost-first']) == 0       # by list price, known beforehand


def test_mixed_currencies_have_no_list_price():
    train = parts(world(cost=False))[0]
    mixed = replace(train, pool=Pool([replace(m, currency=c) for m, c in zip(train.pool, ('USD', 'EUR', 'USD'))]))
    with pytest.raises(Unsuitable, match='no model is the cheapest'): Cheapest().fit(mixed)


def test_adaptive_positions():
    for M in range(1, 9):
        places = [adaptive_position(mu, M) for mu in np.linspace(0, 1, 101)]
        assert places[0] == places[20] == 0 and places[80] == places[100] == M - 1
        assert places == sorted(places) and set(places) == set(range(M))
        assert places[50] == (M - 1) // 2


@pytest.mark.parametrize('name, size', [('Llama-3.1-405B', 405), ('qwen2.5-0.5b-instruct', .5), ('Mixtral-8x22B', 176), ('smollm2-135M', .135), ('gpt-4', None), ('o1-mini-2024-09-12', None),
                                        ('phi-3-mini-4k', None), ('7B', 7), ('model-b', None), ('yi-34b-chat', 34), ('70billion', None)])
def test_size_in_name(name, size): assert size_in_name(name) == size


def test_given_size_beats_the_name():
    train = parts(world())[0]
    pool = Pool([replace(m, size=s) for m, s in zip(train.pool, (300., 2., 1.))])
    assert Largest().fit(replace(train, pool=pool)).model_for(BALANCED) == 0 and Largest().fit(train).model_for(BALANCED) == 2
    assert Smallest().fit(replace(train, pool=pool)).by == 'size' and Smallest().fit(train).by == 'size in the name'


def test_unknown_size_falls_back_to_cost_and_says_so():
    router = Largest().fit(parts(world(models=['a-1B', 'b', 'c-3B']))[0])
    assert router.by == 'recorded cost, since the size of b is unknown' and router.model_for(BALANCED) == 2
    assert 'votes' in router.route(['hello'])[0].note


def test_random_is_even_and_repeatable():
    texts = [f'query {i}' for i in range(5000)]
    u = hashed_uniform(texts, 5, seed=7)
    assert u.min() >= 0 and u.max() < 1 and np.abs(u.mean(0) - .5).max() < .02
    assert np.abs(np.bincount(u.argmax(1), minlength=5) / 5000 - .2).max() < .03
    assert np.abs(np.corrcoef(u.T) - np.eye(5)).max() < .06
    assert np.array_equal(hashed_uniform(texts[::-1], 5, 7)[::-1], u) and not np.array_equal(hashed_uniform(texts, 5, 8), u)
    assert hashed_uniform(['\ud800', 'é'], 2).shape == (2, 2)


def test_unseen_and_missing_types():
    train, _, test = parts(world())
    table = TrueTable().fit(train)
    names = ['a/never', 'zebra', None, 'a/x/deeper']
    table.reveal(replace(test.take(range(4)), task_types=names))
    p = table.predict(test.queries[:4])
    node = {n: table.values[table.names.index(n)][:, 0] for n in ('a', '', 'a/x')}
    for got, want in zip(p.performance, (node['a'], node[''], node[''], node['a/x'])): assert np.array_equal(got, want)
    assert np.allclose(node[''], train.performance.mean(0))


def test_some_records_without_type():
    train, valid, test = parts(world())
    holes = replace(train, task_types=[None if i % 3 else t for i, t in enumerate(train.task_types)])
    static = StaticTable(LetterEncoder()).fit(holes, valid)
    assert static.types == TYPES and np.allclose(static.posterior(test.queries).sum(1), 1, atol=1e-5)
    assert len(static.route(test.queries[:1])[0].task_types) == 3


@pytest.mark.parametrize('make', [StaticTable, TrueTable])
def test_no_types_at_all(make):
    with pytest.raises(Unsuitable, match='no task types'): make(encoder=LetterEncoder()).fit(parts(world(types=False))[0])


def test_hindsight_answers_only_what_it_was_shown():
    train, _, test = parts(world())
    for router in (Oracle().fit(train), TrueTable().fit(train)):
        with pytest.raises(ValueError, match='reveal'): router.choose(test.queries, BALANCED)
        router.reveal(test)
        with pytest.raises(ValueError, match='in their order'): router.choose(test.queries[::-1], BALANCED)
        with pytest.raises(ValueError, match='in their order'): router.choose(test.queries[:2], BALANCED)


def test_reachable_oracle_by_hand():
    X = np.array([[[1., 1.], [0., 0.]], [[0., 1.], [1., 0.]]])     # the second query: each run names the model that then fails
    arrays = OutcomeArrays(['a', 'b'], ['a', 'b'], [None] * 2, ['m', 'n'], X.mean(2), None, X)
    out = reachable_outcomes(arrays, BALANCED)
    assert out['performance'].tolist() == [1., 0.] and out['votes'].tolist() == [[1., 0.], [.5, .5]] and out['cost'] is None
    assert reachable_oracle(arrays, BALANCED)['single_sample_oracle'] == 1.
    assert flip_rate(arrays, {'p': BALANCED}) == {'cells': .5, 'winners': {'p': .5}}


def test_reachable_oracle_shares_ties_unless_given_a_prior():
    X = np.array([[[1., 1.], [1., 1.]], [[1., 1.], [0., 0.]], [[0., 0.], [0., 0.]]])
    arrays = OutcomeArrays(list('abc'), list('abc'), [None] * 3, ['m', 'n'], X.mean(2), None, X)
    assert reachable_outcomes(arrays, BALANCED, weight=1)['votes'].tolist() == [[1., 0.]] * 3
    assert reachable_outcomes(arrays, BALANCED)['votes'].tolist() == [[.5, .5], [1., 0.], [.5, .5]]


def test_reachable_oracle_never_uses_the_sample_it_is_judged_on():
    arrays = parts(world(n=300))[0]
    for s in range(3):
        X = arrays.samples.copy(); X[:, :, s] = np.random.default_rng(s).random(X.shape[:2])
        prior = np.full(arrays.performance.shape, .5)
        votes = [baselines.leave_one_out_votes(x, prior, arrays.normalised_cost, BALANCED, s) for x in (arrays.samples, X)]
        assert np.array_equal(*votes)
    one = arrays.performance.copy(); one[7] = 1 - one[7]
    before, after = (baselines.means_of_others(r, arrays.task_types)[7] for r in (arrays.performance, one))
    assert np.allclose(before, after)


def test_reachable_oracle_skips_what_was_run_once():
    arrays = parts(world(S=3))[0]
    X = arrays.samples.copy(); X[0, 1, 1:] = np.nan; X[1, 2, 2] = np.nan
    out = reachable_outcomes(replace(arrays, samples=X), BALANCED)
    assert np.isnan(out['utility'][0]) and np.isfinite(out['utility'][1:]).all()
    assert reachable_oracle(replace(arrays, samples=X), BALANCED)['judged'] == len(arrays) - 1
    assert np.allclose(np.nansum(out['votes'], 1)[1:], 1)


def test_reachable_oracle_is_below_the_lucky_one_and_above_none():
    arrays = parts(world(n=2000))[0]
    for p in PREFERENCES.values():
        r = reachable_oracle(arrays, p)
        assert r['utility'] < r['single_sample_oracle']
    pure_luck = replace(arrays, samples=(np.random.default_rng(0).random(arrays.samples.shape) < .5).astype(float), normalised_cost=None)
    r = reachable_oracle(pure_luck, BALANCED)
    assert abs(r['utility'] - .5) < .03 and r['single_sample_oracle'] > .8


def test_one_sample_is_refused():
    train = parts(world(S=1))[0]
    for action in (lambda: ReachableOracle().fit(train), lambda: reachable_oracle(train, BALANCED), lambda: flip_rate(train, PREFERENCES)):
        with pytest.raises(Unsuitable, match='one sample'): action()


def test_knn_is_the_mean_of_the_nearest():
    train, valid, test = parts(world())
    E, Z = (LetterEncoder().encode(a.queries) for a in (train, test))
    near = np.argsort(-(Z @ E.T), axis=1, kind='stable')[:, :1]
    s = np.sort(Z @ E.T, axis=1)
    clear = s[:, -1] > s[:, -2] + 1e-6
    got = KNN(LetterEncoder(), k=1).fit(train).predict(test.queries)
    assert clear.any() and np.array_equal(got.performance[clear], train.performance[near[clear, 0]]) and np.array_equal(got.cost[clear], train.normalised_cost[near[clear, 0]])


@pytest.mark.parametrize('k', [0, -3, 2.5, 'best', None])
def test_bad_k(k):
    with pytest.raises(ValueError, match='knn: k must be'): KNN(k=k)


def test_ridge_with_fewer_records_than_dimensions():
    train, valid, test = parts(world())
    few = train.take(range(4))
    assert np.isfinite(Ridge(LetterEncoder()).fit(few, valid).predict(test.queries).performance).all()
    assert Ridge(LetterEncoder()).fit(train, valid).used_penalty in Ridge.grid


def test_every_class_can_be_loaded_by_name():
    for module in (baselines, learned):
        for cls in vars(module).values():
            if isinstance(cls, type) and issubclass(cls, Router) and cls.__module__ == module.__name__: assert Router.registry[cls.__name__] is cls
