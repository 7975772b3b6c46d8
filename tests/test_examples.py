"""The example servers; the WSGI one is the tutorial's, which tests/test_tutorial.py runs."""
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
import tiny_bundle
from loading import ROOT

from gluon_a2 import data
from gluon_a2.deploy import Classifier, write_bundle


def test_fastapi_answers_with_what_the_classifier_says(tmp_path):
    pytest.importorskip('fastapi', reason='FastAPI is not installed')
    pytest.importorskip('uvicorn', reason='uvicorn is not installed')
    write_bundle(tiny_bundle.make('a2_resnet26'), tmp_path / 'net')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, '-m', 'uvicorn', 'serve_fastapi:app', '--port', str(port)],
        cwd=str(ROOT / 'examples'), env={**os.environ, 'MODEL': str(tmp_path / 'net'),
                                         'PYTHONPATH': os.pathsep.join([str(ROOT), *sys.path])})
    picture = data.open_source(data.digits_folder(), 'val').read(0)
    try:
        for _ in range(300):
            time.sleep(0.1)
            assert server.poll() is None
            try:
                with urllib.request.urlopen(f'http://127.0.0.1:{port}', picture) as reply:
                    said = json.load(reply)
                break
            except urllib.error.URLError as error:
                assert isinstance(error.reason, ConnectionRefusedError), error
        expected = Classifier(tmp_path / 'net').predict(data.decode(picture), 3)
        assert said == pytest.approx(dict(expected))
        with pytest.raises(urllib.error.HTTPError, match='400'):
            urllib.request.urlopen(f'http://127.0.0.1:{port}', b'no image')
    finally:
        server.terminate()
        server.wait(30)
