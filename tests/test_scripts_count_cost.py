"""scripts/count_cost.py as a process: its tables, its CSV, and one sentence for each mistake."""
import csv
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from loading import load

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / 'scripts' / 'count_cost.py'


def run(*arguments, cwd=ROOT):
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], cwd=cwd,
                          capture_output=True, encoding='utf-8', timeout=120)


@pytest.fixture
def here(capfd, monkeypatch):
    """The same without a process, for speed: (exit code, stdout, stderr) of the script's `main`."""
    script = load('scripts/count_cost.py')
    monkeypatch.chdir(ROOT)

    def call(*arguments):
        code = 0
        with warnings.catch_warnings():
            warnings.simplefilter('always')  # to stderr, as in a process
            warnings.showwarning = lambda message, *_, **__: print(message, file=sys.stderr)
            try:
                script.main(list(map(str, arguments)))
            except SystemExit as exit:
                code = exit.code
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    return call


def rows(done):
    assert (done.returncode, done.stderr) == (0, '')
    return [re.split(r'  +', line.strip()) for line in done.stdout.splitlines()]


def saved(path):
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.reader(file))


def test_the_table_of_the_paper(tmp_path):
    """From another folder; the CSV holds the same rows."""
    done = run('--csv', tmp_path / 'paper.csv', cwd=tmp_path)
    header, line, *table = rows(done)
    columns = ['where', 'network', 'quantity', 'paper', 'counted', 'difference', 'agrees', 'note']
    assert header == columns and set(''.join(line)) == {'-'}
    assert len(table) == 56 + 4 + 7
    assert [row[:7] for row in table if row[0] == 'Table 5' and 'A²' in row[1]] == [
        ['Table 5', 'A²-Net ResNet-50, video', 'FLOPs', '40.8 G', '40.80 G', '+0.00 %', 'yes']]
    assert [row[:7] for row in table
            if row[:2] == ['Table 1', 'ResNet-50'] and row[2] == 'FLOPs'] == [[
                'Table 1', 'ResNet-50', 'FLOPs', '31.3 G', '30.52 G', '-2.48 %', 'no'
            ]]
    ours = table[:60]
    assert [row[:3] for row in ours if row[6] == 'no'] == [
        ['Table 1', 'ResNet-50', 'FLOPs'], ['Table 6', 'A²-Net ResNet-50, video', 'FLOPs']]
    filed = saved(tmp_path / 'paper.csv')
    assert filed[0] == columns and [[cell for cell in row if cell] for row in filed[1:]] == table


def test_networks_in_total(here):
    header, _, *table = rows(here('A2_ResNet50', 'resnet152'))
    assert header == ['network', 'trained', 'statistics', 'parameters', 'multiply-adds']
    counted = {row[0]: [int(cell.replace(',', '')) for cell in row[1:]] for row in table}
    assert list(counted) == ['A2_ResNet50', 'resnet152']
    trained, statistics, parameters, flops = counted['A2_ResNet50']
    assert trained + statistics == parameters and parameters == pytest.approx(33.0e6, abs=0.05e6)
    assert flops == pytest.approx(6.54e9, rel=1e-3)
    assert counted['resnet152'][2] == pytest.approx(60.3e6, abs=0.05e6)


def test_layer_by_layer(here, tmp_path):
    """The stem by hand: 16 filters of 3·5·5 at 16×16 positions; the classifier 1024·10 and its
    bias."""
    path = tmp_path / 'layers.csv'
    done = here('resnet26', '--layers', '--input-size', '32', '--classes', 10, '--csv', path)
    header, *table = saved(path)
    assert header == [
        'network', 'layer', 'operator', 'output', 'trained', 'statistics', 'parameters',
        'multiply-adds'
    ]
    assert table[0] == [
        'resnet26', 'conv1_conv_fwd', 'Convolution', '1×16×16×16', '1200', '0', '1200', '307200'
    ]
    assert table[1] == [
        'resnet26', 'conv1_bn_fwd', 'BatchNorm', '1×16×16×16', '32', '32', '64', '0'
    ]
    assert table[-2] == [
        'resnet26', 'fc_fwd', 'FullyConnected', '1×10', '10250', '0', '10250', '10240'
    ]
    layers, total = table[:-1], table[-1]
    assert total[:4] == ['resnet26', 'total', '', '']
    assert [int(cell)
            for cell in total[4:]] == [sum(int(row[i]) for row in layers) for i in range(4, 8)]
    assert 'resnet26  conv1_conv_fwd' in rows_of(done)


def rows_of(done):
    assert done.returncode == 0
    return re.sub(r'  +', '  ', done.stdout)


@pytest.mark.parametrize('sizes', ['32', '32,64'])
def test_a_symbol_file_costs_what_its_network_does(here, sizes):
    file = here('symbols/a2_resnet26-symbol.json', '--input-size', sizes)
    assert rows(file)[2][1:] == rows(here('a2_resnet26', '--input-size', sizes))[2][1:]


def test_a_height_and_a_width(here):
    whole, half = (int(rows(here('resnet26', '--input-size', size))[2][-1].replace(',', ''))
                   for size in ('64', '32,64'))
    assert half == pytest.approx(whole / 2, rel=0.01)


