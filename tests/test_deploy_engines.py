"""Which files stand behind a name, files without metadata, and processes that have the deploy part
alone."""
import concurrent.futures
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_bundle
from tiny_bundle import AVX512, avx512

from gluon_a2 import data
from gluon_a2.deploy import ENGINES, BundleError, Classifier, engines, write_bundle
from gluon_a2.deploy.bundle import read_meta
from gluon_a2.deploy.onnx import to_onnx
from gluon_a2.deploy.precision import to_bf16
from gluon_a2.errors import UserError
from gluon_a2.formats.symbol import SymbolError
from gluon_a2.run import network

ROOT = Path(__file__).resolve().parents[1]
NAMES = list('0123456789')
HALVES = 'mxnet-bf16', 'mxnet-int8', 'openvino-bf16'  # what is in bfloat16 here


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """A prefix with all forms behind it; INT8 is stood for by bfloat16, and in ONNX by float32,
    since here only its name matters."""
    prefix = tmp_path_factory.mktemp('exported') / 'net'
    bundle = network.from_zoo('a2_resnet26', class_names=NAMES, input_size=32)
    as_onnx = to_onnx(bundle)
    write_bundle(bundle, prefix, as_onnx)
    form = to_bf16(bundle)
    form.meta['made_from'] = read_meta(prefix)['files']['net-0000.params']['sha256']
    for ending in ('-bf16', '-int8'):
        write_bundle(form, prefix.with_name('net' + ending), as_onnx)
    return prefix


@pytest.mark.parametrize('ending, engine, file', [
    ('', 'onnxruntime', 'net.onnx'), ('', 'mxnet-bf16', 'net-bf16'), ('', 'openvino', 'net.onnx'),
    ('-bf16', 'mxnet-bf16', 'net-bf16'), ('', 'openvino-int8', 'net-int8.onnx'),
    ('', 'mxnet-int8', 'net-int8'), ('.onnx', 'mxnet', 'net'), ('', 'openvino-bf16', 'net.onnx'),
    ('', 'onnxruntime-int8', 'net-int8.onnx'), ('', 'mxnet-fused', 'net'),
    ('-int8', 'onnxruntime-int8', 'net-int8.onnx')])
def test_what_a_name_and_an_engine_stand_for(exported, ending, engine, file):
    found = engines.find(str(exported) + ending, engine)
    assert (found.source, found.engine) == (str(exported.with_name(file)), engine)


@pytest.mark.parametrize('ending, engine, file', [
    ('', 'onnxruntime', 'net.onnx'), ('.onnx', 'onnxruntime', 'net.onnx'),
    ('-int8.onnx', 'onnxruntime', 'net-int8.onnx'), ('-symbol.json', 'mxnet-fused', 'net'),
    ('-meta.json', 'mxnet-fused', 'net'), ('-bf16-symbol.json', 'mxnet', 'net-bf16')])
def test_the_fastest_exact_engine_is_the_default(exported, ending, engine, file):
    found = engines.find(str(exported) + ending)
    assert (found.source, found.engine) == (str(exported.with_name(file)), engine)


def test_what_an_onnx_file_may_not_take_is_for_mxnet(exported, monkeypatch):
    from gluon_a2.backend import mx
    plain = exported.with_name('plain')
    write_bundle(tiny_bundle.make('resnet26'), plain)
    assert engines.fastest(plain) == 'mxnet-fused'
    assert engines.fastest(exported, size=32) == 'onnxruntime'
    assert engines.fastest(exported, size=64) == 'mxnet-fused'
    assert engines.fastest(exported, inner=True) == 'mxnet-fused'
    assert engines.fastest(exported, ctx=mx.gpu(0)) == 'mxnet'
    assert Classifier(exported).engine == 'onnxruntime'
    assert Classifier(exported, size=64).engine == 'mxnet-fused'
    assert Classifier(exported, features=True).engine == 'mxnet-fused'
    monkeypatch.setattr(engines, '_has_onednn', lambda: False)  # as where MXNet is built without
    assert Classifier(plain).engine == 'mxnet'
    assert Classifier(tiny_bundle.make('resnet26')).engine == 'mxnet'


@pytest.mark.parametrize('engine', [
    pytest.param(engine, marks=[avx512] * (engine in HALVES)) for engine in ENGINES[1:]])
