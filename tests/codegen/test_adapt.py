"""The choice of threads follows what runs took."""

from graphkeras.codegen.cpu.adapt import LAST_RETRY, ThreadChoice


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
    assert run(choice, {1: 0.2, 4: 0.05}, 4 * LAST_RETRY)[-2:].count(4)


def test_short_runs_teach_nothing() -> None:
    choice = ThreadChoice(2)
    for _ in range(50):
        choice.learn(2, 1, 1e-5)
    assert choice.pick() == 2
