"""Real HTTP servers on 127.0.0.1 that the tests talk to: a Hub and a plain mirror of files.

Every server can be told to misbehave; see `Fault`.
"""

from tests.hub_server.faults import Fault
from tests.hub_server.folders import contents, converted_folder
from tests.hub_server.hub import LoopbackHub
from tests.hub_server.mirror import Mirror

__all__ = ["Fault", "LoopbackHub", "Mirror", "contents", "converted_folder"]
