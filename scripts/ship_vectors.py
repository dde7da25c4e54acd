#!/usr/bin/env python
"""Write the vectors of the shipped questions to trouter/data/vectors.safetensors, so that nobody has to encode them again.

    python scripts/strong_set.py questions trouter/data/strong --out strong.jsonl
    python scripts/ship_vectors.py strong.jsonl [weak.jsonl]

Holds the questions of the shipped real outcomes and of the files given, by the hash of their text, as 16-bit numbers, with the fingerprint of the bundled encoder. To be run again when a shipped set changes.
A vector depends in its fifth digit on the texts it was encoded with, so those that the file has already are kept as they are; --anew encodes all.
"""
import argparse, json, sys
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from trouter.outcomes.shipped import load_shipped  # noqa: E402
from trouter.pool.models import write_atomically  # noqa: E402
from trouter.routing.encoder import FrozenModel, fingerprint, text_key  # noqa: E402

PLACE = ROOT/'trouter'/'data'/'vectors.safetensors'


def shipped_vectors(encoder: str) -> dict:
    "The vectors that the file holds, by the hash of their text; none if they are of another encoder."
    if not PLACE.exists(): return {}
    with safe_open(PLACE, 'numpy') as f:
        if f.metadata()['encoder'] != encoder: return {}
        return dict(zip(map(bytes, f.get_tensor('keys')), f.get_tensor('vectors')))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('questions', nargs='*', type=Path, help='JSON lines with a "query" each'); p.add_argument('--anew', action='store_true', help='encode all of them')
    a, model = p.parse_args(), FrozenModel()
    texts = list(dict.fromkeys([*load_shipped().records['query'], *(json.loads(line)['query'] for f in a.questions for line in f.open(encoding='utf-8'))]))
    texts.sort(key=lambda t: (len(t), t))    # texts of like length side by side: less padding
    vectors = {} if a.anew else shipped_vectors(fingerprint(model.path))
    new = [t for t in texts if text_key(t) not in vectors]
    for i in range(0, len(new), 256):
        part = new[i:i + 256]
        vectors.update(zip(map(text_key, part), model.compute(part).astype(np.float16))); print(f'{i + len(part)} of {len(new)}', flush=True)
    keys = [text_key(t) for t in texts]
    tensors = {'keys': np.frombuffer(b''.join(keys), np.uint8).reshape(-1, 32), 'vectors': np.stack([vectors[k] for k in keys])}
    write_atomically(PLACE, save(tensors, {'encoder': fingerprint(model.path)}))


if __name__ == '__main__': main()
