"""Each flag of GluonCV's training scripts is ours, or is answered by a sentence that holds."""
import re
from pathlib import Path

import pytest

from gluon_a2 import cli
from gluon_a2.errors import UserError
from gluon_a2.train import command
from gluon_a2.train.gluoncv_flags import ANSWERS

DOC = Path(__file__).resolve().parents[1] / 'docs' / 'gluoncv-flags.md'
BOTH = [
    'data-dir', 'batch-size', 'dtype', 'num-gpus', 'num-data-workers', 'num-epochs', 'lr',
    'momentum', 'wd', 'lr-mode', 'lr-decay', 'lr-decay-period', 'lr-decay-epoch', 'warmup-lr',
    'warmup-epochs', 'last-gamma', 'mode', 'model', 'input-size', 'crop-ratio',
    'use-pretrained', 'use_se', 'mixup', 'mixup-alpha', 'mixup-off-epoch', 'label-smoothing',
    'no-wd', 'teacher', 'temperature', 'hard-weight', 'batch-norm', 'save-frequency',
    'save-dir', 'resume-epoch', 'resume-params', 'resume-states', 'log-interval',
    'logging-file', 'use-gn']
IMAGES = [
    'data-backend', 'rec-train', 'rec-train-idx', 'rec-val', 'rec-val-idx', 'use-rec',
    'rgb-mean', 'rgb-std', 'num-training-samples']
VIDEOS = [
    'dataset', 'val-data-dir', 'train-list', 'val-list', 'hashtag', 'eval', 'num-segments',
    'use-tsn', 'new-height', 'new-width', 'new-length', 'new-step', 'clip-grad', 'partial-bn',
    'freeze-bn', 'num-classes', 'scale-ratios', 'use-amp', 'prefetch-ratio', 'kvstore',
    'input-5d', 'video-loader', 'use-decord', 'accumulate', 'slowfast', 'slow-temporal-stride',
    'fast-temporal-stride', 'num-crop', 'data-aug', 'train-only', 'more-fix-crop', 'max-distort']


def ours(dims):
    """Every flag of our script."""
    with pytest.raises(SystemExit):
        command.parse('', ['--help'], dims)
    return {flag for action in cli._flags._actions for flag in action.option_strings}


def test_the_119_flags_are_ours_or_answered(capsys):
    assert 2 * len(BOTH) + len(IMAGES) + len(VIDEOS) == 119
    images, videos = ours(2), ours(3)
    assert {f'--{name}' for name in BOTH + IMAGES} - images == {
        f'--{name}' for name in BOTH + IMAGES if name in ANSWERS}
    assert {f'--{name}' for name in BOTH + VIDEOS} - videos == {
        f'--{name}' for name in BOTH + VIDEOS if name in ANSWERS}
    assert set(ANSWERS) <= {*BOTH, *IMAGES, *VIDEOS}


@pytest.mark.parametrize('name', ANSWERS)
def test_an_answer_names_flags_that_are_there(name, capsys):
    there = {**dict.fromkeys(BOTH, ours(2) & ours(3)), **dict.fromkeys(IMAGES, ours(2)),
             **dict.fromkeys(VIDEOS, ours(3))}[name]
    assert set(re.findall(r'(?<!\S)--?[a-z][a-z-]*', ANSWERS[name].replace('(', ' '))) <= there


@pytest.mark.parametrize('words', [['--use-rec'], ['--lr', '0.1', '--use-rec=1', '--mode', 'x']])
def test_the_sentence(words):
    with pytest.raises(UserError, match='^--use-rec is a flag of GluonCV: give --data-dir with'):
        command.parse('', words, 2)


def test_another_unknown_flag_is_refused_as_ever(capsys):
    with pytest.raises(SystemExit):
        command.parse('', ['--no-such-flag', '3'], 2)
    assert 'unrecognized arguments: --no-such-flag 3' in capsys.readouterr().err


def test_the_table_of_the_docs_is_this_one():
    text = DOC.read_text(encoding='utf-8')
    assert dict(re.findall(r'^\| ([\w-]+) \| (.*) \|$', text, re.MULTILINE)[1:]) == ANSWERS
