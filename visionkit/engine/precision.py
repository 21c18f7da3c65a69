"""Number formats and repeatability: autocast, the fp16 loss scaler, seeds, deterministic kernels."""

import os
import platform
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from visionkit.errors import ConfigError


class Precision:
    """How one step's arithmetic is done: the forward pass under autocast, then backward and the optimizer.

    Args:
        name: "fp32", "bf16", "fp16", or "auto": bf16 where the device multiplies it, else fp32. fp16 gradients
            underflow without loss scaling (Micikevicius et al. 2018, sec. 3.2), so that mode carries a scaler, and runs
            on CUDA only.
        device: where the model is.
    Raises:
        ConfigError: another name, or fp16 on a CPU.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        formats = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
        if name not in (*formats, "auto"):
            raise ConfigError(f"trainer.precision={name} is not one of {', '.join(formats)}, auto.")
        self.chosen = name == "auto"
        if self.chosen:
            name = "bf16" if has_bf16(device) else "fp32"
        self.name = name
        if name == "fp16" and device.type != "cuda":
            raise ConfigError(f"trainer.precision=fp16 needs a CUDA device, not {device.type}; bf16 works here.")
        self.dtype = formats[name]
        self.device_type = device.type
        self.scaler = torch.amp.GradScaler("cuda") if name == "fp16" else None

    def autocast(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.dtype is None else torch.autocast(self.device_type, self.dtype)

    def backward(self, loss: Tensor) -> None:
        scaled = loss if self.scaler is None else self.scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]

    def optimize(self, optimizer: torch.optim.Optimizer, clip_norm: float | None) -> Callable[[], Tensor]:
        """Clips the gradients to `clip_norm` (2-norm of all together) and moves the weights.

        Returns what gives the norm before, () float32, until the gradients are set to something else: a pass over all
        of them costs as much as the step of a plain optimizer, and most steps are not asked.
        """
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        clipped = None if clip_norm is None else torch.nn.utils.clip_grad_norm_(parameters, clip_norm).detach()
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)
            self.scaler.update()
        return lambda: _norm(parameters) if clipped is None else clipped

    def state_dict(self) -> dict[str, Any]:
        if self.chosen:
            return {"chosen": self.name}
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """ConfigError where "auto" was another format on the machine that the state comes from."""
        before = state.get("chosen", self.name)
        if self.chosen and before != self.name:
            raise ConfigError(
                f"the run began in {before} (trainer.precision=auto), and here auto is {self.name}, which would be "
                "another run: go on with it on a machine like the first, or start over with resume=none."
            )
        if self.scaler is not None and state:
            self.scaler.load_state_dict(state)


def _norm(parameters: list[nn.Parameter]) -> Tensor:
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]).detach()


def has_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for products of bfloat16; elsewhere each takes several of float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Without oneDNN its operators, the next question among them, are not registered.
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    own: Callable[[], bool] | None = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # newer than torch 2.6
    return own is None or own()


def precision_lines(name: str, device: torch.device) -> list[str]:
    """What a person should know of the number format of a run, in sentences."""
    if name == "auto":
        chosen = Precision(name, device).name
        return [f"computing in {chosen}: this device has {'' if chosen == 'bf16' else 'no '}instructions for bf16"]
    if name != "bf16" or has_bf16(device):
        return []
    return ["warning: this processor has no instructions for bf16, so precision=bf16 takes many times as long as fp32"]


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """The device a person names: "cpu", "cuda" (the GPU of `local_rank`), "cuda:1", or "auto" (CUDA if there is one).

    Raises:
        ConfigError: no such device.
    """
    wanted = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {name} is none of cpu, cuda, cuda:N and auto.")
    if device.type == "cpu":
        return device
    index = local_rank if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise ConfigError(f"device {name}: GPU {index} is wanted, {torch.cuda.device_count()} are there.")
    return torch.device("cuda", index)


def seed_everything(seed: int) -> None:
    """Seeds Python, numpy and torch: for the initial weights. Training steps seed themselves (train.py)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def make_deterministic(threads: int | None = None, *, cuda: bool = False) -> None:
    """Makes torch's CPU kernels repeat bit for bit, for one thread count; None keeps the count at hand.

    On CUDA (`cuda=True`) kernels without a deterministic version (RoIAlign's backward) warn instead of failing.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic with fixed workspaces only
    torch.use_deterministic_algorithms(True, warn_only=cuda)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs time
    torch.backends.cudnn.benchmark = False
