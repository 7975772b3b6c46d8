"""What a study reports, on rows made up so that the answer is known."""
import json
import statistics
from collections import Counter

import numpy as np
import pytest
from loading import load

report = load('benchmarks/study_report.py')
study = report.sys.modules['study']


def plan(folder, arms=('a', 'b', 'c'), seeds=4, hypotheses=(('a', 'b', {}),)):
    """A plan of one question, read from a file."""
    path = folder / 'made_up.json'
    path.write_text(json.dumps({
        'title': 'Made up', 'about': [], 'data': ['none.py'], 'questions': ['far'],
        'script': 'none.py', 'train': {'lr': 0.1}, 'arms': {arm: {'model': arm} for arm in arms},
        'stages': [{'questions': ['far'], 'arms': list(arms), 'seeds': [0, seeds]}],
        'hypotheses': [{'question': 'far', 'better': better, 'than': than, 'paper': '–', **more}
                       for better, than, more in hypotheses]}))
    return study.read_plan(path)


def rows(made, top1, **more):
    """A finished row for each {arm: [top-1 in per cent of each seed]}; None leaves a seed out."""
    keys = {(run.arm, run.seed): run.key for run in made.runs}
    return [{**dict.fromkeys(study.FIELDS, ''), 'run': keys[arm, seed], 'question': 'far',
             'arm': arm, 'seed': str(seed), 'status': 'ok', 'top1': str(value / 100),
             'curve': f'0.1 {value / 100}', 'train_curve': '0.2 0.9', 'cpu_seconds': '36',
             'flops': '2000000', 'parameters': '1000000', 'commit': 'abc', 'processor': 'made up',
             **more}
            for arm, values in top1.items() for seed, value in enumerate(values)
            if value is not None]


# ---- statistics

@pytest.mark.parametrize('differences, p', [
    ([1, 2, 3], 2 / 8), ([1, -1], 1.0), ([5] * 10, 2 / 1024), ([-5] * 10, 2 / 1024),
    ([3, 1, -1], 6 / 8), ([0, 0, 0], 1.0)])
def test_sign_flips_by_hand(differences, p):
    """The eight sums of ±3 ±1 ±1 are ±5, ±3, ±3 and ±1, of which six are as far as 3."""
    assert report.sign_flip(differences) == pytest.approx(p)


def test_drawn_swaps_agree_with_all_of_them(monkeypatch):
    values = np.random.RandomState(3).normal(0.5, 1, 12)
    exact = report.sign_flip(values)
    monkeypatch.setattr(report, 'MOST_EXACT', 11)
    assert report.sign_flip(values) == pytest.approx(exact, abs=0.03)


def test_sign_flips_are_seldom_wrong():
    """Without a difference p is below 0.05 in about one case of twenty, and not in more."""
    draw = np.random.RandomState(1)
    wrong = np.mean([report.sign_flip(draw.normal(0, 2, 8)) < 0.05 for _ in range(600)])
    assert 0.02 < wrong < 0.075


@pytest.mark.parametrize('values, expected', [
    ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]), ([0.5], [0.5]), ([0.9, 0.6], [1.0, 1.0]),
    ([0.001, 0.02, 0.011, 0.2], [0.004, 0.04, 0.033, 0.2]), ([], [])])
def test_holm_by_hand(values, expected):
    assert report.holm(values) == pytest.approx(expected)


def test_intervals_cover_what_they_should():
    """Over 600 made-up studies of ten seeds whose true difference is 0.7: Student's interval has
    it in 95 of 100, the bootstrap's, which is known to be narrow at ten, in about 90."""
    draw, hits = np.random.RandomState(0), {'t': 0, 'bootstrap': 0}
    for _ in range(600):
        seen = draw.normal(0.7, 2, 10).tolist()
        mean, half = report.interval(seen)
        low, high = report.bootstrap(seen, samples=400)
        hits['t'] += abs(mean - 0.7) <= half
        hits['bootstrap'] += low <= 0.7 <= high
    assert 0.93 < hits['t'] / 600 < 0.97
    assert 0.86 < hits['bootstrap'] / 600 < 0.95


