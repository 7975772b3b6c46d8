"""Start the ranks of a run on this machine and others, and start them again after a fault.

    python scripts/train_imagenet.py -np 4 --max-restarts 3 …
    python scripts/train_imagenet.py -np 16 -H node1:8,node2:8 …

The ranks are started directly and not with horovodrun, which loses their exit codes and kills them
5 s after SIGTERM.

SIGTERM is a request to save and stop. It goes on to the ranks on this machine, since the ranks
agree on it; where all are elsewhere it goes to the remote shells: srun passes it on, whereas with
ssh the remote ranks end without saving (let the scheduler signal them). A second SIGTERM ends
everything at once, and so does SIGINT.
"""
import contextlib
import ctypes
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import uuid
from argparse import ArgumentParser
from pathlib import Path

from ..errors import UserError

FLAGS = ('num_proc', 'hosts', 'hostfile', 'network_interface', 'remote_shell', 'max_restarts')
# where launchers tell a process how many ranks there are
SIZES = ('HOROVOD_SIZE', 'OMPI_COMM_WORLD_SIZE')
# set by whoever starts ranks
LAUNCHED = ('GLUON_A2_LAUNCH', 'HOROVOD_RANK', 'OMPI_COMM_WORLD_RANK')
EXPORTED = re.compile(
    r'(HOROVOD|GLUON_A2|NCCL|MXNET)_\w+|OMP_NUM_THREADS|(PYTHON|LD_LIBRARY_)?PATH|VIRTUAL_ENV')

MISTAKE = 2        # exit code of a rank that has told the user about a mistake
PREEMPTED = 75     # EX_TEMPFAIL: stopped on request, and saved
PATIENCE = 5  # s for the other ranks after the first has ended badly; their watchdogs are faster
TELLING = 1.5      # s for the watchdogs to write fault.json after the last rank is gone
POLL = 0.05        # s
PR_SET_PDEATHSIG = 1


def ranks(environ=os.environ):
    """How many ranks this job has; 1 where no launcher started it."""
    return next((int(environ[name]) for name in SIZES if environ.get(name, '').isdigit()), 1)


def add_flags(parser):
    """Add the launcher's flags; their dests are FLAGS."""
    group = parser.add_argument_group('several processes')
    group.add_argument('-np', '--num-proc', type=int, default=1, metavar='N', help='processes '
                                                                                   '(ranks) to '
                                                                                   'train with')
    group.add_argument('-H', '--hosts', metavar='HOST:SLOTS,…', help='where they run; all here if '
                                                                     'not given')
    group.add_argument('--hostfile', metavar='FILE', help='lines of "HOST slots=SLOTS", instead of '
                                                          '--hosts')
    group.add_argument('--network-interface', metavar='NAME', help='the network between the hosts, '
                                                                   'as in eth0')
    group.add_argument(
        '--remote-shell', metavar='CMD', default='ssh -o BatchMode=yes -o StrictHostKeyChecking=no '
        '{host}', help='runs its last argument, a line of shell, on {host}; inside a Slurm job: '
        '"srun --overlap -N1 -n1 -w {host} sh -c"')
    group.add_argument(
        '--max-restarts', type=int, default=0, metavar='N',
        help='after a fault, start the ranks again from the last checkpoint, at most so often')


def is_launcher(given, environ=os.environ):
    """Whether this process is to start ranks; `given` holds the values of FLAGS. UserError if they
    make no sense."""
    for name, low in (('num_proc', 1), ('max_restarts', 0)):
        if given[name] < low:
            raise UserError(f'--{name.replace("_", "-")} must be {low} or more, not {given[name]}')
    several = given['num_proc'] > 1
    for name in ('hosts', 'hostfile', 'network_interface'):
        if given[name] and not several:
            raise UserError(
                f'--{name.replace("_", "-")} is for several processes: say how many with -np')
    wanted = several or given['max_restarts'] > 0
    by = next((name for name in LAUNCHED if name in environ), None)
    if wanted and by:
        raise UserError(
            f'this process was already started by a launcher ({by} is set): leave out -np and '
            '--max-restarts, or start the script without that launcher')
    return wanted


