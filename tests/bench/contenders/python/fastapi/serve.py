"""FastAPI on uvicorn, its reply a pydantic model of the same JSON."""

from fastapi import FastAPI
from google.protobuf.json_format import MessageToJson
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from tests.bench.contenders.python import on_uvicorn
from tests.bench.contenders.python.reply import arguments


class Model(BaseModel):
    """A message in proto3 JSON, whose names are in lower camel case."""

    model_config = ConfigDict(alias_generator=to_camel)


class ObjectDetails(Model):
    """`zitadel.v1.ObjectDetails`; JSON has 64-bit integers and times as strings."""

    sequence: str
    creation_date: str
    change_date: str
    resource_owner: str


class Domain(Model):
    """`zitadel.instance.v1.Domain`."""

    details: ObjectDetails
    domain: str
    primary: bool = False
    generated: bool = False


class Instance(Model):
    """`zitadel.instance.v1.InstanceDetail`."""

    id: str
    details: ObjectDetails
    state: str
    name: str
    version: str
    domains: list[Domain]


class Reply(Model):
    """`zitadel.admin.v1.GetMyInstanceResponse`."""

    instance: Instance


if __name__ == "__main__":
    port, message = arguments()
    reply = Reply.model_validate_json(MessageToJson(message))

    async def get_my_instance() -> Reply:
        """Return the reply; FastAPI encodes it at each call."""
        return reply

    application = FastAPI()
    application.add_api_route("/admin/v1/instances/me", get_my_instance)
    on_uvicorn.run(application, port)
