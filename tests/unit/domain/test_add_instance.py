from collections.abc import Mapping
from typing import Any

import email_validator
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.commands import AddInstance
from server.domain.errors import InvalidCommand

LEAST: dict[str, Any] = {"instance_name": "Acme", "owner_email": {"email": "a@acme.example"}}


def parse(**fields: object) -> AddInstance:
    return AddInstance.parse(LEAST | fields, external_domain="localhost")


def violations(fields: Mapping[str, object]) -> dict[str, str]:
    with pytest.raises(InvalidCommand) as refused:
        AddInstance.parse(fields, external_domain="localhost")
    found = {violation.field: violation.description for violation in refused.value.violations}
    assert len(found) == len(refused.value.violations)
    return found


def nested(path: str, value: object) -> dict[str, Any]:
    """Return the least request with the field at `path` (owner_profile.first_name) set to `value`."""
    outer, _, inner = path.partition(".")
    return LEAST | {outer: {**LEAST.get(outer, {}), inner: value} if inner else value}


TEXTS = [
    ("instance_name", "instanceName"),
    ("first_org_name", "firstOrgName"),
    ("owner_user_name", "ownerUserName"),
    ("owner_profile.first_name", "ownerProfile.firstName"),
    ("owner_profile.last_name", "ownerProfile.lastName"),
]
STRINGS = [
    *TEXTS,
    ("custom_domain", "customDomain"),
    ("owner_email.email", "ownerEmail.email"),
    ("owner_profile.preferred_language", "ownerProfile.preferredLanguage"),
    ("owner_password.password", "ownerPassword.password"),
    ("default_language", "defaultLanguage"),
]


def test_what_is_left_empty_holds_what_stands_for_it() -> None:
    command = parse()
    assert command.first_org_name == "Acme"
    assert command.owner_user_name == "a@acme.example"
    assert command.default_language == "en"
    assert command.custom_domain == ""
    assert command.owner_password.password.get_secret_value() == ""


def test_what_is_given_is_kept() -> None:
    command = parse(first_org_name="Org", owner_user_name="root", default_language="de", custom_domain="Acme.Example")
    assert command.first_org_name == "Org"
    assert command.owner_user_name == "root"
    assert command.default_language == "de"
    assert command.custom_domain == "acme.example"


def test_all_violations_come_at_once_by_their_json_names() -> None:
    assert set(
        violations(
            {
                "instance_name": "",
                "first_org_name": "x" * 201,
                "custom_domain": "127.0.0.1",
                "owner_user_name": "a\tb",
                "owner_email": {"email": ""},
                "owner_profile": {"first_name": "\x00", "last_name": "x" * 201, "preferred_language": "x"},
                "owner_password": {"password": "short"},
                "default_language": "nonsense-language",
            }
        )
    ) == {name for _, name in STRINGS}


def test_an_empty_request_lacks_the_name_and_the_owners_email() -> None:
    assert set(violations({})) == {"instanceName", "ownerEmail"}


@pytest.mark.parametrize(("path", "name"), TEXTS)
def test_lengths_count_characters(path: str, name: str) -> None:
    AddInstance.parse(nested(path, "\U0001f600" * 200), external_domain="localhost")
    assert "at most 200" in violations(nested(path, "\U0001f600" * 201))[name]


@pytest.mark.parametrize("path", [path for path, _ in TEXTS])
def test_names_are_stored_without_white_space_around_them(path: str) -> None:
    command = AddInstance.parse(nested(path, " \u2003A  B \u00a0"), external_domain="localhost")
    outer, _, inner = path.partition(".")
    value = getattr(command, outer)
    assert (getattr(value, inner) if inner else value) == "A  B"


@pytest.mark.parametrize(("path", "name"), STRINGS)
@pytest.mark.parametrize("character", ["\x00", "\t", "\n", "\x1f", "\x7f", "\x85"])
def test_control_characters_are_refused_in_every_string(path: str, name: str, character: str) -> None:
    assert "control character" in violations(nested(path, f"en{character}"))[name]


@pytest.mark.parametrize(("path", "name"), STRINGS)
def test_lone_surrogates_are_refused_in_every_string(path: str, name: str) -> None:
    assert "surrogate" in violations(nested(path, "en\ud800"))[name]


@pytest.mark.parametrize(("path", "name"), STRINGS)
def test_values_of_another_type_are_refused(path: str, name: str) -> None:
    assert "string" in violations(nested(path, 5))[name]


@pytest.mark.parametrize("value", [" ", "\u2003"])
def test_a_name_of_white_space_is_no_name(value: str) -> None:
    assert "required" in violations(nested("instance_name", value))["instanceName"]


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("root@localhost", "root@localhost"),
        ("a@x.test", "a@x.test"),
        ("a@printer.local", "a@printer.local"),
        ("a@b.localhost", "a@b.localhost"),
        ("a@b.invalid", "a@b.invalid"),
        ("a@b.x", "a@b.x"),
        (" a+b@acme.example ", "a+b@acme.example"),
        ("A.B@Acme.EXAMPLE", "A.B@acme.example"),
        ("jörg@bücher.example", "jörg@bücher.example"),
        ("a@xn--bcher-kva.example", "a@bücher.example"),
        ("jo\u0308rg@b.example", "jörg@b.example"),
        (f"{'a' * 188}@acme.example"[-200:], f"{'a' * 187}@acme.example"),
    ],
)
def test_an_email_need_not_lead_anywhere(address: str, kept: str) -> None:
    assert parse(owner_email={"email": address}).owner_email.email == kept


