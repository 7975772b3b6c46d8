"""A Slurm of two nodes on the hosts of `cluster_hosts`, with two pretended GPUs each."""
import os
import subprocess
import time

from cluster_hosts import SHARED

PACKAGES = {'slurmctld': 'slurm-wlm', 'slurmd': 'slurm-wlm', 'munged': 'munge'}
CONF = f'''
ClusterName=proof
SlurmctldHost=node1
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
StateSaveLocation=/run/slurm/state
SlurmdSpoolDir=/run/slurm/spool
SlurmctldPidFile=/run/slurm/slurmctld.pid
SlurmdPidFile=/run/slurm/slurmd.pid
SlurmctldLogFile={SHARED}/slurmctld.log
SlurmdLogFile={SHARED}/slurmd-%h.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=10
SchedulerParameters=sched_interval=2,batch_sched_delay=1
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName=node[1-2] CPUs=2 RealMemory=1000 Gres=gpu:2
PartitionName=all Nodes=ALL Default=YES State=UP MaxTime=INFINITE
'''
GRES = 'Name=gpu File=/run/gpu[0-1]\n'
# What each node runs before its sshd starts. munged accepts no files that others could write.
NODE = f'''
mount -t tmpfs -o mode=755 tmpfs /etc/slurm
cp {SHARED}/slurm/*.conf /etc/slurm
mkdir -m 755 /run/munge
mkdir -p /run/slurm/state /run/slurm/spool
install -m 400 {SHARED}/slurm/key /run/munge/key
for gpu in 0 1; do mknod /run/gpu$gpu c 1 3; done
munged --force --key-file=/run/munge/key --log-file=/run/munge/log --pid-file=/run/munge/pid \\
    --seed-file=/run/munge/seed --socket=/run/munge/munge.socket.2
'''
PREPARE = {1: NODE + 'slurmctld\nslurmd\n', 2: NODE + 'slurmd\n'}


def prepare_machine():
    """Write what the nodes read."""
    folder = SHARED / 'slurm'
    folder.mkdir()
    (folder / 'slurm.conf').write_text(CONF)
    (folder / 'gres.conf').write_text(GRES)
    (folder / 'key').write_bytes(os.urandom(1024))


def call(host, *words):
    """What a command of Slurm prints on a host."""
    done = subprocess.run([*host.enter, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f'{" ".join(map(str, words))}: {done.stderr.strip()}')
    return done.stdout


def wait_until_up(host, seconds=30):
    """Wait until both nodes take jobs."""
    until = time.monotonic() + seconds
    while 'idle 2' not in call(host, 'sinfo', '-h', '-o', '%T %D'):
        if time.monotonic() > until:
            raise RuntimeError('Slurm does not start: ' + call(host, 'sinfo', '-N', '-l'))
        time.sleep(0.2)
