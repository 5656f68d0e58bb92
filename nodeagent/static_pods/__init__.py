"""Static pods: pods that a node runs from manifests in a directory of its own, with or without a server.

``manifests`` makes pods of a file's text, ``directory`` follows the files, ``mirrors`` keeps the pods of the API that
stand for them, so that they can be seen, read and entered like any other.
"""
