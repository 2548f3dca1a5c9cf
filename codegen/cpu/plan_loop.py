"""The native loop that runs a plan; compiled like a kernel (`runner.py` reads this file as source text).

Every thread runs this function over the same code, with its own table of argument words:

    kernel(head, thread, threads)        head: H_ words; code: rows of SIZE words (see plan_codes.py)

Serial work belongs to thread 0. Barriers are instructions, placed by `codegen/schedule.py` where one thread may need
what another has done. All jumps that depend on data are taken by all threads alike: the barrier before the read makes
the value final, the one after keeps it from being overwritten while somebody has still to read it.

Numbers below the normal range count as zero while a plan runs, as under XLA and TensorFlow: moments of weights whose
gradients have vanished decay into that range, where arithmetic is many times slower.
"""

# ruff: noqa: F403, F405
from graphkeras.codegen.cpu.native import *
from graphkeras.codegen.cpu.plan_codes import *
from graphkeras.codegen.cpu.support import *

SPINS = 4000  # pauses before the core is offered to others


def kernel(head, thread, threads):
    code = int_arg(head, H_CODE)
    words = load_i64(int_arg(head, H_WORDS) + 8 * thread)
    barrier = int_arg(head, H_BARRIER)
    status = int_arg(head, H_STATUS)
    steps = int_arg(head, H_STEPS)
    profile = int_arg(head, H_PROFILE)
    clock = int_arg(head, H_CLOCK)
    mode = flush_subnormals()
    step = 0
    pc = 0
    started = 0
    failed = 0
    while True:
        at = code + 8 * SIZE * pc
        op = load_i64(at)
        a = load_i64(at + 8)
        b = load_i64(at + 16)
        c = load_i64(at + 24)
        d = load_i64(at + 32)
        here = pc
        pc += 1
        if profile != 0 and thread == 0:
            started = nanoseconds(clock)
        if op == CALL:  # a: function, b: first argument word, c: extent, d: chunk
            if thread == 0:
                lo = 0
                while lo < c:
                    call_kernel(a, words + 8 * b, lo, min(lo + d, c))
                    lo += d
        elif op == PARALLEL:  # the same, cut at chunks; next: whether a thread takes its chunks in one call
            chunks = (c + d - 1) // d
            lo = chunks * thread // threads * d
            stop = min(chunks * (thread + 1) // threads * d, c)
            if load_i64(at + 40) != 0:
                d = c
            while lo < stop:
                call_kernel(a, words + 8 * b, lo, min(lo + d, stop))
                lo += d
        elif op == COPY:  # a, b: words with target and source address, c: bytes
            if thread == 0:
                copy_bytes(load_i64(words + 8 * a), load_i64(words + 8 * b), c)
        elif op == MASTER:  # the other threads go on at a
            if thread != 0:
                pc = a
        elif op == ENTER:  # a: counter word, b: trips, c: first row after the loop, d: patches, next: their number
            store_i64(words + 8 * a, b)
            if b <= 0:
                pc = c
            for k in range(load_i64(at + 40)):  # a patch: word, word of the base address, start, stride
                patch = d + 32 * k
                moved = load_i64(words + 8 * load_i64(patch + 8)) + load_i64(patch + 16)
                store_i64(words + 8 * load_i64(patch), moved)
        elif op == NEXT:  # a: counter word, b: first instruction of the body, d and next: patches
            left = load_i64(words + 8 * a) - 1
            store_i64(words + 8 * a, left)
            if left > 0:
                pc = b
                for k in range(load_i64(at + 40)):
                    patch = d + 32 * k
                    word = words + 8 * load_i64(patch)
                    store_i64(word, load_i64(word) + load_i64(patch + 24))
        elif op == JUMP:
            pc = a
        elif op == JUMP_IF_ZERO:  # a: word with the address of a bool, b: target
            if load_u8(load_i64(words + 8 * a)) == 0:
                pc = b
        elif op == SWITCH:  # a: word with the address of an int32, b: targets, c: their number
            which = min(max(load_i32(load_i64(words + 8 * a)), 0), c - 1)
            pc = load_i64(b + 8 * which)
        else:  # BARRIER, END
            if threads > 1:
                turn = load_acquire(barrier + 64)
                if fetch_add(barrier, 1) == threads - 1:
                    store_release(barrier, 0)
                    store_release(barrier + 64, turn + 1)
                else:
                    spins = 0
                    while load_acquire(barrier + 64) == turn:
                        spins += 1
                        if spins < SPINS:
                            pause()
                        else:
                            yield_core()
            if op == END:  # after a BARRIER: all threads decide by the status that they saw between the two
                step += 1
                if step >= steps or failed != 0:
                    restore_float_mode(mode)
                    return
                pc = 0
            else:
                failed = load_i64(status)
        if profile != 0 and thread == 0:
            slot = profile + 8 * here
            store_i64(slot, load_i64(slot) + nanoseconds(clock) - started)
