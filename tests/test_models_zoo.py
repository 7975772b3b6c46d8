"""get_model: names, defaults, weights from a file, and one clear sentence for each mistake."""
import re

import numpy as np
import pytest
from test_nn_oracle import randomize

from gluon_a2.backend import mx
from gluon_a2.errors import UserError
from gluon_a2.models import BACKBONES, ZOO, UnknownModel, get_model, list_baselines, list_models
from gluon_a2.nn import DoubleAttention

NAMES = sorted(kind + base for kind in ('', 'a2_', 'nl_', 'se_') for base in (
    'resnet26', 'resnet26_3d', 'resnet29_3d', 'resnet50', 'resnet50_3d', 'resnet152'))


def test_the_zoo_has_these_names():
    assert list_models() == NAMES and set(ZOO) == set(NAMES)
    assert set(BACKBONES) == {'resnet26', 'resnet29', 'resnet50', 'resnet152'}


@pytest.mark.parametrize('name', NAMES)
def test_every_name_builds_in_any_case(name):
    for spelled in (name, name.upper(), name.title()):
        net = get_model(spelled, classes=3)
        assert net.row.name == name and net.classes == 3
    assert get_model(name).classes == (400 if name.endswith('_3d') else 1000)
    size = ZOO[name].input_size
    assert size == {
        'resnet50_3d': (8, 224, 224), 'resnet26_3d': (16, 112, 112), 'resnet29_3d': (16, 112, 112),
        'resnet50': (224, 224), 'resnet152': (224, 224), 'resnet26': (112, 112)
    }[name.split('_', 1)[-1] if name[2] == '_' else name]
    _, outputs, _ = net(mx.sym.var('data')).infer_shape(data=(5, 3, *size))
    assert outputs == [(5, 3)]


@pytest.mark.parametrize('name', ['resnet51', '', 'a2 resnet50', 'RESNET50_V1'])
def test_an_unknown_name_lists_all(name):
    with pytest.raises(UnknownModel) as caught:
        get_model(name)
    assert isinstance(caught.value, (ValueError, UserError))
    message = str(caught.value)
    assert message.startswith(f'unknown model {name!r}')
    assert message.endswith('choose one of ' + ', '.join([*NAMES, *list_baselines()]))


def test_a_near_name_is_suggested():
    with pytest.raises(ValueError, match=re.escape("unknown model 'A2_resnet5O' (did you mean "
                                                   "a2_resnet50?): choose")):
        get_model('A2_resnet5O')


@pytest.mark.parametrize('name,options,sentence', [
    ('resnet26', {'classes': 0}, 'classes must be at least 1, not 0'),
    ('resnet26', {'classes': -3}, 'classes must be at least 1, not -3'),
    ('resnet26', {'dropout': 1}, 'dropout must lie in [0, 1), not 1'),
    ('resnet26', {'dropout': -0.1}, 'dropout must lie in [0, 1), not -0.1'),
    ('resnet26', {'dropout': float('nan')}, 'dropout must lie in [0, 1), not nan'),
    ('resnet26', {'pretrained': True},
     'no weights of resnet26 are published: give the path of a .params file as pretrained'),
    ('resnet26', {'pretrained': 'no/such.params'},
     'the weights no/such.params cannot be read: No such file or directory'),
    ('resnet26', {'blocks': {'conv4': (1,)}},
     'resnet26 has no blocks to place: put a2_, nl_ or se_ in front of its name'),
    ('a2_resnet26', {'blocks': {'conv6': (1,)}},
     "unknown stage 'conv6' in blocks: choose from conv2, conv3, conv4, conv5"),
    ('a2_resnet26', {'blocks': {'conv4': (1, 3)}}, 'conv4 of a2_resnet26 has no unit 3: its units '
                                                   'are 1 to 2'),
    ('a2_resnet26', {'blocks': {'conv4': (0,)}}, 'conv4 of a2_resnet26 has no unit 0: its units '
                                                 'are 1 to 2'),
    ('a2_resnet26', {'input_size': 15},
     'a2_resnet26 cannot take an input of 15×15: its total stride is 16×16, so that is the '
     'smallest'),
    ('a2_resnet50_3d', {'input_size': (1, 64, 64)},
     'a2_resnet50_3d cannot take an input of 1×64×64: its total stride is 2×32×32, so that is the '
     'smallest'),
    ('a2_resnet50_3d', {'input_size': 31},
     'a2_resnet50_3d cannot take an input of 8×31×31: its total stride is 2×32×32, so that is the '
     'smallest')])
def test_a_mistake_is_one_sentence(name, options, sentence):
    with pytest.raises(UserError) as caught:
        get_model(name, **options)
    assert str(caught.value) == sentence


@pytest.mark.parametrize('name,options,named', [
    ('resnet26', {'classes': 2.5}, 'classes'), ('resnet26', {'classes': '10'}, 'classes'),
    ('resnet26', {'dropout': '0.5'}, 'dropout'),
    ('a2_resnet26', {'ratio': 0}, 'ratio'), ('a2_resnet26', {'ratio': -1}, 'ratio'),
    ('a2_resnet26', {'ratio': 1000}, 'ratio'),  # no channel would be left inside
    ('a2_resnet26', {'association': 'middle'}, 'association'),
    ('nl_resnet26', {'association': 'middle'}, 'association'),
    ('a2_resnet26', {'blocks': {'conv4': 2}}, 'conv4'), ('a2_resnet26', {'blocks': ['conv4']}, 'blocks'),
    ('a2_resnet26', {'blocks': {'conv4': (1.5,)}}, 'conv4'),
    ('resnet26', {'input_size': 64.0}, 'input'), ('resnet26', {'input_size': '64'}, 'input'),
    ('resnet26', {'input_size': (64.5, 64)}, 'input')])
