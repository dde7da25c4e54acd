"""The LLM of the tests: a pure function of the request that plays the generator for every prompt of the synthesis.

    ScriptedGenerator(domains=4, subcategories=10, levels=full_size)   # with the six seed domains: 10 domains, 100 subcategories, 447 levels

It reads the values out of the prompt, and draws all else from a hash of the request: the same request always gets the same answer. Its questions are of five
kinds, made of words drawn at random, with correct answers; a profile has a stock of them (`variety`), so that some come twice and a small stock runs dry.
"""
import functools, random, re, string

import numpy as np

from trouter.synthesis.prompts import PROMPTS

NOUNS = '''acorn anchor apron arrow badge baker balcony bamboo barrel basket beacon beetle bell bench blanket blossom boot bottle bracelet bridge broom bucket button cabin cactus camel candle canoe canvas
 captain carpet castle cellar chapel cherry chimney circus clerk cliff clock cloud coin comet compass copper corridor cottage cousin crane crystal curtain dancer desert diary doctor dolphin donkey dragon drawer drum
 eagle engine envelope falcon farmer feather fence ferry fiddle flag flute forest fossil fountain fox galaxy garden garlic ghost giraffe glacier glove goat guitar hammer harbour harvest hedgehog helmet heron honey
 hotel iceberg island ivory jacket jar jewel judge juggler kettle kitten ladder lagoon lantern lawyer lemon letter library lizard lobster locket magnet maple market meadow melon mirror mitten monastery monkey
 mosque motor mountain museum mushroom nephew nettle notebook nurse oak oasis olive onion opera orchard otter owl paddle painter palace parade parrot pasture peach pearl pebble pepper pilot pillow pirate planet
 plumber poet pony potter prison puppet puzzle pyramid rabbit raft raven recipe reef ribbon river robot rocket rooster saddle sailor salmon sandal scarf school sculptor shepherd shovel signal sparrow spider spoon
 stadium statue submarine suitcase sunflower swamp tailor teacher temple tent theatre thunder tiger tortoise tower tractor train treasure trumpet tulip tunnel turtle umbrella uncle valley vase velvet village violin
 volcano waiter walnut walrus weaver whale wheat whistle widow window wizard wolf zebra'''.split()
ADJECTIVES = '''amber ancient bitter blue bold brave broken bronze calm careless clever cold crimson crooked curious damp dusty early empty fierce foreign frozen gentle giant golden greedy green heavy hidden hollow honest
 humble hungry jolly lazy lonely loud lucky muddy narrow nervous noisy northern pale patient plain polite proud purple quiet rapid rusty scarlet secret shallow silent silver sleepy slender sour spotted stormy
 stubborn sunny tall tidy tiny vast violet wandering warm wild wise wooden yellow young'''.split()
VERBS = 'Summarising Translating Ranking Comparing Planning Estimating Explaining Classifying Correcting Predicting Scheduling Measuring Describing Sorting Debating Diagnosing Choosing Designing Counting Checking'.split()
DOMAINS = ['Household Logistics', 'Field Biology', 'Contract Law', 'Musical Theory', 'Personal Finance', 'Travel Advice', 'Clinical Nursing', 'Ancient History', 'Sports Coaching', 'Customer Support']
SCALES = {1: ['Medium'], 2: ['Easy', 'Hard'], 3: ['Easy', 'Medium', 'Hard'], 4: ['Easy', 'Medium', 'Hard', 'Expert'], 5: ['Trivial', 'Easy', 'Medium', 'Hard', 'Expert']}


def full_size(profile: str) -> int:
    "Levels of a subcategory, so that 100 subcategories (10 in each of six given and four proposed domains) have 447: five for 47 of them, else four."
    i = next(i for i, verb in enumerate(VERBS) if verb in profile)
    return 5 if i < 4 or i == 4 and not any(d in profile for d in DOMAINS[1:4]) else 4


def block(marker: str, **values) -> str: return '\n'.join([f'### {marker}', *(f'{key.upper()}: {value}' for key, value in values.items()), '### END'])


def pattern(prompt):
    "A regular expression that reads the values out of a rendered prompt."
    out, seen = '', set()
    for literal, name, *_ in string.Formatter().parse(prompt.text.strip()):
        out += re.escape(literal) + ('' if not name else f'(?P={name})' if name in seen else f'(?P<{name}>.*?)')
        seen.add(name)
    return re.compile(out, re.S)


PATTERNS = {name: pattern(p) for name, p in PROMPTS.items()}


def read_prompt(text: str):
    "Name and values of a rendered prompt."
    for name, regex in PATTERNS.items():
        if m := regex.fullmatch(text): return name, m.groupdict()
    raise ValueError(f'a prompt of no known kind: {text[:200]!r}')


# ---- questions with correct answers

