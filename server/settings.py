"""Every setting, from a flag, an environment variable or the YAML file, in that order.

The names that ZITADEL's configuration has are the same here, so that a file in use there is accepted as it stands. Keys
are read in any case; environment variables are `INSTANCED_` and the path joined by `_`: `INSTANCED_HTTP_ADDRESS`.
"""

import base64
import binascii
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import durationpy
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as PydanticSettingsError

PREFIX = "INSTANCED_"

# A domain has 200 characters at most; a generated one has a slug of up to 56, a suffix of 7 and a dot in front.
_LONGEST_EXTERNAL_DOMAIN = 200 - 56 - 7 - 1


def _spelling(name: str) -> str:
    """Name a setting as the file does in lower case: external_domain is ExternalDomain there."""
    return name.replace("_", "")


class SettingsError(Exception):
    """A setting is wrong; the message names it and the fix."""


def _duration(value: object) -> object:
    """Read `1h30m`, `30s` or `250ms` (Go's notation, as ZITADEL's files have it) besides seconds as a number."""
    if isinstance(value, str):
        try:
            return durationpy.from_str(value)
        except durationpy.DurationError as error:
            raise ValueError("not a duration such as 30s, 5m or 1h") from error
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration), Field(gt=timedelta(0))]


def _address(value: str) -> str:
    """Accept `HOST:PORT` with IPv6 hosts in brackets; port 0 takes a free one."""
    host, separator, port = value.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not (
        separator
        and host
        and port.isascii()
        and port.isdigit()
        and int(port) < 1 << 16
        and (":" not in host or bracketed)
    ):
        raise ValueError("not HOST:PORT, for example 127.0.0.1:8080 or [::1]:8080 (port 0 takes a free one)")
    return value


def split_address(address: str) -> tuple[str, int]:
    """Split `HOST:PORT` into the host without brackets and the port."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(address: str) -> bool:
    """Tell whether only this machine can reach `HOST:PORT`: 127.0.0.0/8 or ::1. A name never counts."""
    try:
        host = ipaddress.ip_address(split_address(address)[0])
    except ValueError:
        return False
    # An IPv4 address in the form of IPv6 listens for IPv4. Python looks at that from 3.13 on by itself.
    return (getattr(host, "ipv4_mapped", None) or host).is_loopback


class _Section(BaseModel):
    """A group of settings of our own; a key that it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=_spelling)


class _SharedSection(BaseModel):
    """A group that ZITADEL's files have too, with keys that mean nothing here."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=_spelling)


class GRPC(_Section):
    """The native gRPC listener."""

    address: str = "127.0.0.1:50051"
    max_message_bytes: int = Field(default=4 << 20, ge=1 << 10, le=1 << 30)
    max_metadata_bytes: int = Field(default=32 << 10, ge=1 << 10, le=1 << 20)
    # One more than so many at once is RESOURCE_EXHAUSTED.
    max_concurrent_calls: int = Field(default=10_000, ge=1)
    # Pings on idle connections, so that a peer that vanished is noticed.
    keepalive_time: Duration = timedelta(minutes=2)
    keepalive_timeout: Duration = timedelta(seconds=20)

    _check_address = field_validator("address")(_address)


class CORS(_Section):
    """Which web pages may call."""

    # `*`, or origins such as https://console.example.com
    origins: tuple[str, ...] | str = ("*",)

    @property
    def allowed(self) -> tuple[str, ...]:
        """The origins; in one string they stand with commas between them."""
        return (
            tuple(part.strip() for part in self.origins.split(",")) if isinstance(self.origins, str) else self.origins
        )


class HTTP(_Section):
    """The HTTP listener: gRPC-Web and JSON."""

    address: str = "127.0.0.1:8080"
    max_message_bytes: int = Field(default=4 << 20, ge=1 << 10, le=1 << 30)
    max_header_bytes: int = Field(default=32 << 10, ge=1 << 10, le=1 << 20)
    max_url_bytes: int = Field(default=16 << 10, ge=256, le=1 << 20)
    max_concurrent_calls: int = Field(default=10_000, ge=1)
    # For a request to arrive whole, its header and then its body.
    receive_timeout: Duration = timedelta(seconds=30)
    cors: CORS = CORS()

    _check_address = field_validator("address")(_address)


class JSON(_Section):
    """How JSON requests are read."""

    unknown_fields: Literal["refuse", "ignore"] = "refuse"


class Formatter(_SharedSection):
    """How log lines look; `auto` is text on a terminal and JSON elsewhere."""

    format: Literal["auto", "text", "json"] = "auto"


class Log(_SharedSection):
    """What is logged, on stderr."""

    level: Literal["debug", "info", "warn", "warning", "error"] = "info"
    formatter: Formatter = Formatter()


@dataclass(frozen=True, slots=True)
class Pem:
    """What TLS needs, in PEM: the certificate chain, its key, and whose certificates callers must show, if any."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None = None


