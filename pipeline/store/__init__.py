"""The published cube: layout, staging, publish protocol, lock, state and checks.

Importing the package imports none of its modules: planning needs a few of them only.
"""
