"""Files of the version before the redesign still load, score and resume: data/version_0_1."""
import dataclasses
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_video

from gluon_a2 import data
from gluon_a2.deploy import Classifier
from gluon_a2.run import load, recipes

FILES = Path(__file__).parent / 'data' / 'version_0_1' / 'files.tar.xz'


@pytest.fixture(scope='module')
def old(tmp_path_factory):
    folder = tmp_path_factory.mktemp('old')
    with tarfile.open(FILES) as tar:
        # Python 3.14 does so by itself, and 3.8.16 and older have no filters
        safely = {'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}
        tar.extractall(folder, **safely)
    return folder


def expected(old):
    return json.loads((old / 'expected.json').read_text())


def sources(old):
    return {'image': data.open_source(old / 'data' / 'images', 'val'),
            'video': data.open_video_source(old / 'data' / 'videos', 'val')}


@pytest.mark.parametrize('kind', ['image', 'video'])
def test_exported_files_score_the_same(old, kind):
    net = Classifier(old / f'{kind}_export' / ('a2_tiny' if kind == 'image' else 'a2_tiny_3d'))
    scores, then = net.score(sources(old)[kind], 5, 0), expected(old)[kind]
    assert (scores.top1, scores.top5) == (then['top1'], then['top5'])


@pytest.mark.parametrize('engine', ['mxnet', 'onnxruntime'])
def test_the_forms_give_the_same_logits(old, engine):
    np.testing.assert_allclose(logits(old, engine), expected(old)[engine]['logits'], rtol=1e-4,
                               atol=1e-4)


def test_int8_is_as_close_to_float32_as_it_was(old):
    """The kept logits come from a CPU without VNNI, where oneDNN's 16-bit sums saturate."""
    plain, then = logits(old, 'mxnet'), np.array(expected(old)['mxnet-int8']['logits'])
    assert abs(logits(old, 'mxnet-int8') - plain).max() <= abs(then - plain).max() + 0.1


def logits(old, engine):
    net, source = Classifier(old / 'image_forms' / 'a2_tiny', engine=engine), sources(old)['image']
    return net.logits(np.stack([net.preprocess(source.read(i)) for i in range(3)]))


@pytest.mark.parametrize('kind, model, job', [
    ('image', 'a2_tiny', tiny), ('video', 'a2_tiny_3d', tiny_video)])
def test_a_run_is_resumed_to_the_end_it_would_have_had(old, tiny_zoo, tmp_path, monkeypatch, kind,
                                                       model, job):
    monkeypatch.chdir(old)
    folder = old / f'{kind}_run'
    bundle = load.load(folder)
    assert bundle.meta['training']['step'] == 3 and bundle.meta['network'] == model
    recipe = recipes.from_json(json.loads((folder / 'run.json').read_text())['recipe'])
    assert recipe == dataclasses.replace(job.RECIPE, model=model, dropout=0.1,
                                         batch_size=recipe.batch_size, draws='uniform',
                                         stretch='training', interpolation='bicubic')
    _, sums = job.run(folder, f'data/{kind}s', recipe, resume=True)
    found, state = tiny.final_tensors(folder)
    with np.load(old / f'{kind}_final.npz') as final:
        assert set(final.files) == set(found)
        for kind_of in ('param', 'state'):  # each CPU rounds in its own way
            names = [name for name in found if name.startswith(kind_of)]
            then = np.concatenate([final[name].ravel() for name in names])
            now = np.concatenate([np.frombuffer(found[name], np.float32) for name in names])
            assert np.linalg.norm(now - then) <= 1e-3 * np.linalg.norm(then)
    assert state['at']['step'] == 6
    if kind == 'image':
        assert sums.top1 == expected(old)['image']['top1']
