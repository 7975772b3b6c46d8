import json

import cv2
import numpy as np

from gluon_a2.visualization import plots as viz


def test_the_curve_is_a_picture_with_something_on_it(tmp_path):
    lines = [{'step': 5, 'epoch': 0, 'loss': 2.0, 'accuracy': 0.5, 'lr': 0.1}, {
        'step': 5, 'epoch': 0, 'train_top1': 0.5, 'train_loss': 2.0, 'val_top1': 0.6,
        'val_top5': 0.9, 'val_images': 13
    }, {'step': 10, 'epoch': 1, 'loss': 1.0, 'accuracy': 0.8, 'lr': 0.01}]
    log = tmp_path / 'log.jsonl'
    log.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    viz.learning_curve(log, tmp_path / 'curve.png')
    first = cv2.imread(str(tmp_path / 'curve.png'))
    assert first.shape == (600, 800, 3)
    lines[1]['val_top1'] = 0.99
    log.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    viz.learning_curve(log, tmp_path / 'curve.png')
    assert (cv2.imread(str(tmp_path / 'curve.png')) != first).any()


def test_a_run_without_an_epoch_yet_can_be_drawn(tmp_path):
    (tmp_path / 'log.jsonl').write_text('{"step": 1, "epoch": 0, "loss": 2.0, "accuracy": 0.1, '
                                        '"lr": 0.1}\n')
    viz.learning_curve(tmp_path / 'log.jsonl', tmp_path / 'curve.png')
    assert np.ptp(cv2.imread(str(tmp_path / 'curve.png'))) > 0


def test_a_contact_sheet_shows_every_frame_of_every_clip(tmp_path):
    clips = np.zeros((2, 3, 8, 8, 3), np.uint8)
    viz.contact_sheet(clips, ['up', 'down'], tmp_path / 'dark.png')
    clips[1, 2] = [255, 0, 0]  # the last frame of the second clip, in red
    viz.contact_sheet(clips, ['up', 'down'], tmp_path / 'red.png')
    dark, red = (cv2.imread(str(tmp_path / name)).astype(int) for name in ('dark.png', 'red.png'))
    rows, columns = np.nonzero((red != dark).any(axis=-1))
    assert rows.min() > red.shape[0] / 2 and columns.min() > red.shape[1] / 2
    assert red[rows[0] + 5, columns[0] + 5].tolist() == [0, 0, 255]  # OpenCV has blue first
