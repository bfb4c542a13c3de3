"""Bare sonora on granian, one worker, uvloop; granian writes no access log unless asked."""

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops

from tests.bench.contenders.python.reply import hand_on

if __name__ == "__main__":
    Granian(
        "tests.bench.contenders.python.sonora_granian.application:application",
        port=hand_on(),
        interface=Interfaces.ASGINL,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
    ).serve()