# ---- hosts

def read_hosts(given):
    """[(host, slots)] of the flags; all ranks on this machine where they name none."""
    if given['hosts'] and given['hostfile']:
        raise UserError('--hosts and --hostfile exclude each other: give one of them')
    if given['hostfile']:
        hosts = [
            _host_of(line, r'([\w.-]+)\s+slots\s*=\s*(\d+)',
                     f'{given["hostfile"]}: "HOST slots=SLOTS"')
            for line in _lines(given['hostfile'])
        ]
    elif given['hosts']:
        hosts = [_host_of(item, r'([\w.-]+):(\d+)', '--hosts: HOST:SLOTS,HOST:SLOTS') for item in
                 given['hosts'].split(',')]
    else:
        hosts = [('localhost', given['num_proc'])]
    slots = sum(count for _, count in hosts)
    if len(dict(hosts)) < len(hosts):
        raise UserError('a host is named twice: give each host once, with all its slots')
    if slots < given['num_proc']:
        raise UserError(
            f'-np {given["num_proc"]} asks for more ranks than the {slots} slots of the hosts: '
            'add hosts or slots, or start fewer ranks')
    return hosts


def _lines(path):
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f'--hostfile {path} cannot be read ({getattr(error, "strerror", "not text")}): '
            'give a text file of lines "HOST slots=SLOTS"') from error
    return [line for line in (line.partition('#')[0].strip() for line in lines) if line]


def _host_of(text, pattern, form):
    match = re.fullmatch(pattern, text.strip())
    if not match or int(match.group(2)) < 1:
        raise UserError(
            f'{text.strip()!r} is no host with its number of processes; {form} is expected')
    return match.group(1), int(match.group(2))


def is_local(host):
    """Whether ranks on `host` are started without the remote shell."""
    name = socket.gethostname()
    return host in ('localhost', name, name.partition('.')[0]) or host.startswith('127.')


# ---- one rank: what it is told, and how it is started

class Job:
    """What all attempts of one launch share."""

    def __init__(self, given, argv, save_dir):
        self.given, self.save_dir = given, Path(save_dir)
        self.script, self.number = argv[0], given['num_proc']
        self.hosts = read_hosts(given)
        self.id = uuid.uuid4().hex
        self.rest, self.resume, self.overwrite = _strip(argv[1:])

    def command(self, again=False):
        """The command line of a rank, in this attempt or `again`."""
        resume = self.resume or (again and self.resumable())
        mode = ['--resume'] if resume else ['--overwrite'] if self.overwrite else []
        return [sys.executable, self.script, *self.rest, *mode, '--save-dir', str(self.save_dir)]

    def resumable(self):
        """Whether the run folder holds a run that this launch has begun."""
        try:
            return json.loads((self.save_dir / 'run.json').read_bytes()).get('launch') == self.id
        except (FileNotFoundError, ValueError):
            return False

    def environment(self):
        """Of a single rank."""
        return dict(os.environ, GLUON_A2_LAUNCH=self.id)


def _strip(arguments):
    """(arguments of the script without those that the launcher sets itself, --resume given,
    --overwrite given)."""
    ours = ArgumentParser(allow_abbrev=False, add_help=False)
    add_flags(ours)
    ours.add_argument('--save-dir')
    ours.add_argument('--resume', action='store_true')
    ours.add_argument('--overwrite', action='store_true')
    known, rest = ours.parse_known_args(arguments)
    return rest, known.resume, known.overwrite


def _plan(job):
    """One Horovod SlotInfo per rank, in order."""
    from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
    hosts = parse_hosts(','.join(f'{host}:{slots}' for host, slots in job.hosts))
    return get_host_assignments(hosts, job.number, job.number)


