"""Who signed, what the trust policy makes of it, and keys as files."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from attacks import archive, members_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_bundle import KEY, OTHER_KEY, decision, write_tiny

import edge_sdk
from edge_sdk.bundle.signing import PublicKey, SigningKey, TrustPolicy
from edge_sdk.bundle.store import Bundle, append_decision, sign_bundle
from edge_sdk.errors import BadInput, BadUsage, NotTrusted
from edge_sdk.summary import inspect
from edge_sdk.verify import verify


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder that trusts KEY alone."""
    folder = tmp_path / "keys"
    folder.mkdir()
    KEY.public.save(folder / "line3.pub")
    return folder


@pytest.fixture
def bundle(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Signed by the key named in the test's parameter."""
    path = tmp_path / "x.edge"
    write_tiny(path, key={"known": KEY, "unknown": OTHER_KEY, "none": None}[request.param]).close()
    return path


MATRIX = [
    # signed by, mode, folder given, words of the status or of the refusal
    ("none", "off", False, "trust policy off; sealed part: not signed"),
    ("none", "if-present", False, "trust policy if-present; sealed part: not signed; decisions: not signed"),
    ("none", "if-present", True, "trust policy if-present; sealed part: not signed; decisions: not signed"),
    ("none", "required", True, NotTrusted("the sealed part is not signed, the trust policy asks for it")),
    ("known", "off", True, f"signed by key {KEY.public.fingerprint}, not checked"),
    ("known", "if-present", False, f"signed by unknown key {KEY.public.fingerprint}"),
    ("known", "if-present", True, f"sealed part: signed by line3 (key {KEY.public.fingerprint}); decisions: signed by"),
    ("known", "required", True, f"trust policy required; sealed part: signed by line3 (key {KEY.public.fingerprint})"),
    ("unknown", "off", True, f"signed by key {OTHER_KEY.public.fingerprint}, not checked"),
    ("unknown", "if-present", False, f"signed by unknown key {OTHER_KEY.public.fingerprint}"),
    ("unknown", "if-present", True, NotTrusted(f"signed by the unknown key {OTHER_KEY.public.fingerprint}")),
    ("unknown", "required", True, NotTrusted(f"signed by the unknown key {OTHER_KEY.public.fingerprint}")),
]


@pytest.mark.parametrize(("bundle", "mode", "folder", "expected"), MATRIX, indirect=["bundle"])
def test_every_policy_says_what_it_made_of_the_signature(bundle, mode, folder, expected, keys) -> None:  # type: ignore[no-untyped-def]
    policy = TrustPolicy(mode=mode, keys=keys if folder else None)
    if isinstance(expected, NotTrusted):
        with pytest.raises(NotTrusted) as caught:
            Bundle.open(bundle, trust=policy)
        assert str(expected) in str(caught.value)
        assert str(caught.value).startswith(f"{bundle}: ")
        return
    with Bundle.open(bundle, trust=policy) as opened:
        assert expected in opened.signature.words
        assert opened.signature.policy == mode
        trusted = mode in ("if-present", "required") and folder and KEY.public.fingerprint in expected
        assert opened.signature.verified == trusted


def test_required_without_keys_is_wrong_usage() -> None:
    with pytest.raises(BadUsage, match="needs a folder of keys"):
        TrustPolicy(mode="required")


def test_a_policy_may_be_named_wherever_a_bundle_is_opened_and_required_says_what_it_needs(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    with Bundle.open(tiny_bundle, trust="off") as opened:
        assert opened.signature.policy == "off"
    assert verify(tiny_bundle, runtimes=["onnxruntime"], variants=["fp32"], trust="off").passed
    opens: list[Callable[..., object]] = [Bundle.open, verify, edge_sdk.load, inspect]
    for opening in opens:
        with pytest.raises(BadUsage, match=r'TrustPolicy\(mode="required", keys=\.\.\.\) in Python'):
            opening(tiny_bundle, trust="required")
        with pytest.raises(BadUsage, match="no trust policy 'always'"):
            opening(tiny_bundle, trust="always")
    assert edge_sdk.TrustPolicy is TrustPolicy


def test_signing_the_sealed_part_anew_keeps_the_sites_signature_once(tmp_path: Path) -> None:
    path = tmp_path / "x.edge"
    write_tiny(path, key=KEY).close()
    append_decision(path, decision(9.0), key=OTHER_KEY).close()
    with sign_bundle(path, OTHER_KEY) as opened:
        assert opened.signature.sealed.key == OTHER_KEY.public.fingerprint
        assert opened.signature.site is not None
        assert opened.signature.site.key == OTHER_KEY.public.fingerprint
    assert path.read_bytes().count(b"signatures/site.sig") == 2  # once where it lies, once in the directory


def test_a_folder_of_keys_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    write_tiny(tmp_path / "x.edge").close()
    with pytest.raises(BadUsage, match="no folder of trusted keys"):
        Bundle.open(tmp_path / "x.edge", trust=TrustPolicy(mode="required", keys=tmp_path / "none"))


def test_a_decision_without_the_sites_key_takes_the_old_signature_away(keys: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.edge"
    write_tiny(path).close()
    append_decision(path, decision(9.0)).close()
    with pytest.raises(NotTrusted, match=r"decision\.json is not signed.*edge-sdk sign --site"):
        Bundle.open(path, trust=TrustPolicy(mode="required", keys=keys))
    with Bundle.open(path, trust=TrustPolicy(keys=keys)) as opened:
        assert opened.signature.sealed.trusted
        assert opened.signature.site is not None
        assert not opened.signature.site.signed


def test_the_site_signs_decisions_with_a_key_of_its_own(keys: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.edge"
    write_tiny(path).close()
    append_decision(path, decision(9.0), key=OTHER_KEY).close()
    policy = TrustPolicy(mode="required", keys=keys)
    with pytest.raises(NotTrusted, match=r"decision\.json is signed by the unknown key"):
        Bundle.open(path, trust=policy)
    OTHER_KEY.public.save(keys / "night shift.pub")
    with Bundle.open(path, trust=policy) as opened:
        assert opened.signature.site is not None
        assert (opened.signature.sealed.name, opened.signature.site.name) == ("line3", "night shift")


def test_decisions_signed_for_one_bundle_do_not_fit_another(tmp_path: Path) -> None:
    write_tiny(tmp_path / "a.edge").close()
    write_tiny(tmp_path / "b.edge", key=None).close()
    a, b = members_of(tmp_path / "a.edge"), members_of(tmp_path / "b.edge")
    assert a[0].data == b[0].data  # one sealed part: the decisions may travel between its copies
    (tmp_path / "c.edge").write_bytes(archive([*b[:-1], *a[-2:]]))
    with Bundle.open(tmp_path / "c.edge") as opened:
        assert opened.signature.site is not None
        assert opened.signature.site.verified


KEY_ON_A_FULL_DISK = """
from edge_sdk.bundle.signing import SigningKey
from edge_sdk.errors import BadUsage
room_for(20)
with pytest.raises(BadUsage, match="can't be written"):
    SigningKey.generate().save(path)
"""


def test_a_full_disk_leaves_no_half_of_a_key(on_a_full_disk: Callable[[str, Path], None], tmp_path: Path) -> None:
    on_a_full_disk(KEY_ON_A_FULL_DISK, tmp_path / "a.key")
    assert not list(tmp_path.iterdir())


def test_keys_come_back_from_their_files_and_are_never_overwritten(tmp_path: Path) -> None:
    key, secret, public = SigningKey.generate(), tmp_path / "k.key", tmp_path / "k.pub"
    key.save(secret)
    key.public.save(public)
    assert SigningKey.load(secret) == key
    assert PublicKey.load(public).raw == key.public.raw
    assert secret.stat().st_mode & 0o777 == 0o600
    with pytest.raises(BadUsage, match=r"k\.key: exists already"):
        SigningKey.generate().save(secret)
    assert key.seed.hex() not in repr(key)
    assert repr(key.seed)[2:10] not in repr(key)


def test_key_files_are_those_of_the_library_that_everyone_uses(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

    KEY.save(tmp_path / "k.key")
    KEY.public.save(tmp_path / "k.pub")
    private = load_pem_private_key((tmp_path / "k.key").read_bytes(), None)
    assert private.private_bytes_raw() == KEY.seed  # type: ignore[union-attr]
    public = load_pem_public_key((tmp_path / "k.pub").read_bytes())
    assert public.public_bytes_raw() == KEY.public.raw  # type: ignore[union-attr]


def test_a_key_with_a_password_is_encrypted_and_opens_with_that_one_alone(tmp_path: Path) -> None:
    path = tmp_path / "k.key"
    KEY.save(path, password="größer als 8")
    assert KEY.seed not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert SigningKey.needs_password(path)
    assert SigningKey.load(path, password="größer als 8") == KEY
    with pytest.raises(BadInput, match=r"k\.key: is not opened by this password"):
        SigningKey.load(path, password="another")
    with pytest.raises(BadInput, match=r"k\.key: is encrypted with a password"):
        SigningKey.load(path)
    KEY.save(tmp_path / "open.key")
    assert not SigningKey.needs_password(tmp_path / "open.key")


def test_a_public_key_of_openssh_is_taken(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = Ed25519PublicKey.from_public_bytes(KEY.public.raw)
    line = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    (tmp_path / "line3.pub").write_bytes(line + b" somebody@line3\n")
    assert PublicKey.load(tmp_path / "line3.pub") == PublicKey(raw=KEY.public.raw, name="line3")


def test_a_key_of_another_kind_is_no_key_of_ours(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    other = X25519PrivateKey.generate()
    (tmp_path / "x.key").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    spki = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "x.pub").write_bytes(spki)
    with pytest.raises(BadInput, match=r"x\.key: is not an Ed25519 private key"):
        SigningKey.load(tmp_path / "x.key")
    with pytest.raises(BadInput, match=r"x\.pub: is not an Ed25519 public key"):
        PublicKey.load(tmp_path / "x.pub")


@given(data=st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_key_file_is_read_or_refused_and_never_another_error(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "k"
    path.unlink(missing_ok=True)
    kind = data.draw(st.sampled_from(["secret", "locked", "public"]))
    if kind == "public":
        KEY.public.save(path)
    else:
        KEY.save(path, password="p" if kind == "locked" else None)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=4))
    path.write_bytes(bytes(content))
    with contextlib.suppress(BadInput):
        PublicKey.load(path) if kind == "public" else SigningKey.load(path, password="p")


def test_a_kill_before_the_key_is_written_leaves_none_of_it(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from edge_sdk.bundle.signing import SigningKey\n"
        "sys.addaudithook(lambda event, _: event == 'os.rename' and os.kill(os.getpid(), signal.SIGKILL))\n"
        "SigningKey.generate().save(Path(sys.argv[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "k.key")], check=False)
    assert done.returncode == -9
    assert (tmp_path / "k.key").read_bytes() == b""
    with pytest.raises(BadInput, match=r"k\.key: is not an Ed25519 private key"):
        SigningKey.load(tmp_path / "k.key")


def test_an_unsigned_bundle_opens_where_keys_are_named_and_cryptography_is_not_there(
    keys: Path, tmp_path: Path
) -> None:
    write_tiny(tmp_path / "x.edge", key=None).close()
    code = (
        "import sys\n"
        "sys.modules['cryptography'] = None\n"
        "from pathlib import Path\n"
        "from edge_sdk.bundle.signing import TrustPolicy\n"
        "from edge_sdk.bundle.store import Bundle\n"
        "print(Bundle.open(Path(sys.argv[1]), trust=TrustPolicy(keys=Path(sys.argv[2]))).signature.words)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "x.edge"), str(keys)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "sealed part: not signed" in done.stdout


@pytest.mark.parametrize(
    "text",
    ["", "hello", "-----BEGIN PUBLIC KEY-----\n!!!\n-----END PUBLIC KEY-----\n",
     "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n", "x" * 5000],
)  # fmt: skip
def test_a_file_that_is_no_key_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.pub").write_text(text)
    with pytest.raises(BadInput, match=r"bad\.pub: is not an Ed25519 public key"):
        PublicKey.load(tmp_path / "bad.pub")


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.key: can't be read: No such file"):
        SigningKey.load(tmp_path / "none.key")


WITHOUT = """
import sys
sys.modules["cryptography"] = None  # what a device without the extra sees
from pathlib import Path
from edge_sdk.bundle.signing import TrustPolicy
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import NotThere
path, keys = Path(sys.argv[1]), Path(sys.argv[2])
print(Bundle.open(path).signature.words)
try:
    Bundle.open(path, trust=TrustPolicy(mode="required", keys=keys))
except NotThere as exc:
    print("refused:", exc)
assert not {"torch", "onnx", "nncf"} & set(sys.modules)
"""


def test_without_cryptography_a_signature_is_recorded_as_unchecked_or_required_in_vain(
    keys: Path, tmp_path: Path
) -> None:
    write_tiny(tmp_path / "x.edge").close()
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path / "x.edge"), str(keys)], capture_output=True, text=True, check=True
    )
    unchecked, refused = run.stdout.splitlines()
    assert f"signed by key {KEY.public.fingerprint}, not checked" in unchecked
    assert refused.startswith("refused:")
    assert 'pip install "cryptography>=' in refused


def test_a_file_too_long_for_a_key_is_not_read(tmp_path: Path) -> None:
    KEY.public.save(tmp_path / "site.pub")
    padded = (tmp_path / "site.pub").read_text() + "\n" * 5000
    (tmp_path / "site.pub").write_text(padded)
    with pytest.raises(BadInput, match=r"site\.pub: is not an Ed25519 public key"):
        PublicKey.load(tmp_path / "site.pub")


def test_either_part_is_signed_alone_and_the_other_keeps_its_signature(tmp_path: Path) -> None:
    path = tmp_path / "x.edge"
    write_tiny(path, key=None).close()
    for part, key in (("site", OTHER_KEY), ("sealed", KEY), ("site", KEY)):
        with sign_bundle(path, key, part=part) as signed:  # type: ignore[arg-type]
            assert len(signed.decisions) == 2
            status = signed.signature
        found = {"sealed": status.sealed, "site": status.site}[part]
        assert found is not None
        assert found.key == key.public.fingerprint
    with Bundle.open(path) as opened:
        assert opened.signature.sealed.key == KEY.public.fingerprint


def test_a_site_part_that_is_not_there_is_not_signed(tmp_path: Path) -> None:
    write_tiny(tmp_path / "x.edge", decisions=0).close()
    with pytest.raises(BadUsage, match=r"x\.edge: there are no decisions in it to be signed"):
        sign_bundle(tmp_path / "x.edge", KEY, part="site")
