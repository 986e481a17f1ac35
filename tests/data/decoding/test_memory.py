from __future__ import annotations

import threading
import time

import pytest

from cifar100.data.decoding.memory import Memory


def test_no_more_than_the_total_is_reserved_at_a_time() -> None:
    memory = Memory(100)
    in_use, most = 0, 0
    lock = threading.Lock()

    def use(amount: int) -> None:
        nonlocal in_use, most
        with memory.reserved(amount):
            with lock:
                in_use += amount
                most = max(most, in_use)
            time.sleep(0.005)
            with lock:
                in_use -= amount

    threads = [threading.Thread(target=use, args=(amount,)) for amount in [30, 50, 100, 60, 40, 20, 30] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert 60 < most <= 100


def test_memory_is_returned_after_an_error() -> None:
    memory = Memory(10)
    with pytest.raises(ValueError, match="damaged"), memory.reserved(10):
        raise ValueError("damaged")
    with memory.reserved(10):
        pass
    with pytest.raises(AssertionError), memory.reserved(11):
        pass