@contextlib.contextmanager
def _rendezvous(plan):
    """Serve the list where ranks find each other; gives the port."""
    from horovod.runner.http.http_server import RendezvousServer
    server = RendezvousServer()
    port = server.start()
    server.init(plan)
    try:
        yield port
    finally:
        server.stop()


def slot_environment(job, slot, port, local):
    """What a rank of several finds in its environment; `local`: all ranks are on this machine."""
    from horovod.runner.gloo_run import create_slot_env_vars
    interface = job.given['network_interface']
    environment = {
        **job.environment(), **create_slot_env_vars(slot), 'HOROVOD_CONTROLLER': 'gloo',
        'HOROVOD_CPU_OPERATIONS': 'gloo', 'HOROVOD_GLOO_RENDEZVOUS_PORT': str(port),
        'HOROVOD_GLOO_RENDEZVOUS_ADDR': '127.0.0.1' if local else _own_address(interface)
    }
    # the watchdog finds a lost rank sooner
    environment.setdefault('HOROVOD_GLOO_TIMEOUT_SECONDS', '300')
    if interface:
        environment['NCCL_SOCKET_IFNAME'] = interface
    if interface or local:
        environment['HOROVOD_GLOO_IFACE'] = interface or 'lo'
    return environment


def _own_address(interface):
    """This machine's address on a network, or the one its name stands for."""
    from horovod.runner.util.network import get_driver_ip
    if not interface:
        try:
            return socket.gethostbyname(socket.gethostname())
        except OSError as error:
            raise UserError(
                f'this machine\'s name, {socket.gethostname()}, has no address: name the network '
                'with --network-interface') from error
    try:
        return get_driver_ip([interface])
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f'--network-interface {interface} has no address here: see ip -br addr') from error


def _remote_line(command, environment):
    """One line of shell. `exec` makes the remote shell's server the parent, so that the rank's
    watchdog sees it go."""
    names = ' '.join(f'{name}={shlex.quote(value)}' for name, value in sorted(environment.items())
                     if EXPORTED.fullmatch(name))
    return f'cd {shlex.quote(os.getcwd())} && exec env {names} {" ".join(map(shlex.quote, command))}'


def _die_with_parent():
    """A function for the child to call before its program: the kernel shall kill it when this
    process ends."""
    if not sys.platform.startswith('linux'):
        return None  # the watchdog sees the parent change
    # looked up here: little is safe between fork and exec
    prctl, launcher = ctypes.CDLL(None).prctl, os.getpid()

    def prepare():
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != launcher:  # it ended just before
            os._exit(1)
    return prepare


