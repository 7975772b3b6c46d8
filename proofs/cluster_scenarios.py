"""The scenarios of `cluster.py`: how a job on several hosts is started, what is done to it, and how
it must end."""
import sys
import sysconfig
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Tuple

import cluster_slurm as slurm
import job
from cluster_hosts import HOME, SHARED

RUNS, DATA = SHARED / 'runs', {kind: SHARED / kind for kind in job.KINDS}
IMAGES, SCRIPT = DATA['images'], 'scripts/train_imagenet.py'
TIMEOUT = 10   # s, the --rank-timeout of all
SLACK = 8      # s beyond it, in which all must be gone
STUCK = 300    # s until a job that does not end is given up
ENDLESS = ('--num-epochs', '1000')
TWO = ('-np', '4', '-H', 'node1:2,node2:2')
LONGER = (*TWO, '--num-epochs', '6')  # than --rank-timeout


class Scenario(NamedTuple):
    """How a job is started, what is done to it, and how it must end.

    prepare: lines of shell that a host, by its number, runs before its sshd starts. fault: a line
    that runs outside once training is under way, with the numbers of processes for {rank2},
    {watchdog2}, {ssh2} (its client), {sshd2} (its session) and {launcher}; {port2} is the bridge's
    port to host 2, and {wire} makes a bad wire of it (cluster_wire.py). within: seconds. by: the
    command that starts the script, where that is not Python's alone.
    """
    name: str
    flags: Tuple[str, ...]
    prepare: Dict[int, str] = {}
    fault: Optional[str] = None
    code: int = 0
    says: str = ''
    within: float = STUCK
    same: Optional[bool] = None
    hosts: int = 2
    names: Optional[Tuple[str, ...]] = None
    cards: Tuple[str, ...] = ('eth0',)
    data: str = 'images'
    by: Tuple[str, ...] = ()

    def reference(self):
        """The ranks and epochs of the run on one host that it may equal."""
        words = self.by + self.flags
        longer = words.index('--num-epochs') if '--num-epochs' in words else len(words)
        return (self.data, words[words.index('-np') + 1], *words[longer:longer + 2])


class Batch(NamedTuple):
    """A job of Slurm, on two nodes of two GPUs that are none, and what is done to it: lines for
    Slurm, each when it is 'under way' (again) or in a state of Slurm's. {soon} is a limit, in
    minutes from its start, that is two to three minutes away."""
    name: str
    acts: Tuple[Tuple[str, str], ...] = ()
    sbatch: Tuple[str, ...] = ()
    flags: Tuple[str, ...] = ()
    data: str = 'images'
    code: str = 'COMPLETED'
    says: str = ''
    within: float = 3 * STUCK
    same: Optional[bool] = True
    hosts: int = 2
    prepare: Dict[int, str] = slurm.PREPARE
    names: None = None
    cards: Tuple[str, ...] = ('eth0',)

    def reference(self):
        """As with `Scenario`."""
        return (self.data, '4', *self.flags)


def ends(name, fault, says, flags=TWO, code=1, within=TIMEOUT + SLACK, **more):
    """A scenario in which a fault in the middle of training ends the job."""
    return Scenario(name, (*flags, *ENDLESS), fault=fault, code=code, says=says, within=within,
                    **more)


def goes_on(name, fault, flags=TWO, **more):
    """A scenario in which the job is started again after a fault, or withstands it."""
    return Scenario(name, (*flags, '--max-restarts', '3'), fault=fault, same=True, **more)


def fails(name, prepare, says, flags=TWO, code=1, within=60, **more):
    """A scenario in which the job does not even begin."""
    return Scenario(name, flags, prepare, code=code, says=says, within=within, **more)


def works(name, flags=TWO, prepare=None, **more):
    """A scenario that ends as one host does."""
    return Scenario(name, flags, prepare or {}, same=True, **more)


# ---- the scenarios

VENV, HOROVOD = Path(sys.executable).parent, Path(sysconfig.get_path('purelib')) / 'horovod'
ETH1 = ('eth0', 'eth1')
NEW = 'ct state new tcp dport != 22 drop'
LOST = r'rank [123] on node[12] has lost the watchdog of rank 0 at 10.77.0.1'
SAVED = r'at step \d+, which is saved'
UNREACHED = r'rank [23] on node2 cannot reach the launcher at 10.88.0.1.*unreachable'


