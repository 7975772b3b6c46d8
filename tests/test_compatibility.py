"""The releases of MXNet that load our files: what was asked of them (proofs/compatibility.py)
still covers us."""
import copy
import json
import re
import sys
from pathlib import Path

import pytest
from bench import read_rows
from loading import LENDS, load

ROOT = Path(__file__).resolve().parents[1]
SYMBOLS = sorted((ROOT / 'symbols').glob('*-symbol.json'))
PAGE = (ROOT / 'docs' / 'compatibility.md').read_text(encoding='utf-8')


PROOF = load('proofs/compatibility.py')
RECORD = json.loads(PROOF.RECORD.read_text(encoding='utf-8'))


def unknown(graph):
    """What the oldest release does not know of a symbol: operators, attributes, values of a closed
    list."""
    for node in graph['nodes']:
        if node['op'] == 'null':
            continue
        known = RECORD['operators'].get(node['op'])
        if known is None:
            yield f'operator {node["op"]}'
            continue
        for name, value in node.get('attrs', {}).items():
            choices = re.match(r'\{(.*?)\}', known.get(name, ''))
            if name not in known and not re.fullmatch('__.*__', name):
                yield f'{node["op"]}.{name}'
            elif choices and value not in re.findall(r'[\w.]+', choices.group(1)):
                yield f'{node["op"]}.{name}={value}'


@pytest.mark.parametrize('path', SYMBOLS, ids=lambda path: path.name)
def test_the_oldest_release_knows_every_operator_and_attribute(path):
    assert list(unknown(json.loads(path.read_text(encoding='utf-8')))) == []


@pytest.mark.parametrize('operator, change, found', [
    ('Convolution', {'op': 'DeformableConvolution'}, 'operator DeformableConvolution'),
    # of MXNet 1.6
    ('softmax', {'attrs': {'axis': '-1', 'use_length': 'True'}}, 'softmax.use_length'),
    # of MXNet 1.9
    ('Activation', {'attrs': {'act_type': 'log_sigmoid'}}, 'Activation.act_type=log_sigmoid')])
def test_what_came_later_is_found(operator, change, found):
    graph = json.loads((ROOT / 'symbols' / 'a2_resnet26-symbol.json').read_text(encoding='utf-8'))
    node = next(node for node in graph['nodes'] if node['op'] == operator)
    changed = copy.deepcopy(node)
    changed.update(change)
    graph['nodes'][graph['nodes'].index(node)] = changed
    assert list(unknown(graph)) == [found]


def test_the_page_states_what_was_measured():
    rows = read_rows(PROOF.CSV)
    assert {row['mxnet'] for row in rows} == {version.mxnet for version in PROOF.VERSIONS}
    table = [
        tuple(cell.strip(' `') for cell in line.strip('|').split('|'))
        for line in PAGE.splitlines() if re.match(r'\| (MXNet|1\.)', line)
    ]
    assert table == list(PROOF.summary(rows))
    assert PROOF.oldest(rows) == RECORD['mxnet']
    assert f'**The oldest that loads every network is {RECORD["mxnet"]}' in PAGE


def row(version, load_checkpoint, module, symbol_block, error=''):
    return {
        'mxnet': version, 'python': '3.6', 'numpy': '1.13.3', 'network': 'a2',
        'load_checkpoint': load_checkpoint, 'module': module, 'symbol_block': symbol_block,
        'error': error
    }


def test_oldest_and_summary_of_a_table_by_hand():
    rows = [
        row('1.0', '1.0e-06', '1.0e-06', 'fails', 'no imports'),
        row('1.0', 'fails', 'fails', 'fails', 'a layout'),
        row('1.1', '2.0e-06', '3.0e-06', 'fails', 'no imports'),
        row('1.1', '2.0e-06', '9.0e-06', '1.0e-05'),
        row('1.2', '2.0e-06', '2.0e-06', '2.0e-06'),
        row('1.2', '2.0e-06', '2.0e-06', '2.0e-06')
    ]
    # SymbolBlock.imports came later than the files can be read
    assert PROOF.oldest(rows) == '1.1'
    assert [line[3:] for line in PROOF.summary(rows)][1:] == [
        ('1 of 2', '1.0e-06', 'a layout; no imports'), ('2 of 2', '1.0e-05', 'no imports'),
        ('2 of 2', '2.0e-06', '–')]
    wrong = [row('1.3', '2.0e-04', '2.0e-06', '2.0e-06')]  # it loads, and gives other logits
    assert PROOF.oldest([*rows, *wrong, row('1.4', '1.0e-06', '1.0e-06', '1.0e-06')]) == '1.4'
    with pytest.raises(PROOF.UserError, match='1.3 does not load every network'):
        PROOF.oldest([*rows, *wrong])


def test_a_release_loads_or_says_why(tmp_path, monkeypatch):
    """With this MXNet in place of an old one, in a process of its own."""
    monkeypatch.setenv('PYTHONPATH', LENDS)
    prefix = PROOF.export('se_resnet26', tmp_path)
    version = PROOF.Version('1.9.1', '3.11', '1.23.5')
    good = PROOF.load(sys.executable, version, 'se_resnet26', prefix)
    assert PROOF.loads(good) and float(good['symbol_block']) <= 1e-5 and good['error'] == ''
    path = tmp_path / 'se_resnet26-symbol.json'
    path.write_text(path.read_text().replace('"pool_type"', '"pond_type"'))
    bad = PROOF.load(sys.executable, version, 'se_resnet26', prefix)
    assert [bad[way] for way in PROOF.WAYS] == ['fails'] * 3
    assert bad['error'] == "Cannot find argument 'pond_type'"
    dead = PROOF.load(sys.executable, version, 'se_resnet26', tmp_path / 'missing')
    assert dead['error'].startswith('exit code 1: ') and not PROOF.loads(dead)


@pytest.mark.parametrize('flags, sentence', [
    (['--versions', '1.0.0.post4'], 'MXNet 1.0.0.post4 needs Python 3.6, which is not on PATH: '
                                    'name one'),
    (['--python', 'no/such/python'], '--python no/such/python cannot be run: No such file or '
                                     'directory'),
    (['--record', '--versions', '1.9.1'], '--record needs every version')])
def test_mistakes_are_sentences(flags, sentence, monkeypatch, capsys):
    monkeypatch.setenv('PATH', '')
    with pytest.raises(SystemExit) as end:
        PROOF.main(flags)
    assert end.value.code == 2 and re.search(sentence, capsys.readouterr().err)
