"""Whether CUDA starts, asked of a driver library that is built here to say what it is told."""

from __future__ import annotations

import shutil
import subprocess
import types

import pytest

from switchyard.runner import cuda_driver
from switchyard.runner.nvml import NoDevice

SOURCE = """
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int says(const char *which) {
  const char *told = getenv(which);
  return told ? atoi(told) : 0;
}
int cuInit(unsigned flags) { if (says("HANGS")) pause(); return says("INIT"); }
int cuDeviceGet(int *device, int number) {
  return strcmp(getenv("CUDA_VISIBLE_DEVICES"), "GPU-1-fake") ? 101 : (*device = number, 0);
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
  if (says("DIES")) abort();
  return says("RETAIN");
}
int cuDevicePrimaryCtxRelease_v2(int device) { return 0; }
int cuGetErrorName(int error, const char **name) { return *name = "CUDA_ERROR_SOME", 0; }
int cuGetErrorString(int error, const char **text) { return *text = "in words", 0; }
"""

CARD = types.SimpleNamespace(
    uuid="GPU-1-fake", index=1, name="Fake Card", driver="580.95", cuda_of_driver="13.0"
)


@pytest.fixture
def driver(tmp_path, monkeypatch):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc, with which the driver is built")
    source, library = tmp_path / "driver.c", tmp_path / "libcuda.so.1"
    source.write_text(SOURCE)
    command = ["gcc", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True, timeout=60)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))


def test_a_driver_that_starts_is_no_news(driver):
    assert cuda_driver.not_started("GPU-1-fake") == ""
    cuda_driver.check(CARD)


@pytest.mark.parametrize("call, status", [("INIT", "802"), ("RETAIN", "46")])
def test_what_cuda_says_is_the_reason(driver, monkeypatch, call, status):
    monkeypatch.setenv(call, status)
    with pytest.raises(NoDevice) as raised:
        cuda_driver.check(CARD)
    said = str(raised.value)
    assert f"does not start on it: CUDA_ERROR_SOME ({status}): in words" in said
    assert "NVML found Fake Card (its number 1; driver 580.95, for CUDA 13.0)" in said


def test_the_card_is_asked_by_its_own_name(driver):
    assert "(101)" in cuda_driver.not_started("GPU-2-fake")


def test_a_driver_that_hangs_or_dies_is_said(driver, monkeypatch):
    monkeypatch.setenv("DIES", "1")
    assert "ended with status -6" in cuda_driver.not_started("GPU-1-fake")
    monkeypatch.setenv("HANGS", "1")
    monkeypatch.setattr(cuda_driver, "PATIENCE", 0.5)
    assert cuda_driver.not_started("GPU-1-fake") == "no answer within 0.5 s"


def test_no_library_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(cuda_driver, "_START", cuda_driver._START.replace(".so.1", ".so.none"))
    assert "libcuda.so.none: cannot open shared object file" in cuda_driver.not_started("GPU-1")
