"""Runs in a worker under debug before its runtime client: loads debugpy and waits for a debugger.

    python -S …/debug_start.py SITE PORTS ANSWER -m MODULE ARGUMENT…

SITE is the folder that debugpy is installed in; only debugpy is taken from there, so the function sees its image's
packages and no others. PORTS are tried in order, such as 5678,0 (0: any). The address is written to ANSWER as JSON.
Imports nothing of this project.
"""

import json
import os
import runpy
import sys
from pathlib import Path


def load_debugpy(site: str):  # type: ignore[no-untyped-def]
    """debugpy from ``site``, with the path as it is under ``python -m`` afterwards."""
    # Removes this file's folder, the first entry, whose modules the function must not see.
    sys.path[0] = site
    import debugpy
    import debugpy.server.api

    sys.path.remove(site)
    sys.path.insert(0, str(Path.cwd()))
    return debugpy


def main() -> None:
    site, ports, answer, option, module, *arguments = sys.argv[1:]
    if option != "-m":
        raise SystemExit(f"not a module: {option}")
    debugpy = load_debugpy(site)
    # The adapter is a separate process, which must not import the image's packages.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    debugpy.configure(subProcess=False, pythonEnv=clean)
    said: dict[str, object] = {}
    for port in ports.split(","):
        try:
            host, chosen = debugpy.listen(("127.0.0.1", int(port)))
        except Exception as error:  # noqa: BLE001 - reported through the answer
            said = {"error": str(error)}
        else:
            said = {"host": host, "port": chosen}
            break
    temporary = Path(f"{answer}.new")
    temporary.write_text(json.dumps(said))
    temporary.replace(answer)
    if "error" in said:
        raise SystemExit(str(said["error"]))
    debugpy.wait_for_client()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
