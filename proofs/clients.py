#!/usr/bin/env python3
"""What programs that are not ours make of the exported files: a row for each client.

    python proofs/clients.py --environments DIR             # those that are there
    python proofs/clients.py --environments DIR --install   # first installs those that are not

Ten networks, of each kind, image and video, with random weights and statistics, are exported in all
forms, and each client runs each in a process of its own. A difference is the largest of any logit,
over the largest. Those that are Python packages have an environment each, DIR/<client>; ONNX
Runtime for Node and for the web are in DIR/node/node_modules. A client that is not there has a row
which says so. MXNet before 1.9.1 is the matter of `compatibility.py`. Keeps `clients.csv`; with
`--clients` the rows of the others stay as they are.
"""
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import NamedTuple, Tuple

import compatibility
import job
from bench import keep, read_rows
from tqdm import tqdm

from gluon_a2.cli import entry, parser

TOLERANCE = 1e-3  # of the largest logit: another network
CSV = Path(__file__).with_suffix('.csv')


class Client(NamedTuple):
    """A row: `code` is a function of client_child.py; `packages` are pip's or npm's, none of what
    this project installs itself. With --no-deps the rest is this interpreter's."""
    name: str
    form: str
    code: str
    folder: str = ''
    packages: Tuple[str, ...] = ()


ALL, FIXED = '--onnx', '--onnx --onnx-dynamic batch'
CLIENTS = [
    Client('MXNet, Module', 'symbol and params', 'mxnet_module'),
    Client('MXNet, C predict API', 'symbol and params', 'mxnet_c_predict'),
    Client('PyTorch', '--torch', 'pytorch'),
    Client('ONNX Runtime', ALL, 'onnxruntime'),
    Client('ONNX Runtime, Node', ALL, 'onnxruntime_js:onnxruntime-node', 'node',
           ('onnxruntime-node',)),
    Client('ONNX Runtime, web', ALL, 'onnxruntime_js:onnxruntime-web', 'node',
           ('onnxruntime-web',)),
    Client('onnx.reference', ALL, 'onnx_reference'),
    Client('OpenVINO', ALL, 'openvino', 'openvino', ('openvino',)),
    Client('OpenCV 4', FIXED, 'opencv', 'opencv4', ('opencv-python-headless==4.12.0.88',)),
    Client('OpenCV 5', FIXED, 'opencv', 'opencv5', ('opencv-python-headless==5.0.0.93',)),
    Client('onnx2torch', ALL, 'onnx2torch', 'onnx2torch',
           ('--no-deps', 'onnx2torch', 'torchvision')),
    Client('ncnn through pnnx', FIXED, 'ncnn', 'ncnn', ('ncnn', 'pnnx')),
    Client('MNN', FIXED, 'mnn', 'mnn', ('MNN', 'numpy')),
    Client('TVM', FIXED, 'tvm', 'tvm', ('apache-tvm', 'onnx'))]


def export(folder):
    """Write the networks in all forms under `folder`; their prefixes."""
    from gluon_a2.deploy import read_bundle
    from gluon_a2.deploy.onnx import to_onnx
    from gluon_a2.deploy.pytorch import companions, to_torch
    for name in tqdm(compatibility.NETWORKS, desc='export', disable=None):
        prefix = compatibility.export(name, folder)
        bundle = read_bundle(prefix)
        files = {f'{name}.onnx': to_onnx(bundle), f'{name}-batch.onnx': to_onnx(bundle, 'batch'),
                 f'{name}.safetensors': to_torch(bundle), **companions(name, bundle.meta)}
        for file, content in files.items():
            (Path(folder) / file).write_bytes(content)
        yield prefix


def interpreter(client, folder, install):
    """What runs the client, and the environment it needs; None where it is not there."""
    usual = {**os.environ, 'PYTHONPATH': str(job.ROOT), 'ORT_DISABLE_TELEMETRY': '1'}
    if not client.folder:
        return sys.executable, usual
    home = folder / client.folder
    if client.folder == 'node':
        package = home / 'node_modules' / client.packages[0]
        if install and not package.exists():
            _try('npm', 'install', '--ignore-scripts', '--prefix', home, *client.packages)
        return (sys.executable, {**usual, 'NODE_PATH': str(home / 'node_modules')}
                ) if package.exists() else None
    python, mark = home / 'bin' / 'python', home / '.complete'
    if install and not mark.exists() and _try(sys.executable, '-m', 'venv', home) and _try(
            python, '-m', 'pip', 'install', '-q', *client.packages):
        mark.touch()
    ours = sysconfig.get_path('purelib') if '--no-deps' in client.packages else ''
    return (str(python), {**os.environ, 'PYTHONPATH': ours}) if mark.exists() else None


def _try(*words):
    done = subprocess.run(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          encoding='utf-8')
    if done.returncode:
        print(f'{" ".join(map(str, words))}: {done.stdout.strip()[-300:]}', file=sys.stderr)
    return not done.returncode


def ask(python, environment, code, prefix):
    """What one client finds of one network."""
    done = subprocess.run([python, '-W', 'ignore', str(Path(__file__).with_name('client_child.py')),
                           code, str(prefix)], env=environment, capture_output=True,
                          encoding='utf-8', errors='replace')
    if done.returncode:
        return {'reason': f'the process ends with {done.returncode}'}
    return json.loads(done.stdout.strip().splitlines()[-1])


def row_of(client, found):
    """A row of the table, from {network: what was found}, or None of a client that is not there."""
    row = {'client': client.name, 'version': '–', 'form': client.form, 'networks': 'not installed',
           'largest_difference': '–', 'what_fails': '–'}
    if found is None:
        return row
    found = {name: {'reason': f'its logits differ by more than {TOLERANCE}'}
             if each.get('difference', 0) > TOLERANCE else each for name, each in found.items()}
    good = {name: each for name, each in found.items() if 'difference' in each}
    failed = {}
    for name, each in found.items():
        if 'reason' in each:
            failed.setdefault(each['reason'].replace(name, '…'), []).append(name)
    reasons = [f'{", ".join(names)}: {reason}' for reason, names in failed.items()]
    row.update(networks=f'{len(good)} of {len(found)}', what_fails='; '.join(reasons) or '–')
    if good:
        row['version'] = next(iter(good.values()))['version']
        largest = max(each['difference'] for each in good.values())
        row['largest_difference'] = f'{largest:.1e}'
    return row


@entry
def main(argv=None):
    """Export, ask all clients, print, keep."""
    flags = parser(__doc__)
    flags.add_argument('--environments', type=Path, default=Path('clients'), metavar='DIR',
                       help='where the clients are installed')
    flags.add_argument('--install', action='store_true', help='those that are not there')
    flags.add_argument('--clients', nargs='+', metavar='NAME', help='these alone',
                       choices=[client.name for client in CLIENTS])
    args = flags.parse_args(argv)
    import logging
    logging.disable(logging.WARNING)  # MXNet's converter speaks of each layer
    rows = {row['client']: row for row in read_rows(CSV)} if CSV.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        prefixes = list(export(folder))
        for client in tqdm(CLIENTS, unit='client', disable=None):
            if args.clients and client.name not in args.clients:
                continue
            where = interpreter(client, args.environments.resolve(), args.install)
            rows[client.name] = row_of(client, where and {
                prefix.name: ask(*where, client.code, prefix) for prefix in prefixes})
    keep([rows.get(client.name) or row_of(client, None) for client in CLIENTS], CSV)


if __name__ == '__main__':
    main()
