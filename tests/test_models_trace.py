"""The committed symbols: what the code gives, in the layout of the Dual Path Networks code, and
trainable by Module."""
import sys
from pathlib import Path

import numpy as np
import pytest
from loading import load

from gluon_a2.backend import mx
from gluon_a2.models import ZOO, list_models

FOLDER = Path(__file__).resolve().parents[1] / 'symbols'
OTHERS = {'__init__.py', 'generate.py', '__pycache__'}


def module(file):
    return load(f'symbols/{file}.py')


GENERATE = module('generate')


def test_no_file_is_missing_or_left_over():
    expected = {f'symbol_{name}.py'
                for name in list_models()} | {f'{name}-symbol.json' for name in list_models()}
    assert {path.name for path in FOLDER.iterdir()} - OTHERS == expected


@pytest.mark.parametrize('name', list_models())
def test_every_file_is_what_the_code_gives(name):
    for file, text in GENERATE.contents(name).items():
        assert (FOLDER
                / file).read_bytes() == text.encode(), f'{file} is stale: run symbols/generate.py'


def test_generate_writes_all_that_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr('gluon_a2.models.list_models', lambda: ['resnet26', 'a2_resnet26'])
    GENERATE.main(['--out', str(tmp_path)])
    names = {'symbol_resnet26.py', 'resnet26-symbol.json', 'symbol_a2_resnet26.py',
             'a2_resnet26-symbol.json'}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()


# each backbone without blocks, and one network with each kind of them
@pytest.mark.parametrize('name', [name for name in list_models() if not ZOO[name].kind] + [
    'a2_resnet50', 'nl_resnet26_3d', 'se_resnet26'])
def test_modules_give_the_three_symbols(name):
    loaded, size = module(f'symbol_{name}'), ZOO[name].input_size
    shape, classes = (2, 3, *size), 400 if name.endswith('_3d') else 1000
    last = {'resnet26': (1024, 7, 7), 'resnet26_3d': (1024, 8, 7, 7),
            'resnet29': (1024, 7, 7), 'resnet29_3d': (1024, 8, 7, 7),
            'resnet50': (2048, 7, 7), 'resnet50_3d': (2048, 4, 7, 7),
            'resnet152': (2048, 7, 7), 'bagnet26': (1024, 7, 7),
            'mfnet': (768, 7, 7), 'mfnet_3d': (768, 8, 7, 7)}
    base = name.split('_', 1)[1] if name[2] == '_' else name
    features, linear, whole = loaded.get_before_pool(), loaded.get_linear(
        num_classes=13), loaded.get_symbol(13)
    assert features.infer_shape(data=shape)[1] == [(2, *last[base])]
    assert linear.infer_shape(data=shape)[1] == [(2, 13)
                                                 ] and linear.list_outputs() == ['fc_fwd_output']
    assert whole.infer_shape(data=shape)[1] == [(2, 13)
                                                ] and whole.list_outputs() == ['softmax_output']
    assert loaded.get_linear().infer_shape(data=shape)[1] == [(2, classes)]
    assert set(whole.list_arguments()) == {*linear.list_arguments(), 'softmax_label'}
    assert linear.list_arguments()[0] == 'data'
    assert set(linear.list_arguments()) - set(features.list_arguments()) == {'fc_weight', 'fc_bias'}
    committed = mx.sym.load(str(FOLDER / f'{name}-symbol.json'))
    assert committed.infer_shape(data=shape)[1] == [(2, classes)]


@pytest.mark.parametrize('name', ['a2_resnet26', 'resnet26_3d'])
def test_module_trains_one_step(name):
    """The loss of the batch it stepped on falls, and every weight has moved."""
    size = (4, 32, 32)[-ZOO[name].dims:]
    rng = np.random.RandomState(3)
    batch = mx.io.DataBatch([mx.nd.array(rng.normal(size=(4, 3, *size)))],
                            [mx.nd.array([0, 3, 1, 4])])
    network = mx.mod.Module(module(f'symbol_{name}').get_symbol(5))
    network.bind([('data', (4, 3, *size))], [('softmax_label', (4,))])
    mx.random.seed(5)
    network.init_params(mx.init.Xavier(rnd_type='gaussian', factor_type='in', magnitude=2))
    start = {n: value.asnumpy() for n, value in network.get_params()[0].items()}
    network.init_optimizer(optimizer='sgd', optimizer_params={'learning_rate': 0.01})
    losses = []
    for _ in range(2):
        network.forward(batch, is_train=True)
        chances = network.get_outputs()[0].asnumpy()
        np.testing.assert_allclose(chances.sum(1), np.ones(4), rtol=1e-5)
        losses.append(-np.log(chances[range(4), [0, 3, 1, 4]]).mean())
        network.backward()
        network.update()
    assert losses[1] < losses[0]
    moved = network.get_params()[0]
    assert len(start) > 60 and [n for n in start if (moved[n].asnumpy() == start[n]).all()] == []


def test_the_folder_can_stand_on_the_path_as_dpn_users_have_it():
    sys.path.insert(0, str(FOLDER))
    try:
        import symbol_a2_resnet26
        assert symbol_a2_resnet26.get_linear(7).infer_shape(data=(1, 3, 32, 32))[1] == [(1, 7)]
    finally:
        sys.path.remove(str(FOLDER))
