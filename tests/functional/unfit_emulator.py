"""The local target's host with an emulator whose ministack is not the one that it is patched for.

python -m tests.functional.unfit_emulator --folder …     the host of ``pipeline.local.host.main``, with its arguments
python -m tests.functional.unfit_emulator --socket …     its emulator
"""

from __future__ import annotations

import sys

from pipeline.local.emulator.patches.patch import Patch


def main() -> int:
    if "--socket" not in sys.argv:
        from pipeline.local.host import main as host

        host.EMULATOR = "tests.functional.unfit_emulator"
        return host.main()
    from pipeline.local.emulator import server

    row = Patch("services.ecr:_put_image", "0" * 16, "differs", "-", "-", lambda original, module: original)
    return server.main(faults=[row])


if __name__ == "__main__":
    sys.exit(main())
