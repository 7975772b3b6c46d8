"""Several hosts on one machine: Linux namespaces with an address, a name, a home and an sshd each.

All of it lives in namespaces of this process's own (`enclose`), so that the kernel removes hosts,
networks, files and processes when it ends, however it ends. The files of this machine are there
too, and so the checkout; `SHARED` is a file system in memory that all hosts share.
"""
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from gluon_a2.errors import UserError

SHARED = Path('/media')
INSIDE = 'GLUON_A2_PROOF_INSIDE'
PACKAGES = {'ip': 'iproute2', 'sshd': 'openssh-server', 'ssh': 'openssh-client',
            'nft': 'nftables', 'unshare': 'util-linux'}
HOME = '/run/root'  # of root on each host, on a file system of that host's own
NETWORKS = {'eth0': '10.77.0', 'eth1': '10.88.0'}  # the first three numbers of the addresses
# The first process of a host. $1 is its number, $2 lines that it runs before its sshd starts.
INIT = f'''
read _
set -e
exec 2> /media/log-$1
hostname node$1
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /etc/ssh
mkdir -m 755 /run/sshd
mkdir -m 700 {HOME}
cp -p /media/ssh/* /etc/ssh
sed 's|:/root:|:{HOME}:|' /etc/passwd > /run/passwd
mount --bind /run/passwd /etc/passwd
cp /media/hosts /run/hosts
mount --bind /run/hosts /etc/hosts
eval "$2"
/usr/sbin/sshd
sleep infinity &
touch /media/up-$1
while :; do wait $! || :; done
'''
SSHD = '''HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/key.pub
UsePAM no
PidFile none
'''
SSH = '''Host *
IdentityFile /etc/ssh/key
'''


def require(packages):
    """UserError unless this is root, and the programs of Debian's packages are here."""
    missing = sorted({package for program, package in packages.items()
                      if not shutil.which(program, path=os.environ['PATH'] + ':/usr/sbin:/sbin')})
    if os.geteuid() or missing:
        raise UserError('hosts are made of namespaces, which takes root on Linux and Debian\'s '
                        f'packages {" ".join(sorted(set(packages.values())))}: '
                        + (f'{" ".join(missing)} missing' if missing else 'this is not root'))


def enclose():
    """Go on in a process whose network, mounts and processes nobody else sees. Returns in it; in
    the one that called, it ends the program as the other one ends."""
    if INSIDE not in os.environ:
        os.environ['PATH'] += ':/usr/sbin:/sbin'
        # a SIGKILL to any of the three ends the others
        words = ['setpriv', '--pdeathsig', 'KILL', 'unshare', '--net', '--mount', '--pid', '--fork',
                 '--kill-child', '--mount-proc', sys.executable, *sys.argv]
        sys.exit(subprocess.run(words, env={**os.environ, INSIDE: '1'}).returncode)
    # those that lose their parent become children of this process
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    del os.environ[INSIDE]


def _do(*words):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f'{" ".join(map(str, words))}: {done.stderr.strip()}')


class Process:
    """A process of a host, by the number that it has outside."""

    def __init__(self, pid):
        self.pid = pid
        self.words = (Path(f'/proc/{pid}/cmdline').read_bytes().decode(errors='replace')
                      .rstrip('\0').split('\0'))
        self.state, self.parent = (Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2]
                                   .split()[:2])
        self.environ = dict(item.split('=', 1) for item in
                            Path(f'/proc/{pid}/environ').read_bytes().decode(errors='replace')
                            .split('\0') if '=' in item)


