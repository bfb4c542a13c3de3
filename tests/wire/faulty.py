"""Runs the command that it is given with an AddInstance that fails as the instance's name says: for tests alone."""

import sys
from collections.abc import Mapping

import server.cli
from server.domain.errors import StoreUnavailable
from server.instances import Added, Instances


async def add(instances: Instances, fields: Mapping[str, object], *, creator: str) -> Added:
    """Stand in for `Instances.add`."""
    if fields["instance_name"] == "full":
        raise StoreUnavailable("database or disk is full")
    raise ZeroDivisionError("the secret of the exception")


if __name__ == "__main__":
    Instances.add = add  # type: ignore[method-assign, assignment]
    del sys.argv[0]
    server.cli.main()
