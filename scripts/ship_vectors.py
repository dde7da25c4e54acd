#!/usr/bin/env python
"""Write the vectors of the shipped questions to trouter/data/vectors.safetensors, so that nobody has to encode them again.

    python scripts/strong_set.py questions trouter/data/strong --out strong.jsonl
    python scripts/ship_vectors.py strong.jsonl [weak.jsonl]

Holds the questions of the shipped real outcomes and of the files given, by the hash of their text, as 16-bit numbers, with the fingerprint of the bundled encoder. To be run again when a shipped set changes.
"""
import argparse, json, sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from trouter.outcomes.shipped import load_shipped  # noqa: E402
from trouter.pool.models import write_atomically  # noqa: E402
from trouter.routing.encoder import FrozenModel, fingerprint, text_key  # noqa: E402


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('questions', nargs='*', type=Path, help='JSON lines with a "query" each')
    texts = list(dict.fromkeys([*load_shipped().records['query'], *(json.loads(line)['query'] for f in p.parse_args().questions for line in f.open(encoding='utf-8'))]))
    texts.sort(key=lambda t: (len(t), t))    # texts of like length side by side: less padding
    model, parts = FrozenModel(), []
    for i in range(0, len(texts), 256): parts.append(model.compute(texts[i:i + 256]).astype(np.float16)); print(f'{min(i + 256, len(texts))} of {len(texts)}', flush=True)
    tensors = {'keys': np.frombuffer(b''.join(map(text_key, texts)), np.uint8).reshape(-1, 32), 'vectors': np.concatenate(parts)}
    write_atomically(ROOT/'trouter'/'data'/'vectors.safetensors', save(tensors, {'encoder': fingerprint(model.path)}))


if __name__ == '__main__': main()