def test_wins_by_hand():
    share, low, high = report.wins([2, 0, -1, 3])
    assert share == 0.625 and 0 < low < share < high < 1
    assert report.wins([1, 1])[0] == 1


# ---- verdicts

def test_verdicts(tmp_path):
    """a is 10 points above b in all of ten seeds, c as good as b; three hypotheses are corrected
    together: 2/1024 three and two times."""
    made = plan(tmp_path, seeds=10, hypotheses=[
        ('a', 'b', {}), ('b', 'a', {}), ('c', 'b', {}), ('c', 'b', {'margin': 2})])
    noise = [0.1 * (-1) ** seed for seed in range(10)]
    found = report.judge(report.Results(made, rows(made, {
        'a': [60 + 0.5 * seed for seed in range(10)],
        'b': [50 + 0.5 * seed for seed in range(10)],
        'c': [50 + 0.5 * seed + noise[seed] for seed in range(10)]})))
    assert [verdict.word for verdict in found] == ['agrees', 'disagrees', 'undecided', 'agrees']
    assert [verdict.p for verdict in found] == pytest.approx([8 / 1024] * 2 + [1, 8 / 1024])


def test_a_correction_can_undo_a_verdict(tmp_path):
    """Six seeds give 2/64 = 0.031, which two hypotheses double."""
    top1 = {'a': [60] * 6, 'b': [50] * 6, 'c': [50] * 6}
    one = plan(tmp_path, seeds=6)
    assert report.judge(report.Results(one, rows(one, top1)))[0].word == 'agrees'
    two = plan(tmp_path, seeds=6, hypotheses=[('a', 'b', {}), ('b', 'c', {})])
    assert report.judge(report.Results(two, rows(two, top1)))[0].word == 'undecided'


def test_pairs_are_of_the_same_seed(tmp_path):
    """A missing seed leaves both networks of it out, and the hypothesis incomplete."""
    made = plan(tmp_path)
    results = report.Results(made, rows(made, {'a': [60, None, 64, 70], 'b': [50, 99, 60, None]}))
    assert results.pairs('far', 'a', 'b') == pytest.approx({0: 10, 2: 4})
    verdict, = report.judge(results)
    assert verdict.word == 'incomplete: 2 of 4 seeds'
    assert '+7.0 (' in report.hypotheses(results) and '| 2 |' in report.hypotheses(results)


def test_nothing_has_run(tmp_path):
    results = report.Results(plan(tmp_path), [])
    assert report.judge(results)[0][3:] == (1.0, 'incomplete: 0 of 4 seeds')
    assert '0 of 4' in report.arms(results) and '0 of 12 runs' in report.plan_of(results)
    assert report.curves(results)[:4] == report.costs(results)[:4] == b'\x89PNG'


def test_failed_runs_are_shown_and_left_out(tmp_path):
    made = plan(tmp_path)
    given = rows(made, {'a': [60, 61, 62, 63], 'b': [50, 51, 52, 53]})
    given[1].update(status='failed: exit code 2', top1='', curve='')
    results = report.Results(made, given)
    assert sorted(results.pairs('far', 'a', 'b')) == [0, 2, 3]
    assert '| far | a | 3 of 4 | 1 |' in report.arms(results)
    assert '7 of 12 runs are done, 1 failed' in report.plan_of(results)


def test_the_first_of_two_rows_counts(tmp_path):
    made = plan(tmp_path)
    given = rows(made, {'a': [60, 61, 62, 63]})
    same = report.Results(made, [*given, given[2]])
    assert same.of('far', 'a')[2]['top1'] == '0.62' and len(same.of('far', 'a')) == 4
    assert '1 were done twice. ' in report.plan_of(same)
    other = report.Results(made, [*given, {**given[2], 'curve': '0.1 0.5', 'top1': '0.5'}])
    assert other.of('far', 'a')[2]['top1'] == '0.62'
    assert '1 were done twice, with other results' in report.plan_of(other)


def test_rows_of_other_flags_do_not_count(tmp_path):
    made = plan(tmp_path)
    given = rows(made, {'a': [60] * 4})
    given[0]['run'] = 'anotherplans'
    assert list(report.Results(made, given).of('far', 'a')) == [1, 2, 3]


