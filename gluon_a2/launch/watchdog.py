"""The watchdog process: watches one rank, its parent, for the hub (see `protocol`)."""
from __future__ import annotations

import os
import signal
import socket
from typing import Any

from ..machine.network import LOOPBACK
from .hub import Hub
from .protocol import ENDS, GRACE, LINGER, NOT_FOR_WATCHDOGS, Channel, Clock, say, state, wait

DONE = {'end': 'done'}


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one whose parent has not asked for its end has, too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's
        return False
    return state(pid) in ('Z', 'X')


class Watchdog:
    """The watch over one rank: `line` leads to it, and `given` is its first message."""

    def __init__(self, line: Channel, given: dict) -> None:
        self.rank, self.timeout, self.pid = given['rank'], given['timeout'], given['pid']
        self.launcher = given['launcher']  # its process, where it runs here
        self.host, self.line = socket.gethostname(), line
        self.name = f'rank {self.rank} on {self.host}'
        self.clock = Clock(self.timeout / 5)
        self.hub = Hub(given, self.clock) if given['listener'] is not None else None
        self.link: Any = None  # the Channel to the hub, once there is one
        self.at, self.beats = {'step': None, 'phase': None, 'waiting': False}, 0
        # when the rank was heard, made progress, and was sent a pulse; when the hub was sent a
        # report, and was heard
        self.heard = self.moved = self.pulsed = self.reported = self.link_heard = 0.0
        self.address: dict | None = None  # the hub's, until it is reached or given up
        self.joined = False
        self.join_by = self.next_try = 0.0
        self.ended: dict | None = None  # the rank's last word
        self.kill_at: float | None = None
        self.finished = False

    def run(self) -> None:
        """Watch until the rank has ended, and as the hub until all have."""
        tick = min(0.1, self.timeout / 20)
        while not (self.finished and (self.hub is None or self.hub.finished)):
            channels = [channel for channel in (self.line, self.link)
                        if channel and not channel.closed]
            wait(channels + (self.hub.channels() if self.hub else []), tick)
            self.turn()

    def turn(self) -> None:
        """One round: hear both sides, tell them what is new, end the rank where that is due."""
        self.clock.tick()
        if not self.finished:
            self.watch()
            self.talk()
            self.leave()
        if self.hub:
            self.hub.turn()

    # -- the rank

    def gone(self) -> bool:
        """The kernel gives this process another parent the moment its rank ends."""
        return os.getppid() != self.pid

    def kill(self) -> None:
        """End the rank."""
        if not self.gone():  # so the number still means the rank
            os.kill(self.pid, signal.SIGKILL)

    def watch(self) -> None:
        """Take in what the rank says, and notice its end."""
        now, gone = self.clock.now, self.gone()
        while not self.line.closed:  # all of it: the last word may stand behind many pulses
            messages = self.line.receive()
            for message in messages:
                self.hear(message)
            if not messages:
                break
        if self.ended is None and (gone or self.line.closed):
            # the kernel kills the ranks of a launcher that is killed
            orphan = self.launcher is not None and is_gone(self.launcher)
            self.end({'end': 'orphan' if orphan else 'dead'})
        if self.ended is None and now - self.pulsed >= self.timeout / 20:
            self.pulsed = now
            self.line.send()

    def hear(self, message: dict) -> None:
        """One message of the rank."""
        now = self.clock.now
        if self.ended:
            return
        if 'join' in message:
            self.address, self.join_by = message['join'], now + self.timeout
        elif 'end' in message:
            self.end(message)
        else:
            self.heard = now
            if message['beats'] != self.beats:
                self.beats, self.moved = message['beats'], now
            self.at = {key: message[key] for key in self.at}
            if message['orphan']:
                self.kill()
                self.end({'end': 'orphan'})

    def end(self, how: dict) -> None:
        """The rank's last word, its own or said for it."""
        self.ended = how
        self.line.close()
        if self.link:
            self.report()
            return
        self.finished = True  # nobody but its own watchdog knows of this rank yet
        if self.hub:
            self.hub.finished = True
        if how['end'] not in ('done', 'failed'):  # who fails says so itself
            say(ENDS[how['end']].format(name=self.name, where='before it met the others'))

    # -- the hub

    def report(self, **hello: object) -> None:
        """Say how the rank is, after `hello` where this is the first report."""
        now = self.reported = self.clock.now
        self.link.send({**hello, **self.at, 'age': now - self.heard, 'idle': now - self.moved,
                        **(self.ended or {})})

    def talk(self) -> None:
        """Say how the rank is, and hear what the hub has to say."""
        if self.link is None:
            if self.address and not self.finished:
                self.connect(self.address)
            return
        now = self.clock.now
        for message in self.link.receive() if not self.link.closed else ():
            self.link_heard = now
            if 'joined' in message:
                self.joined = True
                if self.ended is None:
                    self.line.send(message)
            elif 'verdict' in message:  # a rank that ends by itself may finish that
                self.kill_at = now + (GRACE if self.ended else 0)
            elif 'bye' in message:
                self.finished = True
        if now - self.reported >= min(1, self.timeout / 10) and self.ended is None:
            self.report()
        if self.link.closed and not self.joined and self.ended is None:
            self.link.close()
            self.link = None  # strangers may be crowding the door
            self.refuse('it hangs up', 'install the same gluon_a2 on every host')
            return
        lost = self.link.closed or now - self.link_heard > self.timeout
        if lost and self.kill_at is None and not self.finished:
            if self.ended != DONE:
                host = self.address['host'] if self.address else LOOPBACK
                where = ': ' if host == LOOPBACK else (
                    f' at {host}: it, its machine or the network is gone; ')
                say(f'{self.name} has lost the watchdog of rank 0{where}ending this rank too')
            self.kill_at = now

    def connect(self, address: dict) -> None:
        """Try once to reach the hub; the rank hears when it is too late for another try."""
        now = self.clock.now
        if now < self.next_try:
            return
        try:
            sock = socket.create_connection((address['host'], address['port']),
                                            min(1, self.timeout / 4))
        except OSError as error:
            self.refuse(str(error), 'open the network or the firewall, or name the network with '
                                    '`network_interface`')
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.link, self.link_heard = Channel(sock), now
        self.moved = now  # to have come here is progress
        self.link.write(address['token'].encode())
        self.report(rank=self.rank, host=self.host, name=self.name)

    def refuse(self, why: str, way_out: str) -> None:
        """Try again soon, or tell the rank that it is too late for that."""
        now, address = self.clock.now, self.address
        self.next_try = now + min(0.2, self.timeout / 20)
        if address and now > self.join_by:
            self.address = None
            self.line.send({'refused': (f'{self.name} cannot reach rank 0 at {address["host"]}:'
                                        f'{address["port"]} ({why}): {way_out}')})

    def leave(self) -> None:
        """After a verdict: kill the rank, and go once it is gone (or cannot even be killed)."""
        now, gone = self.clock.now, self.gone()
        if self.kill_at is None or now < self.kill_at and not gone:
            return
        if self.ended != DONE:
            self.kill()
        if gone or self.ended == DONE or now > self.kill_at + LINGER:
            self.finished = True
            self.link.close()


def main() -> None:
    """Watch the rank at the other end of stdin, which first says what to watch."""
    for number in NOT_FOR_WATCHDOGS:
        signal.signal(number, signal.SIG_IGN)
    line = Channel(socket.socket(fileno=0))
    while not line.closed:
        wait([line], 60)
        given, *early = line.receive() or [{}]
        if given:
            watchdog = Watchdog(line, given)
            for message in early:
                watchdog.hear(message)
            watchdog.run()
            return


if __name__ == '__main__':
    main()
