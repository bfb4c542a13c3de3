"""What pyvoy imports inside of Envoy."""

from tests.bench.contenders.python.connectrpc.application import make
from tests.bench.contenders.python.reply import handed_on

application = make(handed_on())
