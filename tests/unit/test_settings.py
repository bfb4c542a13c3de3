import base64
import os
from datetime import timedelta
from pathlib import Path

import pytest

from server.settings import Loaded, Pem, SettingsError, is_loopback, load, split_address


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("INSTANCED_"):
            monkeypatch.delenv(name)


def from_file(tmp_path: Path, content: str, **flags: object) -> Loaded:
    path = tmp_path / "config.yaml"
    path.write_text(content)
    return load(path, flags)


def test_without_anything_the_defaults_hold() -> None:
    settings = load(None, {}).settings
    assert (settings.grpc.address, settings.http.address) == ("127.0.0.1:50051", "127.0.0.1:8080")
    assert (settings.data, settings.external_domain, settings.external_port) == (Path("data"), "localhost", None)
    assert settings.json_.unknown_fields == "refuse"
    assert settings.tls.read() is None


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = "HTTP: {Address: '127.0.0.1:1', MaxHeaderBytes: 2048}\nGRPC: {Address: '127.0.0.1:1'}\nData: file\n"
    monkeypatch.setenv("INSTANCED_HTTP_ADDRESS", "127.0.0.1:2")
    monkeypatch.setenv("INSTANCED_GRPC_ADDRESS", "127.0.0.1:2")
    settings = from_file(tmp_path, content, grpc={"address": "127.0.0.1:3"}).settings
    assert settings.grpc.address == "127.0.0.1:3"
    assert settings.http.address == "127.0.0.1:2"
    assert settings.http.max_header_bytes == 2048
    assert settings.data == Path("file")


@pytest.mark.parametrize("key", ["ExternalDomain", "externaldomain", "EXTERNALDOMAIN"])
def test_keys_are_read_in_any_case(tmp_path: Path, key: str) -> None:
    assert from_file(tmp_path, f"{key}: Tenants.Example").settings.external_domain == "tenants.example"


def test_keys_that_mean_nothing_here_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTANCED_TYPO", "1")
    loaded = from_file(tmp_path, "Database: {postgres: {Host: db}}\nMachine: {}\nExternalDomain: a.example\n")
    assert loaded.ignored == ("Database", "Machine", "INSTANCED_TYPO")


def test_a_file_in_use_at_zitadel_is_accepted_as_it_stands(tmp_path: Path) -> None:
    loaded = from_file(
        tmp_path,
        """
Log:
  Level: 'info'
  Formatter: {Format: text}
Port: 8080
ExternalPort: 443
ExternalDomain: zitadel.example.com
ExternalSecure: true
TLS:
  Enabled: false
  KeyPath:
  CertPath:
  Key:
  Cert:
SystemAPIUsers:
  - superuser:
      KeyData: LS0t
      Memberships:
        - MemberType: System
          Roles: SYSTEM_OWNER
Database:
  postgres: {Host: localhost}
FirstInstance: {Org: {Name: X}}
""",
    )
    assert loaded.ignored == ("Port", "Database", "FirstInstance")
    assert loaded.settings.external_secure is True
    assert loaded.settings.system_api_users[0]["superuser"]["Memberships"][0]["Roles"] == "SYSTEM_OWNER"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("HTTP: {Address: '8080'}", "http.address is wrong: not HOST:PORT"),
        ("HTTP: {Address: '::1:80'}", "http.address is wrong: not HOST:PORT"),
        ("HTTP: {Address: 'a:70000'}", "http.address is wrong: not HOST:PORT"),
        ("HTTP: {Adress: 'a:1'}", "http.adress is wrong: Extra inputs are not permitted"),
        ("HTTP: {MaxHeaderBytes: lots}", "http.maxheaderbytes is wrong"),
        ("HTTP: {ReceiveTimeout: soon}", "http.receivetimeout is wrong: not a duration such as 30s"),
        ("HTTP: {ReceiveTimeout: 0s}", "http.receivetimeout is wrong"),
        ("JSON: {UnknownFields: maybe}", "json.unknownfields is wrong"),
        ("ExternalDomain: 'http://x'", "externaldomain is wrong: not a host name"),
        (f"ExternalDomain: {'x' * 137}", "externaldomain is wrong: longer than 136 characters"),
        ("ExternalPort: 0", "externalport is wrong"),
        ("TLS: {Enabled: true}", "tls is wrong: TLS.Enabled needs a certificate"),
        ("TLS: {CertPath: /x}", "tls is wrong: TLS needs both a certificate"),
        ("TLS: {ClientCAPath: /x}", "tls is wrong: client certificates"),
        ("- a list", "must be a map of settings"),
        ("a: b: c", "is not YAML"),
        ("\x00", "is not YAML"),
    ],
)
def test_a_wrong_setting_is_named_with_the_fix(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        from_file(tmp_path, content)


def test_all_wrong_settings_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        from_file(tmp_path, "HTTP: {Address: x}\nGRPC: {Address: y}")
    assert str(raised.value).count("not HOST:PORT") == 2


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read the configuration .*missing.yaml: No such file"):
        load(tmp_path / "missing.yaml", {})


def test_system_users_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTANCED_SYSTEMAPIUSERS", '[{"Admin": {"Path": "key.pub"}}]')
    assert load(None, {}).settings.system_api_users == '[{"Admin": {"Path": "key.pub"}}]'


@pytest.mark.parametrize(("text", "seconds"), [("1m30s", 90), ("250ms", 0.25), ("2", None), (5, 5)])
def test_durations_are_written_as_in_go(tmp_path: Path, text: str | int, seconds: float | None) -> None:
    content = f"ShutdownGrace: {text!r}"
    if seconds is None:
        with pytest.raises(SettingsError, match="shutdowngrace"):
            from_file(tmp_path, content)
    else:
        assert from_file(tmp_path, content).settings.shutdown_grace == timedelta(seconds=seconds)


def test_a_certificate_comes_from_a_file_or_as_base64(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_bytes(b"certificate")
    key = base64.b64encode(b"key").decode()
    loaded = from_file(tmp_path, f"TLS: {{CertPath: {tmp_path}/cert.pem, Key: {key}}}")
    assert loaded.settings.tls.read() == Pem(b"certificate", b"key")
    missing = from_file(tmp_path, f"TLS: {{CertPath: {tmp_path}/none.pem, Key: {key}}}")
    with pytest.raises(SettingsError, match=r"TLS.CertPath: cannot read .*none.pem"):
        missing.settings.tls.read()
    broken = from_file(tmp_path, f"TLS: {{CertPath: {tmp_path}/cert.pem, Key: '%'}}")
    with pytest.raises(SettingsError, match=r"TLS.Key: not base64"):
        broken.settings.tls.read()


@pytest.mark.parametrize(
    "origins", ["https://a.example, https://b.example", '["https://a.example","https://b.example"]']
)
def test_origins_are_a_list_or_one_string(monkeypatch: pytest.MonkeyPatch, origins: str) -> None:
    monkeypatch.setenv("INSTANCED_HTTP_CORS_ORIGINS", origins)
    assert load(None, {}).settings.http.cors.allowed == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("[::ffff:127.0.0.1]:1", True),
        ("[::ffff:192.0.2.1]:1", False),
        ("0.0.0.0:1", False),
        ("localhost:1", False),
    ],
)
def test_loopback_is_told_by_the_address_alone(address: str, loopback: bool) -> None:
    assert is_loopback(address) == loopback


def test_an_address_is_split_without_brackets() -> None:
    assert split_address("[::1]:80") == ("::1", 80)
