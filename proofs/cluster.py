#!/usr/bin/env python3
"""A training job on several hosts, and what becomes of it when something is wrong with them.

    python proofs/cluster.py
    python proofs/cluster.py --only two rank     # the scenarios with one of these words

The hosts are namespaces of this machine (see cluster_hosts.py), each with an address, a name and an
sshd of its own. It takes root and a few packages of Debian, which are named where they are missing.
The job is scripts/train_imagenet.py on 40 pictures of digits, and once scripts/train_video.py on 40
clips. Each scenario (see cluster_scenarios.py) says how it must end.
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
import time
from pathlib import Path

import cluster_hosts
import cluster_slurm as slurm
import job
from bench import keeping, read_rows
from cluster_hosts import HOME, SHARED
from cluster_scenarios import DATA, RUNS, SCENARIOS, SLACK, STUCK, TIMEOUT, Batch, Scenario
from kills import differences
from tqdm import tqdm

from gluon_a2.cli import entry, parser

CSV = Path(__file__).with_suffix('.csv')
FIELDS = ('scenario', 'end', 'seconds', 'same', 'left', 'good', 'sentence')
LIGHT = SHARED / 'light'
# what MXNet and TensorBoardX load where it is installed; training starts in a third of the time
# without it
HEAVY = ('onnx', 'scipy', 'sklearn', 'torch')
WIRE = Path(__file__).with_name('cluster_wire.py')
SLURM = 'scripts/train_imagenet.slurm'
SENTENCE = (r'(\[\d+ \S+\] )?(error: |rank \d|the remote shell|all-reduce of)|'
            r'.*(ssh: connect|Permission denied|hostname nobody|HAS CHANGED|No such file|is saved)')
STEP = 3       # of 8, after which faults happen


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
        self.environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'HOME': HOME,
                            'PYTHONPATH': str(LIGHT), 'PYTHON': sys.executable}
        self.before = {process.pid for process in self._all()}
        self.since = time.monotonic()
        self.start()

    def start(self):
        """Give the command on the first host."""
        if self.scenario.by:  # Horovod's command needs what our scripts bring
            self.environment['PYTHONPATH'] += f':{job.ROOT / "tools" / "horovod"}'
        words = [*self.scenario.by, sys.executable, f'scripts/{self.script}.py',
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


def without_places(said, folder):
    """What a job said, without the folders of this machine."""
    for place, name in ((folder, '…'), (sys.executable, 'python'), (job.ROOT, '…')):
        said = said.replace(str(place), name)
    return said


def try_out(scenario):
    """The row of a scenario, and what its job says."""
    folder = folder_of(scenario)
    with cluster_hosts.hosts(scenario.hosts, scenario.prepare, scenario.names,
                             scenario.cards) as hosts:
        running = (SlurmJob if isinstance(scenario, Batch) else Job)(scenario, hosts, folder)
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
           'sentence': without_places(' | '.join(lines[:2]), folder)}
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
