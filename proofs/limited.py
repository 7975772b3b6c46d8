"""Processes that work through numbers under limits of memory and time, and begin anew after each
number that ends one."""
import collections
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import warnings
from pathlib import Path

MARGIN, SECONDS, CLOCK_SECONDS = 2 ** 29, 1, 10


def silence():
    """MXNet prints what it does not like, from C++ and from Python."""
    warnings.simplefilter('ignore')
    void = os.open(os.devnull, os.O_WRONLY)
    for standard in (1, 2):
        os.dup2(void, standard)


def _work(pipe, act, numbers):
    """Send the answer to each number; whatever ends the process ends it at the first that was not
    sent."""
    silence()
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MARGIN,) * 2)
    for number in numbers:
        # neither signal is handled: it ends the process
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.setitimer(signal.ITIMER_REAL, CLOCK_SECONDS)
        answer = act(number)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        pipe.send(answer)


class Worker:
    """A process that works through numbers, begun anew after each one that ends it."""

    def __init__(self, act, numbers):
        self._act, self.numbers = act, collections.deque(numbers)
        self._start()

    def _start(self):
        context = multiprocessing.get_context('fork')
        self.pipe, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_work, args=(theirs, self._act, list(self.numbers)),
                                        daemon=True)
        self._process.start()
        theirs.close()

    def receive(self):
        """(number, answer) of the next; 'hang' or 'crash' where it has ended the process."""
        number = self.numbers.popleft()
        try:
            return number, self.pipe.recv()
        except EOFError:
            self._process.join()
        late = -self._process.exitcode in (signal.SIGPROF, signal.SIGALRM)
        if self.numbers:
            self._start()
        return number, 'hang' if late else 'crash'


def results(act, count, jobs):
    """Yield (number, answer of `act`) of all numbers below `count`, from `jobs` processes."""
    workers = {worker.pipe: worker for worker in (
        Worker(act, range(job, count, jobs)) for job in range(min(jobs, count)))}
    while workers:
        for pipe in multiprocessing.connection.wait(list(workers)):
            worker = workers.pop(pipe)
            yield worker.receive()
            if worker.numbers:
                workers[worker.pipe] = worker
