import json
import os
import subprocess
import sys

import numpy as np
import pytest

import gluon_a2.legacy
from gluon_a2 import files
from gluon_a2.backend import mx
from gluon_a2.deploy import BundleError, bundle, read_bundle, write_bundle
from gluon_a2.run import network
from gluon_a2.run.recipes import RECIPES

CLASSES = [f'digit {i}' for i in range(10)]


@pytest.fixture(scope='module')
def net():
    net = network.build(RECIPES['digits'])
    # statistics and scales that are not 0 and 1
    for name, parameter in net.collect_params().items():
        if name.endswith(('gamma', 'running_var')):
            parameter.set_data(mx.nd.random.uniform(0.5, 1.5, parameter.shape))
        elif name.endswith(('beta', 'running_mean', 'bias')):
            parameter.set_data(mx.nd.random.uniform(-0.5, 0.5, parameter.shape))
    return net


@pytest.fixture
def prefix(net, tmp_path):
    write_bundle(network.bundle(net, RECIPES['digits'], CLASSES, {'data': 'digits'}),
                 tmp_path / 'a2')
    return tmp_path / 'a2'


PLAIN_MXNET = '''
import runpy, sys, numpy as np
prefix, out, legacy = sys.argv[1:]
with runpy.run_path(legacy)['lent']():  # today's numpy; nothing of ours is imported
    import mxnet as mx
x = mx.nd.array(np.load(out + '/x.npy'))
block = mx.gluon.SymbolBlock.imports(prefix + '-symbol.json', ['data'], prefix + '-0000.params')
np.save(out + '/symbol_block.npy', block(x).asnumpy())
symbol, arguments, statistics = mx.model.load_checkpoint(prefix, 0)
bound = symbol.bind(mx.cpu(), {**arguments, 'data': x}, aux_states=statistics)
np.save(out + '/load_checkpoint.npy', bound.forward()[0].asnumpy())
module = mx.mod.Module.load(prefix, 0, label_names=None)
module.bind([('data', x.shape)], for_training=False)
module.forward(mx.io.DataBatch([x]))
np.save(out + '/module.npy', module.get_outputs()[0].asnumpy())
assert not any(name.startswith('gluon_a2') for name in sys.modules)
'''


def test_plain_mxnet_loads_the_files_three_ways_with_the_same_logits(net, prefix, tmp_path):
    x = np.random.default_rng(3).normal(size=(5, 3, 32, 32)).astype(np.float32)
    np.save(tmp_path / 'x.npy', x)
    done = subprocess.run(
        [sys.executable, '-c', PLAIN_MXNET, str(prefix), str(tmp_path), gluon_a2.legacy.__file__],
        cwd=str(tmp_path), capture_output=True, text=True,
        env={**os.environ, 'PYTHONPATH': ''})
    assert done.returncode == 0, done.stderr
    expected = net(mx.nd.array(x)).asnumpy()
    for way in ('symbol_block', 'load_checkpoint', 'module'):
        gap = np.abs(np.load(tmp_path / f'{way}.npy') - expected).max()
        assert gap <= 1e-4 * np.abs(expected).max(), way


@pytest.mark.parametrize('ending', ['', '-symbol.json', '-0000.params', '-meta.json'])
def test_read_back_by_prefix_or_any_file(net, prefix, ending):
    read = read_bundle(str(prefix) + ending)
    assert read.meta['classes'] == CLASSES and read.meta['network'] == 'a2_resnet26'
    parameters = net.collect_params()
    assert set(read.arguments) | set(read.statistics) == set(parameters)
    for name, value in {**read.arguments, **read.statistics}.items():
        assert (value == parameters[name].data().asnumpy()).all()


def test_the_metadata_says_what_a_user_must_know(prefix):
    meta = json.loads((prefix.parent / 'a2-meta.json').read_text())
    expected = {'input': 'data', 'input_shape': [3, 32, 32], 'layout': 'NCHW', 'output': 'logits',
                'mean': [124, 117, 104], 'scale': [0.0167] * 3, 'crop_ratio': 1.0,
                'resize': 'bicubic'}
    assert {key: meta[key] for key in expected} == expected
    for name, entry in meta['files'].items():
        content = (prefix.parent / name).read_bytes()
        assert entry == {'size': len(content), 'sha256': files.sha256(content)}


@pytest.mark.parametrize('ending', ['-symbol.json', '-0000.params'])
@pytest.mark.parametrize('damage, sentence', [
    (lambda content: content[:-1], r'was written with: its \d+ bytes are not \d+. It is'),
    (lambda content: content[:99] + bytes([content[99] ^ 1]) + content[100:], 'its SHA-256 '
                                                                              'differs. It is'),
    (lambda content: b'', 'its 0 bytes are not')])
def test_damage_is_refused_before_mxnet_sees_a_byte(prefix, monkeypatch, ending, damage, sentence):
    path = prefix.with_name('a2' + ending)
    path.write_bytes(damage(path.read_bytes()))

    def seen(*args):
        raise AssertionError('MXNet was given a damaged file')

    monkeypatch.setattr(bundle.params, 'from_bytes', seen)
    with pytest.raises(BundleError, match=sentence):
        read_bundle(prefix)


def test_missing_renamed_and_foreign_files_are_named(prefix):
    with pytest.raises(BundleError, match=f'^{prefix.parent}/b-meta.json does not exist: give the '
                                          'prefix of an exported network'):
        read_bundle(prefix.with_name('b'))
    for ending in ('-symbol.json', '-0000.params', '-meta.json'):
        os.rename(f'{prefix}{ending}', prefix.with_name('b' + ending))
    with pytest.raises(BundleError, match='b-symbol.json is not named in its metadata: the files '
                                          'were renamed'):
        read_bundle(prefix.with_name('b'))
    for text, sentence in (('{', 'is not valid JSON'), ('[]', 'is not the meta'),
                           ('{"format": 1}',
                            'is not the meta'), ('{"format": "gluon_a2 bundle 1", "files": {}}',
                                                 'says nothing that can be used as net')):
        prefix.with_name('b-meta.json').write_text(text)
        with pytest.raises(BundleError, match=sentence):
            read_bundle(prefix.with_name('b'))


@pytest.mark.parametrize('failing', ['a2-symbol.json', 'a2-0000.params', 'a2-meta.json'])
def test_a_write_cut_short_is_refused_never_wrong(net, prefix, monkeypatch, failing):
    original = bundle.write_whole

    def cut(path, content):
        if path.name == failing:
            raise OSError(28, 'No space left on device')
        original(path, content)

    changed = network.bundle(net, RECIPES['digits'], CLASSES, {'data': 'digits'})
    changed.arguments['fc_bias'] = changed.arguments['fc_bias'] + 1
    monkeypatch.setattr(bundle, 'write_whole', cut)
    with pytest.raises(OSError, match='No space left'):
        write_bundle(changed, prefix)
    try:
        read = read_bundle(prefix)
    except BundleError:
        return
    assert (read.arguments['fc_bias'] != changed.arguments['fc_bias']).all()
