"""Fork processes that take and settle candidates, and kill them at random moments.

python kill_workers.py FOLDER KILLS
"""

import importlib.util
import os
import random
import signal
import sys
import time
from pathlib import Path

from seqhead.sweeps.locks import sign_of_life
from seqhead.sweeps.outcome import Outcome

spec = importlib.util.spec_from_file_location("tests", Path(__file__).with_name("test_queue.py"))
assert spec is not None and spec.loader is not None
tests = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tests)


def work(folder: Path) -> None:
    """Take and settle until nothing is left."""
    queue = tests.queue_in(folder, tests.settings_of(search=tests.MANY, trials=40))
    with sign_of_life(folder / "workers") as me:
        while True:
            taken = queue.take(me)
            if taken is not None:
                taken.report(1, 0.5, "bce", prune=True)
                time.sleep(random.uniform(0, 0.1))
                queue.settle(taken, Outcome(tests.Scored(taken.number / 100)))
            elif queue.settled() == 40:
                return
            time.sleep(0.002)


def start(folder: Path) -> int:
    """Fork one."""
    child = os.fork()
    if child == 0:
        random.seed(os.getpid())
        work(folder)
        os._exit(0)
    return child


def main(folder: Path, kills: int) -> None:
    """Kill, replace, and in the end let them finish."""
    random.seed(0)
    children = [start(folder) for _ in range(4)]
    for _ in range(kills):
        time.sleep(random.uniform(0, 0.04))
        victim = children.pop(random.randrange(len(children)))
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        children.append(start(folder))
    for child in children:
        _, status = os.waitpid(child, 0)
        assert status == 0, status


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
