"""Ed25519 signatures, key files and the trust policy. Knows bytes that are signed; no archive, no manifest.

`cryptography` (the extra "sign") is imported on first use: a device that checks no signature needs none.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from edge_sdk import atomic
from edge_sdk.errors import BadBundle, BadInput, BadUsage, CantWrite, NotThere, NotTrusted
from edge_sdk.extras import need
from edge_sdk.strict_json import canonical, parse

Mode = Literal["required", "if-present", "off"]
Part = Literal["sealed", "site"]

MAX_KEY_FILE = 4096
_PREFIX = {"sealed": b"edge-sdk sealed 1\n", "site": b"edge-sdk site 1\n"}  # one part's signature never fits the other
_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
_HEX_KEY, _HEX_SIGNATURE = 64, 128


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """raw: 32 bytes. name: of the file that it came from, without .pub; "" for a key that only a signature brought."""

    raw: bytes
    name: str = ""

    @property
    def fingerprint(self) -> str:
        """The first 16 hexadecimal digits of the key's sha256: for people to read; keys are compared whole."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def save(self, path: Path) -> None:
        """A PEM file (SubjectPublicKeyInfo), as OpenSSL reads and writes it. Refuses to overwrite."""
        form, key = _serialization(), _ed25519().Ed25519PublicKey.from_public_bytes(self.raw)
        _write_new(path, key.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo), mode=None)

    @staticmethod
    def load(path: Path) -> PublicKey:
        """A PEM file, or a line of OpenSSH ("ssh-ed25519 AAAA... name"). Raises BadInput: not an Ed25519 public key."""
        data, form = _key_file(path, "public"), _serialization()
        read = form.load_ssh_public_key if data.startswith(b"ssh-") else form.load_pem_public_key
        try:
            key = read(data)
        except (ValueError, _unsupported()) as exc:
            raise _not_a_key(path, "public") from exc
        if not isinstance(key, _ed25519().Ed25519PublicKey):
            raise _not_a_key(path, "public")
        return PublicKey(raw=key.public_bytes_raw(), name=path.stem)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SigningKey:
    """seed: the 32 secret bytes. Its file is written with mode 0600, and the seed is never shown."""

    seed: bytes

    def __repr__(self) -> str:
        return f"SigningKey({self.public.fingerprint})"

    @staticmethod
    def generate() -> SigningKey:
        """A new key from the operating system's random source."""
        return SigningKey(seed=os.urandom(32))

    @staticmethod
    def needs_password(path: Path) -> bool:
        """Whether the key in the file is encrypted. Raises BadInput: can't be read."""
        return _ENCRYPTED in _key_file(path, "private")

    @staticmethod
    def load(path: Path, *, password: str | None = None) -> SigningKey:
        """A PEM file (PKCS #8). Raises BadInput: not an Ed25519 private key, no password or a wrong one."""
        data = _key_file(path, "private")
        encrypted = _ENCRYPTED in data
        if encrypted and not password:
            raise BadInput("is encrypted with a password", where=str(path), hint="Give its password")
        try:
            secret = password.encode() if encrypted and password else None
            key = _serialization().load_pem_private_key(data, secret)
        except (ValueError, TypeError, _unsupported()) as exc:  # TypeError: encrypted in OpenSSL's old way
            if encrypted:
                raise BadInput("is not opened by this password", where=str(path), hint="Give its password") from exc
            raise _not_a_key(path, "private") from exc
        if not isinstance(key, _ed25519().Ed25519PrivateKey):
            raise _not_a_key(path, "private")
        return SigningKey(seed=key.private_bytes_raw())

    def save(self, path: Path, *, password: str | None = None) -> None:
        """A PEM file (PKCS #8, as OpenSSL reads it), mode 0600, encrypted by a password. Refuses to overwrite."""
        form = _serialization()
        lock = form.BestAvailableEncryption(password.encode()) if password else form.NoEncryption()
        data = self._private().private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, lock)
        _write_new(path, data, mode=0o600)

    @property
    def public(self) -> PublicKey:
        """The key that others need to check signatures. Needs the extra "sign"."""
        return PublicKey(raw=self._private().public_key().public_bytes_raw())

    def sign(self, message: bytes, part: Part) -> bytes:
        """The content of a signature member over `message`. Needs the extra "sign"."""
        private = self._private()
        public: bytes = private.public_key().public_bytes_raw()
        signature: bytes = private.sign(_PREFIX[part] + message)
        fields = {"algorithm": "ed25519", "public_key": public.hex(), "signature": signature.hex()}
        return canonical(fields, name=f"the signature of the {part} part")

    def _private(self) -> Any:
        return _ed25519().Ed25519PrivateKey.from_private_bytes(self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPolicy:
    """Which signatures a reader requires. keys: folder with the .pub files of trusted signers.

    required: sealed part and decisions (if there are any) carry valid signatures by keys in the folder.
    if-present: no signature is fine; a wrong one is refused; one by an unknown key is refused where a folder is given,
    else recorded as "signed by unknown key". It does not notice signatures that were taken away: only `required` does.
    off: signatures are not checked, and the status says so.
    """

    mode: Mode = "if-present"
    keys: Path | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("required", "if-present", "off"):
            raise BadUsage(f"there is no trust policy {self.mode!r}", hint="Use required, if-present or off")
        if self.mode == "required" and self.keys is None:
            raise BadUsage(
                "the trust policy required needs a folder of keys",
                hint='Name the folder with the .pub files: --keys, or TrustPolicy(mode="required", keys=...) in Python',
            )

    @classmethod
    def of(cls, trust: Trust) -> TrustPolicy:
        """`trust` itself, or the policy of that name without keys."""
        return trust if isinstance(trust, TrustPolicy) else cls(mode=trust)


Trust: TypeAlias = TrustPolicy | Literal["if-present", "off"]
"""What functions take: "required" needs keys, and so a whole policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSignature:
    """signed: a signature is there. verified: it was checked and is right. trusted: the policy's folder holds its key.

    key: fingerprint; name: of the trusted key's file. words: the same as a sentence part.
    """

    signed: bool = False
    verified: bool = False
    trusted: bool = False
    key: str = ""
    name: str = ""
    words: str = "not signed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureStatus:
    """Who signed the two parts, and the policy in force when the bundle was opened. site: None without decisions."""

    policy: Mode
    keys: str
    sealed: PartSignature
    site: PartSignature | None

    @property
    def verified(self) -> bool:
        """The sealed part carries a right signature by a trusted key."""
        return self.sealed.verified and self.sealed.trusted

    @property
    def words(self) -> str:
        """One line for `explain()` and the command line."""
        site = f"; decisions: {self.site.words}" if self.site is not None else ""
        return f"trust policy {self.policy}; sealed part: {self.sealed.words}{site}"


def check_signatures(
    policy: TrustPolicy,
    *,
    sealed: tuple[bytes, bytes | None],
    site: tuple[bytes, bytes | None] | None,
    where: str,
) -> SignatureStatus:
    """Both parts, each (message, signature member or None), under `policy`.

    Raises NotTrusted: missing, wrong, by an unknown key. BadBundle: malformed. NotThere: `cryptography` is needed.
    """
    trusted: dict[bytes, PublicKey] = {}
    if policy.keys is not None and policy.mode != "off":
        signed = any(part is not None and part[1] is not None for part in (sealed, site))
        # without a signature no key is needed, nor `cryptography`, which reads them
        trusted = trusted_keys(policy.keys) if signed else {}
        _existing(policy.keys)
    return SignatureStatus(
        policy=policy.mode,
        keys=str(policy.keys or ""),
        sealed=_check_part("sealed", *sealed, policy, trusted, where),
        site=None if site is None else _check_part("site", *site, policy, trusted, where),
    )


def trusted_keys(folder: Path) -> dict[bytes, PublicKey]:
    """The keys in the folder's .pub files by their raw bytes. Raises BadUsage: no such folder, BadInput: a bad file."""
    return {key.raw: key for key in map(PublicKey.load, sorted(_existing(folder).glob("*.pub")))}


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise BadUsage(f"there is no folder of trusted keys {folder}", hint="Make it and put .pub files in")
    return folder


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """A signature member. public_key: 64, signature: 128 hexadecimal digits."""

    algorithm: Literal["ed25519"]
    public_key: str
    signature: str


_SIGN = {"sealed": "edge-sdk sign signs it", "site": "edge-sdk sign --site signs it"}
_TITLE = {"sealed": "the sealed part", "site": "decision.json"}


def _check_part(
    part: Part, message: bytes, member: bytes | None, policy: TrustPolicy, trusted: dict[bytes, PublicKey], where: str
) -> PartSignature:
    title = _TITLE[part]
    if member is None:
        if policy.mode == "required":
            what = f"{title} is not signed, the trust policy asks for it"
            raise NotTrusted(what, where=where, hint=_SIGN[part])
        return PartSignature()
    public, signature = _read_signature(member, part, where)
    fingerprint = public.fingerprint
    if policy.mode == "off":
        return PartSignature(signed=True, key=fingerprint, words=f"signed by key {fingerprint}, not checked")
    known = trusted.get(public.raw)
    if known is None and policy.keys is not None:
        what = f"{title} is signed by the unknown key {fingerprint}"
        raise NotTrusted(what, where=where, hint=f"If you trust its owner, put the .pub file into {policy.keys}")
    try:
        right = _verify(public.raw, _PREFIX[part] + message, signature)
    except NotThere as exc:
        if policy.keys is not None:
            raise
        words = f"signed by key {fingerprint}, not checked: {exc}"
        return PartSignature(signed=True, key=fingerprint, words=words)
    if not right:
        what = f"the signature of {title} by key {fingerprint} is wrong: one of the two was altered"
        raise NotTrusted(what, where=where, hint="Get the file again from whoever signed it")
    if known is None:
        words = f"signed by unknown key {fingerprint}"
        return PartSignature(signed=True, verified=True, key=fingerprint, words=words)
    words = f"signed by {known.name} (key {fingerprint})"
    return PartSignature(signed=True, verified=True, trusted=True, key=fingerprint, name=known.name, words=words)


def _read_signature(member: bytes, part: Part, where: str) -> tuple[PublicKey, bytes]:
    name = f"signatures/{part}.sig"
    hint = "Get the file again from whoever signed it"
    try:
        found = msgspec.convert(parse(member, name=name, where=where), Signature)
        public, signature = bytes.fromhex(found.public_key), bytes.fromhex(found.signature)
    except (msgspec.ValidationError, ValueError) as exc:
        raise BadBundle(f"{name} is not a signature: {exc}", where=where, hint=hint) from exc
    if (len(found.public_key), len(found.signature)) != (_HEX_KEY, _HEX_SIGNATURE):
        raise BadBundle(f"{name} is not a signature: its key or signature has the wrong length", where=where, hint=hint)
    return PublicKey(raw=public), signature


def _verify(public: bytes, message: bytes, signature: bytes) -> bool:
    exceptions = need("cryptography.exceptions", extra="sign")
    try:
        _ed25519().Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (exceptions.InvalidSignature, ValueError):  # ValueError: 32 bytes that are no point of the curve
        return False
    return True


def _unsupported() -> Any:
    """What `cryptography` raises for a key of a kind that it does not know."""
    return need("cryptography.exceptions", extra="sign").UnsupportedAlgorithm


def _ed25519() -> Any:
    return need("cryptography.hazmat.primitives.asymmetric.ed25519", extra="sign")


def _serialization() -> Any:
    return need("cryptography.hazmat.primitives.serialization", extra="sign")


def _not_a_key(path: Path, kind: str) -> BadInput:
    return BadInput(f"is not an Ed25519 {kind} key in PEM form", where=str(path), hint="edge-sdk keygen makes one")


def _key_file(path: Path, kind: str) -> bytes:
    """The content of a file that is small enough for a key."""
    try:
        if path.stat().st_size > MAX_KEY_FILE:
            raise _not_a_key(path, kind)
        return path.read_bytes()
    except OSError as exc:
        raise BadInput(
            f"can't be read: {exc.strerror}", where=str(path), hint="Check the path and its permissions"
        ) from exc


def _write_new(path: Path, data: bytes, *, mode: int | None) -> None:
    """A file that was not there, whole. An empty one takes the name first: a rename alone would overwrite a key."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode))
    except FileExistsError as exc:
        raise BadUsage(
            "exists already, and a key is never overwritten", where=str(path), hint="Choose another name"
        ) from exc
    except OSError as exc:
        raise BadUsage(f"can't be written: {exc.strerror}", where=str(path), hint="Choose another folder") from exc
    try:
        atomic.write(path, data, mode=mode)
    except BaseException as exc:
        path.unlink(missing_ok=True)  # an empty file would be in the way of the key
        if isinstance(exc, CantWrite):
            raise BadUsage(f"can't be written: {exc.args[0]}", where=str(path), hint="Choose another folder") from exc
        raise