def hide(path):
    """A line of shell after which a folder is empty on a host."""
    return f'mount -t tmpfs tmpfs {path}'


def change(path):
    """A line of shell after which a file ends otherwise on a host."""
    return (f'cp {path} /run/changed; echo "# another" >> /run/changed; '
            f'mount --bind /run/changed {path}')


def own_name(number):
    """A line of shell after which a host's own name stands for 127.0.1.1, as Debian has it."""
    return (f'echo 127.0.1.1 node{number} | cat - /etc/hosts > /run/names; '
            'cat /run/names > /etc/hosts')


def firewall(rule):
    """A line of shell: what comes in and is not ssh's meets a rule of nftables."""
    return ("nft 'add table ip wall; add chain ip wall in { type filter hook input priority 0; };"
            f" add rule ip wall in iif eth0 {rule}'")


WORK = [
    works('2 hosts, by name'),
    works('2 hosts, by address', ('-np', '4', '-H', '10.77.0.1:2,10.77.0.2:2')),
    works('2 hosts, by full name', ('-np', '4', '-H', 'node1.site:2,node2.site:2'), names=(
        '127.0.0.1 localhost', '10.77.0.1 node1.site node1', '10.77.0.2 node2.site node2')),
    works('2 hosts, --hostfile', ('-np', '4', '--hostfile', f'{SHARED}/hostfile'),
          {1: f"printf 'node1 slots=2\nnode2 slots=2  # both\n' > {SHARED}/hostfile"}),
    works('2 hosts, --network-interface', (*TWO, '--network-interface', 'eth0')),
    works('4 hosts × 2 ranks', ('-np', '8', '-H', 'node1:2,node2:2,node3:2,node4:2'), hosts=4),
    works('all ranks remote', ('-np', '4', '-H', 'node2:2,node3:2'), hosts=3),
    works("another port and user, in ssh's settings", prepare={
        1: "printf 'Host node2\nPort 2222\nUser trainer\n' >> /etc/ssh/ssh_config",
        2: "echo Port 2222 >> /etc/ssh/sshd_config; "
           f"echo 'trainer:x:0:0::{HOME}:/bin/bash' >> /run/passwd"}),
    works('another port, --remote-shell',
          (*TWO, '--remote-shell', 'ssh -p 2222 -o StrictHostKeyChecking=accept-new {host}'),
          {2: 'echo Port 2222 >> /etc/ssh/sshd_config'}),
    works('a banner, and a login that talks', prepare={
        2: 'echo Banner /etc/hosts >> /etc/ssh/sshd_config; '
           f'echo echo hello > {HOME}/.bashrc'}),
    works('a run folder that is not shared', prepare={2: hide(RUNS)}),
    works('fewer cores on one host', prepare={2: 'taskset -p -c 0 $$'}),
    works('a host that takes no connections but of ssh', prepare={2: firewall(NEW)}),
    works('two networks, --network-interface of the second',
          (*TWO, '--network-interface', 'eth1'), cards=ETH1),
    works('two networks, the second leads nowhere', cards=ETH1,
          prepare={2: 'ip link set eth1 down'}),
    works("Horovod's own launcher", (), by=(
        str(VENV / 'horovodrun'), '--gloo', *TWO, '--network-interface', 'eth0')),
    Scenario('--check', (*TWO, '--check', '20'), says=(
        r'rank 0 on node1: cpu.*rank 1 on node1.*rank 2 on node2.*rank 3 on node2: cpu.*'
        r'all-reduce of 20 MB over 4 ranks: .* busbw')),
]
FAIL = [
    fails('a host that is not there', {}, r'No route to host.*rank [23] on node3 ended',
          ('-np', '4', '-H', 'node1:2,node3:2'),
          names=('127.0.0.1 localhost', *(f'10.77.0.{i} node{i}' for i in (1, 2, 3)))),
    fails('a name that nobody knows', {}, r'resolve hostname nobody.*rank [23] on nobody ended',
          ('-np', '4', '-H', 'node1:2,nobody:2')),
    fails('no sshd', {2: 'echo Port 2222 >> /etc/ssh/sshd_config'},
          r'Connection refused.*rank [23] on node2 ended'),
    fails('a host refuses the key', {2: 'rm /etc/ssh/key.pub'},
          r'Permission denied.*rank [23] on node2 ended'),
    fails('a host whose key has changed',
          {1: f'mkdir -m 700 {HOME}/.ssh; echo "node2 $(cat /etc/ssh/key.pub)" '
              f'> {HOME}/.ssh/known_hosts'}, r'CHANGED.*rank [23] on node2 ended'),
    fails('a login that hangs', {2: 'echo ForceCommand sleep 25 >> /etc/ssh/sshd_config'},
          r'rank [23] on node2 has not started within 15 s', (*TWO, '--start-timeout', '15')),
    fails("ssh's port dropped by a firewall", {2: firewall('tcp dport 22 drop')},
          r'rank [23] on node2 has not started within 15 s', (*TWO, '--start-timeout', '15')),
    fails('the launcher behind a firewall', {1: firewall(NEW)},
          r'rank [23] on node2 cannot reach the launcher at 10.77.0.1', code=2),
    fails('hosts between which a firewall stands', {2: firewall(NEW)},
          r'on node3.*has not met the others',
          ('-np', '4', '-H', 'node2:2,node3:2', '--start-timeout', '30'), hosts=3),
    fails('no checkout', {2: hide(job.ROOT)}, r"can't open file.*rank [23] on node2 ended", code=2),
    fails('no Python', {2: hide(VENV)}, r'No such file.*rank [23] on node2 ended'),
    fails('no Horovod', {2: hide(HOROVOD)}, r'node2\] error: .*Horovod', code=2),
    fails('another gluon_a2', {2: change(job.ROOT / 'gluon_a2/nn/attention.py')},
          r'ranks 2 and 3 on node2 started with other code', code=2),
    fails('another script', {2: change(job.ROOT / SCRIPT)},
          r'ranks 2 and 3 on node2 started with other code', code=2),
    fails('other data', {2: f'mkdir /run/images; cp {IMAGES}/val.* {IMAGES}/train.* /run/images; '
                            f'cp {IMAGES}/val.rec /run/images/train.rec; '
                            f'mount --bind /run/images {IMAGES}'},
          r'ranks 2 and 3 on node2: ', code=2),
    fails('no data', {2: hide(IMAGES)}, r'ranks 2 and 3 on node2: no train data', code=2),
    fails('an interface that is not there', {}, r'eth7 has no address here',
          (*TWO, '--network-interface', 'eth7'), code=2),
    fails('the interface lo', {}, r'lo does not lead to node2',
          (*TWO, '--network-interface', 'lo'), code=2),
    fails('an interface that the other host lacks', {2: 'ip link delete eth1'}, UNREACHED,
          (*TWO, '--network-interface', 'eth1'), cards=ETH1, code=2),
    fails('the second network cut, and asked for', {2: 'ip link set eth1 down'}, UNREACHED,
          (*TWO, '--network-interface', 'eth1'), cards=ETH1, code=2),
    fails('a host with IPv6 only', {}, r'host node2 has only IPv6 addresses', code=2,
          names=('127.0.0.1 localhost', '10.77.0.1 node1', 'fd77::2 node2')),
    fails("Debian's 127.0.1.1 for the own name", {1: own_name(1)},
          r'node1, stands for 127.0.1.1.*give node1 the address 10.77.0.1', code=2),
    fails("Debian's 127.0.1.1 on the other host", {2: own_name(2)},
          r'node2, stands for 127.0.1.1.*give node2 the address 10.77.0.2', code=2),
]
FAULTS = [
    ends('a remote rank is killed', 'kill -9 {rank2}', r'rank 2 on node2 died at step'),
    ends('a remote rank is stopped', 'kill -STOP {rank3}', r'rank 3 on node2 is frozen'),
    ends('rank 0 is stopped', 'kill -STOP {rank0}', r'rank 0 on node1 is frozen'),
    ends('a remote watchdog is killed', 'kill -9 {watchdog2}', r'rank 2 on node2'),
    ends('a remote watchdog is stopped', 'kill -STOP {watchdog2}', r'rank 2 on node2'),
    ends('the hub is killed', 'kill -9 {watchdog0}', LOST),
    ends('the hub is stopped', 'kill -STOP {watchdog0}', LOST),
    ends('an ssh client is killed', 'kill -9 {ssh2}', r'rank 2 on node2 .* or its remote shell'),
    Scenario('an ssh client is stopped', TWO, fault='kill -STOP {ssh2}', code=1, says=(
        'the remote shell of rank 2 on node2 has not ended, for it was stopped')),
    ends('an ssh session is killed', 'kill -9 {sshd2}', r'rank 2 on node2 .* or its remote shell'),
    Scenario('an ssh session is stopped', TWO, fault='kill -STOP {sshd2}', code=1, says=(
        'the remote shell of rank 2 on node2 has not ended')),
    ends('the launcher is killed', 'kill -9 {launcher}', r'the launcher is gone', code=-9),
    ends('SIGTERM at the launcher', 'kill {launcher}', SAVED, code=75),
    ends('Ctrl-C at the launcher', 'kill -INT {launcher}', SAVED, code=130),
    ends('SIGTERM, all ranks remote', 'kill {launcher}', SAVED, code=75,
         flags=('-np', '4', '-H', 'node2:4')),
    ends("a host's link goes down", 'ip link set {port2} down',
         r'rank [23] on node2 cannot be reached'),
    ends("the launcher's link goes down", 'ip link set {port1} down',
         r'rank [23] on node2 cannot be reached'),
    ends("all of a host's packets are lost", '{wire} {port2} --loss 1 &',
         r'rank [23] on node2 cannot be reached'),
]
GO_ON = [
    goes_on('a remote rank is killed, --max-restarts', 'kill -9 {rank2}'),
    goes_on('an ssh session is killed, --max-restarts', 'kill -9 {sshd2}'),
    goes_on('the hub is killed, --max-restarts', 'kill -9 {watchdog0}'),
    goes_on('the hub is stopped, --max-restarts', 'kill -STOP {watchdog0}', LONGER),
    goes_on('a remote rank is stopped, --max-restarts', 'kill -STOP {rank3}'),
    goes_on('rank 0 is stopped, --max-restarts', 'kill -STOP {rank0}'),
    goes_on('a remote watchdog is killed, --max-restarts', 'kill -9 {watchdog2}'),
    goes_on('a remote watchdog is stopped, --max-restarts', 'kill -STOP {watchdog2}', LONGER),
    goes_on('an ssh client is killed, --max-restarts', 'kill -9 {ssh2}'),
    goes_on('a link is down for 20 s, --max-restarts',
            '(ip link set {port2} down; sleep 20; ip link set {port2} up) &'),
    goes_on("the launcher's link is down for 20 s, --max-restarts",
            '(ip link set {port1} down; sleep 20; ip link set {port1} up) &'),
    goes_on('all packets are lost for 20 s, --max-restarts',
            '{wire} {port2} --loss 1 --seconds 20 &'),
    goes_on('a link is down for 4 s', 'ip link set {port2} down; sleep 4; ip link set {port2} up'),
    goes_on('the launcher is stopped for 15 s',
            'kill -STOP {launcher}; sleep 15; kill -CONT {launcher} {nsenter}'),
    goes_on('packets 100 ms late in each direction', '{wire} {port2} --delay 0.1 &',
            (*TWO, '--rank-timeout', '20')),  # a vector of gradients takes most of 10 s
    goes_on('5 % of packets lost', '{wire} {port2} --loss 0.05 &'),
]
SLURM_JOBS = [
    Batch('Slurm: sbatch'),
    Batch('Slurm: scontrol requeue', (('under way', 'scontrol requeue {job}'),)),
    Batch('Slurm: scancel, and sbatch again', (('under way', 'scancel {job}'),
                                               ('CANCELLED', 'sbatch'))),
    Batch('Slurm: the signal before the time limit', (
        ('under way', 'scontrol update jobid={job} timelimit={soon}'),
        ('PENDING', 'scontrol update jobid={job} timelimit=60')), says='stopped on request',
        sbatch=('--time=60', '--signal=B:TERM@150'), flags=('--num-epochs', '10')),
    Batch('Slurm: video, and scontrol requeue', (('under way', 'scontrol requeue {job}'),),
          data='clips'),
    Batch('Slurm: a node is drained', (
        ('under way', 'scontrol update nodename=node2 state=drain reason=proof'),)),
    Batch('Slurm: a node is lost, and comes back', (
        ('under way', 'scontrol update nodename=node2 state=down reason=proof'),)),
]
SCENARIOS = [*WORK, *FAIL, *FAULTS, *GO_ON, *SLURM_JOBS]
