"""What others make of the exported files: the table, and the clients that come along."""
import logging
import os
import sys

import pytest
from loading import ROOT, load

proof = load('proofs/clients.py')
PAGE = (ROOT / 'docs' / 'leaving-mxnet.md').read_text(encoding='utf-8')
ROWS = proof.read_rows(proof.CSV)


@pytest.fixture(scope='module')
def prefix(tmp_path_factory):
    """A network of video in all forms."""
    logging.disable(logging.WARNING)
    name = 'a2_resnet26_3d'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proof.compatibility, 'NETWORKS', [name])
        yield from proof.export(tmp_path_factory.mktemp('clients'))
    logging.disable(logging.NOTSET)


HERE = [client for client in proof.CLIENTS if not client.folder]


@pytest.mark.parametrize('client', HERE, ids=lambda client: client.name)
def test_clients_that_are_here_give_our_logits(client, prefix):
    if client.code == 'pytorch':
        pytest.importorskip('torch')
    found = proof.ask(*proof.interpreter(client, ROOT, install=False), client.code, prefix)
    assert found.get('difference', 1) < 1e-5, found


def test_a_client_that_refuses_is_a_row_and_so_is_one_that_is_not_there(prefix, tmp_path):
    client = proof.CLIENTS[0]
    assert proof.interpreter(client._replace(folder='none'), tmp_path, install=False) is None
    assert proof.row_of(client, None)['networks'] == 'not installed'
    found = proof.ask(sys.executable, {**os.environ, 'PYTHONPATH': str(ROOT)}, 'mxnet_module',
                      str(prefix)[:-3])
    assert 'reason' in found
    row = proof.row_of(client, {'one': {'version': '1', 'difference': 2e-7}, 'two': found})
    assert (row['networks'], row['largest_difference']) == ('1 of 2', '2.0e-07')
    assert row['what_fails'].startswith('two: ')


def test_every_client_has_a_row_and_the_page_shows_it():
    assert [row['client'] for row in ROWS] == [client.name for client in proof.CLIENTS]
    for row in ROWS:
        shown = ' | '.join(f'`{value}`' if value.startswith('--') else value
                           for value in row.values())
        assert f'| {shown} |' in PAGE, row['client']
