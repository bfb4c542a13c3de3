"""The server that runs an ASGI application such as `gateway.Gateway`: `gateway.hosts.http_host.HTTPHost`.

HTTP/1.1 (`http1`, on httptools) and HTTP/2 (`http2`, on hpack) on one port, inside the running event loop.
"""
