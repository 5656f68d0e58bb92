"""The kinds that only hold data: their table columns."""

from __future__ import annotations

from flotilla.api.kinds.columns import AGE, NAME, column, count_of, spec_of

CONFIG_MAP_COLUMNS = (
    NAME,
    column("Data", count_of("data", "binaryData"), description="Number of keys.", type_="integer"),
    AGE,
)
SECRET_COLUMNS = (
    NAME,
    column("Type", lambda obj, now: obj.get("type", ""), description="What kind of secret it is."),
    column("Data", count_of("data"), description="Number of keys.", type_="integer"),
    AGE,
)
SERVICE_ACCOUNT_COLUMNS = (NAME, AGE)
LEASE_COLUMNS = (
    NAME,
    column("Holder", lambda obj, now: spec_of(obj).get("holderIdentity", ""), description="Who holds the lease."),
    AGE,
)