def test_a_video_symbol_file(here):
    file = here('symbols/resnet26_3d-symbol.json', '--input-size', '16,112,112')
    assert rows(file)[2][1:] == rows(here('resnet26_3d'))[2][1:]


def test_a_side_alone_does_for_a_video_network(here):
    """As in `get_model`: the frames are the network's own."""
    assert rows(here('resnet26_3d', '--input-size', '112'))[2] == rows(here('resnet26_3d'))[2]


def test_help_shows_its_examples():
    done = run('--help')
    assert done.returncode == 0
    assert '    count_cost.py a2_resnet50 resnet152' in done.stdout


def graph(*nodes, heads=((-1, 0, 0),)):
    """A symbol's JSON: one variable, then `nodes` of (operator, inputs, attributes)."""
    nodes = [('null', [], {}), *nodes]
    return json.dumps({
        'nodes': [{'op': op, 'name': f'node{i}' if i else 'data', 'attrs': attrs, 'inputs': inputs}
                  for i, (op, inputs, attrs) in enumerate(nodes)], 'arg_nodes': [0],
        'heads': [[head[0] % len(nodes) if head[0] < 0 else head[0], *head[1:]]
                  for head in heads], 'node_row_ptr': list(range(len(nodes) + 1)), 'attrs': {
                      'mxnet_version': ['int', 10901]
                  }
    })


FLATTEN = ('Flatten', [[0, 0, 0]], {})
MALFORMED = {
    'empty': '', 'html': '<html>404</html>', 'list': '[]', 'number': '7', 'no nodes': '{"nodes": '
                                                                                      '[], '
                                                                                      '"heads": '
                                                                                      '[]}',
    'no such operator': graph(('Convolute', [[0, 0, 0]], {})),
    'no such node': graph(FLATTEN, heads=[(3, 0, 0)]),
    'a loop': graph(('Flatten', [[1, 0, 0]], {})),
    'an address': graph(('_Native', [[0, 0, 0]], {'info': '0x1'})),
    'no such kernel': graph(('Pooling', [[0, 0, 0]], {'kernel': 'x', 'pool_type': 'max'}))}
# What MXNet may read out of bounds: in a process of its own, so that a crash is a failure and no
# more.
PERILOUS = {'no such output': graph(('Flatten', [[0, 5, 0]], {})),
            'no such head': graph(FLATTEN, heads=[(1, 7, 0)])}


def one_sentence(done, *parts):
    """Exit code 2, nothing printed, and on stderr one line `error: …` that names `parts`."""
    assert (done.returncode, done.stdout) == (2, ''), done.stderr
    assert re.fullmatch(r'error: [^\n]+\n', done.stderr), done.stderr
    for part in parts:
        assert str(part) in done.stderr


@pytest.mark.parametrize('kind', [*MALFORMED, *PERILOUS])
def test_a_malformed_symbol_is_one_sentence(here, tmp_path, kind):
    path = tmp_path / 'net-symbol.json'
    path.write_text({**MALFORMED, **PERILOUS}[kind], encoding='utf-8')
    one_sentence((run if kind in PERILOUS else here)(path), path)


def test_a_mistake_ends_the_process_with_two():
    one_sentence(run('resnet51'), "unknown model 'resnet51'", 'se_resnet50_3d')


@pytest.mark.parametrize('arguments,parts', [
    (['resnet26', '--input-size', '8'], ['resnet26 cannot take an input of 8×8']),
    (['no/such-symbol.json'], ['no/such-symbol.json cannot be read: No such file']),
    (['symbols/resnet26-symbol.json', '--classes', '3'], ['--classes is for networks of the zoo']),
    (['resnet26', '--classes', '0'], ['--classes must be 1 or more, not 0']),
    (['--layers'], ['--layers needs a NETWORK']),
    (['--input-size', '32'], ['--input-size']),
    (['--classes', '0'], ['--classes']),
    (['symbols/resnet26-symbol.json', '--input-size', '0'], ['0']),
    (['symbols/resnet26_3d-symbol.json'], ['1×3×224×224'])])
def test_a_mistake_is_one_sentence(here, arguments, parts):
    one_sentence(here(*arguments), *parts)


@pytest.mark.parametrize('size', ['x', '32x32', '', '3,,3', '-32', '32.5'])
def test_a_size_that_is_none_is_told_what_one_looks_like(here, size):
    """argparse prints the usage first; its last line is the sentence."""
    done = here('resnet26', f'--input-size={size}')
    assert (done.returncode, done.stdout) == (2, '') and 'Traceback' not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.search(r'error: .*(H,W|numbers separated by commas|must be 1 or more|cannot take)',
                     last) and 'sizes value' not in last, last


def test_a_table_goes_into_a_folder_that_is_there(here, tmp_path):
    """One that is not there may be a typo."""
    assert here('resnet26', '--csv', tmp_path / 'table.csv').returncode == 0
    assert saved(tmp_path / 'table.csv')[0][0] == 'network'
    one_sentence(here('resnet26', '--csv', tmp_path / 'new' / 'table.csv'), tmp_path / 'new')
    one_sentence(here('resnet26', '--csv', tmp_path / 'table.csv' / 'table.csv'),
                 tmp_path / 'table.csv')
