"""What pods say of themselves: the metrics pages of annotated pods, read each second where somebody asks for a series.

:mod:`targets` finds the pages by the pods' annotations, :mod:`pages` reads the text, :mod:`scraper` keeps the newest of
each page and puts rounds together, which travel to the leader beside the containers' samples.
"""
