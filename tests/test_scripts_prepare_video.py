"""prepare_video.py as a process, on files in the layouts of Kinetics and UCF-101."""
import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numbered
import pytest

from gluon_a2.data import open_video
from gluon_a2.data.prepare_video import official

SCRIPT = Path(__file__).resolve().parents[1] / 'scripts' / 'prepare_video.py'


def call(*words, code=0):
    done = subprocess.run([sys.executable, str(SCRIPT), *map(str, words)], capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == code, done.stderr
    assert 'Traceback' not in done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope='module')
def kinetics(tmp_path_factory):
    """Two classes; one upright video, one of variable rate, one that is no video, and one short
    side above 288."""
    folder = tmp_path_factory.mktemp('kinetics')
    for name in ('train/running fast', 'train/zumba', 'val/running fast', 'val/zumba'):
        (folder / name).mkdir(parents=True)
    numbered.write(folder / 'train/running fast/a b_000000_000010.mp4', numbered.frames(30))
    numbered.write(folder / 'train/running fast/tall_000000_000010.avi',
                   numbered.frames(12, 400, 302), 'mpeg4')
    numbered.make(folder / 'train/zumba', 'mp4, H.264, variable rate', numbered.frames(20))
    (folder / 'train/zumba/broken_000000_000010.mp4').write_text('<html>gone</html>')
    numbered.write(folder / 'val/running fast/c_000000_000010.mkv', numbered.frames(9))
    numbered.write(folder / 'val/zumba/d_000000_000010.webm', numbered.frames(9), 'libvpx-vp9')
    return folder


@pytest.mark.parametrize('flags', [['-j', '1'], ['-j', '2', '--decode']])
def test_it_counts_and_names_what_cannot_be_read(kinetics, tmp_path, flags):
    out, err = call('--data-dir', kinetics, '--report', tmp_path / 'report.csv', *flags, code=1)
    rows = [line.split() for line in out.splitlines()[2:]]
    assert rows == [['train', '4', '1', '2', '2…2', '62', '12…30'],
                    ['val', '2', '0', '2', '1…1', '18', '9…9']]
    broken = f'{kinetics}/train/zumba/broken_000000_000010.mp4'
    assert err.splitlines()[-1].startswith(f'{broken}: it cannot be decoded')
    with open(tmp_path / 'report.csv', newline='') as file:
        report = {row['path']: row for row in csv.DictReader(file)}
    assert len(report) == 6 and report[broken]['frames'] == '0' and report[broken]['reason']
    assert report[f'{kinetics}/train/running fast/a b_000000_000010.mp4']['frames'] == '30'


def test_videos_are_shrunk_and_keep_every_frame_and_its_time(kinetics, tmp_path):
    out, err = call('--data-dir', kinetics, '--transcode', tmp_path / 'small', '-j', '2', code=1)
    assert f'5 videos are in {tmp_path}/small' in out
    assert 'broken_000000_000010.mp4: it cannot be decoded' in err
    files = sorted(path.relative_to(tmp_path / 'small') for path in
                   (tmp_path / 'small').rglob('*') if path.is_file())
    assert len(files) == 5 and all(path.suffix == '.mp4' for path in files)
    tall = open_video(tmp_path / 'small' / 'train/running fast/tall_000000_000010.mp4',
                      tmp_path / 'cache')
    shapes = {picture.shape for picture in tall.read(range(len(tall)))}
    assert len(tall) == 12 and shapes == {(382, 288, 3)}  # 400·288/302 is 381.5
    for name in files:
        before = next(path for path in (kinetics / name).parent.iterdir() if path.stem == name.stem)
        old, new = open_video(before, tmp_path / 'cache'), open_video(tmp_path / 'small' / name,
                                                                      tmp_path / 'cache')
        assert [numbered.number(picture) for picture in new.read(range(len(new)))] == list(
            range(len(old)))
        seconds = [[float((time - times[0]) * unit) for time in times]
                   for times, unit, _ in (old.timing(), new.timing())]
        assert seconds[1] == pytest.approx(seconds[0], abs=0.001)


