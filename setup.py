"""Read `settings.ini` and hand it to setuptools; everything that never changes stands in `pyproject.toml`."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

ini = ConfigParser(delimiters=['='], comment_prefixes=['#'], interpolation=None)
ini.read(Path(__file__).with_name('settings.ini'), encoding='utf-8')
cfg = ini['DEFAULT']


def lines(key): return [line.strip() for line in cfg[key].splitlines() if line.strip()]


extras = {key.removeprefix('extra_'): lines(key) for key in cfg if key.startswith('extra_')}
# `dev` is everything that the tests touch, so that one install runs them all.
extras['dev'] = sorted({req for reqs in extras.values() for req in reqs} - set(extras['local']))

setup(version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'].split(),
      install_requires=lines('requirements'), extras_require=extras,
      entry_points={'console_scripts': lines('console_scripts'), 'nbdev': ['trouter=trouter._modidx:d']})
