"""A study's plan, its claims and its rows, with runs that take no time; one run is real."""
import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from loading import ROOT, load

from gluon_a2.errors import UserError

study = load('benchmarks/study.py')

DATA = '''
import sys, pathlib, cv2, numpy as np
seed = int(sys.argv[-1].split('=')[1])
for part in ('train', 'val'):
    for name in 'ab':
        folder = pathlib.Path(sys.argv[1], 'far', part, name)
        folder.mkdir(parents=True)
        for i in range(4):
            image = np.random.RandomState(seed + i).randint(0, 255, (32, 32, 3), np.uint8)
            cv2.imwrite(str(folder / f'{i}.png'), image)
'''
TRAIN = '''
import json, pathlib, sys, time
flags = dict(word[2:].split('=') for word in sys.argv[1:] if '=' in word)
if flags.get('model') == 'broken':
    sys.exit('error: it cannot be built')
time.sleep(float(flags.get('sleep', 0)))
folder = pathlib.Path(flags['save-dir'])
folder.mkdir(parents=True, exist_ok=True)
(folder / 'seen').write_text(' '.join(sys.argv[1:]))
print('trained')
'''


@pytest.fixture
def plan(tmp_path):
    """A function that writes and reads a plan whose scripts take no time."""
    (tmp_path / 'data.py').write_text(DATA)
    (tmp_path / 'train.py').write_text(TRAIN)

    def make(**changed):
        path = tmp_path / 'plan.json'
        path.write_text(json.dumps({
            'title': 'A plan', 'about': [], 'data': [str(tmp_path / 'data.py')],
            'questions': ['far'], 'script': str(tmp_path / 'train.py'), 'train': {'lr': 0.1},
            'arms': {'a': {'model': 'resnet26'}, 'b': {'model': 'broken'}},
            'stages': [{'questions': ['far'], 'arms': ['a', 'b'], 'seeds': [0, 2]}],
            'hypotheses': [{'question': 'far', 'better': 'a', 'than': 'b', 'paper': '–'}],
            **changed}))
        return study.read_plan(path)
    return make


