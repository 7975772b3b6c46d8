"""The command most users come with: a network of GluonCV, their folders, blocks in it; then all
that is done with a run."""
import json

import cv2
import numpy as np
from loading import call, process

from gluon_a2.run import load

NETWORK = ('--model', 'gluoncv:mobilenet0.25', '--plug', 'a2', '--classes', 3, '--input-size', 32)


def folders(root):
    """Pictures of three classes, four to train on and two held out."""
    draw = np.random.RandomState(0)
    for part, count in (('train', 4), ('val', 2)):
        for name in ('cat', 'dog', 'eel'):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                cv2.imwrite(str(folder / f'{i}.png'), draw.randint(0, 255, (40, 48, 3), 'uint8'))
    return root


def test_from_weights_to_a_picture_of_attention(tmp_path):
    data, run = folders(tmp_path / 'data'), tmp_path / 'run'
    flags = (*NETWORK, '--data-dir', data, '--num-steps', 2, '--batch-size', 4, '-j', 0)
    out, _ = process('train_imagenet.py', *flags, '--save-dir', run)
    prefix = run / 'export' / 'a2_mobilenet0.25'
    assert f'network: {prefix}' in out
    recipe = json.loads((run / 'run.json').read_text())['recipe']
    assert (recipe['model'], recipe['plug'], recipe['pixels']) == ('gluoncv:mobilenet0.25', 'a2', 1)
    scores = [call('score.py', source, '--data-dir', data, '-j', 0)[0] for source in (run, prefix)]
    assert scores[0].replace('mxnet', 'mxnet-fused') == scores[1] and 'on 6 images' in scores[0]
    assert 'cat' in call('predict.py', '--model', prefix, data / 'val' / 'cat' / '0.png')[0]
    call('export.py', run, '--out', tmp_path / 'net', '--onnx')
    assert (tmp_path / 'net.onnx').exists()
    call('visualize_attention.py', data / 'val' / 'cat' / '0.png', '--model', run, '--blocks',
         'mobilenet0_features_32', '--out', tmp_path / 'seen')
    assert (tmp_path / 'seen' / 'sheet.png').exists()
    assert 'a2_mobilenet0.25-symbol.json' in call(
        'count_cost.py', f'{prefix}-symbol.json', '--input-size', 32)[0]
    assert '0 steps in' in call('train_imagenet.py', *flags, '--save-dir', run, '--resume')[1]

    # the run as initial weights
    other = (*flags, '--pretrained', run, '--lr', 1e-12, '--wd', 0, '--save-dir', tmp_path / 'next')
    assert f'weights of {run}' in call('train_imagenet.py', *other)[1]
    before, after = (load.load(folder).meta for folder in (run, tmp_path / 'next'))
    assert before['mean'] == after['mean'] and before['resize'] == 'bilinear'


def test_export_by_name(tmp_path):
    call('export.py', 'gluoncv:mobilenet0.25', '--untrained', '--input-size', 32, '--out',
         tmp_path / 'net')
    meta = load.load(tmp_path / 'net').meta
    assert (meta['network'], meta['resize'], len(meta['classes'])) == ('mobilenet0.25', 'bilinear',
                                                                       1000)
