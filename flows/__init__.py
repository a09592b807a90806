"""Prefect flows of landfuse. A flow schedules, retries and reports; it never touches a pixel."""
