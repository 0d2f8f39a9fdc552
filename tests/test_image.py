"""What the container is built of: one base that can be pinned, packages by their hashes, nobody is root."""

import re
import tomllib
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_LINES = (_ROOT / "Dockerfile").read_text("utf-8").splitlines()
_LOCK = (_ROOT / "requirements-run.lock").read_text("utf-8")


def test_the_base_is_named_once_so_that_a_digest_pins_all_of_the_image() -> None:
    assert [line for line in _LINES if line.startswith("ARG BASE=")] != []
    assert {line.split()[1] for line in _LINES if line.startswith("FROM ")} == {"${BASE}"}


def test_every_package_comes_with_its_hashes() -> None:
    assert any("--require-hashes -r requirements-run.lock" in line for line in _LINES)
    pins = re.findall(r"^\S+==\S+.*?(?=^\S|\Z)", _LOCK, re.MULTILINE | re.DOTALL)
    assert len(pins) > 20
    assert all("--hash=sha256:" in pin for pin in pins)


def test_nobody_in_it_is_root_and_its_data_is_its_own() -> None:
    assert [line for line in _LINES if line.startswith("USER ")] == ["USER 10001"]
    assert any("-m 0700 /data" in line for line in _LINES)


def test_everything_beside_the_code_is_packaged_with_it() -> None:
    """What is only in the checkout is in no wheel, and so in no image."""
    patterns = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]["app"]
    packaged = {path for pattern in patterns for path in (_ROOT / "app").glob(pattern)}
    beside = {path for path in (_ROOT / "app").rglob("*.*") if path.suffix not in (".py", ".pyc", ".md")}
    assert beside == packaged
