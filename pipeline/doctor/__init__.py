"""Look before anything is changed: what only the account and the region know, asked by parallel read-only calls.

    run_checks(target, settings, sources, names, templates) -> (CheckResult, …)

Each check is one function from a ``Situation`` to a ``Verdict``. None of them changes anything, and one that cannot
find out (a permission that is missing, a call that the target does not have) says ``unknown`` and why.
"""

from pipeline.doctor.checks import CHECKS, run_checks
from pipeline.doctor.situation import Situation
from pipeline.doctor.verdict import CheckResult, Status, Verdict

__all__ = ["CHECKS", "CheckResult", "Situation", "Status", "Verdict", "run_checks"]
