"""Servers that run an ASGI application such as `gateway.Gateway`, one module each.

`gateway.hosts.http1.HTTP1Host`: HTTP/1.1 on httptools. With `gateway.hosts.one_port.HTTP2Pipes` native
gRPC, by a grpc.aio server with the interceptor `gateway.hosts.piped_calls.PipedCalls`, is on the same port.
"""
