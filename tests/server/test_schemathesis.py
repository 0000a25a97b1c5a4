"""Schema-driven fuzzing: what the API's own description allows or forbids is answered as described, never by a 500."""

from __future__ import annotations

import warnings
from typing import Any

from hypothesis import HealthCheck, settings
from server_running import RunningServer
from test_documentation import DESCRIBED

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]

api = schemathesis.openapi.from_dict(DESCRIBED)


@api.parametrize()
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_route_answers_as_described(case: Any, server: RunningServer) -> None:
    response = case.call(base_url=server.url, timeout=30)
    case.validate_response(response, checks=CHECKS)
    assert server.client.get("/livez").status_code == 200
