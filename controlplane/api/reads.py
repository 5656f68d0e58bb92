"""GET of one object, and LIST."""

from __future__ import annotations

from controlplane.api.call import Call
from controlplane.api.list_options import parse_revision
from controlplane.api.lists import Lister
from controlplane.api.responses import JsonResponse, add_warnings, compressed, json_response
from controlplane.api.tables import check_include, render_list, render_one
from controlplane.api.views import viewed_entry
from controlplane.store.cache import Cache
from flotilla.api.errors import not_found
from flotilla.api.registry import Resource


class Reads:
    """Handlers of the reading verbs other than watch."""

    def __init__(self, cache: Cache, lister: Lister) -> None:
        self._cache = cache
        self._lister = lister

    async def get(self, call: Call, resource: Resource) -> JsonResponse:
        info, form = call.info, call.form
        await self._lister.reach(parse_revision(call.query.get("resourceVersion", "")))
        entry = self._cache.get(resource, info.namespace, info.name)
        if entry is None:
            raise not_found(resource.plural, info.name, group=resource.group)
        entry = viewed_entry(resource, entry)
        if not form.kind:
            return json_response(entry.data, warnings=call.warnings)
        include = check_include(call.query.get("includeObject", ""))
        body = render_one(resource, entry.obj, entry.data, form, include=include)
        return json_response(body, warnings=call.warnings)

    async def list(self, call: Call, resource: Resource) -> JsonResponse:
        form = call.form
        include = check_include(call.query.get("includeObject", ""))
        listing = await self._lister.list(call, resource)
        pieces = await render_list(resource, listing.entries, form, metadata=listing.metadata, include=include)
        response = JsonResponse(pieces)
        add_warnings(response, call.warnings)
        return await compressed(call.request, response)
