"""Ends with 0 if the service in this container is ready, else with 1.

The standard library alone, without site-packages and without urllib: it runs every few seconds, and no proxy is asked.
"""

import os
import sys
from http.client import HTTPConnection

PORT = int(os.environ.get("CONVSCOPE_PORT", "8000"))


def ready(port: int) -> bool:
    """Whether the service on this port says that it is ready."""
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(0 if ready(PORT) else 1)
