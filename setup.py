"""The packages of the distribution: this folder is `octavo`, and each folder with code within."""

from setuptools import find_packages, setup

_PARTS = ("app", "bench", "core", "kernels", "plugin", "plugins")
_FOUND = find_packages(include=[name for part in _PARTS for name in (part, f"{part}.*")])

setup(packages=["octavo", *(f"octavo.{name}" for name in _FOUND)])
