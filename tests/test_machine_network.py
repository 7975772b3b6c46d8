"""Addresses: the one that others reach is never a loopback one where there is another."""
import socket

import pytest

from gluon_a2.errors import UserError
from gluon_a2.machine import network

SEVERAL = {'HOROVOD_SIZE': '4', 'HOROVOD_LOCAL_SIZE': '2'}


def test_ranks_of_one_machine_meet_on_the_loopback():
    assert network.one_machine({}) and network.job_address({}) == '127.0.0.1'
    assert network.job_address({'HOROVOD_SIZE': '2', 'HOROVOD_LOCAL_SIZE': '2'}) == '127.0.0.1'


@pytest.fixture
def away(monkeypatch):
    """This machine as Debian's installer leaves it, with an address of its own."""
    monkeypatch.setattr(socket, 'gethostbyname', lambda name: '127.0.1.1')
    ways = {network.FAR: '10.77.0.1', '10.88.0.9': '10.88.0.1'}

    def facing(host):
        if host not in ways:
            raise OSError('Network is unreachable')
        return ways[host]
    monkeypatch.setattr(network, 'facing', facing)


def test_the_own_name_may_lead_nowhere(away):
    assert network.own_address() == '10.77.0.1'
    assert network.job_address(SEVERAL) == '10.77.0.1'


def test_the_address_that_faces_the_launcher(away):
    assert network.job_address({**SEVERAL, network.RENDEZVOUS: '10.88.0.9'}) == '10.88.0.1'
    assert network.job_address({**SEVERAL, network.RENDEZVOUS: '10.99.0.9'}) == '10.77.0.1'


def test_without_any_network(monkeypatch):
    def none(name):
        raise OSError
    monkeypatch.setattr(socket, 'gethostbyname', none)
    monkeypatch.setattr(network, 'facing', none)
    assert network.own_address() == '127.0.0.1'


def test_a_name_that_leads_nowhere_is_named(away, monkeypatch):
    monkeypatch.setattr(socket, 'gethostname', lambda: 'node1')
    with pytest.raises(UserError, match='node1, stands for 127.0.1.1, .* in /etc/hosts, give node1 '
                                        'the address 10.77.0.1'):
        network.check_own_name('10.77.0.1')
    monkeypatch.setattr(socket, 'gethostbyname', lambda name: '10.77.0.1')
    network.check_own_name('10.77.0.1')
