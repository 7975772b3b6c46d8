"""MXNet models in a tar file, in the layout of GloRe's: read, or said plainly what is in it."""
import io
import json
import re
import tarfile

import numpy as np
import pytest
from loading import call

from gluon_a2.backend import mx
from gluon_a2.errors import UserError
from gluon_a2.formats import archive, params
from gluon_a2.models import get_model, load_weights
from gluon_a2.run import load


def tar(**files):
    """The bytes of a tar file."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode='w') as packed:
        for name, value in files.items():
            member = tarfile.TarInfo(f'model/{name}')
            member.size = len(value)
            packed.addfile(member, io.BytesIO(value))
    return content.getvalue()


GRAPH = json.dumps({'nodes': [{'name': 'data'}, {'name': 'w'}]}).encode()


def weights(value=1.0, name='arg:w'):
    return params.to_bytes({name: np.full((2, 3), value, 'float32')})


def test_the_last_epoch_counts():
    content = tar(**{'net-symbol.json': GRAPH, 'net-0002.params': weights(2),
                     'net-0010.params': weights(10), 'README': b'by hand'})
    assert archive.is_archive(content)
    graph, values = archive.read_model(content, 'net.tar')
    assert graph == GRAPH and list(values) == ['arg:w'] and (values['arg:w'] == 10).all()


@pytest.mark.parametrize('files, said', [
    ({'a.txt': b'', 'b.pth': b''}, 'x.tar holds model/a.txt, model/b.pth, and not one MXNet model'),
    ({}, 'x.tar holds nothing, and not one'),
    ({f'{i}.txt': b'' for i in range(10)}, 'model/7.txt and 2 more, and not one'),
    ({'net-0000.params': weights()}, 'x.tar holds model/net-0000.params, and not one'),
    ({'a-symbol.json': GRAPH, 'a-0000.params': weights(), 'b-symbol.json': GRAPH,
      'b-0000.params': weights()}, 'model/b-symbol.json, and not one'),
    ({'a-symbol.json': b'{', 'a-0000.params': weights()}, 'a-symbol.json is not a symbol'),
    ({'a-symbol.json': GRAPH, 'a-0000.params': weights()[:50]}, 'a-0000.params'),
    ({'a-symbol.json': GRAPH, 'a-0000.params': weights(name='arg:v')},
     'a-0000.params holds arg:v, which model/a-symbol.json does not name')])
def test_anything_else_is_said(files, said):
    with pytest.raises(UserError, match=re.escape(said)):
        archive.read_model(tar(**files), 'x.tar')


def test_a_damaged_file():
    content = tar(**{'net-symbol.json': GRAPH, 'net-0002.params': weights()})
    with pytest.raises(UserError, match=r'x.tar (is a damaged tar file|holds)'):
        archive.read_model(content[:600], 'x.tar')


def test_a_network_takes_it(tmp_path):
    net = get_model('resnet26', classes=3)
    net.initialize()
    net.hybridize()
    net(mx.nd.zeros((1, 3, 32, 32)))
    net.export(str(tmp_path / 'net'))
    (tmp_path / 'glore.tar').write_bytes(tar(**{
        name: (tmp_path / name).read_bytes() for name in ('net-symbol.json', 'net-0000.params')}))
    other = get_model('resnet26', classes=3)
    call('export.py', tmp_path / 'glore.tar', '--size', 32, '--mean', '124,117,104', '--scale',
         0.0167, '--pixels', 255, '--out', tmp_path / 'out' / 'glore')
    bundle = load.load(tmp_path / 'out' / 'glore')
    assert bundle.meta['network'] == 'glore' and len(bundle.meta['classes']) == 3
    np.testing.assert_array_equal(bundle.values['fc_weight'], net.fc.weight.data().asnumpy())
    assert load_weights(other, tmp_path / 'glore.tar') == []
    np.testing.assert_array_equal(other.fc.weight.data().asnumpy(), net.fc.weight.data().asnumpy())
