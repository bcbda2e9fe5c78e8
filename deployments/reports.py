"""Serves the reports of a store, read-only: /<key>/report.html, wherever the store lies.

    python deployments/reports.py [--store store] [--host 127.0.0.1] [--port 4280]

`make serve` starts it.
"""

import argparse
import contextlib
import functools
import http.server
import re

from storage.store import Store

STEP = "report"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of the step's folder; those that were made elsewhere are fetched when they are asked for."""

    def __init__(self, *arguments: object, store: Store, **settings: object) -> None:
        self._store = store
        super().__init__(*arguments, directory=str(store.root / STEP), **settings)  # type: ignore[arg-type]

    def translate_path(self, path: str) -> str:
        """The file here that a request asks for."""
        asked = re.match(r"/([0-9a-f]{64})/", path)
        if asked:
            self._store.local_folder(STEP, asked[1])
        return super().translate_path(path)


def main() -> None:
    """Serve until the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="store", help="a folder, or its URL")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4280)
    options = parser.parse_args()
    store = Store.at(options.store)
    (store.root / STEP).mkdir(parents=True, exist_ok=True)
    with http.server.ThreadingHTTPServer((options.host, options.port), functools.partial(Handler, store=store)) as it:
        it.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
