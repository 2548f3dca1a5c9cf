"""Numbers that the encoder of plans (codegen/schedule.py) and the native loop (plan_loop.py) agree on."""

# words of the head that a run passes to the loop
H_CODE, H_WORDS, H_BARRIER, H_STATUS, H_STEPS, H_PROFILE, H_CLOCK = range(7)
HEAD = 7

# operations; a row of code is the operation and its operands
END, CALL, PARALLEL, COPY, BARRIER, ENTER, NEXT, JUMP, JUMP_IF_ZERO, SWITCH, MASTER = range(11)
SIZE = 8  # words per row

# words of a worker's box (worker_loop.py); the first has its cache line to itself
B_POSTED = 0
B_ASLEEP, B_SEEN, B_IDLE, B_CLOCK, B_LOOP, B_HEAD, B_THREADS = range(8, 15)
BOX = 16
POST, SERVE = range(2)
