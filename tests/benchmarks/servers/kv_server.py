"""The example examples/kv_server.py. In tests/: `python -m benchmarks.servers.kv_server PORT`"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[3] / "examples" / "kv_server.py"

if __name__ == "__main__":
    sys.argv[1:] = ["--port", sys.argv[1]]
    runpy.run_path(str(EXAMPLE), run_name="__main__")