def test_tables_by_hand(tmp_path):
    made = plan(tmp_path, seeds=3)
    results = report.Results(made, rows(made, {'a': [60, 62, 64], 'b': [50, 51, 52]}))
    half = 4.302653 * statistics.stdev([60, 62, 64]) / 3 ** 0.5
    line = report.arms(results).splitlines()[2]
    assert line == (f'| far | a | 3 of 3 | 0 | 62.0 ± {half:.1f} | 60.0 to 64.0 | 90.0 ± 0.0 | '
                    '1.00 | 2.0 | 36 |')
    line = report.hypotheses(results).splitlines()[2]
    assert line == ('| far: a > b | – | 3 | +11.0 (+8.5 to +13.5) | – | '
                    '1.00 (0.44 to 1.00) | 0.250 | **undecided** |')
    five = plan(tmp_path, seeds=5)
    given = rows(five, {'a': [60, 62, 64, 62, 62], 'b': [50, 51, 52, 51, 51]})
    assert '| +11.0 (+10.1 to +11.9) | +10.4 to +11.6 |' in report.hypotheses(
        report.Results(five, given))
    assert ('took 0.1 core-hours. Commit of the code: abc; processors: made up.'
            in report.plan_of(results))


def test_runs_that_share_a_gpu_have_no_time_of_their_own(tmp_path):
    made = plan(tmp_path)
    content = {**made.content, 'script': study.TORCH_SCRIPT}
    for one, shown in ((made, True), (made._replace(content=content), False)):
        assert ('CPU seconds' in report.arms(report.Results(one, rows(one, {'a': [60]})))) == shown


def test_pictures_have_what_was_run(tmp_path):
    made = plan(tmp_path)
    results = report.Results(made, rows(made, {'a': [60, 61, 62, 63], 'b': [50, None, None, None]}))
    for draw in (report.curves, report.costs, report.seeds):
        assert draw(results)[:4] == b'\x89PNG' and draw(results) != draw(
            report.Results(made, []))


# ---- the page

def test_the_page_is_what_the_rows_say():
    found = report.read_results()
    template = (report.DOCS / 'study.md.in').read_text(encoding='utf-8')
    assert report.page(found, template) == (report.DOCS / 'study.md').read_text(encoding='utf-8')
    for name, results in found.items():
        assert f'{{{name}_hypotheses}}' in template
        assert not [row for row in results.rows if row['commit'].endswith('+')]


def test_the_readme_says_what_the_rows_say():
    found = report.read_results()
    results = found['mechanism']
    readme = (report.ROOT / 'README.md').read_text(encoding='utf-8')
    for question, arm in [*(('far', arm) for arm in ('plain', 'a2x4', 'se', 'nlx4')),
                          *(('far', arm) for arm in ('a2_conv4', 'deeper', 'a2_conv3',
                                                     'a2_conv2', 'a2x4_identity')),
                          ('near', 'plain'), ('near', 'a2x4')]:
        rows = results.of(question, arm).values()
        assert f'{report.spread_of([float(row["top1"]) for row in rows])} %' in readme
    assert all(min(results.pairs('far', 'a2x4', arm).values()) > 0 for arm in (
        'plain', 'se', 'nlx4'))
    words = Counter(verdict.word for verdict in report.judge(results))
    for name, arm in (('limited', 'local'), ('limited', 'local_a2x4'), ('fresh', 'plain'),
                      ('fresh', 'a2x4'), ('clips', 'plain'), ('clips', 'a2'), ('clips', 'nl')):
        rows = found[name].of('far', arm).values()
        assert report.spread_of([float(row['top1']) for row in rows]) in readme
    pairs = list(found['cifar10'].pairs('classes', 'a2x4', 'plain').values())
    assert f'A² is {-statistics.mean(pairs):.1f} points\nbehind plain in their mean' in readme
    assert len(pairs) == 3
    assert len(found['clips'].pairs('far', 'a2', 'plain')) == 7 and '(seven seeds)' in readme
    assert (f'Of the first plan\'s {sum(words.values())} expectations {words["agrees"]} agree, '
            f'{words["disagrees"]} disagree and {words["undecided"]} are undecided.' in readme)
