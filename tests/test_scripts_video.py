"""train_video.py, score.py, export.py and predict.py on one small run of real video files."""
import csv
import json
import re
import shutil
import signal
import subprocess
import time

import cv2
import numpy as np
import pytest
import tiny
import tiny_video
import tiny_zoo
from loading import call, process

TRAIN, ENVIRON = tiny_zoo.program('scripts/train_video.py')

pytestmark = pytest.mark.usefixtures('tiny_zoo')


def train(*words):
    """What a process of train_video.py prints."""
    done = subprocess.run([*TRAIN, *map(str, words)], env=ENVIRON, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def trained(tmp_path_factory, videos):
    folder = tmp_path_factory.mktemp('runs') / 'run'
    out = train(*tiny_video.FLAGS, '--data-dir', videos, '--save-dir', folder)
    assert re.search(r'% top-1 by one clip of each of 7 held-out videos', out)
    return folder


def test_the_flags_are_the_recipe(trained, tmp_path, videos):
    tiny_video.run(tmp_path / 'run', videos)
    assert tiny.final_tensors(tmp_path / 'run')[0] == tiny.final_tensors(trained)[0]


def test_a_run_shows_what_the_network_saw(trained):
    assert cv2.imread(str(trained / 'clips.png')).std() > 20


def test_killed_at_a_random_moment_and_resumed_it_ends_bit_identical(tmp_path, videos, trained):
    words = [*tiny_video.FLAGS, '--data-dir', videos, '--save-dir', tmp_path / 'run']
    with subprocess.Popen([*TRAIN, *map(str, words)], env=ENVIRON, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not list(
            (tmp_path / 'run' / 'checkpoints').glob('step-*')) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    train(*words, '--resume')
    assert tiny.final_tensors(tmp_path / 'run') == tiny.final_tensors(trained)
    assert (tmp_path / 'run' / 'log.jsonl').read_text() == (trained / 'log.jsonl').read_text()


def test_two_ranks_train_as_two_micro_batches_do(tmp_path, videos):
    pytest.importorskip('horovod', reason='Horovod is not installed: make horovod')
    common = [*tiny_video.FLAGS, '--data-dir', videos, '--exact-sums', '--num-steps', '3']
    train(*common, '--save-dir', tmp_path / 'one')
    train(*common, '--accumulate', '1', '-np', '2', '--save-dir', tmp_path / 'two')
    assert tiny.final_tensors(tmp_path / 'two')[0] == tiny.final_tensors(tmp_path / 'one')[0]


def test_score_from_the_run_and_from_its_files(trained, videos, tmp_path):
    outs = [
        say('score.py', source, '--data-dir', videos, '-j', '0', '--logits',
            '--features', '--out', tmp_path / 'scores')[0]
        for say, source in ((call, trained), (process, trained / 'export' / 'a2_tiny_3d'))]
    sentences = [
        re.search(
            r'clip ([\d.]+) % top-1; video ([\d.]+) % top-1, ([\d.]+) % top-5; 2 views of each of '
            r'7 videos, clips of 4×16×16, protocol even', out).groups() for out in outs]
    assert sentences[0] == sentences[1]
    assert np.load(tmp_path / 'scores' / 'logits.npy').shape == (7, 2, 6)  # videos×views×classes
    assert np.load(tmp_path / 'scores' / 'features.npy').shape == (7, 2, 16)
    assert cv2.imread(str(tmp_path / 'scores' / 'worst.png')).std() > 5
    with open(tmp_path / 'scores' / 'per_class.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row['videos']) for row in rows) == 7
    assert f'{100 * sum(int(row["right"]) for row in rows) / 7:.2f}' == sentences[0][1]
    assert cv2.imread(str(tmp_path / 'scores' / 'confusion.png')).std() > 5


def test_views_and_crops_can_be_chosen_and_damage_counts_as_wrong(trained, videos, tmp_path):
    shutil.copytree(videos, tmp_path / 'videos')
    broken = tmp_path / 'videos' / 'val' / 'up' / '005.mp4'
    broken.write_bytes(broken.read_bytes()[:900])
    out, err = call('score.py', trained, '--data-dir', tmp_path / 'videos', '-j', '0',
                    '--views', '3', '--crops', '2', '--batch-size', '5', '--crop-ratio', '0.8')
    assert '6 views of each of 7 videos (1 unreadable, counted as wrong)' in out
    assert f'counted as wrong: {broken}' in err and err.count('005.mp4') == 1


def test_the_protocol_of_mfnet_gives_the_same_figure_each_time(trained, videos, tmp_path):
    scores, lines = [], []
    for number, workers in enumerate('02'):
        folder = tmp_path / workers
        out, _ = call('score.py', trained, '--data-dir', videos, '-j', workers, '--protocol',
                      'mfnet', '--views', '4', '--batch-size', str(3 + number), '--logits',
                      '--out', folder, '--results', tmp_path / 'results.csv')
        assert '4 views of each of 7 videos, clips of 4×16×16, protocol mfnet' in out
        scores.append(np.load(folder / 'logits.npy'))
        with open(tmp_path / 'results.csv', newline='') as file:
            lines.append(list(csv.DictReader(file)))
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-5)
    assert len(np.unique(scores[0].round(3), axis=1)[0]) == 4  # each view is another
    assert lines[0] == lines[1]
    assert (lines[0][0]['views'], lines[0][0]['protocol']) == ('4', 'mfnet')
    _, err = call('score.py', trained, '--data-dir', videos, '--protocol', 'mfnet', '--crops', '3',
                  code=2)
    assert 'error: --crops must be 1 where each clip has one random window' in err


def test_export_then_predict_from_the_files_alone(trained, videos, tmp_path):
    out, _ = call('export.py', trained, '--out', tmp_path / 'net')
    assert 'a2_tiny_3d after step 6' in out
    some = sorted((videos / 'val').rglob('*.*'))[:2]
    (tmp_path / 'bad.mp4').write_bytes(b'no video')
    out, err = call('predict.py', '--model', tmp_path / 'net', *some, tmp_path / 'bad.mp4',
                    '--views', '3', code=1)
    rows = ''.join(re.escape(str(path)) + r'( +\w+ [\d.]+ %){5}\n' for path in some)
    assert re.fullmatch(r'file .*\n-[- ]*\n' + rows, out)
    assert f'{tmp_path}/bad.mp4 is not a video that can be read' in err


def test_the_splits_of_ucf101_are_kept_apart(trained, videos, tmp_path):
    folder = tmp_path / 'ucf'
    (folder / 'ucfTrainTestlist').mkdir(parents=True)
    motions = sorted(path.name for path in (videos / 'train').iterdir())
    lists = {name: [] for name in ('trainlist01', 'testlist01', 'trainlist02', 'testlist02')}
    for part, motion in ((part, motion) for part in ('train', 'val') for motion in motions):
        for i, path in enumerate(sorted((videos / part / motion).iterdir())):
            clip = f'{motion}/v_{motion}_g{1 + (part == "val"):02d}_c{i:02d}{path.suffix}'
            (folder / 'UCF-101' / motion).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / 'UCF-101' / clip)
            for split in (1, 2):
                kind = 'train' if (part == 'train') == (split == 1) else 'test'
                lists[f'{kind}list0{split}'].append(
                    clip + (f' {motions.index(motion) + 1}' if kind == 'train' else ''))
    (folder / 'ucfTrainTestlist' / 'classInd.txt').write_text(
        ''.join(f'{i} {motion}\n' for i, motion in enumerate(motions, 1)))
    for name, lines in lists.items():
        (folder / 'ucfTrainTestlist' / f'{name}.txt').write_text(''.join(line + '\r\n'
                                                                         for line in lines))
    for split, count in ((1, 7), (2, 11)):
        out, _ = call('train_video.py', *tiny_video.FLAGS, '--data-dir', folder, '--split', split,
                      '--num-steps', '1', '--save-dir', tmp_path / f'split{split}')
        assert f'each of {count} held-out videos' in out
        assert json.loads((tmp_path / f'split{split}' / 'export'
                           / 'a2_tiny_3d-meta.json').read_text())['training']['split'] == split
    out, _ = call('score.py', tmp_path / 'split1', tmp_path / 'split2', '--data-dir', folder,
                  '-j', '0')
    tops = [float(text) for text in re.findall(r'video ([\d.]+) % top-1', out)]
    assert 'of 7 videos, clips of 4×16×16, split 1, protocol even' in out
    assert 'of 11 videos, clips of 4×16×16, split 2' in out
    assert tops[2] == pytest.approx((tops[0] + tops[1]) / 2, abs=0.011)
    _, err = call('score.py', tmp_path / 'split1', '--data-dir', folder, '--split', '2', code=2)
    assert ('was trained on split 1 of UCF-101, and --split 2 holds videos it has seen: score it '
            'with --split 1') in err


@pytest.mark.parametrize('script, words, sentence', [
    ('train_video.py', ['--recipe', 'digits'], 'digits is a recipe of images'),
    ('train_video.py', ['--data-dir', 'nowhere'], 'the recipe starts from the weights of an '
                                                  'ImageNet network'),
    ('train_video.py', ['--data-dir', 'nowhere', '--recipe', 'kinetics_ablation'], 'no train '
                                                                                   'videos in '
                                                                                   'nowhere'),
    ('train_video.py', ['--model', 'a2_resnet26'], 'a2_resnet26 is an image network'),
    ('train_video.py', ['--frames', '0'], 'is a video network'),
    ('train_video.py', ['--list-train', 'x'], '--list-train needs --list-val'),
    ('train_video.py', ['--blocks', 'conv9:1'], "unknown stage 'conv9' in --blocks"),
    ('train_imagenet.py', ['--recipe', 'ucf101'], 'ucf101 is a recipe of videos'),
    ('score.py', ['nothing'], 'nothing-meta.json does not exist')])
def test_mistakes_are_one_sentence(script, words, sentence):
    _, err = call(script, *words, code=2)
    errors = [line for line in err.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1 and sentence in errors[0]


def test_synthetic_clips_and_reading_alone(videos, tmp_path):
    out, _ = call('train_video.py', *tiny_video.FLAGS, '--synthetic-data', '1', '--num-steps', '1',
                  '--save-dir', tmp_path / 'run')
    assert 'by one clip of each of 2 held-out videos' in out
    out, _ = call('train_video.py', *tiny_video.FLAGS, '--data-dir', videos, '--test-io', '-j', '0')
    assert re.match(r'11 clips read and 0 damaged in [\d.]+ s: \d+ clips/s in all', out)


def test_proportions_are_exported_with_the_network(videos, tmp_path):
    train(*tiny_video.FLAGS, '--data-dir', videos, '--num-steps', '1', '--stretch', 'neither',
          '--draws', 'uniform', '--train-strides', '1,3', '--save-dir', tmp_path / 'run')
    recipe = json.loads((tmp_path / 'run' / 'run.json').read_text())['recipe']
    assert (recipe['stretch'], recipe['draws'], recipe['train_strides']) == ('neither', 'uniform',
                                                                            [1, 3])
    meta = json.loads((tmp_path / 'run' / 'export' / 'a2_tiny_3d-meta.json').read_text())
    assert (meta['stretch'], meta['resize'], meta['frame_stride']) == ('neither', 'bilinear', 3)
    _, err = call('train_video.py', *tiny_video.FLAGS, '--data-dir', videos, '--num-steps', '1',
                  '--save-dir', tmp_path / 'run', '--resume', code=2)
    assert ('was trained with train_strides=(1, 3), not (): resume with the same flags '
            '(--train-strides=1,3 --stretch=neither --draws=uniform), or') in err
    for word in (['--draws', 'dpn'], ['--stretch', 'all'], ['--train-strides', '-1']):
        _, err = call('train_video.py', *word, code=2)
        assert f'error: {word[0]} must be ' in err


def test_lists_in_the_format_of_the_official_csv(trained, videos, tmp_path):
    """A renamed copy of the videos, and one that the list has and the disk lacks."""
    rows = ['label,youtube_id,time_start,time_end,split']
    for part, name in (('train', 'train'), ('val', 'validate')):
        for i, path in enumerate(sorted((videos / part).rglob('*.mp4'))):
            target = tmp_path / 'kinetics' / path.parent.name / f'{part}{i}_000003_000013.mp4'
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
            rows.append(f'{path.parent.name},{part}{i},3,13,{name}')
    (tmp_path / 'all.csv').write_text('\n'.join([*rows, 'up,gone,0,10,validate',
                                                 'up,lost,0,10,train']) + '\n')
    lists = ['--list-train', tmp_path / 'all.csv', '--list-val', tmp_path / 'all.csv',
             '--list-format', 'kinetics-csv']
    out, err = call('train_video.py', *tiny_video.FLAGS, '--data-dir', tmp_path / 'kinetics',
                    *lists, '--num-epochs', '1', '--max-damaged', '1', '--save-dir',
                    tmp_path / 'run')
    assert 'of each of 7 held-out videos' in out and '7 training and 7 validation videos' in err
    assert err.count('gone_000000_000010.mp4: it is missing') == err.count(
        'lost_000000_000010.mp4: '
        'it is missing') == 1
    out, _ = call('score.py', trained, '--data-dir', tmp_path / 'kinetics', '--list',
                  tmp_path / 'all.csv', '--list-format', 'kinetics-csv', '-j', '0')
    assert '2 views of each of 7 videos (1 unreadable, counted as wrong)' in out


def test_a_part_that_is_not_there(trained, videos):
    _, err = call('score.py', trained, '--data-dir', videos, '--part', 'test', code=2)
    assert 'no test videos in' in err
