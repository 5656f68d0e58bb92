"""``flotilla token``: bootstrap tokens, with which a new node asks for its certificate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from flotilla.cli import options
from flotilla.cli.durations import parse_duration_s

app = typer.Typer(help="Tokens that let nodes join.", no_args_is_help=True)

SECRETS = "/api/v1/namespaces/kube-system/secrets"


@app.command()
def create(
    ttl: Annotated[str, typer.Option(help="How long it is valid, like 30m, 2h, 24h.")] = "1h",
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Create a token and print it.

    Example: [bold]flotilla token create --ttl 30m[/bold]
    """
    from flotilla.local.bootstrap import new_token, token_secret

    token = new_token()
    expires = datetime.now(UTC) + timedelta(seconds=parse_duration_s(ttl))
    with options.connect(kubeconfig, context) as client:
        client.post(SECRETS, token_secret(token, expires=expires, description=description))
    print(token)


@app.command("list")
def list_tokens(kubeconfig: options.Kubeconfig = None, context: options.Context = None) -> None:
    """List the tokens by their public part, with their expiry.

    Example: [bold]flotilla token list[/bold]
    """
    import base64

    from flotilla.cli.tables import TableWriter
    from flotilla.local.bootstrap import BOOTSTRAP_TYPE

    with options.connect(kubeconfig, context) as client:
        found = client.get(SECRETS, {"fieldSelector": f"type={BOOTSTRAP_TYPE}"})
    rows = []
    for secret in found.get("items") or ():
        data = {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}
        rows.append([data.get("token-id"), data.get("expiration"), data.get("description", "")])
    TableWriter(["token id", "expires", "description"]).write(rows)
