"""score.py, export.py and predict.py on one small run, each once as a process."""
import csv
import json
import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from loading import call, process
from tiny_bundle import AVX512

from gluon_a2.data import imagenet

pytestmark = pytest.mark.usefixtures('tiny_zoo')


@pytest.fixture(scope='module')
def trained(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp('runs') / 'run'
    tiny.run(folder, images)
    return folder


def logged(folder):
    return json.loads((folder / 'log.jsonl').read_text().splitlines()[-1])


@pytest.mark.parametrize('source, engine', [
    ('export/a2_tiny', 'mxnet-fused'), ('export/a2_tiny-symbol.json', 'mxnet-fused'),
    ('.', 'mxnet')])
def test_score_repeats_the_validation_of_the_run(trained, images, source, engine):
    say = process if source == 'export/a2_tiny' else call
    out, _ = say('score.py', trained / source, '--data-dir', images)
    last = logged(trained)
    assert out == (f'{100 * last["val_top1"]:.2f} % top-1, {100 * last["val_top5"]:.2f} % top-5 on '
                   f'13 images, 16×16, by {engine}\n')


def test_score_larger_with_mean_max_and_on_the_training_half(trained, images):
    out, _ = call('score.py', trained, '--checkpoint', 'best', '--data-dir', images, '--part',
                  'train', '--size', '48', '--crop-ratio', '1', '--mean-max', '-j', '0',
                  '--batch-size', '9')
    assert re.fullmatch(r'[\d.]+ % top-1, [\d.]+ % top-5 on 40 images, 48×48, mean-max pooling, '
                        r'by mxnet\n', out)


def test_score_saves_what_is_said_of_each_image(trained, images, tmp_path):
    from gluon_a2 import data
    from gluon_a2.deploy import Classifier
    out, _ = call('score.py', trained, '--data-dir', images, '-j', '0', '--out', tmp_path / 'one',
                  '--top', '99', '--worst', '3', '--logits', '--features')
    with open(tmp_path / 'one' / 'samples.csv', newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    net = Classifier(trained / 'export' / 'a2_tiny', engine='mxnet')
    source = data.open_source(images, 'val')
    assert [row['path'] for row in rows] == [source.name(i) for i in range(13)]
    assert [int(row['label']) for row in rows] == source.labels.tolist()
    guesses = [(row[f'guess_{i}'], row[f'probability_{i}']) for row in rows for i in range(1, 11)]
    said = [[(name, f'{share:.6f}') for name, share in net.best(net.logits(
        net.preprocess(source.read(i))[None]), 99)] for i in range(13)]
    assert guesses == sum(said, []) and len(guesses) == 130
    right = sum(row['outcome'] == 'right' for row in rows)
    assert f'{100 * right / 13:.2f} % top-1' in out
    assert f'3 of {13 - right} mistakes in worst.png' in out
    assert cv2.imread(str(tmp_path / 'one' / 'worst.png')).std() > 5
    logits = np.load(tmp_path / 'one' / 'logits.npy')
    assert logits.shape == (13, 10)
    assert np.load(tmp_path / 'one' / 'features.npy').shape == (13, 16)
    np.testing.assert_allclose(logits[4:5], net.logits(net.preprocess(source.read(4))[None]),
                               rtol=1e-5, atol=1e-6)


def test_one_row_for_each_network_the_failures_too(trained, images, tmp_path):
    net, table = trained / 'export' / 'a2_tiny', tmp_path / 'results.csv'
    _, err = call('score.py', net, tmp_path / 'none', trained, net, '--data-dir', images, '-j', '0',
                  '--results', table, '--out', tmp_path / 'out', code=1)
    with open(table, newline='') as file:
        rows = list(csv.DictReader(file))
    last = {'network': 'a2_tiny', 'data': str(images), 'part': 'val',
            'samples': '13', 'top1': f'{logged(trained)["val_top1"]:.6f}', 'error': ''}
    for row, engine in (rows[0], 'mxnet-fused'), (rows[2], 'mxnet'), (rows[3], 'mxnet-fused'):
        assert {name: row[name] for name in last} == last and row['engine'] == engine
    assert rows[1]['top1'] == '' and 'none-meta.json does not exist' in rows[1]['error']
    assert f'error: {tmp_path / "none"}: ' in err
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        'a2_tiny-1', 'a2_tiny-4', 'run']


def test_folders_with_one_image_a_class_and_strange_names(trained, tmp_path):
    """Nine of the ten classes, one image of each, one of which cannot be read, and names that are
    hard on a CSV file."""
    from gluon_a2 import data
    source = data.open_source(data.digits_folder(), 'val')
    for label in range(9):
        path = os.fsencode(tmp_path / 'val' / str(label)) + b'/a,\n\xff"$.png'
        os.makedirs(os.path.dirname(path))
        with open(path, 'wb') as file:
            at = int(np.flatnonzero(source.labels == label)[0])
            file.write(b'no image' if label == 8 else source.read(at))
    _, err = call('score.py', trained, '--data-dir', tmp_path, '--out', tmp_path / 'out', '-j', '0')
    assert '1 of the 10 classes have no sample in this data: 9' in err
    with open(tmp_path / 'out' / 'samples.csv', newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert rows[3]['path'] == f'{tmp_path}/val/3/a,\n\\xff"$.png'
    assert (rows[8]['outcome'], rows[8]['guess_1']) == ('unreadable', '')
    with open(tmp_path / 'out' / 'per_class.csv') as file:
        assert file.read().splitlines()[-1] == '9,0,0,0,0,nan'
    shutil.rmtree(tmp_path / 'val')
    (tmp_path / 'val' / 'cat').mkdir(parents=True)
    (tmp_path / 'val' / 'cat' / 'a.png').write_bytes(source.read(0))
    _, err = call('score.py', trained, '--data-dir', tmp_path, '-j', '0', code=2)
    assert "1 of the data's are unknown to it, such as 'cat'" in err


def test_export_then_predict_from_the_files_alone(trained, images, tmp_path):
    from gluon_a2 import data
    out, _ = call('export.py', trained, '--out', tmp_path / 'deep' / 'net')
    assert 'net-symbol.json' in out and 'a2_tiny after step 6' in out
    for name in ('symbol.json', '0000.params'):
        assert (tmp_path / 'deep' / f'net-{name}').read_bytes() == (
            trained / 'export' / f'a2_tiny-{name}').read_bytes()
    source = data.open_source(images, 'val')
    (tmp_path / 'digit.jpg').write_bytes(source.read(0))
    out, _ = process('predict.py', '--model', tmp_path / 'deep' / 'net', tmp_path / 'digit.jpg',
                     '--top', '3')
    header, _, row = out.splitlines()
    assert header.split('  ')[0] == 'file' and header.endswith('guess 3')
    assert re.fullmatch(re.escape(str(tmp_path / 'digit.jpg')) + r'(  \d [\d.]+ % *){3}', row)


def test_predict_names_the_unreadable_and_goes_on(trained, tmp_path):
    (tmp_path / 'page.jpg').write_text('<html></html>')
    cv2.imwrite(str(tmp_path / 'grey.png'), np.full((20, 30), 99, np.uint8))
    out, err = call('predict.py', '--model', trained / 'export' / 'a2_tiny',
                    tmp_path / 'page.jpg', tmp_path / 'none.jpg', tmp_path / 'grey.png', code=1)
    assert out.splitlines()[2].startswith(str(tmp_path / 'grey.png')) and out.count('\n') == 3
    assert 'page.jpg is not an image that can be decoded' in err
    assert 'none.jpg cannot be read' in err
    assert err.endswith('2 of 3 could not be read\n')


def test_predict_takes_folders_and_patterns_and_prints_json(trained, tmp_path):
    for name in ('a/1.png', 'a/b/2.png', 'c/3.png'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.full((20, 30), 99, np.uint8))
    (tmp_path / 'a' / 'broken.png').write_text('x')
    out, err = call('predict.py', '--model', trained / 'export' / 'a2_tiny', tmp_path / 'a',
                    f'{tmp_path}/c/*.png', '--format', 'json', '--top', '2', code=1)
    said = json.loads(out)
    assert [Path(one['path']).name for one in said] == ['1.png', '2.png', 'broken.png', '3.png']
    assert [list(one)[1:] for one in said] == [
        ['error' if '/broken' in one['path'] else 'predictions'] for one in said]
    assert len(said[0]['predictions']) == 2 and set(
        said[0]['predictions'][0]) == {'class', 'probability'}
    _, err = call('predict.py', '--model', trained / 'export' / 'a2_tiny',
                  tmp_path / 'c' / '*.gif', code=2)
    assert '*.gif holds no images' in err


def test_export_in_all_forms_measured_and_usable(trained, images, tmp_path):
    prefix, bf16 = tmp_path / 'net', ['--bf16'] * AVX512
    out, _ = call('export.py', trained, '--out', prefix, '--fold', '--onnx', '--int8', *bf16,
                  '--data-dir', images, '--calibration-samples', '8', '-j', '0')
    assert re.search(r'14 of 29 BatchNorms folded: the logits differ by \d.\de-0\d of the largest',
                     out)
    assert re.search(r'ONNX opset 17, input data, output logits, dynamic batch and size', out)
    assert len(re.findall(r'^ +[18]  +(?:16|23)  \d.\de-0\d$', out, re.MULTILINE)) == 4
    table = out[out.index('form  '):].splitlines()
    assert [line.split('  ')[0] for line in table[2:]] == [
        'mxnet, not folded', 'mxnet, folded', 'onnxruntime', *['mxnet-bf16'] * AVX512, 'mxnet-int8',
        'onnxruntime-int8']
    whole = (tmp_path / 'net-0000.params').stat().st_size
    if AVX512:
        assert (tmp_path / 'net-bf16-0000.params').stat().st_size < whole
    else:
        _, err = call('export.py', trained, '--out', tmp_path / 'half', '--bf16', '--data-dir',
                      images, code=2)
        assert 'only on CPUs with AVX-512' in err and not list(tmp_path.glob('half*'))
    for engine in ('mxnet', 'onnxruntime', 'onnxruntime-int8', 'mxnet-int8'):
        words = ['--engine', engine] if engine.startswith('onnx') else []
        name = prefix if engine != 'mxnet-int8' else f'{prefix}-int8'
        said, _ = call('score.py', name, '--data-dir', images, *words)
        row = next(line for line in table if re.match(fr'{engine}[ ,]', line)
                   and 'not folded' not in line)
        assert said.split()[0] == re.search(r'([\d.]+) %', row).group(1)
    out, _ = call('export.py', trained, '--out', tmp_path / 'old', '--onnx', '--opset', '13',
                  '--onnx-dynamic', 'batch')
    assert 'ONNX opset 13, input data, output logits, dynamic batch; ' in out
    assert len(re.findall(r'^ +[18]  +16  \d.\de-0\d$', out, re.MULTILINE)) == 2
    _, err = call('export.py', trained, '--out', tmp_path / 'new', '--onnx', '--opset', '99',
                  code=2)
    assert '--opset must be from 13 to' in err and not list(tmp_path.glob('new*'))
    _, err = call('export.py', f'{prefix}-int8', '--out', tmp_path / 'again', '--fold', code=2)
    assert 'is in int8 already: start from float32 files' in err and not (
        tmp_path / 'again-meta.json').exists()


def test_export_a_network_of_the_zoo_by_name(tmp_path):
    (tmp_path / 'names.txt').write_text('cat\ndog\n')
    words = ['--class-names', tmp_path / 'names.txt', '--input-size', '32', '--out',
             tmp_path / 'net']
    process('export.py', 'A2_ResNet26', '--untrained', *words)
    meta = json.loads((tmp_path / 'net-meta.json').read_text())
    assert (meta['network'], meta['classes']) == ('a2_resnet26', ['cat', 'dog'])
    assert meta['input_shape'] == [3, 32, 32]
    assert meta['training'] == {'data': 'nothing: the weights are random'}
    words[-1] = tmp_path / 'again'
    call('export.py', 'a2_resnet26', '--pretrained', tmp_path / 'net-0000.params', *words)
    first, again = (tmp_path / f'{name}-0000.params' for name in ('net', 'again'))
    assert again.read_bytes() == first.read_bytes()


def test_a_network_of_imagenet_says_its_classes_in_english(tmp_path):
    prefix = tmp_path / 'net'
    call('export.py', 'a2_resnet26', '--untrained', '--class-names', 'imagenet', '--input-size',
         '32', '--out', prefix)
    classes = json.loads((tmp_path / 'net-meta.json').read_text())['classes']
    assert classes == list(imagenet.names())
    cv2.imwrite(str(tmp_path / 'x.png'), np.full((40, 40, 3), 99, np.uint8))
    out, _ = call('predict.py', '--model', prefix, tmp_path / 'x.png', '--format', 'json')
    for guess in json.loads(out)[0]['predictions']:
        assert set(guess) == {'class', 'name', 'probability'}
        assert guess['name'] == imagenet.names()[guess['class']]
    shown, _ = call('predict.py', '--model', prefix, tmp_path / 'x.png', '--top', '1')
    assert imagenet.shown(json.loads(out)[0]['predictions'][0]['class']) in shown


@pytest.mark.parametrize('script, words', [
    ('score.py', ['{}', '--data-dir', '{images}']), ('predict.py', ['--model', '{}', 'x.jpg'])])
def test_damaged_files_are_refused(trained, images, tmp_path, script, words):
    shutil.copytree(trained / 'export', tmp_path / 'export')
    params = tmp_path / 'export' / 'a2_tiny-0000.params'
    params.write_bytes(params.read_bytes()[:-4] + b'evil')
    _, err = call(
        script, *[
            word.format(tmp_path / 'export' / 'a2_tiny', images=images) for word in words
        ], code=2)
    assert err.strip().splitlines()[-1] == (
        f'error: {params} is not the file that a2_tiny-meta.json was written with: its SHA-256 '
        'differs. It is damaged, or of another export. Copy all files of one export again')


def test_mistakes_are_one_sentence(trained, images, tmp_path):
    net = trained / 'export' / 'a2_tiny'
    for script, words, sentence in (
            ('score.py', [trained], f'--data-dir is missing: the network was trained on {images}'),
            ('score.py', [tmp_path], 'holds no valid checkpoint'),
            ('score.py', [trained / 'export'],
             'is a folder of exported files: name one of them, such as'),
            ('score.py', [trained / 'export' / 'a2_tiny', '--checkpoint', 'best'],
             '--checkpoint best needs the'),
            ('score.py', [trained, '--data-dir', images, '--crop-ratio', '0'], 'must be above 0'),
            ('score.py', [trained, '--data-dir', images, '--batch-size', '0'],
             '--batch-size must be 1 or more'),
            ('score.py', [tmp_path / 'none'], 'none-meta.json does not exist'),
            ('score.py', [trained, '--data-dir', tmp_path], 'no val data in'),
            ('score.py', [trained, '--data-dir', images, '--size', '9'], 'cannot take images of 9'),
            ('score.py', [trained, '--checkpoint', 'worst', '--data-dir', images],
             "there is no checkpoint 'worst': say 'last' or 'best'"),
            ('export.py', [tmp_path / 'none'], 'none'),
            ('export.py', ['a2_resnet26'],
             'is a network of the zoo: give its weights (--pretrained), or say --untrained'),
            ('export.py', ['a2_resnet26', '--untrained'],
             '--out is missing: the prefix of the files to write'),
            ('export.py', [trained, '--untrained'],
             '--untrained is for networks of the zoo, by name'),
            ('export.py', [trained, '--int8'],
             f'--data-dir is missing: the network was trained on {images}'),
            ('export.py', [trained, '--int8', '--calibration-samples', '0'],
             '--calibration-samples must be 1 or more'),
            ('export.py', [trained, '--calibration', 'entropy'],
             '--calibration needs --int8: give both'),
            ('export.py', [trained, '--csv', tmp_path / 'typo' / 'x.csv', '--int8'],
             'cannot be written: there is no folder'),
            ('export.py', [net, '--size', '64'], '--size is for files without metadata here'),
            ('export.py', ['a2_resnet26', '--untrained', '--size', '64', '--out', 'x'],
             '--size is for files without metadata, and a2_resnet26 is a network of the zoo'),
            ('export.py', [net, '--mean', '1,2,3'], '--mean is for files without metadata, and'),
            ('export.py', ['a2_resnet26', '--untrained', '--input-size', '40000', '--out', 'x'],
             'GB are free: choose a lower --input-size'),
            ('export.py', ['a2_resnet26', '--untrained', '--input-size', '1000000', '--out', 'x'],
             'cannot take an input of 3×1000000×1000000: it has more positions than MXNet'),
            ('score.py', [net, '--split', 'val'],
             '--split is 1, 2 or 3, of UCF-101, not val: the part of the data is --part'),
            ('score.py', [net, '--data-dir', images, '--list', 'x'], '--list is for videos'),
            ('score.py', [net, '--data-dir', images, '--views', '2'],
             '--views and --crops are for video networks'),
            ('score.py', [net, '--data-dir', images, '--protocol', 'mfnet'],
             '--protocol is for video networks, not for a2_tiny: leave it out'),
            ('score.py', [net, '--data-dir', images, '--out', net.with_name('a2_tiny-meta.json')],
             'a2_tiny-meta.json cannot be used: File exists; choose another path'),
            ('score.py', [net, '--data-dir', images, '--features', '--mean-max', '--out', tmp_path],
             'mean-max pooling has no one vector that enters the classifier: leave out --features'),
            ('score.py', [net, '--data-dir', images, '--logits'],
             '--logits needs --out: give both'),
            ('score.py', [net, '--data-dir', images, '--results', tmp_path / 'typo' / 'x.csv'],
             'cannot be written: there is no folder'),
            ('score.py', [net, '--data-dir', images, '--std', '1,2'],
             '--std must be three numbers'),
            ('score.py', ['a2_resnet50', '--data-dir', images],
             'a2_resnet50 is a network of the zoo, and there are no files'),
            ('predict.py', ['--model', 'A2_ResNet50', 'x.jpg'],
             'Give the folder of a run, or the prefix of exported files'),
            ('predict.py', ['--model', trained, 'x.jpg', '--engine', 'mxnet'],
             '--engine is for exported files'),
            ('export.py', [trained, '--out', tmp_path],
             'is a folder: give the prefix of the files, such as'),
            ('export.py', ['a2_resnet5'],
             "unknown model 'a2_resnet5' (did you mean a2_resnet50?): choose one of"),
            ('export.py', ['a2_resnet26', '--untrained', '--class-names', tmp_path / 'none.txt'],
             'none.txt'),
            ('score.py', [trained, '--engine', 'onnxruntime'],
             '--engine is for exported files: export'),
            ('score.py', [net, '--engine', 'tpu'], '--engine must be one of mxnet, mxnet-fused, '),
            ('score.py', [net, '--engine', 'onnxruntime'], 'was not exported as ONNX'),
            ('predict.py', ['--model', net, 'x.jpg', '--batch-size', '0'],
             '--batch-size must be 1 or more'),
            ('predict.py', ['--model', tmp_path / 'none', 'x.jpg'],
             'none-meta.json does not exist')):
        _, err = call(script, *words, code=2)
        errors = [line for line in err.splitlines() if line.startswith('error: ')]
        assert len(errors) == 1 and sentence in errors[0], (script, words, err)


def test_a_checkpoint_of_another_network_is_refused(trained, tmp_path):
    from gluon_a2.run import checkpoint
    found = checkpoint.find(trained / 'checkpoints', 'last')
    state = {**found.state, 'recipe': {**found.state['recipe'], 'model': 'nl_tiny'}}
    checkpoint.save(tmp_path / 'checkpoints', 1, found.tensors, state)
    _, err = call('score.py', tmp_path, code=2)
    assert 'does not fit nl_tiny: 60 arrays are lacking, 60 unknown, 0 of another' in err
