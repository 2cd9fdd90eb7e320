"""Imports during which the garbage collector is paused."""

import gc
import sys
from importlib import import_module

import pytest

from llpp.launch.fast_imports import gc_paused

COUNTS = "import gc\non, big = gc.isenabled(), [[] for _ in range(5000)]"


@pytest.fixture(autouse=True)
def collector():
    """Undo the freezing and disabling of a test."""
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.enable()


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Two modules that can be imported by name."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "counts_while_imported.py").write_text(COUNTS)
    (tmp_path / "cannot_be_imported.py").write_text("import no_module_of_this_name")
    yield
    for name in ("counts_while_imported", "cannot_be_imported"):
        sys.modules.pop(name, None)


def test_nothing_is_collected_during_an_import_and_its_objects_are_exempt_from_later_collections(modules):
    with gc_paused():
        counting = import_module("counts_while_imported")
    assert not counting.on
    assert gc.get_freeze_count() > 5000 and gc.isenabled()


def test_objects_of_a_job_are_collected_although_the_next_one_imports_the_same_modules(modules):
    with gc_paused():
        import_module("counts_while_imported")
    gc.unfreeze()
    with gc_paused():
        import_module("counts_while_imported")
    assert gc.get_freeze_count() == 0 and gc.isenabled()


def test_the_collector_is_on_again_after_an_import_that_failed(modules):
    with pytest.raises(ModuleNotFoundError, match="no_module_of_this_name"), gc_paused():
        import_module("cannot_be_imported")
    assert gc.isenabled()


def test_a_collector_that_the_caller_turned_off_stays_off(modules):
    gc.disable()
    with gc_paused():
        import_module("counts_while_imported")
    assert not gc.isenabled() and gc.get_freeze_count() == 0