def test_a_value_that_makes_no_network_is_refused_by_name(name, options, named):
    with pytest.raises(UserError, match=named):
        get_model(name, **options)


def test_a_size_with_too_many_axes_is_told_so():
    """8×112×112 is no smaller than 16×16: the sentence must speak of axes."""
    with pytest.raises(UserError, match=r'8×112×112.*(axes|height)'):
        get_model('resnet26', input_size=(8, 112, 112))


def test_auto_association_follows_the_input_size():
    """m = n = 64 in conv3 of ResNet-26, at stride 4, and 128 in conv4, at stride 8.

    (dhw)² > mn is dhw > m: not yet for 8·8 and for 11·11 positions, but for 9·9 and for 12·11.
    """
    def chosen(size):
        net = get_model('a2_resnet26', association='auto', input_size=size)
        return [
            child.association for child in net.features._children.values()
            if isinstance(child, DoubleAttention)
        ]

    assert chosen(112) == ['left'] * 4
    assert chosen(32) == ['right'] * 4  # 8×8 and 4×4
    assert chosen(36) == ['left'] * 2 + ['right'] * 2  # 9×9 and 5×5
    assert chosen((96, 88)) == ['left'] * 4
    assert chosen(88) == ['left'] * 2 + ['right'] * 2


def small(name='resnet26', **options):
    net = get_model(name, classes=5, **options)
    net.initialize()
    return net, randomize(net, 1)


def outputs(net, size=(32, 32)):
    return net(mx.nd.array(np.random.RandomState(4).normal(size=(2, 3, *size)))).asnumpy()


def saved_by_export(net, path):
    net.hybridize()
    net(mx.nd.zeros((1, 3, 32, 32)))
    net.export(str(path / 'net'))
    return path / 'net-0000.params'


def saved_by_names(net, path):
    net.collect_params().save(str(path / 'net.params'))
    return path / 'net.params'


def saved_by_structure(net, path):
    net.save_parameters(str(path / 'net.params'))
    return path / 'net.params'


@pytest.mark.parametrize('save', [saved_by_export, saved_by_names, saved_by_structure])
@pytest.mark.parametrize('kind', [str, 'path'])
def test_pretrained_is_a_file_exported_or_saved_by_gluon(tmp_path, save, kind):
    net, p = small('a2_resnet26')
    path = save(net, tmp_path)
    again = get_model('A2_ResNet26', pretrained=path if kind == 'path' else str(path), classes=5)
    assert {name: value.data().asnumpy().tolist() for name, value in again.collect_params().items()
            if 'bn' in name} == {name: value.tolist() for name, value in p.items() if 'bn' in name}
    np.testing.assert_array_equal(outputs(again), outputs(small('a2_resnet26')[0]))
    assert [value.list_ctx() for value in again.collect_params().values()] == [[mx.cpu()]] * len(p)


def test_pretrained_goes_to_the_context_asked_for(tmp_path):
    path = saved_by_names(small()[0], tmp_path)
    net = get_model('resnet26', pretrained=path, classes=5, ctx=mx.cpu(1))
    assert {context for value in net.collect_params().values()
            for context in value.list_ctx()} == {mx.cpu(1)}


@pytest.mark.parametrize('name,options,sentence', [
    ('a2_resnet26', {'classes': 5}, 'holds weights of another network: it lacks conv3_unit1_a2_expand_bn_beta '
                                    r'\(80 missing, 0 unknown of 215\)'),
    ('resnet26', {'classes': 7}, r'holds weights of another network: fc_weight is \(5, 1024\), not \(7, 1024\)'),
    ('resnet50', {'classes': 5}, 'holds weights of another network: it lacks conv2_unit3_bn_beta')])
def test_weights_of_another_network_are_refused(tmp_path, name, options, sentence):
    path = saved_by_names(small()[0], tmp_path)
    with pytest.raises(UserError, match=f'^{re.escape(str(path))} {sentence}'):
        get_model(name, pretrained=path, **options)


def test_weights_with_too_much_are_refused(tmp_path):
    path = saved_by_names(small('a2_resnet26')[0], tmp_path)
    with pytest.raises(
            UserError,
            match=r'it has conv3_unit1_a2_expand_bn_beta, which the network lacks \(0 missing'):
        get_model('resnet26', pretrained=path, classes=5)


@pytest.mark.parametrize('content', [b'', b'<!DOCTYPE html><html><body>404 Not Found</body></html>' * 9, b'\x00' * 100],
                         ids=['empty', 'html', 'zeros'])
def test_a_file_that_is_no_weights_is_refused(tmp_path, content):
    path = tmp_path / 'net.params'
    path.write_bytes(content)
    with pytest.raises(UserError, match=f'^{re.escape(str(path))} is not a sound .params file: it '
                                        '.*export it again$'):
        get_model('resnet26', pretrained=path)


def test_arrays_without_names_are_refused(tmp_path):
    path = tmp_path / 'net.params'
    mx.nd.save(str(path), [mx.nd.ones((2, 3))])
    with pytest.raises(UserError, match=f'^{re.escape(str(path))} '):
        get_model('resnet26', pretrained=path)


def test_a_folder_is_no_file_of_weights(tmp_path):
    with pytest.raises(UserError, match=f'^the weights {re.escape(str(tmp_path))} cannot be read: '
                                        'Is a directory$'):
        get_model('resnet26', pretrained=tmp_path)
