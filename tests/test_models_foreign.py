"""GluonCV's networks by name: blocks at places, weights of any kind, and the same bits at first."""
import dataclasses
import re

import numpy as np
import pytest
import safetensors.numpy

from gluon_a2.backend import mx
from gluon_a2.errors import UserError
from gluon_a2.formats import params
from gluon_a2.models import get_model, load_weights
from gluon_a2.run import network, recipes


def made(name, seed=1, size=32, **options):
    """(the network, its values, all of them random)."""
    net = get_model(f'gluoncv:{name}', classes=options.pop('classes', 5), input_size=size,
                    **options)
    net.initialize()
    draw = np.random.RandomState(seed)
    values = {}
    for name, parameter in net.collect_params().items():
        low = 0.5 if name.endswith(('var', 'gamma')) else -0.5
        values[name] = draw.uniform(low, low + 1, parameter.shape).astype('float32')
        parameter.set_data(mx.nd.array(values[name]))
    return net, values


def image(size=32):
    return mx.nd.array(np.random.RandomState(4).normal(size=(2, 3, size, size)))


def places(net):
    """Where it has blocks, without the prefix of its names."""
    inner = [name for name in net.collect_params() if re.search('_(a2|nl|se)_', name)]
    return list(dict.fromkeys(re.sub(f'^{net.prefix}|_(a2|nl|se)_.*', '', name)
                              for name in inner))


@pytest.mark.parametrize('name, plug, expected', [
    ('resnet18_v1b', 'a2', ['layer2_0', 'layer2_1', 'layer3_0', 'layer3_1']),
    ('resnet34_v1', 'nl', ['features_5_0', 'features_5_2', 'features_6_0', 'features_6_2',
                           'features_6_4']),
    ('resnet18_v2', 'se', [f'features_{stage}_{unit}' for stage in (5, 6, 7, 8)
                           for unit in (0, 1)]),
    ('mobilenet0.25', 'a2', ['features_32', 'features_68']),
    ('mobilenet0.25', 'se', ['features_32', 'features_68']),
    ('mobilenetv2_0.25', 'a2', ['features_8', 'features_15']),
    ('shufflenet_v2', 'a2', ['features_2_3', 'features_3_7']),
    ('cifar_resnet20_v1', 'a2', ['features_2_2', 'features_3_2']),
    ('resnet18_v1b', 'a2@stage4:2;layer1.0', ['layer3_1', 'layer1_0']),
    ('resnet18_v1b', 'a2@stage3;layer2.*', ['layer2_0', 'layer2_1']),
    ('mobilenet0.25', 'a2@features.6', ['features_6'])])
def test_blocks_are_where_they_are_said_to_be(name, plug, expected):
    net, _ = made(name, plug=plug)
    assert sorted(places(net)) == sorted(expected)


@pytest.mark.parametrize('name, plug, said', [
    ('gluoncv:resnet18_v1b', 'a3', "unknown block 'a3' in `plug`: choose one of a2, nl, se"),
    ('gluoncv:resnet18_v1b', 'a2@', '`plug` a2@ names no place'),
    ('gluoncv:resnet18_v1b', 'a2@layer9.*', "no place 'layer9.*' in gluoncv:resnet18_v1b: its "
     'places are stage2:1 to 2 (layer1.0 to layer1.1), stage3:1 to 2'),
    ('gluoncv:resnet18_v1b', 'a2@stage3:3', "no place 'stage3:3' in"),
    ('gluoncv:resnet18_v1b', 'a2@stage9', "no place 'stage9' in"),
    ('gluoncv:resnet18_v1b', 'a2@fc', 'fc yields no feature map to put a block behind'),
    ('resnet26', 'a2@layer3', "no place 'layer3' in a2_resnet26: its places are stage2:1 to 2, "),
    ('resnet26', 'a2@stage3:3', 'conv3 of a2_resnet26 has no unit 3'),
    ('a2_resnet26', 'nl', '`plug` and a2_resnet26: it has blocks already; choose resnet26'),
    ('c3d', 'a2', '`plug` has no effect on c3d')])
def test_wrong_places_are_one_sentence(name, plug, said):
    size = None if name == 'c3d' else 32
    with pytest.raises(UserError, match=f'^{re.escape(said)}'):
        get_model(name, plug=plug, input_size=size)


@pytest.mark.parametrize('plug, option', [(None, 'ratio'), ('se', 'm'), ('nl', 'n'),
                                          ('se', 'ratio')])
def test_options_without_effect_are_refused(plug, option):
    with pytest.raises(UserError, match=f'`{option}` has no effect on gluoncv:resnet18_v1b'):
        get_model('gluoncv:resnet18_v1b', plug=plug, **{option: 2})


