"""Finding the card of a run: what is said where there is none, and what a card leaves out."""

from __future__ import annotations

import pytest
from fake_nvml import Cards

from switchyard.runner import nvml


@pytest.fixture
def cards(monkeypatch):
    """Have NVML find the given cards."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def cards(**about):
        found = Cards(**about)
        monkeypatch.setattr(nvml, "_library", lambda: found)
        return found

    return cards


def test_the_first_card_is_found_with_driver_and_cuda_version(cards):
    cards(count=2)
    card = nvml.find(0)
    assert (card.name, card.driver, card.cuda_of_driver) == ("Fake Card", "580.95.05", "13.0")
    assert card.memory_mib == 16 * 1024
    assert "uuid" not in card.about() and nvml.find(1).uuid.startswith("GPU-00000001")


def test_without_the_package_it_says_what_to_install(monkeypatch):
    def missing():
        raise ImportError("No module named 'pynvml'")

    monkeypatch.setattr(nvml, "_library", missing)
    with pytest.raises(nvml.NoDevice, match="cuda:0.*pip install nvidia-ml-py"):
        nvml.find(0)


def test_without_a_driver_it_says_that_nvml_does_not_start(cards):
    cards(init="NVML Shared Library Not Found")
    words = r"NVIDIA's driver.*nvidia-ml-py \d+\.\d.*Shared Library Not Found"
    with pytest.raises(nvml.NoDevice, match=words):
        nvml.find(0)


@pytest.mark.parametrize("missing, said", [
    ((), "NVML 13.580.95.05 found driver 580.95.05 and 0"),
    (("nvmlSystemGetNVMLVersion",), "NVML found driver 580.95.05 and 0"),
])  # fmt: skip
def test_the_librarys_version_is_said_where_it_says_it(cards, missing, said):
    cards(count=0, missing=missing)
    with pytest.raises(nvml.NoDevice, match=said):
        nvml.find(0)


@pytest.mark.parametrize("count, number, said", [
    (0, 0, "driver 580.95.05 and 0 device"),
    (1, 3, r"cuda:3.*1 device\(s\) \(cuda:0 Fake Card\).*--device cuda:N"),
])  # fmt: skip
def test_a_number_that_no_card_has_is_refused_with_those_there_are(cards, count, number, said):
    cards(count=count)
    with pytest.raises(nvml.NoDevice, match=said):
        nvml.find(number)


@pytest.mark.parametrize("limit, indices", [
    ("1", [1]),
    ("2,0", [2, 0]),
    ("GPU-00000001", [1]),
    ("-1", []),
    ("", []),
    ("0,9,1", [0]),
    ("0,-1,1", [0]),
])  # fmt: skip
def test_cards_that_the_shell_hides_are_not_used(cards, monkeypatch, limit, indices):
    cards(count=3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", limit)
    for number, index in enumerate(indices):
        assert nvml.find(number).index == index
    with pytest.raises(nvml.NoDevice, match="CUDA_VISIBLE_DEVICES="):
        nvml.find(len(indices))


MIG = {1: [(1, 0), (1, 3)]}


def test_of_a_partitioned_card_each_instance_counts_and_the_card_itself_does_not(cards):
    cards(count=2, mig=MIG)
    found = [nvml.find(number) for number in range(3)]
    assert [one.uuid for one in found] == [
        "GPU-00000000-fake", "MIG-00000001-0-fake", "MIG-00000001-3-fake",
    ]  # fmt: skip
    assert [one.index for one in found] == [0, 1, 1]
    assert found[2].memory_mib == 4 * 1024
    # Its clock is the card's, which an instance cannot be asked for.
    assert found[2].sample().sm_clock_mhz == 1980
    with pytest.raises(nvml.NoDevice, match="3 device"):
        nvml.find(3)


@pytest.mark.parametrize("limit, uuids", [
    ("MIG-00000001-3-fake", ["MIG-00000001-3-fake"]),
    ("MIG-00000001-3-fake,0", ["MIG-00000001-3-fake", "GPU-00000000-fake"]),
    ("MIG-00000001-5-fake,0", []),
    ("1", ["MIG-00000001-0-fake", "MIG-00000001-3-fake"]),
    ("GPU-00000001", ["MIG-00000001-0-fake", "MIG-00000001-3-fake"]),
])  # fmt: skip
def test_instances_are_found_by_their_own_name_or_their_cards(cards, monkeypatch, limit, uuids):
    cards(count=2, mig=MIG)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", limit)
    for number, uuid in enumerate(uuids):
        assert nvml.find(number).uuid == uuid
    with pytest.raises(nvml.NoDevice, match=f"{len(uuids)} device"):
        nvml.find(len(uuids))


def test_a_card_partitioned_into_nothing_is_named_and_is_in_nobodys_way(cards):
    cards(count=1, mig={0: []})
    with pytest.raises(nvml.NoDevice, match="cuda:0.*device 0 is in MIG mode and has no instance"):
        nvml.find(0)
    cards(count=2, mig={1: []})
    assert nvml.find(0).index == 0


@pytest.mark.parametrize("limit", [None, "0,2", "GPU-00000000,GPU-00000002"])
def test_a_lost_card_or_anothers_is_in_nobodys_way_and_is_named(cards, monkeypatch, limit):
    cards(count=3, lost=[1])
    if limit is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", limit)
    assert [nvml.find(number).index for number in range(2)] == [0, 2]
    with pytest.raises(nvml.NoDevice, match="2 device.*device 1 does not answer"):
        nvml.find(2)


def test_numbers_of_cards_that_differ_are_refused_where_cuda_may_count_otherwise(
    cards, monkeypatch
):
    cards(count=2, names=("Slow", "Fast"))
    assert nvml.find(1).name == "Fast"  # no number was given, and none is handed on
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(nvml.NoDevice, match=r"Slow, Fast.*CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        nvml.find(0)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert nvml.find(0).name == "Fast"
    monkeypatch.delenv("CUDA_DEVICE_ORDER")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-00000001")
    assert nvml.find(0).name == "Fast"


def test_a_card_that_fell_off_the_bus_is_refused_by_its_index(cards):
    cards(missing=["nvmlDeviceGetUUID"])
    with pytest.raises(nvml.NoDevice, match="device 0 does not answer"):
        nvml.find(0)


def test_a_sample_names_what_holds_the_clock_down_and_who_is_on_the_card(cards):
    cards(reasons=0x01 | 0x04 | 0x40, processes=[(7, 512 * 2**20), (8, None)])
    sample = nvml.find(0).sample()
    assert (sample.sm_clock_mhz, sample.mem_clock_mhz) == (1980, 2619)
    assert (sample.temperature_c, sample.used_mib) == (41, 1024)
    assert sample.throttle == ("sw-power-cap", "hw-thermal-slowdown")
    assert sample.processes == {7: 512.0, 8: None}


def test_a_sample_has_the_seconds_that_each_policy_held_the_clock_down(cards):
    cards(violations={0: (3e9, 5e6), 5: (0, 5e6), 2: (9e9, 5e6)})
    found = nvml.find(0).sample().violations
    assert found == {"sw-power-cap": (3.0, 5.0), "reliability": (0.0, 5.0)}
    cards()
    assert nvml.find(0).sample().violations == {}


def test_what_a_card_does_not_answer_is_none_and_no_error(cards):
    cards(missing=["nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetTemperature",
                   "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetClockInfo"])  # fmt: skip
    sample = nvml.find(0).sample()
    assert sample.processes is sample.throttle is sample.sm_clock_mhz is None
    assert sample.mem_clock_mhz is None
    assert sample.temperature_c is None and sample.used_mib == 1024


@pytest.mark.parametrize("mode, exclusive", [(0, False), (3, True), (1, True)])
def test_a_card_that_takes_one_process_at_a_time_says_so(cards, mode, exclusive):
    cards(mode=mode)
    assert nvml.find(0).exclusive is exclusive
    assert nvml.find(0).about()["exclusive"] is exclusive


def test_a_card_that_does_not_tell_its_compute_mode_takes_everybody(cards):
    cards(missing=["nvmlDeviceGetComputeMode"])
    assert nvml.find(0).exclusive is False


def test_an_older_package_is_asked_by_the_older_name(cards):
    found = cards()
    found.nvmlDeviceGetCurrentClocksThrottleReasons = lambda handle: 0x08
    del Cards.nvmlDeviceGetCurrentClocksEventReasons
    try:
        assert nvml.find(0).sample().throttle == ("hw-slowdown",)
    finally:
        Cards.nvmlDeviceGetCurrentClocksEventReasons = lambda self, handle: self.reasons


def test_an_older_driver_is_asked_by_the_older_name(cards):
    found = cards(missing=["nvmlDeviceGetCurrentClocksEventReasons"])
    found.nvmlDeviceGetCurrentClocksThrottleReasons = lambda handle: 0x08
    assert nvml.find(0).sample().throttle == ("hw-slowdown",)
