import argparse
import json
import logging
import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

from gluon_a2.errors import UserError
from gluon_a2.run import checkpoint, recipes
from gluon_a2.run.folder import LogFile, Run, check_resumable, log
from gluon_a2.run.options import Options

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'proofs'))

import recorded_disk

pytestmark = pytest.mark.usefixtures('tiny_zoo')


def open_run(folder, **options):
    return Run(folder, tiny.RECIPE, Options(save_dir=str(folder), **options))


@pytest.mark.parametrize('options, sentence', [
    ({'num_gpus': 2}, '`num_gpus` must be 0 or 1, not 2'),
    ({'num_data_workers': -1}, '`num_data_workers` must be 0 or more, not -1'),
    ({'save_frequency': 0}, '`save_frequency` must be 1 or more, not 0'),
    ({'log_interval': 0}, '`log_interval` must be 1 or more, not 0'),
    ({'max_damaged': -5}, '`max_damaged` must be 0 or more, not -5'),
    ({'rec_val': 'v.rec'}, '`rec_val` needs `rec_train`: give both, or leave it out'),
    ({'rec_train': 't.rec', 'rec_val': 'v.rec', 'data_dir': 'x'},
     '`rec_train` and `data_dir` exclude each other: give one of them'),
    ({'rec_train_idx': 't.idx'}, '`rec_train_idx` needs `rec_train`: give both, or leave it out'),
    ({'resume': True}, '`resume` needs `save_dir`: give both, or leave it out'),
    ({'data_dir': ''}, "`data_dir` must be text of one letter or more, not ''"),
    ({'rank_timeout': 0.5}, '`rank_timeout` must be 1 or more, not 0.5'),
    ({'resume': True, 'overwrite': True, 'save_dir': 'x'},
     '`resume` and `overwrite` exclude each other: give one of them')])
def test_options_that_cannot_be(options, sentence):
    with pytest.raises(UserError) as error:
        Options(**options)
    assert str(error.value) == sentence


def test_a_run_says_how_it_was_made(tmp_path):
    with open_run(tmp_path / 'run'):
        log.warning('a line')
    made = json.loads((tmp_path / 'run' / 'run.json').read_text())
    assert made['recipe']['model'] == 'a2_tiny' and made['recipe']['seed'] == 0
    assert {'gluon_a2', 'mxnet', 'numpy', 'python', 'machine'} == set(made['versions'])
    assert made['command'] and made['threads'] >= 1 and made['started']
    assert 'a line' in (tmp_path / 'run' / 'train.log').read_text()


def test_a_run_of_an_older_version_is_resumed_with_the_flags_that_are_named(tmp_path):
    older = {**recipes.to_json(recipes.choose('kinetics_ablation', {})), 'interpolation': 'bicubic'}
    for name in ('draws', 'stretch', 'train_strides'):
        del older[name]
    (tmp_path / 'run.json').write_text(json.dumps({'recipe': older, 'threads': 1}))
    with pytest.raises(UserError) as error:
        check_resumable(tmp_path, recipes.choose('kinetics_ablation', {}))
    words = re.search(r'resume with the same flags \((.*)\), or start', str(error.value)).group(1)
    assert words == ('--train-strides= --interpolation=bicubic --stretch=training '
                     '--draws=uniform')
    parser = argparse.ArgumentParser()
    recipes.add_flags(parser, 3)
    given = vars(parser.parse_args(words.split()))
    check_resumable(tmp_path, recipes.choose('kinetics_ablation', given))


def test_a_run_is_never_overwritten_by_accident(tmp_path):
    with open_run(tmp_path / 'run'):
        (tmp_path / 'run' / 'result').write_text('precious')
    with pytest.raises(UserError, match='already holds a run: `resume` to go on with it, '
                                        '`overwrite` to delete it'):
        open_run(tmp_path / 'run')
    assert (tmp_path / 'run' / 'result').read_text() == 'precious'
    with open_run(tmp_path / 'run', overwrite=True):
        assert not (tmp_path / 'run' / 'result').exists()


def test_overwrite_never_deletes_what_is_not_a_run(tmp_path):
    (tmp_path / 'thesis.tex').write_text('precious')
    with pytest.raises(UserError, match='holds files that are not a run of ours'):
        open_run(tmp_path, overwrite=True)
    assert (tmp_path / 'thesis.tex').exists()


@pytest.mark.parametrize('options', [{'resume': True}, {'overwrite': True}])
def test_two_processes_never_share_a_run(tmp_path, options):
    with open_run(tmp_path / 'run'):
        with pytest.raises(UserError, match='another process is at work in .*run: wait for it'):
            open_run(tmp_path / 'run', **options)
        assert (tmp_path / 'run' / 'run.json').exists()
    with open_run(tmp_path / 'run', **options):
        pass


def test_a_folder_far_from_any_that_exists_is_a_typing_error(tmp_path):
    with open_run(tmp_path / 'runs' / 'first'):
        pass
    with pytest.raises(UserError, match=f'there is no folder {tmp_path}/rnus; make it, or correct'):
        open_run(tmp_path / 'rnus' / 'image' / 'second')