class Rank:
    """A process that was started, here or through a remote shell."""

    def __init__(self, number, command, environment, local=True):
        self.number, self.local = number, local
        try:
            self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL,
                                            start_new_session=True, preexec_fn=_die_with_parent())
        except OSError as error:
            raise UserError(
                f'{command[0]} cannot be started: {error.strerror}; see --remote-shell') from error

    def code(self):
        """None while it runs, else its exit code, negative for a signal."""
        return self.process.poll()

    def ask_to_stop(self):
        if self.code() is None:
            self.process.send_signal(signal.SIGTERM)

    def kill(self):
        """End it and its data workers, which share its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ending(self):
        code = self.code()
        how = f'was killed by {_signal_name(-code)}' if code < 0 else f'ended with exit code {code}'
        return f'rank {self.number} {how}'


def _signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'signal {number}'


# ---- all ranks

class Signals:
    """While the block runs, SIGTERM and SIGINT are counted instead of ending this process."""

    def __init__(self):
        self.stops = self.interrupts = 0

    def __enter__(self):
        self._before = {
            number: signal.signal(number, self._count) for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *exception):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _count(self, number, frame):
        if number == signal.SIGINT:
            self.interrupts += 1
        else:
            self.stops += 1

    def at_once(self):
        """The exit code of a launcher that is to end now, or None."""
        return 130 if self.interrupts else 143 if self.stops > 1 else None


def launch(given, argv, save_dir):
    """Start the ranks, wait for them, start them again after a fault; returns the exit code for
    this process.

    argv: the script's sys.argv; its launcher flags are taken out and --save-dir `save_dir` is put
    in. 0: all ranks ended well; 2: a rank has told the user about a mistake; 75: stopped on
    request, and saved; 130 and 143: interrupted and terminated; 1: a fault, and no restarts left.
    """
    job, restarts = Job(given, argv, save_dir), given['max_restarts']
    if job.number > 1:
        _need_horovod()
    with Signals() as signals:
        for attempt in range(restarts + 1):
            again = attempt > 0 and (job.resume or job.resumable())
            if attempt:
                _say(f'restart {attempt} of {restarts}: '
                     f'{"going on from the last checkpoint" if again else "from the beginning"}')
            with contextlib.suppress(FileNotFoundError):
                (job.save_dir / 'fault.json').unlink()
            code = _attempt(job, job.command(again), signals)
            if code != 1 or signals.stops:
                return code
    return 1


def _say(sentence):
    print(sentence, file=sys.stderr, flush=True)


def _need_horovod():
    try:
        import horovod.runner  # noqa: F401
    except ImportError as error:
        raise UserError(
            'several processes need Horovod, which is not installed: run make horovod') from error


def _attempt(job, command, signals):
    """Exit code of one start of all ranks."""
    with contextlib.ExitStack() as stack:
        ranks = []
        try:
            for number, line, environment, local in _starts(job, command, stack):
                ranks.append(Rank(number, line, environment, local))
            first = _wait(ranks, signals)
        finally:
            for rank in ranks:
                rank.kill()
    return _outcome(job, ranks, first, signals)


def _starts(job, command, stack):
    """(rank, command, environment, whether it is local) of every process to start."""
    if job.number == 1:
        return [(0, command, job.environment(), True)]
    plan = _plan(job)
    port = stack.enter_context(_rendezvous(plan))
    all_local = all(is_local(slot.hostname) for slot in plan)
    starts = []
    for slot in plan:
        environment, local = slot_environment(job, slot, port, all_local), is_local(slot.hostname)
        line = command if local else [
            *shlex.split(job.given['remote_shell'].replace('{host}', slot.hostname)),
            _remote_line(command, environment)
        ]
        starts.append((slot.rank, line, environment, local))
    return starts


def _bad(code):
    return code not in (None, 0, PREEMPTED)


def _wait(ranks, signals):
    """Wait until all have ended, or some seconds after one has ended badly; returns the first that
    did, or None."""
    first, deadline, asked = None, None, False
    while any(rank.code() is None for rank in ranks):
        if signals.at_once():
            break
        if signals.stops and not asked:
            asked = True
            for rank in [rank for rank in ranks if rank.local] or ranks:
                rank.ask_to_stop()
        first = first or next((rank for rank in ranks if _bad(rank.code())), None)
        if first and deadline is None:
            deadline = time.monotonic() + PATIENCE
        if deadline and time.monotonic() > deadline:
            break
        time.sleep(POLL)
    return first or next((rank for rank in ranks if _bad(rank.code())), None)


def _outcome(job, ranks, first, signals):
    """Exit code of an attempt whose ranks are all gone; a fault is told in one line."""
    if signals.at_once():
        return signals.at_once()
    codes = [rank.code() for rank in ranks]
    if first is None:
        return PREEMPTED if PREEMPTED in codes else 0
    if MISTAKE in codes:
        return MISTAKE
    if signals.stops and all(code in (0, PREEMPTED, -signal.SIGTERM) for code in codes):
        return 143  # asked to stop before the ranks were ready for it
    _say(_culprit(job, ranks, first).ending())
    return 1


def _culprit(job, ranks, first):
    """The rank that the watchdogs found at fault, else the first that ended badly."""
    path, until = job.save_dir / 'fault.json', time.monotonic() + TELLING
    while not path.exists() and time.monotonic() < until:
        time.sleep(POLL)
    try:
        number = json.loads(path.read_bytes())['rank']
    except FileNotFoundError:
        number = None
    return first if number is None else ranks[number]
