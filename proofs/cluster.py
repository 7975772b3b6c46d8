#!/usr/bin/env python3
"""A training job on several hosts, and what becomes of it when something is wrong with them.

    python proofs/cluster.py
    python proofs/cluster.py --only two rank     # the scenarios with one of these words

The hosts are namespaces of this machine (see cluster_hosts.py), each with an address, a name and an
sshd of its own. It takes root and a few packages of Debian, which are named where they are missing.
The job is scripts/train_imagenet.py on 40 pictures of digits, and once scripts/train_video.py on 40
clips. Each scenario says how it must end.
Prints a row as each ends, and keeps `cluster.csv`; with --only the other rows stay. `seconds` are
those from the fault, or from the start where there is none, until no process of the job is left on
any host. `same` is whether checkpoints, log and exported network are those of one host, byte for
byte. Exit code 1 unless every row is good.
"""
import functools
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Tuple

import cluster_hosts
import cluster_slurm as slurm
import job
from bench import keeping, read_rows
from cluster_hosts import SHARED
from kills import differences
from tqdm import tqdm

from gluon_a2.cli import entry, parser

CSV = Path(__file__).with_suffix('.csv')
FIELDS = ('scenario', 'end', 'seconds', 'same', 'left', 'good', 'sentence')
RUNS, LIGHT, DATA = SHARED / 'runs', SHARED / 'light', {kind: SHARED / kind for kind in job.KINDS}
IMAGES = DATA['images']
# what MXNet and TensorBoardX load where it is installed; training starts in a third of the time
# without it
HEAVY = ('onnx', 'scipy', 'sklearn', 'torch')
SCRIPT, WIRE = 'scripts/train_imagenet.py', Path(__file__).with_name('cluster_wire.py')
TIMEOUT = 10   # s, the --rank-timeout of all
SLACK = 8      # s beyond it, in which all must be gone
SLURM = 'scripts/train_imagenet.slurm'
STUCK = 300    # s until a job that does not end is given up
SENTENCE = r'(\[\d+ \S+\] )?(error: |rank \d|the remote shell)'
STEP = 3       # of 8, after which faults happen
ENDLESS = ('--num-epochs', '1000')
TWO = ('-np', '4', '-H', 'node1:2,node2:2')


