"""All dossiers, computed once."""

import pytest

from privassay.audit_reports.dossier.build import SYSTEMS, dossier


@pytest.fixture(scope="session")
def made():
    return {system: dossier(system) for system in SYSTEMS}
