"""Failing laws show their values, as failing tests do."""

import pytest

pytest.register_assert_rewrite("laws.laws")
