#!/usr/bin/env python3
"""Asks the servers anew what they answer to logins that they refuse, and records it in tests/data/mysql."""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import test_mysql_servers as tests  # noqa: E402  (the path to it is set above)
from harness import databases  # noqa: E402

found = {name: tests.refusals(databases.by_name(name)) for name in tests.SERVERS}
tests.RECORDED.parent.mkdir(parents=True, exist_ok=True)
tests.RECORDED.write_text(json.dumps(found, indent=2) + "\n")
