"""The rendezvous: on one address, within bounds, and without a word for strangers."""
import contextlib
import http.client
import socket

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


def ask(server, method, path, body=None, secret=None):
    path = f'/{secret or server.secret}:{server.server_port}{path}'
    connection = http.client.HTTPConnection('127.0.0.1', server.server_port, timeout=5)
    try:
        connection.request(method, path, body)
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


@pytest.mark.parametrize('path', ['/global/0', '/{other}:{port}/global/0', '/x/{secret}/global/0'])
@pytest.mark.parametrize('method', ['GET', 'PUT', 'DELETE', 'HEAD'])
def test_strangers_are_not_answered(server, method, path):
    ask(server, 'PUT', '/global/0', b'an address')
    path = path.format(other='0' * 32, secret=server.secret, port=server.server_port)
    connection = http.client.HTTPConnection('127.0.0.1', server.server_port, timeout=5)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        connection.request(method, path, b'mine' if method == 'PUT' else None)
        connection.getresponse()
    connection.close()
    assert ask(server, 'GET', '/global/0') == (200, b'an address')


def test_once_all_have_met_nobody_can_come(server):
    assert [ask(server, 'PUT', f'/met/{rank}', b'yes')[0] for rank in range(2)] == [200, 200]
    with pytest.raises(ConnectionError):
        ask(server, 'GET', '/global/0')


def test_strangers_get_no_traceback(server, capfd):
    for content in (b'GET /a/b/c HTTP/1.0\r\n\r\n', b'\0' * 70000, b'PUT /a/b/c HTTP/1.0\r\n'
                    b'Content-Length: 1\r\n\r\nx', b'BREW / HTTP/9.9\r\n\r\n'):
        with socket.create_connection(('127.0.0.1', server.server_port), 5) as stranger:
            stranger.sendall(content)
            with contextlib.suppress(ConnectionError):  # it may be cut off
                while stranger.recv(4096):
                    pass
    assert ask(server, 'GET', '/global/0')[0] == 404
    assert capfd.readouterr() == ('', '')


def test_of_too_many_held_connections_the_oldest_gives_way(server, monkeypatch):
    monkeypatch.setattr(rendezvous, 'STRANGERS', 3)
    where = '127.0.0.1', server.server_port
    held = [socket.create_connection(where, 5) for _ in range(4)]
    held[3].sendall(b'PU')
    assert held[0].recv(1) == b''
    assert ask(server, 'GET', '/global/0')[0] == 404
    held[3].sendall(b'T /%s:1/global/0 HTTP/1.1\r\nContent-Length: 1\r\n\r\nx' %
                    server.secret.encode())
    assert b' 200 ' in held[3].recv(99)
    for stranger in held:
        stranger.close()
