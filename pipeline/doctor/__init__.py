"""Pre-flight checks: find out, with parallel read-only calls, what would fail in this account and region.

    run_checks(target, settings, sources, names, templates) -> (CheckResult, …)

Each check is a function from ``Situation`` to ``Verdict``. A check that cannot get an answer, such as for a missing
permission, is ``unknown`` and says why.
"""

from pipeline.doctor.checks import CHECKS, run_checks
from pipeline.doctor.situation import Situation
from pipeline.doctor.verdict import CheckResult, Status, Verdict

__all__ = ["CHECKS", "CheckResult", "Situation", "Status", "Verdict", "run_checks"]
