"""Request bodies in Kubernetes' protobuf form, which kubectl since 1.35 and many Go clients send unasked.

``fields.json`` says for each message of the published API which field a number stands for, ``"1": "metadata <type>"``,
with ``list``, ``map`` or ``inline`` behind it where it is one. :mod:`decode` turns a body into the object that its JSON
would be. Answers are JSON, which such clients accept too; only OpenAPI 2 is written in protobuf.
"""
