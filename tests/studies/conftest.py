"""What the tests of studies share."""

import pytest

from sact_tf.studies import runs


@pytest.fixture
def without_figures(monkeypatch):
    """Drawing takes seconds, and another test looks at what comes out."""
    monkeypatch.setattr(runs, "save_figure", lambda figure, path: None)
