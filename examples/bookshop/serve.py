"""Serves the bookshop as gRPC-Web, Connect and JSON on http://127.0.0.1:8090."""

import uvicorn
from bookshop_pb2_grpc import add_BookshopServicer_to_server
from servicer import Bookshop

from gateway import Gateway

gateway = Gateway()
add_BookshopServicer_to_server(Bookshop(), gateway)

if __name__ == "__main__":
    uvicorn.run(gateway, port=8090)
