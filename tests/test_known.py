"""The rows of GluonCV's networks: complete, without doubles, and what they bring."""
import pytest

from gluon_a2 import known
from gluon_a2.data.preprocess import INTERPOLATIONS
from gluon_a2.errors import UserError
from gluon_a2.legacy import lent_to_gluoncv
from gluon_a2.run import recipes


def test_every_name_is_in_one_row_and_in_gluoncv():
    with lent_to_gluoncv():
        from gluoncv.model_zoo import get_model_list
    names = [name for family in known.FAMILIES for name in family.names]
    assert len(names) == len(set(names)) == 123
    assert set(names) <= set(get_model_list())


def test_an_unknown_name_lists_all():
    with pytest.raises(UserError, match=r'^gluoncv:resnet50_v1z is no classification network of '
                                        r'GluonCV \(did you mean gluoncv:resnet50_v1\w?\?\): '
                                        r'choose one of alexnet, .*xception71, with gluoncv:'):
        known.family('gluoncv:resnet50_v1z')
    with pytest.raises(UserError, match='yolo3_darknet53_voc is no classification network'):
        known.brought('gluoncv:yolo3_darknet53_voc')


@pytest.mark.parametrize('name, size, mean', [
    ('gluoncv:inceptionv3', 299, 0.485), ('GluonCV:MobileNet0.25', 224, 0.485),
    ('gluoncv:cifar_resnet20_v1', 32, 0.4914), ('gluoncv:resnest101', 256, 0.485)])
def test_a_network_brings_its_input(name, size, mean):
    recipe = recipes.choose('imagenet_a2_resnet50', {'model': name})
    assert (recipe.input_size, recipe.mean[0], recipe.pixels) == (size, mean, 1)
    assert recipe.interpolation == 'bilinear'


def test_a_recipe_takes_every_interpolation():
    """It names them itself, since the command lines are read without OpenCV."""
    field = recipes.Recipe.__dataclass_fields__['interpolation']
    assert field.metadata['choices'] == tuple(INTERPOLATIONS)


def test_what_is_given_goes_before_what_is_brought():
    given = {'model': 'gluoncv:inceptionv3', 'input_size': 75, 'mean': (1, 2, 3), 'std': (4, 5, 6),
             'pixels': 255}
    recipe = recipes.choose('imagenet_a2_resnet50', given)
    assert {name: getattr(recipe, name) for name in given} == given
    with pytest.raises(UserError, match='`mean` needs `pixels`: give both'):  # whatever it brings
        recipes.choose('imagenet_a2_resnet50', {'model': 'gluoncv:alexnet', 'mean': (1, 2, 3),
                                                'std': (4, 5, 6)})


def test_the_papers_networks_bring_nothing():
    assert known.brought('a2_resnet50') == {}
    assert recipes.choose('imagenet_a2_resnet50', {}).mean is None
