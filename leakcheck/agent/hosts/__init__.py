"""Conversations that are held inside another runner: pytest, unittest, a call of `leakcheck(...)`."""
