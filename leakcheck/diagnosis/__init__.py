"""Why it grows: where the memory was allocated, who holds it, which line brought it. Only run when something grows."""

from leakcheck.diagnosis.diagnose import diagnose
from leakcheck.diagnosis.records import Diagnosis, DiagnosisOptions, GrowthFacts

__all__ = ["Diagnosis", "DiagnosisOptions", "GrowthFacts", "diagnose"]
