"""Passwords hashed on all cores and nothing else, by the library and with the parameters of ours.

`python -m … HASHES` prints the seconds that it took, and those of the processor.
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher, Type

if __name__ == "__main__":
    hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
    # argon2-cffi lets go of the interpreter while it hashes, so threads do.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        began, used = time.perf_counter(), time.process_time()
        for _ in pool.map(hasher.hash, ["Password1!"] * int(sys.argv[1])):
            pass
        print(time.perf_counter() - began, time.process_time() - used)
