"""TRouter as a whole: all forms, the split computation against the naive one, reproducibility, odd queries, damaged files."""
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from trouter.outcomes.table import OutcomeArrays
from trouter.outcomes.utility import PREFERENCES, CostScale, best_single, realised
from trouter.pool.models import CandidateModel, Pool
from trouter.routing.encoder import Encoder
from trouter.routing.network import PairPosterior, TaskNetwork, fit_network
from trouter.routing.router import RouterFileError, load_router
from trouter.routing.trouter import FORMS, TRouter

KINDS = {'math/sum': 'What is {a} plus {b}?', 'code/python': 'Write a Python function that adds {a} to each of {b} numbers.',
         'chat/poem': 'Write a poem of {a} lines about {b} birds.', 'chat/translate': 'Translate into French: I have {a} cats and {b} dogs.'}
SKILL = {'math/sum': (.2, .9), 'code/python': (.1, .8), 'chat/poem': (.85, .9), 'chat/translate': (.8, .85)}   # small, large


@pytest.fixture(scope='module')
def encoder(tmp_path_factory): return Encoder(cache_dir=tmp_path_factory.mktemp('cache'), progress=False)


@pytest.fixture(scope='module')
def world():
    "400 queries of four types; the large model is better at two of them and ten times as dear."
    rng, rows = np.random.default_rng(0), []
    for i in range(400):
        kind = list(KINDS)[i % 4]
        rows.append((kind, KINDS[kind].format(a=rng.integers(2, 999), b=rng.integers(2, 999))))
    r = (rng.random((400, 2)) < np.array([SKILL[k] for k, _ in rows])).astype(float)
    cost = rng.uniform(1, 2, (400, 1)) * np.array([[1e-5, 1e-4]])
    pool = Pool([CandidateModel('small', .1, .1), CandidateModel('large', 1., 1.)])
    arrays = OutcomeArrays([str(i) for i in range(400)], [q for _, q in rows], [k for k, _ in rows], pool.names, r, cost, pool=pool)
    parts = arrays.split(seed=0)
    scale = CostScale.fit(parts[0], 'pool')
    return tuple(scale.apply(part) for part in parts)


def fitted(form, encoder, world, **settings): return TRouter(form, encoder, progress=False, **settings).fit(*world[:2])


@pytest.mark.parametrize('form', FORMS)
def test_every_form_learns_and_survives_saving(form, encoder, world, tmp_path):
    router = fitted(form, encoder, world, lr=1e-3, epochs=30)
    test = world[2]
    for name, p in PREFERENCES.items():
        u = realised(test, router.choose(test.queries, p), p)['utility'].mean()
        single = realised(test, np.full(len(test), best_single(world[0], p)), p)['utility'].mean()
        assert u > single - .03, name
    assert router.report['recognition_top1'] > .9
    router.save(tmp_path/'r')
    again = load_router(tmp_path/'r', encoder)
    a, b = router.predict(test.queries), again.predict(test.queries)
    np.testing.assert_allclose(a.performance, b.performance, atol=1e-6)
    np.testing.assert_allclose(a.cost, b.cost, atol=1e-6)
    assert [str(d) for d in again.route(test.queries[:5])] == [str(d) for d in router.route(test.queries[:5])]


@pytest.mark.parametrize('form', ['paper', 'code'])
def test_split_layer_and_table_equal_the_naive_computation(form):
    "What routing computes (split first layer, heads as a table, arrays) against eq. (8) as it reads, to 1e-5."
    sizes = {k: FORMS[form][k] for k in ('d_tower', 'layers', 'head_layers', 'dropout')}
    rng = np.random.default_rng(0)
    E, D = rng.normal(size=(200, 384)).astype(np.float32), rng.normal(size=(30, 384)).astype(np.float32)
    y, Y = rng.integers(30, size=200), rng.random((200, 12)).astype(np.float32)
    net, _ = fit_network((E, y, Y), (E[:50], y[:50], Y[:50]), D, sizes, lr=1e-3, epochs=3)
    net.eval()
    with torch.no_grad():
        logits, h = net.naive_forward(torch.tensor(E), torch.tensor(D))
        table = net.heads(net.recogniser.type_tower(torch.tensor(D))).numpy()
    l = PairPosterior.of(net, D).posterior(E)
    np.testing.assert_allclose(l, logits.softmax(1).numpy(), atol=1e-5)
    np.testing.assert_allclose(l @ table, h.numpy(), atol=1e-5)


