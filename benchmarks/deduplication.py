"""Count the bytes that a push sends over Xet when the original is on the same Hub already.

``python -m benchmarks.deduplication r50_v1 swin_tiny_patch4_window7_224`` writes the original of
each name with seeded numbers, as torch saves it, and converts it. Both files go to hf_xet's own
store in a folder (``local://``), the original first, so that hf_xet itself cuts chunks and counts
which are new. A second file has the converted tensors in the order of the original, to show
whether the order of tensors matters.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path

import torch

from detrex_hub import catalogue
from detrex_hub.catalogue.models import layout_of, model_of
from detrex_hub.conversion import execute, prepare
from detrex_hub.originals.conversion_options import ConversionOptions
from detrex_hub.seeded import SyntheticCheckpoint

_TYPES = {"F32": torch.float32, "I64": torch.int64, "F16": torch.float16, "BOOL": torch.bool}


def written(name: str, folder: Path) -> Path:
    """The original of a name with seeded numbers, as torch saves it."""
    entry = catalogue.find_entry(name)
    specs, same_as = model_of(entry).original(layout_of(entry))
    numbers = SyntheticCheckpoint(specs, same_as)
    state: dict[str, torch.Tensor] = {}
    for key, spec in specs.items():
        if key in same_as:
            state[key] = state[same_as[key]] if same_as[key] in state else torch.empty(0)
            continue
        data = bytearray(numbers.read(key))
        flat = torch.frombuffer(data, dtype=_TYPES[spec.dtype]) if data else torch.empty(0)
        state[key] = flat.reshape(spec.shape)
    path = folder / f"{name}.pth"
    torch.save({"model": state}, path)
    return path


def converted(original: Path, name: str, folder: Path) -> tuple[Path, Path]:
    """The conversion, and the same tensors in the order of the original."""
    entry = catalogue.find_entry(name)
    options = ConversionOptions(architecture=entry.architecture, facts=dict(entry.facts))
    with prepare(original, options) as planned:
        made = execute(planned, folder / name).path
        place = {key: number for number, key in enumerate(planned.checkpoint.specs)}
        moves = planned.plan.moves
        order = sorted(moves, key=lambda key: place[next(iter(moves[key].sources), "")])
    content = made.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    entries, data = {"__metadata__": header["__metadata__"]}, []
    for key in order:
        begin, end = header[key]["data_offsets"]
        at = sum(map(len, data))
        data.append(content[start + begin : start + end])
        entries[key] = {**header[key], "data_offsets": [at, at + end - begin]}
    text = json.dumps(entries).encode()
    other = folder / f"{name}-reordered.safetensors"
    other.write_bytes(b"".join([len(text).to_bytes(8, "little"), text, *data]))
    return made, other


def sent(path: Path, store: Path, cache: Path) -> tuple[int, int]:
    """Upload a file. Returns the bytes in chunks that were new, and all bytes.

    Args:
        path: the file.
        store: where chunks are kept.
        cache: the record of earlier uploads from this machine. An empty one acts as another
            machine.
    """
    # hf_xet reads its settings once in a process
    with get_context("spawn").Pool(1) as process:
        return process.apply(_send, (path, store, cache))


def _send(path: Path, store: Path, cache: Path) -> tuple[int, int]:
    os.environ["HF_XET_CACHE"] = str(cache)
    import hf_xet

    commit = hf_xet.XetSession().new_upload_commit(endpoint=f"local://{store}")
    commit.start_upload_file(str(path))
    counted = commit.wait_to_finish().dedup_metrics
    return counted.new_bytes, counted.total_bytes


def main(names: list[str]) -> None:
    print("| weights | original | converted | sent | sent by another machine | in source order |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in names:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            original = written(name, folder)
            made, reordered = converted(original, name, folder)
            sizes = [original.stat().st_size, made.stat().st_size]
            for file, same_machine in ((made, True), (made, False), (reordered, True)):
                place = folder / f"{file.stem}-{same_machine}"
                for part in ("store", "one", "other"):
                    (place / part).mkdir(parents=True)
                sent(original, place / "store", place / "one")
                cache = place / ("one" if same_machine else "other")
                sizes.append(sent(file, place / "store", cache)[0])
        shown = " | ".join(f"{size / 1e6:.1f} MB" for size in sizes)
        print(f"| {name} | {shown} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["r50_v1"])
