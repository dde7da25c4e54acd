"Random trees, random edits, random and mutated files: a taxonomy is valid or it is refused with a `TaxonomyError`."
import copy, json

import pytest
from hypothesis import given, settings, strategies as st

from trouter.synthesis.taxonomy import LEVELS, Taxonomy, TaxonomyError, TaskType, compare, leaf_spans, name_fault

TEXT = st.text(st.characters(exclude_categories=['Cs']), max_size=20)
DEFINITION = TEXT.filter(str.strip)
NAME = st.sampled_from(['Easy', 'easy', 'C++', 'C#', 'Straße', '数学', '!?', 'a', 'b', 'c']) | TEXT.filter(lambda s: name_fault(s) is None)
ITEM = st.fixed_dictionaries({'name': NAME, 'definition': DEFINITION}, optional={'example': TEXT})
PICK = st.integers(0, 10 ** 6)


@st.composite
def taxonomies(draw, most=10):
    t = Taxonomy(about=draw(st.none() | TEXT))
    for item, pick in draw(st.lists(st.tuples(ITEM, PICK), max_size=most)):
        parents = [None, *(n.id for level in (0, 1) for n in t.at(level))]
        parent = parents[pick % len(parents)]
        if name_fault(item['name'], [c.name for c in t.children(parent)]) is None: t = t.with_children(parent, [item])
    if len(t) and draw(st.booleans()): t = t.marked(list(t)[0], draw(TEXT))
    return t


def check(t):
    "Built again from its own nodes, in reverse order or written to text, the tree is the same."
    assert Taxonomy(t.nodes.values(), t.about) == t
    assert set(Taxonomy(reversed(list(t.nodes.values()))).nodes) == set(t.nodes)
    assert Taxonomy.from_dict(json.loads(json.dumps(t.to_dict()))) == t
    assert len({t.path(i) for i in t}) == len(t) and all(t.find(t.path(n.id)) for n in t.leaves)
    assert sum(t.counts().values()) == len(t) and all(0 <= t.level(i) < len(LEVELS) for i in t)
    assert len(t.profiles()) == len(t.leaves) and len(t.tree().split('\n')) >= len(t)
    assert {i: n for i, (_, n) in leaf_spans(t).items()} == {i: sum(not t.children(k) for k in t.branch_ids(i)) for i in t}


@settings(max_examples=60, deadline=None)
@given(taxonomies())
def test_write_and_read_is_the_identity(tmp_path_factory, t):
    check(t)
    path = tmp_path_factory.getbasetemp()/'taxonomy.json'
    t.write(path)
    assert Taxonomy.read(path) == t


def edit(t, kind, a, b, name, other):
    "One edit of the kind, on nodes picked by number."
    ids = list(t)
    a, b = ids[a % len(ids)], [None, *ids][b % (len(ids) + 1)]
    if kind == 'prune': return t.prune(a)
    if kind == 'rename': return t.rename(a, name)
    if kind == 'reparent': return t.reparent(a, b)
    if kind == 'merge': return t.merge(a, b or a, name)
    if kind == 'merge level': return t.merge(a, t.at(t.level(a))[-1].id)
    if kind == 'graft': return t.graft(b, other)
    if kind == 'graft branch': return t.graft(b, t.branch(a))
    return t.graft(b, t[a])


EDIT = st.tuples(st.sampled_from(['prune', 'rename', 'reparent', 'merge', 'merge level', 'graft', 'graft branch', 'graft node']), PICK, PICK, NAME, taxonomies(4))


def check_change(old, new, change):
    before, after = ({t.path(n.id) for n in t.leaves} for t in (old, new))
    assert set(change.kept) | set(change.lost) == before and not set(change.kept) & set(change.lost)
    assert set(change.kept.values()) | set(change.gained) == after and not set(change.kept.values()) & set(change.gained)
    assert len(set(change.kept.values())) == len(change.kept) and str(change)


@settings(max_examples=80, deadline=None)
@given(taxonomies(), st.lists(EDIT, min_size=1, max_size=4))
def test_edits_give_valid_taxonomies_and_say_what_changed(t, edits):
    first = t
    for args in edits:
        if not len(t): break
        untouched = copy.copy(t.to_dict())
        try: new, change = edit(t, *args)
        except TaxonomyError as e: assert str(e) and '\n' not in str(e)
        else:
            check(new); check_change(t, new, change)
            assert t.to_dict() == untouched
            t = new
    check_change(first, t, compare(first, t))


