"""The native loop in which a worker thread waits for runs; compiled like a kernel (`runner.py` reads it as text).

    kernel(box, what, number)     what: POST, the caller hands the worker a run; SERVE, worker `number` makes its runs

Waking a thread that sleeps takes 20 us, and hundreds where its core has gone to sleep as well, so a worker looks for
its next run for a while before it sleeps, and lets others have the core meanwhile. Not where the last wait was longer
than that: it would only keep a core busy. The box's first word counts runs in twos; its lowest bit says that the worker
sleeps on a lock, which POST leaves to its caller to open (B_ASLEEP).
"""

# ruff: noqa: F403, F405
from graphkeras.codegen.cpu.native import *
from graphkeras.codegen.cpu.plan_codes import *

SPINS = 2000  # pauses before the core is offered to others
PATIENCE = 500000  # nanoseconds without a run after which the worker sleeps


def kernel(box, what, number):
    if what == POST:
        store_i64(box + 8 * B_ASLEEP, fetch_add(box, 2) % 2)
        return
    clock = load_i64(box + 8 * B_CLOCK)
    seen = load_i64(box + 8 * B_SEEN)
    idle = load_i64(box + 8 * B_IDLE)  # since when
    patience = PATIENCE if nanoseconds(clock) - idle < PATIENCE else 0
    fetch_add(box, -1)  # awake
    spins = 0
    while True:
        posted = load_acquire(box) // 2
        if posted != seen:
            seen = posted
            call_kernel(load_i64(box + 8 * B_LOOP), load_i64(box + 8 * B_HEAD), number, load_i64(box + 8 * B_THREADS))
            idle = nanoseconds(clock)
            spins = 0
        elif spins < SPINS and patience > 0:
            spins += 1
            pause()
        else:
            if nanoseconds(clock) - idle >= patience:
                if fetch_add(box, 1) // 2 == seen:  # asleep, and nothing came before that
                    store_i64(box + 8 * B_SEEN, seen)
                    store_i64(box + 8 * B_IDLE, idle)
                    return
                fetch_add(box, -1)
            yield_core()
