"""Measurements that take too long for tests; each prints what it found and on which machine."""
