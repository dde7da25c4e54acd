"""The promises about time and memory at the paper's size. They want an idle machine, so they run only when asked for: pytest -m slow tests/test_speed.py -s"""
import subprocess, sys, time

import numpy as np
import pytest
import torch

from trouter.experiments.bench import RandomEncoder, ReadyVectors, compare_times, random_outcomes, random_router
from trouter.outcomes.utility import PREFERENCES
from trouter.routing.network import TaskNetwork, fit_network, step_seconds
from trouter.routing.trouter import FORMS, TRouter

pytestmark = pytest.mark.slow
K, M, N = 447, 6, 13_410     # the paper: 447 task types with 30 training pairs each, six models


def sizes(form): return {k: FORMS[form][k] for k in ('d_tower', 'layers', 'head_layers', 'dropout')}


@pytest.mark.parametrize('form,least', [('paper', 20), ('code', 20)])
def test_a_training_step_is_many_times_faster_than_the_naive_one(form, least):
    torch.manual_seed(0)
    net = TaskNetwork(384, 2 * M, **sizes(form))
    split, naive = step_seconds(net.forward, net, K=K, repeats=5), step_seconds(net.naive_forward, net, K=K, repeats=2)
    print(f'\n{form}: naive {naive * 1e3:.0f} ms, split {split * 1e3:.0f} ms, {naive / split:.0f} times faster')
    assert naive / split > least


@pytest.mark.parametrize('form,most', [('paper', 30), ('code', 90)])     # the deep pair network is bound by its matrix products: 2 cores need about 50 s
def test_one_epoch_at_the_papers_size(form, most):
    rng = np.random.default_rng(0)
    data = lambda n: (rng.normal(size=(n, 384)).astype(np.float32), rng.integers(K, size=n), rng.random((n, 2 * M)).astype(np.float32))
    D, train, valid = rng.normal(size=(K, 384)).astype(np.float32), data(N), data(32)
    started = time.perf_counter()
    fit_network(train, valid, D, sizes(form), epochs=1)
    seconds = time.perf_counter() - started
    print(f'\n{form}: one epoch of {N} pairs, K = {K}, M = {M}: {seconds:.1f} s')
    assert seconds < most


@pytest.mark.parametrize('form', ['slopes', 'plain', 'paper', 'code'])
def test_overhead_of_one_query(form):
    torch.set_num_threads(1)
    router = random_router(K, M, form=form, epochs=1) if form in ('paper', 'code') else random_router(K, M, form=form)
    ready, queries = ReadyVectors(), [f'query number {i} about something of the usual length, thirty words or so, as people ask them' for i in range(300)]
    ready.known = dict(zip(queries, RandomEncoder().encode(queries)))
    router.encoder = ready
    ms = compare_times({'router': lambda q: router.choose([q], PREFERENCES['balanced'])}, queries)['router']['p50_ms']
    print(f'\n{form}: {ms:.3f} ms a query beyond the encoder')
    if form in ('slopes', 'plain', 'paper'): assert ms < .3


def test_training_at_zeroeval_size():
    "4,400 queries, 58 types, 6 models, from embeddings that are there."
    train = random_outcomes(58, M, per_type=76)
    started = time.perf_counter()
    TRouter(encoder=RandomEncoder(), progress=False).fit(train, random_outcomes(58, M, per_type=11, seed=1))
    seconds = time.perf_counter() - started
    print(f'\n{len(train)} queries, 58 types, 6 models: {seconds:.1f} s')
    assert seconds < 60


PROGRAM = """
from trouter.experiments.bench import random_outcomes, RandomEncoder
from trouter.outcomes.utility import PREFERENCES
from trouter.routing.encoder import Encoder
from trouter.routing.trouter import TRouter
train = random_outcomes(447, 6, per_type=30)
router = TRouter(form={form!r}, encoder=RandomEncoder(), epochs=1, progress=False).fit(train, random_outcomes(447, 6, per_type=1, seed=1))
router.encoder = Encoder(progress=False)
router.route(['What is 2 + 2?'])
# not getrusage: a child's ru_maxrss starts from the size its parent had when it was started
print(next(int(line.split()[1]) / 1024 for line in open('/proc/self/status') if line.startswith('VmHWM')))
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
@pytest.mark.parametrize('form', ['slopes', 'plain', 'paper', 'code'])
def test_memory_of_training_and_routing(form):
    mb = float(subprocess.run([sys.executable, '-c', PROGRAM.format(form=form)], capture_output=True, text=True, check=True).stdout)
    print(f'\n{form}: {mb:.0f} MB at most, the encoder and the libraries included')
    assert mb < 1024
