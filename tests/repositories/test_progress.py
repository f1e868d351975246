"""Uploads and downloads report each byte once, with the name of the weights."""

from detrex_hub.repositories import fetch, push
from tests.hub_server import Fault, converted_folder

WEIGHTS = b"weights" * 500_000


class Recorder:
    """Records stages as [description, total, bytes]."""

    def __init__(self):
        self.stages = []

    def start(self, description, total):
        self.stages.append([description, total, 0])

    def advance(self, count):
        self.stages[-1][2] += count

    def finish(self):
        pass


def test_an_upload_reports_its_bytes(login, tmp_path):
    login("alice")
    recorder = Recorder()
    folder = converted_folder(tmp_path / "r18", WEIGHTS)
    push(folder, "alice/r18", progress=recorder)
    size = (folder / "model.safetensors").stat().st_size
    assert recorder.stages == [
        ["pushing r18", None, 0],
        ["uploading r18", size, size],
        ["committing r18", None, 0],
    ]


def test_a_part_that_is_sent_again_counts_once(login, hub, naps, tmp_path):
    login("alice")
    recorder = Recorder()
    hub.storage.inject("PUT", "/objects/*", Fault.status(503), times=2)
    folder = converted_folder(tmp_path / "r18", WEIGHTS)
    push(folder, "alice/r18", progress=recorder)
    size = (folder / "model.safetensors").stat().st_size
    assert ["uploading r18", size, size] in recorder.stages
    assert len(hub.storage.seen("PUT")) > len(WEIGHTS) / hub.part_size + 1


def test_a_download_reports_its_bytes(hub):
    recorder = Recorder()
    hub.put("alice/r18", {"model.safetensors": WEIGHTS})
    fetch("alice/r18", ["model.safetensors"], progress=recorder)
    assert recorder.stages == [["downloading r18", len(WEIGHTS), len(WEIGHTS)]]
