"""Decentralised methods: workers average with their neighbours on a graph."""