def test_what_is_there_is_not_written_again(kinetics, tmp_path):
    target = tmp_path / 'small' / 'val/zumba/d_000000_000010.mp4'
    target.parent.mkdir(parents=True)
    target.write_bytes(b'mine')
    call('--data-dir', kinetics, '--part', 'val', '--transcode', tmp_path / 'small', '-j', '1')
    assert target.read_bytes() == b'mine'
    assert (tmp_path / 'small' / 'val/running fast/c_000000_000010.mp4').exists()


def test_any_name_is_transcoded_and_two_of_one_stem_are_not_taken_for_one(kinetics, tmp_path):
    (tmp_path / 'val/zumba').mkdir(parents=True)
    source = kinetics / 'val/zumba/d_000000_000010.webm'
    for name in ('12:30:00.webm', os.fsdecode(b'caf\xe9.webm'), 'd.mkv', 'd.webm'):
        shutil.copy(source, tmp_path / 'val/zumba' / name)
    out, err = call('--data-dir', tmp_path, '--part', 'val', '--transcode', tmp_path / 'small',
                    '-j', '1', code=1)
    assert '3 videos are in' in out
    assert f'{tmp_path}/val/zumba/d.webm: its name differs from {tmp_path}/val/zumba/d.mkv' in err
    assert sorted(path.name for path in (tmp_path / 'small/val/zumba').iterdir()) == [
        '12:30:00.mp4', os.fsdecode(b'caf\xe9.mp4'), 'd.mp4']


def test_ucf101_is_counted_against_the_official_splits(tmp_path):
    folder, lists = tmp_path / 'UCF-101', tmp_path / 'ucfTrainTestlist'
    clips = {'trainlist01': ['Archery/v_Archery_g08_c01.avi 1', 'YoYo/v_YoYo_g09_c01.avi 2'],
             'testlist01': ['Archery/v_Archery_g01_c01.avi']}
    lists.mkdir()
    (lists / 'classInd.txt').write_text('1 Archery\n2 YoYo\n')
    for name, lines in clips.items():
        (lists / f'{name}.txt').write_text(''.join(line + '\r\n' for line in lines))
        for line in lines:
            (folder / line.split()[0]).parent.mkdir(parents=True, exist_ok=True)
            numbered.write(folder / line.split()[0], numbered.frames(6), 'mpeg4')
    out, _ = call('--data-dir', tmp_path, '--split', '1', '-j', '1')
    assert [line.split()[:3] for line in out.splitlines()[2:4]] == [['train', '2', '0'],
                                                                    ['val', '1', '0']]
    assert ('split 1 of UCF-101 has 2 training and 1 test clips here, and 9537 and 3783 officially'
            in out)
    whole = official(3, (9624, 3696))
    assert whole == 'split 3 of UCF-101 is whole: 9624 training and 3696 test clips'


def test_folders_of_frames_are_checked_and_left_as_they_are(tmp_path):
    for i, picture in enumerate(numbered.frames(5), 1):
        (tmp_path / 'train/a/clip').mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / f'train/a/clip/img_{i:05d}.jpg'), picture)
    shutil.copytree(tmp_path / 'train/a/clip', tmp_path / 'train/a/gap')
    (tmp_path / 'train/a/gap/img_00002.jpg').unlink()
    out, err = call('--data-dir', tmp_path, '--part', 'train', '-j', '1', code=1)
    assert out.splitlines()[2].split() == ['train', '2', '1', '1', '2…2', '5', '5…5']
    assert 'img_00002.jpg is missing among its 4 frames' in err


@pytest.mark.parametrize('flags, sentence', [
    ([], '--data-dir is missing'), (['--data-dir', 'nowhere'], 'no train videos in nowhere'),
    (['--data-dir', 'x', '--split', '7'], '--split must be one of 1, 2, 3'),
    (['--data-dir', 'x', '--part', ','], '--part must be names')])
def test_mistakes_are_one_sentence(flags, sentence):
    _, err = call(*flags, code=2)
    assert err.startswith('error: ') and sentence in err and len(err.splitlines()) == 1


def test_a_short_side_and_a_place_that_cannot_be(kinetics, tmp_path):
    _, err = call('--data-dir', kinetics, '--part', 'val', '--transcode', tmp_path / 'x',
                  '--short-side', '1', code=2)
    assert '--short-side must be 2 or more, not 1' in err
    _, err = call('--data-dir', kinetics, '--part', 'val', '--transcode', kinetics, code=2)
    assert 'is where the videos are: choose another folder' in err
