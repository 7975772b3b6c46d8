"""get_model: names, defaults, options, and one clear sentence for each mistake."""
import re

import pytest

from gluon_a2.backend import mx
from gluon_a2.errors import UserError
from gluon_a2.models import (
    BACKBONES,
    ZOO,
    get_model,
    list_baselines,
    list_models,
    load_weights,
    plug,
)
from gluon_a2.models.table import BASELINE_ROWS, Row, usual_blocks
from gluon_a2.nn import BLOCKS, DoubleAttention, NonLocal, block_of
from gluon_a2.nn.blocks import BlockRow

BACKBONE_NAMES = ('resnet26', 'resnet26_3d', 'resnet29', 'resnet29_3d', 'resnet50', 'resnet50_3d',
                  'resnet152')
NAMES = sorted(['bagnet26', 'mfnet', 'mfnet_3d', *(kind + base for kind in ('', 'a2_', 'nl_', 'se_')
                                       for base in BACKBONE_NAMES)])


def test_the_zoo_has_these_names():
    assert list_models() == NAMES and set(ZOO) == set(NAMES)
    assert set(BACKBONES) == {'resnet26', 'resnet29', 'resnet50', 'resnet152', 'mfnet', 'bagnet26'}


@pytest.mark.parametrize('name', NAMES)
def test_every_name_builds_in_any_case(name):
    for spelled in (name, name.upper(), name.title()):
        net = get_model(spelled, classes=3)
        assert net.row.name == name and net.classes == 3
    assert get_model(name).classes == (400 if name.endswith('_3d') else 1000)
    size = ZOO[name].input_size
    assert size == {'resnet50_3d': (8, 224, 224), 'resnet26_3d': (16, 112, 112),
                    'resnet29_3d': (16, 112, 112), 'resnet50': (224, 224), 'resnet152': (224, 224),
                    'resnet26': (112, 112), 'resnet29': (112, 112), 'mfnet': (224, 224),
                    'mfnet_3d': (16, 224, 224), 'bagnet26': (112, 112)
                    }[name.split('_', 1)[-1] if name[2] == '_' else name]
    _, outputs, _ = net(mx.sym.var('data')).infer_shape(data=(5, 3, *size))
    assert outputs == [(5, 3)]


@pytest.mark.parametrize('name', ['resnet51', '', 'a2 resnet50', 'RESNET50_V1'])
def test_an_unknown_name_lists_all(name):
    with pytest.raises(UserError) as caught:
        get_model(name)
    message = str(caught.value)
    assert message.startswith(f'unknown model {name!r}')
    assert message.endswith('choose one of ' + ', '.join([*NAMES, *list_baselines()])
                            + ', or one of GluonCV, such as gluoncv:resnet50_v1b')


def test_a_near_name_is_suggested():
    with pytest.raises(ValueError, match=re.escape("unknown model 'A2_resnet5O' (did you mean "
                                                   "a2_resnet50?): choose")):
        get_model('A2_resnet5O')


