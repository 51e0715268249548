"""What is recorded of a machine."""

import datetime
import json
import platform

from moga.runtime.environment import cpu_model, describe_host, versions


def test_versions_name_what_is_installed() -> None:
    found = versions()
    assert found["python"] == platform.python_version()
    assert {"numpy", "torch"} <= set(found)


def test_host_is_json_and_dated() -> None:
    host = json.loads(json.dumps(describe_host()))
    assert host["host"]["cpu"] == cpu_model() != ""
    assert datetime.datetime.fromisoformat(host["started"]).tzinfo is not None