class TLS(_SharedSection):
    """Certificate and key of both listeners: paths to PEM files, or the base64 of the PEM itself."""

    enabled: bool | None = None
    cert_path: Path | None = None
    key_path: Path | None = None
    # With authorities here, a caller must show a certificate of one of them. ZITADEL has no such setting.
    client_ca_path: Path | None = None
    cert: str | None = None
    key: str | None = None
    client_ca: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.enabled is not False and bool(self.cert_path or self.cert) != bool(self.key_path or self.key):
            raise ValueError("TLS needs both a certificate (CertPath or Cert) and its key (KeyPath or Key)")
        if self.enabled and not (self.cert_path or self.cert):
            raise ValueError("TLS.Enabled needs a certificate (CertPath or Cert) and its key (KeyPath or Key)")
        if (self.client_ca_path or self.client_ca) and not self.configured:
            raise ValueError("client certificates (ClientCAPath or ClientCA) need TLS, with a certificate and its key")
        return self

    @property
    def configured(self) -> bool:
        """Tell whether the listeners speak TLS, without reading anything."""
        return self.enabled is not False and bool(self.cert_path or self.cert)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that `read` reads."""
        return tuple(path for path in (self.cert_path, self.key_path, self.client_ca_path) if path is not None)

    def read(self) -> Pem | None:
        """Return what the files and values hold, or None where the listeners speak plain text.

        Raises:
            SettingsError: a file cannot be read, or a value is not base64.

        """
        if not self.configured:
            return None
        certificate, key = _pem("TLS.Cert", self.cert_path, self.cert), _pem("TLS.Key", self.key_path, self.key)
        if not (self.client_ca_path or self.client_ca):
            return Pem(certificate, key)
        return Pem(certificate, key, _pem("TLS.ClientCA", self.client_ca_path, self.client_ca))


def _pem(name: str, path: Path | None, encoded: str | None) -> bytes:
    if path is not None:
        try:
            return path.read_bytes()
        except OSError as error:
            raise SettingsError(f"{name}Path: cannot read {path}: {error.strerror}") from error
    try:
        return base64.b64decode("".join((encoded or "").split()), validate=True)
    except binascii.Error as error:
        raise SettingsError(f"{name}: not base64 of a PEM") from error


def _lower_keys(value: object) -> object:
    if isinstance(value, dict):
        return {str(key).lower(): _lower_keys(item) for key, item in value.items()}
    return value


def _read_file(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the file's content with lower-case keys, and the top-level keys as they are written."""
    try:
        content = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"the configuration {path} is not YAML: {error}") from error
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise SettingsError(f"the configuration {path} must be a map of settings, such as ExternalDomain: localhost")
    written = [str(key) for key in content]
    lowered: dict[str, Any] = {}
    for key, value in zip(written, content.values(), strict=True):
        name = key.lower()
        # An empty section, `HTTP:` and nothing below it, leaves the defaults.
        if value is not None:
            lowered[name] = value if name == "systemapiusers" else _lower_keys(value)
    return lowered, written


class Settings(BaseSettings):
    """All of it, checked; `load` makes one."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_prefix_target="all",
        env_nested_delimiter="_",
        alias_generator=_spelling,
        extra="ignore",
        frozen=True,
    )

    data: Path = Path("data")
    # How many processes serve; more than one share the ports and the database.
    workers: int = Field(default=1, ge=1, le=256)
    grpc: GRPC = GRPC()
    http: HTTP = HTTP()
    json_: JSON = JSON()
    log: Log = Log()
    tls: TLS = TLS()
    # How long running calls may take to finish once the server is told to stop.
    shutdown_grace: Duration = timedelta(seconds=10)

    # The URL that clients reach the server at is the audience of their tokens, and generated domains end in its host.
    # Port and scheme follow from the HTTP listener where they are not given.
    external_domain: str = "localhost"
    external_port: int | None = Field(default=None, ge=1, le=65535)
    external_secure: bool | None = None

    # In any of the shapes that server/identity/users.py reads; None where no user is configured.
    system_api_users: Any = None

    @field_validator("external_domain")
    @classmethod
    def _lower(cls, value: str) -> str:
        if not value or not set(value.lower()) <= set("abcdefghijklmnopqrstuvwxyz0123456789-."):
            raise ValueError("not a host name, such as localhost or instances.example.com, without scheme and port")
        if len(value) > _LONGEST_EXTERNAL_DOMAIN:
            raise ValueError(
                f"longer than {_LONGEST_EXTERNAL_DOMAIN} characters, which leaves no room for names below it"
            )
        return value.lower()


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and what the operator should hear of before anything starts."""

    settings: Settings
    # Top-level keys of the file and variables of the environment that mean nothing here.
    ignored: tuple[str, ...]


def load(config: Path | None, flags: Mapping[str, object]) -> Loaded:
    """Read the settings; `flags` holds those of the command line, in the shape of the file.

    Raises:
        SettingsError: the file cannot be read, or a setting is wrong; all wrong ones are named.

    """
    content, written = _read_file(config) if config else ({}, [])

    class Sourced(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=content)

    try:
        settings = Sourced(**flags)  # type: ignore[arg-type]  # checked by the model itself
    except (ValidationError, PydanticSettingsError) as error:
        raise SettingsError(_explain(error)) from error
    known = {_spelling(name) for name in Settings.model_fields}
    ignored = [key for key in written if key.lower() not in known]
    ignored += sorted(name for name in os.environ if name.startswith(PREFIX) and _section(name) not in known)
    return Loaded(settings, tuple(ignored))


def _section(variable: str) -> str:
    return variable.removeprefix(PREFIX).lower().partition("_")[0]


def _explain(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return f"an environment variable cannot be read: {error}"
    lines = []
    for problem in error.errors(include_url=False, include_context=False):
        name = ".".join(str(part) for part in problem["loc"])
        given = problem["input"]
        shown = f" (given: {given})" if isinstance(given, str | int | float) else ""
        lines.append(f"the setting {name} is wrong: {problem['msg'].removeprefix('Value error, ')}{shown}")
    return "\n".join(lines)
