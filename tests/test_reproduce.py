"The studies of the cold start: resumed, drawn, and refused where the name is wrong."
import json, subprocess, sys

import numpy as np
import pytest

from trouter.experiments import cold_start
from trouter.experiments.ablations import at_level, real_labels
from trouter.experiments.reproduce import STUDIES, Data, figure_of, only_plain, result_table, run_studies, run_study
from trouter.outcomes.synthetic_sets import synthetic_taxonomy
from trouter.routing.encoder import Encoder


@pytest.fixture(scope='module')
def data():
    "A tenth of the shipped data, so that a study takes seconds."
    whole = Data.shipped(Encoder(progress=False))
    some = lambda a, n: a.take(np.sort(np.random.default_rng(0).permutation(len(a))[:n]))
    return Data(some(whole.real, 120), {'strong': some(whole.sets['strong'], 300)}, whole.encoder)


def test_a_study_is_not_run_again(data, tmp_path):
    said = []
    first = run_studies(tmp_path, ['shots'], 1, 'plain', data, progress=False, show=said.append)['shots']
    stamp = (tmp_path/'shots.json').stat().st_mtime_ns
    again = run_study('shots', data, tmp_path, 1, 'plain', False, said.append)
    assert (tmp_path/'shots.json').stat().st_mtime_ns == stamp and again == json.loads((tmp_path/'shots.json').read_text())
    assert said[-1] == 'shots: there already' and (tmp_path/'shots.png').read_bytes()[:4] == b'\x89PNG'
    assert set(first['routers']) == set(again['routers']) and 'trouter @ 1 shots' in again['routers'] and not any('paper' in n for n in again['routers'])


def test_an_interrupted_study_goes_on(data, tmp_path, monkeypatch):
    fitted, attempt = [], cold_start.attempt
    def until(n):
        def counted(name, *args):
            if len(fitted) == n: raise KeyboardInterrupt
            fitted.append(name); return attempt(name, *args)
        return counted
    study = lambda folder: run_studies(folder, ['remedies'], 1, 'plain', data, progress=False, show=lambda line: None)['remedies']['routers']
    monkeypatch.setattr(cold_start, 'attempt', until(7))
    with pytest.raises(KeyboardInterrupt): study(tmp_path)
    assert not (tmp_path/'remedies.json').exists() and len(list((tmp_path/'runs').iterdir())) == 7
    monkeypatch.setattr(cold_start, 'attempt', until(10 ** 6))
    resumed = study(tmp_path)
    assert sorted(fitted) == sorted(resumed)                                   # every row was fitted once
    assert {n: r['utility_sum'] for n, r in resumed.items()} == {n: r['utility_sum'] for n, r in study(tmp_path/'afresh').items()}


def test_recorded_utilities_follow_from_performance_and_cost(data, tmp_path):
    result = run_study('shots', data, tmp_path, 2, 'plain', False, lambda line: None)
    for name, row in result['routers'].items():
        for p, (mu_r, mu_c) in result['settings']['preferences'].items():
            assert row['utility'][p]['mean'] == pytest.approx(mu_r * row['performance'][p]['mean'] - mu_c * row['cost'][p]['mean'], abs=1e-9), (name, p)
        assert row['utility_sum']['mean'] == pytest.approx(sum(u['mean'] for u in row['utility'].values()), abs=1e-9)
    table = result_table(result)
    assert table.loc['adaptive', 'recovered'] == pytest.approx(0) and table.loc['trouter @ in-domain', 'recovered'] == pytest.approx(1)


def test_every_study_names_its_routers_and_can_be_drawn(data):
    for name, make in STUDIES.items():
        study = make(data)
        assert study.about.endswith('?') and study.routers and study.sources
        rows = [f'{r} @ {s}' for r in study.routers for s in study.sources] + ['adaptive', 'trouter @ in-domain']
        fake = {'study': name, 'about': study.about, 'routers': {r: {'interval': dict(mean=.5, low=.4, high=.6), 'utility_sum': dict(mean=.5, std=.01)} for r in rows}}
        assert figure_of(fake).axes
    assert set(only_plain(STUDIES['assumptions'](data).routers)) == {'trouter:cold', 'trouter', 'true types, cold', 'metric'}


def test_real_labels_name_types_of_the_taxonomy():
    taxonomy, data = synthetic_taxonomy(), Data.shipped()
    known = {taxonomy.path(n.id) for n in taxonomy.leaves}
    assert set(real_labels()) == set(data.real.types) and all(paths and set(paths) <= known for paths in real_labels().values())
    coarse = at_level(data.sets['strong'], 0, taxonomy)
    assert set(coarse.types) == {n.name for n in taxonomy.at(0)} and set(coarse.task_texts) == set(coarse.types)


def test_the_command_refuses_what_it_does_not_know(tmp_path):
    run = lambda *args: subprocess.run([sys.executable, '-m', 'trouter', 'reproduce', *args], capture_output=True, text=True)
    r = run('cold-start', '--out', str(tmp_path), '--only', 'figure-4')
    assert r.returncode == 2 and 'figure-4' in r.stderr and len(r.stderr.strip().splitlines()) == 1
    assert run('warm-start', '--out', str(tmp_path)).returncode == 2