def test_all_engines_say_the_same_of_photographs(exported, engine):
    """INT8 is stood for by others here."""
    if engine.startswith('openvino'):
        pytest.importorskip('openvino')
    pixels = data.photo_batch(3, data.Preprocessing(32))
    expected, found = (Classifier(exported, engine=name).logits(pixels)
                       for name in ('mxnet', engine))
    tolerance = 0.1 if engine in HALVES else 1e-5
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max(), rtol=0)


@pytest.mark.skipif(AVX512, reason='this CPU computes bfloat16')
def test_bfloat16_on_a_cpu_without_avx512_is_a_sentence(exported):
    with pytest.raises(UserError, match='MXNet computes bfloat16 only on CPUs with AVX-512'):
        Classifier(exported, engine='mxnet-bf16').logits(
            data.photo_batch(1, data.Preprocessing(32)))


def test_mistakes_are_sentences(exported, tmp_path):
    with pytest.raises(UserError, match='unknown engine .tensorrt.: choose one of mxnet, '
                                        'mxnet-fused, mxnet-bf16, mxnet-int8, onnx'):
        engines.find(exported, 'tensorrt')
    with pytest.raises(UserError, match='mean-max pooling and GPUs are for MXNet'):
        Classifier(exported, mean_max=True, engine='onnxruntime')
    plain = tiny_bundle.make('resnet26')
    write_bundle(plain, tmp_path / 'plain')
    with pytest.raises(BundleError, match='plain was not exported as ONNX: export it again, with '
                                          'ONNX'):
        engines.find(tmp_path / 'plain', 'onnxruntime')
    with pytest.raises(BundleError, match='plain-int8-meta.json does not exist'):
        engines.find(tmp_path / 'plain', 'mxnet-int8')
    shutil.copytree(exported.parent, tmp_path / 'copy')
    path = tmp_path / 'copy' / 'net.onnx'
    path.write_bytes(path.read_bytes()[:-1] + b'x')
    with pytest.raises(BundleError, match='net.onnx is not the file that .*: its SHA-256 differs'):
        engines.find(path)


def test_a_form_of_another_network_is_refused(exported, tmp_path):
    """As left behind where a network was exported over another one, without that form."""
    shutil.copytree(exported.parent, tmp_path / 'copy')
    write_bundle(tiny_bundle.make('a2_resnet26'), tmp_path / 'copy' / 'net')
    with pytest.raises(BundleError, match='net-bf16 was not made from the network that .*net is '
                                          'now: export it again'):
        engines.find(tmp_path / 'copy' / 'net', 'mxnet-bf16')
    by_its_own_name = engines.find(tmp_path / 'copy' / 'net-bf16')
    assert by_its_own_name.meta['precision'] == 'bfloat16'


@pytest.fixture
def bare(exported, tmp_path):
    """The pair that plain MXNet writes, without metadata."""
    for ending in ('-symbol.json', '-0000.params'):
        shutil.copy(f'{exported}{ending}', tmp_path / f'net{ending}')
    return tmp_path / 'net'


def test_a_pair_without_metadata_is_read_and_used(exported, bare):
    pixels = data.photo_batch(2, data.Preprocessing(40))
    found = Classifier(bare, size=40, preprocessing=data.Preprocessing(40))
    assert found.classes == tuple(NAMES)
    np.testing.assert_array_equal(found.logits(pixels),
                                  Classifier(exported, engine='mxnet', size=40).logits(pixels))


def test_a_pair_without_metadata_needs_preprocessing_and_must_fit_together(exported, bare):
    with pytest.raises(UserError, match='net has no metadata, so nothing says how its pixels are '
                                        'prepared: give its `preprocessing`'):
        Classifier(bare, size=32)
    with pytest.raises(UserError, match='net has metadata, .*: leave out `preprocessing`'):
        Classifier(exported, preprocessing=data.Preprocessing(32))
    values = tiny_bundle.make('a2_resnet26', classes=('a', 'b', 'c'))
    write_bundle(values, bare.with_name('other'))
    os.replace(bare.with_name('other-0000.params'), f'{bare}-0000.params')
    with pytest.raises(SymbolError, match='does not fit the symbol, which takes arg:fc_weight of '
                                          'shape .10, 1024.'):
        Classifier(bare, preprocessing=data.Preprocessing(32))