class Host:
    """Host `number`, from 1: its name is node<number>, its addresses end in the number. The port of
    the bridge to its card eth0 is called eth0-<number>."""

    def __init__(self, number, prepare, cards):
        self.number, self._ports = number, [f'{card}-{number}' for card in cards]
        self._unshare = subprocess.Popen(
            ['unshare', '--net', '--uts', '--mount', '--pid', '--ipc', '--fork', '--kill-child',
             '--mount-proc', 'bash', '-c', INIT, 'init', str(number), prepare],
            stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        children = Path(f'/proc/{self._unshare.pid}/task/{self._unshare.pid}/children')
        while not children.read_text():
            time.sleep(0.005)
        self.pid = int(children.read_text())
        self.enter = ['nsenter', '-t', str(self.pid), '--net', '--uts', '--mount', '--pid', '--ipc']
        for card, port in zip(cards, self._ports):
            self._plug(card, port)
        self._unshare.stdin.write(b'\n')
        self._unshare.stdin.flush()

    def _plug(self, card, port):
        net, there = NETWORKS[card], ['nsenter', '-t', self.pid, '--net', 'ip']
        _do('ip', 'link', 'add', port, 'type', 'veth', 'peer', 'name', card, 'netns', self.pid)
        _do('ip', 'link', 'set', port, 'master', f'net-{card}', 'up')
        _do(*there, 'link', 'set', 'lo', 'up')
        _do(*there, 'addr', 'add', f'{net}.{self.number}/24', 'dev', card)
        _do(*there, 'addr', 'add', f'fd{net.split(".")[1]}::{self.number}/64', 'dev', card, 'nodad')
        _do(*there, 'link', 'set', card, 'up')

    def start(self, words, folder, environment, output):
        """Start a program in a folder of the host; its Popen, which is nsenter's."""
        return subprocess.Popen([*self.enter, 'env', '-C', str(folder), *map(str, words)],
                                env=environment, stdin=subprocess.DEVNULL, stdout=output,
                                stderr=output)

    def processes(self):
        """All that run there."""
        ours, found = os.readlink(f'/proc/{self.pid}/ns/pid'), []
        for folder in Path('/proc').glob('[0-9]*'):
            with contextlib.suppress(OSError, ValueError):
                if os.readlink(folder / 'ns/pid') == ours:
                    found.append(Process(int(folder.name)))
        return [process for process in found if process.state not in 'ZX']

    def end(self):
        """Remove it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._unshare.stdin.close()
        self._unshare.wait()
        for port in self._ports:  # the kernel would do so a moment later
            subprocess.run(['ip', 'link', 'delete', port], stderr=subprocess.DEVNULL)


def prepare_machine():
    """What all hosts have in common: networks, the shared file system, keys."""
    _do('mount', '-t', 'tmpfs', 'tmpfs', SHARED)
    for card in NETWORKS:
        _do('ip', 'link', 'add', f'net-{card}', 'type', 'bridge')
        _do('ip', 'link', 'set', f'net-{card}', 'up')
    keys = SHARED / 'ssh'
    keys.mkdir(mode=0o755)
    for name in ('host_key', 'key'):
        _do('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', keys / name)
    (keys / 'sshd_config').write_text(SSHD)
    (keys / 'ssh_config').write_text(SSH)


@contextlib.contextmanager
def hosts(count, prepare, names=None, cards=('eth0',)):
    """`count` hosts, {number: Host}. prepare: {number: lines of shell that it runs first}; `names`:
    lines of /etc/hosts instead of its usual ones."""
    usual = ['127.0.0.1 localhost', '::1 localhost',
             *(f'{NETWORKS["eth0"]}.{number} node{number}' for number in range(1, count + 1))]
    (SHARED / 'hosts').write_text('\n'.join(names or usual) + '\n')
    made = {}
    try:
        for number in range(1, count + 1):
            with contextlib.suppress(FileNotFoundError):
                (SHARED / f'up-{number}').unlink()
            made[number] = Host(number, prepare.get(number, ''), cards)
        until = time.monotonic() + 20
        while not all((SHARED / f'up-{number}').exists() for number in made):
            if time.monotonic() > until:
                raise RuntimeError('a host does not start: ' + '; '.join(
                    (SHARED / f'log-{number}').read_text() for number in made))
            time.sleep(0.01)
        yield made
    finally:
        for host in made.values():
            host.end()
