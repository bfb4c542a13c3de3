"""`SystemAPIUsers`, in every shape that configuration files have it."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from server.identity.errors import ConfigurationError
from server.identity.permissions import Membership, MemberType
from server.identity.users import parse_system_users
from tests.unit.identity.signing import (
    certificate_pem,
    key_data,
    private_key,
    private_pem,
    public_pem,
    rsa_certificate_pem,
)

OWNER = (Membership(MemberType.SYSTEM, ("SYSTEM_OWNER",)),)


def parse(text: str) -> Any:
    return parse_system_users(yaml.safe_load(text)["SystemAPIUsers"])


@pytest.mark.parametrize("nothing", [None, "", "  ", [], {}, "[]", "{}", "null"])
def test_nothing_configured_is_no_user(nothing: object) -> None:
    assert parse_system_users(nothing) == {}


def test_list_of_maps_as_in_the_guide(tmp_path: Path) -> None:
    key = tmp_path / "system-user-1.pub"
    key.write_bytes(public_pem(private_key("rsa")))
    users = parse(f"""
        SystemAPIUsers:
          - system-user-1:
              Path: {key}
          - system-user-2:
              KeyData: {key_data("rsa")}
    """)
    assert list(users) == ["system-user-1", "system-user-2"]
    assert all(user.memberships == OWNER and user.key.algorithm == "RS256" for user in users.values())
    assert [user.id for user in users.values()] == list(users)


def test_map_as_in_the_helm_chart(tmp_path: Path) -> None:
    key = tmp_path / "tls.crt"
    key.write_bytes(rsa_certificate_pem())
    users = parse(f"""
        SystemAPIUsers:
          login-client:
            Path: {key}
            Memberships:
              - MemberType: System
                Roles:
                  - IAM_LOGIN_CLIENT
          admin-client:
            Path: {key}
            Memberships:
              - MemberType: System
                Roles: [IAM_OWNER]
    """)
    assert users["login-client"].memberships == (Membership(MemberType.SYSTEM, ("IAM_LOGIN_CLIENT",)),)
    assert users["admin-client"].memberships == (Membership(MemberType.SYSTEM, ("IAM_OWNER",)),)


def test_list_item_with_several_users() -> None:
    users = parse_system_users([{"a": {"KeyData": key_data("ec")}, "b": {"KeyData": key_data("ec")}}])
    assert list(users) == ["a", "b"]


@pytest.mark.parametrize("wrap", [lambda entry: entry, lambda entry: [entry]], ids=["map", "list"])
def test_json_text_as_an_environment_variable_has_it(wrap: Any) -> None:
    entry = {
        "systemuser": {
            "keyData": key_data("rsa"),
            "memberships": [{"memberType": "System", "roles": ["SYSTEM_OWNER", "IAM_OWNER"]}],
        }
    }
    users = parse_system_users(json.dumps(wrap(entry)))
    assert users["systemuser"].memberships == (Membership(MemberType.SYSTEM, ("SYSTEM_OWNER", "IAM_OWNER")),)


def test_json_text_inside_of_a_map() -> None:
    entry = {"KeyData": key_data("rsa"), "Memberships": '[{"MemberType": "System", "Roles": "IAM_OWNER"}]'}
    for users in (parse_system_users({"a": entry}), parse_system_users({"a": json.dumps(entry)})):
        assert users["a"].memberships == (Membership(MemberType.SYSTEM, ("IAM_OWNER",)),)


@pytest.mark.parametrize(
    "case", [str.lower, str.upper, str.title, lambda key: key], ids=["lower", "UPPER", "Title", "as is"]
)
def test_keys_are_read_in_any_case(case: Any) -> None:
    membership = {case("MemberType"): case("iam"), case("AggregateID"): "7", case("Roles"): ["IAM_OWNER"]}
    users = parse_system_users([{"Admin": {case("KeyData"): key_data("ec"), case("Memberships"): [membership]}}])
    assert users["Admin"].memberships == (Membership(MemberType.IAM, ("IAM_OWNER",), "7"),)


def test_memberships_as_in_the_guide() -> None:
    users = parse(f"""
        SystemAPIUsers:
          - superuser:
              KeyData: {key_data("rsa")}
              Memberships:
                - MemberType: System
                  Roles:
                    - "SYSTEM_OWNER"
                    - "IAM_OWNER"
                    - "ORG_OWNER"
                - MemberType: IAM
                  Roles: "IAM_OWNER"
                  AggregateID: "123456789012345678"
                - MemberType: Organization
                  Roles: "ORG_OWNER"
                  AggregateID: "123456789012345678"
    """)
    assert users["superuser"].memberships == (
        Membership(MemberType.SYSTEM, ("SYSTEM_OWNER", "IAM_OWNER", "ORG_OWNER")),
        Membership(MemberType.IAM, ("IAM_OWNER",), "123456789012345678"),
        Membership(MemberType.ORGANIZATION, ("ORG_OWNER",), "123456789012345678"),
    )


@pytest.mark.parametrize(
    ("roles", "read"),
    [
        ("IAM_OWNER", ("IAM_OWNER",)),
        ("SYSTEM_OWNER, IAM_OWNER", ("SYSTEM_OWNER", "IAM_OWNER")),
        (["IAM_OWNER"], ("IAM_OWNER",)),
        ([], ()),
        ("", ()),
        (None, ()),
    ],
)
def test_roles_are_a_list_or_one_text(roles: object, read: tuple[str, ...]) -> None:
    entry = {"KeyData": key_data("ec"), "Memberships": [{"MemberType": "System", "Roles": roles}]}
    assert parse_system_users({"a": entry})["a"].memberships == (Membership(MemberType.SYSTEM, read),)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("System", MemberType.SYSTEM),
        ("organization", MemberType.ORGANIZATION),
        (5, MemberType.SYSTEM),
        (4, MemberType.IAM),
    ],
)
def test_member_type_is_a_name_in_any_case_or_its_number(written: object, read: MemberType) -> None:
    entry = {"KeyData": key_data("ec"), "Memberships": {"MemberType": written, "AggregateID": 12, "Roles": ["X"]}}
    assert parse_system_users({"a": entry})["a"].memberships == (Membership(read, ("X",), "12"),)


@pytest.mark.parametrize("empty", [None, [], {}, ""])
def test_without_memberships_a_user_is_system_owner(empty: object) -> None:
    assert parse_system_users({"a": {"KeyData": key_data("ec"), "Memberships": empty}})["a"].memberships == OWNER


def test_ids_that_yaml_reads_as_numbers_stay_as_written() -> None:
    users = parse(f"""
        SystemAPIUsers:
          - 12345:
              KeyData: {key_data("ec")}
              Memberships: [{{MemberType: IAM, AggregateID: 123456789012345678, Roles: IAM_OWNER}}]
    """)
    assert users["12345"].memberships[0].aggregate_id == "123456789012345678"


def test_file_is_taken_where_both_are_given(tmp_path: Path) -> None:
    key = tmp_path / "key.pub"
    key.write_bytes(public_pem(private_key("ed25519")))
    assert parse_system_users({"a": {"Path": str(key), "KeyData": key_data("rsa")}})["a"].key.algorithm == "EdDSA"


def test_key_data_may_be_broken_into_lines() -> None:
    broken = base64.encodebytes(public_pem(private_key("rsa"))).decode()
    assert parse_system_users({"a": {"KeyData": broken}})["a"].key.algorithm == "RS256"


@pytest.mark.parametrize(
    ("pem", "algorithm"),
    [
        (lambda: public_pem(private_key("rsa")), "RS256"),
        (lambda: public_pem(private_key("ec")), "ES256"),
        (lambda: public_pem(private_key("ed25519")), "EdDSA"),
        (rsa_certificate_pem, "RS256"),
        (lambda: certificate_pem(private_key("ed25519")), "EdDSA"),
    ],
    ids=["RSA", "P-256", "Ed25519", "RSA certificate", "Ed25519 certificate"],
)
def test_each_kind_of_key_has_its_one_algorithm(pem: Any, algorithm: str) -> None:
    users = parse_system_users({"a": {"KeyData": base64.b64encode(pem()).decode()}})
    assert users["a"].key.algorithm == algorithm


def test_instance_membership_without_an_instance_warns() -> None:
    with structlog.testing.capture_logs() as lines:
        users = parse_system_users([{"a": {"KeyData": key_data("ec"), "Memberships": [{"MemberType": "IAM"}]}}])
    assert users["a"].memberships == (Membership(MemberType.IAM, ()),)
    assert [(line["log_level"], line["setting"]) for line in lines] == [("warning", "SystemAPIUsers.a.Memberships[0]")]


GOOD = {"KeyData": "…"}


@pytest.mark.parametrize(
    ("value", "where", "says"),
    [
        (7, "SystemAPIUsers", "a list of users"),
        ("{", "SystemAPIUsers", "no JSON"),
        ('"admin"', "SystemAPIUsers", "a list of users"),
        (["admin"], "SystemAPIUsers[0]", "id"),
        ([{}], "SystemAPIUsers[0]", "id"),
        ({True: {}}, "SystemAPIUsers", "no user id"),
        ({"": {}}, "SystemAPIUsers", "no user id"),
        ({"a": None}, "SystemAPIUsers.a", "Path, KeyData"),
        ({"a": []}, "SystemAPIUsers.a", "Path, KeyData"),
        ({"a": {}}, "SystemAPIUsers.a", "there is no key"),
        ({"a": {"Path": "", "KeyData": ""}}, "SystemAPIUsers.a", "there is no key"),
        ({"a": {"Path": ["x"]}}, "SystemAPIUsers.a.Path", "path of a PEM file"),
        ({"a": {"Path": "/nowhere/key.pub"}}, "SystemAPIUsers.a.Path", "/nowhere/key.pub: No such file"),
        ({"a": {"Path": "x\0y"}}, "SystemAPIUsers.a.Path", "no path"),
        ({"a": {"KeyData": 7}}, "SystemAPIUsers.a.KeyData", "base64"),
        ({"a": {"KeyData": "-----BEGIN PUBLIC KEY-----"}}, "SystemAPIUsers.a.KeyData", "base64 -w0"),
        ({"a": {"KeyData": "AAAA"}}, "SystemAPIUsers.a.KeyData", "BEGIN PUBLIC KEY"),
        ({"a": GOOD | {"Membership": []}}, "SystemAPIUsers.a.Membership", "no such setting"),
        ({"a": {"Path": "x", "path": "x"}}, "SystemAPIUsers.a.path", "twice"),
        ([{"a": "KEY"}, {"a": "KEY"}], "SystemAPIUsers.a", "two users"),
        ({"a": {"KeyData": "KEY", "Memberships": 7}}, "SystemAPIUsers.a.Memberships", "a list of memberships"),
        ({"a": {"KeyData": "KEY", "Memberships": ["System"]}}, "SystemAPIUsers.a.Memberships[0]", "MemberType"),
        ({"a": {"KeyData": "KEY", "Memberships": [{}]}}, "SystemAPIUsers.a.Memberships[0].MemberType", "System, IAM"),
        (
            {"a": {"KeyData": "KEY", "Memberships": [{"MemberType": "Project"}]}},
            "SystemAPIUsers.a.Memberships[0].MemberType",
            "System, IAM",
        ),
        (
            {"a": {"KeyData": "KEY", "Memberships": [{"MemberType": True}]}},
            "SystemAPIUsers.a.Memberships[0].MemberType",
            "System, IAM",
        ),
        (
            {"a": {"KeyData": "KEY", "Memberships": [{"MemberType": "IAM", "AggregateID": ["1"]}]}},
            "SystemAPIUsers.a.Memberships[0].AggregateID",
            "in quotes",
        ),
        (
            {"a": {"KeyData": "KEY", "Memberships": [{"MemberType": "IAM", "AggregateID": "1", "Roles": [7]}]}},
            "SystemAPIUsers.a.Memberships[0].Roles",
            "a list of roles",
        ),
    ],
)
def test_a_mistake_is_named_by_its_path_with_the_fix(value: Any, where: str, says: str) -> None:
    def with_key(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: with_key(item) for key, item in part.items()}
        if isinstance(part, list):
            return [with_key(item) for item in part]
        return key_data("ec") if part == "KEY" else part

    if isinstance(value, list) and len(value) == 2:
        value = [{"a": {"KeyData": key_data("ec")}}, {"a": {"KeyData": key_data("ec")}}]
    with pytest.raises(ConfigurationError) as caught:
        parse_system_users(with_key(value))
    assert caught.value.where == where
    assert str(caught.value).startswith(f"{where}: ")
    assert says in str(caught.value)


def test_a_private_key_is_refused_and_not_shown() -> None:
    data = base64.b64encode(private_pem(private_key("rsa"))).decode()
    with pytest.raises(ConfigurationError, match=r"^SystemAPIUsers\.a\.KeyData: this is a private key") as caught:
        parse_system_users({"a": {"KeyData": data}})
    assert data[40:80] not in str(caught.value)
