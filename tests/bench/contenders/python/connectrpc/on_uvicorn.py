"""connectrpc on uvicorn."""

from tests.bench.contenders.python import on_uvicorn
from tests.bench.contenders.python.connectrpc.application import make
from tests.bench.contenders.python.reply import arguments

if __name__ == "__main__":
    port, message = arguments()
    on_uvicorn.run(make(message.SerializeToString()), port)
