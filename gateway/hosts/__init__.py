"""Servers that run an ASGI application such as `gateway.Gateway`, one module each.

`gateway.hosts.uvicorn.UvicornHost`: HTTP/1.1 on uvicorn and httptools. With `gateway.hosts.one_port.HTTP2Pipes` native
gRPC, by a grpc.aio server with the interceptor `gateway.hosts.piped_calls.PipedCalls`, is on the same port.
"""
