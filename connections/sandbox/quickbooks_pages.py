"""The consent page's HTML: plain forms, no script, the stylesheet of the other sign-in pages. Everything shown is escaped."""

from __future__ import annotations

from .plaid_link_pages import STYLE, esc

MEANINGS = {
    "com.intuit.quickbooks.accounting": "Read and write your customers, products, sales, bills and payments",
    "com.intuit.quickbooks.payment": "Take payments",
    "openid": "Know who you are",
    "profile": "See your name",
    "email": "See your e-mail address",
}


def _sheet(title: str, body: str) -> bytes:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">'
        f'<title>{esc(title)}</title><style>{STYLE}fieldset{{margin-top:24px}}</style></head><body><div class="sheet">'
        f"<header>Connect your books</header><main>{body}</main>"
        "<footer>Simulated books for demos and tests. No real company is contacted.</footer></div></body></html>"
    ).encode()


def consent(app: str, companies: list[tuple[str, str, str]], scopes: list[str]) -> bytes:
    """The page that asks. `companies`: (realm, name, country). Its form goes to the page's own address."""
    points = "".join(f"<li>{esc(MEANINGS.get(scope, scope))}</li>" for scope in scopes)
    choices = "".join(
        f'<li><label><input type="radio" name="realm" value="{esc(realm)}"{" checked" if number == 0 else ""} required>'
        f"<span><strong>{esc(name)}</strong><small>{esc(country)} · {esc(realm)}</small></span></label></li>"
        for number, (realm, name, country) in enumerate(companies)
    )
    body = (
        f'<h1>Let {esc(app)} use your books?</h1><p class="lead">It will be allowed to:</p><ul class="points">{points}</ul>'
        f'<form method="post"><fieldset><legend>Company</legend><ul>{choices}</ul></fieldset>'
        '<button name="decision" value="approve">Connect</button>'
        '<button class="quiet" name="decision" value="deny" formnovalidate>No, thanks</button></form>'
    )
    return _sheet(f"Connect {app}", body)


def refusal(what: str) -> bytes:
    """The page of a request that leads nowhere."""
    words = f'<div class="problem" role="alert">The {esc(what)} of this request is not known here.</div>'
    return _sheet("This did not work", f"<h1>This did not work</h1>{words}<p>Go back to the app and try again.</p>")