def scene(draw) -> str: return f'In the {draw.choice(ADJECTIVES)} {draw.choice(NOUNS)} stand a {draw.choice(ADJECTIVES)} {draw.choice(NOUNS)} and a {draw.choice(ADJECTIVES)} {draw.choice(NOUNS)}.'


def number_pair(draw):
    a, b, c, (x, y) = draw.randint(3, 90), draw.randint(3, 90), draw.randint(2, 9), draw.sample(NOUNS, 2)
    text, value = draw.choice([(f'A {x} costs {a} coins and a {y} costs {b}. What do {c} of each cost?', (a + b) * c), (f'{c} rows of {a} {x}s are joined by {b} {y}s. How many things are that?', a * c + b),
                               (f'{a + b} people share {c * (a + b)} {x}s and {a + b} {y}s. How many things does each get?', c + 1), (f'A walk past the {x} takes {a} minutes, past the {y} {b} more. How long do {c} such walks take past both?', c * (2 * a + b))])
    return dict(question=f'{scene(draw)} {text}', type='number', answer=value)


def choice_pair(draw):
    words, first = draw.sample(NOUNS, 4), draw.random() < .5
    letter = 'ABCD'[words.index((min if first else max)(words))]
    return dict(question=f'{scene(draw)} Which of these words comes {"first" if first else "last"} in a dictionary?', type='choice', options='\n' + '\n'.join(f'{k}) {w}' for k, w in zip('ABCD', words)), answer=letter)


def short_pair(draw):
    words, place = draw.sample(NOUNS, 6), draw.randint(1, 6)
    return dict(question=f'{scene(draw)} Somebody lists: {", ".join(words)}. Which word is number {place} in that list?', type='short text', answer=words[place - 1])


def code_pair(draw):
    k, name = draw.randint(2, 60), f'{draw.choice(ADJECTIVES)}_{draw.choice(NOUNS)}'
    body, task = draw.choice([(f'[x for x in xs if x > {k}]', f'the numbers above {k}, in their order'), (f'sum(x for x in xs if x % {k})', f'the sum of the numbers that {k} does not divide'),
                              (f'sorted(xs, key=lambda x: (abs(x - {k}), x))', f'the numbers sorted by their distance from {k}, the smaller first'), (f'max(xs) * {k} - min(xs)', f'{k} times the largest number less the smallest')])
    given = [draw.sample(range(100), 5) for _ in range(3)]
    f = eval(f'lambda xs: {body}')
    return dict(question=f'{scene(draw)} Each is numbered. Write a Python function {name}(xs) that returns {task}.', type='code', answer=f'\ndef {name}(xs):\n    return {body}', function=name, tests='\n' + '\n'.join(f'assert {name}({xs}) == {f(xs)}' for xs in given))


def long_pair(draw):
    a, b, c = draw.sample(NOUNS, 3)
    return dict(question=f'{scene(draw)} Explain to a {a} in two or three sentences why the {b} matters more to them than the {c}.', type='long text',
                answer=f'The {b} was there before the {c}, and a {draw.choice(ADJECTIVES)} {draw.choice(NOUNS)} depends on it.\nWithout it, dear {a}, nobody would find the {draw.choice(NOUNS)}.')


WRONG = dict(number=dict(answer='as many as before'), choice=dict(answer='F'), code=dict(tests='\nassert 1 == 2'))
PAIRS = [number_pair, number_pair, choice_pair, short_pair, code_pair, long_pair]


# ---- the model

