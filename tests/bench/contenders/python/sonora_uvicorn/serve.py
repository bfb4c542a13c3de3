"""Bare sonora on uvicorn."""

from sonora.asgi import grpcASGI
from zitadel.admin_pb2_grpc import add_AdminServiceServicer_to_server

from tests.bench.contenders.python import on_uvicorn
from tests.bench.contenders.python.reply import arguments
from tests.bench.contenders.python.servicer import Servicer

if __name__ == "__main__":
    port, reply = arguments()
    application = grpcASGI()
    add_AdminServiceServicer_to_server(Servicer(reply), application)
    on_uvicorn.run(application, port)
