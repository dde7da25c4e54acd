"""Measure every router on the public outcome sets and write one JSON file per table.

    python scripts/public_tables.py --data FOLDER_OF_SETS --out nbs/experiments/results

The public sets (zeroeval, routerbench_subset, reasoning_gym) are folders in the import format; they do not ship with the package. The fourth set,
`shipped`, does. A table that already
stands in --out is not computed again, so the run can be stopped at any time and goes on where it was. On two cores it takes about an hour, most of
it for the neural forms.
"""
import argparse, json
from pathlib import Path

from trouter.experiments.calibration import calibration_table, held_out_predictions
from trouter.experiments.evaluate import evaluate
from trouter.outcomes.shipped import load_shipped
from trouter.outcomes.table import Outcomes
from trouter.pool.models import write_atomically
from trouter.routing.encoder import Encoder
from trouter.routing.trouter import TRouter

POOLS = {
    'zeroeval': ['gemma-2-2b-it', 'Meta-Llama-3.1-8B-Instruct', 'deepseek-v2.5-0908', 'Meta-Llama-3.1-70B-Instruct', 'gpt-4o-2024-08-06', 'o1-mini-2024-09-12'],
    'routerbench_subset': None,     # all eleven
    'reasoning_gym': ['anthropic/claude-3.5-sonnet', 'anthropic/claude-sonnet-4', 'google/gemma-3-27b-it', 'meta-llama/llama-3.3-70b-instruct', 'meta-llama/llama-4-maverick', 'mistralai/mistral-small-3.1-24b-instruct'],
}
RIVALS = ['metric', 'knn', 'ridge', 'static', 'static-true', 'random', 'cheapest', 'dearest', 'smallest', 'largest', 'adaptive', 'best-single', 'oracle', 'reachable-oracle']


def forms():
    "TRouter's forms, and the crossings that tell which half matters."
    variant = lambda **settings: TRouter(progress=False, **settings)
    return {'trouter:paper': variant(form='paper'), 'trouter:code': variant(form='code'), 'trouter:plain': variant(form='plain'),
            'pair recogniser + table': variant(form='paper', heads='table'), 'logistic + MLP heads': variant(form='plain', heads='mlp')}


GROUPS = {'rivals': lambda: {name: name for name in ['trouter', *RIVALS]}, 'forms': lambda: {'trouter': 'trouter', **forms()}}


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--data', type=Path, required=True, help='folder that holds the sets')
    p.add_argument('--out', type=Path, required=True)
    p.add_argument('--sets', nargs='+', default=['shipped', *POOLS]); p.add_argument('--groups', nargs='+', default=[*GROUPS, 'calibration'])
    p.add_argument('--scales', nargs='+', default=['pool', 'task']); p.add_argument('--seeds', type=int, default=5)
    p.add_argument('--rows', nargs='+', help='only these routers of a table (trouter always), for a quicker one')
    a = p.parse_args()
    encoder, read = Encoder(), {}
    for group in a.groups:
        for name in a.sets:
            for scale in a.scales:
                path = a.out/f'{name}_{scale}_{group}.json'
                if path.exists(): print('already there:', path); continue
                if name not in read: read[name] = arrays_of(name, a.data)
                result = (calibration if group == 'calibration' else compare)(read[name], group, scale, a.seeds, encoder, a.rows)
                write_atomically(path, json.dumps({'set': name, **result}, indent=1)); print(path, flush=True)


def arrays_of(name, data):
    "The dense arrays of a set; the shipped one by its greedy answers."
    return load_shipped().arrays(samples='first') if name == 'shipped' else Outcomes.read(data/name).arrays(POOLS[name])


def compare(arrays, group, scale, seeds, encoder, rows=None):
    "One table of the harness."
    specs = {k: v for k, v in GROUPS[group]().items() if (k != 'reachable-oracle' or arrays.samples is not None) and (not rows or k in {'trouter', *rows})}
    report = evaluate(arrays, specs, cost_scale=scale, seeds=seeds, encoder=encoder)
    print(report.table().to_string(), flush=True)
    return report.to_dict()


def calibration(arrays, group, scale, seeds, encoder, rows=None):
    "Reliability of the default form per candidate, and the calibration error of the other forms."
    table = lambda form: calibration_table(held_out_predictions(lambda seed: TRouter(form, encoder, seed, progress=False), arrays, scale, range(seeds)), arrays.models)
    return {'cost_scale': scale, 'models': table('slopes'), 'forms': {form: {m: row['ece'] for m, row in table(form).items()} for form in ('slopes', 'plain')}}


if __name__ == '__main__': main()
