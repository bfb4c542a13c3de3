"""gRPC-Web and JSON for any grpc.aio servicers."""
