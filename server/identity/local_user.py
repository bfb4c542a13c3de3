"""The server's own user, for a server that nobody has configured yet and that only this machine can reach."""

import os
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from server.identity.errors import ConfigurationError
from server.identity.keys import read_signing_key
from server.identity.permissions import Membership, MemberType
from server.identity.users import SETTING, SystemUser
from server.settings import is_loopback

LOCAL_USER_ID = "instanced"

_KEY_FILE = "local-user.key"
_MEMBERSHIPS = (Membership(MemberType.SYSTEM, ("SYSTEM_OWNER", "IAM_OWNER")),)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, repr=False)
class LocalUser:
    """The user, and the PEM of the private key that signs its tokens."""

    user: SystemUser
    private_key_pem: bytes


def may_have_local_user(*, configured: bool, setting_present: bool, addresses: Iterable[str]) -> bool:
    """Tell whether the server makes a user of its own: when none is configured, and no other machine can reach it.

    `configured` says that there are system users, `setting_present` that `SystemAPIUsers` is there, be it empty;
    `addresses` are the listeners' `HOST:PORT`. A name, `localhost` included, counts as reachable: what it leads to is
    not ours to decide.

    Raises:
        ConfigurationError: none is configured, and others can reach the server.
    """
    if configured:
        return False
    reachable = [address for address in addresses if not is_loopback(address)]
    if not reachable:
        return True
    found = "is there but names no user" if setting_present else "is not set"
    raise ConfigurationError(
        SETTING,
        f"it {found}, and other machines may reach {' and '.join(reachable)}. Without a system user the server makes "
        "one of its own that may do everything, and that only on 127.0.0.1 or [::1]: "
        f"configure a user in {SETTING}, or listen there alone",
    )


def load_or_create_local_user(data: Path) -> LocalUser:
    """Return the user whose key is in the data folder; the first time, make the key.

    Raises:
        ConfigurationError: the key file cannot be read, written or used.
    """
    path = data / _KEY_FILE
    try:
        if not path.exists():
            _create(path)
        return load_local_user(data)
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot keep the server's own key: {error.strerror}") from error


def load_local_user(data: Path) -> LocalUser:
    """Return the user whose key is in the data folder, without making one.

    Raises:
        ConfigurationError: there is no key yet, or it cannot be used.
    """
    path = data / _KEY_FILE
    try:
        pem = path.read_bytes()
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise ConfigurationError(
            str(path),
            f"there is no key of the server's own user; start the server once with this data folder and no {SETTING}, "
            "or name a configured user and its key (--config, --user, --key)",
        ) from None
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot read the server's own key: {error.strerror}") from error
    try:
        key = read_signing_key(pem, str(path))
    except ConfigurationError as error:
        raise ConfigurationError(
            str(path), f"{error.problem}. Delete the file to have a new key made; tokens of the old one then end"
        ) from error
    if mode & _OTHERS:
        _log.warning("the key of the server's own user was open to others; it no longer is", path=str(path))
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    return LocalUser(SystemUser(LOCAL_USER_ID, key.verifying_key, _MEMBERSHIPS), pem)


def _create(path: Path) -> None:
    """Write a new key so that at any moment the file is absent or whole, whoever else writes one at the same time."""
    # P-256 takes no time to make, unlike RSA, and verifies faster than Ed25519.
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            # Unlike a rename, a link leaves the key of a quicker process in place.
            path.hardlink_to(draft)
        except FileExistsError:
            return
        except OSError:
            # A file system without links.
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