@pytest.mark.parametrize(
    "address",
    [
        "a",
        "@",
        "a@",
        "@b",
        "a@@b",
        "a@b.",
        "a@.b",
        "a@b..c",
        "a b@c.d",
        "a@[127.0.0.1]",
        '"a b"@c.d',
        "A <a@b.c>",
        "a@b_c.d",
        "a@b,c",
    ],
)
def test_what_is_no_email_is_refused(address: str) -> None:
    assert "e-mail" in violations(nested("owner_email.email", address))["ownerEmail.email"]


def test_an_email_of_more_than_200_characters_is_refused() -> None:
    assert "at most 200" in violations(nested("owner_email.email", f"{'a' * 188}@acme.example"))["ownerEmail.email"]


def test_the_rules_of_other_users_of_email_validator_stay() -> None:
    parse(owner_email={"email": "root@localhost"})
    assert "localhost" in email_validator.SPECIAL_USE_DOMAIN_NAMES


@pytest.mark.parametrize(
    ("tag", "kept"), [("en", "en"), ("de-ch", "de-CH"), ("zh-hant", "zh-Hant"), ("es-419", "es-419"), ("gsw", "gsw")]
)
def test_languages_are_kept_in_their_canonical_form(tag: str, kept: str) -> None:
    assert parse(default_language=tag).default_language == kept
    assert parse(owner_profile={"preferred_language": tag}).owner_profile.preferred_language == kept


@pytest.mark.parametrize(
    "tag", ["xx", "english", "en_US", "en-", "-en", "e", "en--US", "de DE", "ümlaut", "jp", "en-000"]
)
def test_what_is_no_language_is_refused(tag: str) -> None:
    assert "BCP 47" in violations(nested("default_language", tag))["defaultLanguage"]


def test_a_language_of_more_than_ten_characters_is_refused() -> None:
    assert "at most 10" in violations(nested("default_language", "zh-Hant-HKG"))["defaultLanguage"]


@pytest.mark.parametrize("password", ["Passw0rd!", "Aa1!aaaa", "Aa1 aaaa", "Aa1üaaaa", "", "Aa1!" + "x" * 196])
def test_a_password_that_follows_the_policy_is_accepted(password: str) -> None:
    assert parse(owner_password={"password": password}).owner_password.password.get_secret_value() == password


@pytest.mark.parametrize(
    ("password", "lacks"),
    [
        ("Aa1!aaa", ["8 characters"]),
        ("passw0rd!", ["upper-case"]),
        ("PASSW0RD!", ["lower-case"]),
        ("Password!", ["digit"]),
        ("Passw0rds", ["symbol"]),
        ("a", ["8 characters", "upper-case", "digit", "symbol"]),
        ("Aa1!" + "x" * 197, ["at most 200"]),
    ],
)
def test_a_refused_password_is_told_all_that_it_lacks(password: str, lacks: list[str]) -> None:
    description = violations(nested("owner_password.password", password))["ownerPassword.password"]
    assert all(part in description for part in lacks)


def test_a_password_never_shows() -> None:
    assert "Passw0rd!" not in repr(parse(owner_password={"password": "Passw0rd!"}))
    with pytest.raises(InvalidCommand) as refused:
        parse(owner_password={"password": "weakling"}, instance_name="")
    assert "weakling" not in str(refused.value)
    assert refused.value.__context__ is None


def test_an_unknown_field_is_refused() -> None:
    assert set(violations(LEAST | {"surprise": 1})) == {"surprise"}


ANY_TEXT = st.one_of(
    st.text(max_size=12), st.text(st.characters(), max_size=210), st.sampled_from(["en", "a@b.c", "A"])
)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "instance_name": ANY_TEXT,
            "first_org_name": ANY_TEXT,
            "custom_domain": ANY_TEXT | st.from_regex(r"[a-z0-9.-]{1,30}", fullmatch=True),
            "owner_user_name": ANY_TEXT,
            "owner_email": st.fixed_dictionaries(
                {},
                optional={
                    "email": ANY_TEXT | st.emails() | ANY_TEXT.map("a@{}.b".format),
                    "is_email_verified": st.booleans(),
                },
            ),
            "owner_profile": st.fixed_dictionaries(
                {}, optional={"first_name": ANY_TEXT, "last_name": ANY_TEXT, "preferred_language": ANY_TEXT}
            ),
            "owner_password": st.fixed_dictionaries(
                {}, optional={"password": ANY_TEXT, "password_change_required": st.booleans()}
            ),
            "default_language": ANY_TEXT | st.from_regex(r"[a-zA-Z]{2,3}(-[a-zA-Z0-9]{1,8})*", fullmatch=True),
        },
    )
)
def test_any_request_is_accepted_as_text_that_can_be_stored_or_refused_by_its_fields(fields: dict[str, Any]) -> None:
    try:
        command = AddInstance.parse(fields, external_domain="localhost")
    except InvalidCommand:
        assert all(field and description for field, description in violations(fields).items())
    else:
        command.model_dump_json().encode()
        assert command.instance_name
        assert command.owner_email.email
