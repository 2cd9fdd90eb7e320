"""Memory that a CPU job keeps."""

import platform
import resource

import pytest
import torch

from llpp.inference.performance import Performance, keep_memory

PAGES = 64 * 2**20 // resource.getpagesize()  # of a large feature map


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's allocator that gives memory back")
def test_large_maps_come_without_fresh_pages_once_the_memory_is_kept():
    def fresh_pages():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.empty(64 * 2**20, dtype=torch.uint8).fill_(1)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert keep_memory()
    assert min(fresh_pages() for _ in range(10)) < PAGES / 10


def test_cpu_jobs_keep_memory_unless_they_are_told_otherwise():
    assert Performance().should_keep_memory("cpu") and not Performance().should_keep_memory("gpu")
    assert not Performance(allocator="system").should_keep_memory("cpu")
    assert Performance(allocator="keep").should_keep_memory("gpu")
