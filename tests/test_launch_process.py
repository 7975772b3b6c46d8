"""One rank: its line of a remote shell, and the address that it is given."""
import json
import socket
import subprocess
import sys

import pytest
from test_launch_options import flags

from gluon_a2.errors import UserError
from gluon_a2.launch import process
from gluon_a2.launch.options import SSH
from gluon_a2.machine import network


def test_a_host_whose_key_has_changed_is_refused():
    line = process.remote_command(SSH, 'node2', ['python'], {})
    assert line[:6] == ['ssh', '-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=accept-new',
                        'node2']


def test_a_remote_line_survives_the_shell(tmp_path):
    program = ('import json, os, sys; print(json.dumps('
               '[sys.argv[1:], os.environ["MXNET_X"], os.environ["MINE"], "HOME" in '
               'os.environ]))')
    command = [sys.executable, '-c', program, "it's", 'a $b "c"']
    line = process.remote_command('env -i sh -c', 'host', command,
                                  {'MXNET_X': "x'y z", 'HOME': 'h', 'MINE': 'm'}, ['MINE'])
    said = subprocess.run(line, stdout=subprocess.PIPE, check=True).stdout
    assert json.loads(said) == [["it's", 'a $b "c"'], "x'y z", 'm', False]


@pytest.fixture
def resolver(monkeypatch):
    """Names as a cluster's hosts know them; its third host has IPv6 only."""
    known = {'node1': '127.0.1.1', 'node2': '10.77.0.2', 'node6': 'fd00::6'}

    def getaddrinfo(host, *_, **__):
        if host not in known:
            raise socket.gaierror('Name or service not known')
        family = socket.AF_INET6 if ':' in known[host] else socket.AF_INET
        return [(family, 2, 17, '', (known[host], 0))]
    monkeypatch.setattr(socket, 'getaddrinfo', getaddrinfo)
    monkeypatch.setattr(network, 'facing', lambda host: {'10.77.0.2': '10.77.0.1'}.get(
        host, '127.0.0.1'))
    monkeypatch.setattr(network, 'own_address', lambda: '127.0.0.1')


@pytest.mark.parametrize('given, elsewhere, address', [
    ([], [], '127.0.0.1'), ([], ['node2'], '10.77.0.1'), ([], ['node1', 'node2'], '10.77.0.1'),
    (['--remote-shell', 'docker exec {host} sh -c'], ['unknown'], '127.0.0.1')])
def test_the_address_that_the_ranks_are_told(resolver, given, elsewhere, address):
    assert process.own_address(flags('-np', 2, *given), elsewhere) == address


def test_the_own_name_may_lead_nowhere(resolver, monkeypatch):
    monkeypatch.setattr(socket, 'gethostbyname', lambda name: '127.0.1.1')
    with pytest.raises(UserError, match='stands for 127.0.1.1, .* in /etc/hosts'):
        process.own_address(flags('-np', 2, '-H', 'localhost:1,node2:1'), ['node2'])
    assert process.own_address(flags('-np', 2, '-H', 'node2:2'), ['node2']) == '10.77.0.1'


@pytest.mark.parametrize('given, elsewhere, reason', [
    (['--network-interface', 'lo'], ['node2'], '`network_interface` lo does not lead to node2'),
    ([], ['node2', 'node6'], r'host node6 has only IPv6 addresses \(fd00::6\), and Horovod needs '
                             'IPv4'),
    ([], ['unknown'], 'unknown could reach this machine only at 127.0.0.1, which leads nowhere')])
def test_addresses_that_lead_nowhere(resolver, given, elsewhere, reason):
    pytest.importorskip('horovod')
    with pytest.raises(UserError, match=reason):
        process.own_address(flags('-np', 2, '-H', 'x:2', *given), elsewhere)
