import random

import numpy as np
import pytest
import torch

from visionkit.engine.precision import Precision, has_bf16, make_deterministic, precision_lines, seed_everything
from visionkit.errors import ConfigError

CPU = torch.device("cpu")


def test_formats() -> None:
    weight = torch.ones(4, 4)
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with Precision(name, CPU).autocast():
            assert (weight @ weight).dtype == dtype
    assert (weight @ weight).dtype == torch.float32


def test_wrong_names_and_fp16_without_cuda() -> None:
    with pytest.raises(ConfigError, match="precision=bf17 is not one of fp32, bf16, fp16"):
        Precision("bf17", CPU)
    with pytest.raises(ConfigError, match="fp16 needs a CUDA device, not cpu"):
        Precision("fp16", CPU)


def processor(monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported, raising=False)


@pytest.mark.parametrize("supported", [False, True])
def test_a_processor_without_bf16_is_named(supported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, supported)
    assert bool(precision_lines("bf16", CPU)) is not supported
    assert not precision_lines("fp32", CPU)


@pytest.mark.parametrize(("supported", "name"), [(False, "fp32"), (True, "bf16")])
def test_auto_is_what_the_processor_multiplies(supported: bool, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, supported)
    assert Precision("auto", CPU).name == name and has_bf16(CPU) is supported
    assert f"computing in {name}" in precision_lines("auto", CPU)[0]


def test_auto_does_not_become_another_format_halfway(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, True)
    state = Precision("auto", CPU).state_dict()
    Precision("auto", CPU).load_state_dict(state)
    Precision("auto", CPU).load_state_dict({})  # of a run in fp32
    processor(monkeypatch, False)
    with pytest.raises(ConfigError, match="began in bf16 .* here auto is fp32"):
        Precision("auto", CPU).load_state_dict(state)


def test_a_torch_without_onednn_has_no_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> bool:
        raise AttributeError("not registered")

    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", unknown, raising=False)
    assert not has_bf16(CPU) and Precision("auto", CPU).name == "fp32"


def test_what_is_asked_about_bf16_is_still_there() -> None:
    assert torch.ops.mkldnn._is_mkldnn_bf16_supported() in (False, True)


def test_a_step_without_any_gradient() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    norm = Precision("fp32", CPU).optimize(torch.optim.SGD([parameter], lr=1.0), clip_norm=None)
    assert float(norm()) == 0.0 and torch.equal(parameter, torch.ones(2))
    assert float(Precision("fp32", CPU).optimize(torch.optim.SGD([parameter], lr=1.0), clip_norm=1.0)()) == 0.0


def test_seeds() -> None:
    def draw() -> list[float]:
        seed_everything(2**40 + 5)
        return [random.random(), float(np.random.rand()), float(torch.rand(()))]

    assert draw() == draw()


def test_deterministic_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    try:
        make_deterministic(1)
        assert torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == 1
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        make_deterministic(cuda=True)
        assert torch.is_deterministic_algorithms_warn_only_enabled() and torch.get_num_threads() == 1
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["fp16", "bf16", "fp32"])
def test_on_cuda(name: str) -> None:
    from engine_toy import OPTIMIZERS, Toy, ToyLoader

    from visionkit.engine.optim import parameter_groups
    from visionkit.engine.schedule import Constant
    from visionkit.engine.train import train_steps

    device = torch.device("cuda", 0)
    torch.manual_seed(0)
    model, precision = Toy(dropout=0.0).to(device), Precision(name, device)
    optimizer = OPTIMIZERS["sgd"](parameter_groups(model, 0.05, 0.0))
    options = {"start": 0, "stop": 30, "seed": 0, "device": device, "precision": precision, "clip_norm": 1.0}
    steps = list(train_steps(model, ToyLoader(12).batches(0), optimizer, Constant(), **options))  # type: ignore[arg-type]
    assert float(steps[-1].loss) < 0.7 * float(steps[0].loss)
    assert steps[0].loss.device.type == "cpu"
    assert bool(precision.state_dict()) == (name == "fp16")
