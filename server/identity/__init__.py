"""Identity: who calls, what their roles permit, and which instance they ask for.

`users` reads the configuration, `tokens` verifies what a caller presents, `requirements` reads what an RPC asks of its
caller, and `authorizer` brings the three together. `local_user` and `minting` serve a server that nobody has configured
yet. Imports neither grpc nor a database driver: `server/interceptors/authentication.py` is in front of the servicers.
"""
