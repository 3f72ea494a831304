"""Where models run, and in what precision: chosen from what the machine really has."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from sage_nb.errors import ModelError, UnknownNameError

if TYPE_CHECKING:
    import torch

LOG = logging.getLogger("sage_nb.models")
CPUINFO = Path("/proc/cpuinfo")
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Compute:
    """A torch device and the dtype models run in there.

    >>> Compute("cpu", "float32")
    Compute(device='cpu', dtype='float32')
    """

    device: str
    dtype: str

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype as torch's own."""
        import torch

        return getattr(torch, self.dtype)  # type: ignore[no-any-return]


def choose_compute(device: str | None = None, dtype: str | None = None) -> Compute:
    """The best device there is (or the one asked for) with the fastest dtype that keeps rankings.

    bfloat16 on a GPU that has it and on a CPU with AVX512-BF16 or AMX, float16 on other GPUs, else float32.
    `SAGE_DEVICE` and `SAGE_DTYPE` set what is not given. Raises ModelError for a device that is not there.
    """
    device = device or os.environ.get("SAGE_DEVICE") or _best_device()
    dtype = dtype or os.environ.get("SAGE_DTYPE") or _fast_dtype(device)
    if dtype not in DTYPES:
        raise UnknownNameError.of("dtype", dtype, DTYPES)
    if device.partition(":")[0] not in _devices():
        raise ModelError(f"device {device!r} was asked for and this machine has {', '.join(_devices())}; name one")
    return Compute(device, dtype)


def allotted_compute() -> Compute:
    """What `choose_compute` chooses, within what this process was given: for whoever is about to load a model.

    `SAGE_GPU_FRACTION`, which a RayEnvironment sets for `resources={"num_gpus": 0.5}`, is the share of a GPU's memory
    that the process keeps to. Where `SAGE_GPUS`, what it asked for, is set and no GPU can be used, models run on the
    CPU, and that is logged, once. Raises ModelError for a share that is none.
    """
    compute = choose_compute()
    if compute.device.startswith("cuda"):
        _keep_to_share(compute.device)
    elif compute.device == "cpu" and "SAGE_GPUS" in os.environ and not os.environ.get("SAGE_DEVICE"):
        _say_without_gpu(os.environ["SAGE_GPUS"])
    return compute


def describe_devices() -> list[tuple[str, str]]:
    """Facts for a person: devices, whether the CPU multiplies bfloat16, threads."""
    import torch

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [
        ("devices", ", ".join([*_devices(), *names])),
        ("CPU bfloat16", "yes" if cpu_has_bf16() else "no"),
        ("threads", str(torch.get_num_threads())),
    ]


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware: emulated, it is slower than float32."""
    if CPUINFO.exists():
        return not {"avx512_bf16", "amx_bf16"}.isdisjoint(CPUINFO.read_text().split())
    import torch

    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(check() for name in asked if (check := getattr(torch.cpu, name, None)))


def multiplies_bf16(device: str) -> bool:
    """Whether a GPU does so itself: those before Ampere emulate it, slowly.

    >>> multiplies_bf16("cpu")
    False
    """
    import torch

    if not device.startswith("cuda") or not torch.cuda.is_available():
        return False
    return torch.cuda.get_device_capability(device if ":" in device else None)[0] >= 8


def _keep_to_share(device: str) -> None:
    import torch

    given = os.environ.get("SAGE_GPU_FRACTION")
    if not given:
        return
    try:
        torch.cuda.set_per_process_memory_fraction(float(given), device if ":" in device else None)
    except ValueError as error:
        raise ModelError(f"SAGE_GPU_FRACTION must be a number from 0 to 1, got {given!r}") from error


@cache
def _say_without_gpu(asked: str) -> None:
    """The first time: every model of the process is as slow, and one sentence is enough."""
    import torch

    LOG.warning(
        "num_gpus=%s was asked for and torch %s finds no GPU that it can use here, so models run on the CPU; "
        "look at this node's driver, and that its torch is built for CUDA",
        asked,
        torch.__version__,
    )


def _devices() -> list[str]:
    """To load torch takes a second or two, which a cell whose results are all kept need not wait."""
    if "torch" not in sys.modules and _installed_torch().endswith("+cpu"):
        return ["cpu"]
    import torch

    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [name for name, there in found.items() if there]


@cache
def _installed_torch() -> str:
    """Its version, read once: each look at what is installed takes 3 ms, and each stage with a model wants to know."""
    return version("torch")


def _best_device() -> str:
    return _devices()[0]


def _fast_dtype(device: str) -> str:
    if device.startswith("cuda"):
        return "bfloat16" if multiplies_bf16(device) else "float16"
    if device.startswith("mps"):
        return "float16"
    return "bfloat16" if cpu_has_bf16() else "float32"
