"""Flotilla: the program, and the vocabulary that control plane and node agent share.

Reading order: ``cli`` (what a user types), ``local`` (what ``up`` starts), ``api`` (kinds, quantities, selectors). The
way of an ``apply`` goes on in ``controlplane`` and ends in ``nodeagent``.
"""

__version__ = "0.1.0"
