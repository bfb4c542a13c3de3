"""What granian's worker imports."""

from sonora.asgi import grpcASGI
from zitadel.admin_pb2 import GetMyInstanceResponse
from zitadel.admin_pb2_grpc import add_AdminServiceServicer_to_server

from tests.bench.contenders.python.reply import handed_on
from tests.bench.contenders.python.servicer import Servicer

application = grpcASGI()
add_AdminServiceServicer_to_server(Servicer(GetMyInstanceResponse.FromString(handed_on())), application)
