"""The packages of the distribution: this folder is `octavo`, and each folder with code within."""

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

_PARTS = ("app", "bench", "core", "kernels", "plugin", "plugins")
_FOUND = find_packages(include=[name for part in _PARTS for name in (part, f"{part}.*")])


class BuildWithoutSetup(build_py):
    """This file lies in the package's folder, and is none of its modules."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if module[:2] != ("octavo", "setup")]


setup(
    packages=["octavo", *(f"octavo.{name}" for name in _FOUND)],
    cmdclass={"build_py": BuildWithoutSetup},
)