def test_widths_of_blocks():
    net, values = made('resnet18_v1b', plug='a2@stage3:1', m=3, n=5)
    assert values['resnetv1b_layer2_0_a2_phi_conv_weight'].shape[0] == 3
    assert values['resnetv1b_layer2_0_a2_rho_conv_weight'].shape[0] == 5
    ours = get_model('resnet26', plug='a2@stage3:1', m=3, n=5)
    assert [name for name in ours.collect_params() if name.endswith('theta_conv_weight')] == [
        'conv3_unit1_a2_theta_conv_weight']
    assert ours.collect_params()['conv3_unit1_a2_theta_conv_weight'].shape[0] == 5


@pytest.mark.parametrize('name, plug', [
    ('resnet18_v1b', 'a2'), ('resnet18_v2', 'nl'), ('mobilenet0.25', 'se'),
    ('shufflenet_v2', 'a2')])
def test_an_identity_start_gives_the_same_bits(name, plug):
    plain, values = made(name)
    net = get_model(f'gluoncv:{name}', classes=5, input_size=32, plug=plug, identity=True)
    left = load_weights(net, values, new=('blocks',))
    assert left and all(f'_{plug}_' in parameter for parameter in left)
    for each in (plain, net):
        each.hybridize(static_alloc=True, static_shape=True)
    np.testing.assert_array_equal(net(image()).asnumpy(), plain(image()).asnumpy())


def test_no_block_follows_a_dropout():
    net = get_model('gluoncv:squeezenet1.0', classes=5, plug='a2')
    assert places(net) == ['features_10', 'features_12']


def test_networks_of_one_size_say_so():
    with pytest.raises(UserError, match='gluoncv:densenet121 cannot take an input of 32×32'):
        get_model('gluoncv:densenet121', input_size=32)
    net = get_model('gluoncv:squeezenet1.1', classes=5)
    assert net.row.stride == (224, 224) and net.row.fixed  # at 448×448 it gives 2×2 of each
    assert net.row.classifier == 'squeezenet0_conv25_'
    vgg = get_model('gluoncv:vgg11', classes=5, input_size=32)
    assert vgg.row.fixed and vgg.row.stride == (32, 32)


# ---- weights

def by_structure(net, path):
    net.save_parameters(str(path / 'w.params'))
    return path / 'w.params'


def by_name(net, path):
    net.collect_params().save(str(path / 'w.params'))
    return path / 'w.params'


def of_another_instance(net, path):
    values = {name.replace('resnetv1b_', 'mine7_'): parameter.data().asnumpy()
              for name, parameter in net.collect_params().items()}
    (path / 'w.params').write_bytes(params.to_bytes(values))
    return path / 'w.params'


def of_pytorch(net, path):
    """As torchvision names them."""
    norms = {name.rpartition('.')[0] for name in net.plain if name.endswith('running_mean')}
    state = {}
    for name, parameter in net.plain.items():
        layer, _, value = name.rpartition('.')
        if layer in norms:
            value = {'gamma': 'weight', 'beta': 'bias'}.get(value, value)
            state[f'{layer}.num_batches_tracked'] = np.array(7)
        state[f'{layer}.{value}'] = parameter.data().asnumpy()
    norm = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
    units = [f'layer{stage}.{unit}.' for stage in (1, 2, 3, 4) for unit in (0, 1)]
    down = [f'layer{stage}.0.downsample.' for stage in (2, 3, 4)]
    assert set(state) == {  # of torchvision's resnet18
        'conv1.weight', 'fc.weight', 'fc.bias', *(f'bn1.{value}' for value in norm),
        *(f'{unit}conv{i}.weight' for unit in units for i in (1, 2)),
        *(f'{unit}bn{i}.{value}' for unit in units for i in (1, 2) for value in norm),
        *(f'{place}0.weight' for place in down), *(f'{place}1.{v}' for place in down for v in norm)}
    safetensors.numpy.save_file(state, path / 'w.safetensors')
    return path / 'w.safetensors'


@pytest.mark.parametrize('plug, save', [
    (None, by_structure), (None, of_pytorch), *(
        ('a2', save) for save in (by_structure, by_name, of_another_instance, of_pytorch))])
def test_weights_of_every_kind(tmp_path, save, plug):
    source, values = made('resnet18_v1b')
    net = get_model('gluoncv:resnet18_v1b', classes=5, input_size=32, plug=plug)
    left = load_weights(net, save(source, tmp_path), new=('blocks',))
    assert all('_a2_' in name for name in left) and bool(left) == bool(plug)
    for name, value in values.items():
        np.testing.assert_array_equal(net.collect_params()[name].data().asnumpy(), value)