@pytest.mark.parametrize('content', ['', '{"recipe": {', '{}', '[]', '{"recipe": {}}'])
def test_resume_refuses_a_damaged_record(tmp_path, content):
    with open_run(tmp_path / 'run'):
        pass
    (tmp_path / 'run' / 'run.json').write_text(content)
    with pytest.raises(UserError, match='run.json is damaged: start another run'):
        open_run(tmp_path / 'run', resume=True)


def test_resume_needs_a_run(tmp_path):
    with pytest.raises(UserError, match='holds no run to resume'):
        open_run(tmp_path, resume=True)


def test_other_threads_are_warned_of(tmp_path, caplog):
    with open_run(tmp_path / 'run'):
        pass
    made = json.loads((tmp_path / 'run' / 'run.json').read_text())
    (tmp_path / 'run' / 'run.json').write_text(json.dumps({**made, 'threads': 97}))
    with caplog.at_level(logging.WARNING), open_run(tmp_path / 'run', resume=True):
        assert 'begun on 97 CPU threads' in caplog.text


def test_rewind_forgets_later_and_broken_lines(tmp_path):
    with open_run(tmp_path / 'run') as run:
        run.rewind(0)
        for step in (1, 2, 3):
            run.record(step, {'loss': 0.5})
        with open(run.folder / 'log.jsonl', 'a') as file:
            file.write('\0\0"step": 1}\n{"step": 1')
        run.rewind(2)
        assert [
            json.loads(line)['step']
            for line in (run.folder / 'log.jsonl').read_text().splitlines()
        ] == [1, 2]
    assert list(run.folder.glob('events*'))


def test_a_run_logs_why_it_ended(tmp_path):
    with pytest.raises(UserError), open_run(tmp_path / 'run') as run:
        run.rewind(0)
        run.record(1, {'loss': 0.5})
        raise UserError('the disk caught fire')
    assert 'the disk caught fire' in (tmp_path / 'run' / 'train.log').read_text()


def test_a_run_that_made_no_step_leaves_nothing_in_the_way_of_the_next(tmp_path):
    for _ in range(2):
        with pytest.raises(UserError, match='a mistake'), open_run(tmp_path / 'run'):
            raise UserError('a mistake')
    assert not (tmp_path / 'run').exists()


def test_a_log_that_cannot_be_opened_costs_no_run_that_is_resumed(tmp_path):
    with open_run(tmp_path / 'run'):
        pass
    with pytest.raises(FileNotFoundError):
        open_run(tmp_path / 'run', resume=True, logging_file=str(tmp_path / 'none' / 'log'))
    with open_run(tmp_path / 'run', resume=True):
        assert (tmp_path / 'run' / 'run.json').exists()


def test_what_a_killed_run_had_replaced_is_removed_when_it_is_resumed(tmp_path):
    with open_run(tmp_path / 'run'):
        (tmp_path / '.run.replaced').mkdir()
    with open_run(tmp_path / 'run', resume=True):
        pass
    assert not (tmp_path / '.run.replaced').exists()


def test_a_mistake_before_the_first_line_of_the_log_costs_no_checkpoint(tmp_path):
    step = tmp_path / 'run' / 'checkpoints' / 'step-00000001'
    with pytest.raises(UserError), open_run(tmp_path / 'run'):
        step.mkdir(parents=True)
        raise UserError('the loss is nan')
    assert step.exists()


def test_a_log_is_utf_8_and_escapes_what_is_not(tmp_path):
    """A name that is not UTF-8 is a surrogate in Python, and an ASCII locale has no ×."""
    handler = LogFile(tmp_path / 'log')
    handler.emit(logging.makeLogRecord({'msg': 'caf\udce9 32×32'}))
    handler.close()
    assert (tmp_path / 'log').read_bytes() == 'caf\\udce9 32×32\n'.encode()


def test_a_log_on_a_full_disk_stops_the_run(tmp_path):
    with pytest.raises(OSError, match='No space left'), open_run(tmp_path / 'run',
                                                                 logging_file='/dev/full'):
        log.warning('a line')
    assert not (tmp_path / 'run').exists()


def test_what_a_cut_start_leaves_is_in_nobodys_way(tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    for name in ('.run.json.99.tmp', 'fault.json'):
        (folder / name).write_text('half')
    with open_run(folder):
        assert (folder / 'run.json').exists() and not list(folder.glob('.run.json.*'))


@pytest.mark.skipif(sys.version_info < (3, 10), reason='pathlib keeps functions of its own')
def test_logs_are_on_the_disk_before_the_checkpoint_that_they_led_to(tmp_path):
    """Whatever a power cut loses then, a resumed run finds every line."""
    with open_run(tmp_path / 'run') as run, recorded_disk.recording(tmp_path) as done:
        run.rewind(0)
        run.record(1, {'loss': 0.5})
        writer = checkpoint.Writer(run.checkpoints, run.sync)
        writer.save(1, {'w': np.zeros(3)}, {})
        run.record(2, {'loss': 0.4})
        writer.wait()
    named = next(at for at, operation in enumerate(done) if operation[0] == 'rename')
    disk = recorded_disk.Disk()
    for operation in [('mkdir', 'run'), ('sync', '.'), *done[:named]]:
        disk.apply(*operation)
    for seed in range(20):
        left = disk.after_cut(random.Random(seed))
        assert left['run/log.jsonl'].startswith(b'{"step": 1, "loss": 0.5}\n')
