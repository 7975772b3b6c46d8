"""Which of this machine's addresses the other machines of a job can reach."""
from __future__ import annotations

import contextlib
import os
import socket
from typing import Mapping

from ..errors import UserError

RENDEZVOUS = 'HOROVOD_GLOO_RENDEZVOUS_ADDR'  # where the ranks of a job find each other
LOOPBACK = '127.0.0.1'
FAR = '198.51.100.1'  # reserved for documentation: packets to it would take the default route


def one_machine(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether all ranks share this machine, as a launcher says; without one, they do."""
    return environ.get('HOROVOD_SIZE') == environ.get('HOROVOD_LOCAL_SIZE')


def launcher_address(environ: Mapping[str, str] = os.environ) -> str | None:
    """The address of the launcher's machine, as a launcher says; behind it may stand a secret."""
    return environ.get(RENDEZVOUS, '').partition(':')[0] or None


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches the IPv4 `address`."""
    return address.startswith('127.')


def facing(host: str) -> str:
    """This machine's IPv4 address on the way to `host`; OSError where there is no way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as towards:
        towards.connect((host, 9))  # sends nothing
        return towards.getsockname()[0]


def own_address() -> str:
    """This machine's address for any other: what its name stands for, else the one of the default
    route, else the loopback address."""
    # Debian's /etc/hosts gives a machine's own name a loopback address
    for find in (lambda: socket.gethostbyname(socket.gethostname()), lambda: facing(FAR)):
        with contextlib.suppress(OSError):
            address = find()
            if not is_loopback(address):
                return address
    return LOOPBACK


def job_address(environ: Mapping[str, str] = os.environ) -> str:
    """This rank's address for the other ranks of its job."""
    if one_machine(environ):
        return LOOPBACK
    launcher = launcher_address(environ)
    if launcher:
        with contextlib.suppress(OSError):
            return facing(launcher)
    return own_address()


def check_own_name(address: str) -> None:
    """UserError where this machine's name stands for a loopback address, as in Debian's /etc/hosts:
    Gloo would tell it to the other hosts, whatever interface it is given, and not `address`."""
    name = socket.gethostname()
    with contextlib.suppress(OSError):
        found = socket.gethostbyname(name)
        if is_loopback(found):
            raise UserError(f'the name of this machine, {name}, stands for {found}, where other '
                            f'hosts cannot reach it: in /etc/hosts, give {name} the address '
                            f'{address}')
