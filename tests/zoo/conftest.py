"""What tests of the zoo share."""

import pytest

from tensortrain import importing


@pytest.fixture(autouse=True)
def no_pages_of_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings in this process write no `report.html`, which takes a second; `test_training_page.py` has them."""
    monkeypatch.setattr("zoo.reporting.training.TrainingPage.__call__", lambda self, step, loss: False)


@pytest.fixture(autouse=True)
def no_imports_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Printed commands import the files of this test only, although the process has run others."""
    all_files, earlier = importing.imported_files, set(importing.imported_files())
    monkeypatch.setattr(importing, "imported_files", lambda: [file for file in all_files() if file not in earlier])
