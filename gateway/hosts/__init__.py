"""Servers that run an ASGI application such as `gateway.Gateway`, one module each.

`gateway.hosts.uvicorn.UvicornHost`: HTTP/1.1 on uvicorn and httptools.
"""
