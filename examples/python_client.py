"""Adds an instance over native gRPC and reads it back.

.venv/bin/python examples/python_client.py "$(.venv/bin/instanced token)"
"""

import secrets
import sys

import grpc
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status
from zitadel.admin_pb2 import GetMyInstanceRequest
from zitadel.admin_pb2_grpc import AdminServiceStub
from zitadel.system_pb2 import AddInstanceRequest
from zitadel.system_pb2_grpc import SystemServiceStub


def main(token: str, server: str = "127.0.0.1:50051") -> int:
    """Make both calls and return the exit status."""
    domain = f"acme-{secrets.token_hex(4)}.example"
    bearer = ("authorization", f"Bearer {token}")
    with grpc.insecure_channel(server) as channel:
        try:
            added = SystemServiceStub(channel).AddInstance(
                AddInstanceRequest(
                    instance_name="Acme",
                    custom_domain=domain,
                    owner_email=AddInstanceRequest.Email(email="owner@acme.example"),
                ),
                metadata=(bearer,),
                timeout=10,
            )
            print("added", added.instance_id, "at sequence", added.details.sequence)
            # The instance that is asked for: its domain, in the header where DNS does not know it.
            asked = ("x-zitadel-instance-host", domain)
            print(AdminServiceStub(channel).GetMyInstance(GetMyInstanceRequest(), metadata=(bearer, asked), timeout=10))
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)  # which the error of a call is, too
            print(f"{error.code().name}: {error.details()}", file=sys.stderr)
            status, violations = rpc_status.from_call(error), BadRequest()
            for detail in status.details if status else ():
                print(violations if detail.Unpack(violations) else detail, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
