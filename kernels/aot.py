"""Ahead-of-time compilation of every Triton kernel for named GPUs, on a machine that has none.

`python -m kernels.aot` compiles what each op ships (`<op>/variants.py`) for the targets and prints
registers, spills, shared memory and tensor-core instructions. It fails when a kernel needs more
shared memory than its target has, when a matrix product became ordinary arithmetic, or when spills
grew over the golden table (`--golden FILE`; `--write` writes it anew). Triton's own cache keeps
what has not changed.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import triton
import triton.backends.nvidia
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

OPS = ("attention", "blockdiag", "longconv", "ssd")
"""Whose `variants.py` is compiled."""
STRIDES = ("_row", "_head", "_step", "_block", "_column")
NVIDIA_TOOLS = Path(triton.backends.nvidia.__file__).parent / "bin"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A GPU: what Triton calls it, shared memory of one program in bytes, and what its tensor-core
    instructions begin with in its own assembly.
    """

    name: str
    gpu: GPUTarget
    shared: int
    tensor_core: tuple[str, ...]


TARGETS = (
    Target(name="sm_80", gpu=GPUTarget("cuda", 80, 32), shared=163 * 1024, tensor_core=("HMMA",)),
    Target(
        name="sm_90",
        gpu=GPUTarget("cuda", 90, 32),
        shared=227 * 1024,
        tensor_core=("HGMMA", "HMMA"),
    ),
    Target(
        name="gfx942",
        gpu=GPUTarget("hip", "gfx942", 64),
        shared=64 * 1024,
        tensor_core=("v_mfma",),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One compilation of a kernel.

    types: Triton's type of every run-time argument, in order (`*bf16`, `i32`, `fp32`). constants:
    its compile-time arguments. warps_amd: warps on AMD, where they are others. products: whether it
    multiplies matrices.
    """

    name: str
    kernel: Any
    types: dict[str, str]
    constants: dict[str, Any]
    warps: int
    stages: int
    products: bool
    warps_amd: int | None = None


def types_of(kernel: Any, known: Mapping[str, str]) -> dict[str, str]:
    """Triton's type of each run-time argument, by its name; `i32` where none is known."""
    return {
        name: known.get(name, "i32")
        for name, parameter in inspect.signature(kernel.fn).parameters.items()
        if parameter.annotation not in (tl.constexpr, "tl.constexpr")
    }


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """What one variant became on one target. Spills count instructions on NVIDIA (local loads and
    stores) and registers on AMD.
    """

    variant: str
    target: str
    registers: int
    spills: int
    shared: int
    tensor_core: int
    instructions: int

    def faults(self, variant: Variant, target: Target, allowed: int | None) -> Iterator[str]:
        where = f"{self.variant} on {self.target}"
        if self.shared > target.shared:
            yield f"{where}: {self.shared} bytes of shared memory; legal: up to {target.shared}"
        if variant.products and not self.tensor_core:
            yield f"{where}: no {' or '.join(target.tensor_core)} in its matrix products"
        if allowed is not None and self.spills > allowed:
            yield f"{where}: {self.spills} spills; the golden table has {allowed}"


def compiled(variant: Variant, target: Target) -> Compiled:
    """Compile and count."""
    attributes = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(inspect.signature(variant.kernel.fn).parameters)
        # every stride but the last axis's is a multiple of 16 where widths are
        if variant.types.get(name, "").startswith("*")
        or (name in variant.types and name.endswith(STRIDES))
    }
    source = ASTSource(
        fn=variant.kernel,
        signature=variant.types | dict.fromkeys(variant.constants, "constexpr"),
        constexprs=variant.constants,
        attrs=attributes,
    )
    amd = target.gpu.backend == "hip" and variant.warps_amd is not None
    warps = variant.warps_amd if amd else variant.warps
    options = {"num_warps": warps, "num_stages": variant.stages}
    built = triton.compile(source, target=target.gpu, options=options)
    if target.gpu.backend == "hip":
        registers, spills, assembly = _amd(built.asm["amdgcn"])
    else:
        registers, spills, assembly = _nvidia(built.asm["cubin"])
    return Compiled(
        variant=variant.name,
        target=target.name,
        registers=registers,
        spills=spills,
        shared=built.metadata.shared,
        tensor_core=sum(line.startswith(target.tensor_core) for line in assembly),
        instructions=len(assembly),
    )


def _amd(text: str) -> tuple[int, int, list[str]]:
    def said(name: str) -> int:
        return _number(rf"\.{name}:\s*(\d+)", text)

    lines = [line.strip() for line in text.splitlines()]
    assembly = [
        line for line in lines if re.match(r"[svb]_|ds_|global_|buffer_|flat_|scratch_", line)
    ]
    return said("vgpr_count"), said("vgpr_spill_count") + said("sgpr_spill_count"), assembly


def _nvidia(cubin: bytes) -> tuple[int, int, list[str]]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = _tool("cuobjdump", "-res-usage", file.name)
        listing = _tool("nvdisasm", "-c", file.name)
    registers = _number(r"REG:(\d+)", usage)
    # "/*0a10*/  @P0 HMMA.16816.F32 R4, ..." and so on: the address, a predicate, the instruction
    assembly = re.findall(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?(\w[\w.]*)", listing, re.M)
    spills = sum(name.startswith(("LDL", "STL")) for name in assembly)
    return registers, spills, assembly


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"no {pattern!r} in what the compiler says: {text[:200]!r}")
    return int(found[1])


def _tool(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [NVIDIA_TOOLS / name, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


def variants() -> Iterator[Variant]:
    """What every op ships."""
    for op in OPS:
        yield from importlib.import_module(f"kernels.{op}.variants").VARIANTS


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--golden", type=Path, required=True, help="known spills: JSON")
    parser.add_argument("--write", action="store_true", help="write the golden table anew")
    parser.add_argument("--only", default="", help="variants whose name contains this")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    known = json.loads(asked.golden.read_text()) if asked.golden.exists() else {}
    rows, faults = [], []
    for variant in variants():
        for target in TARGETS:
            if asked.only not in variant.name:
                continue
            row = compiled(variant, target)
            rows.append(row)
            allowed = known.get(variant.name, {}).get(target.name, 0)
            faults += row.faults(variant, target, None if asked.write else allowed)
            if not asked.json:
                print(
                    f"{row.variant:44} {row.target:7} {row.registers:4} registers "
                    f"{row.spills:4} spills {row.shared:7} B shared {row.tensor_core:4} of "
                    f"{row.instructions} instructions on tensor cores",
                    flush=True,
                )
    if asked.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    if asked.write:
        for row in rows:
            known.setdefault(row.variant, {})[row.target] = row.spills
        asked.golden.write_text(json.dumps(known, indent=1) + "\n")
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
