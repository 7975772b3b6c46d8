"""The rendezvous: on one address, within bounds, and without a word for strangers."""
import http.client
import socket
import time

import pytest

pytest.importorskip('horovod')

from gluon_a2.errors import UserError
from gluon_a2.launch import rendezvous


@pytest.fixture
def server():
    from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
    server = rendezvous.serve(get_host_assignments(parse_hosts('localhost:2'), 2, 2), '127.0.0.1')
    yield server
    server.close()


def ask(server, method, path, body=None, headers=()):
    connection = http.client.HTTPConnection('127.0.0.1', server.server_port, timeout=5)
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_ranks_find_each_other(server):
    assert ask(server, 'GET', '/global/0')[0] == 404
    assert ask(server, 'PUT', '/global/0', b'an address') == (200, b'')
    assert ask(server, 'GET', '/global/0') == (200, b'an address')


def test_it_listens_on_one_address(server):
    assert server.socket.getsockname()[0] == '127.0.0.1'
    with pytest.raises(UserError, match='203.0.113.77 cannot be listened on .*network_interface'):
        rendezvous.serve([], '203.0.113.77')


@pytest.mark.parametrize('length', ['1048577', '99999999999', '-1', 'x', ''])
def test_what_is_too_much_is_refused(server, length):
    assert ask(server, 'PUT', '/global/0', headers={'Content-Length': length})[0] == 413
    assert ask(server, 'GET', '/global/0')[0] == 404


def test_all_values_together_have_a_bound(server, monkeypatch):
    monkeypatch.setattr(rendezvous, 'MOST', 10)
    assert [ask(server, 'PUT', f'/x/{i}', b'1234')[0] for i in range(3)] == [200, 200, 413]


def test_files_of_this_machine_are_not_shown(server):
    assert ask(server, 'HEAD', '/setup.py')[0] == 400


def test_strangers_get_no_traceback(server, capfd):
    for content in (b'GET /a/b/c HTTP/1.0\r\n\r\n', b'\0' * 70000, b'PUT /a/b/c HTTP/1.0\r\n'
                    b'Content-Length: 1\r\n\r\nx', b'BREW / HTTP/9.9\r\n\r\n'):
        with socket.create_connection(('127.0.0.1', server.server_port), 5) as stranger:
            stranger.sendall(content)
            try:
                while stranger.recv(4096):
                    pass
            except ConnectionError:
                pass
    assert ask(server, 'GET', '/global/0')[0] == 404
    assert capfd.readouterr() == ('', '')


def test_held_connections_are_bounded(server):
    held = [socket.create_connection(('127.0.0.1', server.server_port), 5) for _ in range(3)]
    for _ in range(rendezvous.THREADS - 3):
        server._free.acquire()
    with pytest.raises(ConnectionError):
        ask(server, 'GET', '/global/0')
    for stranger in held:
        stranger.close()
    until = time.monotonic() + 10
    while not server._free.acquire(timeout=0.1):
        assert time.monotonic() < until
    server._free.release()
    assert ask(server, 'GET', '/global/0')[0] == 404