@pytest.fixture
def shop(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(study.Workshop, 'results', lambda self, folder: {
        'top1': '0.5', 'curve': '0.25 0.5', 'weights': (folder / 'seen').read_text()[:5]})
    return study.Workshop(plan(), tmp_path / 'work')


def rows(plan):
    with open(plan.rows, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def go(shop, **more):
    study.work(shop, list(shop.plan.runs), **{'workers': 1, 'minutes': 1, **more})


# ---- plans

def test_runs_come_in_the_order_of_stages_and_seeds_and_once(plan):
    made = plan(stages=[{'questions': ['far'], 'arms': ['b'], 'seeds': [1, 2]},
                        {'questions': ['far'], 'arms': ['a', 'b'], 'seeds': [0, 2]}])
    assert [(run.arm, run.seed) for run in made.runs] == [('b', 1), ('a', 0), ('b', 0), ('a', 1)]
    assert len({run.key for run in made.runs}) == 4


def test_a_key_is_of_what_is_computed(plan):
    """More arms or another title leave it, so that a plan can grow; a flag or the data do not."""
    first = plan()
    key = first.runs[0].key
    grown = plan(title='Another', arms={**first.content['arms'], 'c': {'model': 'c'}})
    assert grown.digest != first.digest and grown.runs[0].key == key
    assert plan(train={'lr': 0.2}).runs[0].key != key
    assert plan(data=[*first.content['data'], '--more']).runs[0].key != key


@pytest.mark.parametrize('changed, sentence', [
    ({'extra': 1}, 'must have exactly the entries about, arms, data'),
    ({'stages': [{'questions': ['far'], 'arms': ['z'], 'seeds': [0, 1]}]},
     "names 'z', which is none of its arms: a, b"),
    ({'stages': [{'questions': ['up'], 'arms': ['a'], 'seeds': [0, 1]}]},
     "names 'up', which is none of its questions: far"),
    ({'hypotheses': [{'question': 'far', 'better': 'a', 'than': 'y'}]}, "names 'y'")])
def test_a_plan_that_cannot_be_done_is_refused(plan, changed, sentence):
    with pytest.raises(UserError, match=sentence):
        plan(**changed)


def test_files_that_are_no_plan(tmp_path):
    with pytest.raises(UserError, match='cannot be read'):
        study.read_plan(tmp_path / 'none.json')
    (tmp_path / 'x.json').write_text('{')
    with pytest.raises(UserError, match='is not JSON'):
        study.read_plan(tmp_path / 'x.json')


def test_flags_as_words():
    assert study.to_words({'num_epochs': 4, 'identity': True, 'mirror': False}) == [
        '--num-epochs=4', '--identity', '--no-mirror']


def test_the_plans_here_can_be_done():
    """Their flags are those of the training command, and their networks are in the zoo."""
    from gluon_a2.run.network import create
    from gluon_a2.train.command import parse
    for path in sorted((ROOT / 'benchmarks' / 'study').glob('*.json')):
        made = study.read_plan(path)
        assert made.content['hypotheses']
        assert (ROOT / 'benchmarks' / made.content['data'][0]).exists()
        for run in {run.arm: run for run in made.runs}.values():
            words = [*study.to_words(run.flags), '--data-dir=x', f'--seed={run.seed}']
            dims = 3 if made.content['script'] == 'train_video.py' else 2
            create(parse(None, words, dims).recipe)


# ---- rows

def test_every_run_leaves_a_row_and_none_is_done_twice(shop, tmp_path):
    go(shop)
    found = rows(shop.plan)
    assert [(row['arm'], row['seed'], row['status']) for row in found] == [
        ('a', '0', 'ok'), ('b', '0', 'failed: exit code 1, error: it cannot be built'),
        ('a', '1', 'ok'), ('b', '1', 'failed: exit code 1, error: it cannot be built')]
    assert [row['top1'] for row in found] == ['0.5', '', '0.5', '']
    assert all(row['threads'] == '1' and row['commit'] and row['finished'] for row in found)
    assert [bool(row['cpu_seconds']) for row in found] == [True, False, True, False]
    go(shop)
    assert len(rows(shop.plan)) == 4
    assert not list((tmp_path / 'work' / 'runs').iterdir()), 'folders of good runs go'


def test_what_failed_can_be_tried_again(shop):
    """Once: the row of the failure stays, and good runs are not repeated."""
    go(shop)
    go(shop, retry=True)
    assert [row['arm'] for row in rows(shop.plan)] == ['a', 'b', 'a', 'b', 'b', 'b']


def test_without_data_there_are_no_rows(plan, tmp_path):
    (tmp_path / 'data.py').write_text('raise SystemExit("error: no network")')
    shop = study.Workshop(plan(), tmp_path / 'work')
    with pytest.raises(UserError, match='exit code 1, error: no network'):
        go(shop)
    assert not shop.plan.rows.exists()


def test_a_run_gets_its_flags_seed_and_data(shop):
    shop.keep = True
    go(shop)
    seen = (next((shop.work / 'runs').glob('far-a-1-*')) / 'seen').read_text().split()
    assert seen[:3] == ['--lr=0.1', '--model=resnet26', '--seed=1']
    folder = Path(next(word for word in seen if word.startswith('--data-dir='))[11:])
    assert (folder / 'train' / 'a' / '0.png').exists() and folder.parent.name.startswith('1-')


def test_rows_of_many_writers_stay_whole(tmp_path):
    path = tmp_path / 'rows.csv'
    threads = [threading.Thread(target=lambda: [study.append(path, {
        'run': 'x' * 50, 'status': 'a, "b"'}) for _ in range(30)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open(path, newline='') as file:
        found = list(csv.reader(file))
    assert found[0] == list(study.FIELDS) and len(found) == 241
    assert {tuple(row[i] for i in (1, 5)) for row in found[1:]} == {('x' * 50, 'a, "b"')}


def test_workers_share_a_plan(shop):
    """Two shops with two workers each: every run once."""
    others = study.Workshop(shop.plan, shop.work)
    threads = [threading.Thread(target=go, args=(one,), kwargs={'workers': 2})
               for one in (shop, others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [row['run'] for row in rows(shop.plan)]
    assert sorted(found) == sorted({run.key for run in shop.plan.runs})


def test_late_workers_begin_nothing(shop):
    go(shop, minutes=0)
    assert not shop.plan.rows.exists()


def test_a_run_that_another_plan_has_done_is_not_done_again(shop):
    go(shop)
    another = shop.plan.path.with_name('another.json')
    another.write_bytes(shop.plan.path.read_bytes())
    shop.plan.rows.rename(another.with_suffix('.csv'))
    go(shop)
    assert not shop.plan.rows.exists()


# ---- claims

HOLD = '''
import pathlib, subprocess, sys, time
sys.path[:0] = [{bench!r}]
import study
with study.claim(pathlib.Path({path!r})) as lock:
    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],
                             pass_fds=[lock])
    print(child.pid, flush=True)
    time.sleep(60)
'''


def test_other_tables_beside_a_plan_are_no_rows(shop):
    Path(shop.plan.path).with_name('prices.csv').write_text('what,price\nbread,2\n')
    go(shop)
    assert len(rows(shop.plan)) == len(shop.plan.runs)


def test_a_claim_is_held_by_one_and_outlives_a_killed_worker_until_its_training_ends(tmp_path):
    path = tmp_path / 'claims' / 'x'
    with study.claim(path) as mine, study.claim(path) as other:
        assert mine >= 10 and other is None
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLD.format(bench=str(ROOT / 'benchmarks'), path=str(path))],
        stdout=subprocess.PIPE, text=True)
    child = int(holder.stdout.readline())
    try:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        with study.claim(path) as lock:
            assert lock is None, 'what it trains goes on'
    finally:
        os.kill(child, signal.SIGKILL)
    for _ in range(100):
        with study.claim(path) as lock:
            if lock is not None:
                return
        time.sleep(0.1)
    pytest.fail('the claim of a dead process was not taken over')


def test_what_is_stopped_leaves_no_row(plan, tmp_path, monkeypatch):
    shop = study.Workshop(plan(train={'sleep': 60}), tmp_path / 'work')
    timer = threading.Timer(2, shop.stop)
    timer.start()
    started = time.monotonic()
    go(shop)
    assert time.monotonic() - started < 40
    assert not shop.plan.rows.exists()


# ---- done anew

def test_runs_can_be_done_anew(shop, capsys):
    go(shop)
    study.again(shop, 2)
    assert capsys.readouterr().out.count('the same bits') == 2
    with pytest.raises(UserError, match='only 2 runs of .* have finished on this kind of'):
        study.again(shop, 3)
    shop.results = lambda folder: {'top1': '0.4', 'curve': '0.25 0.4', 'weights': '-'}
    with pytest.raises(UserError, match='not reproduced: far-a-'):
        study.again(shop, 1)


def test_a_run_of_another_processor_is_not_done_anew(shop, monkeypatch):
    go(shop)
    monkeypatch.setattr(study, 'processor', lambda: 'Z80')
    with pytest.raises(UserError, match='only 0 runs of .*, Z80; another rounds in its own way'):
        study.again(shop, 1)


# ---- the command

def test_the_command_refuses_an_unknown_arm(plan, capsys):
    made = plan()
    with pytest.raises(SystemExit):
        study.main([str(made.path), '--only', 'c'])
    assert "no arm 'c': choose from a, b" in capsys.readouterr().err


def test_a_real_run(plan, tmp_path):
    """A network trains for an epoch of eight pictures, twice: the same bits."""
    made = plan(script='train_imagenet.py', arms={'a': {'model': 'a2_resnet26'}},
                train={'recipe': 'digits', 'classes': 2, 'num_epochs': 1, 'lr': 0.01},
                stages=[{'questions': ['far'], 'arms': ['a'], 'seeds': [3, 4]}], hypotheses=[])
    work = ['--work', str(tmp_path / 'work'), '--wrap', 'nice -n 1']
    study.main([str(made.path), *work, '--workers', '1', '--minutes', '5', '--keep', '--only', 'a'])
    row, = rows(made)
    assert row['status'] == 'ok', row
    assert 5_000_000 > int(row['parameters']) > 4_000_000 and row['curve'] == row['top1']
    assert 70e6 > int(row['flops']) > 60e6 and len(row['weights']) == 16
    assert list((tmp_path / 'work' / 'runs').glob('far-a-3-*/export/*.params'))
    study.main([str(made.path), *work, '--again', '1'])