def test_weights_of_another_network_are_listed(tmp_path):
    source, _ = made('resnet18_v1b')
    net = get_model('gluoncv:resnet34_v1b', classes=5, input_size=32)
    with pytest.raises(UserError, match=r'does not fit gluoncv:resnet34_v1b: 80 arrays are lacking,'
                                        r' 0 unknown, 0 of another shape .* and 70 more\); give '
                                        r'weights of gluoncv:resnet34_v1b$'):
        load_weights(net, by_structure(source, tmp_path), new=('classifier',))


# ---- as a recipe has them

def recipe(pretrained=None, **given):
    return dataclasses.replace(recipes.choose('imagenet_a2_resnet50', {
        'model': 'gluoncv:resnet18_v1b', 'plug': 'a2@stage3:1', 'input_size': 32, 'classes': 3,
        **given}), pretrained=None if pretrained is None else str(pretrained))


def test_another_number_of_classes_starts_a_new_classifier(tmp_path):
    source, values = made('resnet18_v1b')
    path = by_structure(source, tmp_path)
    net = network.build(recipe(path))
    assert net.notes == [f'weights of {path}',
                         'blocks start anew, as identities: resnetv1b_layer2_0_a2',
                         'classifier starts anew: 5 → 3 classes']
    np.testing.assert_array_equal(
        net.collect_params()['resnetv1b_conv0_weight'].data().asnumpy(),
        values['resnetv1b_conv0_weight'])
    expand = net.collect_params()['resnetv1b_layer2_0_a2_expand_conv_weight'].data().asnumpy()
    assert not expand.any()
    start = net.collect_params()['resnetv1b_dense0_weight'].data().asnumpy()
    assert start.shape == (3, 512) and 0.009 < start.std() < 0.011  # small logits at first


@pytest.mark.parametrize('given, zero', [({}, False), ({'identity': True}, True),
                                         ({'identity': False}, False)])
def test_blocks_start_as_said(given, zero):
    net = network.build(recipe(**given))
    expand = net.collect_params()['resnetv1b_layer2_0_a2_expand_conv_weight'].data().asnumpy()
    assert expand.any() != zero


def test_a_start_is_refused_where_there_are_no_blocks():
    with pytest.raises(UserError, match='`identity` has no effect on gluoncv:resnet18_v1b'):
        network.create(recipe(plug=None, identity=False))


def test_the_papers_networks_take_blocks_too():
    net = network.create(recipe(model='resnet26', plug='a2@stage4', ratio=2))
    assert net.row.name == 'a2_resnet26' and net.blocks == {'conv4': (1, 2)}


def test_preprocessing_is_exported_as_it_was_brought():
    preprocessing = network.preprocessing(recipe())
    np.testing.assert_allclose(preprocessing.mean, np.multiply((0.485, 0.456, 0.406), 255))
    np.testing.assert_allclose(preprocessing.scale, 1 / np.multiply((0.229, 0.224, 0.225), 255))
    assert preprocessing.interpolation == 'bilinear' and preprocessing.size == 32
    image = np.full((32, 32, 3), (124, 116, 104), 'uint8')
    assert np.abs(preprocessing.normalise(image)).max() < 0.01
    assert network.bundle(network.build(recipe()), recipe(), list('abc'), {}).meta[
        'network'] == 'a2_resnet18_v1b'


def test_gluoncvs_own_download(monkeypatch, tmp_path):
    source, values = made('resnet18_v1b', classes=3)
    path = by_structure(source, tmp_path)
    monkeypatch.setattr('gluoncv.model_zoo.model_store.get_model_file', lambda name: str(path))
    net = network.build(recipe('gluoncv'))
    assert net.notes[0] == 'weights of gluoncv' and len(net.notes) == 2
    with pytest.raises(UserError, match='`pretrained` gluoncv is for its networks, such as'):
        network.build(recipe('gluoncv', model='resnet26', plug=None))

    def fails(error):
        def raises(name):
            raise error
        monkeypatch.setattr('gluoncv.model_zoo.model_store.get_model_file', raises)
        with pytest.raises(UserError) as caught:
            network.build(recipe('gluoncv'))
        return str(caught.value)

    assert fails(OSError('no route')) == (
        'the weights of gluoncv:resnet18_v1b cannot be downloaded (OSError): give their file as '
        '`pretrained`, or try again where there is a network connection')
    assert fails(KeyError('x')) == ('GluonCV has no weights of gluoncv:resnet18_v1b: give a file '
                                    'as `pretrained`')
