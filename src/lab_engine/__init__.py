"""The machinery of a research project: it trains any task on any data, and knows none of them.

A project's own package imports it; it imports no project. Importing this package imports nothing else.
"""
