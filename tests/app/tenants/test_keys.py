"""The file of API keys: what it says, what is wrong with it and where, and how it changes."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import pytest
from octavo.__main__ import main
from octavo.app.tenants.key_ring import KeyRing
from octavo.app.tenants.keys_file import read_keys
from octavo.core.protocol.config import ConfigError

HASH = hashlib.sha256(b"a").hexdigest()
OTHER = hashlib.sha256(b"b").hexdigest()


def write(path: Path, text: str) -> Path:
    """As another file of that name, which only its owner may read."""
    new = path.with_name(f"new-{path.name}")
    new.write_text(text)
    new.chmod(0o600)
    os.replace(new, path)
    return path


def toml(**keys: str) -> str:
    return "\n".join(
        f'[{name}]\nsha256 = "{hashlib.sha256(key.encode()).hexdigest()}"'
        for name, key in keys.items()
    )


@pytest.mark.parametrize("kind", ["toml", "yaml"])
def test_what_octavo_keys_new_prints_makes_its_key_valid(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries, keys = "", {}
    for name in ("alice", "team-2"):
        assert main(["keys", "new", name, *(["--yaml"] if kind == "yaml" else [])]) == 0
        printed = capsys.readouterr()
        keys[name] = printed.err.split()[-1]
        assert keys[name] not in printed.out
        entries += printed.out
    ring = KeyRing(write(tmp_path / f"keys.{kind}", entries))
    for name, key in keys.items():
        holder = ring.find(key)
        assert holder is not None
        assert holder.name == name
        assert ring.find(key[:-1]) is None
    assert len(set(keys.values())) == 2


def test_a_name_that_an_entry_can_not_have_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "a b"]) == 2
    assert "letters, digits, hyphens and underscores" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("json", "{}", "must end in .toml, .yaml or .yml"),
        ("toml", "", "holds no key; octavo keys new NAME prints one"),
        ("toml", f'[a]\nsha256 = "{HASH}"\n[b\n', "(at line 3"),
        ("toml", f'[a]\nsha256 = "{HASH}"\n[a]', "(at line 3"),
        ("toml", f'a = "{HASH}"', "line 1: a: must be a table with the field sha256"),
        ("toml", "[a]\n", "line 1: a: Object missing required field `sha256`"),
        ("toml", f'[a]\n# it\nsha256 = "{HASH[1:]}"', "line 3: a: sha256 must be 64 digits"),
        ("toml", f'[a]\nsha256 = "{HASH}"\nadmin = "x"', "line 3: a: admin: Expected `bool`"),
        ("toml", f'[a]\nsha256 = "{HASH}"\nadmins = true', "unknown field `admins`"),
        ("toml", f'[a]\nsha256 = "{HASH}"\nweight = 0', "line 3: a: weight must be from 0.01 to"),
        ("toml", f'[a]\nsha256 = "{HASH}"\nweight = nan', "line 3: a: weight must be from 0.01"),
        ("toml", f'[none]\nsha256 = "{HASH}"', "line 1: none: none is what metrics call"),
        ("toml", f'["a b"]\nsha256 = "{HASH}"', "line 1: a b: a key's name must have"),
        (
            "toml",
            f'[a]\nsha256 = "{HASH}"\n\n[b]\nsha256 = "{HASH}"',
            "line 5: b: the key is that of a",
        ),
        ("yaml", f"a:\n  sha256: {HASH}\nb:\n  sha256: {OTHER}\n  admin: 1", "line 5: b: admin"),
        ("yaml", f"a:\n  sha256: {HASH}\n  sha256: {HASH}", "sha256 is there twice (at line 3)"),
        ("yaml", "a:\n  sha256: [", "line 2"),
        ("yaml", f"1:\n  sha256: {HASH}", "line 1: 1: must be a table"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    kind: str, text: str, message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / f"keys.{kind}", text)
    with pytest.raises(ValueError, match="keys") as raised:
        read_keys(path)
    assert str(path) in str(raised.value)
    assert message in str(raised.value)
    with pytest.raises(ConfigError, match="--api-keys: "):
        KeyRing(path)


def test_a_changed_file_is_read_and_a_broken_one_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = write(tmp_path / "keys.toml", toml(a="1", b="2"))
    ring = KeyRing(path)
    write(path, toml(a="3", c="4"))
    ring.refresh()
    assert [ring.find(key) is not None for key in "1234"] == [False, False, True, True]
    assert "2 API keys are valid now; new: c; gone: b" in caplog.text
    broken = "[a]\nsha256 = 'short'"
    for text in (broken, ""):
        write(path, text)
        ring.refresh()
        assert [ring.find(key) is not None for key in "1234"] == [False, False, True, True]
    path.unlink()
    ring.refresh()
    assert ring.find("3") is not None
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert ["line 2: a: sha256" in errors[0], "holds no key" in errors[1]] == [True, True]
    assert "can't be read" in errors[2]
    assert all("the keys that were valid before still are" in error for error in errors)
    write(path, toml(d="5"))
    ring.refresh()
    assert [ring.find(key) is not None for key in "12345"] == [False] * 4 + [True]


def test_a_file_that_did_not_change_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = KeyRing(write(tmp_path / "keys.toml", toml(a="1")))
    # It would not be in order, were it read.
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "?")
    ring.refresh()
    assert ring.find("1") is not None


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o644, True), (0o620, True)])
def test_a_file_that_others_may_read_is_warned_of(
    mode: int, warns: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "keys.toml", toml(a="1"))
    path.chmod(mode)
    KeyRing(path)
    assert ("chmod 600" in caplog.text) is warns


def test_keys_may_share_caches_if_they_are_told_to(tmp_path: Path) -> None:
    path = write(tmp_path / "keys.toml", toml(a="1", b="2"))
    for shares, scopes in ((False, ["a", "b"]), (True, ["", ""])):
        ring = KeyRing(path, shares_caches=shares)
        assert [ring.find(key).cache_scope for key in "12"] == scopes  # type: ignore[union-attr]


def test_caches_are_shared_without_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--share-caches"]) == 2
    assert "--share-caches means nothing without --api-keys" in capsys.readouterr().err


def test_the_page_is_not_opened_to_everybody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "keys.toml", toml(a="1"))
    assert main(["serve", "--ui", "--api-keys", str(path)]) == 2
    assert "octavo demo --base-url" in capsys.readouterr().err