@pytest.mark.parametrize('name,options,sentence', [
    ('resnet26', {'classes': 0}, '`classes` must be 1 or more, not 0'),
    ('resnet26', {'classes': -3}, '`classes` must be 1 or more, not -3'),
    ('resnet26', {'dropout': 1}, '`dropout` must be 0 or more and below 1, not 1'),
    ('resnet26', {'dropout': -0.1}, '`dropout` must be 0 or more and below 1, not -0.1'),
    ('resnet26', {'dropout': float('nan')}, '`dropout` must be 0 or more and below 1, not nan'),
    ('resnet26', {'pretrained': True},
     'no weights of resnet26 come along, only of a2_resnet26: give the path of a .params file as '
     '`pretrained`'),
    ('resnet26', {'pretrained': 'no/such.params'},
     'the weights no/such.params cannot be read: No such file or directory'),
    ('a2_resnet26', {'blocks': {'conv6': (1,)}},
     "unknown stage 'conv6' in `blocks`: choose from conv2, conv3, conv4, conv5"),
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
    ('a2_resnet26', {'softmax': 'all'}, 'softmax'),
    ('a2_resnet26', {'blocks': {'conv4': 2}}, 'conv4'),
    ('a2_resnet26', {'blocks': ['conv4']}, 'blocks'),
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
        return [child.association for child in net.features._children.values()
                if isinstance(child, DoubleAttention)]

    assert chosen(112) == ['left'] * 4
    assert chosen(32) == ['right'] * 4  # 8×8 and 4×4
    assert chosen(36) == ['left'] * 2 + ['right'] * 2  # 9×9 and 5×5
    assert chosen((96, 88)) == ['left'] * 4
    assert chosen(88) == ['left'] * 2 + ['right'] * 2


PLAIN = ['last_gamma', 'dropout']
TAKEN = {'': PLAIN, 'a2_': [*PLAIN, 'blocks', 'ratio', 'association', 'softmax', 'identity'],
         'nl_': [*PLAIN, 'blocks', 'ratio', 'identity'], 'se_': [*PLAIN, 'blocks', 'identity']}
VALUES = {'blocks': {'conv4': (1,)}, 'ratio': 2, 'association': 'right', 'softmax': 'none',
          'identity': True, 'last_gamma': True, 'dropout': 0.5}
WHOSE = {'blocks': 'a2 and nl and se blocks', 'ratio': 'a2 and nl blocks',
         'association': 'a2 blocks', 'softmax': 'a2 blocks', 'identity': 'a2 and nl and se blocks',
         'last_gamma': "the paper's networks", 'dropout': "the paper's networks"}


@pytest.mark.parametrize('name,taken', [
    *((f'{kind}resnet26', taken) for kind, taken in TAKEN.items()), ('res3d_resnet18', [])])
@pytest.mark.parametrize('option', VALUES)
def test_an_option_without_effect_is_refused(name, taken, option):
    """And one that is taken changes the network."""
    if option in taken:
        changed, plain = (get_model(name, classes=5, **options) for options in (
            {option: VALUES[option]}, {}))
        assert description(changed) != description(plain)
    else:
        with pytest.raises(UserError) as caught:
            get_model(name, **{option: VALUES[option]})
        assert str(caught.value) == (f'`{option}` has no effect on {name}: leave it out '
                                     f'(it is for {WHOSE[option]})')


def description(net):
    """Its graph, and how each parameter starts."""
    return net(mx.sym.var('data')).tojson(), [p.init for p in net.collect_params().values()]


def test_every_row_names_a_recipe_whose_frames_it_takes():
    from gluon_a2.run.recipes import RECIPES
    for row in {**ZOO, **BASELINE_ROWS}.values():
        recipe = RECIPES[row.recipe]
        assert bool(recipe.frames) == (row.dims == 3)
        assert (row.recipe == 'kinetics_ablation') == (row.dims == 3 and row.input_size[0] == 16)


def test_a_new_kind_of_block_is_its_file_and_a_row(monkeypatch):
    """Built, placed, held to its options, loaded and plugged by the row."""
    class Mine(NonLocal):
        """As if from a file of its own."""

    monkeypatch.setitem(BLOCKS, 'mine', BlockRow(Mine, 'my own', ('identity',)))
    row = Row('mine_resnet26', 'resnet26', 2, 'mine', usual_blocks('mine', BACKBONES['resnet26']))
    monkeypatch.setitem(ZOO, row.name, row)
    net = get_model('mine_resnet26', classes=5, identity=True)
    plain = get_model('resnet26', classes=5)
    assert sum(isinstance(child, Mine) for child in net.features._children.values()) == 4
    with pytest.raises(UserError, match='^`ratio` has no effect on mine_resnet26'):
        get_model('mine_resnet26', ratio=2)
    plain.initialize()
    weights = {name: p.data().asnumpy() for name, p in plain.collect_params().items()}
    left = load_weights(net, weights, new=('blocks',))
    assert {block_of(name) for name in left} == {f'conv{s}_unit{u}_mine' for s in (3, 4)
                                                 for u in (1, 2)}
    plain.hybridize()
    block, = plug(plain, 'mine', ['features.4'], input_size=(32, 32)).values()
    x = mx.nd.ones((1, 3, 32, 32))
    assert isinstance(block, Mine) and (plain(x) == net(x)).asnumpy().all()
