"""The choice of threads follows what runs took."""

from graphkeras.codegen.cpu.adapt import LAST_RETRY, LAST_RETRY_FAR, TRIAL, ThreadChoice


def run(choice: ThreadChoice, seconds: dict[int, float], runs: int) -> list[int]:
    picked = []
    for _ in range(runs):
        threads = choice.pick()
        choice.learn(threads, 10, seconds[threads] * 10)
        picked.append(threads)
    return picked


def test_quiet_machine_uses_all_threads() -> None:
    picked = run(ThreadChoice(2), {1: 0.2, 2: 0.1}, 100)
    assert picked.count(2) > 90


def test_busy_machine_uses_one_thread() -> None:
    picked = run(ThreadChoice(2), {1: 0.2, 2: 0.9}, 100)
    assert picked.count(1) > 85


def test_a_change_is_noticed() -> None:
    choice = ThreadChoice(4)
    assert run(choice, {1: 0.2, 4: 0.9}, 40)[-1] == 1
    assert run(choice, {1: 0.2, 4: 0.05}, 4 * LAST_RETRY_FAR)[-2:].count(4)


def test_short_runs_teach_nothing() -> None:
    choice = ThreadChoice(2)
    for _ in range(50):
        choice.learn(2, 1, 1e-5)
    assert choice.pick() == 2


def test_cores_that_are_two_at_times_and_one_at_times_are_both_used() -> None:
    """Two threads take 0.16 in good times and 0.28 in bad ones, one thread 0.25 always."""
    choice, picked = ThreadChoice(2), []
    for number in range(400):
        threads = choice.pick()
        bad = number // 3 % 2 == 1
        choice.learn(threads, 10, {1: 0.25, 2: 0.28 if bad else 0.16}[threads] * 10)
        picked.append(threads)
    assert picked.count(2) > 300


def test_a_close_loser_is_tried_often_and_a_far_one_seldom() -> None:
    close = run(ThreadChoice(2), {1: 0.20, 2: 0.22}, 400)
    far = run(ThreadChoice(2), {1: 0.20, 2: 0.80}, 400)
    assert 400 // (LAST_RETRY + TRIAL) * TRIAL - 2 * TRIAL <= close.count(2) <= 100
    assert far.count(2) < 20


def test_a_trial_takes_a_few_steps_of_a_long_run() -> None:
    choice = ThreadChoice(2)
    while (threads := choice.pick()) == 2:
        assert choice.share(threads, 100) == 100
        choice.learn(threads, 100, 100 * 1e-3)
    assert choice.share(threads, 100) == 4  # the winner would take 4 ms
    assert choice.share(threads, 3) == 3
    slow = ThreadChoice(2)
    run(slow, {1: 0.2, 2: 0.1}, 5)
    assert slow.pick() == 1 and slow.share(1, 10) == 1
