"""Constant bytes on uvicorn."""

from google.protobuf.json_format import MessageToJson

from tests.bench.contenders.python import on_uvicorn
from tests.bench.contenders.python.constant.application import constant
from tests.bench.contenders.python.reply import arguments

if __name__ == "__main__":
    port, reply = arguments()
    on_uvicorn.run(constant(MessageToJson(reply, indent=None).encode()), port)