@pytest.mark.parametrize('ending', ['-symbol.json', '-0000.params'])
def test_a_pair_without_metadata_is_parsed_strictly(bare, ending):
    path = bare.with_name('net' + ending)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match='is not'):
        Classifier(bare, preprocessing=data.Preprocessing(32))


DEPLOY_ONLY = '''
import sys
import numpy as np
from gluon_a2.deploy import Classifier
net = Classifier(sys.argv[1])
print(net.predict(sys.argv[2], top=1)[0][0])
print(*sorted(name for name in sys.modules
              if name.split('.')[0] in ('mxnet', 'gluoncv', 'horovod', 'gluon_a2')))
'''


@pytest.mark.parametrize('ending, mxnet', [('-symbol.json', True), ('', False), ('.onnx', False)])
def test_a_process_with_only_the_deploy_part_works(exported, tmp_path, ending, mxnet):
    """A copy of the package without networks, blocks and training; for ONNX, without MXNet as
    well."""
    shutil.copytree(
        ROOT / 'gluon_a2', tmp_path / 'gluon_a2', ignore=shutil.ignore_patterns(
            'models', 'nn', 'train', 'compare', 'visualization', 'paper', '__pycache__',
            *([] if mxnet else ['backend.py'])))
    done = subprocess.run([
        sys.executable, '-c', DEPLOY_ONLY, f'{exported}{ending}',
        str(ROOT / 'docs' / 'digit.png')
    ], cwd=str(tmp_path), capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': ''})
    assert done.returncode == 0, done.stderr
    guess, modules = done.stdout.splitlines()
    assert guess in NAMES
    assert ('mxnet' in modules.split()) == mxnet
    assert not {'gluon_a2.models', 'gluon_a2.train', 'gluon_a2.nn'} & set(modules.split())
    assert 'gluon_a2.deploy.classify' in modules.split()


# What an interpreter on Windows or macOS lacks, and what a bare `pip install` leaves out.
ELSEWHERE = '''
import asyncio  # it has files of its own for each system
import multiprocessing.context, os, select, signal, sys
for name in ('mxnet', 'matplotlib', 'sklearn', 'tensorboardX', 'safetensors', 'onnx', 'av',
             'fcntl', 'resource', 'pwd', 'grp', 'termios'):
    sys.modules[name] = None
for module, names in ((os, 'fork forkpty getuid geteuid killpg setsid sched_getaffinity sysconf '
                           'mkfifo getloadavg'),
                      (select, 'poll'), (signal, 'pthread_sigmask SIGKILL SIGALRM SIGUSR1')):
    for name in names.split():
        delattr(module, name)
for name in ('fork', 'forkserver'):
    multiprocessing.context._concrete_contexts.pop(name)

def no_proc(event, given):
    if event == 'open' and str(given[0]).startswith(('/proc', '/sys')):
        raise FileNotFoundError(2, 'No such file or directory', given[0])

sys.addaudithook(no_proc)
from gluon_a2.commands import main
code = main(sys.argv[1:])
print(*sorted(name for name in sys.modules if name.split('.')[0] == 'mxnet' and sys.modules[name]))
sys.exit(code)
'''


def elsewhere(*words):
    """A command there: (exit code, lines, stderr)."""
    done = subprocess.run([sys.executable, '-c', ELSEWHERE, *map(str, words)], cwd=str(ROOT),
                          capture_output=True, encoding='utf-8', timeout=120)
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_an_onnx_file_names_pictures_where_there_is_no_mxnet_and_no_linux(exported, tmp_path):
    (tmp_path / 'page.jpg').write_text('<html></html>')
    code, lines, error = elsewhere('predict', '--model', f'{exported}.onnx', '--top', '1',
                                   'docs/digit.png', tmp_path / 'page.jpg')
    assert (code, len(lines)) == (1, 4), error
    guess = Classifier(f'{exported}.onnx').predict(ROOT / 'docs' / 'digit.png', 1)[0][0]
    assert lines[2].startswith(f'docs/digit.png  {guess} ') and lines[3] == ''
    assert 'page.jpg is not an image' in error and error.count('\n') == 2


def test_an_onnx_file_is_scored_there(exported, tmp_path):
    for name in NAMES:
        (tmp_path / 'val' / name).mkdir(parents=True)
        shutil.copy(ROOT / 'docs' / 'digit.png', tmp_path / 'val' / name)
    code, lines, error = elsewhere('score', f'{exported}.onnx', '--data-dir', tmp_path)
    assert (code, error) == (0, '')
    assert lines == ['10.00 % top-1, 50.00 % top-5 on 10 images, 32×32, by onnxruntime', '']


@pytest.mark.parametrize('words', [
    ['predict', '--model', 'PREFIX', 'docs/digit.png', '--engine', 'mxnet'],
    ['score', 'PREFIX-symbol.json', '--data-dir', '.'],
    ['predict', '--model', '.', 'docs/digit.png'],
    ['export', 'PREFIX', '--out', 'OUT'], ['visualize', 'docs/digit.png', '--model', 'PREFIX'],
    ['count-cost'], ['count-cost', 'resnet26'], ['count-cost', 'PREFIX-symbol.json'],
    ['train-imagenet', '--save-dir', 'OUT'], ['train-video', '--save-dir', 'OUT']])
def test_what_needs_mxnet_says_so_there(exported, tmp_path, words):
    words = [word.replace('PREFIX', str(exported)).replace('OUT', str(tmp_path / 'out'))
             for word in words]
    code, lines, error = elsewhere(*words)
    assert (code, lines, error.count('\n')) == (2, [], 1), error
    assert error.startswith('error: ') and 'MXNet' in error
    assert not (tmp_path / 'out').exists()


def test_a_name_without_files_is_a_sentence_there():
    code, _, error = elsewhere('predict', '--model', 'a2_resnet50', 'docs/digit.png')
    assert code == 2 and error.startswith('error: a2_resnet50-meta.json does not exist')


def test_onnx_runtime_reports_to_nobody(exported, tmp_path):
    """From 1.29 on it keeps a number of the machine, and what it has not sent yet, in ~/.cache."""
    subprocess.run([sys.executable, '-m', 'gluon_a2', 'predict', '--model', f'{exported}.onnx',
                    'docs/digit.png'], cwd=str(ROOT), check=True, timeout=120,
                   env={**os.environ, 'HOME': str(tmp_path), 'XDG_CACHE_HOME': ''})
    assert list(tmp_path.rglob('*')) == []


@pytest.mark.parametrize('model', ['a2_resnet26', 'nl_resnet26', 'se_resnet26', 'a2_resnet26_3d'])
def test_fused_networks_differ_by_rounding(model, tmp_path):
    recipe = tiny_bundle.VIDEO if model.endswith('3d') else tiny_bundle.IMAGE
    bundle = tiny_bundle.make(model, recipe)
    write_bundle(bundle, tmp_path / 'net')
    pixels = np.random.default_rng(0).normal(size=(3, *bundle.meta['input_shape']))
    pixels = pixels.astype(np.float32)
    plain, fused = (engines.start(engines.find(tmp_path / 'net', engine), features=True)
                    for engine in ('mxnet', 'mxnet-fused'))
    for found, expected in ((fused(pixels), plain(pixels)), (fused.features, plain.features)):
        assert not np.array_equal(found, expected)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@avx512
def test_only_float32_files_are_fused(exported):
    with pytest.raises(UserError, match='is in bfloat16 already: start from float32 files'):
        engines.start(engines.find(f'{exported}-bf16', 'mxnet-fused'))


def test_no_gpu_is_fused(exported):
    from gluon_a2.backend import mx
    with pytest.raises(UserError, match='mxnet-fused is oneDNN.s, for CPUs: choose mxnet on a'):
        engines.start(engines.find(exported, 'mxnet-fused'), mx.gpu(0))


def test_openvino_serves_threads_at_once_and_gives_features(exported):
    pytest.importorskip('openvino')
    net = Classifier(exported, engine='openvino')
    inputs = [data.photo_batch(n, data.Preprocessing(32)) for n in (1, 2, 3)] * 8
    expected = [net.logits(pixels) for pixels in inputs]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(net.logits, inputs), expected):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    ours, other = (engines.start(engines.find(exported, engine), features=True)
                   for engine in ('mxnet', 'openvino'))
    ours(inputs[1]), other(inputs[1])
    np.testing.assert_allclose(other.features, ours.features, rtol=0, atol=1e-5)


def test_an_engine_that_is_not_installed_is_a_sentence(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, 'openvino', None)
    with pytest.raises(UserError, match='the `engine` openvino needs OpenVINO: run pip install'):
        Classifier(exported, engine='openvino')
