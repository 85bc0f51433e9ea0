"""Bytes -> arrays."""
