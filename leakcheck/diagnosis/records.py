"""What a diagnosis is given and gives back: these records stand in `plan`."""

from leakcheck.diagnosis.plan import Diagnosis, DiagnosisOptions, GrowthFacts

__all__ = ["Diagnosis", "DiagnosisOptions", "GrowthFacts"]