@pytest.mark.parametrize('form', ['slopes', 'paper'])
def test_same_seed_same_router(form, encoder, world):
    a, b = (fitted(form, encoder, world, epochs=3).predict(world[2].queries) for _ in range(2))
    np.testing.assert_array_equal(a.performance, b.performance)
    np.testing.assert_array_equal(a.cost, b.cost)


@pytest.mark.parametrize('query', ['x' * 100_000, 'word ' * 20_000, '🦜🦜🦜', 'ما هي عاصمة فرنسا؟', '\u202eright to left\u202c', '0', '\n\n?\n', 'a\x00b', '\ud800'])
def test_odd_queries_get_a_sound_decision(query, encoder, world):
    router = fitted('slopes', encoder, world)
    d = router.route([query], 'balanced')[0]
    assert d.model in router.models and np.isfinite(d.utility) and d.margin >= 0 and len(d.task_types) == 4
    assert abs(sum(p for _, p in d.task_types) - 1) < 1e-4
    json.dumps(d.to_dict())


@pytest.mark.parametrize('query', ['', '   ', '\n\t'])
def test_an_empty_query_is_named(query, encoder, world):
    with pytest.raises(ValueError, match='query 1 is empty'): fitted('plain', encoder, world).route(['fine', query])


def test_damaged_router_files_are_refused(encoder, world, tmp_path):
    fitted('slopes', encoder, world).save(tmp_path)
    weights, config = (tmp_path/'weights.safetensors').read_bytes(), (tmp_path/'config.json').read_text()
    for data in (weights[:100], weights[:-1], b'', weights[:200] + b'\x00' * 8 + weights[208:]):
        (tmp_path/'weights.safetensors').write_bytes(data)
        with pytest.raises(RouterFileError, match='weights.safetensors'): load_router(tmp_path)
    (tmp_path/'weights.safetensors').write_bytes(weights)
    for text, message in ((config[:200], 'damaged'), ('{}', 'no format_version'), (config.replace('"format_version": 1', '"format_version": 2'), 'newer'), (config.replace('"types"', '"typos"'), 'garbles')):
        (tmp_path/'config.json').write_text(text)
        with pytest.raises(RouterFileError, match=message): load_router(tmp_path)


def test_quality_only_and_three_metrics(encoder, world):
    train, valid, test = (replace(a, cost=None, normalised_cost=None, scale=None) for a in world)
    router = TRouter('slopes', encoder).fit(train, valid)
    assert router.metrics == ['performance'] and router.predict(test.queries).cost is None
    assert router.models[router.choose(test.queries, PREFERENCES['cost-first'])[0]] == 'large', 'quality only: the better model at sums'
    train, valid, test = (replace(a, extra={'latency': a.cost * 1e4 + 1}) for a in world)
    router = TRouter('slopes', encoder).fit(train, valid)
    assert router.metrics == ['performance', 'cost', 'latency']
    assert abs(router.predict(test.queries).extra['latency'].mean() - test.extra['latency'].mean()) < .1


def test_unknown_types_in_validation_do_not_break_fitting(encoder, world):
    train, valid, _ = world
    for form in ('slopes', 'paper'):
        odd = replace(valid, task_types=['new/type'] * len(valid))
        assert TRouter(form, encoder, epochs=2, progress=False).fit(train, odd).report['recognition_top1'] is None


def test_adding_a_model_leaves_the_rest_alone(encoder, world):
    train, valid, test = world
    for form in ('slopes', 'paper'):
        router = fitted(form, encoder, world, epochs=5)
        before = router.predict(test.queries)
        probes = replace(train.take(range(40)), models=['new'], performance=np.ones((40, 1)), cost=train.cost[:40, :1] / 10, normalised_cost=None)
        router.add_model(CandidateModel('new', .01, .01), probes)
        after = router.predict(test.queries)
        np.testing.assert_allclose(after.performance[:, :2], before.performance, atol=1e-6)
        assert after.performance.shape[1] == 3 and router.pool.names[-1] == 'new'
        if form == 'slopes': assert set(router.choose(test.queries, PREFERENCES['balanced'])) == {2}, 'always right and ten times cheaper'
