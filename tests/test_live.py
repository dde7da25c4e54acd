"""The synthesis with a real model on this machine. They take minutes and want the model file (scripts/fetch_models.py): pytest -m slow tests/test_live.py -s"""
import json
from dataclasses import replace
from pathlib import Path

import pytest

from trouter.app.chain import arrays_of, collect_folder, synthesize_folder, train_folder
from trouter.outcomes.synthetic import verify_pair
from trouter.pool.local import find_model, serve
from trouter.pool.models import Pool, read_pool
from trouter.pool.recorded import replay
from trouter.routing.encoder import Encoder
from trouter.synthesis.format import LLM
from trouter.synthesis.pairs import read_pairs
from trouter.synthesis.synthesize import Settings, synthesize
from trouter.synthesis.taxonomy import Taxonomy

RECORDED = Path(__file__).parents[1]/'nbs'/'synthesis'/'recorded'
GENERATOR, CANDIDATES = 'qwen2.5-coder-1.5b', ['qwen2.5-coder-0.5b', 'smollm2-135m']


@pytest.mark.slow
@pytest.mark.skipif(any(find_model(n) is None for n in [GENERATOR, *CANDIDATES]), reason='a model file is not there')
def test_from_one_domain_to_a_router_live(tmp_path):
    "A real model writes, two real models answer, a router routes. What the model says differs from machine to machine; that all of it is sound does not."
    domain = [dict(name='Everyday Mathematics', definition='Short calculations of daily life whose answer is a number.')]
    with serve(find_model(GENERATOR), GENERATOR, parallel=2, context=6144) as server:
        made = synthesize_folder(domain, server.candidate, tmp_path, settings=Settings(domains=0, subcategories=3, levels=3, pairs=4, batch=4, rounds=1, quiet=1), concurrency=2, max_tokens=1200, timeout=900)
    print(made.taxonomy.tree(), made.figures(), sep='\n')
    assert Taxonomy.read(tmp_path/'taxonomy.json') == made.taxonomy and len(made.taxonomy.at(2)) >= 2
    assert read_pairs(tmp_path/'pairs.jsonl') == made.pairs and len(made.pairs) >= 8 and not any(verify_pair(p) for p in made.pairs)
    assert '<h2>Taxonomy</h2>' in (tmp_path/'report.html').read_text()
    with serve(find_model(CANDIDATES[0]), CANDIDATES[0]) as a, serve(find_model(CANDIDATES[1]), CANDIDATES[1]) as b:
        prices = dict(input_price=1., output_price=1., currency='tokens')
        outcomes = collect_folder(tmp_path, Pool([replace(a.candidate, **prices), replace(b.candidate, **prices)]), concurrency=2, timeout=900)
    assert outcomes.records.score.notna().mean() > .9 and len(arrays_of(tmp_path)) >= 8
    decision = train_folder(tmp_path).route(['What is 7 plus 5?'])[0]
    assert decision.model in CANDIDATES and decision.task_types


def test_the_recorded_chain_replays_without_a_server(tmp_path):
    "What came of a small real model, as recorded: two domains, at least six subcategories and fifteen difficulty levels."
    settings = Settings(**json.loads((RECORDED/'settings.json').read_text()))
    with replay(RECORDED/'replies.jsonl', read_pool(RECORDED/'pool.yaml'), tmp_path/'cache') as client:
        made = synthesize(RECORDED/'domains.yaml', LLM(client, GENERATOR, max_tokens=1600), tmp_path, settings, encode=Encoder(progress=False).encode, verify=verify_pair, progress=False)
        assert client.ledger.spent == 0 and client.ledger.lines[GENERATOR]['calls'] == 0 and client.ledger.lines[GENERATOR]['cached'] > 50
    counts = made.taxonomy.counts()
    assert counts['domain'] == 2 and counts['subcategory'] >= 6 and counts['difficulty'] >= 15
    assert not {'timeout', 'connection'} & set(made.incomplete.values()) and len(made.pairs) > 60
