"""The command: `python -m lmstrix.lmstudio.plugin [--dev] FOLDER`."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from lmstrix.errors import LMStrixError
from lmstrix.lmstudio.plugin.running import UNSTABLE, develop, run_plugin

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a plugin; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lmstrix.lmstudio.plugin", description="Run a plugin of LM Studio."
    )
    parser.add_argument("plugin_path", metavar="FOLDER", help="where the plugin is")
    parser.add_argument("--dev", action="store_true", help="register it, then run it")
    parser.add_argument("--debug", action="store_true", help="log more")
    parser.add_argument(
        "--host", default=None, help="where the server is, if not where it is looked for"
    )
    options = parser.parse_args(argv)
    if not Path(options.plugin_path).exists():
        parser.print_usage()
        print(f"ERROR: Failed to find plugin folder at {options.plugin_path!r}")  # noqa: T201
        return 1
    logging.basicConfig(level=logging.DEBUG if options.debug else logging.INFO)
    try:
        if options.dev:
            return develop(options.plugin_path, api_host=options.host, debug=options.debug)
        warnings.filterwarnings("ignore", UNSTABLE, FutureWarning)
        return run_plugin(options.plugin_path, allow_local_imports=True, api_host=options.host)
    except KeyboardInterrupt:
        if not options.dev:
            print("Plugin execution terminated by console interrupt", flush=True)  # noqa: T201
        return 0
    except LMStrixError as problem:
        print(f"ERROR: {problem.message} {problem.hint}".rstrip(), file=sys.stderr)  # noqa: T201
        return problem.exit_code
