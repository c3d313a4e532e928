"""Bridges to other libraries and their files. Nothing that a file holds is executed, and no other library is needed."""
