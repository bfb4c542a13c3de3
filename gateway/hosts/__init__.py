"""Servers that run an ASGI application such as `gateway.Gateway`, one module each.

`gateway.hosts.http_host.HTTPHost`: HTTP/1.1 (`http1`, on httptools) and HTTP/2 (`http2`, on hpack) on one port, inside
the running event loop. `gateway.hosts.pyvoy`: the same by Envoy.
"""
