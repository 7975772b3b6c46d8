"""What this process may use of the machine: cores, memory, threads."""
from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

CGROUPS = Path('/sys/fs/cgroup')
# Where each launcher tells a process how many ranks share its machine.
LOCAL_RANKS = ('HOROVOD_LOCAL_SIZE', 'OMPI_COMM_WORLD_LOCAL_SIZE', 'MPI_LOCALNRANKS',
               'SLURM_NTASKS_PER_NODE')


def cores() -> int:
    """CPU cores this process may use: its affinity, or a container's quota where that is less."""
    allowed = (len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity')
               else os.cpu_count() or 1)
    return min(allowed, cpu_quota() or allowed)


def cpu_quota(root: Path = CGROUPS) -> int | None:
    """The CPUs that the container's quota is worth, rounded up, or None without one."""
    try:
        if (root / 'cpu.max').exists():  # cgroup v2: 'quota period'
            quota, period = (root / 'cpu.max').read_text().split()
        else:
            quota, period = ((root / 'cpu' / f'cpu.cfs_{part}_us').read_text()
                             for part in ('quota', 'period'))
        return math.ceil(int(quota) / int(period)) if int(quota) > 0 else None
    except (OSError, ValueError):  # no cgroup, or the quota is 'max'
        return None


def free_memory(root: Path = CGROUPS, meminfo: str = '/proc/meminfo') -> int:
    """Bytes a process may still take, of the machine's memory and of a container's limit; without
    a bound where the system does not tell."""
    try:
        with open(meminfo) as file:
            fields = dict(line.split(':') for line in file)
    except OSError:  # only Linux has the file
        return sys.maxsize
    free = int(fields['MemAvailable'].split()[0]) * 1024
    for limit, used in (('memory.max', 'memory.current'),
                        ('memory/memory.limit_in_bytes', 'memory/memory.usage_in_bytes')):
        try:
            free = min(free, int((root / limit).read_text()) - int((root / used).read_text()))
        except (OSError, ValueError):  # no such control group, or one without a limit ('max')
            continue
    return max(0, free)


def emulates_bfloat16(cpuinfo: str = '/proc/cpuinfo') -> bool:
    """Whether the CPU lacks the instructions of bfloat16, as far as the system tells."""
    try:
        return 'avx512_bf16' not in Path(cpuinfo).read_text(encoding='utf-8').split()
    except OSError:
        return False


def unknown_to_openblas(cpuinfo: str = '/proc/cpuinfo') -> bool:
    """Whether MXNet's own OpenBLAS, of 2020, takes the CPU for one of 2007, without AVX: AMD's
    since Zen 3. The code it has for Intel's Haswell is then the best that runs."""
    try:
        words = Path(cpuinfo).read_text(encoding='utf-8')
    except OSError:
        return False
    family = re.search(r'^cpu family\s*: (\d+)$', words, re.MULTILINE)
    return ('AuthenticAMD' in words and family is not None and int(family.group(1)) > 23
            and {'avx2', 'fma'} <= set(words.split()))


def threads_fault(environ: Mapping[str, str] = os.environ) -> str | None:
    """OMP_NUM_THREADS must be one number: OpenMP takes '4,2' as well, and MXNet aborts on it."""
    asked = environ.get('OMP_NUM_THREADS')
    if not asked or re.match(r'[1-9][0-9]*\Z', asked):
        return None
    return f'OMP_NUM_THREADS is {asked!r}: set it to a whole number, or unset it to use all cores'


def choose_threads(environ: Mapping[str, str] = os.environ,
                   available: int | None = None) -> tuple[int, str]:
    """(CPU threads for MXNet, where from): the user's number, else all cores over local ranks."""
    asked = environ.get('OMP_NUM_THREADS')
    if asked and not threads_fault(environ):
        return int(asked), 'OMP_NUM_THREADS'
    available = available or cores()
    for variable in LOCAL_RANKS:
        number = re.match(r'\d+', environ.get(variable, ''))
        if number and int(number.group()) > 1:
            ranks = int(number.group())
            return (max(1, available // ranks),
                    f'{available} cores shared by the {ranks} local ranks of {variable}')
        if number:
            break
    return available, 'all cores'
