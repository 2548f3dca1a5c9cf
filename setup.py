"""Packages by hand: `ir/` and `codegen/` stand at the top of the repository and install below graphkeras."""

from setuptools import find_packages, setup

packages = find_packages(".", include=["graphkeras", "graphkeras.*"])
packages += ["graphkeras." + p for p in find_packages(".", include=["ir", "ir.*", "codegen", "codegen.*"])]
setup(packages=packages)
