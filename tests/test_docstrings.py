"""The examples in docstrings are run, and show what they print."""

import doctest
import importlib
import pkgutil

import pytest

import elman
from elman.data.sources import SOURCES

MODULES = [m.name for m in pkgutil.walk_packages(elman.__path__, "elman.") if not m.name.endswith("__main__")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_show_what_they_print(name):
    before = dict(SOURCES)
    try:
        failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    finally:
        SOURCES.clear()
        SOURCES.update(before)
    assert failed == 0
