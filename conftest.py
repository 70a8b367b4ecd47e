"""Switchyard is a pytest plugin; this file is what makes pytest load it."""

pytest_plugins = ["switchyard.runner.plugin"]
