"""Jobs of the loopback Hub run a submitted command in a process on this machine.

They follow huggingface_hub's client (`run_job`, `fetch_job_logs`, `inspect_job`). ``uv tool run``
installs nothing here: it checks the version, and runs this checkout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detrex_hub import __version__

_UV = f"""#!{sys.executable}
import os, sys
*uv, package, program = sys.argv[1:6]
assert uv == ["tool", "run", "--from"], uv
assert package == "detrex-hub[drive]=={__version__}" and program == "detrex-hub", package
os.execv(sys.executable, [sys.executable, "-m", "detrex_hub", *sys.argv[6:]])
"""


@dataclass
class Job:
    namespace: str
    spec: dict[str, Any]
    process: subprocess.Popen[bytes]
    folder: tempfile.TemporaryDirectory[str]

    @property
    def output(self) -> Path:
        return Path(self.folder.name) / "output"


class Jobs:
    """All jobs, by their ids."""

    def __init__(self) -> None:
        self.all: dict[str, Job] = {}
        # environment variables of the machines on which jobs run
        self.environment: dict[str, str] = {}

    def clear(self) -> None:
        for job in self.all.values():
            job.process.kill()
            job.process.wait()
            job.folder.cleanup()
        self.all.clear()
        self.environment.clear()

    def run(self, namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
        """Start a job, and return its description."""
        folder = tempfile.TemporaryDirectory(prefix="detrex-hub-job-")
        root = Path(folder.name)
        uv = root / "uv"
        uv.write_text(_UV)
        uv.chmod(0o755)
        passed = ("PYTHONPATH", "NO_PROXY", "HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY")
        environment = {
            **{name: os.environ[name] for name in passed if name in os.environ},
            **self.environment,
            **spec["environment"],
            **spec.get("secrets", {}),
            "PATH": f"{root}{os.pathsep}{os.environ['PATH']}",
            "HOME": folder.name,
            "HF_HOME": str(root / "hf"),
        }
        with (root / "output").open("wb") as output:
            process = subprocess.Popen(
                [str(uv) if one == "uv" else one for one in spec["command"]],
                env=environment,
                cwd=Path(__file__).parents[2],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        name = f"job{len(self.all)}"
        self.all[name] = Job(namespace, spec, process, folder)
        return self.described(name)

    def described(self, name: str) -> dict[str, Any]:
        job = self.all[name]
        code = job.process.poll()
        stage = "RUNNING" if code is None else "ERROR" if code else "COMPLETED"
        message = f"exit code {code}" if code else None
        return {
            "id": name,
            "command": job.spec["command"],
            "environment": job.spec["environment"],
            "flavor": job.spec["flavor"],
            "status": {"stage": stage, "message": message},
            "owner": {"id": job.namespace, "name": job.namespace, "type": "org"},
        }

    def events(self, name: str) -> Iterator[bytes]:
        """The lines of the log as server-sent events, until the job has ended."""
        job = self.all[name]
        yield _event("===== Job started =====")
        with job.output.open() as output:
            rest, ended = "", False
            while not ended:
                with suppress(subprocess.TimeoutExpired):
                    job.process.wait(timeout=1)
                    ended = True
                *lines, rest = (rest + output.read()).split("\n")
                yield b"".join(map(_event, lines)) or b": keep-alive\n\n"
            if rest:
                yield _event(rest)


def _event(line: str) -> bytes:
    said = json.dumps({"data": line, "timestamp": "2024-01-01T00:00:00.000Z"})
    return f"data: {said}\n\n".encode()
