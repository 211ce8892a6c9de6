"""Reading reports of Nsight Systems; see docs/nsight.md."""

from gpu_narration.nsight.facts import ReportClock
from gpu_narration.nsight.report import Report, opened
from gpu_narration.nsight.rows import BUSY, Activity, CallRow, Launch, RangeRow, Work

__all__ = [
    "BUSY",
    "Activity",
    "CallRow",
    "Launch",
    "RangeRow",
    "Report",
    "ReportClock",
    "Work",
    "opened",
]
