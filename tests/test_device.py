"""CUDA and MPS as far as a machine without them can show: what is chosen, and what is said."""

import pytest
import torch

from didcli.engine import device as devices
from didcli.errors import UsageError

CPU = torch.device("cpu")


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_auto_is_the_best_there_is(two_gpus, monkeypatch):
    assert devices.choose_device("auto") == torch.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert devices.choose_device("auto") == CPU
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert devices.choose_device("auto") == torch.device("mps")


def test_cuda_is_the_first_one_and_others_have_numbers(two_gpus):
    assert devices.choose_device("cuda") == torch.device("cuda:0")
    assert devices.choose_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize("asked", ["cuda:2", "mps", "tpu", "", "cuda:x"])
def test_an_absent_device_names_those_present(two_gpus, asked):
    with pytest.raises(UsageError, match="present: cuda:0, cuda:1, cpu"):
        devices.choose_device(asked)


@pytest.mark.parametrize(
    ("avx512", "amx", "expected"),
    [
        (False, False, torch.float32),
        (True, False, torch.bfloat16),
        (False, True, torch.bfloat16),
    ],
)
def test_auto_precision_asks_the_processor(monkeypatch, avx512, amx, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert devices.choose_precision("auto", CPU) == expected
    assert devices.choose_precision("fp32", CPU) == torch.float32
    assert devices.choose_precision("bf16", CPU) == torch.bfloat16


def test_auto_precision_asks_the_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert devices.choose_precision("auto", torch.device("cuda:0")) == torch.float32


def test_on_mps_there_is_fp32_alone():
    mps = torch.device("mps")
    assert devices.choose_precision("auto", mps) == torch.float32
    with pytest.raises(UsageError, match="did does not run bf16 on mps"):
        devices.choose_precision("bf16", mps)


def test_float32_is_not_rounded_to_tf32_and_the_caller_s_choice_comes_back():
    for chosen in (True, False):
        torch.backends.cudnn.allow_tf32 = chosen
        try:
            with devices.exact_float32():
                assert not torch.backends.cudnn.allow_tf32
            assert torch.backends.cudnn.allow_tf32 == chosen
        finally:
            torch.backends.cudnn.allow_tf32 = True


def test_convolutions_run_in_channels_last_but_on_mps():
    assert devices.memory_format(torch.device("cpu")) == torch.channels_last
    assert devices.memory_format(torch.device("cuda", 1)) == torch.channels_last
    assert devices.memory_format(torch.device("mps")) == torch.contiguous_format


def test_autocast_runs_products_in_the_chosen_precision():
    product = torch.ones(2, 2)
    with devices.autocast(CPU, torch.bfloat16):
        assert (product @ product).dtype == torch.bfloat16
    with devices.autocast(CPU, torch.float32):
        assert (product @ product).dtype == torch.float32


def test_autocast_sees_weights_that_changed_within_it():
    layer = torch.nn.Linear(1, 1, bias=False)
    with devices.autocast(CPU, torch.bfloat16):
        before = layer(torch.ones(1, 1)).item()
        with torch.no_grad():
            layer.weight.add_(1.0)
        assert layer(torch.ones(1, 1)).item() == pytest.approx(before + 1.0, abs=0.02)


def test_the_first_line_names_device_precision_and_threads():
    assert devices.describe(CPU, torch.bfloat16, 2) == "cpu (2 threads), bf16"
    assert devices.describe(CPU, torch.float32, 1) == "cpu (1 thread), fp32"
