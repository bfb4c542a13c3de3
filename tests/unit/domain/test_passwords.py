import asyncio
import os
import sys

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from server.domain.passwords import Passwords


async def test_a_hash_is_argon2id_with_the_agreed_costs_and_verifies() -> None:
    passwords = Passwords()
    hashed = await passwords.hash("Passw0rd!")
    passwords.close()
    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert PasswordHasher().verify(hashed, "Passw0rd!")
    with pytest.raises(VerifyMismatchError):
        PasswordHasher().verify(hashed, "passw0rd!")


async def test_the_event_loop_stays_free_while_passwords_are_hashed() -> None:
    passwords = Passwords()
    hashes = [asyncio.create_task(passwords.hash("Passw0rd!")) for _ in range(20)]
    await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    # Two or three may be there by now where the machine is busy, but the loop has waited for none.
    assert not all(task.done() for task in hashes)
    assert len({await task for task in hashes}) == 20
    passwords.close()


async def test_a_caller_who_went_away_is_not_hashed_for(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str | bytes] = []

    class Counting(PasswordHasher):
        def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
            hashed.append(password)
            return super().hash(password, salt=salt)

    monkeypatch.setattr("server.domain.passwords.PasswordHasher", Counting)
    passwords = Passwords()
    threads = passwords._pool._max_workers
    hashes = [asyncio.create_task(passwords.hash("Passw0rd!")) for _ in range(20 * threads)]
    await asyncio.sleep(0)
    for task in hashes:
        task.cancel()
    await passwords.hash("An0ther!")
    passwords.close()
    # Those that were begun by then are finished.
    assert hashed.count("Passw0rd!") <= 5 * threads
    assert hashed[-1] == "An0ther!"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
async def test_threads_that_hash_stand_back_and_the_process_does_not() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    passwords = Passwords()
    hashing = passwords._pool.submit(os.getpriority, os.PRIO_PROCESS, 0).result()
    passwords.close()
    assert hashing == min(before + 5, 19)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
