"""Real HTTP servers on 127.0.0.1 for the tests: a Hub and a plain mirror of files.

Every server can misbehave on demand; see `Fault`.
"""

from tests.hub_server.faults import Fault
from tests.hub_server.folders import contents, converted_folder
from tests.hub_server.hub import LoopbackHub
from tests.hub_server.mirror import Mirror

__all__ = ["Fault", "LoopbackHub", "Mirror", "contents", "converted_folder"]