@settings(max_examples=40, deadline=None)
@given(taxonomies(), PICK)
def test_prune_and_graft_back(t, pick):
    if not len(t): return
    id = list(t)[pick % len(t)]
    back, _ = t.prune(id)[0].graft(t[id].parent, t.branch(id))
    assert set(back.nodes.values()) == set(t.nodes.values())
    assert not compare(t, back).lost and not compare(t, back).gained


def only_taxonomy_errors(read):
    try: t = read()
    except TaxonomyError as e: assert str(e) and '\n' not in str(e)
    else: check(t)


SCALAR = st.none() | st.booleans() | st.integers(-3, 10 ** 30) | st.floats() | st.text(max_size=8) | st.sampled_from(['a', 'a/b', 'A', '\ud800', '\x00', ' '])
JSON = st.recursive(SCALAR, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3), max_leaves=8)
ENTRY = st.recursive(st.just([]), lambda children: st.lists(st.fixed_dictionaries({}, optional={
    'id': SCALAR, 'name': SCALAR | NAME, 'definition': SCALAR | DEFINITION, 'example': SCALAR, 'parent': SCALAR, 'incomplete': SCALAR, 'children': children | JSON}), max_size=3), max_leaves=6)


@settings(max_examples=200, deadline=None)
@given(JSON | st.fixed_dictionaries({'format_version': st.just(1) | SCALAR, 'nodes': ENTRY | JSON}, optional={'about': SCALAR}))
def test_random_data_is_read_or_refused(data): only_taxonomy_errors(lambda: Taxonomy.from_dict(data))


def places(value, path=()):
    "Every key or position inside nested data."
    for k, v in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, k)
        yield from places(v, (*path, k))


@settings(max_examples=200, deadline=None)
@given(taxonomies(), st.lists(st.tuples(st.sampled_from(['set', 'delete', 'move', 'add']), PICK, PICK, JSON | NAME, st.sampled_from(['id', 'name', 'parent', 'children', 'x'])), min_size=1, max_size=4))
def test_mutated_data_is_read_or_refused(t, mutations):
    data = t.to_dict()
    for kind, a, b, value, key in mutations:
        spots = list(places(data))
        if not spots: break
        def inside(spot):
            out = data
            for k in spot: out = out[k]
            return out
        (*above, last), source = spots[a % len(spots)], copy.deepcopy(inside(spots[b % len(spots)]))
        holder = inside(above)
        if kind == 'delete': del holder[last]
        elif kind == 'add' and isinstance(holder, dict): holder[key] = value
        else: holder[last] = source if kind == 'move' else value
    only_taxonomy_errors(lambda: Taxonomy.from_dict(data))


@settings(max_examples=150, deadline=None)
@given(taxonomies(6), st.lists(st.tuples(PICK, PICK, st.binary(max_size=4)), max_size=3))
def test_damaged_files_are_read_or_refused(tmp_path_factory, t, damages):
    path = tmp_path_factory.getbasetemp()/'damaged.json'
    raw = json.dumps(t.to_dict(), ensure_ascii=False).encode()
    for start, length, put in damages:
        start %= len(raw) + 1
        raw = raw[:start] + put + raw[start + length % 9:]
    path.write_bytes(raw)
    only_taxonomy_errors(lambda: Taxonomy.read(path))


@pytest.mark.parametrize('raw', [b'', b'\xff', b'[' * 100_000, b'{"format_version": ' + b'1' * 5000 + b'}', b'{"a": ' * 50_000, b'NaN', b'\x00'])
def test_hostile_files_are_refused(tmp_path, raw):
    (tmp_path/'t.json').write_bytes(raw)
    with pytest.raises(TaxonomyError, match='t.json: ') as e: Taxonomy.read(tmp_path/'t.json')
    assert '\n' not in str(e.value)
    for path in (tmp_path, tmp_path/'none.json'):
        with pytest.raises(TaxonomyError): Taxonomy.read(path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    t = Taxonomy([TaskType('a', 'A', 'All.')])
    t.write(tmp_path/'t.json')
    def fail(*_): raise OSError('disk full')
    monkeypatch.setattr('os.replace', fail)
    with pytest.raises(OSError): t.prune('a')[0].write(tmp_path/'t.json')
    assert Taxonomy.read(tmp_path/'t.json') == t and len(list(tmp_path.iterdir())) == 1
