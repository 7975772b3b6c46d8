"""A run of an older version, with an option that has no effect and is now refused."""
import dataclasses
import json

import numpy as np
import pytest
from test_run_folder import open_run

from gluon_a2.errors import UserError
from gluon_a2.run import network, recipes
from gluon_a2.run.checkpoint import Checkpoint

OLD = dataclasses.replace(recipes.RECIPES['digits'], model='se_resnet26', association='right')


def test_its_network_is_restored(tmp_path):
    with pytest.raises(UserError, match='`association` has no effect on se_resnet26'):
        network.create(OLD)
    net = network.build(dataclasses.replace(OLD, association='left'))
    values = {name: value.data().asnumpy() for name, value in net.collect_params().items()}
    bundle = network.restored(Checkpoint(
        tmp_path, {f'param/{name}': value for name, value in values.items()},
        {'recipe': recipes.to_json(OLD), 'classes': list('0123456789'), 'data': 'digits',
         'at': {'step': 3}}))
    np.testing.assert_array_equal(bundle.values['fc_weight'], values['fc_weight'])


def test_it_goes_on_without_that_option(tmp_path, monkeypatch):
    monkeypatch.setattr('tiny.RECIPE', dataclasses.replace(OLD, association='left'))
    with open_run(tmp_path / 'run'):
        pass
    made = json.loads((tmp_path / 'run/run.json').read_text())
    made['recipe']['association'] = 'right'
    (tmp_path / 'run/run.json').write_text(json.dumps(made))
    with open_run(tmp_path / 'run', resume=True):
        pass
