"""Endpoints of Services: EndpointSlices are the source, the older Endpoints object mirrors them."""
