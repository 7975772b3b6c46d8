"""The classes of ImageNet by wnid, their names, and its counts."""
import ast
import importlib.util
import logging
from pathlib import Path

import numpy as np
import pytest

from gluon_a2.data import imagenet
from gluon_a2.data.imagenet import english, shown, warn_of_counts

WNIDS = list(imagenet.names())


def test_a_thousand_classes_in_the_order_of_their_labels():
    assert len(WNIDS) == 1000 and sorted(set(WNIDS)) == WNIDS
    assert WNIDS[0] == 'n01440764' and WNIDS[-1] == 'n15075141'
    assert all(name and name == name.strip() for name in imagenet.names().values())


def test_the_order_and_the_names_are_those_of_gluoncv():
    """Its file is read, not imported: that would need MXNet."""
    found = importlib.util.find_spec('gluoncv')
    if not found:
        pytest.skip('GluonCV is not installed')
    path = Path(found.submodule_search_locations[0], 'data', 'imagenet', 'classification.py')
    rows, = (ast.literal_eval(node.value) for node in ast.parse(path.read_text('utf-8')).body
             if isinstance(node, ast.Assign) and node.targets[0].id == '_ILSVRC2012_Attr')
    assert [(wnid, long) for wnid, _, long in rows] == list(imagenet.names().items())
    assert all(shown(wnid) == f'{short} ({wnid})' for wnid, short, _ in rows)


@pytest.mark.parametrize(('name', 'synonyms', 'said'), [
    ('n01440764', 'tench, Tinca tinca', 'tench (n01440764)'),
    ('n02012849', 'crane', 'crane (n02012849)'), ('n03126707', 'crane', 'crane (n03126707)'),
    ('n00000001', '', 'n00000001'), ('tench', '', 'tench'), ('0', '', '0'), ('', '', '')])
def test_names_for_people(name, synonyms, said):
    assert english(name) == synonyms and shown(name) == said


TRAIN = np.arange(1281167) % 1000
VAL = np.arange(50000) % 1000
MOVED = np.where(np.arange(50000) == 7, 8, VAL)  # one image of class 7 is said to be of class 8


@pytest.mark.parametrize(('parts', 'sentence'), [
    ({'train': TRAIN, 'val': VAL}, None), ({'train': TRAIN}, None), ({'test': VAL[:7]}, None),
    ({'train': TRAIN[:-1], 'val': VAL}, 'train has 1,281,166 images instead of 1,281,167'),
    ({'train': TRAIN[:9], 'val': [*VAL, 3]},
     'train has 9 images instead of 1,281,167; val has 50,001 images instead of 50,000'),
    ({'val': MOVED}, 'val has 49 to 51 images of a class instead of 50')])
def test_counts(caplog, parts, sentence):
    with caplog.at_level(logging.WARNING):
        warn_of_counts(WNIDS[::-1], parts)
    assert [record.getMessage().rpartition(': ')[2] for record in caplog.records] == (
        [sentence] if sentence else [])


def test_the_counts_are_imagenets_alone(caplog):
    warn_of_counts(WNIDS[1:], {'train': [0]})
    warn_of_counts([str(i) for i in range(1000)], {'train': [0]})
    assert caplog.text == ''
