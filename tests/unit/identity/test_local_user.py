"""The server's own user."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.identity.errors import ConfigurationError
from server.identity.local_user import load_local_user, load_or_create_local_user, may_have_local_user
from server.identity.minting import mint
from server.identity.origins import Origins
from server.identity.permissions import reach
from server.identity.tokens import TokenVerifier
from tests.unit.identity.signing import EXTERNAL_URL, private_key, private_pem


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_key_is_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    made = load_or_create_local_user(tmp_path)
    (file,) = tmp_path.iterdir()
    assert mode(file) == 0o600
    again = load_or_create_local_user(tmp_path)
    assert (again.user, again.private_key_pem) == (made.user, made.private_key_pem)
    assert load_local_user(tmp_path).user == made.user
    assert "PRIVATE" not in repr(made)


def test_it_may_do_everything_with_its_own_token(tmp_path: Path) -> None:
    local = load_or_create_local_user(tmp_path)
    text = mint(local.user.id, local.private_key_pem, EXTERNAL_URL, 3600)
    assert TokenVerifier({local.user.id: local.user}, Origins(EXTERNAL_URL)).verify(text).user == local.user
    for permission in ("system.instance.write", "iam.read"):
        assert reach(local.user.memberships, permission).everywhere


def test_those_who_start_at_once_share_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        users = list(pool.map(load_or_create_local_user, [tmp_path] * 32))
    assert len({user.private_key_pem for user in users}) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_file_system_without_links_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    load_or_create_local_user(tmp_path)
    (file,) = tmp_path.iterdir()
    assert mode(file) == 0o600


def test_key_that_others_may_read_is_closed(tmp_path: Path) -> None:
    load_or_create_local_user(tmp_path)
    (file,) = tmp_path.iterdir()
    file.chmod(0o644)
    load_or_create_local_user(tmp_path)
    assert mode(file) == 0o600


@pytest.mark.parametrize("content", [b"", b"x", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_broken_key_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    load_or_create_local_user(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="Delete the file") as caught:
        load_or_create_local_user(tmp_path)
    assert caught.value.where == str(file)


def test_key_of_another_kind_still_works(tmp_path: Path) -> None:
    load_or_create_local_user(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(private_pem(private_key("rsa")))
    assert load_or_create_local_user(tmp_path).user.key.algorithm == "RS256"


def test_without_a_key_loading_alone_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="start the server once"):
        load_local_user(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing.*: cannot keep"):
        load_or_create_local_user(tmp_path / "missing")


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1:50051", "127.0.0.1:8080"], ["[::1]:0"], ["127.1.2.3:1", "[::1]:1"], []]
)
@pytest.mark.parametrize("present", [False, True])
def test_only_this_machine_can_reach_it(addresses: list[str], present: bool) -> None:
    assert may_have_local_user(configured=False, setting_present=present, addresses=addresses)
    assert not may_have_local_user(configured=True, setting_present=True, addresses=addresses)


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:8080", "localhost:8080", "example.com:1", "[::ffff:192.0.2.1]:1"],
)
@pytest.mark.parametrize(("present", "says"), [(False, "it is not set"), (True, "it is there but names no user")])
def test_where_others_can_reach_it_a_user_must_be_configured(address: str, present: bool, says: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^SystemAPIUsers: {says}") as caught:
        may_have_local_user(configured=False, setting_present=present, addresses=["127.0.0.1:50051", address])
    assert address in str(caught.value)
    assert "127.0.0.1:50051" not in str(caught.value)
    assert not may_have_local_user(configured=True, setting_present=True, addresses=[address])