class ScriptedGenerator:
    def __init__(self,
                 domains=4, subcategories=10,  # most to propose
                 levels=5,      # a number, or a function of the profile of the subcategory
                 variety=400,   # questions that a profile has in stock
                 shared=2,      # of them are the same in every profile
                 wrong=.02,     # share of the pairs that a check must refuse
                 doubts=.15,    # share of the reviews that ask for a revision
                 seed=0):
        self.domains, self.subcategories, self.levels, self.variety, self.shared, self.wrong, self.doubts, self.seed = domains, subcategories, levels, variety, shared, wrong, doubts, seed

    def draw(self, *of): return random.Random(repr((self.seed, *of)))

    def answer(self, body) -> str:
        "The correct reply to a request."
        said = [m['content'] for m in body['messages'] if m['role'] == 'user']
        name, values = read_prompt(said[0])
        most = int(values.get('batch') or (re.findall(r'at most (\d+)', values['rules']) or [1])[-1])
        items = getattr(self, 'to_' + name.replace(' ', '_'))(values, most, self.draw(body['messages'], body.get('seed')))
        if len(said) > 1:   # asked again
            fine = (re.findall(r'^These are fine, do not repeat them: (.*)', said[-1], re.M) or [''])[0]
            items = [i for i in items if 'name' not in i or i['name'] not in fine][:int(re.search(r'Write (\d+) more', said[-1])[1])]
        return '\n'.join(block(PROMPTS[name].marker, **item) for item in items)

    def item(self, name, about):
        draw = self.draw(name, about)
        a, b, c = draw.sample(NOUNS, 3)
        return dict(name=name, definition=f'Requests about {a} and {b}, in which the {draw.choice(ADJECTIVES)} {c} is decisive.', example=scene(draw))

    def to_domains(self, values, most, draw):
        known = values.get('existing') or values['description']
        return [self.item(name, known) for name in DOMAINS if name not in known][:min(most, self.domains)]

    to_derive_domains = to_domains

    def to_subcategories(self, values, most, draw):
        nouns = self.draw(values['profile']).sample(NOUNS, len(VERBS))
        return [self.item(f'{verb} {noun.capitalize()}s', values['profile']) for verb, noun in zip(VERBS, nouns)][:min(most, self.subcategories)]

    def to_difficulty(self, values, most, draw):
        n = self.levels(values['profile']) if callable(self.levels) else self.levels
        return [self.item(name, values['profile']) for name in SCALES[min(most, n)]]

    def to_review(self, values, most, draw):
        revise = draw.random() < self.doubts
        return [dict(revise='yes' if revise else 'no', reason=f'The {draw.choice(NOUNS)} is defined too vaguely.' if revise else 'Nothing overlaps and nothing is missing.')]

    def to_revise(self, values, most, draw):
        "The same names; one definition is new."
        old = re.findall(r'^NAME: (.*)\nDEFINITION: (.*)$', values['items'], re.M)[:most]
        new = draw.randrange(len(old))
        return [self.item(name, values['reason']) if i == new else dict(name=name, definition=definition) for i, (name, definition) in enumerate(old)]

    def to_compare(self, values, most, draw): return [dict(better=draw.choice('AB'), reason='It leaves less open.')]

    def to_pairs(self, values, most, draw): return [self.pair(values['profile'], draw.randrange(self.variety)) for _ in range(most)]

    def pair(self, profile, number):
        own = self.draw('' if number < self.shared else profile, number)
        item = own.choice(PAIRS)(own)
        return item | WRONG.get(item['type'], {}) if own.random() < self.wrong else item


# ---- an encoder for its texts

@functools.lru_cache(maxsize=None)
def word_vector(word: str): return np.random.default_rng(list(word.encode())).normal(size=64)


def encode_words(texts) -> np.ndarray:
    "Unit vectors [n, 64] made of the vocabulary's words in a text, where it has none of all its words: like texts have like vectors, at no cost."
    known = {*NOUNS, *ADJECTIVES}
    def vector(text):
        words = re.findall(r'\w+', text)
        return np.sum([word_vector(w) for w in [w for w in words if w in known] or words or ['']], axis=0)
    vectors = np.array([vector(t) for t in texts]).reshape(len(texts), 64)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


# ---- how small models break the form

KEY = re.compile(r'^([A-Z]+):', re.M)
SLIPS = {
    'bold keys': lambda t: KEY.sub(r'**\1:**', t),
    'bold keys, colon outside': lambda t: KEY.sub(r'**\1**:', t),
    'keys in lower case': lambda t: KEY.sub(lambda m: m[0].lower(), t),
    'a code fence around all': lambda t: f'```\n{t}\n```',
    'chatter around': lambda t: f'Sure! Here is what you asked for:\n\n{t}\n\nLet me know if you need anything else.',
    'numbered markers': lambda t: re.sub(r'^### (?!END)(\w+)', lambda m: f'### {m[1]} {m.start() % 9 + 1}', t, flags=re.M),
    'two hashes': lambda t: t.replace('### ', '## '),
    'bold markers': lambda t: re.sub(r'^### (\w+)', r'**### \1**', t, flags=re.M),
    'no END': lambda t: t.replace('\n### END', ''),
    'no markers': lambda t: re.sub(r'^### (?!END)\w+\n', '', t, flags=re.M),
    'lists of keys': lambda t: KEY.sub(r'- \1:', t),
    'Windows line breaks': lambda t: t.replace('\n', '\r\n'),
    'cut in the middle': lambda t: t[:len(t) * 2 // 3],
    'no answer at all': lambda t: 'I am sorry, but as a language model I cannot do that.',
    'nothing': lambda t: '',
}


def slipping(generator, share=.3, seed=0):
    "`bad_text` for a `FaultyServer`: a share of the requests gets its reply in a broken form; a function of the request alone."
    def bad_text(body, n):
        draw = random.Random(repr((seed, body['messages'], body.get('seed'))))
        return SLIPS[draw.choice(list(SLIPS))](generator.answer(body)) if draw.random() < share else None
    return bad_text
