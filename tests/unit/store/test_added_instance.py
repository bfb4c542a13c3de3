from typing import Any

from server.domain.instances import Instances


async def test_details_of_an_added_instance_are_those_of_the_read_that_follows(
    instances: Instances, acme: dict[str, Any]
) -> None:
    added = await instances.add(acme | {"custom_domain": "acme.example"}, creator="alice")
    read = await instances.by_domain("acme.example")
    assert read is not None
    assert read == await instances.by_id(added.instance_id)
    assert read.details == added.details
    assert [(domain.domain.partition("-")[0], domain.primary, domain.generated) for domain in read.domains] == [
        ("acme.example", True, False),
        ("acme", False, True),
    ]


async def test_an_unknown_host_or_id_is_no_instance(instances: Instances) -> None:
    assert await instances.by_domain("nobody.example") is None
    assert await instances.by_id("1") is None
    assert await instances.by_id("not a number") is None
