"""The published cube: its layout, staging, the publish protocol, lock, state and checks. Importing this package imports none of its modules."""
