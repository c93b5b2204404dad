"""The command line. Importing this imports no verb: Ctrl-C while they are imported stops as it does later."""

from __future__ import annotations

import json
import os
import sys

from edge_sdk.errors import Stopped

KEPT = "Finished files are kept; none is half written"


def run() -> None:
    """Entry point of `edge-sdk`: runs one verb and exits with its code."""
    try:
        from edge_sdk.cli.main import run as verb

        verb()
    except KeyboardInterrupt:
        if "--json" in sys.argv:
            sys.stdout.write(json.dumps(Stopped("stopped", hint=KEPT).to_json()) + "\n")
        sys.stderr.write(f"Stopped. {KEPT}.\n")
        _leave()
    except SystemExit as left:
        if left.code == Stopped.exit_code:
            _leave()
        raise


def _leave() -> None:
    """Python itself would end as killed by SIGINT wherever the signal came during an import, whatever caught it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(Stopped.exit_code)