class Scenario(NamedTuple):
    """How a job is started, what is done to it, and how it must end.

    prepare: lines of shell that a host, by its number, runs before its sshd starts. fault: a line
    that runs outside once training is under way, with the numbers of processes for {rank2},
    {watchdog2}, {ssh2} (its client), {sshd2} (its session) and {launcher}; {port2} is the bridge's
    port to host 2, and {wire} makes a bad wire of it (cluster_wire.py). within: seconds.
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

    def kind(self, *given):
        """Its job."""
        return Job(self, *given)

    def reference(self):
        """The ranks and flags of the run on one host that it may equal."""
        return (self.data, *self.flags[1:2])


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

    def kind(self, *given):
        """Its job."""
        return SlurmJob(self, *given)

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
           "echo 'trainer:x:0:0::/run/root:/bin/bash' >> /run/passwd"}),
    works('another port, --remote-shell',
          (*TWO, '--remote-shell', 'ssh -p 2222 -o StrictHostKeyChecking=accept-new {host}'),
          {2: 'echo Port 2222 >> /etc/ssh/sshd_config'}),
    works('a banner, and a login that talks', prepare={
        2: 'echo Banner /etc/hosts >> /etc/ssh/sshd_config; '
           'echo echo hello > /run/root/.bashrc'}),
    works('a run folder that is not shared', prepare={2: hide(RUNS)}),
    works('fewer cores on one host', prepare={2: 'taskset -p -c 0 $$'}),
    works('a host that takes no connections but of ssh', prepare={2: firewall(NEW)}),
    works('two networks, --network-interface of the second',
          (*TWO, '--network-interface', 'eth1'), cards=ETH1),
    works('two networks, the second leads nowhere', cards=ETH1,
          prepare={2: 'ip link set eth1 down'}),
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
          {1: 'mkdir -m 700 /run/root/.ssh; echo "node2 $(cat /etc/ssh/key.pub)" '
              '> /run/root/.ssh/known_hosts'}, r'CHANGED.*rank [23] on node2 ended'),
    fails('a login that hangs', {2: 'echo ForceCommand sleep 25 >> /etc/ssh/sshd_config'},
          r'rank [23] on node2 has not started within 15 s', (*TWO, '--start-timeout', '15')),
    fails("ssh's port dropped by a firewall", {2: firewall('tcp dport 22 drop')},
          r'rank [23] on node2 has not started within 15 s', (*TWO, '--start-timeout', '15')),
    fails('the launcher behind a firewall', {1: firewall(NEW)},
          r'rank [23] on node2 cannot reach the launcher at 10.77.0.1', code=2),
    fails('hosts between which a firewall stands', {2: firewall(NEW)}, r'node3',
          ('-np', '4', '-H', 'node2:2,node3:2', '--start-timeout', '30'), hosts=3),
    fails('no checkout', {2: hide(job.ROOT)}, r'rank [23] on node2 ended', code=2),
    fails('no Python', {2: hide(VENV)}, r'rank [23] on node2 ended'),
    fails('no Horovod', {2: hide(HOROVOD)}, r'node2\] error: .*Horovod', code=2),
    fails('another gluon_a2', {2: change(job.ROOT / 'gluon_a2/nn/attention.py')},
          r'ranks 2 and 3 started with other code', code=2),
    fails('another script', {2: change(job.ROOT / SCRIPT)},
          r'ranks 2 and 3 started with other code', code=2),
    fails('other data', {2: f'mkdir /run/images; cp {IMAGES}/val.* {IMAGES}/train.* /run/images; '
                            f'cp {IMAGES}/val.rec /run/images/train.rec; '
                            f'mount --bind /run/images {IMAGES}'}, r'ranks 2 and 3', code=2),
    fails('no data', {2: hide(IMAGES)}, r'ranks 2 and 3: no train data', code=2),
    fails('an interface that is not there', {}, r'eth7 has no address here',
          (*TWO, '--network-interface', 'eth7'), code=2),
    fails('the interface lo', {}, r'lo does not lead to node2',
          (*TWO, '--network-interface', 'lo'), code=2),
    fails('an interface that the other host lacks', {2: 'ip link delete eth1'}, r'node2',
          (*TWO, '--network-interface', 'eth1'), cards=ETH1, code=2),
    fails('the second network cut, and asked for', {2: 'ip link set eth1 down'}, r'node2',
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
    ends('the hub is killed', 'kill -9 {watchdog0}', r'the watchdog of rank 0'),
    ends('the hub is stopped', 'kill -STOP {watchdog0}', r'the watchdog of rank 0'),
    ends('an ssh client is killed', 'kill -9 {ssh2}', r'rank 2 on node2 .* or its remote shell'),
    Scenario('an ssh client is stopped', TWO, fault='kill -STOP {ssh2}', code=1, says=(
        'the remote shell of rank 2 on node2 has not ended, for it was stopped')),
    ends('an ssh session is killed', 'kill -9 {sshd2}', r'rank 2 on node2 .* or its remote shell'),
    Scenario('an ssh session is stopped', TWO, fault='kill -STOP {sshd2}', code=1, says=(
        'the remote shell of rank 2 on node2 has not ended')),
    ends('the launcher is killed', 'kill -9 {launcher}', r'the launcher is gone', code=-9),
    ends('SIGTERM at the launcher', 'kill {launcher}', r'', code=75),
    ends('Ctrl-C at the launcher', 'kill -INT {launcher}', r'interrupted: saving', code=130),
    ends('SIGTERM, all ranks remote', 'kill {launcher}', r'', code=75,
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
    goes_on('a link is down for 20 s, --max-restarts',
            '(ip link set {port2} down; sleep 20; ip link set {port2} up) &'),
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


# ---- a job on hosts

def job_flags(folder, data):
    """The flags that all scenarios share, but for the ranks."""
    return [*job.flags(folder, DATA[data], 4, data)[:-2], '--num-epochs', 2, '--save-steps', 1,
            '--rank-timeout', TIMEOUT]


class Job:
    """The job of a scenario, on its hosts, and its processes."""
    pause = 0.01  # s between two looks

    def __init__(self, scenario, hosts, folder):
        self.scenario, self.hosts, self.folder = scenario, hosts, folder
        self.log, self.lines, self.script = SHARED / 'output', 0, job.KINDS[scenario.data][0]
        self.environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'HOME': '/run/root',
                            'PYTHONPATH': str(LIGHT), 'PYTHON': sys.executable}
        self.before = {process.pid for process in self._all()}
        self.since = time.monotonic()
        self.start()

    def start(self):
        """Give the command on the first host."""
        words = [sys.executable, f'scripts/{self.script}.py',
                 *job_flags(self.folder, self.scenario.data), *self.scenario.flags]
        with open(self.log, 'w') as output:
            self.launcher = self.hosts[1].start(words, job.ROOT, self.environment, output)

    def ended(self):
        """How it has ended, or None."""
        return self.launcher.poll()

    def _all(self):
        return [process for host in self.hosts.values() for process in host.processes()]

    def processes(self):
        """Those of this job; a session of sshd may wait longer than its rank for a client that
        cannot be reached."""
        return [process for process in self._all() if process.pid not in self.before
                and not process.words[0].startswith('sshd:')]

    def places(self):
        """What the words in braces of a fault stand for."""
        found = {}
        for process in self.processes():
            number, words = process.environ.get('HOROVOD_RANK'), process.words
            if 'gluon_a2.launch.watchdog' in words:
                found[f'watchdog{number}'] = process.pid
            elif words[0] == 'ssh':
                found['ssh' + re.search(r'HOROVOD_RANK=(\d+) ', words[-1]).group(1)] = process.pid
            elif words[1:2] == [f'scripts/{self.script}.py']:
                found[f'rank{number}' if number else 'launcher'] = process.pid
                if number:
                    found[f'sshd{number}'] = process.parent
        # it stops with its child
        found.update(wire=f'{sys.executable} {WIRE}', nsenter=self.launcher.pid)
        found.update({f'port{number}': f'eth0-{number}' for number in self.hosts})
        return found

    def _await(self, there):
        """Wait until something is there; False if the job ends before, or takes too long."""
        until = time.monotonic() + STUCK
        while not there():
            if self.ended() is not None or time.monotonic() > until:
                return False
            time.sleep(self.pause)
        return True

    def under_way(self):
        """Whether some steps have been made, since this was last true."""
        lines = len(job.read_lines(self.folder / 'log.jsonl'))
        if lines < self.lines + STEP:
            return False
        self.lines = lines
        return True

    def strike(self):
        """Wait for the middle of training, and do what the scenario says; whether it came to
        that."""
        if not self.scenario.fault:
            return True
        if not self._await(self.under_way):
            return False
        line = self.scenario.fault.format_map(self.places())
        self.since = time.monotonic()
        subprocess.run(line, shell=True, check=True)
        return True

    def wait(self):
        """How it has ended, and the processes that are left."""
        until = self.since + max(STUCK, self.scenario.within)
        while time.monotonic() < until:
            code, left = self.ended(), self.processes()
            if code is not None and not left:
                break
            if code is not None:
                until = min(until, time.monotonic() + TIMEOUT + SLACK)
            time.sleep(self.pause)
        return code, left


class SlurmJob(Job):
    """A job that sbatch has taken."""
    pause = 0.5

    def start(self):
        """Give it to Slurm, which appends to what it says."""
        self.log.write_text('')
        slurm.wait_until_up(self.hosts[1])
        self.before = {process.pid for process in self._all()}
        self.since = time.monotonic()
        self._submit()

    def _submit(self):
        done = subprocess.run(
            [*self.hosts[1].enter, 'env', '-C', str(job.ROOT), 'sbatch', '--parsable', '--nodes=2',
             '--gpus-per-node=2', f'--output={self.log}', *self.scenario.sbatch, SLURM,
             *map(str, (DATA[self.scenario.data], self.folder,
                        *job_flags(self.folder, self.scenario.data))), '--num-gpus', '0',
             *self.scenario.flags], env={**self.environment, 'SCRIPT': self.script},
            capture_output=True, text=True, check=True)
        self.number = int(done.stdout)

    def state(self):
        """What Slurm calls its state."""
        shown = slurm.call(self.hosts[1], 'scontrol', 'show', 'job', self.number, '-o')
        return re.search(r'JobState=(\w+)', shown).group(1)

    def ended(self):
        """Its last state, or None."""
        state = self.state()
        return None if state in ('PENDING', 'RUNNING', 'COMPLETING', 'SUSPENDED') else state

    def strike(self):
        """Do what the scenario says when it says so."""
        for when, line in self.scenario.acts:
            there = self._await(self.under_way if when == 'under way' else
                                lambda state=when: self.state() == state)
            if not there and self.ended() != when:
                return False
            if line == 'sbatch':
                self._submit()
            else:
                soon = int(time.monotonic() - self.since) // 60 + 3
                slurm.call(self.hosts[1], *line.format(job=self.number, soon=soon).split())
        return True


@functools.lru_cache(None)
def reference(data, ranks, *flags):
    """The run folder of so many ranks on one host."""
    scenario = Scenario(' '.join((f'{ranks} ranks', data, *flags)), ('-np', ranks, *flags), hosts=1,
                        data=data)
    row, said = try_out(scenario)
    if row['end']:
        raise RuntimeError(said)
    return folder_of(scenario)


def folder_of(scenario):
    """Its run folder."""
    return RUNS / re.sub(r'\W+', '-', scenario.name)


def try_out(scenario):
    """The row of a scenario, and what its job says."""
    folder = folder_of(scenario)
    with cluster_hosts.hosts(scenario.hosts, scenario.prepare, scenario.names,
                             scenario.cards) as hosts:
        running = scenario.kind(hosts, folder)
        struck = running.strike()
        code, left = running.wait()
        seconds = time.monotonic() - running.since
        said = running.log.read_text()
    same = None
    if scenario.same is not None and code in (0, 'COMPLETED'):
        same = not differences(folder, reference(*scenario.reference()))
    match = re.search(scenario.says, said, re.DOTALL)
    good = (struck and code == scenario.code and not left and bool(match)
            and seconds < scenario.within and same == scenario.same)
    lines = [line for line in said.splitlines() if re.match(SENTENCE, line)]
    row = {'scenario': scenario.name, 'end': code, 'seconds': round(seconds, 1),
           'same': '–' if same is None else same, 'left': len(left), 'good': good,
           'sentence': ' | '.join(lines[:2]).replace(str(folder), '…')}
    for process in left:
        said += f'left: {process.pid} {shlex.join(process.words)}\n'
    return row, said


@entry
def main(argv=None):
    """Try all scenarios, print and keep the table."""
    flags = parser(__doc__)
    flags.add_argument('--only', nargs='+', metavar='WORD', help='those with one of these words')
    flags.add_argument('--show', action='store_true', help='also what the jobs say')
    flags.add_argument('--csv', type=Path, default=CSV)
    given = flags.parse_args(argv)
    chosen = [scenario for scenario in SCENARIOS
              if not given.only or any(word in scenario.name for word in given.only)]
    cluster_hosts.require({**cluster_hosts.PACKAGES, **slurm.PACKAGES})
    cluster_hosts.enclose()
    cluster_hosts.prepare_machine()
    slurm.prepare_machine()
    LIGHT.mkdir()
    RUNS.mkdir()
    for name in HEAVY:
        (LIGHT / f'{name}.py').write_text('raise ImportError("left out")\n')
    for data in {scenario.data for scenario in chosen}:
        job.KINDS[data][1](DATA[data])
    rows = {row['scenario']: row for row in read_rows(given.csv)} if given.csv.exists() else {}
    bad = 0
    for scenario in tqdm(chosen, unit='scenario', disable=None):
        row, said = try_out(scenario)
        rows[scenario.name] = row
        with keeping(given.csv, FIELDS) as write:
            for name in (scenario.name for scenario in SCENARIOS):
                if name in rows:
                    write(rows[name])
        print(*(f'{key}={value}' for key, value in row.items()), flush=True)
        if given.show or not row['good']:
            print(said, file=sys.stderr)
        bad += not row['good']
    print(f'{len(chosen) - bad} of {len(chosen)} as they should be')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
