"""What tests of the zoo share."""

import pytest


@pytest.fixture(autouse=True)
def no_pages_of_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings in this process write no `report.html`, which takes a second; `test_training_page.py` has them."""
    monkeypatch.setattr("zoo.reporting.training.TrainingPage.__call__", lambda self, step, loss: False)
